"""The methods, their names, and which of them can be combined. This module does not import torch.

A method is a **base**, which owns the training step, or an **add-on**, which acts at *slots* of a base's step. A sum
such as ``fixmatch+darp`` is a *recipe*. The program finds every folder beside this file that has a ``card.py``. The
``CARDS`` in it describe the methods of that folder.

slot        what an add-on does there
----------  ------------------------------------------------------------------------------------------
labeled     adds terms to the labeled loss, or weights its rows
guess       changes the probabilities that pseudo-labels are made from
select      decides which pseudo-labels are kept
unlabeled   adds terms to the unlabeled loss
predict     makes the prediction that is evaluated
stages      trains in several stages, and may change the labeled set between them
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import cissl.algorithms
from cissl import plugins
from cissl.errors import UserError, nearest
from cissl.settings import TYPES, is_setting, plain_type
from cissl.settings import setting as setting  # cards import it from here

SLOTS = ("labeled", "select", "guess", "unlabeled", "predict", "stages")  # in the order of add-ons in a name
SHARED = ("unlabeled",)  # slots at which several add-ons may act: their terms are added up
BASE, ADD_ON = "base", "add-on"
ENTRY_POINTS = "cissl.methods"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What the program knows about a method without importing it.

    Attributes:
        name: name in lower case, as in ``algorithm: name``.
        title: name in tables and figures.
        kind: `BASE` or `ADD_ON`.
        paper: authors and title.
        venue: conference and year, with the arXiv number.
        method: ``module:Class`` of the class that trains.
        settings: a dataclass of `setting` fields, or None. Its ``__post_init__`` may check values that belong together.
        slots: for a base, the slots at which add-ons may act.
        fills: for an add-on, the slots at which it acts.
        needs: for an add-on, other add-ons that the recipe must have.
        reads: for an add-on, settings of the base that it uses.
        unlabeled: for a base, whether it trains on unlabeled images.
        differs: what differs from the authors' protocol, and why.
        last_stage: for a method that divides the training, a function of its settings and the number of steps. It
            returns the step at which the last stage begins.
        short: settings by their keys for tests. With them a trial of a dozen steps runs every part of the method.
    """

    name: str
    title: str
    kind: str
    paper: str = ""
    venue: str = ""
    method: str
    settings: type | None = None
    slots: tuple[str, ...] = ()
    fills: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    unlabeled: bool = True
    differs: str = ""
    last_stage: Callable[[Any, int], int] | None = None
    short: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """The first part of the names of an add-on's settings and state: ``darp``; ``crest`` for ``crest+``, ``ours``
        for ``ours.py:Ours``.
        """
        return self.name.rpartition(":")[2].lower().rstrip("+")

    @property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """Key in configs → field. The keys of an add-on begin with its name and a dot: ``darp.alpha``."""
        fields = dataclasses.fields(self.settings) if self.settings else ()
        plain = self.kind == BASE
        return {f.name if plain or f.metadata["plain"] else f"{self.prefix}.{f.name}": f for f in fields}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A base with its add-ons.

    Attributes:
        base: card of the base.
        add_ons: cards of the add-ons, in the order in which they act.
    """

    base: Card
    add_ons: tuple[Card, ...] = ()

    @property
    def parts(self) -> tuple[Card, ...]:
        """The base and its add-ons, in the order in which they act."""
        return (self.base, *self.add_ons)

    @functools.cached_property
    def name(self) -> str:
        """The canonical name. Of all spellings this one stands in configs and hashes."""
        names = tuple(part.name for part in self.parts)
        if names[:4] == _CADR:
            return "+".join(["cadr", *names[4:]])
        return _OLD_NAMES.get(names) or "+".join(names)

    @property
    def title(self) -> str:
        """The name in tables: ``FixMatch + DARP``."""
        titles = [part.title for part in self.parts]
        if tuple(part.name for part in self.parts[:4]) == _CADR:
            titles[1:4] = ["CADR"]
        return " + ".join(titles)

    @property
    def plugins(self) -> list[str]:
        """Names of the parts that are a user's own code."""
        return [part.name for part in self.parts if plugins.is_plugin(part.name)]

    @functools.cached_property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """Key → field of every setting of the parts. Two parts may share a setting."""
        return {key: field for part in self.parts for key, field in part.fields.items()}

    def settings_of(self, part: Card, values: Mapping[str, Any]) -> Any:
        """The settings object of one part, or None. `values` has all settings of the recipe by their keys.

        Raises:
            UserError: values of the part do not fit each other.
        """
        return part.settings(**{f.name: values[key] for key, f in part.fields.items()}) if part.settings else None

    def last_stage(self, values: Mapping[str, Any], steps: int) -> int:
        """The step at which the last stage of the training begins; 0 for a training of one stage.

        Args:
            values: all settings of the recipe by their keys.
            steps: length of the training, in steps.
        """
        starts = (part.last_stage(self.settings_of(part, values), steps) for part in self.parts if part.last_stage)
        return max(starts, default=0)


