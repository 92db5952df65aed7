"""What a method is. Read this file, then write one.

A method is a *base*, which owns the training step, and any number of *add-ons*, which act where the base calls them.
Both are built from settings and facts alone. They hold no tensor that changes: a tensor that changes is declared in
`state`, read from ``step.state`` and written to ``step.next``. Training saves this state. So a method saves nothing by
itself, and a trial still resumes bit for bit. A method never sees the label of an unlabeled image.

Shapes: B labeled rows and U unlabeled rows, both of the *global* batch, whatever the number of workers; C classes;
D features; N unlabeled images.

One step has this order:

1. The views are made.
2. `Base.losses` runs and calls the add-ons.
3. The optimizer follows the gradient of Σ labeled + Σ weight · unlabeled.
4. The moving average of the weights is updated.
5. ``step.next`` becomes the state.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cissl import plugins
from cissl.algorithms.cards import ADD_ON, BASE, Card, Recipe
from cissl.algorithms.shapes import BOOL, FLOAT, INT64, require_dict, require_number, require_tensor, require_terms
from cissl.errors import ContractError, UserError
from cissl.settings import steps_of

T = TypeVar("T")


class computed_once(Generic[T]):  # noqa: N801, in lower case like `property`
    """A property that is computed when it is first read, and then kept.

    It has no lock, unlike `functools.cached_property` before Python 3.12, because compilers cannot read a lock.
    """

    def __init__(self, function: Callable[[Any], T]):
        self._function, self._name = function, function.__name__
        self.__doc__ = function.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> T:
        value = self._function(owner)
        object.__setattr__(owner, self._name, value)  # works for frozen dataclasses too, and hides this property
        return value


@dataclasses.dataclass(frozen=True)
class View:
    """How a batch of images is made for each step: which images, and how they are augmented.

    Attributes:
        stream: ``"labeled"``, ``"unlabeled"``, or a stream that the method declares in `Part.streams`.
        augment: ``"labeled"``, ``"weak"`` or ``"strong"`` for a letter of the trial's setting `augment`; ``"none"``
            for images as they are.
    """

    stream: str
    augment: str


LABELED = View("labeled", "labeled")
WEAK = View("unlabeled", "weak")
STRONG = View("unlabeled", "strong")


@dataclasses.dataclass(frozen=True)
class Stream:
    """A further stream of images, beside the labeled and the unlabeled one.

    Attributes:
        pool: ``"labeled"``, ``"unlabeled"``, or ``"all"``: the labeled images, then the unlabeled ones.
        rows: images of each step's global batch.
        weights: for a labeled pool, a function of its labels, (size,) int64. It returns the probability of each image,
            (size,) float64, and images are drawn with replacement. None: every epoch shows each image once, in random
            order.
    """

    pool: str
    rows: int
    weights: Callable[[np.ndarray], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the training. A method with one stage declares none.

    A *generation* lasts from one fresh network to the next. For all parts of the method it is a whole training: their
    counts of steps, their progress and their state begin again. Without fresh stages there is one generation.

    Attributes:
        share: share of the trial's steps, in (0, 1]. The shares of all stages add up to 1.
        fresh: whether the stage starts from a new network, optimizer and state. Otherwise it continues with the old
            ones.
        restart_schedule: whether the learning-rate schedule starts over.
        restart_average: whether the moving average starts over from the trained weights, as in a fresh stage.
        without: names of views that this stage does not use. They are not made.
    """

    share: float
    fresh: bool = False
    restart_schedule: bool = False
    restart_average: bool = False
    without: tuple[str, ...] = ()


