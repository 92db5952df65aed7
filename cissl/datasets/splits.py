"""Which images are labeled and in which order the unlabeled ones stream: pure functions of a label array.

Notation: C classes; t_k the share of class k, relative to the largest (max t = 1); n_k the images of
class k drawn so far; γ the imbalance ratio. Labels are integers from 0 to C-1, or -1 where unknown.

Both draws follow one greedy rule (Hu et al., ICLR 2022, the authors' program): the next image comes from
the class whose share is furthest ahead of its relative count,

    argmax_k  t_k - n_k / max(max n, 1),       the first maximum wins,

so that every beginning of the sequence has the wanted proportions. The rule looks at counts alone. The
sequence of classes is therefore known before any image is looked at, and a class's j-th turn takes its j-th
image; the indices equal the reference's own, which feeds images through one queue per class.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

import numpy as np
import numpy.typing as npt

from cissl.errors import UserError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def long_tailed_shares(classes: int, imbalance_ratio: float, *, shape: str = "LT") -> Floats:
    """t_k = γ^(-k/(C-1)), shape (C,), in the order of a shape: see `arranged`.

    The powers are taken as the reference takes them: its splits depend on the last bit of a share.
    """
    ratio = 1 / imbalance_ratio if shape == "REV" else imbalance_ratio
    shares = np.array([(1 / ratio) ** (k / (classes - 1)) for k in range(classes)])
    return shares * ratio if shape == "REV" else arranged(shares, shape)


def arranged(sizes: np.ndarray, shape: str) -> np.ndarray:
    """Sizes (C,) from the largest to the smallest, as the classes have them.

    ``LT`` leaves them, ``REV`` is the reverse; ``MID`` has the largest in the middle (places … 4 2 0 1 3 …) and ``HT``,
    head-tail, at both ends (1 3 … 4 2 0), as in the program of Du et al. (ICML 2024).
    """
    even, odd = sizes[::2][::-1], sizes[1::2]
    return {"LT": sizes, "REV": sizes[::-1], "MID": np.concatenate([even, odd]), "HT": np.concatenate([odd, even])}[
        shape
    ]


def matched_shares(labels: np.ndarray) -> Floats:
    """The proportions of the classes of ``labels`` (N,), scaled to a maximum of 1, (C,), without unknown labels."""
    counts = class_counts(labels)
    shares: Floats = counts / counts.max()
    return shares


def random_shares(classes: int, seed: int) -> Floats:
    """Uniform random numbers, scaled to a maximum of 1 (``rand`` in the reference)."""
    drawn = np.random.RandomState(seed).uniform(size=classes)
    shares: Floats = drawn / drawn.max()
    return shares


def class_counts(labels: np.ndarray, classes: int = 0) -> Ints:
    """Images per class, int64 (C,); unknown labels are not counted."""
    return np.bincount(labels[labels >= 0], minlength=classes)


def ranked_by_size(labels: np.ndarray) -> tuple[Ints, Ints]:
    """Labels whose class 0 is the class of most images, and so on; of equally large ones the first stays first.

    Returns:
        The new labels, int64 (N,), -1 where unknown; and which class each of them stands for, int64 (C,).
    """
    order = np.argsort(-class_counts(labels), kind="stable")
    return np.where(labels < 0, -1, np.argsort(order)[labels]), order


def labeled_indices(
    labels: np.ndarray,
    *,
    size: int | None,
    seed: int,
    imbalance_ratio: float | None = None,
    largest: int | None = None,
    random: bool = False,
    keep_back: int = 0,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """The labeled images.

    Args:
        labels: int (N,), -1 unknown; images without a label are never drawn.
        size: number of labels; with an imbalance ratio, labels of the largest class. None for as many as the data can
            give.
        seed: of the shuffle within each class; 0 draws in the order of the data set.
        imbalance_ratio: γ of a long-tailed split; None draws in the proportions of ``labels``.
        largest: N1 of PRG's protocol instead: labels of the largest class, ``size`` counting all labels.
        random: draw in random class shares instead, which the seed decides.
        keep_back: with ``size`` None, images of known classes that stay without a label, see `kept_back`.
        class_names: what errors call the classes.

    Returns:
        Sorted int64 indices into ``labels``.

    Raises:
        UserError: a class has too few images.
    """
    positions = positions_by_class(labels)
    classes = len(positions)
    if size is None:
        held = kept_back(labels, keep_back)
        positions = [members[~np.isin(members, held)] for members in positions]
        if imbalance_ratio is None and not random:
            return np.sort(np.concatenate(positions))
    draw = partial(_draw, size, positions=positions, purpose="labeled", class_names=class_names)
    if largest is not None:
        drawn = draw(
            lambda size: bounded_counts(classes, size, largest),
            sizes=(largest + classes - 1, largest * classes),
        )
    elif imbalance_ratio is not None:
        shares = long_tailed_shares(classes, imbalance_ratio)
        drawn = draw(lambda size: long_tailed_counts(size, shares), total=lambda size: long_tailed_total(size, shares))
    else:
        shares = random_shares(classes, seed) if random else matched_shares(labels)
        drawn = draw(lambda size: greedy_counts(shares, size))
    if seed:
        generator = np.random.RandomState(seed)
        for members in positions:  # one generator, class after class, as the reference shuffles
            generator.shuffle(members)
    return np.sort(np.concatenate([members[:count] for members, count in zip(positions, drawn, strict=True)]))


def kept_back(labels: np.ndarray, count: int) -> Ints:
    """Images that stay without a label where all others have one: the first of the stream, but one of each class.

    Args:
        labels: int (N,), -1 unknown.
        count: how many.

    Raises:
        UserError: a class would have no image left.
    """
    one_of_each = np.array([members[0] for members in positions_by_class(labels) if len(members)])
    stream = unlabeled_order(labels, leave_out=one_of_each)
    able: Ints = stream[labels[stream] >= 0]
    if count > len(able):
        raise UserError(
            f"{count} validation images are more than the {len(able)} that are left when one of each class is labeled",
            key="dataset",
        )
    return able[:count]


def unlabeled_order(
    labels: np.ndarray,
    *,
    imbalance_ratio: float | None = None,
    shape: str = "LT",
    largest: int | None = None,
    leave_out: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """The unlabeled images in stream order, int64; labeled images are part of it, as in the reference.

    Without an imbalance ratio every image occurs once: in the proportions of ``labels`` until a class runs
    out, then the rest class by class, and last the images whose class is unknown. With a ratio γ_u the stream
    is long-tailed, with the large classes where `shape` has them, and ends where a class runs out.

    Args:
        labels: int (N,), -1 unknown.
        imbalance_ratio: γ_u; None takes every image.
        shape: see `arranged`.
        largest: M1, images of the largest class: the stream ends after Σ_k ceil(M1 · t_k) images; of ``MID`` and ``HT``
            it has the `truncated_counts`.
        leave_out: indices of images that the stream must not have.
        class_names: what errors call the classes.

    Raises:
        UserError: a class has too few images for ``largest``, or a ratio is asked of unknown classes.
    """
    positions = positions_by_class(labels)
    unknown = np.flatnonzero(labels < 0)
    if leave_out is not None:
        positions = [members[~np.isin(members, leave_out)] for members in positions]
    if imbalance_ratio is None:
        counts = np.array([len(members) for members in positions])
        turns = _until_exhausted(counts / max(counts.max(), 1), positions)
        rest = [members[count:] for members, count in zip(positions, _counts(turns, positions), strict=True)]
        return np.concatenate([_take_turns(turns, positions), *rest, unknown])
    if len(unknown):
        raise UserError(
            f"the unlabeled images cannot be made long-tailed: the class of {len(unknown)} of them is unknown",
            key="dataset",
        )
    shares = long_tailed_shares(len(positions), imbalance_ratio, shape=shape)
    if largest is None:
        return _take_turns(_until_exhausted(shares, positions), positions)
    draw = partial(_draw, largest, positions=positions, purpose="unlabeled", class_names=class_names)
    if shape in ("LT", "REV"):
        draw(lambda size: long_tailed_counts(size, shares), total=lambda size: long_tailed_total(size, shares))
        return _take_turns(greedy_classes(shares, long_tailed_total(largest, shares)), positions)
    counts_of = partial(truncated_counts, len(positions), imbalance_ratio, shape=shape)
    counts = draw(counts_of, total=lambda size: int(counts_of(size).sum()))
    return _take_turns(greedy_classes(np.where(counts > 0, counts / largest, -1), counts.sum()), positions)


def cut_validation(
    order: np.ndarray, valid: int, labels: np.ndarray, *, leave_out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The first ``valid`` images of the unlabeled order for validation, and the rest for training.

    The reference takes them as they come, so that labeled images may be among them: a network is trained on those, and
    nothing may be chosen by them.

    Args:
        order: the unlabeled images in stream order.
        valid: number of validation images.
        labels: int (N,), -1 unknown.
        leave_out: indices of images that validation passes over; they stay unlabeled images.

    Raises:
        UserError: nothing would be left to train on, or a validation image would have no label.
    """
    able = labels[order] >= 0
    if leave_out is not None:
        able &= ~np.isin(order, leave_out)
    limit = min(int(np.count_nonzero(able)), len(order) - 1)
    if limit < 1:
        able_to = "are of a known class" if leave_out is None else "are of a known class and have no label in training"
        raise UserError(
            f"{len(order) or 'no'} unlabeled images are left, of which {np.count_nonzero(able)} {able_to}: wanted are "
            f"one such for validation and another image to train on; take fewer labels, or leave out what makes the "
            f"unlabeled images few, such as _DISJOINT or _HELDOUT",
            key="dataset",
        )
    if valid > limit:
        reason = ", since an unlabeled image must be left to train on" if limit < np.count_nonzero(able) else ""
        raise UserError(
            f"{valid} validation images are more than the {limit} that the data can give{reason}", key="dataset"
        )
    taken = able & (np.cumsum(able) <= valid)
    return order[taken], order[~taken]