_CADR = ("fixmatch", "cap", "dr", "cai")
# The names of the first version stay canonical, so that its trials are found again.
_OLD_NAMES = {
    ("fixmatch", "cap"): "cap",
    ("fixmatch", "cai"): "cai",
    ("fixmatch", "cap", "cai"): "cap+cai",
    ("fixmatch", "cap", "dr"): "cap+cadr",
}
DEFAULT_BASE = "fixmatch"


@functools.cache
def built_in() -> Mapping[str, Card]:
    """Name → card of every method of the package, in alphabetical order."""
    cards: dict[str, Card] = {}
    for module in pkgutil.iter_modules(cissl.algorithms.__path__):
        name = f"cissl.algorithms.{module.name}.card"
        if module.ispkg and importlib.util.find_spec(name):
            cards |= {card.name: card for card in importlib.import_module(name).CARDS}
    return dict(sorted(cards.items()))


@functools.cache
def known() -> Mapping[str, Card | str]:
    """Name → card. For a method that an installed package offers: name → ``module:Class``."""
    return {**plugins.entry_points(ENTRY_POINTS), **built_in()}


def find(text: str) -> Recipe:
    """Find the recipe for a name or a sum such as ``"FixMatch+DARP"``, ``"CAI+CAP"`` or ``"cadr"``.

    Add-ons may stand in any order. A sum without a base has the base FixMatch. ``cadr`` is the paper's whole method:
    CAP + CAI + the doubly robust term (``dr``). Beside ``cap`` or ``cai`` it is the term alone. A part such as
    ``ours.py:Ours`` is a user's own code.

    Raises:
        UserError: a name is unknown, or parts cannot be combined. The message names the parts and the reason.
    """
    return _find(text) if plugins.is_plugin(text) else _find_built_in(text)


def _find(text: str) -> Recipe:
    try:
        cards = [_card(part, text) for part in _parts(text)]
        bases = [card for card in cards if card.kind == BASE]
        if len(bases) > 1:
            first, second = bases[:2]
            raise UserError(
                f"{first.title} and {second.title} are both whole methods, and one training step cannot follow both"
            )
        base = bases[0] if bases else built_in()[DEFAULT_BASE]
        add_ons = [card for card in cards if card.kind == ADD_ON]
        _check(base, add_ons)
    except UserError as error:
        raise UserError(str(error), key="algorithm") from None
    return Recipe(base, tuple(sorted(add_ons, key=_rank)))


_find_built_in = functools.cache(_find)


def from_switches(*, cap: bool, cai: bool, cadr: bool) -> Recipe:
    """The recipe of FixMatch with the switches of the authors' program.

    Raises:
        UserError: CADR is on and CAP is off.
    """
    switches = {"cap": cap, "cai": cai, "dr": cadr}
    return find("+".join([DEFAULT_BASE, *(name for name, on in switches.items() if on)]))


def card_of(plugin: Any, name: str) -> Card:
    """Make the card of a user's own method from its class.

    The class may have a ``Settings`` dataclass, and ``title``, ``paper``, ``venue`` and ``differs`` as text. A method
    that extends one of the package has the settings of that method. It also has its slots, except those that it fills
    itself. An add-on acts at the slots whose functions it overrides.

    Args:
        plugin: a subclass of `cissl.algorithms.contract.Base` or `AddOn`.
        name: its name in configs, ``ours.py:Ours``.

    Raises:
        UserError: the class is not a method, or one of its attributes has another form.
    """
    kind = getattr(plugin, "kind", None)
    if not isinstance(plugin, type) or kind not in (BASE, ADD_ON):
        raise UserError(f"{name} is not a method: derive the class from Base, AddOn or a method of cissl.algorithms")
    _check_functions(plugin)
    parent = _parent(plugin)
    settings = getattr(plugin, "Settings", parent.settings if parent else None)
    _check_settings(settings, name)
    return Card(
        name=name,
        method=name,
        kind=kind,
        title=str(vars(plugin).get("title", plugin.__name__)),
        paper=str(vars(plugin).get("paper", "")),
        venue=str(vars(plugin).get("venue", "")),
        differs=str(vars(plugin).get("differs", "")),
        settings=settings,
        slots=_slots(plugin, name, parent) if kind == BASE else (),
        fills=_overridden(plugin) if kind == ADD_ON else (),
        needs=_words(plugin, name, "needs"),
        reads=_words(plugin, name, "reads"),
        unlabeled=parent.unlabeled if parent else True,
        short=_short(plugin, name),
    )


