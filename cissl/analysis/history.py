"""Reads ``history.jsonl``: one line for each evaluation of a trial, as columns."""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import json as json_reader

from cissl.analysis.values import FloatArray

SCALARS = (
    "step",
    "kimg",
    "seconds",
    "lr",
    "accuracy",
    "gmean",
    "valid_accuracy",
    "valid_gmean",
    "loss",
    "loss_labeled",
    "loss_unlabeled",
    "mask_ratio",
)
MEASURED = "measured"  # everything that a method measured itself
THRESHOLDS = f"{MEASURED}.thresholds"
VECTORS = ("per_class", "class_prior", "pseudo_kept", "pseudo_correct", THRESHOLDS)  # one value for each class
History = dict[str, FloatArray]
"""By column, an array (evaluations,) of float64, or (evaluations, C) of float32 for those of `VECTORS`. NaN for null;
(evaluations, 0) where a vector was never recorded."""

_Row = Mapping[str, Any]  # a line of the file
# Python reads whole numbers that no float can hold.
_NO_NUMBERS = (ValueError, TypeError, OverflowError)


def read_history(text: bytes, vectors: Sequence[str] = ()) -> History:
    """Read the columns `SCALARS` and some of `VECTORS`.

    Args:
        text: whole lines of the file.
        vectors: the columns with one value per class to read; ``measured.x`` is x of what the method measured.

    Returns:
        By column, float64 (evaluations,) or float32 (evaluations, C).

    Raises:
        ValueError: a line is damaged, a value is no number, or steps do not increase.
    """
    try:
        columns = _parse_fast(text, vectors) if _are_objects(text) else _parse_lines(text, vectors)
    except pa.ArrowException:
        columns = _parse_lines(text, vectors)  # slower, and able to say which line is damaged
    if np.any(np.isnan(columns["step"])) or np.any(np.diff(columns["step"]) <= 0):
        raise ValueError("history.jsonl: its steps do not increase from line to line")
    return columns


def empty_history(vectors: Sequence[str] = ()) -> History:
    """The columns of a trial without a readable history: (0,), and (0, 0) for vectors."""
    return _parse_lines(b"", vectors)


def read_measured(text: bytes) -> History:
    """Read the numbers and lists of numbers that a method measured itself; other values are skipped.

    Returns:
        By name, float64 (evaluations,) or (evaluations, n); NaN where it did not measure.

    Raises:
        ValueError: a line is damaged.
    """
    if b'"measured"' not in text:
        return {}
    values = [row.get(MEASURED) for row in _rows(text)]
    rows: list[_Row] = [value if isinstance(value, dict) else {} for value in values]
    found: History = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        with contextlib.suppress(*_NO_NUMBERS):
            first = next(row[name] for row in rows if name in row)
            blank = np.full(np.shape(np.array(first, dtype=np.float64)), np.nan)
            column = np.array([row.get(name, blank) for row in rows], dtype=np.float64)
            found |= {name: column} if column.ndim in (1, 2) else {}
    return found


def _are_objects(text: bytes) -> bool:
    """Whether every line begins like a JSON object; any other ends Arrow's parser, and the process with it."""
    return text.startswith(b"{") and text.count(b"\n{") + 1 == text.count(b"\n") + (not text.endswith(b"\n"))


def _parse_fast(text: bytes, vectors: Sequence[str]) -> History:
    """Parse all rows at once and only the wanted columns; five times as fast as Python's parser."""
    if not vectors:
        text = _without_lists(text)
    own, measured = _apart(vectors)
    fields = [(name, pa.float64()) for name in SCALARS] + [(name, pa.list_(pa.float32())) for name in own]
    if measured:
        fields.append((MEASURED, pa.struct([(name, pa.list_(pa.float32())) for name in measured])))
    table = json_reader.read_json(
        pa.BufferReader(text),
        read_options=json_reader.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=json_reader.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore"),
    )
    columns: History = {name: table.column(name).to_numpy() for name in SCALARS}
    rows = table.select([*own, *([MEASURED] if measured else [])]).to_pylist()
    return columns | _vector_columns(rows, vectors)


def _apart(vectors: Iterable[str]) -> tuple[list[str], list[str]]:
    """The columns on their own, and the names inside ``measured``."""
    measured = [name.partition(".")[2] for name in vectors if name.startswith(f"{MEASURED}.")]
    return [name for name in vectors if "." not in name], measured


def _without_lists(text: bytes) -> bytes:
    """Replace the lists in rows of numbers and flat lists by null: with 100 classes they are almost all of the text.

    Nothing is parsed for this. Nested lists become invalid JSON, which the slow parser then reads from the file's text.
    """
    first, *others = text.split(b"[")
    return b"null".join([first, *(part[part.find(b"]") + 1 :] for part in others)])


def _parse_lines(text: bytes, vectors: Sequence[str]) -> History:
    rows = _rows(text)
    columns = {name: _scalar_column([row.get(name) for row in rows], name) for name in SCALARS}
    return columns | _vector_columns(rows, vectors)


def _rows(text: bytes) -> list[_Row]:
    rows: list[_Row] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            raise ValueError(f"history.jsonl: line {number} is cut short or damaged") from None
    return rows


def _scalar_column(values: Sequence[Any], name: str) -> FloatArray:
    """(evaluations,) float64, NaN for null."""
    try:
        return np.array(values, dtype=np.float64).reshape(len(values))
    except _NO_NUMBERS:
        raise ValueError(f"history.jsonl: '{name}' is not a number in every line") from None


def _vector_columns(rows: Sequence[_Row], vectors: Sequence[str]) -> History:
    return {name: _vector_column([_value_at(row, name) for row in rows], name) for name in vectors}


def _value_at(row: _Row, name: str) -> Any:
    """A column's value in a row; ``measured.x`` is x of what the method measured."""
    group, _, inner = name.rpartition(".")
    values = row.get(group) if group else row
    return values.get(inner) if isinstance(values, Mapping) else None


def _vector_column(values: Sequence[Any], name: str) -> FloatArray:
    """(evaluations, C) float32, NaN where nothing was recorded."""
    try:
        classes = max((len(value) for value in values if value is not None), default=0)
        blank = [None] * classes
        table = [blank if value is None else value for value in values]
        return np.array(table, dtype=np.float32).reshape(len(values), classes)
    except _NO_NUMBERS:
        raise ValueError(f"history.jsonl: '{name}' is no list of one number per class in every line") from None
