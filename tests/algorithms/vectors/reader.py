"""Reads files of reference vectors, ``<method>.json`` (an index) with ``<method>.npz`` (arrays), into one form.

Three slightly different indices are in use. A role of a case maps to a number, to the name of an array, or to
``{"array": name}``; a sequence is either a list of steps, or arrays whose first axis is the step. Settings stand under
``hyper`` or ``params``, and numbers for each step sometimes under ``scalars``.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

RESERVED = ("name", "hyper", "params", "inputs", "outputs", "scalars", "steps", "tolerances")
TABLE_TOLERANCE = 2e-6


@dataclasses.dataclass(frozen=True)
class Moment:
    """One step of a case that lists its steps: role → array or number."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """One case of a method.

    Attributes:
        method: the file's name.
        name: the case's.
        hyper: settings under the original's names.
        fields: whatever else the case says: sizes, ``kind``, ``variant``, ``labeled_counts``, ….
        inputs, outputs: role → array or number; numbers for each step are arrays.
        steps: of a case that lists them; else empty.
        tolerances: the file's, with the case's own over them; None where the form has a table of its own.
    """

    method: str
    name: str
    hyper: dict[str, Any]
    fields: dict[str, Any]
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    steps: tuple[Moment, ...]
    tolerances: dict[str, Any] | None

    @property
    def kind(self) -> str:
        """What the case is about, where a method has several kinds."""
        return self.fields.get("kind", "")

    def number_of_steps(self) -> int:
        """Steps of the sequence, whatever the form."""
        if self.steps:
            return len(self.steps)
        steps = self.fields.get("T", self.fields.get("steps"))
        return int(steps) if steps is not None else 1


def read(index: Path) -> list[Case]:
    """All cases of one file; a table beside them is one more case, whose last column is the output.

    Args:
        index: ``<method>.json``; the arrays lie beside it.
    """
    document = json.loads(index.read_text(encoding="utf-8"))
    with np.load(index.with_suffix(".npz")) as file:
        arrays = {name: file[name] for name in file.files}
    tables = [(name, value["rows"]) for name, value in document.items() if isinstance(value, dict) and "rows" in value]
    return [
        *(_case(index.stem, document, case, arrays) for case in document["cases"]),
        *(_table(index.stem, name, rows) for name, rows in tables),
    ]


def _table(method: str, name: str, rows: list[dict[str, Any]]) -> Case:
    columns = {column: np.array([row[column] for row in rows]) for column in rows[0]}
    output = list(columns)[-1]
    values = {output: columns.pop(output)}
    return Case(method, name, {}, {"kind": "table"}, columns, values, (), {output: {"use": TABLE_TOLERANCE}})


def _case(method: str, document: Mapping[str, Any], case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Case:
    look_up = lambda roles: {role: _value(value, arrays) for role, value in (roles or {}).items()}  # noqa: E731
    steps = case.get("steps")
    listed = steps if isinstance(steps, list) else []
    fields = {key: value for key, value in case.items() if key not in RESERVED}
    if isinstance(steps, int):
        fields["steps"] = steps
    tolerances = document.get("tolerances")
    return Case(
        method=method,
        name=case["name"],
        hyper=dict(case.get("hyper") or case.get("params") or {}),
        fields=fields,
        inputs=look_up(case.get("inputs")),
        outputs=look_up(case.get("outputs")) | {role: _numbers(v) for role, v in case.get("scalars", {}).items()},
        steps=tuple(Moment(look_up(step.get("inputs")), look_up(step.get("outputs"))) for step in listed),
        tolerances=None if tolerances is None else {**tolerances, **(case.get("tolerances") or {})},
    )


def _value(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        return arrays[value["array"]]
    return arrays[value] if isinstance(value, str) and value in arrays else value


def _numbers(values: Any) -> Any:
    """A list of numbers for each step, null as NaN."""
    if isinstance(values, list):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return values
