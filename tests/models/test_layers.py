"""Layers against slow oracles written from the definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cissl.models.layers import BatchNorm2d, SameConv2d, leaky_relu, same_padding, single_process, synchronise


def slow_same_convolution(x, kernel, bias, stride):
    """TensorFlow's SAME written out: output (i, j) reads from (i·s, j·s) minus the zeros before."""
    (n, _, height, width), (outputs, _, k, _) = x.shape, kernel.shape
    rows, columns = -(-height // stride), -(-width // stride)
    before = max((rows - 1) * stride + k - height, 0) // 2, max((columns - 1) * stride + k - width, 0) // 2
    y = np.zeros((n, outputs, rows, columns))
    for i, j, a, b in np.ndindex(rows, columns, k, k):
        row, column = i * stride + a - before[0], j * stride + b - before[1]
        if 0 <= row < height and 0 <= column < width:
            y[:, :, i, j] += x[:, :, row, column] @ kernel[:, :, a, b].T
    return y + bias[:, None, None]


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.integers(1, 3),
    channels_last=st.booleans(),
)
def test_same_convolution(height, width, kernel, stride, channels_last):
    generator = torch.Generator().manual_seed(0)
    conv = SameConv2d(2, 3, kernel, stride).double()
    torch.nn.init.normal_(conv.weight, generator=generator)
    torch.nn.init.normal_(conv.bias, generator=generator)
    x = torch.randn(2, 2, height, width, generator=generator, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    expected = slow_same_convolution(x.numpy(), conv.weight.detach().numpy(), conv.bias.detach().numpy(), stride)
    np.testing.assert_allclose(conv(x).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_in_bf16_a_kernel_that_reaches_beyond_a_single_pixel_has_its_whole_gradient(memory_format):
    """What sees padding alone has gradient 0; oneDNN leaves there what the memory held before."""
    generator = torch.Generator().manual_seed(0)
    conv = SameConv2d(8, 16, 3, 2).to(memory_format=memory_format)
    torch.nn.init.normal_(conv.weight, generator=generator)
    torch.nn.init.zeros_(conv.bias)
    x = torch.randint(-2, 3, (40, 8, 1, 1), generator=generator).float()  # small whole numbers, exact in bf16
    x = x.contiguous(memory_format=memory_format)
    for _ in range(20):
        rubbish = [torch.full((multiple * conv.weight.numel(),), torch.nan) for multiple in (1, 2, 4)]
        del rubbish
        with torch.autocast("cpu", torch.bfloat16):
            (gradient,) = torch.autograd.grad(conv(x).sum(), conv.weight)
        assert torch.equal(gradient[:, :, 1, 1], x.sum((0, 2, 3)).expand(16, 8))
        gradient[:, :, 1, 1] = 0
        assert not gradient.any()


def test_odd_padding_goes_to_the_end():
    assert same_padding(32, 3, 2) == (0, 1)
    assert same_padding(32, 7, 2) == (2, 3)
    assert same_padding(32, 3, 1) == (1, 1)
    assert same_padding(32, 1, 2) == (0, 0)


def test_batch_norm_normalises_with_the_biased_and_averages_the_unbiased_variance():
    x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5 + 2
    norm = BatchNorm2d(3, decay=0.9).double()
    rows = x.numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    expected = (x.numpy() - rows.mean(1)[:, None, None]) / np.sqrt(rows.var(1) + 1e-3)[:, None, None]
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, atol=1e-12)
    mean, var = 0.1 * rows.mean(1), 0.9 + 0.1 * rows.var(1, ddof=1)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(norm.running_var.numpy(), var, atol=1e-12)

    expected = (x.numpy() - mean[:, None, None]) / np.sqrt(var + 1e-3)[:, None, None]
    np.testing.assert_allclose(norm.eval()(x).detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, atol=1e-12)


@pytest.mark.parametrize("slope", [0.1, 0.2])
def test_leaky_relu_gradient_survives_overwriting(slope):
    x = torch.tensor([-2.0, -0.5, 0.5, 3.0], requires_grad=True)
    y = leaky_relu(x * 1.0, slope)
    assert torch.equal(y, F.leaky_relu(x, slope))
    y.sum().backward()
    assert torch.equal(x.grad, torch.tensor([slope, slope, 1.0, 1.0]))


@pytest.mark.parametrize("norm", [lambda: BatchNorm2d(2, decay=0.9), lambda: nn.BatchNorm2d(2)])
def test_images_that_all_processes_have_alike_need_no_exchange(norm):
    x, alone, together = torch.randn(1, 2, 4, 4, dtype=torch.float64), norm().double(), nn.Sequential(norm()).double()
    synchronise(together)  # without a group any exchange would fail
    with single_process(together):
        assert torch.allclose(together(x), alone(x), rtol=1e-12)
    assert torch.allclose(together[0].running_var, alone.running_var, rtol=1e-12)
    with pytest.raises(ValueError):
        together(x)
