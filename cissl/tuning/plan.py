"""What a sweep would do: its trials, their steps, labels per class and disk space, checked against the data."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cissl.config import TrialConfig, core_fields
from cissl.datasets import DatasetSpec, load, splits
from cissl.datasets.catalog import KNOWN
from cissl.datasets.dataset import EMBEDDED, draw_labeled
from cissl.datasets.store import data_directory, is_prepared
from cissl.doubts import doubts
from cissl.errors import UserError
from cissl.models.names import check_sizes, is_known
from cissl.training.records import data_hashes
from cissl.tuning.grid import SPLIT_KEYS, given_keys
from cissl.tuning.mistakes import Mistakes
from cissl.tuning.sweep_file import Sweep

STORED_COPIES = {"sgd": 3, "adamw": 4}  # of the parameters in a checkpoint: weights, their average, the optimizer's
VALUE = 4  # bytes of a parameter, and of an entry of a confusion matrix
ROW, ROW_PER_CLASS = 1000, 60  # bytes that an evaluation adds to history and TensorBoard
CLASSES_SHOWN = 10
CHANNELS = 3  # of every known data set that has to be prepared


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What a trial's data set and split come to."""

    labeled_counts: list[int]
    classes: int
    side: int
    channels: int
    prepared: bool
    valid_labeled: int
    """validation images that are labeled too; not known, hence 0, where the data are not prepared"""
    classes_without_validation: int
    """likewise"""
    hashes: dict[str, str]
    """what the data are known by, see `records.data_hashes`; likewise none"""


def check_data(sweep: Sweep, data_dir: Path | None, *, need_prepared: bool = True) -> dict[str, DataFacts]:
    """The facts of every split of the sweep, by its name.

    Args:
        need_prepared: False counts labels from the catalog where a known data set is not prepared yet.

    Raises:
        UserError: a data set is unknown or missing, a class cannot fill the split, or a search would choose by images
            that its trials are trained on; with the line in the sweep file.
    """
    mistakes = Mistakes()
    facts: dict[str, DataFacts | None] = {}
    for config in sweep.trials:
        if config.dataset not in facts:
            facts[config.dataset] = None
            try:
                facts[config.dataset] = _facts(config.spec, data_dir, need_prepared)
                if sweep.search:
                    _require_held_out(config.spec, facts[config.dataset].valid_labeled)
                    _require_metric(sweep.search.metric, config.spec, facts[config.dataset])
            except UserError as error:
                mistakes.add(sweep.error(config, error))
    mistakes.tell()
    return facts


def _require_held_out(spec: DatasetSpec, valid_labeled: int) -> None:
    if valid_labeled:
        held_out = dataclasses.replace(spec, held_out=True)
        raise UserError(
            f"{valid_labeled} of the {spec.valid} validation images of {spec} are labeled, so a search would choose by "
            f"images that it trains on; write _HELDOUT before the split's seed, as in {held_out}",
            key="dataset",
        )


def _require_metric(metric: str, spec: DatasetSpec, facts: DataFacts) -> None:
    if metric == "valid_gmean" and facts.classes_without_validation:
        raise UserError(
            f"{facts.classes_without_validation} of the {facts.classes} classes are not among the {spec.valid} "
            f"validation images of {spec}, so that valid_gmean is not defined; give more, or choose by valid_accuracy",
            key="valid_size",
        )


def check_networks(sweep: Sweep, facts: dict[str, DataFacts]) -> None:
    """See that every trial's network exists.

    Raises:
        UserError: a network that there is not, that the images are too small for, or that the weights are not of; with
            the line in the sweep file.
    """
    mistakes = Mistakes()
    tried: set[tuple] = set()
    for config, _ in sweep.checked:
        data = facts[config.dataset]
        try:
            check_sizes(config.arch, side=data.side, **_sizes(config))
            kind = (config.arch, config.weights, data.classes, data.side, data.channels, *_sizes(config).values())
            if kind not in tried and (config.weights or not is_known(config.arch)):
                tried.add(kind)
                from cissl.training.learner import make_network  # imports torch, for which a driver has little use

                make_network(config, classes=data.classes, side=data.side, channels=data.channels)
        except UserError as error:
            mistakes.add(sweep.error(config, error))
    mistakes.tell()


