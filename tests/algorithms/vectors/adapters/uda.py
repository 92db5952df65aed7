"""UDA: complete steps of the toy network, and a table of its annealed thresholds."""

import numpy as np
import torch

from cissl.algorithms.uda.annealing import annealed_threshold
from tests.algorithms.vectors.adapters import toy

SETTINGS = ("wu", "we", "confidence", "temperature", "tsa", "tsa_pos", "uratio")


def run(case, dtype):
    return thresholds(case) if case.kind == "table" else train(case, dtype)


def thresholds(case):
    columns = (case.inputs[name].tolist() for name in ("tsa", "step", "train_kimg", "tsa_pos", "C"))
    return {"threshold": np.array([annealed_threshold(*row) for row in zip(*columns, strict=True)])}


def train(case, dtype):
    params, inputs, B, U = case.hyper, case.inputs, case.fields["B"], case.fields["U"]

    def make_views(t):
        views = toy.channels_first(inputs["views"][t], dtype)
        return {"labeled": toy.channels_first(inputs["labeled"][t], dtype), "weak": views[:, 0], "strong": views[:, 1]}

    def describe(step, losses, learner):
        _, weak, strong = (logits.softmax(1) for logits in step.passes[0][1].split([B, U, U]))
        return {
            "loss_xe": losses.labeled["labeled"],
            "loss_xeu": losses.unlabeled["unlabeled"],
            "loss_entropy": losses.unlabeled["entropy"],
            "loss_mask_sup": losses.measured["tsa_ratio"],
            "mask": losses.pseudo.weights.double().mean(),
            "conf_weak": weak.amax(1).mean(),
            "conf_strong": strong.amax(1).mean(),
        }

    settings = {key: params[key] for key in SETTINGS} | {"algorithm": "uda"}
    found = toy.train(case, dtype, settings, make_views, lambda t: {}, describe)
    # The reference interleaves the joint batch: as a table (B, 2 uratio + 1), read column by column.
    order = torch.arange(B + 2 * U).reshape(B, -1).T.flatten()
    return found | {role: [value[order] for value in found[role]] for role in ("logits/0", "grad_logits/0")}
