"""Apply a different operation to each row of a batch. Every operation is a blend of two pictures of the image.

There are two forms, which give the same bytes. CPUs use sorted rows: this needs some calls for each operation, and
computes no unused pixel. GPUs and compilers use all pictures of all rows: this needs the same calls for all draws, and
its shapes never change.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops
from cissl.augment.constants import constant


@dataclasses.dataclass(frozen=True)
class Op:
    """An operation: first + weight · (second − first), clipped and truncated.

    Attributes:
        first, second: names in `PICTURES`, or ``"image"``.
        weighted: whether the operation's value is the weight. Otherwise the weight is 1.
        move: movement of the picture ``"moved"``, one of `ops.MOVES`.
        opaque: whether the operation sets an alpha channel to 255.
    """

    first: str = "image"
    second: str = "image"
    weighted: bool = False
    move: str = "stay"
    opaque: bool = False

    @cached_property
    def picture(self) -> str:
        """Name of the picture that is not the image."""
        return self.second if self.first == "image" else self.first

    @cached_property
    def role(self) -> int:
        """Place in the order of sorted rows: 0 unchanged, 1 replaced, 2 blended to the picture, 3 blended from it."""
        if self.picture == "image":
            return 0
        return 1 if not self.weighted else 2 if self.first == "image" else 3


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of the operations on R rows, in any order.

    Attributes:
        value: (R,) float64, see `PICTURES`.
        move: places in `ops.MOVES`, (R,) int64.
        second: number in [0, 1) that chooses the resampling, (R,) float64. None if no operation of the family needs it.
        centre: column and row of the squares that are cut, (R, 2) int64. None if no operation of the family needs it.
        picture: of the operations, places in `ORDER`, (R,) int64; for `TOGETHER` alone.
    """

    value: Tensor
    move: Tensor
    second: Tensor | None
    centre: Tensor | None
    picture: Tensor | None = None

    def rows(self, order: Tensor | slice) -> "Arguments":
        """The arguments of some rows: places (n,) int64, or a slice."""
        second = None if self.second is None else self.second[order]
        centre = None if self.centre is None else self.centre[order]
        return Arguments(self.value[order], self.move[order], second, centre)


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


@constant
def _range(number: int, device: torch.device) -> Tensor:
    return torch.arange(number, device=device)


def _resampling(arguments: Arguments, side: int) -> Tensor:
    assert arguments.second is not None, "a family that rescales is given second levels"
    scale = arguments.value.clamp(0, 0.25)  # unused values of other operations may be outside
    first, last = (scale * side).round_().long(), (side * (1 - scale)).round_().long()
    return ops.resampling_matrix(first, last, (arguments.second * 5.99).long(), side)


def _squares(arguments: Arguments, side: int) -> Tensor:
    assert arguments.centre is not None, "a family that cuts squares is given their centres"
    return ops.square((1 + arguments.value.long()).div(2, rounding_mode="floor").view(-1, 1, 1), arguments.centre, side)


Prepare = Callable[[Arguments, int], Tensor]
Prepared = tuple[Tensor, ...]  # what a picture needs beside the image: one tensor, or nothing; or two together
# Two functions for each picture: (images, prepared) → picture, and (arguments, side) → prepared. The first five have
# these values: number of bits that are kept, less one; threshold; see `ops.move_index`; side of the square, less one;
# share of the side that is cropped at each border.
PICTURES: dict[str, tuple[Callable[..., Tensor], Prepare | None]] = {
    "posterized": (ops.posterized, lambda arguments, side: ops.posterize_masks(arguments.value.floor() + 1)),
    "solarized": (ops.solarized, lambda arguments, side: _column(arguments.value.floor())),
    "moved": (ops.moved, lambda arguments, side: ops.move_index(arguments.move, arguments.value, side)),
    "cut": (ops.cut, _squares),
    "rescaled": (ops.rescaled, _resampling),
    "stretched": (ops.stretched, None),
    "equalized": (ops.equalized, None),
    "inverted": (ops.inverted, None),
    "blurred": (ops.blurred, None),
    "smoothed": (ops.smoothed, None),
    "gray": (ops.gray, None),
    "mean": (ops.mean, None),
    "black": (ops.black, None),
}
ORDER = ("image", *PICTURES)
TONE_BOUNDS = {  # shift, lowest and highest of the places in the table of tones; 0 is inverted
    "posterized": (ops.TONES["posterized"] + 1, ops.TONES["posterized"], ops.TONES["posterized"] + 8),
    "solarized": (ops.TONES["solarized"], 0, 256),
}


@constant
def _tone_bounds(device: torch.device) -> Tensor:
    bounds = [TONE_BOUNDS.get(name, (0, 0, 0)) for name in ORDER]
    return torch.tensor(bounds, dtype=torch.float64, device=device)


def _tones(arguments: Arguments, side: int) -> Tensor:
    assert arguments.picture is not None
    shift, low, high = _tone_bounds(arguments.value.device)[arguments.picture].unbind(1)
    return arguments.value.floor().add_(shift).clamp_(low, high).long()


