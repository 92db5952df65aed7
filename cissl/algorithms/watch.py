"""Checks of what a method returns and writes. A message names the file and line of the user's own function.

The checks read shapes, types and version counters, and never values. So the checks of a step take some microseconds,
and none waits for the device.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from cissl import plugins
from cissl.algorithms.contract import Losses, Method, Outputs, Part, PseudoLabels, Stage, Step, Stream
from cissl.algorithms.shapes import INT64, described, require_dict, require_number, require_tensor, require_terms
from cissl.errors import ContractError, nearest


def watched(method: Method) -> Method:
    """The same method; from now on its functions are checked: what they return, and that no state changes in place.

    A checked function raises a `ContractError` for a value that the contract does not allow. If the function is a
    user's own, the error has its file and line.
    """
    for part in method.parts:
        for name in (*OF_A_STEP, *OTHERS):
            if hasattr(part, name):
                setattr(part, name, _checked(part, name))
    return method


class State(dict[str, Tensor]):
    """A method's state as a step reads it. Reading a name that is not declared raises a `ContractError`."""

    def __missing__(self, name: str) -> Tensor:
        known = nearest(name, self) if self else "; it declares nothing"
        raise ContractError(
            f"step.state['{name}'] is read, and `state` does not declare it{known}; a method that extends another one "
            "keeps that one's state: return super().state(facts) | {…}",
            function="state",
        )


class Written(dict[str, Any]):
    """What a step writes. Each value is checked when it is written, so that the error has the line of the mistake.

    Args:
        name: name of the dict, for messages.
        check: raises `ContractError` if this value may not be written under this key. Its arguments are the subject of
            the message, the key and the value.
    """

    def __init__(self, name: str, check: Callable[[str, str, Any], None]) -> None:
        super().__init__()
        self._name, self._check = name, check

    def __missing__(self, key: str) -> Any:
        raise ContractError(f"{self._name}['{key}'] is read before it is written")

    def __setitem__(self, key: str, value: Any) -> None:
        self._check(f"{self._name}['{key}']", key, value)
        super().__setitem__(key, value)

    def update(self, *others: Any, **values: Any) -> None:
        """Write several values, each of which is checked.

        Raises:
            ContractError: one of them may not be written.
        """
        for key, value in dict(*others, **values).items():
            self[key] = value

    def __ior__(self, others: Any) -> "Written":  # type: ignore[override,misc]  # `|` gives a plain dict
        self.update(others)
        return self


def next_state(state: Mapping[str, Tensor]) -> Written:
    """A dict for ``step.next``: it takes new values for entries of a state, of the same shape, dtype and device."""
    return Written("step.next", functools.partial(_check_entry, state))


def measured(shapes: dict[str, torch.Size]) -> Written:
    """A dict for ``step.measured``: it takes tensors and numbers that have the same shape in every step.

    Args:
        shapes: name → shape of what earlier steps measured. The shapes of new names are added to it.
    """
    return Written("step.measured", functools.partial(_check_measured, shapes))


def _check_entry(state: Mapping[str, Tensor], what: str, name: str, value: Any) -> None:
    if name not in state:
        known = nearest(name, state) if state else "; it declares nothing"
        raise ContractError(f"{what} is written, and `state` does not declare it{known}")
    old = state[name]
    same = isinstance(value, Tensor) and value.shape == old.shape and value.dtype == old.dtype
    if not same:
        raise ContractError(f"{what} is {described(value)}; the state that it replaces is {described(old)}")
    if value.device != old.device:
        raise ContractError(f"{what} is on {value.device}; the state that it replaces is on {old.device}")


def _check_measured(shapes: dict[str, torch.Size], what: str, name: str, value: Any) -> None:
    if not isinstance(value, Tensor | Real):
        raise ContractError(f"{what} is {described(value)}; expected a tensor or a number")
    shape = value.shape if isinstance(value, Tensor) else torch.Size()
    if shapes.setdefault(name, shape) != shape:
        raise ContractError(
            f"{what} is of shape {tuple(shape)}, and was of shape {tuple(shapes[name])} in an earlier step; the "
            "records have its mean over steps, so its shape must stay the same"
        )