class Outputs:
    """What the network computes for n images, which are rows of the global batch in order. Outputs carry a gradient.

    Args:
        logits: (n, C) float.
        features: (n, D) float before the classifier, or a function that computes them when they are first read.
        heads: name → (n, …) output of each extra head, or a function that computes it.
    """

    def __init__(
        self,
        logits: Tensor,
        features: Tensor | Callable[[], Tensor] | None = None,
        heads: Mapping[str, Tensor | Callable[[], Tensor]] | None = None,
    ) -> None:
        self.logits = logits
        self._features = features
        self._heads = dict(heads or {})

    @computed_once
    def probabilities(self) -> Tensor:
        """Softmax of the logits, (n, C), with gradient."""
        return self.logits.softmax(1)

    @computed_once
    def features(self) -> Tensor:
        """Features before the classifier, (n, D).

        Raises:
            ValueError: these outputs were made without features.
        """
        if self._features is None:
            raise ValueError("these outputs have no features")
        return self._features() if callable(self._features) else self._features

    def with_logits(self, logits: Tensor) -> "Outputs":
        """A copy with other logits (n, C) and the same features and heads."""
        heads = {name: functools.partial(self.head, name) for name in self._heads}
        return Outputs(logits, lambda: self.features, heads)

    def head(self, name: str) -> Tensor:
        """Output of an extra head, (n, …)."""
        found = self._heads[name]
        if callable(found):
            found = self._heads[name] = found()
        return found

    def rows(self, part: slice) -> "Outputs":
        """The outputs of some of the rows."""
        heads = {name: functools.partial(self._rows_of_head, name, part) for name in self._heads}
        return Outputs(self.logits[part], lambda: self.features[part], heads)

    def _rows_of_head(self, name: str, part: slice) -> Tensor:
        return self.head(name)[part]


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """The labels that a method gives to unlabeled rows.

    Attributes:
        classes: (U,) int64.
        weights: how much each row counts, (U,) bool or float.
        probabilities: the probabilities that the labels were chosen from, (U, C) float without gradient. A method with
            soft labels puts its targets here.

    Raises:
        ContractError: a tensor has another shape or dtype, or the probabilities have a gradient.
    """

    classes: Tensor
    weights: Tensor
    probabilities: Tensor

    def __post_init__(self) -> None:
        require_tensor("PseudoLabels.probabilities is", self.probabilities, (None, None), letters="(U, C)")
        rows = (len(self.probabilities),)
        require_tensor("PseudoLabels.classes is", self.classes, rows, letters="(U,)", kinds=(INT64,))
        require_tensor("PseudoLabels.weights is", self.weights, rows, letters="(U,)", kinds=(BOOL, FLOAT))
        if self.probabilities.requires_grad:
            raise ContractError("PseudoLabels.probabilities has a gradient; labels are constants: use .detach()")


@dataclasses.dataclass(frozen=True)
class Losses:
    """The named terms of a step's loss. Each is a scalar, and all of them are recorded.

    Attributes:
        labeled: terms that are added up without weights.
        unlabeled: terms before their weights.
        weights: name → weight of an unlabeled term, a number or a scalar tensor. A term without a weight has weight 1.
        pseudo: the pseudo-labels, for the records. None for a method without pseudo-labels.
        measured: further values for the records, tensors of any shape such as thresholds (C,). The records have their
            mean over steps.

    Raises:
        ContractError: a term is not a scalar, a weight is not a number, or there is no labeled term.
    """

    labeled: Mapping[str, Tensor]
    unlabeled: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, float | Tensor] = dataclasses.field(default_factory=dict)
    pseudo: PseudoLabels | None = None
    measured: Mapping[str, float | Tensor] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_terms("Losses.labeled has", self.labeled)
        require_terms("Losses.unlabeled has", self.unlabeled)
        require_dict("Losses.weights is", self.weights)
        for name, weight in self.weights.items():
            require_number(f"Losses.weights has '{name}':", weight)
        if not self.labeled:
            raise ContractError("Losses.labeled has no term; expected at least one")

    @computed_once
    def labeled_sum(self) -> Tensor:
        """Sum of the labeled terms, scalar."""
        return _sum(self.labeled.values())

    @computed_once
    def total(self) -> Tensor:
        """The loss that is differentiated, Σ labeled + Σ weight · unlabeled, scalar."""
        total = self.labeled_sum
        for name, term in self.unlabeled.items():
            total = total + self.weights.get(name, 1.0) * term
        return total


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a method may know before training.

    Attributes:
        classes: C, number of classes.
        side: height and width of the images, in pixels.
        channels: 1 for gray images, 3 for colour images.
        width: D, number of features before the classifier.
        labeled_targets: classes of the labeled images, (labeled,) int64, in the order of their positions. Images that
            `Part.extra_labeled` adds come last.
        unlabeled: N, number of unlabeled images.
        labeled_too: whether the split also labels an unlabeled image, (N,) bool, by position.
        steps: optimizer updates of the whole training. Inside a step: of its generation.
        batch: B, labeled images of a step.
        dtype: dtype of the network's weights, and so of a state of floats.
        device: device of the network and of the state.
        compiled: whether the setting ``compile`` is on. Then a step should not wait for the device.
    """

    classes: int
    side: int
    channels: int
    width: int
    labeled_targets: Tensor
    unlabeled: int
    labeled_too: Tensor
    steps: int
    batch: int
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    compiled: bool = False

    @property
    def labeled(self) -> int:
        """Number of labeled images."""
        return len(self.labeled_targets)

    @computed_once
    def labeled_counts(self) -> Tensor:
        """Number of labeled images of each class, (C,) int64."""
        return class_counts(self.labeled_targets, self.classes)

    @property
    def kimg_steps(self) -> float:
        """Optimizer updates in 1024 labeled images, a float. Settings that count images use it."""
        return 1024 / self.batch

    def steps_of(self, length: float) -> int:
        """Convert a setting to steps. A value below 1 is a share of the training, any other value a number of steps."""
        return steps_of(length, self.steps)

    def full(self, shape: Sequence[int], value: float, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor for the state, of this shape and filled with one value; by default of the network's dtype."""
        return torch.full(tuple(shape), value, dtype=self.dtype if dtype is None else dtype, device=self.device)

    def tensor(self, values: Any) -> Tensor:
        """Numbers, an array or a tensor as floats for the state, of the same shape and of the network's dtype."""
        return torch.as_tensor(values).to(dtype=self.dtype, device=self.device)


