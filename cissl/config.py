"""One trial's settings: typed, validated, printable and hashable.

`TrialConfig` has everything that changes a trial's result, and nothing about the machine that it runs on. Defaults are
those of the reference (CIFAR-10, WRN-28-2); symbols are those of the paper (Hu et al., ICLR 2022).
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from cissl import plugins, pretrained
from cissl.algorithms.cards import Recipe, built_in, find
from cissl.augment.triple import parse_triple
from cissl.datasets.spec import DatasetSpec, parse_spec
from cissl.errors import UserError, nearest
from cissl.models.names import ARCHS, LIBRARIES
from cissl.settings import checked, setting

KIMG = 1024  # labeled images
MOST_KIMG = 1e12  # far longer than any training, and small enough for exact steps


# Settings of the first version, in its order. They are part of every trial's hash and record. If the trial's algorithm
# does not have them, they have these values. So older trials keep their hashes, and a new method changes no hash.
FIRST_VERSION: dict[str, Any] = {
    "uratio": 7,
    "wu": 1.0,
    "confidence": 0.95,
    "cai_beta": 0.5,
    "cap_ema": True,
    "cap_ema_momentum": 0.99,
    "upper": 5.0,
}


@dataclasses.dataclass(frozen=True, kw_only=True, init=False)
class TrialConfig:
    """All settings of one trial: those that every trial has, and those of its algorithm's parts. They are checked.

    ``TrialConfig(algorithm="fixmatch+darp", lr=0.02, **{"darp.alpha": 1.5})``; each setting is also an attribute, and
    `method` has those with a dot.

    Raises:
        UserError: a value has the wrong type, is out of range, or contradicts another one; the error's `key` is the
            setting.
    """

    dataset: str = setting("cifar10.1@4000-5000", "data set and split: <name>[_LT_<γ>].<seed>@<labels>-<valid>")
    algorithm: str = setting("fixmatch", "method, or a sum such as fixmatch+darp (python -m cissl.algorithms)")
    seed: int = setting(1, "seed of initialisation, batches and augmentation", at_least=0, at_most=2**63 - 1)

    arch: str = setting(
        "wrn",
        "backbone, or ours.py:Net, or one of torchvision's or timm's, such as torchvision.resnet50",
        choices=ARCHS,
        or_plugin=True,
        or_prefix=tuple(f"{library}." for library in LIBRARIES),
    )
    weights: str | None = setting(
        None, "file of pretrained weights, for all but the last dense layer; by default none", added_later=True
    )
    filters: int = setting(32, "width: channels of the first stage", at_least=1)
    repeat: int = setting(4, "residual blocks per stage", at_least=1)
    scales: int | None = setting(None, "stages; by default ceil(log2(side)) - 2", at_least=1)
    bn_decay: float = setting(0.999, "decay of BatchNorm's moving averages, per step", at_least=0, at_most=1)

    augment: str = setting("d.d.d", "augmentation of labeled.weak.strong images")
    adepth: int = setting(2, "CTAugment: operations in a row", at_least=1, at_most=100)
    ath: float = setting(0.80, "CTAugment: threshold below which a bin is not drawn", at_least=0, at_most=1)
    adecay: float = setting(0.99, "CTAugment: decay of the bins' rates", at_least=0, at_most=1)

    sync_bn: bool = setting(True, "several workers: BatchNorm over the joint batch, else over each worker's own share")
    precision: str = setting("fp32", "arithmetic of the network's forward and backward pass", choices=("fp32", "bf16"))
    compile: bool = setting(False, "compile the network: a minute or two at the start, faster steps afterwards")

    batch: int = setting(64, "labeled images per step", symbol="B", at_least=1, at_most=2**20)
    lr: float = setting(0.03, "learning rate at the start", symbol="η", above=0)
    wd: float = setting(5e-4, "weight decay, on kernels only", at_least=0)
    optimizer: str = setting(
        "sgd",
        "sgd with Nesterov momentum 0.9 and wd as L2, or adamw with decoupled wd",
        choices=("sgd", "adamw"),
        added_later=True,
    )
    lr_schedule: str = setting(
        "fixmatch",
        "how the learning rate falls: fixmatch, to a fifth along a part of a cosine; cosine, to 0; or constant",
        choices=("fixmatch", "cosine", "constant"),
        added_later=True,
    )
    lr_warmup_kimg: float = setting(
        0.0,
        "length of the learning rate's linear rise at the start, in 1024 labeled images",
        at_least=0,
        at_most=MOST_KIMG,
        added_later=True,
    )
    ema_decay: float = setting(0.999, "decay of the weights' moving average, per step", at_least=0, at_most=1)

    train_kimg: float = setting(8192.0, "length of training, in 1024 labeled images", above=0, at_most=MOST_KIMG)
    report_kimg: float = setting(64.0, "evaluate every so many kimg", above=0, at_most=MOST_KIMG)
    save_kimg: float = setting(
        64.0, "write a checkpoint every so many kimg", above=0, at_most=MOST_KIMG, changes_result=False
    )
    keep_ckpt: int = setting(2, "checkpoints kept; older ones are removed", at_least=1, changes_result=False)
    keep_training_state: bool = setting(
        False, "keep the checkpoints of a complete trial too, not its averaged weights alone", changes_result=False
    )

    method: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    """key → value for the settings of the algorithm's parts"""
    code: ClassVar[Mapping[str, str]] = {}
    """name → SHA-256 of the user's own files that the trial runs, as they were when the config was made"""

    def __init__(self, *, method: Mapping[str, Any] | None = None, **values: Any):
        values = {**(method or {}), **values}
        recipe = find(str(values.get("algorithm", "fixmatch")))
        fields = {**core_fields(), **recipe.fields}
        if both := core_fields().keys() & recipe.fields.keys():
            raise UserError(
                f"{recipe.name} has a setting '{min(both)}', which every trial has; give it another name",
                key="algorithm",
            )
        for key, value in values.items():
            if key not in fields and not is_idle(key, value):
                raise UserError(setting_not_taken(key, recipe.name), key=key)
        settings = {key: checked(field, values.get(key, field.default), key) for key, field in fields.items()}
        # Canonical spellings, so that two ways to write one trial have one hash.
        settings |= {"algorithm": recipe.name, "dataset": str(parse_spec(settings["dataset"]))}
        for key in core_fields():
            object.__setattr__(self, key, settings[key])
        object.__setattr__(self, "method", {key: settings[key] for key in recipe.fields})
        for part in recipe.parts:
            recipe.settings_of(part, self.method)  # a part may check more than each value's range
        parse_triple(self.augment, self.spec.name)
        if self.weights is not None:
            object.__setattr__(self, "weights", pretrained.register(self.weights, Path.cwd()))
        if self.lr_warmup_kimg > self.train_kimg:
            raise UserError(f"lr_warmup_kimg is {self.lr_warmup_kimg:g}, longer than train_kimg", key="lr_warmup_kimg")
        object.__setattr__(self, "code", {source.name: source.sha256 for source in plugins.sources(self.plugins)})

    def __getattr__(self, name: str) -> Any:
        """A setting of the algorithm's parts."""
        try:
            return self.__dict__["method"][name]
        except KeyError:
            raise AttributeError(f"{self.__dict__.get('algorithm')} has no setting '{name}'") from None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings with the user's own code, so that a process without the file gets it too."""
        return _unpickled, (self.to_dict(), tuple(plugins.sources(self.plugins)))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """The config with these settings and defaults elsewhere.

        Raises:
            UserError: an unknown setting (the nearest known one is suggested), or a value refused by the class.
        """
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All settings, flat and JSON-ready."""
        core = {key: getattr(self, key) for key in core_fields()}
        return {**core, **FIRST_VERSION, **self.method}

    @cached_property
    def recipe(self) -> Recipe:
        """The algorithm, parsed."""
        return find(self.algorithm)

    @cached_property
    def spec(self) -> DatasetSpec:
        """The data set and split, parsed."""
        return parse_spec(self.dataset)

    @cached_property
    def hash(self) -> str:
        """8 hex digits of the SHA-256 of every setting that changes a result, and of the user's own code."""
        values = {key: value for key, value in self.to_dict().items() if self._is_hashed(key, value)}
        text = json.dumps({**values, **self.code}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def plugins(self) -> list[str]:
        """Names of the code of a user's own that the trial runs."""
        return [*self.recipe.plugins, *([self.arch] if plugins.is_plugin(self.arch) else [])]

    @cached_property
    def name(self) -> str:
        """A readable name such as ``cadr-digits_LT_20-s1``; not unique without the hash."""
        of_ratio = self.spec.size is not None and self.spec.imbalance_ratio == self.spec.size
        size = "" if of_ratio else f"@{self.spec.size_text}"
        seed = f"{self.seed}" if self.spec.seed == self.seed else f"{self.spec.seed}.{self.seed}"
        return f"{_as_file_name(self.algorithm)}-{self.spec.protocol}{size}-s{seed}"

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

    def _is_hashed(self, key: str, value: Any) -> bool:
        field = core_fields().get(key) or self.recipe.fields.get(key)
        if field is None:  # of the first version, and not this algorithm's
            return True
        return field.metadata["changes_result"] and not (field.metadata["added_later"] and value == field.default)


def _unpickled(values: dict[str, Any], sources: Iterable[plugins.Source]) -> TrialConfig:
    for source in sources:
        plugins.add_source(source)
    return TrialConfig(**values)


@functools.cache
def core_fields() -> Mapping[str, dataclasses.Field[Any]]:
    """Key → field of the settings that every trial has, whatever its algorithm."""
    return {field.name: field for field in dataclasses.fields(TrialConfig) if field.name != "method"}


def known_settings(algorithms: Iterable[str] = ()) -> dict[str, dataclasses.Field[Any]]:
    """Key → field of the core settings, of those of all built-in methods, and of those of these algorithms."""
    fields = dict(core_fields())
    for card in built_in().values():
        fields |= card.fields
    for algorithm in algorithms:
        fields |= find(algorithm).fields
    return fields


def is_idle(key: str, value: Any) -> bool:
    """Whether a setting that an algorithm does not have has the value that its records have nevertheless."""
    return key in FIRST_VERSION and value == FIRST_VERSION[key]


def setting_not_taken(key: str, *algorithms: str) -> str:
    """A message for a setting that was given to algorithms that do not have it.

    Args:
        key: the setting.
        algorithms: names of these algorithms.
    """
    own = {name: None for algorithm in algorithms for name in find(algorithm).fields}
    dotted = [name for name in own if name.rpartition(".")[2] == key]
    owners = [card.name for card in built_in().values() if key in card.fields]
    lacking = f"{', '.join(algorithms)} {'has' if len(algorithms) == 1 else 'have'} no setting '{key}'"
    if dotted:
        return f"{lacking}; did you mean {_quoted(dotted)}?"
    if owners:
        return f"{lacking}, which belongs to {', '.join(owners)}"
    return unknown_setting(key, [*core_fields(), *own])


def _quoted(names: Iterable[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


def _as_file_name(algorithm: str) -> str:
    """``cap_cai`` for ``cap+cai``, ``Ours`` for ``ours.py:Ours``."""
    return "_".join(part.rpartition(":")[2] for part in algorithm.split("+"))


def unknown_setting(key: str, known: Iterable[str]) -> str:
    """A message for a setting that does not exist.

    Args:
        key: what somebody wrote.
        known: the settings that exist.
    """
    if key.lower() in ("cap", "cai", "cadr"):
        return (
            f"'{key}' is no setting of its own: write 'algorithm: cadr' (CAP + CAI + CADR), or name the parts, "
            "as in 'algorithm: cap+cai'"
        )
    return f"unknown setting '{key}'{nearest(key, known)}"