def require_rows(what: str, value: Any, rows: int, module: nn.Module) -> None:
    """Check that a module's output (n, …) has one entry for each row of its input.

    Raises:
        ContractError: it does not. The error has the file and line of the module's ``forward``.
    """
    if isinstance(value, Tensor) and value.shape and len(value) == rows:
        return
    error = ContractError(
        f"{what} {described(value)}; expected a tensor of shape (n, …) with n = {rows}, one entry a row"
    )
    error.place = _place(module, "forward")
    raise error


def _checked(part: Part, name: str) -> Callable[..., Any]:
    function, what = getattr(part, name), f"{type(part).__name__}.{name} returns"
    check = OF_A_STEP.get(name) or OTHERS[name]

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling():  # the step before was checked
            return function(*arguments, **named)
        state = _state(name, arguments)
        versions = _versions(state)
        try:
            value = function(*arguments, **named)
            _require_untouched(state, versions, f"{type(part).__name__}.{name}")
            check(what, value, *arguments)
        except ContractError as error:
            error.place = error.place or plugins.place_of(error) or _place(part, error.function or name)
            raise
        except AttributeError as error:
            if error.obj is not part.settings or part.settings is None or error.name is None:
                raise
            raise _missing_setting(part, error, error.name) from None
        return value

    return call


def _missing_setting(part: Part, error: AttributeError, name: str) -> ContractError:
    settings = type(part.settings)
    keys = [field.name for field in dataclasses.fields(settings)] if dataclasses.is_dataclass(settings) else []
    missing = ContractError(
        f"{settings.__name__} has no '{name}', which {type(part).__name__} uses{nearest(name, keys)}; a method that "
        "extends another one needs all settings of that one: let its Settings extend that one's"
    )
    missing.place = plugins.place_of(error) or plugins.place_of_field(settings, name)
    return missing


def _state(name: str, arguments: tuple[Any, ...]) -> Mapping[str, Tensor]:
    """The state among the arguments of a function."""
    if name in OF_A_STEP:
        step: Step = arguments[0]
        return step.state
    return arguments[1] if name in WITH_STATE else {}


def _versions(state: Mapping[str, Tensor]) -> list[int]:
    """How often each tensor was changed in place. Tensors of inference mode have no count and cannot be changed."""
    return [0 if tensor.is_inference() else tensor._version for tensor in state.values()]


def _require_untouched(state: Mapping[str, Tensor], versions: list[int], function: str) -> None:
    for name, before, now in zip(state, versions, _versions(state), strict=True):
        if before != now:
            raise ContractError(
                f"{function} changes the state '{name}' in place, so that a resumed trial would differ; write a new "
                f"tensor to step.next['{name}']"
            )


def _place(part: Part | nn.Module, name: str) -> str | None:
    """``file:line`` of a part's function if it is a user's own, else of the user's own class, else None."""
    function = inspect.unwrap(getattr(type(part), name))
    place = plugins.place_of_code(function.__code__) if hasattr(function, "__code__") else None
    return place or next(filter(None, map(plugins.place_of_class, type(part).__mro__)), None)


# Checks of what each function returns. Arguments: subject and verb of a message, the value, the function's arguments.


def _losses(what: str, value: Any, step: Step) -> None:
    _require(what, value, Losses)
    if value.pseudo is not None:
        _require(f"{what} Losses whose pseudo is", value.pseudo, PseudoLabels)
        _predictions(f"{what} Losses whose pseudo-labels' probabilities are", value.pseudo.probabilities, step)


def _predictions(what: str, value: Any, step: Step, *_: Any) -> None:
    index = step.index.get("unlabeled")
    require_tensor(what, value, (None if index is None else len(index), step.facts.classes), letters="(U, C)")


