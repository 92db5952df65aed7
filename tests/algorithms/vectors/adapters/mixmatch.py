"""MixMatch: complete steps of the toy network."""

import torch

from cissl.algorithms.maths.mixing import interleave
from tests.algorithms.vectors.adapters import tensor, toy


def run(case, dtype):
    params, inputs, n = case.hyper, case.inputs, case.hyper["nu"] + 1
    settings = {key: params[key] for key in ("w_match", "warmup_kimg", "beta", "nu", "mixmode")}
    settings |= {"algorithm": "mixmatch", "temperature": params["T_sharpen"]}

    def make_views(t):
        views = toy.channels_first(inputs["views"][t], dtype)  # (B, ν, c, h, w)
        weak = {"weak" if v == 0 else f"weak{v + 1}": views[:, v] for v in range(n - 1)}
        return {"labeled": toy.channels_first(inputs["labeled"][t], dtype), **weak}

    def describe(step, losses, learner):
        guesses = [logits.softmax(1) for _, logits in step.passes[: n - 1]]
        batches = [images for images, _ in step.passes[n - 1 :]]
        logits = [logits for _, logits in step.passes[n - 1 :]]
        return {
            "loss_xe": losses.labeled["labeled"],
            "loss_l2u": losses.unlabeled["unlabeled"],
            "guess_p_model": torch.stack(guesses).mean(0),
            "guess_p_target": losses.pseudo.probabilities,
            "mixed_images": toy.channels_last(torch.cat(interleave(batches))),
            "mixed_targets": step.shared["mixed_targets"],
            **{f"interleaved/{j}": toy.channels_last(batch) for j, batch in enumerate(batches)},
            "logits_mixed": torch.cat(interleave(logits)),
            "grad_logits_mixed": torch.cat(interleave([value.grad for value in logits])),
        }

    return toy.train(case, dtype, settings, make_views, lambda t: mix_draws(inputs, t, dtype), describe)


def mix_draws(inputs, t, dtype):
    """Purpose → Beta draws and permutation of each mix."""
    count = sum(role.startswith("mix_beta/") for role in inputs)
    return {
        f"mix {j}": [tensor(inputs[f"mix_beta/{j}"][t], dtype), tensor(inputs[f"mix_perm/{j}"][t], dtype)]
        for j in range(count)
    }
