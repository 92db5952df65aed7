"""Applying a different operation to each row of a batch, at the cost of one call an operation."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops

Op = Callable[..., Tensor]


class Family:
    """Named operations, numbered in the order of `names`; a name in no mapping is the identity.

    Every function takes (images, *arguments) of its own rows: images (R, C, S, S) uint8, arguments (R, ...).

    Args:
        tables: these return value tables (R, C or 1, 256) uint8.
        matrices: these return affine matrices (R, 2, 3) float64.
        images: these return images (R, C, S, S) uint8.
        opaque: names of those that reset an alpha channel to 255.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        tables: Mapping[str, Op],
        matrices: Mapping[str, Op],
        images: Mapping[str, Op],
        opaque: tuple[str, ...] = (),
    ):
        self.tables, self.matrices, self.images, self.opaque = tables, matrices, images, opaque
        # Rows are sorted by kind, so that all tables are looked up at once, and all matrices applied at once.
        self._sorted = [*tables, *matrices, *images]
        self._rank = np.array(
            [self._sorted.index(name) if name in self._sorted else len(self._sorted) for name in names]
        )

    def __call__(self, images: Tensor, choice: np.ndarray, *arguments: Tensor, alpha: bool = False) -> Tensor:
        """Apply operation `choice[i]` to row i.

        Args:
            images: (N, C, S, S) uint8, not modified; with `alpha` the last channel is an opacity, which only
                geometry moves and which operations in `opaque` reset.
            choice: (N,) int, on the host, so that no slice's size has to come back from the device.
            arguments: (N, ...) tensors on the images' device.
        """
        ranks = self._rank[choice]
        order = np.argsort(ranks, kind="stable")
        places = torch.from_numpy(np.stack((order, np.argsort(order)))).to(images.device, non_blocking=True)
        rows = images.index_select(0, places[0])
        arguments = tuple(argument.index_select(0, places[0]) for argument in arguments)
        self._apply(rows, np.bincount(ranks, minlength=len(self._sorted) + 1).tolist(), arguments, alpha)
        return rows.index_select(0, places[1])

    def _apply(self, rows: Tensor, sizes: list[int], arguments: tuple[Tensor, ...], alpha: bool) -> None:
        """Change sorted rows in place; `sizes` says how many of them each operation has."""
        colours = rows[:, :-1] if alpha else rows
        names = (*self._sorted, None)
        columns = (column.split(sizes) for column in (colours, *arguments))
        parts = {name: part for name, size, *part in zip(names, sizes, *columns, strict=True) if size}

        def made(functions: Mapping[str, Op]) -> list[Tensor]:
            return [function(*parts[name]) for name, function in functions.items() if name in parts]

        tables = [table.expand(-1, colours.shape[1], -1) for table in made(self.tables)]
        start = sum(map(len, tables))
        if tables:
            colours[:start] = ops.lookup(colours[:start], torch.cat(tables))
        matrices = made(self.matrices)
        if matrices:
            moved = rows[start : start + sum(map(len, matrices))]
            moved.copy_(ops.affine(moved, torch.cat(matrices)))
        for name, function in self.images.items():
            if name in parts:
                parts[name][0].copy_(function(*parts[name]))
        if alpha:
            opacity = dict(zip(names, rows[:, -1].split(sizes), strict=True))
            for name in self.opaque:
                opacity[name].fill_(255)
