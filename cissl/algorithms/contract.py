"""What a method is. Read this file, then write one.

A method is a *base*, which owns the training step, and any number of *add-ons*, which act where the base asks for them.
Both are built from settings and facts alone and hold no tensor that changes: what changes is declared in `state`,
read from ``step.state`` and written to ``step.next``. So a method saves nothing by itself, and yet a trial resumes bit
for bit. Nobody sees the label of an unlabeled image.

Shapes: B labeled rows, U unlabeled rows, both of the *global* batch, whatever the number of workers; C classes;
D features; N unlabeled images.

The order of one step: views are made · `Base.losses` runs, and the add-ons inside it · the gradient of
Σ labeled + Σ weight · unlabeled is followed · the weights' moving average moves · ``step.next`` becomes the state.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cissl import plugins
from cissl.algorithms.cards import ADD_ON, BASE, Card, Recipe
from cissl.algorithms.shapes import BOOL, FLOAT, INT64, require_dict, require_number, require_tensor, require_terms
from cissl.errors import ContractError, UserError
from cissl.settings import steps_of


@dataclasses.dataclass(frozen=True)
class View:
    """How a batch of images is made for each step: which images, and how they are augmented.

    Attributes:
        stream: ``"labeled"``, ``"unlabeled"``, or a stream that the method declares in `Part.streams`.
        augment: ``"labeled"``, ``"weak"`` or ``"strong"``, a letter of the trial's triple; ``"none"``: as they are.
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
        weights: of a labeled pool: its labels, (size,) int64, to the chance of each image, (size,) float64, with which
            they are drawn with replacement; None: each image once, in random order, then again.
    """

    pool: str
    rows: int
    weights: Callable[[np.ndarray], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the training. A method with one stage declares none.

    What is trained from one fresh network on to the next is a *generation*, and to all parts of the method a whole
    training: their counts of steps, their progress and their state begin again. Without fresh stages there is one.

    Attributes:
        share: of the trial's steps, in (0, 1]; the stages' shares add up to 1.
        fresh: whether the stage starts from a new network, optimizer and state; else it goes on with the old ones.
        restart_schedule: whether the learning rate starts over.
        restart_average: whether the moving average starts over from the trained weights, as in a fresh stage.
        without: names of views that this stage's steps do not look at, and that are not made.
    """

    share: float
    fresh: bool = False
    restart_schedule: bool = False
    restart_average: bool = False
    without: tuple[str, ...] = ()


class Outputs:
    """What the network says of some images, rows of the global batch in order, with gradient.

    Args:
        logits: (n, C).
        features: (n, D) before the classifier, or a function that gets them when somebody asks.
        heads: name → (n, …) of each extra head, or a function.
    """

    def __init__(
        self,
        logits: Tensor,
        features: Tensor | Callable[[], Tensor] | None = None,
        heads: Mapping[str, Tensor | Callable[[], Tensor]] | None = None,
    ):
        self.logits = logits
        self._features = features
        self._heads = dict(heads or {})

    @cached_property
    def probabilities(self) -> Tensor:
        """softmax of the logits, (n, C), with gradient."""
        return self.logits.softmax(1)

    @cached_property
    def features(self) -> Tensor:
        """(n, D) before the classifier."""
        if self._features is None:
            raise ValueError("these outputs have no features")
        return self._features() if callable(self._features) else self._features

    def with_logits(self, logits: Tensor) -> "Outputs":
        """The same with other logits (n, C)."""
        heads = {name: functools.partial(self.head, name) for name in self._heads}
        return Outputs(logits, lambda: self.features, heads)

    def head(self, name: str) -> Tensor:
        """(n, …) of an extra head."""
        found = self._heads[name]
        if callable(found):
            found = self._heads[name] = found()
        return found

    def rows(self, part: slice) -> "Outputs":
        """The outputs of some of the rows."""
        heads = {name: lambda name=name: self.head(name)[part] for name in self._heads}
        return Outputs(self.logits[part], lambda: self.features[part], heads)


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """The labels that unlabeled rows are given.

    Attributes:
        classes: (U,) int64.
        weights: how much each row counts: (U,) bool, or float.
        probabilities: what the labels were chosen from, (U, C), without gradient; soft targets where a method has them.

    Raises:
        ContractError: one of them has another shape or type.
    """

    classes: Tensor
    weights: Tensor
    probabilities: Tensor

    def __post_init__(self):
        require_tensor("PseudoLabels.probabilities is", self.probabilities, (None, None), letters="(U, C)")
        rows = (len(self.probabilities),)
        require_tensor("PseudoLabels.classes is", self.classes, rows, letters="(U,)", kinds=(INT64,))
        require_tensor("PseudoLabels.weights is", self.weights, rows, letters="(U,)", kinds=(BOOL, FLOAT))
        if self.probabilities.requires_grad:
            raise ContractError("PseudoLabels.probabilities has a gradient; labels are constants: use .detach()")


