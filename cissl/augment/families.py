"""Applying a different operation to each row of a batch, at the cost of one call an operation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops

Op = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Named operations, numbered in the order of `names`; a name in no mapping is the identity.

    Every function takes (images, *arguments) of its own rows: images (R, C, S, S) uint8, arguments (R, ...).
    """

    names: tuple[str, ...]
    tables: Mapping[str, Op]  # returns value tables (R, C or 1, 256) uint8
    matrices: Mapping[str, Op]  # returns affine matrices (R, 2, 3) float64
    images: Mapping[str, Op]  # returns images (R, C, S, S) uint8
    opaque: frozenset[str] = frozenset()  # these reset an alpha channel to 255
    _rank: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        order = self._order()
        ranks = [order.index(name) if name in order else len(order) for name in self.names]
        object.__setattr__(self, "_rank", np.array(ranks))

    def _order(self) -> list[str]:
        return [*self.tables, *self.matrices, *self.images]

    def __call__(self, images: Tensor, choice: np.ndarray, *arguments: Tensor, alpha: bool = False) -> Tensor:
        """Apply operation `choice[i]` to row i. Rows are sorted by operation, so that each sees one slice.

        Args:
            images: (N, C, S, S) uint8, not modified; with `alpha` the last channel is an opacity, which only
                geometry moves and which operations in `opaque` reset.
            choice: (N,) int, on the host, so that no slice's size has to come back from the device.
            arguments: (N, ...) tensors on the images' device.
        """
        order = np.argsort(self._rank[choice], kind="stable")
        ends = np.searchsorted(self._rank[choice][order], np.arange(len(self._order())), side="right").tolist()
        spans = {name: slice(a, b) for name, a, b in zip(self._order(), [0, *ends], ends, strict=False) if a < b}
        index = torch.from_numpy(order).to(images.device, non_blocking=True)
        rows, arguments = images[index], [argument[index] for argument in arguments]
        colours = rows[:, :-1] if alpha else rows

        def parts(functions: Mapping[str, Op]):
            """What each function makes of its slice, and the slice of all of them."""
            used = [(function, spans[name]) for name, function in functions.items() if name in spans]
            made = [function(colours[span], *(a[span] for a in arguments)) for function, span in used]
            return made, slice(used[0][1].start, used[-1][1].stop) if used else slice(0, 0)

        tables, span = parts(self.tables)
        if tables:
            tables = torch.cat([table.expand(-1, colours.shape[1], -1) for table in tables])
            colours[span] = ops.lookup(colours[span], tables)
        matrices, span = parts(self.matrices)
        if matrices:
            rows[span] = ops.affine(rows[span], torch.cat(matrices))
        for name, function in self.images.items():
            if name in spans:
                colours[spans[name]] = function(colours[spans[name]], *(a[spans[name]] for a in arguments))
        for name in self.opaque & spans.keys():
            rows[spans[name], -1] = 255
        return torch.empty_like(rows).index_copy_(0, index, rows)
