"""Fixed settings and grid axes → a config for each combination, and the place that each of its settings came from."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cissl import plugins, pretrained
from cissl.algorithms.cards import Recipe, find
from cissl.config import TrialConfig, core_fields, known_settings, setting_not_taken, unknown_setting
from cissl.datasets.spec import ALL
from cissl.errors import UserError, nearest
from cissl.tuning.document import At, Document
from cissl.tuning.mistakes import Mistakes

SPLIT_NUMBERS = ("imbalance_ratio", "labeled_size", "valid_size")
SPLIT_KEYS = (*SPLIT_NUMBERS, "labels", "class_order")
CLASS_ORDERS = {"index": "", "size": "_BYSIZE"}
"""in which order a long tail takes the classes → what a split's name says of it"""
DECISIVE = ("dataset", "algorithm")  # whether another setting is right depends on these
MOST_TRIALS = 100_000
PLACEHOLDER = re.compile(r"\{(\w*)\}")

Origin = dict[str, At]
"""setting → where the sweep file gives it"""


@dataclasses.dataclass(frozen=True)
class Axis:
    """Settings that change together.

    Attributes:
        at: where the sweep file gives them.
        keys: the settings.
        rows: one row for each point of the axis, with a value for each setting.
    """

    at: At
    keys: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def origin(self, row: int) -> Origin:
        """Where the sweep file gives the settings of a row."""
        return dict.fromkeys(self.keys, (*self.at, row))


def expand(source: Document, params: Mapping[str, Any]) -> list[tuple[TrialConfig, Origin]]:
    """The trials of all combinations of the grid, the last axis fastest.

    Args:
        source: the sweep file.
        params: settings that a search proposes; they are added to each combination.

    Returns:
        The trials, each with the places that its settings came from.

    Raises:
        UserError: mistakes in settings or grid, each with its line; two combinations are the same trial; or there are
            more than `MOST_TRIALS` combinations.
    """
    mistakes = Mistakes()
    settings: Origin = mistakes.attempt(read_settings, source)
    axes: list[Axis] = mistakes.attempt(read_axes, source)
    mistakes.tell()
    _require_once(source, [settings, *({key: axis.at for key in axis.keys} for axis in axes), _searched(source)])
    if (combinations := math.prod(len(axis.rows) for axis in axes)) > MOST_TRIALS:
        raise source.error(("grid",), f"{combinations} combinations, of more than {MOST_TRIALS} no sweep is made")
    fixed = {key: source.get(at) for key, at in settings.items()} | dict(params)
    fixed_origin: Origin = settings | {key: ("search", "space", key) for key in params}
    trials: list[tuple[TrialConfig, Origin]] = []
    seen: dict[str, dict[str, Any]] = {}
    for chosen, axes_origin in _points(axes):
        origin = fixed_origin | axes_origin
        config: TrialConfig | None = mistakes.attempt(make_trial, source, fixed | chosen, origin)
        if config is None:
            continue
        # Points of an axis that differ only in settings of other algorithms are one trial of this algorithm.
        others = not_taken(fixed | chosen)
        chosen = {key: value for key, value in chosen.items() if key not in others}
        if others and seen.get(config.trial_id) == chosen:
            continue
        if config.trial_id in seen:
            message = (
                f"{_words(chosen)} is the same trial as {_words(seen[config.trial_id])}; every trial must be another"
            )
            mistakes.add(source.error(axes[-1].at if axes else ("grid",), message))
            continue
        seen[config.trial_id] = chosen
        trials.append((config, origin))
    mistakes.tell()
    return trials


def _points(axes: Sequence[Axis]) -> Iterator[tuple[dict[str, Any], Origin]]:
    """The settings of each combination of the axes, and the places that they came from."""
    for rows in itertools.product(*(range(len(axis.rows)) for axis in axes)):
        chosen: dict[str, Any] = {}
        origin: Origin = {}
        for axis, row in zip(axes, rows, strict=True):
            chosen |= dict(zip(axis.keys, axis.rows[row], strict=True))
            origin |= axis.origin(row)
        yield chosen, origin


