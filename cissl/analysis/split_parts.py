"""What the name of a split says, part by part, for records and in words."""

from cissl.analysis.values import Value
from cissl.datasets.spec import ALL, UNLABELED_SHAPES, DatasetSpec, parse_spec


class SplitPart(str):
    """A part of a split's name as records have it, such as ``N1_10``.

    Attributes:
        words: what tables call it, such as ``N₁ = 10``.
    """

    words: str

    @classmethod
    def of(cls, text: str, words: list[str]) -> "SplitPart | None":
        """The part; None where the split has none."""
        if not text:
            return None
        part = cls(text)
        part.words = ", ".join(words)
        return part


def split_parts(name: str) -> dict[str, Value]:
    """What the name of a split says.

    Returns:
        ``name`` of the data set; ``imbalance_ratio`` (γ, None unless long-tailed); ``labels``: another shape of the
        labels or another order of the classes (``N1_10``, ``RAND``, ``BYSIZE``) or None; ``unlabeled``: what shapes
        the unlabeled and validation images (``ULT_50``, ``UREV_50+3000 DISJOINT``, ``HELDOUT``) or None;
        ``split_seed``; ``size`` (labels, or ``all``) and ``valid`` (validation images).

    Raises:
        UserError: it is not the name of a split.
    """
    spec = parse_spec(name)
    return {
        "name": spec.name,
        "imbalance_ratio": spec.imbalance_ratio,
        "labels": _labels(spec),
        "unlabeled": _unlabeled(spec),
        "split_seed": spec.seed,
        "size": ALL if spec.size is None else spec.size,
        "valid": spec.valid,
    }


def _labels(spec: DatasetSpec) -> SplitPart | None:
    text, words = "", []
    if spec.largest:
        text, words = f"N1_{spec.largest}", [f"N₁ = {spec.largest}"]
    if spec.random:
        text, words = "RAND", ["random shares"]
    if spec.by_size:
        text, words = f"{text} BYSIZE".strip(), [*words, "classes by size"]
    return SplitPart.of(text, words)


def _unlabeled(spec: DatasetSpec) -> SplitPart | None:
    text, words = "", []
    if spec.unlabeled_ratio:
        ratio = f"{spec.unlabeled_ratio:.12g}"
        text += f"U{spec.unlabeled_shape}_{ratio}"
        words.append(f"γᵤ = {ratio} {UNLABELED_SHAPES[spec.unlabeled_shape]}".strip())
    if spec.unlabeled_largest:
        text += f"+{spec.unlabeled_largest}"
        words.append(f"M₁ = {spec.unlabeled_largest}")
    if spec.disjoint or spec.held_out:
        text += " DISJOINT" if spec.disjoint else " HELDOUT"
        words.append("disjoint" if spec.disjoint else "held-out validation")
    return SplitPart.of(text.strip(), words)