def _check_functions(plugin: type) -> None:
    """Check that the settings alone make a user's own method, and that it has the functions of the contract.

    Raises:
        UserError: ``__init__`` takes other arguments, or a value has the name of a function, for example a setting that
            is written into the method's class. The message has file and line.
    """
    for parent in plugin.__mro__[1:]:
        for name, value in vars(parent).items():
            if inspect.isfunction(value) and name[:2] != "__" and not callable(getattr(plugin, name)):
                place = plugins.place_of_field(plugin, name) or plugin.__module__
                raise UserError(
                    f"{place}: {plugin.__name__}.{name} is a value where {parent.__name__} has a function; settings "
                    "belong in the class Settings"
                )
    try:
        inspect.signature(plugin).bind("settings")
    except TypeError as error:
        place = plugins.place_of_class(plugin) or plugin.__module__
        raise UserError(
            f"{place}: {plugin.__name__}.__init__ cannot be called with the settings alone: {error}; write "
            "def __init__(self, settings)"
        ) from None


def _check_settings(settings: Any, name: str) -> None:
    """Check that a user's own `Settings` are a dataclass of `setting` fields.

    Raises:
        UserError: they are not. The message has file and line.
    """
    if settings is None:
        return
    undecorated = isinstance(settings, type) and "__dataclass_fields__" not in vars(settings)
    is_class = isinstance(settings, type) and dataclasses.is_dataclass(settings)
    if not is_class or (undecorated and vars(settings).get("__annotations__")):
        raise UserError(
            f"{name}: Settings is not a dataclass; put @dataclasses.dataclass(frozen=True, kw_only=True) above it"
        )
    for field in dataclasses.fields(settings):
        place = plugins.place_of_field(settings, field.name) or name
        typed = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
        if not is_setting(field):
            raise UserError(
                f"{place}: {settings.__name__}.{field.name} is not a setting; write "
                f'{field.name}: {typed} = setting({_default_of(field)}, "what it means")'
            )
        if plain_type(field) is None:
            raise UserError(f"{place}: {settings.__name__}.{field.name} is of type {typed}; a setting is a {TYPES}")


def _default_of(field: dataclasses.Field[Any]) -> str:
    return "default" if field.default is dataclasses.MISSING else repr(field.default)


def _words(plugin: Any, name: str, key: str) -> tuple[str, ...]:
    """A class attribute that must be a tuple of texts."""
    found = getattr(plugin, key, ())
    if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
        raise UserError(f"{name}: {key} must be a tuple of texts, as in {key} = ('…',), not {found!r}")
    return tuple(found)


def _short(plugin: Any, name: str) -> dict[str, Any]:
    found = getattr(plugin, "short", {})
    if not isinstance(found, Mapping):
        raise UserError(f"{name}: short must be a dict of settings, not {found!r}")
    return dict(found)


def _slots(plugin: Any, name: str, parent: Card | None) -> tuple[str, ...]:
    """The slots of a user's own base: those at which its step calls the add-ons.

    The class may name them in ``slots``. A class with its own `losses` has the slots that this function calls. A class
    with its own `choose` does not have the slot ``select``, because it chooses its pseudo-labels itself.
    """
    if hasattr(plugin, "slots"):
        slots = _words(plugin, name, "slots")
        for slot in slots:
            if slot not in SLOTS:
                raise UserError(f"{name}: slots: there is no slot '{slot}'{nearest(slot, SLOTS)}")
        return slots
    ours = [cls for cls in plugin.__mro__ if not cls.__module__.startswith("cissl.algorithms")]
    own = {name for cls in ours for name in vars(cls)}
    if "losses" in own or parent is None:
        losses = inspect.unwrap(plugin.losses)  # it may be decorated
        asked = set(losses.__code__.co_names) if inspect.isfunction(losses) else set()
        functions = {"labeled": "labeled_terms", "unlabeled": "unlabeled_terms", "guess": "guess", "select": "select"}
        found = {slot for slot, function in functions.items() if function in asked} | {"predict", "stages"}
    else:
        found = set(parent.slots) - ({"select"} if "choose" in own else set())
    return tuple(slot for slot in SLOTS if slot in found)