def make_trial(source: Document, values: Mapping[str, Any], origin: Origin) -> TrialConfig:
    """The trial with these settings. The keys of the split become its `dataset`.

    Args:
        source: the sweep file.
        values: the settings, those of other algorithms of the sweep included.
        origin: the places that they came from.

    Raises:
        UserError: settings are wrong; each is named with its line.
    """
    for key in ("algorithm", "arch"):
        try:
            plugins.register_all([str(values.get(key, ""))], source.folder)
        except UserError as error:
            raise source.error(blamed(key, origin), error) from None
    try:
        others = not_taken(values)
        if isinstance(values.get("weights"), str):
            values = {**values, "weights": pretrained.register(values["weights"], source.folder)}
    except UserError as error:
        raise source.error(blamed(error.key, origin), error) from None
    settings = {key: value for key, value in values.items() if key not in (*SPLIT_KEYS, "dataset", *others)}
    mistakes = Mistakes()
    try:
        settings["dataset"] = compose_dataset(values, held_out="search" in source.values)
    except UserError as error:
        mistakes.add(source.error(blamed(error.key, origin), error))
    while True:
        try:
            config = TrialConfig.from_mapping(settings)
            break
        except UserError as error:
            mistakes.add(source.error(blamed(error.key, origin), error))
            if error.key not in settings or error.key in DECISIVE:
                break
            del settings[error.key]  # with its default in its place, the other settings can be checked
    mistakes.tell()
    return config


def compose_dataset(values: Mapping[str, Any], *, held_out: bool) -> str:
    """The full name of a split.

    Either `dataset` is such a name, in which placeholders are filled; or it is the name of a data set, to which the
    split's keys are added.

    Args:
        values: the trial's settings.
        held_out: whether a search chooses by the validation images; then a split that is made here takes them from
            images without a label.

    Raises:
        UserError: a key is missing, has an impossible value, or would have no effect.
    """
    dataset = values.get("dataset")
    if not isinstance(dataset, str):
        raise UserError(
            "dataset must be a name such as cifar10, or a whole split such as cifar10_LT_20.1@20-1", key="dataset"
        )
    given = [key for key in SPLIT_KEYS if key in values]
    parts = {"seed": values.get("seed", 1), "valid_size": 1} | {key: values[key] for key in given}
    _check_parts(parts)
    if "@" in dataset:
        return _fill(dataset, parts, given=given)
    if "labels" in parts:
        parts["labeled_size"] = parts["labels"]
    if "labeled_size" not in parts:
        raise UserError(
            "labeled_size is missing: the number of labels, with an imbalance_ratio those of the largest class; or say "
            "labels: all; or write the whole split, such as cifar10_LT_20.1@20-1",
            key="dataset",
        )
    order = CLASS_ORDERS[parts.get("class_order", "index")]
    tailed = parts.get("imbalance_ratio") is not None
    if order and not tailed:
        raise UserError(
            "class_order: size would have no effect: without an imbalance_ratio there is no long tail",
            key="class_order",
        )
    tail = "_LT_{imbalance_ratio}" + order if tailed else ""
    tail += "_HELDOUT" if held_out else ""
    return _fill(dataset + tail + ".{seed}@{labeled_size}-{valid_size}", parts, given=[])


def recipes(source: Document) -> list[Recipe]:
    """The algorithms that the file names. The user's own code is read, relative to the sweep file's folder.

    An unknown algorithm is left out here: making its trial reports what is wrong.
    """
    found = []
    for text in _named(source, "algorithm") or [TrialConfig.algorithm]:
        try:
            plugins.register_all([text], source.folder)
            found.append(find(text))
        except UserError:
            continue
    return found