def class_counts(classes: Tensor, number: int) -> Tensor:
    """Count the entries of each class: (n,) int64 → (number,) int64. Unlike `torch.bincount` it does not make the host
    wait for a GPU.
    """
    return classes.new_zeros(number).index_add(0, classes, torch.ones_like(classes))


class Draws(Protocol):
    """Random numbers for the *global* batch. They are a function of the trial's seed, the purpose and the step."""

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), of the given shape."""

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers of mean 0 and variance 1, of the given shape."""

    def beta(self, a: float, b: float, *shape: int) -> Tensor:
        """Beta(a, b) numbers, of the given shape."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Whole numbers in [0, high), int64, of the given shape."""

    def permutation(self, size: int) -> Tensor:
        """The numbers 0 to size − 1 in random order, (size,) int64."""

    def bernoulli(self, chances: Tensor) -> Tensor:
        """True with the given probabilities: bool, of the shape of `chances`."""


class Step:
    """One training step as a method sees it. Training makes it; a test can make one with outputs of its own.

    Attributes:
        number: updates made before this one, in the whole training or, where there are several, in this generation.
        stage: number of the current stage.
        stage_number: updates made before this one in this stage.
        stage_steps: number of updates of this stage.
        facts: see `Facts`.
        targets: labels of the labeled rows, (B,) int64.
        index: stream → positions of its rows, int64: ``index["labeled"]`` (B,) in the labeled set,
            ``index["unlabeled"]`` (U,) in the unlabeled set. An image keeps its position in every epoch and after every
            resumption.
        labels: labels of the rows of a further stream, (rows,) int64, if its pool is the labeled images.
        state: the state before this step. Read it, and never change a tensor in place.
        next: the state after this step. Write new values here, each of the shape and dtype of the old one. What is not
            written stays.
        shared: values that one part of a recipe leaves for another part within this step.
        measured: values for the records, as in `Losses.measured`: tensors or numbers, each of the same shape in every
            step.
        method: the base and its add-ons.
    """

    number: int
    stage: int
    stage_number: int
    stage_steps: int
    facts: Facts
    targets: Tensor
    index: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    next: dict[str, Tensor]
    shared: dict[str, Any]
    measured: dict[str, float | Tensor]
    method: "Method"

    @property
    def progress(self) -> float:
        """Share of the training that is over, in [0, 1)."""
        return self.number / self.facts.steps

    def forward(self, *views: str, update_averages: bool = True) -> dict[str, Outputs]:
        """One pass in training mode over these views together. They share one set of BatchNorm statistics.

        Args:
            views: names of the views.
            update_averages: whether the batch updates BatchNorm's running averages.
        """
        raise NotImplementedError

    def view(self, name: str) -> Tensor:
        """This worker's images of a view, (rows, channels, H, W) float in [−1, 1]."""
        raise NotImplementedError

    def network(self, images: Tensor, *, update_averages: bool = True, replicated: bool = False) -> Outputs:
        """A further pass in training mode.

        Args:
            images: this worker's rows, (rows, channels, H, W) float.
            update_averages: whether the batch updates BatchNorm's running averages.
            replicated: whether the images are the same on every worker. Then they count once.
        """
        raise NotImplementedError

    def teacher(self, images: Tensor, *, batch_statistics: bool = False) -> Outputs:
        """A pass with the moving-average weights from before this step's update. Outputs carry no gradient.

        Args:
            images: this worker's rows, (rows, channels, H, W) float.
            batch_statistics: whether BatchNorm uses the statistics of this batch instead of its running averages. The
                running averages do not change in either case.
        """
        raise NotImplementedError

    def gather(self, rows: Tensor) -> Tensor:
        """The global batch (all rows, …) from every worker's rows (rows, …), with gradient."""
        raise NotImplementedError

    def share(self, rows: Tensor) -> Tensor:
        """This worker's rows (rows, …) of a global batch (all rows, …)."""
        raise NotImplementedError

    def random(self, purpose: str) -> Draws:
        """Random numbers for one purpose of this step."""
        raise NotImplementedError

    def strong_logits(self, out: Mapping[str, Outputs]) -> Tensor:
        """Logits of all strong views, one view below the other, (views · U, C)."""
        names = self.method.base.strong_views
        return out[names[0]].logits if len(names) == 1 else torch.cat([out[name].logits for name in names])

    # A base calls the following functions at its slots. They call the add-ons of the recipe in their order.

    def labeled_terms(self, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """Further terms of the labeled loss, scalars by name. A term named ``"labeled"`` replaces the base's."""
        return self._terms([part.labeled_terms(self, out) for part in self.method.add_ons])

    def guess(self, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """The probabilities (U, C) that pseudo-labels are made from, without gradient."""
        for part in self.method.add_ons:
            probabilities = part.guess(self, out, probabilities)
        return probabilities

    def select(self, out: dict[str, Outputs], pseudo: PseudoLabels) -> PseudoLabels:
        """The pseudo-labels (U,) after the add-ons have chosen which of them count."""
        for part in self.method.add_ons:
            pseudo = part.select(self, out, pseudo)
        return pseudo

    def unlabeled_terms(self, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """Further terms of the unlabeled loss, scalars by name, already multiplied by their weights.

        A term named ``"unlabeled"`` replaces the base's and is multiplied by the base's weight.
        """
        return self._terms([part.unlabeled_terms(self, out, pseudo) for part in self.method.add_ons])

    def _terms(self, parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The terms of all add-ons. Two add-ons may not have a term of the same name."""
        terms: dict[str, Tensor] = {}
        owner: dict[str, str] = {}
        for part, own in zip(self.method.add_ons, parts, strict=True):
            title = part.card.title
            for name in own:
                if name in terms:
                    raise UserError(
                        f"{owner[name]} and {title} do not combine with these settings: both make the loss '{name}'",
                        key="algorithm",
                    )
            terms |= own
            owner |= dict.fromkeys(own, title)
        return terms


class Survey(Protocol):
    """Access to the whole data set between two steps.

    Attributes:
        number: updates made so far in this generation.
        stage: number of the current stage. Between two stages: of the stage that has ended.
        facts: see `Facts`.
    """

    number: int
    stage: int
    facts: Facts

    def outputs(self, images: str = "unlabeled", *, network: str = "average", augment: str = "none") -> Outputs:
        """The network's outputs for a whole set, in evaluation mode, without gradient, in the order of positions.

        Args:
            images: ``"labeled"`` or ``"unlabeled"``.
            network: ``"average"`` for the moving-average weights, ``"raw"`` for the trained weights.
            augment: as in `View`.
        """

    def random(self, purpose: str) -> Draws:
        """Random numbers for one purpose of this survey. They are the same on every worker."""


class Part:
    """What a base and an add-on have in common.

    Attributes:
        settings: an object with the method's settings.
        card: the method's card, which `Method` sets; see `cissl.algorithms.cards.Card`.
        views: name → view of the images that a step needs.
        waits: why a step that is not compiled makes the host wait for the device; empty if it does not wait.
    """

    kind: ClassVar[str]
    card: Card
    settings: Any
    views: Mapping[str, View] = {}
    waits: ClassVar[str] = ""

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings

    def streams(self, facts: Facts) -> dict[str, Stream]:
        """Further streams of images that `views` draw from."""
        return {}

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """Extra modules on the features: (n, width) → (n, …). They are trained, averaged and saved with the network.

        A module whose attribute ``sees_map`` is true gets the last feature map instead, (n, width, h, w). The features
        are the mean of this map over its pixels.

        Modules draw their initial weights from torch's global generator, which is seeded before this call.
        """
        return {}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """The initial value of everything in the method that changes: tensors of any shape. The names of an add-on
        begin with its own name and a dot.
        """
        return {}

    def period(self, facts: Facts) -> int:
        """Number of steps between two calls of `periodically`; 0 for never."""
        return 0

    def periodically(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New values of the state, each of the shape that it had. It is called before each step whose number in its
        stage is a multiple of `period` above 0.
        """
        return {}

    def stages(self, facts: Facts) -> tuple[Stage, ...]:
        """The stages of the training, in order. For an add-on this is the slot ``stages``."""
        return (Stage(1.0),)

    def between(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Entries of the state with which the next stage starts, each of its old shape or of another. After a fresh
        start all other entries have their initial values.
        """
        return {}

    def extra_labeled(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Unlabeled images that this stage counts as labeled: positions (n,) and classes (n,), int64.

        Args:
            state: the state at the beginning of the stage. For a fresh stage: what `between` returned.
        """
        return None

    def prepare(self, network: Callable[[Tensor], Outputs], facts: Facts) -> dict[str, Tensor]:
        """What `predict` needs beside the state: tensors of any shape. It is called before each evaluation with the
        averaged network.
        """
        return {}


class Base(Part):
    """A whole method.

    Attributes:
        strong_views: names of the views that the unlabeled loss trains on.
        keeps_all: whether every pseudo-label counts in full.
        add_ons: the add-ons of the recipe.
    """

    kind = BASE
    keeps_all: ClassVar[bool] = False
    strong_views: tuple[str, ...] = ("strong",)
    add_ons: tuple["AddOn", ...] = ()

    def uratio(self) -> int:
        """Unlabeled images for each labeled one."""
        return getattr(self.settings, "uratio", 1)

    def losses(self, step: Step) -> Losses:
        """The losses of one step, scalars."""
        raise NotImplementedError

    def supervised(self, step: Step, out: dict[str, Outputs], weights: Tensor | None = None) -> Tensor:
        """The labeled loss, scalar: the mean cross-entropy of the labeled rows. Weights (B,) multiply the rows.

        An add-on at the slot ``labeled`` may call this with its own weights and return the result as ``"labeled"``.
        """
        logits = out["labeled"].logits
        if weights is None:
            return F.cross_entropy(logits, step.targets)
        return torch.mean(weights * F.cross_entropy(logits, step.targets, reduction="none"))

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """The unlabeled loss of these pseudo-labels before its weight, scalar.

        A base with the slot ``unlabeled`` has this function, because an add-on may call it with other row weights.
        """
        raise NotImplementedError

    def soft_consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """The same loss with the pseudo-labels' probabilities (U, C) as soft targets, scalar."""
        raise NotImplementedError

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor]) -> Tensor:
        """Class scores (n, C) from the averaged network's outputs. The largest score of a row is the prediction."""
        return outputs.logits


class AddOn(Part):
    """A method that acts at slots of a base's step. It overrides the functions of the slots that its card fills.

    Attributes:
        base: the method that it is added to.
    """

    kind = ADD_ON
    base: Base

    def labeled_terms(self, step: Step, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """Slot ``labeled``: scalars by name; see `Step.labeled_terms`."""
        return {}

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """Slot ``guess``: probabilities (U, C) → (U, C); see `Step.guess`."""
        return probabilities

    def select(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> PseudoLabels:
        """Slot ``select``: pseudo-labels (U,) → (U,); see `Step.select`."""
        return pseudo

    def unlabeled_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """Slot ``unlabeled``: scalars by name; see `Step.unlabeled_terms`."""
        return {}

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """Slot ``predict``: class scores (n, C) that replace the base's scores (n, C)."""
        return scores


class Method:
    """A recipe at work: a base with its add-ons.

    Args:
        recipe: see `cissl.algorithms.cards.find`.
        values: the recipe's settings by their keys.
    """

    def __init__(self, recipe: Recipe, values: Mapping[str, Any]) -> None:
        self.recipe = recipe
        self.base: Base = _make(recipe, recipe.base, values)
        self.add_ons: tuple[AddOn, ...] = tuple(_make(recipe, card, values) for card in recipe.add_ons)
        for add_on in self.add_ons:
            add_on.base = self.base
        self.base.add_ons = self.add_ons

    @property
    def parts(self) -> tuple[Part, ...]:
        """The base and its add-ons, in the order in which they act."""
        return (self.base, *self.add_ons)

    @cached_property
    def views(self) -> dict[str, View]:
        """Name → view of everything that a step needs. The base's views come first.

        Raises:
            ValueError: two parts use one name for different views.
        """
        views: dict[str, View] = {}
        for part in self.parts:
            for name, view in part.views.items():
                if views.setdefault(name, view) != view:
                    raise ValueError(f"{self.recipe.name}: two parts mean different views by '{name}'")
        return views

    def streams(self, facts: Facts) -> dict[str, Stream]:
        """The further streams of all parts.

        Raises:
            ValueError: two parts use one name.
        """
        return _merged(self.recipe.name, "streams", [part.streams(facts) for part in self.parts])

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """The extra heads of all parts.

        Raises:
            ValueError: two parts use one name.
        """
        return _merged(self.recipe.name, "heads", [part.heads(width, classes) for part in self.parts])

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """The initial state of all parts, tensors of any shape.

        Raises:
            ContractError: an entry of an add-on does not begin with the add-on's name and a dot.
            ValueError: two parts use one name.
        """
        for part, card in zip(self.add_ons, self.recipe.add_ons, strict=True):
            for name in part.state(facts):
                if not name.startswith(f"{card.prefix}."):
                    error = ContractError(f"{card.name}: state '{name}' must be called '{card.prefix}.{name}'")
                    error.place = plugins.place_of_code(inspect.unwrap(type(part).state).__code__)
                    raise error
        return _merged(self.recipe.name, "states", [part.state(facts) for part in self.parts])

    def uratio(self) -> int:
        """Unlabeled images for each labeled one; 0 for a method that uses none."""
        return self.base.uratio() if self.recipe.base.unlabeled else 0

    def stages(self, facts: Facts) -> tuple[Stage, ...]:
        """The stages of the training. At most one part of a recipe divides it."""
        return max((part.stages(facts) for part in self.parts), key=len)

    def periodically(
        self, stage_number: int, survey: Survey, state: Mapping[str, Tensor], facts: Facts
    ) -> dict[str, Tensor]:
        """Entries of the state that change before a step, each of the shape that it had."""
        changed: dict[str, Tensor] = {}
        for part in self.parts:
            period = part.period(facts)
            if period and stage_number and stage_number % period == 0:
                changed |= part.periodically(survey, {**state, **changed})
        return changed

    def between(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Entries of the state with which the next stage starts, tensors of any shape."""
        return _merged(self.recipe.name, "states", [part.between(survey, state) for part in self.parts])

    def extra_labeled(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Positions (n,) and classes (n,), int64, of unlabeled images that count as labeled; see `Part.extra_labeled`.

        None if no part adds any.
        """
        for part in self.parts:
            extra = part.extra_labeled(state)
            if extra is not None:
                return extra
        return None

    def prepare(self, network: Callable[[Tensor], Outputs], facts: Facts) -> dict[str, Tensor]:
        """What `predict` needs beside the state, tensors of any shape."""
        return _merged(self.recipe.name, "preparations", [part.prepare(network, facts) for part in self.parts])

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor]) -> Tensor:
        """Class scores (n, C). The largest score of a row is the prediction."""
        scores = self.base.predict(outputs, state)
        for part in self.add_ons:
            scores = part.predict(outputs, state, scores)
        return scores


def _make(recipe: Recipe, card: Card, values: Mapping[str, Any]) -> Any:
    part = plugins.load(card.method)(recipe.settings_of(card, values))
    part.card = card
    return part


def _merged(recipe: str, what: str, parts: Sequence[dict[str, T]]) -> dict[str, T]:
    merged: dict[str, T] = {}
    for part in parts:
        both = merged.keys() & part.keys()
        if both:
            raise ValueError(f"{recipe}: two parts have {what} called '{min(both)}'")
        merged |= part
    return merged


def _sum(terms: Iterable[Tensor]) -> Tensor:
    total, *others = terms
    for term in others:
        total = total + term
    return total
