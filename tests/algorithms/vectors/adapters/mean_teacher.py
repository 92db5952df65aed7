"""Mean Teacher: complete steps of the toy network."""

from tests.algorithms.vectors.adapters import pi_model


def run(case, dtype):
    return pi_model.train(case, dtype, "mean_teacher", "loss_mt")