def long_tailed_total(size: int, shares: np.ndarray) -> int:
    """Images of a long-tailed draw whose largest class has ``size``: Σ_k ceil(size · t_k), from shares t (C,)."""
    return int(np.ceil(size * shares).sum())


def long_tailed_counts(size: int, shares: np.ndarray) -> Ints:
    """Images per class, int64 (C,), of a long-tailed draw whose largest class has ``size``."""
    return greedy_counts(shares, long_tailed_total(size, shares))


def truncated_counts(classes: int, imbalance_ratio: float, largest: int, *, shape: str) -> Ints:
    """Images per class, int64 (C,): ⌊M1 · γ^(-k/(C-1))⌋, the last ⌊M1/γ⌋, arranged in a shape (Du et al., ICML 2024).

    The powers are taken as in the authors' program.
    """
    step = np.power(1 / imbalance_ratio, 1 / (classes - 1))
    counts = [int(largest * np.power(step, k)) for k in range(classes - 1)]
    return arranged(np.array([*counts, int(largest / imbalance_ratio)]), shape)


def greedy_classes(shares: np.ndarray, total: int) -> Ints:
    """The classes of the first ``total`` draws of the greedy rule, int64 (total,)."""
    counts = np.zeros(len(shares))
    ahead = shares.copy()  # t_k - n_k / max(max n, 1), kept up to date
    largest = 1.0
    turns = np.empty(total, dtype=np.int64)
    for turn in range(total):
        turns[turn] = k = ahead.argmax()
        counts[k] += 1
        if counts[k] > largest:
            largest = counts[k]
            ahead = shares - counts / largest
        else:
            ahead[k] = shares[k] - counts[k] / largest
    return turns