@dataclasses.dataclass(frozen=True)
class Losses:
    """The named terms of a step's loss, all of them recorded; each a scalar.

    Attributes:
        labeled: terms that count as they are.
        unlabeled: terms before their weights.
        weights: name → weight of an unlabeled term, a number or a scalar; 1 where there is none.
        pseudo: the pseudo-labels, for the records; None where a method has none.
        measured: what else is worth a record, such as thresholds (C,), of any shape; recorded as the mean over steps.

    Raises:
        ContractError: a term is no scalar, a weight no number, or there is no labeled term.
    """

    labeled: Mapping[str, Tensor]
    unlabeled: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, float | Tensor] = dataclasses.field(default_factory=dict)
    pseudo: PseudoLabels | None = None
    measured: Mapping[str, float | Tensor] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        require_terms("Losses.labeled has", self.labeled)
        require_terms("Losses.unlabeled has", self.unlabeled)
        require_dict("Losses.weights is", self.weights)
        for name, weight in self.weights.items():
            require_number(f"Losses.weights has '{name}':", weight)
        if not self.labeled:
            raise ContractError("Losses.labeled has no term; at least one is meant")

    @cached_property
    def labeled_sum(self) -> Tensor:
        """Σ labeled terms, scalar."""
        return _sum(self.labeled.values())

    @cached_property
    def total(self) -> Tensor:
        """What is differentiated: Σ labeled + Σ weight · unlabeled, scalar."""
        total = self.labeled_sum
        for name, term in self.unlabeled.items():
            total = total + self.weights.get(name, 1.0) * term
        return total


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a method may know before training.

    Attributes:
        classes: C.
        side: height and width of the images, in pixels.
        channels: 1 for gray images, 3 for colour.
        width: D, features before the classifier.
        labeled_targets: classes of the labeled images, (labeled,) int64, in the order of their positions; those that
            `Part.extra_labeled` adds come last.
        unlabeled: N.
        labeled_too: which unlabeled images are labeled ones in the split as well, (N,) bool, by position.
        steps: optimizer updates of the whole training; in a step, of its generation.
        batch: B.
        kimg_steps: updates in 1024 labeled images, a float; for settings that count images.
        dtype: of the network's weights, and so of a state of floats.
        device: where the network is, and where a state belongs.
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

    @property
    def labeled(self) -> int:
        """Number of labeled images."""
        return len(self.labeled_targets)

    @cached_property
    def labeled_counts(self) -> Tensor:
        """Labeled images of each class, (C,) int64."""
        return class_counts(self.labeled_targets, self.classes)

    @property
    def kimg_steps(self) -> float:
        """Updates in 1024 labeled images."""
        return 1024 / self.batch

    def steps_of(self, length: float) -> int:
        """A length in steps, which is given in steps, or below 1 as a share of the training."""
        return steps_of(length, self.steps)

    def full(self, shape: Sequence[int], value: float) -> Tensor:
        """A float tensor of this shape, filled with one value, for a state."""
        return torch.full(tuple(shape), value, dtype=self.dtype, device=self.device)

    def tensor(self, values: Any) -> Tensor:
        """Floats for a state, of the shape of the given numbers, array or tensor."""
        return torch.as_tensor(values).to(dtype=self.dtype, device=self.device)


