"""Networks of torchvision and timm, and files of pretrained weights."""

import copy
import hashlib

import pytest
import torch
from torch import nn

from cissl import datasets, pretrained
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.models import names
from cissl.models.backbones import build, decayed_kernels
from cissl.models.layers import synchronise
from cissl.models.library import load_weights
from cissl.training import records
from cissl.training.optim import learning_rate
from cissl.training.trainer import Trainer
from tests.training import short_trial

RESNET = "torchvision.resnet18"
VIT = "timm.vit_tiny_patch16_224"


def small(arch=RESNET, side=32, **options):
    return build(arch, **{"classes": 4, "side": side, "seed": 3, **options})


def test_weights_depend_on_the_seed_alone():
    state = torch.random.get_rng_state()
    first, second, other = (small("torchvision.mobilenet_v3_small", seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["network.features.0.0.weight"], other["network.features.0.0.weight"])


def test_images_are_shown_as_the_network_expects_them():
    """The same as torchvision's own way, by ImageNet's mean and deviation; gray is three equal colours."""
    from torchvision.models import get_model
    from torchvision.transforms.functional import normalize

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        own = get_model("resnet18", num_classes=4).eval()
    gray = torch.rand(2, 1, 32, 32)
    shown = normalize(gray.repeat(1, 3, 1, 1), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(small(channels=1).eval()(2 * gray - 1), own(shown), rtol=1e-4, atol=1e-5)


def test_batchnorm_averages_as_told_and_all_kernels_decay():
    model = small(bn_decay=0.9)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 20 and {round(norm.momentum, 9) for norm in norms} == {0.1}
    vit = small("torchvision.vit_b_32", side=32)
    decayed = {id(kernel) for kernel in decayed_kernels(vit)}
    left = [name for name, value in vit.named_parameters() if value.ndim > 1 and id(value) not in decayed]
    assert left == ["network.class_token", "network.encoder.pos_embedding"]


def test_timms_batchnorm_with_activation_is_synchronised():
    timm = pytest.importorskip("timm")
    layer = timm.layers.BatchNormAct2d(3, act_layer=nn.SiLU)
    joint = copy.deepcopy(layer)
    synchronise(joint)
    joint.ranks = type("Alone", (), {"gather": lambda self, x: x[None]})()
    x = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(joint(x), layer(x))
    torch.testing.assert_close(joint.running_var, layer.running_var)
    torch.testing.assert_close(joint.eval()(x), layer.eval()(x))


@pytest.mark.parametrize(
    "arch, side, message",
    [
        ("torchvision.resnte18", 32, "torchvision has no network 'resnte18'; did you mean 'resnet18'"),
        ("torchvision.squeezenet1_0", 32, "has no nn.Linear with 4 outputs"),
        ("torchvision.alexnet", 16, "cannot be made for images of 16 pixels"),
    ],
)
def test_mistakes_are_told(arch, side, message):
    with pytest.raises(UserError, match=message) as error:
        small(arch, side)
    assert error.value.key == "arch"


def test_a_missing_library_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs timm, which is not installed: pip install .*\[timm\]"):
        small(VIT)


@pytest.mark.parametrize("form", ["plain", "wrapped"])
def test_pretrained_weights_are_taken_but_for_the_last_layer(form, tmp_path):
    path = tmp_path / "weights.pth"
    from torchvision.models import get_model

    source = get_model("resnet18", num_classes=7)
    torch.save(source.state_dict() if form == "plain" else {"state_dict": source.state_dict()}, path)
    model = small()
    fresh = model.dense.weight.clone()
    load_weights(model, path)
    assert torch.equal(model.network.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert torch.equal(model.dense.weight, fresh)
    with pytest.raises(UserError, match="are not of this network: .* is not in the file"):
        load_weights(small("torchvision.resnet34"), path)
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(model, path)


def test_position_embeddings_of_another_image_size_are_resampled_as_timm_does(tmp_path):
    timm = pytest.importorskip("timm")
    source = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=64, depth=1)
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    model = small("torchvision.resnet18")  # any of ours: its state dict alone is looked at
    model.network = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=96, depth=1)
    model.last_layer = "head"
    load_weights(model, tmp_path / "vit.pth")
    wanted = timm.layers.resample_abs_pos_embed(source.pos_embed, new_size=[6, 6], num_prefix_tokens=1)
    torch.testing.assert_close(model.network.pos_embed, wanted)


def config(**changes):
    return TrialConfig(**short_trial.settings(**{"arch": RESNET, **changes}))


def test_a_file_of_weights_is_known_by_its_content(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save(small(classes=10, side=8, channels=1, seed=9).state_dict(), path)
    named = config(weights=str(path))
    assert named.weights == f"weights.pth@{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert named.hash != config().hash and config().hash == config(weights=None).hash
    assert TrialConfig.from_mapping(named.to_dict()) == named
    records.write_config(tmp_path, named, None)
    assert records.read_config(tmp_path).weights == named.weights
    data = datasets.load(named.dataset)
    trainer = Trainer(named, data, torch.device("cpu"))
    assert torch.equal(trainer.learner.model.network.conv1.weight, torch.load(path)["network.conv1.weight"])
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match="its content is another"):
        Trainer(named, data, torch.device("cpu"))
    monkeypatch.setattr(pretrained, "_places", {})
    with pytest.raises(UserError, match="was not told where"):
        Trainer(named, data, torch.device("cpu"))
    with pytest.raises(UserError, match="No such file"):
        config(weights="none.pth")


def test_a_trial_with_adamw_and_dropout_resumes_bit_for_bit():
    """MobileNet has BatchNorm and dropout, which draws from torch's global generator."""
    settings = config(
        optimizer="adamw",
        lr=1e-3,
        lr_schedule="cosine",
        lr_warmup_kimg=3 * 8 / 1024,
        arch="torchvision.mobilenet_v3_small",
    )
    data = datasets.load(settings.dataset)
    whole, first, second = (Trainer(settings, data, torch.device("cpu")) for _ in range(3))
    for _ in range(4):
        whole.train_step()
    for _ in range(2):
        first.train_step()
    torch.manual_seed(7)  # another process
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(2):
        second.train_step()
    mine, theirs = whole.learner.model.state_dict(), second.learner.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert isinstance(whole.learner.optimizer, torch.optim.AdamW)


def test_learning_rates():
    steps = short_trial.SETTINGS["train_kimg"] * 1024 / 8
    rates = {
        name: [learning_rate(config(lr_schedule=name, lr_warmup_kimg=2 * 8 / 1024), step) for step in (0, 1, steps / 2)]
        for name in ("fixmatch", "cosine", "constant")
    }
    lr = config().lr
    assert rates["constant"] == pytest.approx([lr / 2, lr, lr])
    assert rates["cosine"][2] == pytest.approx(lr / 2)
    assert learning_rate(config(lr_schedule="cosine"), steps) == pytest.approx(0)
    assert learning_rate(config(), steps) == pytest.approx(lr * 0.19509, rel=1e-4)
    with pytest.raises(UserError, match="longer than train_kimg"):
        config(lr_warmup_kimg=100)
