"""What the augmentation tests share: random numbers by row, and images of several kinds."""

import numpy as np
import pytest
import torch


class Rows:
    """Stands in for the trainer's RowRandom: draws a global table, returns some rows, notes every call."""

    def __init__(self, seed, total, rows=slice(None)):
        self.generator = np.random.Generator(np.random.Philox(seed))
        self.total, self.rows, self.calls = total, rows, []

    def uniform(self, *shape):
        self.calls.append(("uniform", shape))
        return self.generator.random((self.total, *shape))[self.rows]

    def integers(self, high, *shape):
        self.calls.append(("integers", high, shape))
        return self.generator.integers(0, high, (self.total, *shape))[self.rows]


def make_images(n, channels, side, seed=0):
    """(n, channels, side, side) uint8: noise, gradients, narrow ranges, few values and constants in turn."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (n, channels, side, side))
    slope = generator.integers(-6, 7, (n, channels, 1, 2))
    axis = np.arange(side)
    plane = 128 + slope[..., :1] * axis[:, None] + slope[..., 1:] * axis
    images[1::5] = np.clip(plane[1::5] + generator.integers(-9, 10, plane[1::5].shape), 0, 255)
    images[2::5] = images[2::5] // 8 + 90
    images[3::5] = np.where(images[3::5] < 40, 3, 250)
    images[4::5] = images[4::5, :, :1, :1]
    return torch.from_numpy(images.astype(np.uint8))


@pytest.fixture(scope="session")
def rows():
    return Rows


@pytest.fixture(scope="session")
def images_of():
    return make_images