def class_counts(classes: Tensor, number: int) -> Tensor:
    """How many entries (n,) int64 are of each class, (number,) int64; unlike `torch.bincount` no GPU is waited for."""
    return classes.new_zeros(number).index_add(0, classes, torch.ones_like(classes))


class Draws(Protocol):
    """Random numbers: a function of the trial's seed, the purpose and the step, for the *global* batch."""

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), of the given shape."""

    def normal(self, *shape: int) -> Tensor:
        """Numbers of mean 0 and variance 1, of the given shape."""

    def beta(self, a: float, b: float, *shape: int) -> Tensor:
        """Beta(a, b) numbers, of the given shape."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """int64 in [0, high)."""

    def permutation(self, size: int) -> Tensor:
        """int64 (size,): 0 to size − 1 in random order."""

    def bernoulli(self, chances: Tensor) -> Tensor:
        """bool, of the shape of `chances`: true with these chances."""


class Step:
    """One training step as a method sees it; training makes it, or a test with outputs of its own.

    Attributes:
        number: updates made before this one in the whole training, or in its generation where there are several.
        stage: number of the current stage.
        stage_number: updates made before this one in this stage.
        stage_steps: updates of this stage in all.
        facts: see `Facts`.
        targets: labels of the labeled rows, (B,) int64.
        index: stream → positions of its rows; ``index["labeled"]`` (B,) in the labeled set, ``index["unlabeled"]``
            (U,) in the unlabeled one, int64; the same for an image in every epoch and after every resumption.
        labels: labels of a further stream's rows, where its pool is the labeled images.
        state: read this; never change a tensor in place.
        next: write the new values here, each of the old one's shape and type; what is not written stays.
        shared: what one part of a recipe leaves for another within this step.
        measured: put here what is worth a record, as in `Losses.measured`: tensors or numbers, each of one shape.
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
        """One training-mode pass over these views together, hence one set of BatchNorm statistics.

        Args:
            views: their names.
            update_averages: whether the batch moves BatchNorm's averages.
        """
        raise NotImplementedError

    def view(self, name: str) -> Tensor:
        """This worker's images of a view, (rows, channels, H, W) float in [−1, 1]."""
        raise NotImplementedError

    def network(self, images: Tensor, *, update_averages: bool = True, replicated: bool = False) -> Outputs:
        """A further training-mode pass.

        Args:
            images: this worker's rows, (rows, channels, H, W) float.
            update_averages: whether the batch moves BatchNorm's averages.
            replicated: the images are the same on every worker, and count once.
        """
        raise NotImplementedError

    def teacher(self, images: Tensor, *, batch_statistics: bool = False) -> Outputs:
        """The moving-average weights, as they are before this step's update; without gradient.

        Args:
            images: this worker's rows.
            batch_statistics: BatchNorm by this batch, whose averages stay, instead of by the averages.
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
        """Logits of all strong views one below the other, (views · U, C)."""
        names = self.method.base.strong_views
        return out[names[0]].logits if len(names) == 1 else torch.cat([out[name].logits for name in names])

    # The add-ons of the recipe, in their order. A base calls these where its step has a place for them.

    def labeled_terms(self, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """Further terms of the labeled loss, scalars by name; one named ``"labeled"`` takes the place of the base's."""
        return self._terms([part.labeled_terms(self, out) for part in self.method.add_ons])

    def guess(self, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """The probabilities (U, C) that pseudo-labels are made of, without gradient."""
        for part in self.method.add_ons:
            probabilities = part.guess(self, out, probabilities)
        return probabilities

    def select(self, out: dict[str, Outputs], pseudo: PseudoLabels) -> PseudoLabels:
        """The pseudo-labels after the add-ons' choice."""
        for part in self.method.add_ons:
            pseudo = part.select(self, out, pseudo)
        return pseudo

    def unlabeled_terms(self, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """Further terms of the unlabeled loss, scalars by name and with their weights.

        One named ``"unlabeled"`` takes the place of the base's, and gets the base's weight.
        """
        return self._terms([part.unlabeled_terms(self, out, pseudo) for part in self.method.add_ons])

    def _terms(self, parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The add-ons' terms together; none takes the place of another's."""
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
    """A look at the whole data set between two steps.

    Attributes:
        number: updates made so far, in the generation.
        stage: number of the current stage; between two stages, of the one that has ended.
        facts: see `Facts`.
    """

    number: int
    stage: int
    facts: Facts

    def outputs(self, images: str = "unlabeled", *, network: str = "average", augment: str = "none") -> Outputs:
        """What a network says of a whole set, in evaluation mode, without gradient, in the order of positions.

        Args:
            images: ``"labeled"`` or ``"unlabeled"``.
            network: ``"average"``: the moving-average weights; ``"raw"``: the trained ones.
            augment: as in `View`.
        """

    def random(self, purpose: str) -> Draws:
        """Random numbers for one purpose of this look, the same on every worker."""


class Part:
    """What a base and an add-on have in common.

    Attributes:
        settings: an object with the method's settings.
        card: what the program knows of it, see `cissl.algorithms.cards.Card`.
        waits: why a step of this method makes the host wait for the device, where it does.
    """

    kind: ClassVar[str]
    card: ClassVar[Card | None] = None
    views: Mapping[str, View] = {}
    waits: ClassVar[str] = ""

    def __init__(self, settings: Any = None):
        self.settings = settings

    def streams(self, facts: Facts) -> dict[str, Stream]:
        """Further streams of images that `views` draw from."""
        return {}

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """Extra modules on the features: (n, width) → (n, …). They are trained, averaged and saved with the network.

        One with an attribute ``sees_map`` that is true gets the last feature map instead, (n, width, h, w), whose mean
        over pixels the features are.

        Modules draw their initial weights from torch's global generator, which is seeded for the call.
        """
        return {}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """Everything of the method that changes, at its start, tensors of any shape; an add-on's names begin with its
        own and a dot.
        """
        return {}

    def period(self, facts: Facts) -> int:
        """Steps between two calls of `periodically`; 0: never."""
        return 0

    def periodically(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New values of the state, each of the shape that it had, before each step whose number in its stage is a
        multiple of `period` above 0.
        """
        return {}

    def stages(self, facts: Facts) -> tuple[Stage, ...]:
        """The parts of the training, in order; an add-on's are slot ``stages``."""
        return (Stage(1.0),)

    def between(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """State entries, each of the shape that it had or another, with which the next stage starts; after a fresh
        start all others are at their beginning.
        """
        return {}

    def extra_labeled(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Unlabeled images that this stage counts as labeled: positions (n,) and classes (n,), int64.

        Args:
            state: at the beginning of the stage; of a fresh one, what `between` gave.
        """
        return None

    def prepare(self, network: Callable[[Tensor], Outputs], facts: Facts) -> dict[str, Tensor]:
        """What `predict` needs beside the state, tensors of any shape, made before each evaluation from the averaged
        network.
        """
        return {}


class Base(Part):
    """A whole method.

    Attributes:
        strong_views: names of the views that the unlabeled loss trains on.
        keeps_all: whether every pseudo-label counts in full.
        add_ons: what is added to it.
    """

    kind = BASE
    keeps_all: ClassVar[bool] = False
    strong_views: tuple[str, ...] = ("strong",)
    add_ons: tuple["AddOn", ...] = ()

    def uratio(self) -> int:
        """Unlabeled images for each labeled one."""
        return getattr(self.settings, "uratio", 1)

    def losses(self, step: Step) -> Losses:
        """The losses of one step."""
        raise NotImplementedError

    def supervised(self, step: Step, out: dict[str, Outputs], weights: Tensor | None = None) -> Tensor:
        """The labeled loss, scalar: mean cross-entropy of the labeled rows; with weights (B,), each row times its own.

        An add-on at the slot ``labeled`` may weigh the rows and puts what it gets in place of the term ``"labeled"``.
        """
        logits = out["labeled"].logits
        if weights is None:
            return F.cross_entropy(logits, step.targets)
        return torch.mean(weights * F.cross_entropy(logits, step.targets, reduction="none"))

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """The unlabeled loss of these pseudo-labels before its weight, scalar.

        A base with the slot ``unlabeled`` has it: an add-on may weigh the rows otherwise.
        """
        raise NotImplementedError

    def soft_consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """`consistency` with the pseudo-labels' probabilities (U, C) as targets, scalar; for soft labels."""
        raise NotImplementedError

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor]) -> Tensor:
        """Scores (n, C) whose largest is the prediction, from the averaged network's outputs."""
        return outputs.logits


class AddOn(Part):
    """Something that acts at places of a base's step; it overrides the functions of the slots that its card fills.

    Attributes:
        base: the method that it is added to.
    """

    kind = ADD_ON
    base: Base

    def labeled_terms(self, step: Step, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """Slot ``labeled``: scalars by name; see `Step.labeled_terms`."""
        return {}

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """Slot ``guess``: (U, C) → (U, C); see `Step.guess`."""
        return probabilities

    def select(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> PseudoLabels:
        """Slot ``select``; see `Step.select`."""
        return pseudo

    def unlabeled_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """Slot ``unlabeled``: scalars by name; see `Step.unlabeled_terms`."""
        return {}

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """Slot ``predict``: scores (n, C) in place of the base's."""
        return scores


class Method:
    """A recipe at work: a base with its add-ons.

    Args:
        recipe: see `cissl.algorithms.cards.find`.
        values: the recipe's settings by their keys.

    Raises:
        ValueError: the parts' names of views, heads or state collide.
    """

    def __init__(self, recipe: Recipe, values: Mapping[str, Any]):
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
        """Name → view of everything that a step needs; the base's come first."""
        views: dict[str, View] = {}
        for part in self.parts:
            for name, view in part.views.items():
                if views.setdefault(name, view) != view:
                    raise ValueError(f"{self.recipe.name}: two parts mean different views by '{name}'")
        return views

    def streams(self, facts: Facts) -> dict[str, Stream]:
        """All further streams."""
        return _merged(self.recipe.name, "streams", [part.streams(facts) for part in self.parts])

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """All extra heads."""
        return _merged(self.recipe.name, "heads", [part.heads(width, classes) for part in self.parts])

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """The state of all parts at the start, tensors of any shape."""
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
        """The parts of the training; at most one part of a recipe divides it."""
        return max((part.stages(facts) for part in self.parts), key=len)

    def periodically(
        self, stage_number: int, survey: Survey, state: Mapping[str, Tensor], facts: Facts
    ) -> dict[str, Tensor]:
        """State entries that change before a step, each of the shape that it had."""
        changed: dict[str, Tensor] = {}
        for part in self.parts:
            period = part.period(facts)
            if period and stage_number and stage_number % period == 0:
                changed |= part.periodically(survey, {**state, **changed})
        return changed

    def between(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """State entries with which the next stage starts, tensors of any shape."""
        return _merged(self.recipe.name, "states", [part.between(survey, state) for part in self.parts])

    def extra_labeled(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Positions (n,) and classes (n,), int64, of images that count as labeled; see `Part.extra_labeled`."""
        for part in self.parts:
            extra = part.extra_labeled(state)
            if extra is not None:
                return extra
        return None

    def prepare(self, network: Callable[[Tensor], Outputs], facts: Facts) -> dict[str, Tensor]:
        """What `predict` needs beside the state, tensors of any shape."""
        return _merged(self.recipe.name, "preparations", [part.prepare(network, facts) for part in self.parts])

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor]) -> Tensor:
        """Scores (n, C) whose largest is the prediction."""
        scores = self.base.predict(outputs, state)
        for part in self.add_ons:
            scores = part.predict(outputs, state, scores)
        return scores


def _make(recipe: Recipe, card: Card, values: Mapping[str, Any]) -> Any:
    part = plugins.load(card.method)(recipe.settings_of(card, values))
    part.card = card
    return part


def _merged(recipe: str, what: str, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        both = merged.keys() & part.keys()
        if both:
            raise ValueError(f"{recipe}: two parts have {what} called '{min(both)}'")
        merged |= part
    return merged


def _sum(terms: Any) -> Tensor:
    total, *others = terms
    for term in others:
        total = total + term
    return total
