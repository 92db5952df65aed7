"""How far a method's numbers are from the reference's, as a share of what is allowed."""

import dataclasses
import importlib
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch

from tests.algorithms.vectors.reader import Case

EXACT = (0.0, 0.0, 0.0)  # absolute, relative to each value, relative to the largest value

# The table of the form without tolerances of its own: role → (absolute, relative to each value, to the largest).
TABLE = (
    (r"H_prime", (0.0, 1e-5, 0.0)),
    (r"grad_.*", (3e-7, 1e-5, 0.0)),
    (r"adjust.*", (5e-6, 0.0, 0.0)),
    (r"sum_pseudo", (1e-5, 0.0, 0.0)),
    (r"kl_sum|tau|confm|simm", (2e-6, 0.0, 0.0)),
    (r"L[xu](_b)?|.*loss.*", (1e-5, 1e-5, 0.0)),
    (r".*", (2e-6, 0.0, 0.0)),
)
KINDS = {"ema": (1e-7, 0.0, 0.0), "trajectory": (1e-5, 0.0, 0.0)}


@dataclasses.dataclass(frozen=True)
class Deviation:
    """One value that was compared.

    Attributes:
        case, role: where it stands; the role of a step has its number.
        share: largest deviation as a share of the tolerance; above 1 is off.
        words: what is wrong, empty where nothing is.
    """

    case: str
    role: str
    share: float
    words: str = ""

    @property
    def off(self) -> bool:
        return self.share > 1 or bool(self.words)


def adapter(method: str) -> ModuleType | None:
    """The module that runs a method on a case, or None where there is none."""
    name = f"tests.algorithms.vectors.adapters.{method}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def compare(case: Case, dtype: torch.dtype = torch.float32) -> list[Deviation]:
    """Run the method on a case and compare all that the reference gives.

    Roles that the adapter leaves out with a reason are passed over; any other that it does not give is off.
    """
    module = adapter(case.method)
    assert module is not None, f"no adapter for {case.method}"
    with np.errstate(all="ignore"):
        found = module.run(case, dtype)
        left_out = getattr(module, "LEFT_OUT", {})
        return [
            _deviation(case, role, step, expected, found)
            for role, step, expected in _expected(case, found)
            if role not in left_out
        ]


def _expected(case: Case, found: Mapping[str, Any]) -> Iterator[tuple[str, int | None, Any]]:
    """(role, number of the step or None, reference); inputs too where the adapter says what it expects of them."""
    for role, value in case.outputs.items():
        yield role, None, value
    for number, moment in enumerate(case.steps):
        for role, value in moment.outputs.items():
            yield role, number, value
        for role, value in moment.inputs.items():
            if f"inputs/{role}" in found:
                yield f"inputs/{role}", number, value
    for role, value in case.inputs.items():
        if f"inputs/{role}" in found and not case.steps:
            yield f"inputs/{role}", None, value


def _deviation(case: Case, role: str, step: int | None, expected: Any, found: Mapping[str, Any]) -> Deviation:
    label = role if step is None else f"{role} of step {step}"
    zero = role.endswith("_is_zero")
    name = role.removesuffix("_is_zero")
    if name not in found:
        return Deviation(case.name, label, np.inf, "is not computed")
    value = found[name] if step is None else found[name][step]
    if value is None:
        return Deviation(case.name, label, np.inf, "is not computed")
    value = _array(value)
    if zero:
        same = not value.any() if expected else bool(value.any())
        return Deviation(case.name, label, 0.0 if same else np.inf, "" if same else "should be zero")
    reference = _array(expected)
    if value.shape != reference.shape:
        return Deviation(case.name, label, np.inf, f"has shape {value.shape}, not {reference.shape}")
    return Deviation(
        case.name, label, _share(value, reference, tolerance(case, role.removeprefix("inputs/"), expected))
    )


def _share(value: np.ndarray, reference: np.ndarray, allowed: tuple[float, float, float]) -> float:
    """Largest deviation ÷ what is allowed; infinite where exactness is asked for, or where inf or NaN differ."""
    value, reference = value.astype(np.float64), reference.astype(np.float64)
    if not value.size:
        return 0.0
    special = ~np.isfinite(reference)
    if (special != ~np.isfinite(value)).any() or not np.array_equal(value[special], reference[special], equal_nan=True):
        return np.inf
    value, reference = value[~special], reference[~special]
    if not value.size:
        return 0.0
    absolute, relative, of_largest = allowed
    limit = np.maximum(absolute + relative * np.abs(reference), of_largest * np.abs(reference).max())
    difference = np.abs(value - reference)
    shares = np.divide(difference, limit, out=np.where(difference > 0, np.inf, 0.0), where=limit > 0)
    return float(shares.max())


def tolerance(case: Case, role: str, expected: Any) -> tuple[float, float, float]:
    """What is allowed for a role: absolute, relative to each value, relative to the largest."""
    if case.tolerances is None:
        if case.kind in KINDS:
            return KINDS[case.kind]
        if np.asarray(expected).dtype.kind in "biu":
            return EXACT
        return next(allowed for pattern, allowed in TABLE if re.fullmatch(pattern, role))
    if isinstance(expected, bool | np.bool_) or role in ("kept", "draws_per_epoch", "pretraining_after"):
        return EXACT
    rule = _rule(case, role)
    if rule["use"] == "exact":
        return EXACT
    if isinstance(rule["use"], dict):
        return rule["use"]["atol"], 0.0, rule["use"]["rtol_of_max"]
    use = float(rule["use"])  # use · max(1, largest value)
    return use, 0.0, use


def _rule(case: Case, role: str) -> Mapping[str, Any]:
    """A role's own rule, or that of the roles whose name it contains: ``grad_strong`` for ``grad_strong2``."""
    rules = {name.removeprefix("seq."): rule for name, rule in case.tolerances.items()}
    special = {
        "pseudo_target": "pseudo_target_soft" if case.hyper.get("temperature") else "pseudo_target_hard",
        "loss": "loss_head" if case.kind == "warmup_head" else "loss",
        "head_weight": "new_head",
        "head_bias": "new_head",
    }
    name = special.get(role, role.partition("/")[0])
    if name in rules:
        return rules[name]
    family = max((known for known in rules if known in name), key=len, default=None)
    if family is None:
        raise KeyError(f"{case.method}: no tolerance for the role '{role}'")
    return rules[family]


def _array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, list | tuple):
        return np.stack([_array(item) for item in value])
    return np.asarray(np.nan if value is None else value)
