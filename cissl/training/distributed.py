"""What training needs of torch.distributed; with one process every function is the identity.

The rows of a global batch are dealt out in turn: worker r of W holds rows r, r + W, r + 2W, …
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cissl.errors import UserError


def world_size() -> int:
    """Number of workers W."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This worker's number r."""
    return dist.get_rank() if world_size() > 1 else 0


def own_rows() -> slice:
    """This worker's rows of a global batch."""
    return slice(rank(), None, world_size())


def check_division(batch: int) -> None:
    """Check that the workers can share a batch evenly.

    Args:
        batch: labeled images per step.

    Raises:
        UserError: they cannot; the message has the nearest batch sizes that work.
    """
    workers = world_size()
    if batch % workers:
        below, above = batch // workers * workers, -(-batch // workers) * workers
        choices = f"{below} or {above}" if below else f"{above}"
        raise UserError(f"batch {batch} cannot be shared evenly by {workers} workers; use {choices}", key="batch")


def gather_rows(rows: Tensor) -> Tensor:
    """The global batch, in its order, from every worker's rows; the gradient returns to each worker's own rows.

    Args:
        rows: this worker's, (rows, …); equally many on every worker.

    Returns:
        All workers' rows, (W · rows, …), of the same dtype.

    All workers compute the same loss from the gathered rows, each back-propagates its own rows' share of it, and
    `average_gradients` takes the mean over workers: hence the factor W on the way back.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


def sum_over_workers(value: Tensor) -> Tensor:
    """Element-wise sum over workers of a tensor of any shape, in place."""
    if world_size() > 1:
        dist.all_reduce(value)
    return value


@torch.no_grad()
def share_first_workers(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors of any shapes with the first worker's values, on every worker."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every worker the mean of all workers' gradients, in one exchange.

    A parameter that took no part in the loss has no gradient on any worker, for all of them run the same method.
    """
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return world_size() * gradient[own_rows()]
