"""The parts of a split's name, as records have them and as tables call them."""

from typing import TypedDict

from cissl.datasets.spec import ALL, UNLABELED_SHAPES, DatasetSpec, parse_spec


class SplitPart(str):
    """A part of a split's name as records have it, such as ``N1_10``.

    Attributes:
        words: what tables call it, such as ``N₁ = 10``.
    """

    words: str

    @classmethod
    def of(cls, text: str, words: list[str]) -> "SplitPart | None":
        """Make a part; None where the text is empty."""
        if not text:
            return None
        part = cls(text)
        part.words = ", ".join(words)
        return part


class SplitParts(TypedDict):
    """What the name of a split says.

    Attributes:
        name: of the data set.
        imbalance_ratio: γ of the labels; None unless they are long-tailed.
        labels: another distribution of the labels, or another order of the classes, such as ``N1_10``, ``RAND`` or
            ``BYSIZE``; None where there is neither.
        unlabeled: what decides the unlabeled and validation images, such as ``ULT_50``, ``UREV_50+3000 DISJOINT`` or
            ``HELDOUT``; None where nothing does.
        split_seed: of the random choice of images.
        size: number of labels: of the largest class if the labels are long-tailed, else of all; or ``all``.
        valid: number of validation images.
    """

    name: str
    imbalance_ratio: float | None
    labels: SplitPart | None
    unlabeled: SplitPart | None
    split_seed: int
    size: int | str
    valid: int


def split_parts(name: str) -> SplitParts:
    """Take the name of a split apart, such as ``cifar10_LT_100.1@1500-2000``.

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
