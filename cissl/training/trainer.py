"""The training loop: batches in, updates, evaluations; the main flow is `run` → `train_step` → `evaluate`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cissl.algorithms.losses import Losses
from cissl.augment.ops import to_float
from cissl.augment.policy import Augmentation, ProbePolicy
from cissl.config import KIMG, TrialConfig
from cissl.datasets import Dataset
from cissl.models import backbones
from cissl.training import metrics
from cissl.training.device import Images, to_device
from cissl.training.distributed import check_division, gather_rows, own_rows, sum_over_workers
from cissl.training.learner import Learner
from cissl.training.optim import learning_rate
from cissl.training.randomness import EpochSampler, RowRandom

EVALUATION_BATCH = 500  # images


class TrialDiverged(RuntimeError):
    """The loss is no longer a number; more steps would not bring it back."""


class Trainer:
    """One trial in training.

    Args:
        config: the trial's settings.
        dataset: its data.
        device: where the network, the augmentation and the losses run.

    Attributes:
        step: optimizer updates made.
        history: one row per evaluation.
        confusions: the test set's confusion matrix at each evaluation, (C, C) each.
    """

    def __init__(self, config: TrialConfig, dataset: Dataset, device: torch.device):
        check_division(config.batch)
        self.config, self.dataset, self.device = config, dataset, device
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.confusions: list[np.ndarray] = []
        network = backbones.build(
            config.arch,
            classes=dataset.classes,
            side=dataset.side,
            channels=dataset.channels,
            filters=config.filters,
            repeat=config.repeat,
            scales=config.scales,
            bn_decay=config.bn_decay,
            seed=config.seed,
        )
        self.learner = Learner(config, network.to(device), dataset.classes)
        self.augmentation = Augmentation(
            config.augment,
            dataset=dataset.name,
            mirror=dataset.mirror,
            shift=dataset.shift,
            side=dataset.side,
            channels=dataset.channels,
            depth=config.adepth,
            threshold=config.ath,
            decay=config.adecay,
            device=device,
        )
        self._labeled = EpochSampler(len(dataset.labeled), config.seed, "labeled")
        self._unlabeled = EpochSampler(len(dataset.unlabeled), config.seed, "unlabeled")
        self._interval = Interval(dataset.classes, device)
        self._images, self._test_images = Images(dataset.images, device), Images(dataset.test_images, device)

    def run(self) -> Iterator[dict[str, Any]]:
        """Train to the end, yielding the new history row after each evaluation and None after every other step.

        Raises:
            TrialDiverged: a loss was NaN or infinite since the last evaluation.
        """
        while self.step < self.config.steps:
            self.train_step()
            due = self.step % self.config.report_steps == 0 or self.step == self.config.steps
            yield self.evaluate() if due else None

    def train_step(self) -> None:
        """One optimizer update; with CTAugment also one update of its rates."""
        config, unlabeled = self.config, self.learner.algorithm.unlabeled
        indices = self.dataset.labeled[self._labeled.batch(self.step, config.batch)]
        targets = to_device(self.dataset.labels[indices], self.device)
        images = self._images.batch(indices[own_rows()])
        labeled = self.augmentation.labeled(images, self._random("labeled", config.batch))
        if not unlabeled:
            self._interval.add(self.learner.update(self.step, labeled, targets), config.wu)
        else:
            total = config.batch * config.uratio
            indices = self.dataset.unlabeled[self._unlabeled.batch(self.step, total)]
            hidden = to_device(self.dataset.labels[indices], self.device)  # for the records of `Interval` alone
            images = self._images.batch(indices[own_rows()])
            weak = self.augmentation.weak(images, self._random("weak", total))
            random = self._random("strong", total)
            if self.augmentation.uses_ctaugment:
                probe_random = self._random("probe", config.batch)
                strong, *probes = self.augmentation.strong_and_probes(images, random, labeled, probe_random)
                self._score(*probes, targets)
            else:
                strong = self.augmentation.strong(images, random)
            self._interval.add(self.learner.update(self.step, labeled, targets, weak, strong), config.wu, hidden)
        self.step += 1

    @torch.no_grad()
    def _score(self, probes: Tensor, policy: ProbePolicy, targets: Tensor) -> None:
        """Update CTAugment's rates by the EMA model, as it is before this step's update, on its probes."""
        probabilities = gather_rows(self.learner.predict(probes).softmax(1))
        wanted = torch.nn.functional.one_hot(targets, self.dataset.classes)
        proximity = 1 - 0.5 * (probabilities - wanted).abs().sum(1)
        self.augmentation.update(ProbePolicy(ops=gather_rows(policy.ops), levels=gather_rows(policy.levels)), proximity)

    def evaluate(self) -> dict[str, Any]:
        """Score the EMA model on validation and test images; append to the history and return its new row."""
        test_labels = self.dataset.test_labels
        test = self._confusion(self._test_images, test_labels, np.arange(len(test_labels)))
        valid_labels = self.dataset.labels[self.dataset.valid]
        valid = self._confusion(self._images, valid_labels, self.dataset.valid)
        losses, pseudo_labels = self._interval.close()
        if not np.isfinite(losses["loss"]):
            raise TrialDiverged(f"the loss became {losses['loss']} before step {self.step}")
        row = {
            "step": self.step,
            "kimg": self.step * self.config.batch / KIMG,
            "lr": learning_rate(self.config, self.step - 1),
            "accuracy": metrics.accuracy(test),
            "gmean": metrics.geometric_mean(test),
            "valid_accuracy": metrics.accuracy(valid),
            "valid_gmean": metrics.geometric_mean(valid),
            "per_class": metrics.per_class_accuracy(test).tolist(),
            "class_prior": self.learner.class_prior.tolist(),
            **losses,
            **(pseudo_labels if self.learner.algorithm.unlabeled else {}),
        }
        self.history.append(row)
        self.confusions.append(test)
        return row

    @torch.inference_mode()
    def _confusion(self, images: Images, labels: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Confusion matrix of the EMA model on some images and their labels; every worker scores a share."""
        mine = np.arange(len(labels))[own_rows()]
        predictions = [
            self.learner.predict(to_float(images.batch(indices[part]))).argmax(1)
            for part in np.array_split(mine, max(1, -(-len(mine) // EVALUATION_BATCH)))
        ]
        counts = metrics.confusion_matrix(labels[mine], torch.cat(predictions).cpu().numpy(), self.dataset.classes)
        return sum_over_workers(torch.from_numpy(counts).to(self.device)).cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the trial depends on: tensors and plain values only."""
        return {
            "step": self.step,
            "learner": self.learner.state_dict(),
            "augmentation": self.augmentation.state_dict(),
            "interval": self._interval.state_dict(),
            "history": self.history,
            "confusions": torch.from_numpy(np.stack(self.confusions)) if self.confusions else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, to the same end bit for bit (on CPU)."""
        self.step = state["step"]
        self.learner.load_state_dict(state["learner"])
        self.augmentation.load_state_dict(state["augmentation"])
        self._interval.load_state_dict(state["interval"])
        self.history = state["history"]
        self.confusions = list(state["confusions"].numpy()) if state["confusions"] is not None else []

    def _random(self, purpose: str, total: int) -> RowRandom:
        return RowRandom(self.config.seed, purpose, self.step, total=total, rows=own_rows())


class Interval:
    """What happened since the last evaluation, counted on the device so that no step waits for it.

    Means of the losses over steps; and, of each class, the pseudo-labels kept and how many of them were right. The
    latter needs the unlabeled images' true labels: it explains a result and takes no part in it.
    """

    NAMES = ("loss", "loss_labeled", "loss_unlabeled", "mask_ratio")

    def __init__(self, classes: int, device: torch.device):
        self._sums = torch.zeros(len(self.NAMES), dtype=torch.float64, device=device)
        self._pseudo_labels = torch.zeros(2, classes, dtype=torch.int64, device=device)  # kept, correct
        self._steps = 0

    def add(self, losses: Losses, wu: float, hidden: Tensor | None = None) -> None:
        """Count one step; `hidden` are the true labels of the unlabeled batch, (U,) int64, -1 where unknown."""
        labeled, unlabeled = losses.labeled.detach(), losses.unlabeled.detach()
        mask_ratio = losses.mask.double().mean() if hidden is not None else labeled.new_zeros(())
        self._sums += torch.stack([labeled + wu * unlabeled, labeled, unlabeled, mask_ratio]).double()
        if hidden is not None:
            kept = losses.mask & (hidden >= 0)  # an unknown label could not be right
            counts = torch.stack([kept, kept & (losses.pseudo_labels == hidden)]).long()
            self._pseudo_labels.index_add_(1, losses.pseudo_labels, counts)
        self._steps += 1

    def close(self) -> tuple[dict[str, float], dict[str, list[int]]]:
        """The losses' means and the pseudo-labels' counts of each class, and a new beginning."""
        means = (self._sums / max(self._steps, 1)).tolist()
        kept, correct = self._pseudo_labels.tolist()
        self._sums.zero_()
        self._pseudo_labels.zero_()
        self._steps = 0
        return dict(zip(self.NAMES, means, strict=True)), {"pseudo_kept": kept, "pseudo_correct": correct}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums.clone(), "pseudo_labels": self._pseudo_labels.clone(), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sums.copy_(state["sums"])
        self._pseudo_labels.copy_(state["pseudo_labels"])
        self._steps = state["steps"]