def _is(picture: str) -> Callable[[Arguments, int], Tensor]:
    """Which rows' operations need this picture, (R,) bool."""
    number = ORDER.index(picture)

    def prepare(arguments: Arguments, side: int) -> Tensor:
        assert arguments.picture is not None
        return arguments.picture == number

    return prepare


def _filter_factors(arguments: Arguments, side: int) -> tuple[Tensor, Tensor]:
    return ops.filter_factors(_is("blurred")(arguments, side), side)


# Pictures that all rows have in one go, each row that of its own operation: name → pictures, and functions as above.
Together = Callable[[Arguments, int], Tensor | tuple[Tensor, Tensor]]
TOGETHER: dict[str, tuple[tuple[str, ...], Callable[..., Tensor], Together]] = {
    "toned": (("posterized", "solarized", "inverted"), ops.toned, _tones),
    "levelled": (("stretched", "equalized"), ops.levelled, _is("equalized")),
    "filtered": (("blurred", "smoothed"), ops.filtered, _filter_factors),
    "grays": (("gray", "mean"), ops.grays, _is("mean")),
}
SHARED = {picture: name for name, (pictures, *_) in TOGETHER.items() for picture in pictures}
WHOLE: dict[str, tuple[Callable[..., Tensor], Together | None]] = {
    **PICTURES,
    **{name: (make, prepare) for name, (_, make, prepare) in TOGETHER.items()},
}


