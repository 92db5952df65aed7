"""Tables with one row for each image. A step reads and writes the rows of its images.

Notation: N images, n rows of a batch, in which an image may occur more than once.
"""

import torch
from torch import Tensor


def put_rows(table: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """A copy of the table with some rows replaced. Of two rows for one image the later one counts, on every device.

    Args:
        table: (N, …).
        index: positions of the rows, (n,) int64.
        rows: new rows, (n, …), converted to the table's dtype.
    """
    number = torch.arange(len(index), device=index.device)
    last = torch.where(index[:, None] == index, number, -1).amax(1)  # last row of the same image, for each row
    return table.index_put((index,), rows[last].to(table.dtype))