def parameters(sweep: Sweep, facts: dict[str, DataFacts]) -> dict[str, int]:
    """Trainable values of each trial's network, by trial id."""
    from cissl.models.backbones import build, parameter_count  # imports torch, for which a sweep's driver has no use

    counted: dict[tuple, int] = {}
    result = {}
    for config in sweep.trials:
        data = facts[config.dataset]
        shape = dict(arch=config.arch, classes=data.classes, side=data.side, channels=data.channels, **_sizes(config))
        key = tuple(shape.values())
        if key not in counted:
            counted[key] = parameter_count(build(**shape, data=config.spec.name))
        result[config.trial_id] = counted[key]
    return result


def _sizes(config: TrialConfig) -> dict[str, int | None]:
    return {"filters": config.filters, "repeat": config.repeat, "scales": config.scales}


def table(sweep: Sweep, facts: dict[str, DataFacts], sizes: dict[str, int]) -> str:
    """The trials, one in a line, and the sums below them.

    Args:
        sweep: which trials there are.
        facts: of each split, see `check_data`.
        sizes: trainable values of each trial's network, see `parameters`.
    """
    missing = sorted({config.spec.name for config in sweep.trials if not facts[config.dataset].prepared})
    lines = [
        *_aligned(_rows(sweep, facts)),
        *_search_lines(sweep),
        *_sums(sweep, facts, sizes),
        *(f"not prepared: {name}; run: python -m cissl.datasets prepare {name}" for name in missing),
        *notes(sweep, facts),
    ]
    return "\n".join(lines)


