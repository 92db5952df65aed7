"""Checks that every method must pass, whoever wrote it; see `CHECKS`.

All checks train on the embedded digits with a small network, for a dozen steps each, on one CPU core.
"""

import contextlib
import dataclasses
import functools
import io
import itertools
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cissl import plugins
from cissl.algorithms.cards import find
from cissl.config import TrialConfig, core_fields
from cissl.datasets import Dataset
from cissl.errors import UserError
from cissl.record_format import EvaluationFigures, Figure
from cissl.testing.device_calls import INDEXING, makes_host_wait
from cissl.testing.workers import short_data, train_together
from cissl.training.trainer import Trainer

STEPS = 12
BATCH = 8
SHORT: dict[str, Any] = {
    "dataset": "digits_LT_10.1@40-20",
    "seed": 2,
    "filters": 4,
    "repeat": 1,
    "scales": 2,
    "batch": BATCH,
    "uratio": 2,
    "lr": 0.1,
    "confidence": 0.25,
    "cap_ema_momentum": 0.9,
    "bn_decay": 0.9,
    "ema_decay": 0.9,
    "train_kimg": STEPS * BATCH / 1024,
    "report_kimg": BATCH / 1024,
}
# A setting may act only on pseudo-labels that are kept, or only on the others: each is tried beside these values.
THRESHOLDS = [{"confidence": threshold} for threshold in (0.15, 0.12, 0.5, 0.0, 1.0)]
SLOW = {"confidence": 0.3, "lr": 0.02}
WORKERS = 2
Learned = tuple[list[EvaluationFigures], dict[str, Any]]  # rows of the history, and the learner's state
EXACT = 1e-9  # of the largest value: differences from the order of sums in float64 are smaller


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name in `CHECKS`.
        problem: why the method fails it; empty if it passes.
    """

    check: str
    problem: str

    @property
    def passed(self) -> bool:
        """Whether there is no problem."""
        return not self.problem


def check_method(name: str, *, only: tuple[str, ...] = (), **settings: Any) -> list[Finding]:
    """Try a method in many ways.

    Args:
        name: a method or a sum; ``ours.py:Ours`` for a file of your own in the current folder.
        only: names of the checks to make; by default all of `CHECKS`.
        settings: settings of the short trials, in case the defaults do not show the method at work.

    Returns:
        The result of each check.

    Raises:
        UserError: the name means nothing, or a setting is refused.
    """
    return list(findings(name, only=only, **settings))


def findings(name: str, *, only: tuple[str, ...] = (), **settings: Any) -> Iterator[Finding]:
    """Do what `check_method` does, one check at a time.

    No mistake is told twice. A method that does not train gets no further checks.
    """
    config = short_config(name, **settings)
    told: dict[str, str] = {}  # error → the check that met it first
    for check in only or CHECKS:
        problem, raised = _tried(CHECKS[check], config)
        if problem in told:
            problem = f"the same as in '{told[problem]}'"
        yield Finding(check, problem)
        if raised and check == "training":
            return
        if raised:
            told.setdefault(problem, check)


def short_config(name: str, **settings: Any) -> TrialConfig:
    """The settings of a trial of a dozen steps on the digits, in which every part of the method acts.

    Raises:
        UserError: the name means nothing, or a setting is refused.
    """
    recipe = find(name)
    taken = {**core_fields(), **recipe.fields}
    values = {key: value for key, value in SHORT.items() if key in taken}
    for card in recipe.parts:
        values |= card.short
    return TrialConfig(**{**values, **settings, "algorithm": name})


def _tried(check: Callable[[TrialConfig], str], config: TrialConfig) -> tuple[str, bool]:
    """The problem that a check finds, and whether it is an error that was raised."""
    try:
        with one_thread():
            return check(config), False
    except UserError:
        raise
    except Exception as error:  # a method can raise anything; the finding has one line
        place = plugins.place_of(error) or _innermost(error)
        return f"{place}: {type(error).__name__}: {error}", True


def check_training(config: TrialConfig) -> str:
    """Check that it trains, that its losses are finite, and that its terms are on record."""
    trainer = _trainer(config)
    rows = _train(trainer)
    terms = rows[-1].get("terms", {})
    wrong = [name for row in rows for name, value in row.get("terms", {}).items() if not _is_finite(value)]
    if wrong:
        return f"the term '{wrong[0]}' is not finite"
    if not terms or not _is_finite(rows[-1]["loss"]):
        return "the loss is not finite or has no named term"
    return ""


def check_resumption(config: TrialConfig) -> str:
    """Check that an interrupted trial ends bit for bit as an undisturbed one: all that changes is in the state."""
    whole = _trainer(config)
    rows = _train(whole)
    for stop in (1, STEPS // 2, STEPS - 1):
        first = _trainer(config)
        _train(first, stop)
        saved = io.BytesIO()
        torch.save(first.state_dict(), saved)
        saved.seek(0)
        second = _trainer(config)
        second.load_state_dict(torch.load(saved, weights_only=True))
        if _train(second) != rows[stop:] or not _same(whole.learner.state_dict(), second.learner.state_dict()):
            return f"interrupted at step {stop} it does not end as it does undisturbed; what changes must be in `state`"
    return ""


def check_workers(config: TrialConfig) -> str:
    """Check that two workers train what one trains, up to the rounding of float64."""
    return compare_workers(config, train_together([config], WORKERS)[0])


def compare_workers(config: TrialConfig, together: dict[str, Any]) -> str:
    """How one worker's training differs from that of several.

    Args:
        config: the trial.
        together: what `train_together` gives for it.

    Returns:
        The difference in words, empty if there is none.
    """
    with one_thread(), double_precision():
        alone = _trainer(config)
        rows = _train(alone)
        state = alone.learner.state_dict()
    for loss, other in zip([_number(row["loss"]) for row in rows], together["losses"], strict=True):
        if not math.isclose(loss, other, rel_tol=1e-7, abs_tol=1e-9):
            return f"the loss is {loss} with one worker and {other} with two; all of a step is of the global batch"
    for name, value in _flat(state).items():
        if not _close(value, _flat(together["learner"])[name]):
            return f"'{name}' differs between one worker and two"
    return ""


def check_state(config: TrialConfig) -> str:
    """Check that a step writes new tensors, and does not change the old state in place."""
    trainer = _trainer(config)
    for _ in range(STEPS):
        before = trainer.learner.state
        copies = {name: value.clone() for name, value in before.items()}
        versions = {name: value._version for name, value in before.items()}
        trainer.train_step()
        for name, value in before.items():
            if value._version != versions[name] or not torch.equal(value.nan_to_num(), copies[name].nan_to_num()):
                return f"the state '{name}' was changed in place; write a new tensor to step.next['{name}']"
    return ""


def check_settings(config: TrialConfig) -> str:
    """Check that each of the method's own settings changes a loss, the state or the weights, by more than rounding."""
    learned = functools.cache(_learned)
    with double_precision():
        for key, field in config.recipe.fields.items():
            if field.metadata["changes_result"] and not _acts(key, config, learned):
                return (
                    f"'{key}' changes nothing in {STEPS} steps; if it acts only beside other values of other settings, "
                    "name these: setting(…, acts_with={…})"
                )
    return ""


