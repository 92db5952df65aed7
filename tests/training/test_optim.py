"""The optimizer and the moving average of the weights, against their formulas written out."""

import math

import pytest
import torch

from cissl.config import TrialConfig
from cissl.models.backbones import build, decayed_kernels
from cissl.training import optim
from cissl.training.optim import MOMENTUM, learning_rate, make_ema_model, make_optimizer, set_rate, update_ema

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.fixture
def model(double_precision):
    return build("wrn", classes=3, side=8, channels=1, filters=2, repeat=1, scales=1)


def config(**settings):
    return TrialConfig(dataset="digits.1@40-10", **settings)


def give_gradients(model, number):
    random = torch.Generator().manual_seed(number)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random)


def test_the_rate_falls_along_seven_sixteenths_of_pi():
    trial = config(lr=0.1, batch=64, train_kimg=100)
    assert learning_rate(trial, 0) == 0.1
    assert learning_rate(trial, 800) == pytest.approx(0.1 * math.cos(7 * math.pi / 32))
    assert learning_rate(trial, 1600) == learning_rate(trial, 2000) == pytest.approx(0.1 * math.cos(7 * math.pi / 16))


def test_the_rate_rises_linearly_in_the_warm_up():
    trial = config(lr=0.1, batch=64, train_kimg=100, lr_schedule="constant", lr_warmup_kimg=4 * 64 / 1024)
    assert [learning_rate(trial, step) for step in range(6)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_sgd_is_nesterovs_with_decay_of_kernels_alone(model):
    trial = config(lr=0.1, wd=0.01)
    optimizer = make_optimizer(model, trial)
    kernels = {id(kernel) for kernel in decayed_kernels(model)}
    assert 0 < len(kernels) < len(list(model.parameters()))
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    velocities = [torch.zeros_like(value) for value in expected]
    for number in range(3):
        give_gradients(model, number)
        for value, velocity, parameter in zip(expected, velocities, model.parameters(), strict=True):
            gradient = parameter.grad + (0.01 * value if id(parameter) in kernels else 0)
            velocity.mul_(MOMENTUM).add_(gradient)
            value -= 0.1 * (gradient + MOMENTUM * velocity)
        optim.step(optimizer)
    for value, parameter in zip(expected, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-12, atol=1e-12)


def test_adamw_decays_kernels_beside_the_gradient(model):
    """Without a gradient only the decay is left: a kernel shrinks by rate · decay, and nothing else moves."""
    optimizer = make_optimizer(model, config(lr=0.1, wd=0.01, optimizer="adamw"))
    kernels = {id(kernel) for kernel in decayed_kernels(model)}
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optim.step(optimizer)
    for value, parameter in zip(before, model.parameters(), strict=True):
        left = 1 - 0.1 * 0.01 if id(parameter) in kernels else 1
        torch.testing.assert_close(parameter.detach(), left * value, rtol=1e-12, atol=0)


def test_the_rate_of_the_next_update_can_be_set(model):
    optimizer = make_optimizer(model, config(lr=0.1))
    set_rate(optimizer, 0.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    give_gradients(model, 0)
    optim.step(optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_average_has_weights_of_its_own_and_shares_the_buffers(model):
    average = make_ema_model(model)
    assert not average.training and not any(parameter.requires_grad for parameter in average.parameters())
    for mine, other in zip(average.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, other) and mine.data_ptr() != other.data_ptr()
    buffers = list(zip(average.buffers(), model.buffers(), strict=True))
    assert buffers and all(mine is other for mine, other in buffers)


def test_the_average_moves_by_one_minus_its_decay(model):
    average = make_ema_model(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    update_ema(average, model, 0.9)
    for mine, raw in zip(average.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, raw.detach() - 0.9, rtol=1e-12, atol=1e-12)