def _rows(sweep: Sweep, facts: dict[str, DataFacts]) -> list[tuple[str, ...]]:
    """The headings, then a row for each trial."""
    swept = _swept(sweep.trials)
    rows = [("trial", "split", *swept, "steps", "evaluations", "labels", "labels per class")]
    for config in sweep.trials:
        counts = facts[config.dataset].labeled_counts
        rows.append(
            (
                config.name,
                config.dataset,
                *(str(_taken(config).get(key, "–")) for key in swept),
                str(config.steps),
                str(-(-config.steps // config.report_steps)),
                str(sum(counts)),
                _shown(counts),
            )
        )
    return rows


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows as lines of text, the headings underlined; the first two columns and the last one begin at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = range(2, len(widths) - 1)
    lines = [
        "  ".join(
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _search_lines(sweep: Sweep) -> list[str]:
    if not sweep.search:
        return []
    lines = ["", f"a search of {sweep.search.trials} candidates, of which these stand at corners of its space"]
    if sweep.rungs:
        rungs = ", ".join(f"{rung:.0%}" for rung in sweep.rungs)
        lines.append(f"asha: trials of one point of the grid are compared at {rungs} of their training")
    return lines


def _sums(sweep: Sweep, facts: dict[str, DataFacts], sizes: dict[str, int]) -> list[str]:
    """What all trials together take, those that a search has yet to make included."""
    trials = sweep.search.trials * sweep.grid_size if sweep.search else len(sweep.trials)
    scale = trials / len(sweep.trials)
    steps = round(scale * sum(config.steps for config in sweep.trials))
    needs = [disk(config, sizes[config.trial_id], facts[config.dataset].classes) for config in sweep.trials]
    kept, running = sum(complete for complete, _ in needs), max(running for _, running in needs)
    return [
        "",
        f"{trials} trials, {steps} steps; about {_bytes(round(scale * kept))} on the disk when all are complete, and "
        f"up to {_bytes(running)} for each trial while it runs",
    ]


def notes(sweep: Sweep, facts: dict[str, DataFacts]) -> list[str]:
    """What is allowed and seldom meant, see `cissl.doubts`; and, of a search, what early stopping comes to."""
    lines = _takers(sweep)
    lines += [f"note: {doubt}" for doubt in doubts([(config, facts[config.dataset]) for config in sweep.trials])]
    if sweep.search and sweep.search.asha and not sweep.rungs:
        lines.append("note: asha stops no trial, since grace_kimg is as long as the shortest training")
    return lines


def disk(config: TrialConfig, parameters: int, classes: int) -> tuple[int, int]:
    """Bytes that a trial's folder takes: when it is complete, and at most while it runs.

    A running trial has `keep_ckpt` checkpoints and the one that is being written.
    """
    evaluations = -(-config.steps // config.report_steps)
    records = evaluations * (ROW + ROW_PER_CLASS * classes + VALUE * classes**2)
    checkpoint = STORED_COPIES[config.optimizer] * VALUE * parameters
    complete = VALUE * parameters + records + config.keep_training_state * config.keep_ckpt * checkpoint
    return complete, (config.keep_ckpt + 1) * checkpoint + records


def _swept(trials: Sequence[TrialConfig]) -> list[str]:
    """Settings that differ between trials and that neither the trial's name nor its split shows.

    Where every trial has its own method's default, the setting differs because the methods do, which says nothing.
    """
    settings = [_taken(config) for config in trials]
    keys = dict.fromkeys(key for values in settings for key in values if key not in ("dataset", "algorithm", "seed"))
    differ = [key for key in keys if len({values[key] for values in settings if key in values}) > 1]
    chosen = {key for config in trials for key, value in _taken(config).items() if value != _default(config, key)}
    return [key for key in differ if key in chosen]


def _default(config: TrialConfig, key: str) -> Any:
    """What a setting is where nobody gives it, for the trial's algorithm."""
    return {**core_fields(), **config.recipe.fields}[key].default


def _taken(config: TrialConfig) -> dict[str, Any]:
    """The settings that the trial's algorithm has, by their keys."""
    return {key: getattr(config, key) for key in core_fields()} | dict(config.method)


def _takers(sweep: Sweep) -> list[str]:
    """Settings of the file that only some of its algorithms have, and which those are."""
    recipes = {config.algorithm: config.recipe for config in sweep.trials}
    lines = []
    for key in given_keys(sweep.source):
        takers = [name for name, recipe in recipes.items() if key in recipe.fields]
        if key not in core_fields() and key not in SPLIT_KEYS and len(takers) < len(recipes):
            lines.append(f"note: {key} is a setting of {', '.join(takers)} alone")
    return lines


def is_there(name: str, data_dir: Path | None) -> bool:
    """Whether this machine has the images of a data set."""
    return name in EMBEDDED or is_prepared(name, data_directory(data_dir))


def _facts(spec: DatasetSpec, data_dir: Path | None, need_prepared: bool) -> DataFacts:
    there = is_there(spec.name, data_dir)
    if not (there or need_prepared) and spec.name in KNOWN:
        return _from_catalog(spec)
    try:
        data = load(spec, data_dir)
    except UserError as error:
        raise UserError(str(error), key=_at_fault(spec, data_dir) if there else "dataset") from None
    without = np.count_nonzero(splits.class_counts(data.labels[data.valid], data.classes) == 0)
    return DataFacts(
        labeled_counts=data.labeled_counts,
        classes=data.classes,
        side=data.side,
        channels=data.channels,
        prepared=True,
        valid_labeled=data.valid_labeled,
        classes_without_validation=int(without),
        hashes=data_hashes(data),
    )


def _at_fault(spec: DatasetSpec, data_dir: Path | None) -> str:
    """Which key of a split that the data cannot fill asks for too much."""
    try:
        load(dataclasses.replace(spec, valid=1), data_dir)
    except UserError:
        return "labeled_size"
    return "valid_size"


def _from_catalog(spec: DatasetSpec) -> DataFacts:
    """Labels per class as the split's rule gives them for equally large classes, while the images are missing."""
    known = KNOWN[spec.name]
    labels = np.arange(known.train) % known.classes
    try:
        labeled = draw_labeled(spec, labels)
    except UserError as error:
        raise UserError(f"{spec}: {error}", key="labeled_size") from None
    counts = splits.class_counts(labels[labeled], known.classes).tolist()
    return DataFacts(
        labeled_counts=counts,
        classes=known.classes,
        side=known.side,
        channels=CHANNELS,
        prepared=False,
        valid_labeled=0,
        classes_without_validation=0,
        hashes={},
    )


def _shown(counts: Sequence[int]) -> str:
    if len(counts) <= CLASSES_SHOWN:
        return " ".join(map(str, counts))
    return f"{' '.join(map(str, counts[:4]))} … {' '.join(map(str, counts[-3:]))} ({len(counts)} classes)"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