def known_keys(source: Document) -> dict[str, None]:
    """Every setting that some trial of the sweep has, in order."""
    own = {key: None for recipe in recipes(source) for key in recipe.fields}
    return {**dict.fromkeys(core_fields()), **own, **dict.fromkeys(SPLIT_KEYS)}


def require_setting(source: Document, at: At, key: str) -> None:
    """Check that at least one trial has the setting `key`.

    Args:
        source: the sweep file.
        at: where it gives the setting.
        key: the setting.

    Raises:
        UserError: there is no such setting, or only algorithms that the sweep does not run have it.
    """
    known = known_keys(source)
    if key in known:
        return
    _require_algorithms(source)  # the setting may belong to one that is misspelt
    dotted = any(name.rpartition(".")[2] == key for name in known)
    if key in known_settings() or dotted:
        raise source.error(at, setting_not_taken(key, *(recipe.name for recipe in recipes(source))))
    raise source.error(at, unknown_setting(key, known))


def _require_algorithms(source: Document) -> None:
    """Check that every algorithm of the file exists.

    Raises:
        UserError: one does not, with the line that names it.
    """
    for text in _named(source, "algorithm"):
        try:
            plugins.register_all([text], source.folder)
            find(text)
        except UserError as error:
            raise source.error(_place_of(source, "algorithm", text), error) from None


def _place_of(source: Document, key: str, text: str) -> At:
    """Where the file gives a setting this value."""
    for name, rows in (source.values.get("grid") or {}).items():
        for number, row in enumerate(rows if isinstance(rows, list) else ()):
            named = key in [part.strip() for part in str(name).split(",")]
            if named and (row == text or isinstance(row, list) and text in row):
                return ("grid", name, number)
    return ("settings", key)


def not_taken(values: Mapping[str, Any]) -> set[str]:
    """Settings among `values` that only other algorithms of the sweep have."""
    recipe = find(str(values.get("algorithm", TrialConfig.algorithm)))
    return {key for key in values if key not in core_fields() and key not in recipe.fields and key not in SPLIT_KEYS}


def given_keys(source: Document) -> list[str]:
    """All settings that the file gives, each once."""
    settings, grid = (source.values.get(group) or {} for group in ("settings", "grid"))
    axes = [part.strip() for name in grid for part in str(name).split(",")]
    return list(dict.fromkeys([*settings, *axes, *_searched(source)]))


def _named(source: Document, key: str) -> list[str]:
    """All texts that the file gives for a setting: fixed, on an axis, or as choices of a search."""
    settings, grid, search = (source.values.get(group) for group in ("settings", "grid", "search"))
    found = [settings.get(key)] if isinstance(settings, dict) else []
    for name, rows in grid.items() if isinstance(grid, dict) else ():
        keys = [part.strip() for part in str(name).split(",")]
        if key in keys and isinstance(rows, list):
            at = keys.index(key)
            found += rows if len(keys) == 1 else [row[at] for row in rows if isinstance(row, list) and len(row) > at]
    space = search.get("space") if isinstance(search, dict) else None
    dimension = space.get(key) if isinstance(space, dict) else None
    if isinstance(dimension, dict) and isinstance(dimension.get("choice"), list):
        found += dimension["choice"]
    return [text for text in found if isinstance(text, str)]


def read_axes(source: Document) -> list[Axis]:
    """The axes of the grid.

    Raises:
        UserError: the grid is not a mapping, or axes are wrong; each is named with its line.
    """
    grid = source.values.get("grid", {})
    if not isinstance(grid, dict):
        raise source.error(("grid",), "the grid is a mapping from settings to lists of values")
    mistakes = Mistakes()
    axes = [mistakes.attempt(_axis, source, name, rows) for name, rows in grid.items()]
    mistakes.tell()
    return axes


def blamed(key: str | None, origin: Origin) -> At:
    """Where the setting at fault was given. For a split that was made from several keys it is the data set's name."""
    for candidate in (key, "dataset"):
        if candidate in origin:
            return origin[candidate]
    return ("settings",)


