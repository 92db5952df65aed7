"""Which images each step sees: the labeled and the unlabeled stream, and those that a method adds."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cissl.algorithms.contract import Facts, Stream
from cissl.augment.policy import ViewBatch
from cissl.datasets import Dataset
from cissl.training.device import send
from cissl.training.randomness import EpochSampler, Sampler, WeightedSampler

LABELED, UNLABELED = "labeled", "unlabeled"


@dataclasses.dataclass(frozen=True)
class Batch:
    """The global batch of one step, as arrays; as tensors of the device once it has been sent.

    Attributes:
        images: stream → numbers of its images in the data set, (rows,) int64; always an array.
        index: stream → positions of its rows in the stream's pool, (rows,) int64.
        labels: stream → labels of its rows, (rows,) int64; for streams of labeled images.
        true_labels: labels of the unlabeled rows, (U,) int64, −1 where unknown; for the records only. None if the
            trial has no unlabeled images.
        views: name → what is wanted of a view.
        numbers: of this worker's images of all views, one below the other in the augmentation's order, (n,) int64;
            a tensor only where the images are on the device too.
        pixels: the images themselves, (n, channels, H, W) uint8, on the device.
        draws: what chance gives to the views, see `cissl.augment.policy.Augmentation.draw`.
    """

    images: dict[str, np.ndarray]
    index: dict[str, Any]
    labels: dict[str, Any]
    true_labels: Any
    views: Mapping[str, ViewBatch] = dataclasses.field(default_factory=dict)
    numbers: Any = None
    pixels: Any = None
    draws: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def targets(self) -> Any:
        """Labels of the labeled rows, (B,) int64."""
        return self.labels[LABELED]

    def on(self, device: torch.device, *, numbers: bool) -> "Batch":
        """The batch as tensors, `numbers` if wanted; a GPU gets all of them in one copy."""
        names = ("index", "labels", "true_labels", "draws", *(("numbers",) if numbers else ()))
        parcel = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return dataclasses.replace(self, **send(parcel, device))


class Batches:
    """The streams of one trial; a step's batch is a function of the seed and the step.

    Args:
        dataset: the trial's data.
        seed: the trial's seed.
        batch: labeled images per step.
        uratio: unlabeled images per labeled one; 0 for none.
        device: device of the labels of all labeled images.
    """

    def __init__(self, dataset: Dataset, *, seed: int, batch: int, uratio: int, device: torch.device):
        self._dataset, self._seed, self._device = dataset, seed, device
        self._streams = {LABELED: Stream(LABELED, batch)}
        if uratio:
            self._streams[UNLABELED] = Stream(UNLABELED, batch * uratio)
        self.set_labeled(None, stage=0)

    def add(self, streams: dict[str, Stream]) -> None:
        """Add streams of a method, by name."""
        self._streams |= streams
        self._make_samplers()

    def set_labeled(self, extra: tuple[Tensor, Tensor] | None, stage: int) -> None:
        """Set the labeled images of a stage.

        Args:
            extra: unlabeled images that count as labeled from now on: their positions (n,) and classes (n,), int64, as
                `Part.extra_labeled` gives them. They follow the split's labeled images. None for no such image.
            stage: number of the stage.
        """
        dataset = self._dataset
        self._labeled, self._labels, self._stage = dataset.labeled, dataset.labels[dataset.labeled], stage
        if extra is not None:
            positions, classes = (values.cpu().numpy() for values in extra)
            self._labeled = np.concatenate([self._labeled, dataset.unlabeled[positions]])
            self._labels = np.concatenate([self._labels, classes])
        self._make_samplers()

    @property
    def sets(self) -> dict[str, np.ndarray]:
        """``"labeled"``, as in this stage, and ``"unlabeled"`` → numbers of their images, by position, (n,) int64."""
        return {LABELED: self._labeled, UNLABELED: self._dataset.unlabeled}

    @property
    def labeled_targets(self) -> Tensor:
        """Classes of this stage's labeled images, by position, (n,) int64, on the device."""
        return torch.from_numpy(np.ascontiguousarray(self._labels)).to(self._device)

    def rows(self, stream: str) -> int:
        """Images of a stream in each step's global batch."""
        return self._streams[stream].rows

    def at(self, step: int) -> Batch:
        """The batch of a step, as arrays."""
        images, index, labels = {}, {}, {}
        for name, stream in self._streams.items():
            positions = self._samplers[name].batch(step, stream.rows)
            images[name] = self._pool(stream.pool)[positions]
            index[name] = positions
            if stream.pool == LABELED:
                labels[name] = self._labels[positions]
        true_labels = self._dataset.labels[images[UNLABELED]] if UNLABELED in images else None
        return Batch(images, index, labels, true_labels)

    def _pool(self, pool: str) -> np.ndarray:
        if pool == LABELED:
            return self._labeled
        return self._dataset.unlabeled if pool == UNLABELED else self._everything

    def _make_samplers(self) -> None:
        self._everything = np.concatenate([self._labeled, self._dataset.unlabeled])
        self._samplers: dict[str, Sampler] = {}
        for name, stream in self._streams.items():
            # A stage with a labeled set of its own draws in an order of its own.
            purpose = f"{name} stage {self._stage}" if self._stage and stream.pool == LABELED else name
            if stream.weights is None:
                self._samplers[name] = EpochSampler(len(self._pool(stream.pool)), self._seed, purpose)
            else:
                assert stream.pool == LABELED, "weights may depend only on labels that a method may know"
                self._samplers[name] = WeightedSampler(stream.weights(self._labels), self._seed, purpose)


def facts_of(
    dataset: Dataset,
    *,
    width: int,
    steps: int,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    compiled: bool = False,
) -> Facts:
    """What a method may know of a data set; no label of an unlabeled image is among it."""
    return Facts(
        classes=dataset.classes,
        side=dataset.side,
        channels=dataset.channels,
        width=width,
        labeled_targets=torch.from_numpy(np.ascontiguousarray(dataset.labels[dataset.labeled])).to(device),
        unlabeled=len(dataset.unlabeled),
        labeled_too=torch.from_numpy(np.isin(dataset.unlabeled, dataset.labeled)).to(device),
        steps=steps,
        batch=batch,
        dtype=dtype,
        device=device,
        compiled=compiled,
    )
