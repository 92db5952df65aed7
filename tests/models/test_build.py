"""What `build` promises: seeds, sizes, refusals, and models fit for copying, checkpoints and compilation."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cissl.errors import UserError
from cissl.models.backbones import build, decayed_kernels, parameter_count
from cissl.models.names import ARCHS, default_scales


def small(arch="wrn", side=16, **options):
    return build(arch, **{"classes": 5, "side": side, "filters": 4, "repeat": 1, **options})


def images(side=16, channels=3, n=4, seed=0):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("side, scales", [(8, 1), (16, 2), (28, 3), (32, 3), (64, 4), (84, 5), (96, 5)])
def test_default_scales(side, scales):
    assert default_scales(side) == scales


@settings(max_examples=30, deadline=None)
@given(
    arch=st.sampled_from(ARCHS),
    side=st.integers(12, 33),
    channels=st.sampled_from([1, 3]),
    classes=st.integers(2, 12),
    training=st.booleans(),
)
def test_shapes(arch, side, channels, classes, training):
    model = small(arch, side, channels=channels, classes=classes).train(training)
    x = images(side, channels)
    width = {"wrn": 4 << (default_scales(side) - 1), "res18": 32, "cnn13": 4}[arch]
    assert model.embed(x).shape == (4, width)
    assert model(x).shape == (4, classes)
    assert model(x).isfinite().all()


@pytest.mark.parametrize("scales", [None, 1, 2, 3, 4])
def test_eight_pixels(scales):
    assert small(side=8, scales=scales)(images(8)).shape == (4, 5)
    assert small("res18", 8)(images(8)).shape == (4, 5)


@pytest.mark.parametrize("arch", ARCHS)
def test_channels_last_changes_nothing(arch):
    model = small(arch).double().eval()
    x = images().double()
    expected = model(x)
    actual = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("arch", ARCHS)
def test_kernels_depend_on_the_seed_alone(arch):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = small(arch, seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second, other = small(arch, seed=7).state_dict(), small(arch, seed=8).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    changed = {name for name in first if not torch.equal(first[name], other[name])}
    assert changed == {name for name in first if name.endswith("weight") and "norm" not in name}


@pytest.mark.parametrize("arch", ARCHS)
def test_decayed_kernels_are_those_of_convolutions_and_the_dense_layer(arch):
    model = small(arch)
    kernels = {id(kernel) for kernel in decayed_kernels(model)}
    assert kernels == {id(p) for p in model.parameters() if p.ndim > 1}
    assert parameter_count(model) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("arch", ARCHS)
def test_copies_and_checkpoints(arch, tmp_path):
    model, x = small(arch), images()
    duplicate = copy.deepcopy(model)
    before = duplicate.eval()(x)
    model(x)  # moves the statistics of the original alone
    torch.testing.assert_close(duplicate(x), before)
    assert not torch.equal(model.eval()(x), before)

    assert all(value.is_floating_point() for value in model.state_dict().values())
    torch.save(dict(model.state_dict()), tmp_path / "model.pt")
    restored = small(arch, seed=9)
    restored.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(restored.eval()(x), model(x))


@pytest.mark.parametrize("arch", ARCHS)
def test_traces_as_one_graph(arch):
    """No Python decision depends on data: the whole network, training mode included, is one graph."""
    torch._dynamo.reset()
    model, x = small(arch).double(), images().double()
    expected = copy.deepcopy(model)(x)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "options, key, words",
    [
        ({"arch": "wrm"}, "arch", "did you mean 'wrn'"),
        ({"filters": 0}, "filters", "filters is 0"),
        ({"filters": 10**300}, "filters", "more weights than a machine holds"),
        ({"arch": "res18", "filters": 10**5}, "filters", "more weights than a machine holds"),
        ({"repeat": 10**9}, "repeat", "more weights than a machine holds"),
        ({"repeat": -1}, "repeat", "repeat is -1"),
        ({"scales": 0}, "scales", "allow 1 to 5"),
        ({"scales": 6}, "scales", "scales is 6"),
        ({"side": 4}, "scales", "scales is 0"),
        ({"arch": "cnn13", "side": 11}, "arch", "at least 12 pixels"),
        ({"arch": "res18", "side": 2}, "arch", "at least 3 pixels"),
    ],
)
def test_impossible_settings(options, key, words):
    with pytest.raises(UserError, match=words) as caught:
        small(**options)
    assert caught.value.key == key
