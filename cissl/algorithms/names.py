"""Which combinations of CAP, CAI and CADR mean something, and what they are called."""

from typing import NamedTuple

from cissl.errors import UserError, nearest


class Algorithm(NamedTuple):
    """A method and its switches.

    Attributes:
        name: the canonical name, as in configs and tables.
        unlabeled: whether unlabeled images are used at all (False for `supervised`).
        cap: class-aware propensity (paper, section 3.1): reweighs the labeled loss.
        cai: class-aware imputation (section 3.2): a threshold per class for pseudo-labels.
        cadr: the class-aware doubly robust term (section 3.3); needs `cap`.
    """

    name: str
    unlabeled: bool = True
    cap: bool = False
    cai: bool = False
    cadr: bool = False


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("supervised", unlabeled=False),
        Algorithm("fixmatch"),
        Algorithm("cap", cap=True),
        Algorithm("cai", cai=True),
        Algorithm("cap+cai", cap=True, cai=True),
        Algorithm("cap+cadr", cap=True, cadr=True),
        Algorithm("cadr", cap=True, cai=True, cadr=True),
    )
}

_SWITCHES = {"cap", "cai", "cadr"}


def parse_algorithm(text: str) -> Algorithm:
    """The algorithm that a name or a sum of switches stands for, in any case and order: ``"CAI+CAP"``, ``"cadr"``.

    ``cadr`` alone is the paper's whole method, CAP + CAI + CADR.

    Raises:
        UserError: an unknown name, or a combination without meaning.
    """
    parts = [part.strip() for part in text.lower().split("+")]
    if "+".join(parts) in ALGORITHMS:
        return ALGORITHMS["+".join(parts)]
    if parts[0] == "fixmatch":
        del parts[0]
    for part in parts:
        if part not in _SWITCHES:
            raise UserError(f"unknown algorithm '{text}'{nearest(text, ALGORITHMS)}", key="algorithm")
    return from_switches(cap="cap" in parts, cai="cai" in parts, cadr="cadr" in parts)


def from_switches(*, cap: bool, cai: bool, cadr: bool) -> Algorithm:
    """FixMatch with these switches.

    Raises:
        UserError: CADR without CAP.
    """
    if cadr and not cap:
        raise UserError(
            "CADR needs CAP: its term corrects CAP's propensity weights, so without them there is nothing to correct; "
            "use 'cadr' (CAP + CAI + CADR) or 'cap+cadr'",
            key="algorithm",
        )
    for algorithm in ALGORITHMS.values():
        if algorithm.unlabeled and algorithm[2:] == (cap, cai, cadr):
            return algorithm
    raise AssertionError("every combination with a meaning has a name")