def greedy_counts(shares: np.ndarray, total: int) -> Ints:
    """How many of the first ``total`` draws each class gets, int64 (C,)."""
    return np.bincount(greedy_classes(shares, total), minlength=len(shares))


def bounded_counts(classes: int, total: int, largest: int) -> Ints:
    """PRG's labels per class, int64 (C,): ``total`` of them, ``largest`` (N1) in the first class.

    Duan et al. (ICCV 2023, their program) take N_k = max(1, floor(N1 · γ^(-k/C))) with the integer γ whose sum
    is nearest to the total, and then correct one label at a time, class after class from the second on. Their
    search ends at γ = 99 999, which decides the counts of (250 labels, N1 = 200).

    Raises:
        UserError: no such counts exist.
    """
    fewest, most = largest + classes - 1, largest * classes
    if not fewest <= total <= most:
        raise UserError(
            f"{total} labels with {largest} in the largest of {classes} classes are impossible: choose a "
            f"size from {fewest} to {most}",
            key="dataset",
        )

    def counts_for(ratio: int) -> list[int]:
        return [max(1, int(largest * ratio ** (-k / classes))) for k in range(classes)]

    ratios = range(1, 100_000)
    first_below = min(bisect_left(ratios, -total, key=lambda ratio: -sum(counts_for(ratio))), len(ratios) - 1)
    candidates = ratios[max(first_below - 1, 0) : first_below + 1]
    counts = counts_for(min(candidates, key=lambda ratio: abs(sum(counts_for(ratio)) - total)))
    step = 1 if sum(counts) < total else -1
    others = cycle(range(1, classes))
    while sum(counts) != total:
        k = next(others)
        if 1 <= counts[k] + step <= largest:
            counts[k] += step
    return np.array(counts)


