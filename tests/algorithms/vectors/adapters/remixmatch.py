"""ReMixMatch: complete steps of the toy network."""

import torch

from cissl.algorithms.maths.mixing import interleave
from tests.algorithms.vectors.adapters import toy
from tests.algorithms.vectors.adapters.mixmatch import mix_draws

SAME_NAME = ("w_match", "w_kl", "w_rot", "warmup_kimg", "beta", "redux", "use_dm", "use_xe", "mixmode", "dbuf")


def run(case, dtype):
    params, inputs = case.hyper, case.inputs
    settings = {key: params[key] for key in (*SAME_NAME, "p_data_decay")}
    settings |= {"algorithm": "remixmatch", "temperature": params["T"], "k": params["K"]}
    if "p_data" in inputs:
        settings["p_unlabeled"] = ",".join(repr(float(share)) for share in inputs["p_data"])
    lists = params["K"] + 2

    def make_views(t):
        views = toy.channels_first(inputs["views"][t], dtype)  # (B, K + 1, c, h, w)
        names = ["weak", "strong", *(f"strong{number}" for number in range(2, params["K"] + 1))]
        labeled = toy.channels_first(inputs["labeled"][t], dtype)
        return {"labeled": labeled, **{name: views[:, v] for v, name in enumerate(names)}}

    def describe(step, losses, learner):
        batches, logits = zip(*step.passes[-lists:], strict=True)
        return {
            "loss_xe": losses.labeled["labeled"],
            "loss_xeu" if params["use_xe"] else "loss_l2u": losses.unlabeled["unlabeled"],
            "loss_kl": losses.unlabeled.get("kl", 0.0),
            "loss_rot": losses.unlabeled.get("rotation"),
            "guess_p_model": step.shared["guess"],
            "guess_p_target": step.shared["targets"],
            "mixed_images": toy.channels_last(torch.cat(interleave(batches))),
            "mixed_targets": step.shared["mixed_targets"],
            **{f"interleaved/{j}": toy.channels_last(batch) for j, batch in enumerate(batches)},
            "logits_mixed": torch.cat(interleave(logits)),
            "grad_logits_mixed": torch.cat(interleave([value.grad for value in logits])),
            "state/p_model": learner.state["p_model"].mean(0),
            "state/p_model_last": learner.state["p_model"][-1],
            "state/p_data": learner.state["p_data"],
        }

    return toy.train(case, dtype, settings, make_views, lambda t: mix_draws(inputs, t, dtype), describe)
