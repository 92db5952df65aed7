"""Tables with one row for each image, from which a step reads some rows and to which it writes some.

Notation: N images, n rows of a batch, in which an image may stand more than once.
"""

import torch
from torch import Tensor


def put_rows(table: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """A copy of the table with some rows replaced; of two rows for one image the later counts, on every device.

    Args:
        table: (N, …).
        index: positions of the rows, (n,) int64.
        rows: (n, …), converted to the table's type.
    """
    number = torch.arange(len(index), device=index.device)
    last = torch.where(index[:, None] == index, number, -1).amax(1)  # of each row, the last one of the same image
    return table.index_put((index,), rows[last].to(table.dtype))