def _acts(key: str, config: TrialConfig, learned: Callable[[TrialConfig], Learned]) -> bool:
    """Whether another value of a setting changes what is learned, from any of the starting points.

    If all other values are refused, the setting counts as one that acts.
    """
    for start in _starting_points(key, config):
        refused = True
        for value in _others(config.recipe.fields[key], start.method[key]):
            with contextlib.suppress(UserError):
                if _learns_otherwise(dataclasses.replace(start, **{key: value}), *learned(start)):
                    return True
                refused = False
        if refused:
            return True
    return False


def _starting_points(key: str, config: TrialConfig) -> Iterator[TrialConfig]:
    """Trials in which a setting may act.

    These are the trial itself; the trial with what the setting acts with; with more and fewer pseudo-labels kept; and
    with another value of one of the other settings.
    """
    fields = config.recipe.fields
    changes: list[dict[str, Any]] = [{}, fields[key].metadata["acts_with"], *THRESHOLDS]
    for name, field in fields.items():
        for value in _others(field, config.method[name]):
            changes += [{name: value, **beside} for beside in ({}, THRESHOLDS[0], SLOW)]
    seen: list[dict[str, Any]] = []
    for change in changes:
        change = {name: value for name, value in change.items() if name in fields or name in core_fields()}
        if key not in change and change not in seen:
            seen.append(change)
            with contextlib.suppress(UserError):
                yield dataclasses.replace(config, **change)


def _learned(config: TrialConfig) -> Learned:
    trainer = _trainer(config)
    return _train(trainer), trainer.learner.state_dict()


def _learns_otherwise(config: TrialConfig, rows: Sequence[EvaluationFigures], state: dict[str, Any]) -> bool:
    """Whether a trial gives other rows or another final state than these; it ends at the first difference."""
    trainer = _trainer(config)
    if not all(map(_alike, trainer.run(), rows)):
        return True
    return not _alike(trainer.learner.state_dict(), state)


def check_hidden_labels(config: TrialConfig) -> str:
    """Check that the labels of unlabeled images change nothing that is learned."""
    dataset = short_data(config)
    labels = dataset.labels.copy()
    known = {*dataset.labeled.tolist(), *dataset.valid.tolist()}
    hidden = [i for i in range(len(labels)) if i not in known]
    labels[hidden] = (labels[hidden] + 1) % dataset.classes
    learned = []
    for data in (dataset, dataclasses.replace(dataset, labels=labels)):
        trainer = _trainer(config, data)
        _train(trainer)
        learned.append(trainer.learner.state_dict())
    return "" if _same(*learned) else "the hidden labels of unlabeled images change what is learned"