class Family:
    """Named operations. The number of an operation is its place.

    Args:
        operations: name → operation.
    """

    def __init__(self, operations: Mapping[str, Op]) -> None:
        self._ops = tuple(operations.values())
        kinds = [(op.role, ORDER.index(op.picture)) for op in self._ops]
        groups = sorted(set(kinds))  # operations that share their picture
        self._group = np.array([groups.index(kind) for kind in kinds])
        self._groups = [self._ops[kinds.index(kind)] for kind in groups]
        used = [name for name in ORDER if any(name in (op.first, op.second) for op in self._ops)]
        self._shown = list(dict.fromkeys(SHARED.get(name, name) for name in used))  # of all rows; the image comes first

    def __call__(
        self,
        images: Tensor,
        choice: Tensor,
        value: Tensor,
        second: Tensor | None = None,
        centre: Tensor | None = None,
        *,
        alpha: bool = False,
    ) -> Tensor:
        """Apply D operations to each row, one after the other. All tensors are on the images' device.

        Args:
            images: (N, C, S, S) uint8, not modified.
            choice: numbers of the operations, (N, D) int64.
            value, second, centre: (N, D), (N, D) and (N, D, 2), see `Arguments`.
            alpha: whether the last channel is an opacity. Only geometry moves it, and opaque operations set it to 255.

        Returns:
            (N, C, S, S) uint8.
        """
        one_by_one = images.device.type == "cpu" and not torch.compiler.is_compiling()
        form = self.sorted_rows if one_by_one else self.all_rows
        return form(images, choice, value, second, centre, alpha=alpha)

    # Sorted rows

    def sorted_rows(
        self,
        images: Tensor,
        choice: Tensor,
        value: Tensor,
        second: Tensor | None = None,
        centre: Tensor | None = None,
        *,
        alpha: bool = False,
    ) -> Tensor:
        """The form for a CPU, (N, C, S, S) uint8; see `__call__`."""
        number, depth = choice.shape
        group = self._group[choice.numpy()]
        orders = group.argsort(axis=0, kind="stable")  # order of the rows in each slot
        by_group = (group * depth + np.arange(depth)).ravel().argsort(kind="stable")  # rows of all slots by group
        table = self._arguments(choice, value, second, centre).rows(torch.from_numpy(by_group))
        sizes = (group[:, :, None] == np.arange(len(self._groups))).sum(0)  # (D, groups)
        prepared = self._prepared_groups(table, sizes, images.shape[-1])
        weights = value.float()
        place = np.arange(number)  # present place of each row
        for slot in range(depth):
            order = torch.from_numpy(orders[:, slot])
            images = images.index_select(0, torch.from_numpy(place[orders[:, slot]]))
            self._change(images, sizes[slot].tolist(), prepared[slot], weights[:, slot].index_select(0, order), alpha)
            place[orders[:, slot]] = np.arange(number)
        return images.index_select(0, torch.from_numpy(place))

    def _prepared_groups(self, table: Arguments, sizes: np.ndarray, side: int) -> Sequence[Sequence[Prepared]]:
        """What the picture of each group needs, by slot and group. `table` is in the order of groups, then slots."""
        parts: list[list[Prepared]] = []
        ends = sizes.sum(0).cumsum().tolist()
        for op, end, own in zip(self._groups, ends, sizes.T.tolist(), strict=True):
            prepare = PICTURES[op.picture][1] if op.role else None
            if prepare is None or not any(own):
                parts.append([()] * len(own))
            else:
                rows = table.rows(slice(end - sum(own), end))
                parts.append([(part,) for part in torch.split(prepare(rows, side), own)])
        return list(zip(*parts, strict=True))

    def _change(
        self, rows: Tensor, sizes: list[int], prepared: Sequence[Prepared], weights: Tensor, alpha: bool
    ) -> None:
        """Change sorted rows in place. `sizes` has the number of rows of each group."""
        colours = rows[:, :-1] if alpha else rows
        start, blended = 0, dict[int, list[Tensor]]({2: [], 3: []})
        for op, size, needed in zip(self._groups, sizes, prepared, strict=True):
            part = slice(start, start := start + size)
            if not size or not op.role:
                continue
            target = (rows if op.picture == "moved" else colours)[part]
            picture = PICTURES[op.picture][0](target, *needed)
            if op.role == 1:
                target.copy_(picture)
            else:
                blended[op.role].append(picture.expand(target.shape))
            if alpha and op.opaque:
                rows[part, -1] = 255
        towards = sum(map(len, blended[2]))
        number = towards + sum(map(len, blended[3]))
        if number:
            area = colours[-number:]
            pixels = area.float()
            first, second = torch.cat((pixels[:towards], *blended[3])), torch.cat((*blended[2], pixels[towards:]))
            area.copy_(ops.blend(first, second, weights[-number:]))

    # All pictures of all rows

    def all_rows(
        self,
        images: Tensor,
        choice: Tensor,
        value: Tensor,
        second: Tensor | None = None,
        centre: Tensor | None = None,
        *,
        alpha: bool = False,
    ) -> Tensor:
        """The form for a GPU and for compilers, (N, C, S, S) uint8; see `__call__`."""
        number, depth = choice.shape
        table = self._arguments(choice, value, second, centre)
        table = dataclasses.replace(table, picture=self._numbers(images.device)[choice.reshape(-1)])
        prepared = self._prepared(table, images.shape[-1], (number, depth))
        sides, unweighted, opaque, moving = self._properties(images.device)
        sides, weights = sides[:, choice], value.masked_fill(unweighted[choice], 1.0).float()
        every = _range(number, images.device)
        for slot in range(depth):
            colours = images[:, :-1] if alpha else images
            made = {
                name: WHOLE[name][0](
                    images if name == "moved" else colours, *(part[:, slot] for part in prepared[name])
                )
                for name in self._shown[1:]
            }
            shown = [picture[:, : colours.shape[1]].expand(colours.shape) for picture in made.values()]
            first, other = torch.stack([colours.float(), *shown])[sides[:, :, slot], every].unbind()
            changed = ops.blend(first, other, weights[:, slot])
            if alpha:
                own = choice[:, slot]
                opacity = torch.where(_column(moving[own]), made["moved"][:, -1:], images[:, -1:])
                changed = torch.cat((changed, opacity.masked_fill(_column(opaque[own]), 255)), 1)
            images = changed
        return images

    def _prepared(self, table: Arguments, side: int, shape: tuple[int, int]) -> dict[str, Prepared]:
        """What each picture needs; `shape` are the numbers of rows and slots, which are the first axes."""
        prepared: dict[str, Prepared] = {}
        for name in self._shown[1:]:
            prepare, prepared[name] = WHOLE[name][1], ()
            if prepare is not None:
                made = prepare(table, side)
                parts = made if isinstance(made, tuple) else (made,)
                prepared[name] = tuple(part.view(*shape, *part.shape[1:]) for part in parts)
        return prepared

    # Both forms

    def _arguments(self, choice: Tensor, value: Tensor, second: Tensor | None, centre: Tensor | None) -> Arguments:
        """The arguments of all rows, and of all slots of a row one after the other."""
        return Arguments(
            value.reshape(-1),
            self._moves(choice.device)[choice.reshape(-1)],
            None if second is None else second.reshape(-1),
            None if centre is None else centre.reshape(-1, 2),
        )

    @constant
    def _moves(self, device: torch.device) -> Tensor:
        """Movement of each operation as a place in `ops.MOVES`, (operations,) int64."""
        return torch.tensor([ops.MOVES.index(op.move) for op in self._ops], device=device)

    @constant
    def _numbers(self, device: torch.device) -> Tensor:
        """Picture of each operation as a place in `ORDER`, (operations,) int64."""
        return torch.tensor([ORDER.index(op.picture) for op in self._ops], device=device)

    @constant
    def _properties(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places of both pictures in the stack, (2, operations) int64; whether an operation is not weighted, opaque
        and moving, (operations,) bool each.
        """
        sides = [[self._shown.index(SHARED.get(name, name)) for name in (op.first, op.second)] for op in self._ops]
        facts = [[not op.weighted, op.opaque, op.picture == "moved"] for op in self._ops]
        unweighted, opaque, moving = torch.tensor(facts, device=device).unbind(1)
        return torch.tensor(sides, device=device).T, unweighted, opaque, moving
