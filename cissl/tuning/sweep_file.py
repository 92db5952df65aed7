"""A sweep file: YAML that a person writes → the trials, and how to run them. Does not use Ray.

base: other.yaml                      # optional: a sweep file whose keys hold unless this file gives them; its name is
                                      # not taken over. YAML's <<: *name works too
name: cifar10_lt                      # default: the file's name
settings:                             # the same for all trials: any setting of a trial (python -m cissl.train --help)
  dataset: cifar10                    # with the next keys it makes the split:
  imbalance_ratio: 20                 #   γ; by default, or with null, labels are balanced
  labeled_size: 20                    #   number of labels; with an imbalance ratio, those of the largest class
  valid_size: 1                       #   default 1
  seed: 1                             #   for the split and for training; default 1
                                      #   labels: all  takes every label that there is, in place of labeled_size
                                      #   class_order: size  starts the long tail with the class that has most images
                                      # the whole split may be given instead: dataset: "cifar10_LT_20.{seed}@20-1"
                                      # with a search, validation images are taken from those without a label (_HELDOUT)
grid:                                 # every combination is a trial; settings joined by commas change together
  algorithm: [fixmatch, cadr]
  imbalance_ratio, labeled_size: [[20, 20], [50, 50]]
  seed: [1, 2, 3]                     # or 1..3, for any setting that is a whole number
search:                               # a search, with or without a grid: every candidate runs the whole grid
  space: {lr: {loguniform: [0.01, 0.1]}, confidence: {choice: [0.9, 0.95]}, batch: {int: [8, 64, 8]}}
                                      #   int: [lowest, highest], or [lowest, highest, step]; logint: [lowest, highest]
  metric: valid_accuracy              #   or valid_gmean; the mean over a candidate's trials counts
  trials: 20                          #   number of candidates
  sampler: tpe                        #   or random
  seed: 0
  asha: {grace_kimg: 4, reduction_factor: 3}   # optional: weak trials end early (learning rates follow the full length)
resources: {cpus: 1, gpus: 0, workers: 1}   # cpus and gpus of each worker; number of workers of each trial
concurrency: 2                        # trials at a time; default: as many as fit
loggers: [tensorboard, wandb, mlflow] # show the curves beside the records; default: [tensorboard]
data_dir: /shared/data                # prepared data sets; default: $ML_DATA, else ~/.cache/cissl

Words without quotes have the value that a person expects (see `scalars`): 5e-4 is a number. Words that YAML would
convert to something else are refused, such as 010, 1:30 and yes; so are tags.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cissl.config import KIMG, TrialConfig, core_fields
from cissl.errors import UserError, nearest
from cissl.training.loggers import DEFAULT, INSTALL, check_loggers
from cissl.tuning import document
from cissl.tuning.document import At, Document
from cissl.tuning.grid import SPLIT_KEYS, SPLIT_NUMBERS, Origin, blamed, expand, known_keys, read_axes, require_setting
from cissl.tuning.halving import rungs
from cissl.tuning.mistakes import Mistakes

TOP_KEYS = ("name", "settings", "grid", "search", "resources", "concurrency", "data_dir", "loggers")
RESOURCES = ("cpus", "gpus", "workers")
SEARCH_KEYS = ("space", "metric", "trials", "sampler", "seed", "asha")
ASHA_KEYS = ("grace_kimg", "reduction_factor")
METRICS = ("valid_accuracy", "valid_gmean")
SAMPLERS = ("tpe", "random")
RANGES = ("uniform", "loguniform", "int", "logint", "choice")
WHOLE_RANGES = ("int", "logint")
WHOLE_AXES = (*(key for key, field in core_fields().items() if field.type is int), *SPLIT_NUMBERS)
AXIS_RANGE = re.compile(r"(\d+)\s*\.\.\s*(\d+)", re.ASCII)
LONGEST_RANGE = 10_000
CONTINUOUS = ("uniform", "loguniform")
FEWEST_VALIDATION_IMAGES = 10  # with fewer, one image changes the metric more than a setting does
SMOKE_STEPS = 3
FINEST_SHARE = 1e-4  # of a CPU or GPU
LARGEST_WHOLE = 2**53  # of candidates, workers and searched numbers: floats cannot express all larger ones
MOST_CHECKED = 2000  # trials at the corners of a search's space
LONGEST_NAME = 100  # bytes of a sweep's name; file systems allow 255 for a folder
DATA_KEYS = ("dataset", "seed", *SPLIT_KEYS)  # these choose the data, which must be the same for all candidates


@dataclasses.dataclass(frozen=True)
class ResourceRequest:
    """What a sweep file asks for; `cissl.tuning.cluster.fit` decides what trials get.

    Attributes:
        cpus: CPUs of each worker; None: what suits the machines.
        gpus: GPUs of each worker; None: what suits the machines.
        workers: processes of one trial (distributed data parallel).
    """

    cpus: float | None = None
    gpus: float | None = None
    workers: int = 1


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One searched setting.

    Attributes:
        kind: one of `RANGES`.
        values: the two bounds of a range, or the choices.
        step: distance of the numbers of an ``int`` range.
    """

    kind: str
    values: tuple[Any, ...]
    step: int = 1


