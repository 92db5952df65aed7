"""What a method sees when it surveys a whole set of images between two steps."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cissl.algorithms.contract import Outputs
from cissl.augment.policy import Augmentation
from cissl.training.device import DeviceImages
from cissl.training.distributed import gather_rows, rank, world_size
from cissl.training.learner import Learner
from cissl.training.randomness import RowRandom, StepDraws
from cissl.training.step import Raw

ROWS = 500  # images that share their random numbers


class TrainingSurvey:
    """The networks' outputs on whole sets of images; see `cissl.algorithms.contract.Survey`.

    Args:
        learner: the networks.
        augmentation: changes the images before a network sees them.
        images: the images of the whole data set.
        sets: name → numbers of its images, by position, (n,) int64; methods have ``"labeled"`` and ``"unlabeled"``.
        number: updates made so far in this generation.
        stage: number of the current stage.
        trial_step: updates made so far in the trial, over all generations; random numbers depend on it.
        at_once: number of images that fit this worker's memory at once; no output depends on it.
    """

    def __init__(
        self,
        learner: Learner,
        augmentation: Augmentation,
        images: DeviceImages,
        sets: Mapping[str, np.ndarray],
        *,
        number: int,
        stage: int,
        trial_step: int,
        at_once: int,
    ):
        self.number, self.stage, self.facts = number, stage, learner.facts
        self._learner, self._augmentation, self._images, self._sets = learner, augmentation, images, sets
        self._trial_step, self._at_once = trial_step, at_once

    @torch.no_grad()
    def outputs(self, images: str = "unlabeled", *, network: str = "average", augment: str = "none") -> Outputs:
        """Outputs on a set of images, in the set's order; see the contract. Each worker computes a share of them.

        Args:
            images: name of the set of n images.
            network: ``"average"`` for the averaged network, ``"raw"`` for the trained one, both in evaluation mode.
            augment: ``"none"``, ``"weak"`` or ``"strong"``.

        Returns:
            Logits (n, C), features (n, width) and heads by name.
        """
        numbers = self._sets[images]
        parts = [self._part(numbers, start, network, augment, images) for start in range(0, len(numbers), ROWS)]
        return Outputs(*_joined(parts))

    def random(self, purpose: str) -> StepDraws:
        """Random numbers for a purpose, which depend on the step of the trial; see the contract."""
        facts, seed = self.facts, self._learner.config.seed
        return StepDraws(seed, f"survey {purpose}", self._trial_step, dtype=facts.dtype, device=facts.device)

    def _part(self, numbers: np.ndarray, start: int, network: str, augment: str, images: str) -> Raw:
        """Outputs of up to ROWS images from `start` on. The last image is repeated to make all shares equally long."""
        wanted = numbers[start : start + ROWS]
        rows = -(-len(wanted) // world_size()) * world_size()
        padded = np.pad(wanted, (0, rows - len(wanted)), mode="edge")
        own = slice(rank(), None, world_size())
        purpose = f"survey {images} {start}"
        random = RowRandom(self._learner.config.seed, purpose, self._trial_step, total=rows, rows=own)
        views = self._augmentation.view(augment, self._images.batch(padded[own]), random)
        forward = self._learner.average_forward if network == "average" else self._learner.raw_forward
        logits, features, heads = _joined([forward(chunk) for chunk in torch.split(views, self._at_once)])

        def all_workers(part: Tensor) -> Tensor:
            return gather_rows(part)[: len(wanted)]

        return all_workers(logits), all_workers(features), {name: all_workers(head) for name, head in heads.items()}


def _joined(parts: Sequence[Raw]) -> Raw:
    logits, features, heads = zip(*parts, strict=True)
    joined = {name: torch.cat([head[name] for head in heads]) for name in heads[0]}
    return torch.cat(logits), torch.cat(features), joined
