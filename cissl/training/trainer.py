"""The training loop: batches in, updates, evaluations; the main flow is `run` → `train_step` → `evaluate`."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cissl.algorithms.contract import Facts, Losses, Method
from cissl.augment.ctaugment import ProbePolicy
from cissl.augment.ops import to_float
from cissl.augment.policy import Augmentation, Probes, ViewBatch
from cissl.config import KIMG, TrialConfig
from cissl.datasets import Dataset
from cissl.models.layers import Classifier
from cissl.record_format import EvaluationFigures, MethodFigures, PseudoLabelFigures
from cissl.training import graphs, metrics
from cissl.training.batches import LABELED, Batch, Batches, facts_of
from cissl.training.device import DeviceImages, require_memory
from cissl.training.distributed import check_division, gather_rows, own_rows, sum_over_workers, world_size
from cissl.training.interval import Interval
from cissl.training.learner import Learner, make_network
from cissl.training.randomness import RowRandom, generator
from cissl.training.schedule import Schedule
from cissl.training.step import TrainingStep
from cissl.training.survey import TrainingSurvey

Scorer = Callable[[Tensor], Tensor]  # images → scores whose largest is the prediction
LARGEST_EVALUATION_BATCH, SMALLEST_EVALUATION_BATCH = 500, 32  # images


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
        confusion: the test set's confusion matrix at the newest evaluation, (C, C) int64; None before the first.
    """

    def __init__(self, config: TrialConfig, dataset: Dataset, device: torch.device):
        check_division(config.batch)
        self.config, self.dataset, self.device = config, dataset, device
        self.step = 0
        self.confusion: np.ndarray | None = None
        network = self._fresh_network(stage=0)
        whole = self._facts(network)
        self.schedule = Schedule(config, Method(config.recipe, config.method).stages(whole))
        start, end = self.schedule.generation(stage=0)
        facts = dataclasses.replace(whole, steps=end - start)
        self.learner = Learner(config, network, facts)
        self.augmentation = self._fresh_augmentation()
        uratio = self.learner.method.uratio()
        self._batches = Batches(dataset, seed=config.seed, batch=config.batch, uratio=uratio, device=device)
        self._batches.add(self.learner.method.streams(facts))
        self._stage = 0
        self._interval = Interval(dataset.classes, device)
        at_once = config.compile and graphs.compiles_all(device)
        self._views_of = graphs.graph(self._prepare) if at_once else self._prepare
        require_memory(self._images_at_once(), side=dataset.side, channels=dataset.channels, device=device)
        self._images = DeviceImages(dataset.images, device)
        self._test_images = DeviceImages(dataset.test_images, device)

    def run(self) -> Iterator[EvaluationFigures | None]:
        """Train to the end. Yields after each step: the figures of an evaluation if one was due, else None.

        Raises:
            TrialDiverged: a loss was NaN or infinite since the last evaluation.
        """
        while self.step < self.config.steps:
            self.train_step()
            due = self.step % self.config.report_steps == 0 or self.step == self.config.steps
            yield self.evaluate() if due else None

    def train_step(self) -> None:
        """One optimizer update; with CTAugment also one update of its rates."""
        self._between_steps()
        batch = self._batch()
        views = self._views_of(batch)
        losses = self._update_network(batch, views)
        self._interval.add(losses, batch.true_labels)
        self.step += 1

    def _update_network(self, batch: Batch, views: dict[str, Tensor]) -> Losses:
        return self.learner.update(self._step(batch, views), self.schedule.rate(self.step))

    def _step(self, batch: Batch, views: dict[str, Tensor]) -> TrainingStep:
        at = self.schedule.at(self.step)
        return TrainingStep(
            self.learner,
            at.generation_number,
            views,
            batch.targets,
            index=batch.index,
            labels=batch.labels,
            stage=at.stage,
            stage_number=at.number,
            stage_steps=at.steps,
            trial_step=self.step,
        )

    def _between_steps(self) -> None:
        """What a method does from time to time: its survey of the data, and the beginning of a new stage."""
        if self.schedule.at(self.step).stage > self._stage:
            self._next_stage()
        at, learner = self.schedule.at(self.step), self.learner
        survey = self.survey(number=at.generation_number)
        changed = learner.method.periodically(at.number, survey, learner.state, learner.facts)
        learner.state = {**learner.state, **changed}

    def _next_stage(self) -> None:
        """Begin the next stage, with a network, a state and rates of its own where it is a fresh one."""
        learner, stage = self.learner, self._stage + 1
        fresh, average = self.schedule.stages[stage].fresh, self.schedule.stages[stage].restart_average
        survey = self.survey(number=self.schedule.at(self.step - 1).generation_number + 1)
        carried = learner.method.between(survey, learner.state)
        self._enter(stage, carried if fresh else {**learner.state, **carried})
        if fresh:
            learner.restart(self._fresh_network(stage), stage)
            self.augmentation = self._fresh_augmentation()
        elif average:
            learner.restart_average()
        learner.state = {**learner.state, **carried}

    def _enter(self, stage: int, state: Mapping[str, Tensor]) -> None:
        """The stage's labeled images, and the facts and streams that follow from them."""
        learner = self.learner
        self._stage = stage
        self._batches.set_labeled(learner.method.extra_labeled(state), stage)
        start, end = self.schedule.generation(stage)
        learner.facts = dataclasses.replace(
            learner.facts, steps=end - start, labeled_targets=self._batches.labeled_targets
        )
        self._batches.add(learner.method.streams(learner.facts))

    def survey(self, sets: Mapping[str, np.ndarray] | None = None, *, number: int = 0) -> TrainingSurvey:
        """A look at whole sets of images with the networks as they are.

        Args:
            sets: name → numbers of the images, (n,) int64; by default the stage's ``"labeled"`` and ``"unlabeled"``.
            number: updates made so far in this generation.
        """
        sets = self._batches.sets if sets is None else sets
        return TrainingSurvey(
            self.learner,
            self.augmentation,
            self._images,
            sets,
            number=number,
            stage=self._stage,
            trial_step=self.step,
            at_once=self._evaluation_batch(),
        )

    def _batch(self) -> Batch:
        """The step's batch and what chance gives to its views, on the device, where they come in one parcel."""
        batch = self._batches.at(self.step)
        views = self._views(batch)
        streams = {name: self.learner.method.views[name].stream for name in views}

        def random(purpose: str) -> RowRandom:
            rows = len(batch.images[streams.get(purpose, LABELED)])
            return RowRandom(self.config.seed, purpose, self.step, total=rows, rows=own_rows())

        draws = self.augmentation.draw(views, random, LABELED)
        numbers = [batch.images[streams[name]][own_rows()] for name in self.augmentation.order(views)]
        batch = dataclasses.replace(batch, views=views, numbers=np.concatenate(numbers), draws=draws)
        batch = batch.on(self.device, numbers=self._images.resident)
        return dataclasses.replace(batch, pixels=self._images.batch(batch.numbers))

    def _views(self, batch: Batch) -> dict[str, ViewBatch]:
        """The views of this stage, of this worker's rows."""
        without = self.schedule.stages[self._stage].without
        return {
            name: ViewBatch(view.augment, len(batch.images[view.stream][own_rows()]))
            for name, view in self.learner.method.views.items()
            if name not in without
        }

    def _prepare(self, batch: Batch) -> dict[str, Tensor]:
        """This worker's views of a batch, by name; CTAugment's rates are updated."""
        views, probes = self._augmented(batch)
        self._update_rates(probes, batch.targets)
        return views

    def _augmented(self, batch: Batch) -> tuple[dict[str, Tensor], Probes | None]:
        """This worker's views of a batch, by name, and CTAugment's probes where a strong view uses it."""
        return self.augmentation.views(batch.views, batch.pixels, batch.draws, LABELED)

    @torch.no_grad()
    def _update_rates(self, probes: Probes | None, targets: Tensor) -> None:
        """Update CTAugment's rates, where it is used, by the EMA model as it is before this step's update."""
        if probes is None:
            return
        probabilities = gather_rows(self.learner.predict(probes.images).softmax(1))
        wanted = torch.nn.functional.one_hot(targets, self.dataset.classes)
        proximity = 1 - 0.5 * (probabilities - wanted).abs().sum(1)
        policy = ProbePolicy(ops=gather_rows(probes.policy.ops), levels=gather_rows(probes.policy.levels))
        self.augmentation.update(policy, proximity)

    def evaluate(self) -> EvaluationFigures:
        """Score the EMA model on validation and test images, and end the interval since the last evaluation.

        Raises:
            TrialDiverged: a loss was NaN or infinite in this interval.
        """
        test_labels = self.dataset.test_labels
        score = self.learner.scorer()
        test = self._confusion(score, self._test_images, test_labels, np.arange(len(test_labels)))
        valid_labels = self.dataset.labels[self.dataset.valid]
        valid = self._confusion(score, self._images, valid_labels, self.dataset.valid)
        losses, pseudo_labels, details = self._interval.close()
        if losses["loss"] is None or not math.isfinite(losses["loss"]):
            raise TrialDiverged(f"the loss became {losses['loss']} before step {self.step}")
        self.confusion = test
        prior = MethodFigures()
        if "class_prior" in self.learner.state:
            prior["class_prior"] = self.learner.state["class_prior"].tolist()
        if len(self.schedule.stages) > 1:
            details["stage"] = self._stage
        return {
            "step": self.step,
            "kimg": self.step * self.config.batch / KIMG,
            "lr": self.schedule.rate(self.step - 1),
            "accuracy": metrics.accuracy(test),
            "gmean": metrics.geometric_mean(test),
            "valid_accuracy": metrics.accuracy(valid),
            "valid_gmean": metrics.geometric_mean(valid),
            "per_class": metrics.per_class_accuracy(test).tolist(),
            **prior,
            **losses,
            **(pseudo_labels if self.learner.method.uratio() else PseudoLabelFigures()),
            **details,
        }

    def prediction(self) -> dict[str, Any]:
        """What predictions on other images need beside the averaged weights, as tensors and plain values only.

        ``side`` and ``channels`` of the images, ``class_names``, ``reading``: how image files became arrays, and
        ``state``: what the method's prediction reads, by name.
        """
        data = self.dataset
        return {
            "side": data.side,
            "channels": data.channels,
            "class_names": list(data.class_names),
            "reading": dict(data.reading),
            "state": self.learner.prediction_state(),
        }

    def _confusion(self, score: Scorer, images: DeviceImages, labels: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Confusion matrix of the EMA model on some images and their labels; every worker scores a share."""
        mine = own_rows()
        predictions = self._predictions(score, images, indices[mine]).cpu().numpy()
        counts = metrics.confusion_matrix(labels[mine], predictions, self.dataset.classes)
        return sum_over_workers(torch.from_numpy(counts).to(self.device)).cpu().numpy()

    @torch.inference_mode()
    def _predictions(self, score: Scorer, images: DeviceImages, indices: np.ndarray) -> Tensor:
        """The classes that the method predicts, (len(indices),) int64; they stay on the device, so no batch waits."""
        parts = np.array_split(indices, max(1, -(-len(indices) // self._evaluation_batch())))
        return torch.cat([score(to_float(images.batch(part))).argmax(1) for part in parts])

    def _evaluation_batch(self) -> int:
        """Images scored at once: as many as a step trains on, so that whatever can be trained can be evaluated."""
        return max(SMALLEST_EVALUATION_BATCH, min(LARGEST_EVALUATION_BATCH, self._images_at_once()))

    def _images_at_once(self) -> int:
        """This worker's images of one step, all views counted."""
        return sum(self._batches.rows(view.stream) for view in self.learner.method.views.values()) // world_size()

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the trial depends on: tensors and plain values only."""
        return {
            "step": self.step,
            "learner": self.learner.state_dict(),
            "augmentation": self.augmentation.state_dict(),
            "interval": self._interval.state_dict(),
            "stage": self._stage,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        On a CPU to the same end bit for bit, given the same kind of processor, the same libraries and as many threads.
        """
        self.step = state["step"]
        self.learner.load_state_dict(state["learner"])
        self.augmentation.load_state_dict(state["augmentation"])
        self._interval.load_state_dict(state["interval"])
        self._stage = state.get("stage", 0)  # the first version had no stages
        if self._stage:
            self._enter(self._stage, self.learner.state)

    def _fresh_augmentation(self) -> Augmentation:
        config, dataset = self.config, self.dataset
        return Augmentation(
            config.augment,
            dataset=dataset.name,
            mirror=dataset.mirror,
            shift=dataset.shift,
            side=dataset.side,
            channels=dataset.channels,
            depth=config.adepth,
            threshold=config.ath,
            decay=config.adecay,
            device=self.device,
        )

    def _fresh_network(self, stage: int) -> Classifier:
        """A network with initial weights; every stage that needs one has its own."""
        config, dataset = self.config, self.dataset
        seed = config.seed if stage == 0 else int(generator(config.seed, "network", stage).integers(2**31))
        network = make_network(config, classes=dataset.classes, side=dataset.side, channels=dataset.channels, seed=seed)
        return network.to(self.device)

    def _facts(self, network: Classifier) -> Facts:
        weight = network.dense.weight
        config = self.config
        return facts_of(
            self.dataset,
            width=weight.shape[1],
            steps=config.steps,
            batch=config.batch,
            dtype=weight.dtype,
            device=self.device,
            compiled=config.compile,
        )