@dataclasses.dataclass(frozen=True)
class Asha:
    """Early stopping, see `halving`.

    The learning rate falls over the whole of `train_kimg`, and a trial that is stopped early is judged before it has
    fallen. This is a disadvantage for settings that help late, such as more weight decay: choose a large `grace_kimg`.

    Attributes:
        grace_kimg: no trial is stopped before this, in 1024 labeled images.
        reduction_factor: η: one of η trials continues.
    """

    grace_kimg: float
    reduction_factor: int


@dataclasses.dataclass(frozen=True)
class Search:
    """A hyper-parameter search on validation data.

    Attributes:
        space: the searched settings.
        metric: one of `METRICS`.
        trials: number of candidates; each runs the whole grid.
        sampler: one of `SAMPLERS`.
        seed: seed of the sampler.
        asha: early stopping; None for none.
    """

    space: dict[str, Dimension]
    metric: str
    trials: int
    sampler: str
    seed: int
    asha: Asha | None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Everything that a sweep file says.

    Attributes:
        name: name of the sweep and of its folder.
        path: the file.
        source: the file's content.
        resources: what it asks for each worker.
        concurrency: most trials at a time; None: as many as fit.
        loggers: names of loggers that show the curves, see `cissl.training.loggers`.
        data_dir: where prepared data sets live; None: as `cissl.datasets.load` decides.
        search: the hyper-parameter search, if there is one.
        planned: the grid's trials. With a search: those of some candidates at corners of its space.
        checked: the same. With a search: those at all corners of its space, if they are not too many.
    """

    name: str
    path: Path
    source: Document
    resources: ResourceRequest
    concurrency: int | None
    loggers: tuple[str, ...]
    data_dir: str | None
    search: Search | None
    planned: list[tuple[TrialConfig, Origin]]
    checked: list[tuple[TrialConfig, Origin]]

    @property
    def trials(self) -> list[TrialConfig]:
        """The planned trials."""
        return [config for config, _ in self.planned]

    @property
    def grid_size(self) -> int:
        """Combinations of the grid: the trials of each candidate."""
        return math.prod(len(axis.rows) for axis in read_axes(self.source))

    @property
    def rungs(self) -> list[float]:
        """The fractions of its training at which a searched trial may be stopped; none without ASHA.

        They are computed for the shortest training of the space, so that no trial is stopped before `grace_kimg`.
        """
        if self.search is None or self.search.asha is None:
            return []
        asha, shortest = self.search.asha, min(config.train_kimg for config, _ in self.checked)
        return rungs(asha.grace_kimg / shortest, asha.reduction_factor)

    def point(self) -> Callable[[TrialConfig], Hashable]:
        """A function that gives a trial's point of the grid: its split, and its values on the axes."""
        keys = [key for axis in read_axes(self.source) for key in axis.keys if key not in SPLIT_KEYS]

        def point(config: TrialConfig) -> Hashable:
            settings = config.to_dict()
            return config.dataset, *(settings.get(key) for key in keys)

        return point

    def candidate(self, params: dict[str, Any]) -> list[TrialConfig]:
        """The trials of one candidate of the search.

        Args:
            params: the searched settings, which are added to the whole grid.

        Raises:
            UserError: such trials are impossible, although those at the corners of the space are possible.
        """
        trials = expand(self.source, params)
        for config, _ in trials:
            _check_trial(self, config)
        return [config for config, _ in trials]

    def error(self, config: TrialConfig, error: UserError) -> UserError:
        """A mistake that was found with one of the trials, with the line of the file that causes it."""
        origin = next(origin for known, origin in self.checked if known == config)
        return self.source.error(blamed(error.key, origin), error)


