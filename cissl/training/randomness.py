"""Randomness as a function of (seed, purpose, step), so that a checkpoint need not store its state.

A resumed run draws the same numbers as an uninterrupted one. Several workers draw the rows of one global table.
"""

import hashlib
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cissl.training.device import to_device


def generator(seed: int, purpose: str, step: int) -> np.random.Generator:
    """A counter-based generator (Philox) whose stream is a pure function of the three arguments.

    Args:
        seed: the trial's seed.
        purpose: what the numbers are for; each purpose has a stream of its own.
        step: optimizer step, or another number that tells streams of one purpose apart.
    """
    key = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


class RowRandom:
    """Random numbers for this worker's rows of one global batch.

    Every call draws for all `total` rows and returns those of this worker, so that a row's numbers do not depend on
    how many workers share the batch.

    Args:
        seed: the trial's seed.
        purpose: what the numbers are for, such as ``"weak"``.
        step: optimizer step.
        total: number of rows of the global batch.
        rows: which of them are this worker's.
    """

    def __init__(self, seed: int, purpose: str, step: int, *, total: int, rows: slice = slice(None)):
        self._generator = generator(seed, purpose, step)
        self._total, self._rows = total, rows

    def uniform(self, *shape: int) -> np.ndarray:
        """Numbers in [0, 1), (rows, *shape) float64."""
        return self._generator.random((self._total, *shape))[self._rows]

    def integers(self, high: int, *shape: int) -> np.ndarray:
        """Whole numbers in [0, high), (rows, *shape) int64."""
        return self._generator.integers(high, size=(self._total, *shape))[self._rows]


class StepDraws:
    """Random numbers for a method's step: for the global batch, and so the same on every worker.

    Args:
        seed: the trial's seed.
        purpose: what the numbers are for; it does not collide with the purposes of training.
        step: optimizer step.
        dtype, device: of the tensors of real numbers; they are drawn in float64 and then converted.
    """

    def __init__(self, seed: int, purpose: str, step: int, *, dtype: torch.dtype, device: torch.device):
        self._generator = generator(seed, f"method {purpose}", step)
        self._dtype, self._device = dtype, device

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), of the given shape."""
        return self._floats(self._generator.random(shape))

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers of mean 0 and variance 1, of the given shape."""
        return self._floats(self._generator.standard_normal(shape))

    def beta(self, a: float, b: float, *shape: int) -> Tensor:
        """Beta(a, b) numbers, of the given shape."""
        return self._floats(self._generator.beta(a, b, shape))

    def integers(self, high: int, *shape: int) -> Tensor:
        """Whole numbers in [0, high), int64 of the given shape."""
        return to_device(self._generator.integers(high, size=shape), self._device)

    def permutation(self, size: int) -> Tensor:
        """The numbers 0 to size − 1 in random order, (size,) int64."""
        return to_device(self._generator.permutation(size), self._device)

    def bernoulli(self, chances: Tensor) -> Tensor:
        """True with these chances, bool of the shape of `chances`; the random numbers are float64."""
        return to_device(self._generator.random(tuple(chances.shape)), self._device) < chances

    def _floats(self, values: np.ndarray) -> Tensor:
        return to_device(np.asarray(values), self._device).to(self._dtype)


class Sampler(Protocol):
    """An endless stream of indices; which of them a step sees is a function of the step."""

    def batch(self, step: int, batch: int) -> np.ndarray:
        """The indices of a step, (batch,) int64."""


class WeightedSampler:
    """An endless stream of indices that are drawn with replacement.

    Args:
        weights: relative chance of each index, (size,) float64, at least 0; they need not add up to 1.
        seed: the trial's seed.
        purpose: name of the stream, such as ``"labeled"``.
    """

    def __init__(self, weights: np.ndarray, seed: int, purpose: str):
        self._chances = np.asarray(weights, np.float64) / np.sum(weights)
        self._seed, self._purpose = seed, purpose

    def batch(self, step: int, batch: int) -> np.ndarray:
        """`batch` indices that are drawn for the step, (batch,) int64."""
        return generator(self._seed, self._purpose, step).choice(len(self._chances), batch, p=self._chances)


class EpochSampler:
    """An endless stream of indices: one permutation of all `size` indices after the other.

    Args:
        size: number of indices, at least 1.
        seed: the trial's seed.
        purpose: name of the stream, such as ``"labeled"``.
    """

    def __init__(self, size: int, seed: int, purpose: str):
        self._size, self._seed, self._purpose = size, seed, purpose
        self._epochs: dict[int, np.ndarray] = {}  # a cache: each permutation can be computed again

    def batch(self, step: int, batch: int) -> np.ndarray:
        """Entries [step · batch, (step + 1) · batch) of the stream, (batch,) int64."""
        positions = np.arange(step * batch, (step + 1) * batch)
        epochs = positions // self._size
        parts = [self._permutation(e)[positions[epochs == e] % self._size] for e in np.unique(epochs)]
        self._epochs = {epochs[-1]: self._permutation(epochs[-1])}
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            self._epochs[epoch] = generator(self._seed, f"{self._purpose} epoch", int(epoch)).permutation(self._size)
        return self._epochs[epoch]
