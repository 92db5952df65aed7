"""What augmentation needs of a random generator."""

from typing import Protocol

import numpy as np


class RowDraws(Protocol):
    """Random numbers on the host, one row for each image of a batch.

    `cissl.training.randomness.RowRandom` is one: its numbers are a function of the trial's seed, the purpose and the
    step.
    """

    def uniform(self, *shape: int) -> np.ndarray:
        """Uniform numbers in [0, 1), (images, *shape) float64."""

    def integers(self, high: int, *shape: int) -> np.ndarray:
        """Whole numbers in [0, high), (images, *shape) int64."""