def load(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep that a file describes.

    Args:
        path: the file.
        overrides: texts ``key=value`` that replace what the file says; a list becomes a grid axis.

    Raises:
        UserError: there are mistakes in the file or the overrides. Each is named with file, line, key and value, and
            with what to write instead.
    """
    source = document.read(path)
    mistakes = Mistakes()
    _expand_ranges(source)
    for override in overrides:
        mistakes.attempt(_override, source, override)
    mistakes.attempt(_require_known, source, (), TOP_KEYS)
    mistakes.tell()
    _expand_ranges(source)
    search = mistakes.attempt(_search, source)
    settings = dict(
        name=mistakes.attempt(_name, source, path),
        resources=mistakes.attempt(_resources, source),
        concurrency=mistakes.attempt(_concurrency, source),
        loggers=mistakes.attempt(_loggers, source),
        data_dir=mistakes.attempt(_data_dir, source),
    )
    planned, checked = mistakes.attempt(_trials, source, search) or ([], [])
    mistakes.tell()
    sweep = Sweep(path=path, source=source, search=search, planned=planned, checked=checked, **settings)
    for config, _ in checked:
        mistakes.attempt(_check_trial, sweep, config)
    mistakes.attempt(_check_space, sweep)
    mistakes.tell()
    return sweep


def _trials(
    source: Document, search: Search | None
) -> tuple[list[tuple[TrialConfig, Origin]], list[tuple[TrialConfig, Origin]]]:
    """See `Sweep.planned` and `Sweep.checked`."""
    if search is None:
        planned = expand(source, {})
        return planned, planned
    planned = [trial for params in _some_corners(search.space) for trial in expand(source, params)]
    grid_size = math.prod(len(axis.rows) for axis in read_axes(source))
    corners = math.prod(len(dimension.values) for dimension in search.space.values())
    if grid_size * corners > MOST_CHECKED:
        return planned, planned
    return planned, [trial for params in _all_corners(search.space) for trial in expand(source, params)]


def smoke(sweep: Sweep) -> Sweep:
    """A sweep that only tests whether everything works: each algorithm on each data set for three steps."""
    first: dict[tuple[str, str], tuple[TrialConfig, Origin]] = {}
    for config, origin in sweep.planned:
        kimg = SMOKE_STEPS * config.batch / KIMG
        short = dataclasses.replace(config, train_kimg=kimg, report_kimg=kimg, save_kimg=kimg)
        first.setdefault((config.algorithm, config.spec.name), (short, origin))
    trials = list(first.values())
    return dataclasses.replace(sweep, name=f"{sweep.name}-smoke", search=None, planned=trials, checked=trials)


def _check_trial(sweep: Sweep, config: TrialConfig) -> None:
    """Check that a trial goes with the sweep's workers and search.

    Raises:
        UserError: it does not.
    """
    workers = sweep.resources.workers
    if config.batch % workers:
        raise sweep.source.error(
            ("resources", "workers"),
            f"a batch of {config.batch} cannot be divided evenly among {workers} workers; "
            f"choose a divisor of {config.batch}, or another batch",
        )
    if config.compile and workers > 1:
        raise sweep.source.error(("resources", "workers"), "compile: true takes trials of one worker")
    if sweep.search is not None and config.spec.valid < FEWEST_VALIDATION_IMAGES:
        raise sweep.source.error(
            ("search", "metric") if "metric" in sweep.source.values["search"] else ("search",),
            f"{config.dataset} has {config.spec.valid} validation images, too few to compare settings by; "
            f"set valid_size to at least {FEWEST_VALIDATION_IMAGES}, better some hundreds",
        )


def _check_space(sweep: Sweep) -> None:
    """Check the values between the bounds of a range; the bounds themselves are checked as trials.

    The limits of a setting are an interval. So only two things can be wrong inside: fractions for a whole number, and
    batches that several workers cannot share.
    """
    mistakes = Mistakes()
    for key, dimension in sweep.search.space.items() if sweep.search else ():
        at = ("search", "space", key)
        low, high = dimension.values[0], dimension.values[-1]
        if dimension.kind in CONTINUOUS and isinstance(_taken(sweep, key), int):
            message = f"{key} is a whole number, and {dimension.kind} gives fractions; write int: [{low:g}, {high:g}]"
            mistakes.add(sweep.source.error(at, message))
        if key == "batch" and dimension.kind in WHOLE_RANGES and dimension.step % sweep.resources.workers:
            mistakes.add(sweep.source.error(at, _batches_to_share(dimension, sweep.resources.workers)))
    mistakes.tell()


def _taken(sweep: Sweep, key: str) -> Any:
    """A setting's value as a trial has it."""
    settings = (config.to_dict() for config in sweep.trials)
    return next((values[key] for values in settings if key in values), None)


def _batches_to_share(batches: Dimension, workers: int) -> str:
    step = math.lcm(batches.step, workers)
    least, high = batches.values
    low = -(-least // workers) * workers
    high = low + (high - low) // step * step
    way_out = f"write int: [{low}, {high}, {step}]" if high > low else "write choice: […]"
    return f"the range has batches that {workers} workers cannot share evenly; {way_out}"


def _name(source: Document, path: Path) -> str:
    name = source.values.get("name", path.stem)
    if not isinstance(name, str):
        raise source.error(("name",), "the name of a sweep is text; put it in quotes")
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise source.error(
            ("name",), "the name of a sweep is the name of a folder: letters, digits, '_', '-', '.' and '+'"
        )
    if len(name.encode()) > LONGEST_NAME:
        raise source.error(("name",), f"the name of a sweep is the name of a folder, of at most {LONGEST_NAME} letters")
    return name


def _concurrency(source: Document) -> int | None:
    concurrency: int | None = _number(source, ("concurrency",), None, whole=True, at_least=1)
    return concurrency


def _loggers(source: Document) -> tuple[str, ...]:
    names = source.values.get("loggers", list(DEFAULT))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise source.error(("loggers",), f"loggers is a list of {', '.join(INSTALL)}")
    try:
        return check_loggers(names)
    except UserError as error:
        raise source.error(("loggers",), error) from None


def _data_dir(source: Document) -> str | None:
    folder = source.values.get("data_dir")
    if folder is not None and not isinstance(folder, str):
        raise source.error(("data_dir",), "data_dir is the path of a folder")
    return folder


def _resources(source: Document) -> ResourceRequest:
    _require_group(source, "resources", RESOURCES)
    resources = ResourceRequest(
        cpus=_number(source, ("resources", "cpus"), None, above=0),
        gpus=_number(source, ("resources", "gpus"), None, at_least=0),
        workers=_number(source, ("resources", "workers"), 1, whole=True, at_least=1),
    )
    for key, value in (("cpus", resources.cpus), ("gpus", resources.gpus)):
        if value is not None and value > 1 and value != int(value):
            raise source.error(("resources", key), f"{key} above 1 must be whole")
        if value and value < FINEST_SHARE:
            raise source.error(("resources", key), f"{key} must be at least {FINEST_SHARE:g}, Ray's finest share")
    if resources.workers > 1 and resources.gpus is not None and resources.gpus != int(resources.gpus):
        raise source.error(
            ("resources", "gpus"), "workers of one trial cannot share a GPU: give whole GPUs, or workers: 1"
        )
    return resources


def _search(source: Document) -> Search | None:
    if "search" not in source.values:
        return None
    _require_group(source, "search", SEARCH_KEYS)
    space = source.values["search"].get("space")
    if not isinstance(space, dict) or not space:
        raise source.error(("search",), "a search needs a space, such as space: {lr: {loguniform: [0.01, 0.1]}}")
    mistakes = Mistakes()
    settings = dict(
        space={key: mistakes.attempt(_dimension, source, key) for key in space},
        metric=mistakes.attempt(_metric, source),
        trials=mistakes.attempt(partial(_number, whole=True, at_least=1), source, ("search", "trials"), 20),
        sampler=mistakes.attempt(_choice, source, "sampler", SAMPLERS),
        seed=mistakes.attempt(partial(_number, whole=True, at_least=0), source, ("search", "seed"), 0),
        asha=mistakes.attempt(_asha, source),
    )
    mistakes.tell()
    return Search(**settings)


def _asha(source: Document) -> Asha | None:
    at = ("search", "asha")
    if "asha" not in source.values["search"]:
        return None
    if not isinstance(source.get(at), dict):
        raise source.error(at, f"asha is a group of keys: {', '.join(ASHA_KEYS)}")
    _require_known(source, at, ASHA_KEYS)
    if "grace_kimg" not in source.get(at):
        raise source.error(at, "grace_kimg is missing: how long every trial may run, in 1024 labeled images")
    return Asha(
        grace_kimg=_number(source, (*at, "grace_kimg"), None, above=0),
        reduction_factor=_number(source, (*at, "reduction_factor"), 3, whole=True, at_least=2),
    )


def _dimension(source: Document, key: str) -> Dimension:
    at: At = ("search", "space", key)
    require_setting(source, at, key)
    if reason := _not_searchable(key):
        raise source.error(at, reason)
    given = source.get(at)
    if not isinstance(given, dict) or len(given) != 1:
        raise source.error(
            at, f"a searched setting has one range, such as {{uniform: [0, 1]}}; ranges: {', '.join(RANGES)}"
        )
    ((kind, values),) = given.items()
    at = (*at, kind)
    if kind not in RANGES:
        raise source.error(at, f"unknown range '{kind}'{nearest(kind, RANGES)}")
    if kind == "choice":
        return Dimension(kind, _choices(source, at, values))
    return _range(source, at, kind, values)


def _not_searchable(key: str) -> str | None:
    """Why candidates that differ in this setting could not be compared; None if they can."""
    if key in DATA_KEYS:
        return (
            f"candidates with another {key} would be trained and judged on other images, so that their figures could "
            "not be compared; make it an axis of the grid, which every candidate runs"
        )
    if key == "report_kimg":
        return "candidates with another report_kimg would be judged at other moments; give it under 'settings'"
    if key in core_fields() and not core_fields()[key].metadata["changes_result"]:
        return f"{key} changes no result, so there is nothing to search; give it under 'settings'"
    return None


def _choices(source: Document, at: At, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise source.error(at, "the choices are a list of at least one value")
    for number, value in enumerate(values):
        if isinstance(value, list | dict):
            raise source.error((*at, number), "a choice is a single value")
        if any(same_value(value, other) for other in values[:number]):
            raise source.error((*at, number), "the choice stands here twice; every choice must be another")
    return tuple(values)


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same for a person: 64 and 64.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _range(source: Document, at: At, kind: str, values: Any) -> Dimension:
    form = "[lowest, highest]" + (" or [lowest, highest, step]" if kind == "int" else "")
    if not (
        isinstance(values, list)
        and len(values) in ((2, 3) if kind == "int" else (2,))
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    ):
        raise source.error(at, f"a range is a list of two numbers, {form}")
    low, high = values[:2]
    if not low < high:
        raise source.error(at, "the first bound must be below the second")
    if kind in ("loguniform", "logint") and low <= 0:
        raise source.error(at, "a logarithmic range needs bounds above 0")
    if kind in CONTINUOUS:
        return Dimension(kind, (float(low), float(high)))
    if any(value != int(value) or abs(value) > LARGEST_WHOLE for value in values):
        raise source.error(at, f"an int range is made of whole numbers up to {LARGEST_WHOLE}")
    low, high, step = (int(value) for value in (*values, 1)[:3])
    if step < 1 or (high - low) % step:
        raise source.error(at, f"a step of {step} does not lead from {low} to {high}")
    return Dimension(kind, (low, high), step)


def _some_corners(space: dict[str, Dimension]) -> list[dict[str, Any]]:
    """Candidates that together try every bound and every choice once."""
    length = max(len(dimension.values) for dimension in space.values())
    return [
        {key: dimension.values[min(i, len(dimension.values) - 1)] for key, dimension in space.items()}
        for i in range(length)
    ]


def _all_corners(space: dict[str, Dimension]) -> Iterator[dict[str, Any]]:
    """Candidates with every combination of bounds and choices."""
    for values in itertools.product(*(dimension.values for dimension in space.values())):
        yield dict(zip(space, values, strict=True))


def _metric(source: Document) -> str:
    at: At = ("search", "metric")
    metric = source.values["search"].get("metric", METRICS[0])
    if metric in ("accuracy", "gmean"):
        advice = f"settings chosen on it would make its figures worthless; use 'valid_{metric}'"
        raise source.error(at, f"'{metric}' is measured on test data, and {advice}")
    return _choice(source, "metric", METRICS)


def _choice(source: Document, key: str, known: tuple[str, ...]) -> str:
    """The value of a key of the search, which is one of the known words; by default the first one."""
    value = source.values["search"].get(key, known[0])
    if value not in known:
        raise source.error(("search", key), f"unknown {key} '{value}'{nearest(value, known)}")
    return str(value)


def _number(
    source: Document,
    at: At,
    default: Any,
    *,
    whole: bool = False,
    at_least: float | None = None,
    above: float | None = None,
) -> Any:
    """The number at a place of the file.

    Args:
        source: the sweep file.
        at: the place.
        default: the value if the file gives none, or null.
        whole: whether it must be a whole number; it is returned as an int.
        at_least, above: bounds; `above` is exclusive.

    Raises:
        UserError: it is no number, or out of bounds.
    """
    try:
        value = source.get(at)
    except KeyError:
        return default
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value != int(value)):
        raise source.error(at, f"{at[-1]} must be a {'whole ' if whole else ''}number")
    value = int(value) if whole else value
    if at_least is not None and not value >= at_least:
        raise source.error(at, f"{at[-1]} must be at least {at_least}")
    if whole and value > LARGEST_WHOLE:
        raise source.error(at, f"{at[-1]} must be at most {LARGEST_WHOLE}")
    if above is not None and not value > above:
        raise source.error(at, f"{at[-1]} must be above {above}")
    return value


def _require_group(source: Document, key: str, known: tuple[str, ...]) -> None:
    """Check that a key of the file is a group with known keys only; a missing group is made.

    Raises:
        UserError: it is not.
    """
    group = source.values.setdefault(key, {})
    if not isinstance(group, dict):
        raise source.error((key,), f"{key} is a group of keys: {', '.join(known)}")
    _require_known(source, (key,), known)


def _require_known(source: Document, at: At, known: tuple[str, ...]) -> None:
    """Check that a group has known keys only.

    Raises:
        UserError: each unknown key.
    """
    mistakes = Mistakes()
    for key in source.get(at):
        if key not in known:
            misplaced = not at and key in known_keys(source)
            hint = "; it belongs under 'settings' or 'grid'" if misplaced else nearest(key, known)
            mistakes.add(source.error((*at, key), f"unknown key '{key}'{hint}"))
    mistakes.tell()


def _expand_ranges(source: Document) -> None:
    """Replace ``1..5`` by its numbers, as an axis or among an axis's values, if the setting is a whole number."""
    grid = source.values.get("grid")
    if not isinstance(grid, dict):
        return
    for key in grid:
        if key in WHOLE_AXES:
            rows = grid[key] if isinstance(grid[key], list) else [grid[key]]
            if any(_is_range(row) for row in rows):
                grid[key] = [value for row in rows for value in _range_of(source, ("grid", key), row)]


def _is_range(value: Any) -> bool:
    return isinstance(value, str) and AXIS_RANGE.fullmatch(value) is not None


def _range_of(source: Document, at: At, row: Any) -> Sequence[Any]:
    """The numbers that ``1..5`` stands for; any other value alone.

    Raises:
        UserError: the range is empty or too long.
    """
    found = AXIS_RANGE.fullmatch(row) if isinstance(row, str) else None
    if found is None:
        return [row]
    low, high = (int(number) for number in found.groups())
    if not low < high or high - low >= LONGEST_RANGE:
        raise source.error(at, f"{row} is no range; write the lower number first, and at most {LONGEST_RANGE} numbers")
    return range(low, high + 1)


def _override(source: Document, text: str) -> None:
    """Apply one ``--set``: to the grid if the key is an axis, else to the settings. Dots lead into other groups.

    Raises:
        UserError: it is not ``key=value``, or the value cannot be put there.
    """
    place = f"--set {text}"
    key, equals, value_text = (part.strip() for part in text.partition("="))
    if not equals:
        raise UserError(f"{place}: write key=value")
    value = document.parse_value(value_text, place)
    head = key.partition(".")[0]
    if head in TOP_KEYS:
        source.put(tuple(key.split(".")), value, place)
        return
    axis = next((axis for axis in read_axes(source) if key in axis.keys), None)
    if axis is not None and len(axis.keys) > 1:
        raise UserError(f"{place}: {key} changes together with others; write --set 'grid.{axis.at[1]}=[[…], …]'")
    if axis is not None or isinstance(value, list) or (key in WHOLE_AXES and _is_range(value)):
        values = value if isinstance(value, list) else [value]
        source.remove(("settings", key))
        source.put(("grid", key), values, place)
    else:
        source.put(("settings", key), value, place)
