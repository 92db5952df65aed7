"""One trial's settings: typed, validated, printable and hashable.

`TrialConfig` holds everything that changes a trial's result, and nothing about where or on what it
runs. Defaults are the reference's (CIFAR-10, WRN-28-2); symbols are those of the paper (Hu et al., ICLR 2022).
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from cissl.algorithms.names import parse_algorithm
from cissl.augment.triple import parse_triple
from cissl.datasets.spec import DatasetSpec, parse_spec
from cissl.errors import UserError, nearest
from cissl.models.names import ARCHS

KIMG = 1024  # labeled images


def setting(
    default: Any,
    help: str,
    *,
    symbol: str = "",
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
    changes_result: bool = True,
) -> Any:
    """A config field: its default, meaning, the paper's symbol and the values that make sense."""
    metadata = dict(
        help=help,
        symbol=symbol,
        at_least=at_least,
        above=above,
        at_most=at_most,
        choices=choices,
        changes_result=changes_result,
    )
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """All settings of one trial, checked when it is made.

    Raises:
        UserError: a value of the wrong type, out of range, or without meaning beside the others; its `key` names
            the setting.
    """

    dataset: str = setting("cifar10.1@4000-5000", "data set and split: <name>[_LT_<γ>].<seed>@<labels>-<valid>")
    algorithm: str = setting("fixmatch", "supervised, fixmatch, cap, cai, cap+cai, cap+cadr or cadr (all three)")
    seed: int = setting(1, "seed of initialisation, batches and augmentation", at_least=0)

    arch: str = setting("wrn", "backbone", choices=ARCHS)
    filters: int = setting(32, "width: channels of the first stage", at_least=1)
    repeat: int = setting(4, "residual blocks per stage", at_least=1)
    scales: int | None = setting(None, "stages; by default ceil(log2(side)) - 2", at_least=1)
    bn_decay: float = setting(0.999, "decay of BatchNorm's moving averages, per step", at_least=0, at_most=1)

    augment: str = setting("d.d.d", "augmentation of labeled.weak.strong images")
    adepth: int = setting(2, "CTAugment: operations in a row", at_least=1)
    ath: float = setting(0.80, "CTAugment: threshold below which a bin is not drawn", at_least=0, at_most=1)
    adecay: float = setting(0.99, "CTAugment: decay of the bins' rates", at_least=0, at_most=1)

    sync_bn: bool = setting(True, "several workers: BatchNorm over the joint batch, else over each worker's own share")
    precision: str = setting("fp32", "arithmetic of the network's forward and backward pass", choices=("fp32", "bf16"))
    compile: bool = setting(False, "compile the network: a minute or two at the start, faster steps afterwards")

    batch: int = setting(64, "labeled images per step", symbol="B", at_least=1)
    uratio: int = setting(7, "unlabeled images per labeled image", symbol="μ", at_least=1)
    lr: float = setting(0.03, "learning rate at the start", symbol="η", above=0)
    wd: float = setting(5e-4, "weight decay, on kernels only", at_least=0)
    wu: float = setting(1.0, "weight of the unlabeled loss", symbol="λ", at_least=0)
    confidence: float = setting(0.95, "threshold of the pseudo-labels", symbol="τ", at_least=0, at_most=1)
    ema_decay: float = setting(0.999, "decay of the weights' moving average, per step", at_least=0, at_most=1)

    cai_beta: float = setting(0.5, "CAI: exponent of the class-aware threshold", symbol="β", at_least=0)
    cap_ema: bool = setting(True, "CAP: estimate the propensity from the class prior's moving average")
    cap_ema_momentum: float = setting(
        0.99, "momentum of the class prior (CAP and CAI)", symbol="m", at_least=0, at_most=1
    )
    upper: float = setting(5.0, "CAP: upper clip of the inverse weights", symbol="u", above=0)

    train_kimg: float = setting(8192.0, "length of training, in 1024 labeled images", above=0)
    report_kimg: float = setting(64.0, "evaluate every so many kimg", above=0)
    save_kimg: float = setting(64.0, "write a checkpoint every so many kimg", above=0, changes_result=False)
    keep_ckpt: int = setting(2, "checkpoints kept; older ones are removed", at_least=1, changes_result=False)
    keep_training_state: bool = setting(
        False, "keep the checkpoints of a complete trial too, not its averaged weights alone", changes_result=False
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _typed(field, getattr(self, field.name))
            _check_range(field, value)
            object.__setattr__(self, field.name, value)
        # Canonical spellings, so that two ways to write one trial have one hash.
        object.__setattr__(self, "dataset", str(parse_spec(self.dataset)))
        object.__setattr__(self, "algorithm", parse_algorithm(self.algorithm).name)
        parse_triple(self.augment, self.spec.name)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """The config with these settings and defaults elsewhere.

        Raises:
            UserError: an unknown setting (the nearest known one is suggested), or a value refused by the class.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise UserError(unknown_setting(key, known), key=key)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All settings, JSON-ready."""
        return dataclasses.asdict(self)

    @cached_property
    def spec(self) -> DatasetSpec:
        """The data set and split, parsed."""
        return parse_spec(self.dataset)

    @cached_property
    def hash(self) -> str:
        """8 hex digits of the SHA-256 of every setting that changes a result."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["changes_result"]}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @cached_property
    def name(self) -> str:
        """A readable name such as ``cadr-digits_LT_20-s1``; not unique without the hash."""
        split, _, rest = self.dataset.partition(".")
        if "." in rest.partition("@")[0]:  # a fractional imbalance ratio holds a dot of its own
            split, _, rest = self.dataset.partition("@")[0].rpartition(".")[0], ".", ""
        size = "" if self.spec.imbalance_ratio == self.spec.size else f"@{self.spec.size}"
        seed = f"{self.seed}" if self.spec.seed == self.seed else f"{self.spec.seed}.{self.seed}"
        return f"{self.algorithm.replace('+', '_')}-{split}{size}-s{seed}"

    @cached_property
    def trial_id(self) -> str:
        """The name of the trial's folder: readable name and hash, the same wherever and whenever it runs."""
        return f"{self.name}-{self.hash}"

    @property
    def steps(self) -> int:
        """Optimizer updates of the whole training."""
        return self._steps_of(self.train_kimg)

    @property
    def report_steps(self) -> int:
        """Updates between two evaluations."""
        return self._steps_of(self.report_kimg)

    @property
    def save_steps(self) -> int:
        """Updates between two checkpoints."""
        return self._steps_of(self.save_kimg)

    def _steps_of(self, kimg: float) -> int:
        return max(1, math.ceil(kimg * KIMG / self.batch))


def unknown_setting(key: str, known: Iterable[str]) -> str:
    """What to say to somebody who wrote `key`, which is not among the known settings."""
    if key.lower() in ("cap", "cai", "cadr"):
        return (
            f"'{key}' is no setting of its own: write 'algorithm: cadr' (CAP + CAI + CADR), or name the parts, "
            "as in 'algorithm: cap+cai'"
        )
    return f"unknown setting '{key}'{nearest(key, known)}"


def _typed(field: dataclasses.Field, value: Any) -> Any:
    """`value` as the field's type; a float may be given as an int, or as text such as '5e-4', which YAML reads so."""
    if value is None and field.default is None:
        return None
    wanted = field.type if isinstance(field.type, type) else int  # `int | None` is the one union
    if wanted is float and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    words = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    raise UserError(f"{field.name} must be {words[wanted]}, not {value!r}", key=field.name)


def _check_range(field: dataclasses.Field, value: Any) -> None:
    limits = field.metadata
    if value is None:
        return
    if limits["choices"] and value not in limits["choices"]:
        raise UserError(f"unknown {field.name} '{value}'{nearest(value, limits['choices'])}", key=field.name)
    if limits["at_least"] is not None and value < limits["at_least"]:
        raise UserError(f"{field.name} must be at least {limits['at_least']}, not {value}", key=field.name)
    if limits["above"] is not None and value <= limits["above"]:
        raise UserError(f"{field.name} must be above {limits['above']}, not {value}", key=field.name)
    if limits["at_most"] is not None and value > limits["at_most"]:
        raise UserError(f"{field.name} must be at most {limits['at_most']}, not {value}", key=field.name)
