"""Applying a different operation to each row of a batch; every operation is a blend of two pictures of the image.

There are two forms, of the same bytes. Sorted rows cost some calls for each operation and no needless pixel: for CPUs.
All pictures of all rows cost the same calls whatever was drawn, in shapes that never change: for GPUs and compilers.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops
from cissl.augment.constants import constant


@dataclasses.dataclass(frozen=True)
class Op:
    """first + weight · (second - first), clipped and truncated.

    Attributes:
        first, second: names of PICTURES, or ``"image"``.
        weighted: whether the operation's value is the weight; else it is 1.
        move: of the picture ``"moved"``, one of `ops.MOVES`.
        opaque: whether an alpha channel is reset to 255.
    """

    first: str = "image"
    second: str = "image"
    weighted: bool = False
    move: str = "stay"
    opaque: bool = False

    @property
    def picture(self) -> str:
        """The one of the two that is not the image."""
        return self.second if self.first == "image" else self.first

    @property
    def role(self) -> int:
        """Place in the order of sorted rows: unchanged, replaced, blended to the picture, blended from it."""
        if self.picture == "image":
            return 0
        return 1 if not self.weighted else 2 if self.first == "image" else 3


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What rows' operations are given; R rows in any order.

    Attributes:
        value: (R,) float64, see `PICTURES`.
        move: (R,) int64, places in `ops.MOVES`.
        second: (R,) float64 in [0, 1), which chooses the resampling; None where no operation needs it.
        centre: (R, 2) int64, column and row of the squares that are cut; None where no operation needs it.
    """

    value: Tensor
    move: Tensor
    second: Tensor | None
    centre: Tensor | None

    def rows(self, order: Tensor | slice) -> "Arguments":
        """Some of the rows."""
        fields = (self.value, self.move, self.second, self.centre)
        return Arguments(*(None if field is None else field[order] for field in fields))


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _resampling(arguments: Arguments, side: int) -> Tensor:
    scale = arguments.value.clamp(0, 0.25)  # other operations' values, which are not used, may lie outside
    first, last = (scale * side).round_().long(), (side * (1 - scale)).round_().long()
    return ops.resampling_matrix(first, last, (arguments.second * 5.99).long(), side)


def _squares(arguments: Arguments, side: int) -> Tensor:
    return ops.square((1 + arguments.value.long()).div(2, rounding_mode="floor").view(-1, 1, 1), arguments.centre, side)


