"""The Π-Model, and Mean Teacher: complete steps of the toy network."""

from tests.algorithms.vectors.adapters import toy


def run(case, dtype):
    return train(case, dtype, "pi_model", "loss_pm")


def train(case, dtype, algorithm, loss):
    settings = {key: case.hyper[key] for key in ("consistency_weight", "warmup_pos")} | {"algorithm": algorithm}

    def make_views(t):
        views = toy.channels_first(case.inputs["views"][t], dtype)
        labeled = toy.channels_first(case.inputs["labeled"][t], dtype)
        return {"labeled": labeled, "weak": views[:, 0], "weak2": views[:, 1]}

    def describe(step, losses, learner):
        return {"loss_xe": losses.labeled["labeled"], loss: losses.unlabeled["unlabeled"]}

    return toy.train(case, dtype, settings, make_views, lambda t: {}, describe)