def _pseudo_labels(what: str, value: Any, rows: Tensor) -> None:
    _require(what, value, PseudoLabels)
    _like(f"{what} PseudoLabels whose probabilities are", value.probabilities, rows)


def _choice(what: str, value: Any, step: Step, probabilities: Tensor) -> None:
    _pseudo_labels(what, value, probabilities)


def _selection(what: str, value: Any, step: Step, out: Any, pseudo: PseudoLabels) -> None:
    _pseudo_labels(what, value, pseudo.probabilities)


def _guess(what: str, value: Any, step: Step, out: Any, probabilities: Tensor) -> None:
    _like(what, value, probabilities)


def _like(what: str, value: Any, rows: Tensor) -> None:
    require_tensor(what, value, tuple(rows.shape), letters="(U, C)")


def _scalar(what: str, value: Any, *_: Any) -> None:
    require_tensor(what, value)


def _terms(what: str, value: Any, *_: Any) -> None:
    require_terms(what, value)


def _weights(what: str, value: Any, *_: Any) -> None:
    require_dict(what, value)
    for name, weight in value.items():
        require_number(f"{what} '{name}':", weight)


def _outputs(what: str, value: Any, *_: Any) -> None:
    require_dict(what, value, Outputs)


def _tensors(what: str, value: Any, *_: Any) -> None:
    require_dict(what, value, Tensor)


def _changed(what: str, value: Any, survey: Any, state: Mapping[str, Tensor]) -> None:
    require_dict(what, value)
    for name, tensor in value.items():
        _check_entry(state, f"{what} '{name}', which", name, tensor)


def _carried(what: str, value: Any, survey: Any, state: Mapping[str, Tensor]) -> None:
    require_dict(what, value, Tensor)
    for name in value.keys() - state.keys():
        raise ContractError(f"{what} '{name}', and `state` does not declare it{nearest(name, state)}")


def _extra_labeled(what: str, value: Any, *_: Any) -> None:
    if value is None:
        return
    _require(what, value, tuple)
    if len(value) != 2:
        raise ContractError(f"{what} a tuple of {len(value)}; expected two tensors, positions and classes")
    for tensor in value:
        require_tensor(f"{what} a tuple with", tensor, (len(value[0]),), letters="(n,)", kinds=(INT64,))


def _whole_number(what: str, value: Any, *_: Any) -> None:
    _require(what, value, int)


def _modules(what: str, value: Any, *_: Any) -> None:
    require_dict(what, value, nn.Module)


def _streams(what: str, value: Any, *_: Any) -> None:
    require_dict(what, value, Stream)


def _stages(what: str, value: Any, *_: Any) -> None:
    _require(what, value, tuple)
    for stage in value:
        _require(f"{what} a tuple with", stage, Stage)


def _scores(what: str, value: Any, outputs: Outputs, *_: Any) -> None:
    require_tensor(what, value, tuple(outputs.logits.shape), letters="(n, C)")


def _require(what: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ContractError(f"{what} {described(value)}; expected {kind.__name__}")


OF_A_STEP: Mapping[str, Callable[..., None]] = {  # functions whose first argument is the step
    "losses": _losses,
    "outputs": _outputs,
    "supervised": _scalar,
    "consistency": _scalar,
    "soft_consistency": _scalar,
    "predictions": _predictions,
    "choose": _choice,
    "further_terms": _terms,
    "labeled_terms": _terms,
    "guess": _guess,
    "select": _selection,
    "unlabeled_terms": _terms,
}
OTHERS: Mapping[str, Callable[..., None]] = {
    "weights": _weights,
    "streams": _streams,
    "heads": _modules,
    "state": _tensors,
    "stages": _stages,
    "periodically": _changed,
    "between": _carried,
    "extra_labeled": _extra_labeled,
    "period": _whole_number,
    "uratio": _whole_number,
    "prepare": _tensors,
    "predict": _scores,
}
WITH_STATE = ("periodically", "between", "predict")  # functions of OTHERS whose second argument is the state
