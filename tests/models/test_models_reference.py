"""The networks against the authors' program (TensorFlow 1.15, CPU, float32): tests/reference/network.*"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cissl.models.backbones import build, parameter_count
from tests.reference_names import as_reference, load_variables, read_variables, variables

REFERENCE = Path(__file__).parents[1] / "reference"
INDEX = json.loads((REFERENCE / "network.json").read_text())
ARRAYS = np.load(REFERENCE / "network.npz")
ARCH = {"resnet": "wrn", "res18": "res18", "cnn13": "cnn13"}
GRADIENT_RTOL = {"wrn28_2": 1e-2}  # so deep that the reference's own rounding crosses leaky-ReLU kinks; 1e-4 elsewhere


def recipe(name, shape, random):
    """A variable's values in the vectors, drawn in creation order from one legacy NumPy generator."""
    if name.endswith("moving_variance"):
        return random.uniform(0.5, 2.0, shape)
    normal = random.standard_normal(shape)
    if name.endswith("kernel"):
        fan = np.prod(shape[:2]) * shape[3] if len(shape) == 4 else sum(shape)
        return normal * np.sqrt(2 / fan)
    offset, scale = {"bias": (0, 0.05), "gamma": (1, 0.1), "beta": (0, 0.1), "moving_mean": (0, 0.2)}[
        name.rsplit("/", 1)[1]
    ]
    return offset + scale * normal


def load_model(case, dtype):
    index = INDEX["models"][case]
    random = np.random.RandomState(index["recipe_seed"])
    weights = {}
    for name, shape, total, abs_total in index["variables"]:
        weights[name] = recipe(name, shape, random).astype(np.float32)
        assert weights[name].sum(dtype=np.float64) == pytest.approx(total, abs=1e-5)
        assert np.abs(weights[name]).sum(dtype=np.float64) == pytest.approx(abs_total)
    sizes = {key: index[key] for key in ("filters", "repeat", "scales")}
    model = build(ARCH[index["arch"]], classes=index["nclass"], side=32, **sizes).to(dtype)
    assert [name for name, _ in variables(model)] == list(weights)
    load_variables(model, weights)
    return model


def load_images(dtype):
    return torch.from_numpy(ARRAYS["images"]).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1


def check_outputs(model, images, case, mode):
    embeds = model.embed(images)
    logits = model.dense(embeds)
    for kind, values in (("embeds", embeds), ("logits", logits)):
        expected = ARRAYS[f"{case}/{mode}_{kind}"]
        atol = 2e-5 * np.abs(expected).max()
        np.testing.assert_allclose(values.detach().numpy(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", INDEX["models"])
def test_forward_passes(case, dtype):
    model, images = load_model(case, dtype), load_images(dtype)
    check_outputs(model.eval(), images, case, "eval")
    check_outputs(model.train(), images, case, "train")
    moving = [value.ravel() for name, value in read_variables(model).items() if "moving_" in name]
    np.testing.assert_allclose(np.concatenate(moving), ARRAYS[f"{case}/moving_after"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("case", INDEX["models"])
def test_loss_and_gradients(case):
    """In float64: the gradient jumps where a leaky ReLU's input changes sign or two pixels of a max-pool change places,
    and in float32 either is at the mercy of one rounding."""
    model = load_model(case, torch.float64)
    logits = model(load_images(torch.float64))
    loss = F.cross_entropy(logits, torch.from_numpy(ARRAYS[f"{case}/labels"]))
    assert loss.item() == pytest.approx(ARRAYS[f"{case}/train_loss"].item(), rel=2e-5)
    loss.backward()
    trainable = {name: tensor.grad for name, tensor in variables(model) if "moving_" not in name}
    gradients = [as_reference(gradient).ravel().astype(np.float64) for gradient in trainable.values()]
    norms = ARRAYS[f"{case}/grad_l2"]
    large = norms > 1e-4 * norms.max()  # the others, biases before a BatchNorm, are 0 up to rounding
    assert large.sum() >= len(norms) // 2
    rtol = GRADIENT_RTOL.get(case, 1e-4)
    abs_sums = ARRAYS[f"{case}/grad_abs_sum"]
    for i in np.flatnonzero(large):
        gradient = gradients[i]
        assert np.linalg.norm(gradient) == pytest.approx(norms[i], rel=rtol), list(trainable)[i]
        assert np.abs(gradient).sum() == pytest.approx(abs_sums[i], rel=rtol), list(trainable)[i]
        # A plain sum cancels: its error is bounded by the gradient's size, not its own.
        assert gradient.sum() == pytest.approx(ARRAYS[f"{case}/grad_sum"][i], abs=rtol * abs_sums[i])


@pytest.mark.parametrize("case", INDEX["param_counts"])
def test_parameter_counts(case):
    index = INDEX["param_counts"][case]
    sizes = {key: index[key] for key in ("filters", "repeat", "scales")}
    model = build(ARCH[index["arch"]], classes=index["nclass"], side=index["input"], **sizes)
    assert parameter_count(model) == index["trainable_params"]


def test_wrn28_2_initialisers_match_an_actual_draw():
    drawn = read_variables(build("wrn", classes=10, side=32))
    for observed in INDEX["init_observed_wrn28_2"]:
        values = drawn[observed["name"]]
        assert list(values.shape) == observed["shape"]
        error = observed["std"] * np.sqrt(2 / values.size)  # of the difference of two draws' means
        assert abs(values.mean() - observed["mean"]) < 5 * error
        assert abs(values.std() - observed["std"]) < 5 * error / np.sqrt(2)
    dense = drawn["classify/dense/kernel"]
    cut = 2 * np.sqrt(2 / (128 + 10)) / 0.8796  # two deviations; 1280 draws come close to it
    assert 0.97 * cut < np.abs(dense).max() < cut
    for name, values in drawn.items():
        if name.endswith(("bias", "beta", "moving_mean")):
            assert not values.any()
        if name.endswith(("gamma", "moving_variance")):
            assert (values == 1).all()


def test_cnn13_kernels_are_glorot_uniform():
    drawn = read_variables(build("cnn13", classes=10, side=32))
    for name, values in drawn.items():
        if name.endswith("kernel"):
            receptive = np.prod(values.shape[:-2])
            limit = np.sqrt(6 / (receptive * sum(values.shape[-2:])))
            assert 0.95 * limit < np.abs(values).max() <= limit * (1 + 1e-6)
            assert values.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)
        if name.endswith("/bias"):
            assert not values.any()


def test_load_and_read_variables_are_inverse():
    model = build("wrn", classes=3, side=8, filters=4, repeat=1, scales=2, seed=1)
    arrays = read_variables(model)
    other = build("wrn", classes=3, side=8, filters=4, repeat=1, scales=2, seed=2)
    load_variables(other, {name: value for name, value in arrays.items() if "moving_" not in name})
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.eval()(images), other.eval()(images))
    with pytest.raises(KeyError, match="dense/bias"):
        load_variables(other, {name: arrays[name] for name in arrays if name != "classify/dense/bias"})
    with pytest.raises(KeyError, match="unknown.*conv2d_99"):
        load_variables(other, {**arrays, "classify/conv2d_99/bias": arrays["classify/conv2d/bias"]})