# How a picture is made, (images, prepared) → picture, and what is prepared for it, (arguments, side) → prepared. What
# an operation's value means: bits kept beyond the first · threshold · see `ops.move_index` · side of the square, less
# one · share of the side that is cropped off each border.
PICTURES: dict[str, tuple[Callable[..., Tensor], Callable[[Arguments, int], Tensor] | None]] = {
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


class Family:
    """Named operations, numbered in their order."""

    def __init__(self, operations: Mapping[str, Op]):
        self._ops = tuple(operations.values())
        kinds = [(op.role, ORDER.index(op.picture)) for op in self._ops]
        groups = sorted(set(kinds))  # operations that share their picture
        self._group = np.array([groups.index(kind) for kind in kinds])
        self._groups = [self._ops[kinds.index(kind)] for kind in groups]
        self._pictures = [name for name in ORDER if any(name in (op.first, op.second) for op in self._ops)]

    def __call__(self, images: Tensor, *arguments: Tensor | None, alpha: bool = False) -> Tensor:
        """Apply D operations to each row, one after the other.

        Args:
            images: (N, C, S, S) uint8, not modified; with `alpha` the last channel is an opacity, which only
                geometry moves and which opaque operations reset.
            arguments: choice (N, D) int64, the operations' numbers; value and second (N, D), centre (N, D, 2), see
                `Arguments`, all on the images' device.
        """
        one_by_one = images.device.type == "cpu" and not torch.compiler.is_compiling()
        return (self.sorted_rows if one_by_one else self.all_rows)(images, *arguments, alpha=alpha)

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
        """The form for a CPU, see `__call__`."""
        number, depth = choice.shape
        group = self._group[choice.numpy()]
        orders = group.argsort(axis=0, kind="stable")  # rows in a slot's order
        by_group = (group * depth + np.arange(depth)).ravel().argsort(kind="stable")  # all slots', in groups
        table = self._arguments(choice, value, second, centre).rows(torch.from_numpy(by_group))
        sizes = (group[:, :, None] == np.arange(len(self._groups))).sum(0)  # (D, groups)
        prepared = self._prepared_groups(table, sizes, images.shape[-1])
        weights = value.float()
        place = np.arange(number)  # of each row, so far
        for slot in range(depth):
            order = torch.from_numpy(orders[:, slot])
            images = images.index_select(0, torch.from_numpy(place[orders[:, slot]]))
            self._change(images, sizes[slot].tolist(), prepared[slot], weights[:, slot].index_select(0, order), alpha)
            place[orders[:, slot]] = np.arange(number)
        return images.index_select(0, torch.from_numpy(place))

    def _prepared_groups(self, table: Arguments, sizes: np.ndarray, side: int) -> list[list[tuple[Tensor, ...]]]:
        """What each group's picture needs, by slot and group; `table` in the order of groups, then slots."""
        parts: list[list[tuple[Tensor, ...]]] = []
        ends = sizes.sum(0).cumsum().tolist()
        for op, end, own in zip(self._groups, ends, sizes.T.tolist(), strict=True):
            prepare = PICTURES[op.picture][1] if op.role else None
            if prepare is None or not any(own):
                parts.append([()] * len(own))
            else:
                rows = table.rows(slice(end - sum(own), end))
                parts.append([(part,) for part in prepare(rows, side).split(own)])
        return list(zip(*parts, strict=True))

    def _change(self, rows: Tensor, sizes: list[int], prepared: Any, weights: Tensor, alpha: bool) -> None:
        """Change sorted rows in place; `sizes` says how many of them each group has."""
        colours = rows[:, :-1] if alpha else rows
        start, blended = 0, {2: [], 3: []}
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
        """The form for a GPU and for compilers, see `__call__`."""
        number, depth = choice.shape
        table = self._arguments(choice, value, second, centre)
        prepared = {
            name: (PICTURES[name][1](table, images.shape[-1]).unflatten(0, (number, depth)),)
            for name in self._pictures[1:]
            if PICTURES[name][1]
        }
        sides, weighted, opaque, moving = self._properties(images.device)
        sides, weights = sides[:, choice], torch.where(weighted[choice], value, 1.0).float()
        every = torch.arange(number, device=images.device)
        for slot in range(depth):
            colours = images[:, :-1] if alpha else images
            needed = {name: (part[:, slot],) for name, (part,) in prepared.items()}
            made = {
                name: PICTURES[name][0](images if name == "moved" else colours, *needed.get(name, ()))
                for name in self._pictures[1:]
            }
            pictures = torch.stack(
                [
                    colours,
                    *(
                        picture[:, : colours.shape[1]].expand(colours.shape).to(torch.uint8)
                        for picture in made.values()
                    ),
                ]
            )
            first, second_ = pictures[sides[:, :, slot], every].float().unbind()
            changed = ops.blend(first, second_, weights[:, slot])
            if alpha:
                own = choice[:, slot]
                opacity = torch.where(_column(moving[own]), made["moved"][:, -1:], images[:, -1:])
                changed = torch.cat((changed, opacity.masked_fill(_column(opaque[own]), 255)), 1)
            images = changed
        return images

    # Both

    def _arguments(self, choice: Tensor, value: Tensor, second: Tensor | None, centre: Tensor | None) -> Arguments:
        """Row by row, slot by slot."""
        return Arguments(
            value.reshape(-1),
            self._moves(choice.device)[choice.reshape(-1)],
            None if second is None else second.reshape(-1),
            None if centre is None else centre.reshape(-1, 2),
        )

    @constant
    def _moves(self, device: torch.device) -> Tensor:
        """(operations,) int64: places in `ops.MOVES`."""
        return torch.tensor([ops.MOVES.index(op.move) for op in self._ops], device=device)

    @constant
    def _properties(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places of both sides in the stack of pictures, (2, operations); weighted, opaque and moving ones, bool."""
        sides = [[self._pictures.index(name) for name in (op.first, op.second)] for op in self._ops]
        facts = [[op.weighted, op.opaque, op.picture == "moved"] for op in self._ops]
        return torch.tensor(sides, device=device).T, *torch.tensor(facts, device=device).unbind(1)