def positions_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """The indices of each class in the order of the data set: C arrays of int64."""
    ends = np.cumsum(class_counts(labels))
    grouped = np.argsort(labels, kind="stable")[np.count_nonzero(labels < 0) :]
    return np.split(grouped, ends[:-1])


def _until_exhausted(shares: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    """Greedy turns up to the first one whose class has no image left."""
    turns = greedy_classes(shares, sum(map(len, positions)))
    missed = [np.flatnonzero(turns == k)[len(members) :] for k, members in enumerate(positions)]
    first_missed = min((turn[0] for turn in missed if len(turn)), default=len(turns))
    return turns[:first_missed]


def _take_turns(turns: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    """The images that the turns stand for: the j-th turn of a class is its j-th image."""
    order = np.empty(len(turns), dtype=np.int64)
    for k, count in enumerate(_counts(turns, positions)):
        order[turns == k] = positions[k][:count]
    return order


def _counts(turns: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    return np.bincount(turns, minlength=len(positions))


def _draw(
    size: int | None,
    counts_of: Callable[[int], np.ndarray],
    *,
    total: Callable[[int], int] = int,
    sizes: tuple[int, int] = (1, 10**18),
    positions: list[np.ndarray],
    purpose: str,
    class_names: Sequence[str] | None,
) -> np.ndarray:
    """Images per class, int64 (C,), of a draw.

    Args:
        size: as the split's name has it; None for the largest that there are images for.
        counts_of: size → images per class; a larger size takes no fewer of any class.
        total: size → images in all.
        sizes: the smallest and the largest that ``counts_of`` has an answer for.
        positions: the indices of each class.

    Raises:
        UserError: there are too few images; it names the largest size that does.
    """
    available = np.array([len(members) for members in positions])
    everything = int(available.sum())
    if size is None:
        short = f"the classes have {everything} images"
    elif total(size) > everything:  # which may be too many to count out
        short = f"the classes have {everything} images, but the split wants {total(size)} {purpose} ones"
    else:
        wanted = counts_of(size)
        if (wanted <= available).all():
            return wanted
        k = int(np.argmax(wanted > available))
        name = f"'{class_names[k]}'" if class_names is not None else str(k)
        short = f"class {name} has {available[k]} images, but the split wants {wanted[k]} {purpose} ones"
    possible = range(sizes[0], min(sizes[1], everything) + 1)
    possible = possible[: bisect_right(possible, everything, key=total)]
    fit = bisect_left(possible, True, key=lambda size: not (counts_of(size) <= available).all())
    if size is None and fit:
        return counts_of(possible[fit - 1])
    mend = f"{possible[fit - 1]} is the largest size that they allow" if fit else "they allow no size of this kind"
    raise UserError(f"{short}; {mend}", key="dataset")