def _parent(plugin: type) -> Card | None:
    """The card of the package's method that a class extends."""
    cards = {card.method: card for card in built_in().values()}
    classes = (f"{parent.__module__}:{parent.__qualname__}" for parent in plugin.__mro__[1:])
    return next((cards[name] for name in classes if name in cards), None)


def _overridden(plugin: type) -> tuple[str, ...]:
    """The slots whose functions an add-on overrides."""
    functions = {"labeled": "labeled_terms", "unlabeled": "unlabeled_terms"}
    ours = [parent for parent in plugin.__mro__ if parent.__module__ != "cissl.algorithms.contract"]
    return tuple(slot for slot in SLOTS if any(functions.get(slot, slot) in vars(parent) for parent in ours))


def _parts(text: str) -> list[str]:
    """The parts of a sum, in lower case except a user's own. ``crest+`` is one name."""
    parts: list[str] = []
    for part in str(text).split("+"):
        part = part.strip()
        if not part and parts and not parts[-1].endswith("+"):
            parts[-1] += "+"
        else:
            parts.append(part if plugins.is_plugin(part) else part.lower())
    if len(parts) > 1 and parts[-1].endswith("+") and parts[-1] not in known():
        parts[-1] = parts[-1].rstrip("+")
    if "cadr" in parts:
        at = parts.index("cadr")
        parts[at : at + 1] = ["dr"] if {"cap", "cai"} & set(parts) or parts[0] == DEFAULT_BASE else ["cap", "cai", "dr"]
    return parts


def _card(part: str, text: str) -> Card:
    if plugins.is_plugin(part):
        return _own(part)
    found = known().get(part)
    if isinstance(found, str):
        return dataclasses.replace(_own(found), name=part)
    if found is None:
        raise UserError(f"unknown algorithm '{part or text}'{nearest(part, (*known(), 'cadr'))}")
    return found


def _own(part: str) -> Card:
    where, what = plugins.split(part)
    name = f"{where}:{what}"
    plugin = plugins.load(part)
    return card_of(plugin, name)


def _rank(card: Card) -> tuple[int, bool, str]:
    first = min((SLOTS.index(slot) for slot in card.fills), default=len(SLOTS))
    return first, bool(card.needs), card.name


def _check(base: Card, add_ons: list[Card]) -> None:
    names = [card.name for card in add_ons]
    for card in add_ons:
        if names.count(card.name) > 1:
            raise UserError(f"{card.title} is named twice")
        for needed in card.needs:
            if needed not in names:
                raise UserError(_missing(card, needed))
        for slot in card.fills:
            if slot not in base.slots:
                raise UserError(
                    f"{base.title} and {card.title} do not combine: {card.title} {_ACTIONS[slot]}, and {base.title} "
                    "has no such slot or fills it itself"
                )
        for key in card.reads:
            if key not in base.fields:
                raise UserError(
                    f"{base.title} and {card.title} do not combine: {card.title} uses the setting '{key}', "
                    f"which {base.title} does not have"
                )
    for slot in SLOTS:
        there = [card for card in add_ons if slot in card.fills and not card.needs]
        if len(there) > 1 and slot not in SHARED:
            first, second = there[:2]
            raise UserError(
                f"{first.title} and {second.title} do not combine: {first.title} {_ACTIONS[slot]}, "
                f"and so does {second.title}"
            )


_ACTIONS = {
    "labeled": "adds to or weights the labeled loss",
    "guess": "changes the probabilities that pseudo-labels are made from",
    "select": "decides which pseudo-labels are kept",
    "unlabeled": "adds terms to the unlabeled loss on pseudo-labels",
    "predict": "makes the prediction that is evaluated",
    "stages": "divides the training into stages",
}


def _missing(card: Card, needed: str) -> str:
    if card.name == "dr":
        return (
            "CADR needs CAP: its term corrects CAP's propensity weights, and without CAP there are none; use 'cadr' "
            "(CAP + CAI + CADR) or 'cap+cadr'"
        )
    title = built_in()[needed].title if needed in built_in() else needed
    return f"{card.title} needs {title}: write {needed}+{card.name}"
