"""Synchronised BatchNorm: two processes with half a batch each equal one process with all of it."""

import copy
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cissl.models.backbones import build
from cissl.models.layers import synchronise

WORKERS = 2


def small_model():
    return build("wrn", classes=3, side=8, filters=4, repeat=1, scales=2, bn_decay=0.9, seed=1).double()


def batch():
    """Eight images whose two halves differ in mean and deviation, and cotangents of the logits."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, 8, 8, generator=generator, dtype=torch.float64)
    x[4:] = 3 * x[4:] + 2
    return x, torch.randn(8, 3, generator=generator, dtype=torch.float64)


def run(model, x, cotangents):
    """Two training passes with the gradients of the second, then one in evaluation mode."""
    model(x)
    x = x.clone().requires_grad_()
    logits = model(x)
    (logits * cotangents).sum().backward()
    return {
        "logits": logits.detach(),
        "input_gradient": x.grad,
        "gradients": [p.grad for p in model.parameters()],
        "statistics": [b.clone() for b in model.buffers()],
        "evaluated": model.eval()(x).detach(),
    }


def offset_norm(norm):
    """Moving statistics after one batch, in the norm's dtype, whose mean is 1000 times its deviation."""
    generator = torch.Generator().manual_seed(3)
    x = 1000 + torch.randn(8, norm.num_features, 4, 4, generator=generator, dtype=torch.float64)
    share = x.chunk(WORKERS)[dist.get_rank()] if dist.is_initialized() else x
    norm(share.to(norm.weight.dtype))
    return norm.running_mean, norm.running_var


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=WORKERS,
        timeout=timedelta(seconds=60),
    )
    model = small_model()
    synchronise(model, dist.new_group())  # a group of its own cannot be copied, the model can
    share = run(copy.deepcopy(model), *(part.chunk(WORKERS)[rank] for part in batch()))
    share["offset"] = offset_norm(model.norm.float())
    torch.save(share, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shares(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, args=(folder,), nprocs=WORKERS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORKERS)]


def test_two_processes_equal_one(shares):
    close = {"rtol": 1e-10, "atol": 1e-11}
    joint = run(small_model(), *batch())
    for key in ("logits", "input_gradient", "evaluated"):
        torch.testing.assert_close(torch.cat([share[key] for share in shares]), joint[key], **close)
    for *parts, expected in zip(*(share["gradients"] for share in shares), joint["gradients"], strict=True):
        torch.testing.assert_close(sum(parts), expected, **close)
    for share in shares:
        torch.testing.assert_close(share["statistics"], joint["statistics"], **close)


def test_a_large_mean_does_not_cancel(shares):
    mean, var = offset_norm(small_model().norm)
    for share in shares:
        single_mean, single_var = share["offset"]
        torch.testing.assert_close(single_mean.double(), mean, rtol=1e-6, atol=0)
        torch.testing.assert_close(single_var.double(), var, rtol=1e-6, atol=0)


def test_evaluation_needs_no_processes():
    model = small_model()
    expected = model.eval()(batch()[0])
    synchronise(model)
    assert torch.equal(model(batch()[0]), expected)