def check_waiting(config: TrialConfig) -> str:
    """Check that no step reads a value from the device, unless a part says so in `waits`."""
    trainer = _trainer(config)
    if any(part.waits for part in trainer.learner.method.parts):
        return ""
    readings = _Readings()
    for step in range(STEPS):
        trainer._between_steps()
        batch = trainer._batch()
        views, _ = trainer._augmented(batch)
        with readings if step else contextlib.nullcontext():
            trainer.learner.losses(trainer._step(batch, views))
        trainer.train_step()
    if readings.seen:
        operation, place = readings.seen[0]
        at = f" at {place}" if place else ""
        return f"a step reads a value back from the device{at} ({operation}); avoid it, or say why in `waits`"
    return ""


def check_bf16(config: TrialConfig) -> str:
    """Check that its loss stays finite in bf16."""
    rows = _train(_trainer(dataclasses.replace(config, precision="bf16")))
    return "" if all(_is_finite(row["loss"]) for row in rows) else "the loss is not finite with precision: bf16"


def check_heads(config: TrialConfig) -> str:
    """Check that every extra head learns, and is averaged."""
    trainer = _trainer(config)
    before = {name: value.clone() for name, value in trainer.learner.model.named_parameters() if "heads." in name}
    _train(trainer)
    after = dict(trainer.learner.model.named_parameters())
    averaged = dict(trainer.learner.ema_model.named_parameters())
    for name, value in before.items():
        if torch.equal(value, after[name]) or torch.equal(value, averaged[name]):
            return f"the weights '{name}' of a head are never trained"
    return ""


CHECKS: dict[str, Callable[[TrialConfig], str]] = {
    "training": check_training,
    "resumption": check_resumption,
    "state": check_state,
    "settings": check_settings,
    "hidden labels": check_hidden_labels,
    "heads": check_heads,
    "waiting": check_waiting,
    "bf16": check_bf16,
    "workers": check_workers,
}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within, torch computes on one thread, so that sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Within, networks are built in float64."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)


class _Readings(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate it
    """Notes the operations that make a host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not annotate it
        self.seen: list[tuple[str, str | None]] = []  # operation, and the user's line that needs it

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if makes_host_wait(function, args, kwargs or {}):
            self.seen.append((self._words(function), plugins.place_now()))
        return function(*args, **(kwargs or {}))

    @staticmethod
    def _words(function: Any) -> str:
        name = function.__name__.partition(".")[0]
        if name == "_local_scalar_dense":
            return "as .item() and comparisons in `if` do"
        return f"{name} with a mask" if name in INDEXING else name


def _trainer(config: TrialConfig, dataset: Dataset | None = None) -> Trainer:
    return Trainer(config, dataset or short_data(config), torch.device("cpu"))


def _train(trainer: Trainer, until: int = STEPS) -> list[EvaluationFigures]:
    """Train up to a step; returns the rows of the history, one for each step."""
    rows = itertools.islice(trainer.run(), until - trainer.step)
    return [row for row in rows if row is not None]


def _number(figure: Figure) -> float:
    return math.nan if figure is None else figure


def _is_finite(figure: Figure) -> bool:
    return math.isfinite(_number(figure))


def _others(field: dataclasses.Field[Any], value: Any) -> list[Any]:
    """Other values of a setting; those that most likely change something come first."""
    limits = field.metadata
    others = [limits["other"], *limits["choices"]]
    if isinstance(value, bool):
        others.append(not value)
    elif isinstance(value, int):
        others.append(value + 1)
    elif isinstance(value, float):
        others.append(0.5 * value if value else min(0.5, limits["at_most"] or 0.5))
    return [other for other in others if other is not None and other != value]


def _flat(state: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """The tensors of nested dicts, by path."""
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        if isinstance(value, dict):
            tensors |= _flat(value, f"{prefix}{key}/")
        elif isinstance(value, Tensor):
            tensors[prefix + key] = value
    return tensors


def _same(state: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether all tensors of two states are equal bit for bit."""
    first, second = _flat(state), _flat(other)
    return first.keys() == second.keys() and all(
        torch.equal(value.nan_to_num(), second[name].nan_to_num()) for name, value in first.items()
    )


def _alike(value: Any, other: Any) -> bool:
    """Whether nested dicts and lists of tensors and numbers are equal up to rounding."""
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(_alike(item, other[key]) for key, item in value.items())
    if isinstance(value, list):
        return len(value) == len(other) and all(map(_alike, value, other))
    if isinstance(value, Tensor):
        return value.shape == other.shape and _close(value, other)
    if isinstance(value, float):
        return math.isclose(value, other, rel_tol=EXACT, abs_tol=EXACT) or math.isnan(value) and math.isnan(other)
    return bool(value == other)


def _close(value: Tensor, other: Tensor) -> bool:
    """Whether tensors of one shape are equal up to rounding."""
    value, other = value.double(), other.double()
    largest = value.nan_to_num(posinf=0, neginf=0).abs().max().item() if value.numel() else 0.0
    return torch.allclose(value, other, rtol=0, atol=EXACT * max(1.0, largest), equal_nan=True)


def _innermost(error: BaseException) -> str:
    """``file:line`` of the place where an error was raised."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{frame.f_code.co_filename}:{line}"
