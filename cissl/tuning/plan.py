"""The plan of a sweep: its trials with steps, labels per class and disk space, checked against the data."""

import dataclasses
from collections.abc import Hashable, Sequence
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
    """A trial's data set and split in numbers.

    Attributes:
        labeled_counts: number of labeled images of each class.
        classes: number of classes.
        side: height and width of an image in pixels.
        channels: channels of an image.
        prepared: whether this machine has the images.
        valid_labeled: validation images that are labeled too; 0 if the data are not prepared.
        classes_without_validation: classes that have no validation image; 0 if the data are not prepared.
        hashes: see `records.data_hashes`; empty if the data are not prepared.
    """

    labeled_counts: list[int]
    classes: int
    side: int
    channels: int
    prepared: bool
    valid_labeled: int
    classes_without_validation: int
    hashes: dict[str, str]


def check_data(sweep: Sweep, data_dir: Path | None, *, need_prepared: bool = True) -> dict[str, DataFacts]:
    """The facts about every split of the sweep, by its name.

    Args:
        sweep: which trials there are.
        data_dir: where prepared data sets live; by default as `cissl.datasets.load` decides.
        need_prepared: if False, a known data set need not be prepared: the catalog gives its counts of labels.

    Raises:
        UserError: a data set is unknown or missing, a class cannot fill the split, or a search would choose by images
            that its trials are trained on; with the line in the sweep file.
    """
    mistakes = Mistakes()
    facts: dict[str, DataFacts] = {}
    first_trials: dict[str, TrialConfig] = {}
    for config in sweep.trials:
        first_trials.setdefault(config.dataset, config)
    for config in first_trials.values():
        try:
            found = _facts(config.spec, data_dir, need_prepared)
            if sweep.search:
                _require_held_out(config.spec, found.valid_labeled)
                _require_metric(sweep.search.metric, config.spec, found)
            facts[config.dataset] = found
        except UserError as error:
            mistakes.add(sweep.error(config, error))
    mistakes.tell()
    return facts


def _require_held_out(spec: DatasetSpec, valid_labeled: int) -> None:
    """Check that a search chooses by images that its trials are not trained on.

    Raises:
        UserError: some validation images are labeled.
    """
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
    """Check that every trial's network can be built.

    Args:
        sweep: which trials there are.
        facts: facts about each split, see `check_data`.

    Raises:
        UserError: there is no such network, the images are too small for it, or the file of weights belongs to another
            one; with the line in the sweep file.
    """
    mistakes = Mistakes()
    tried: set[Hashable] = set()
    for config, _ in sweep.checked:
        data = facts[config.dataset]
        try:
            check_sizes(config.arch, side=data.side, filters=config.filters, repeat=config.repeat, scales=config.scales)
            kind = (config.weights, _network_kind(config, data))
            if kind not in tried and (config.weights or not is_known(config.arch)):
                tried.add(kind)
                from cissl.training.learner import make_network  # here, since a driver seldom needs torch

                make_network(config, classes=data.classes, side=data.side, channels=data.channels)
        except UserError as error:
            mistakes.add(sweep.error(config, error))
    mistakes.tell()


def parameters(sweep: Sweep, facts: dict[str, DataFacts]) -> dict[str, int]:
    """Number of trainable values of each trial's network, by trial id.

    Args:
        sweep: which trials there are.
        facts: facts about each split, see `check_data`.
    """
    from cissl.models.backbones import parameter_count  # here, since a sweep's driver needs no torch
    from cissl.training.learner import make_network

    counted: dict[Hashable, int] = {}
    result = {}
    for config in sweep.trials:
        data = facts[config.dataset]
        kind = _network_kind(config, data)
        if kind not in counted:
            network = make_network(
                config, classes=data.classes, side=data.side, channels=data.channels, pretrained=False
            )
            counted[kind] = parameter_count(network)
        result[config.trial_id] = counted[kind]
    return result


def _network_kind(config: TrialConfig, data: DataFacts) -> Hashable:
    """Equal for trials whose networks have the same layers."""
    return config.arch, data.classes, data.side, data.channels, config.filters, config.repeat, config.scales


def table(sweep: Sweep, facts: dict[str, DataFacts], sizes: dict[str, int]) -> str:
    """The plan as text: a line for each trial, then the sums and the notes.

    Args:
        sweep: which trials there are.
        facts: facts about each split, see `check_data`.
        sizes: number of trainable values of each trial's network, see `parameters`.
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
    rows: list[tuple[str, ...]] = [("trial", "split", *swept, "steps", "evaluations", "labels", "labels per class")]
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
    """The rows as lines of text, with underlined headings. The first two columns and the last one are left-aligned."""
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
    """Steps and disk space of all trials together. Trials that a search has not proposed yet are counted too."""
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
    """Notes about settings that are allowed and seldom meant, see `cissl.doubts`.

    Args:
        sweep: which trials there are.
        facts: facts about each split, see `check_data`.
    """
    lines = _takers(sweep)
    lines += [f"note: {doubt}" for doubt in doubts([(config, facts[config.dataset]) for config in sweep.trials])]
    if sweep.search and sweep.search.asha and not sweep.rungs:
        lines.append("note: asha stops no trial, since grace_kimg is as long as the shortest training")
    return lines


def disk(config: TrialConfig, parameters: int, classes: int) -> tuple[int, int]:
    """Bytes of a trial's folder: of a complete trial, and the most while it runs.

    A running trial has `keep_ckpt` checkpoints, and one more while that is written.

    Args:
        config: the trial's settings.
        parameters: number of trainable values of its network.
        classes: number of classes.
    """
    evaluations = -(-config.steps // config.report_steps)
    records = evaluations * (ROW + ROW_PER_CLASS * classes + VALUE * classes**2)
    checkpoint = STORED_COPIES[config.optimizer] * VALUE * parameters
    complete = VALUE * parameters + records + config.keep_training_state * config.keep_ckpt * checkpoint
    return complete, (config.keep_ckpt + 1) * checkpoint + records


def _swept(trials: Sequence[TrialConfig]) -> list[str]:
    """Settings that differ between trials and that neither the trial's name nor its split shows.

    A setting is left out if every trial has the default of its method: then only the methods differ.
    """
    settings = [_taken(config) for config in trials]
    keys = dict.fromkeys(key for values in settings for key in values if key not in ("dataset", "algorithm", "seed"))
    differ = [key for key in keys if len({values[key] for values in settings if key in values}) > 1]
    chosen = {key for config in trials for key, value in _taken(config).items() if value != _default(config, key)}
    return [key for key in differ if key in chosen]


def _default(config: TrialConfig, key: str) -> Any:
    """The default of a setting, for the trial's algorithm."""
    return {**core_fields(), **config.recipe.fields}[key].default


def _taken(config: TrialConfig) -> dict[str, Any]:
    """The settings that the trial's algorithm has, by their keys."""
    return {key: getattr(config, key) for key in core_fields()} | dict(config.method)


def _takers(sweep: Sweep) -> list[str]:
    """A note for each setting of the file that only some of its algorithms have."""
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
    """The key of a split that asks for more images than the data have."""
    try:
        load(dataclasses.replace(spec, valid=1), data_dir)
    except UserError:
        return "labeled_size"
    return "valid_size"


def _from_catalog(spec: DatasetSpec) -> DataFacts:
    """The facts about a split whose images are missing: its labels per class if all classes are equally large."""
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