def _axis(source: Document, name: str, rows: Any) -> Axis:
    at = ("grid", name)
    keys = tuple(key.strip() for key in name.split(","))
    for key in keys:
        require_setting(source, at, key)
        if keys.count(key) > 1:
            raise source.error(at, f"'{key}' stands twice in one axis; name it once")
    if not isinstance(rows, list):
        raise source.error(at, f"the values of an axis are a list, such as [{rows}]")
    if not rows:
        raise source.error(at, "an axis needs at least one value")
    if len(keys) == 1:
        return Axis(at, keys, tuple((row,) for row in rows))
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(keys):
            raise source.error(
                (*at, number), f"each point of this axis is a list of {len(keys)} values: {', '.join(keys)}"
            )
    return Axis(at, keys, tuple(map(tuple, rows)))


def read_settings(source: Document) -> Origin:
    """Where the file gives each fixed setting.

    Raises:
        UserError: the settings are not a mapping, or there are unknown ones; each is named with its line.
    """
    settings = source.values.get("settings", {})
    if not isinstance(settings, dict):
        raise source.error(("settings",), "the settings are a mapping from names to values")
    mistakes = Mistakes()
    for key in settings:
        mistakes.attempt(require_setting, source, ("settings", key), key)
    mistakes.tell()
    return {key: ("settings", key) for key in settings}


def _searched(source: Document) -> Origin:
    search = source.values.get("search", {})
    space = search.get("space", {}) if isinstance(search, dict) else {}
    return {key: ("search", "space", key) for key in space} if isinstance(space, dict) else {}


def _require_once(source: Document, groups: list[Origin]) -> None:
    first: Origin = {}
    for group in groups:
        for key, at in group.items():
            if key in first:
                raise source.error(at, f"'{key}' is already given at {source.place(first[key])}; give it once")
            first[key] = at


def _check_parts(parts: Mapping[str, Any]) -> None:
    ratio = parts.get("imbalance_ratio")
    if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not ratio >= 1):
        raise UserError(
            "imbalance_ratio is largest class ÷ smallest class: a number of at least 1, or null for balanced labels",
            key="imbalance_ratio",
        )
    if "labels" in parts and "labeled_size" in parts:
        raise UserError("labels and labeled_size both say how many labels there are; give one of them", key="labels")
    if parts.get("labels", ALL) != ALL:
        raise UserError("labels can only be 'all'; labeled_size takes their number", key="labels")
    if (order := parts.get("class_order", "index")) not in CLASS_ORDERS:
        raise UserError(
            f"class_order is one of {', '.join(CLASS_ORDERS)}: a long tail begins with the first class, or with the "
            f"largest{nearest(str(order), CLASS_ORDERS)}",
            key="class_order",
        )
    for key, least in (("labeled_size", 1), ("valid_size", 1), ("seed", 0)):
        value = parts.get(key, least)
        if key == "labeled_size" and value == ALL:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < least:
            raise UserError(f"{key} must be a whole number of at least {least}", key=key)


def _fill(template: str, parts: Mapping[str, Any], given: list[str]) -> str:
    used = set(PLACEHOLDER.findall(template))
    for key in used:
        if key not in parts:
            hint = f"; {key} is not given" if key in SPLIT_KEYS else nearest(key, ("seed", *SPLIT_KEYS))
            raise UserError(f"nothing to put in place of {{{key}}}{hint}", key="dataset")
    for key in given:
        if key not in used:
            written = "_BYSIZE after its ratios" if key == "class_order" else f"{{{key}}} in it"
            raise UserError(
                f"{key} would have no effect, since dataset is the whole split '{template}'; "
                f"write {written}, or give dataset as a name alone",
                key=key,
            )
    return PLACEHOLDER.sub(lambda match: _plain(parts[match[1]]), template)


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _words(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in chosen.items())
