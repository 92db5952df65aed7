"""CPE against loops written from its description."""

import numpy as np
import pytest
import torch
from torch import nn

from cissl import datasets
from cissl.algorithms.contract import Outputs
from cissl.algorithms.cpe.experts import Experts, ranks
from cissl.errors import UserError
from cissl.models.backbones import build
from cissl.testing import CannedStep, make_facts, make_method
from cissl.testing.conformance import short_config
from cissl.training.trainer import Trainer

ROWS = {"labeled": 3, "weak": 8, "strong": 8}


def log_softmax(row):
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def literal_losses(views, y, counts, taus, theta, cuts, places):
    """(L_x, L_u) of each expert, row after row and branch after branch."""
    found = []
    for k in range(3):
        L_x = 0.0
        for row, c in zip(views["labeled"], y, strict=True):
            with np.errstate(divide="ignore"):
                shift = taus[k] * np.log(counts / counts.sum()) if taus[k] else 0.0
            L_x -= log_softmax(row[:, k].mean(0) + shift)[c] / len(y)
        total, number = 0.0, 0
        for weak, strong in zip(views["weak"], views["strong"], strict=True):
            p = np.exp(log_softmax(weak[:, k].mean(0)))
            a = int(np.argmax(p))
            for b, cut in enumerate((0, *cuts)):
                if p[a] >= theta and places[a] >= cut:
                    total, number = total - log_softmax(strong[b, k])[a], number + 1
        found.append((L_x, total / (number + 1e-12)))
    return found


@pytest.mark.parametrize("counts", [[6, 4, 2, 1], [1, 2, 4, 6], [5, 0, 3, 3]], ids=str)
@pytest.mark.parametrize("by_frequency", [True, False])
@pytest.mark.parametrize("theta", [0.5, 1.0])
def test_equals_literal_loops(counts, by_frequency, theta):
    random, C = np.random.default_rng(0), 4
    settings = {"confidence": theta, "wu": 0.5, "cut1": 1, "cut2": 3, "by_frequency": by_frequency}
    method, facts = make_method("cpe", **settings), make_facts(classes=C, labeled_counts=counts, dtype=torch.float64)
    views = {view: 4 * random.normal(size=(rows, 3, 3, C)) for view, rows in ROWS.items()}
    y = np.array([0, 2, 3])
    leaves = {view: torch.from_numpy(values).requires_grad_() for view, values in views.items()}
    outputs = {view: Outputs(torch.zeros(0), heads={"experts": leaf}) for view, leaf in leaves.items()}
    losses = CannedStep(method, facts, outputs, torch.from_numpy(y)).run()
    losses.total.backward()
    places = sorted(range(C), key=lambda c: (-counts[c], c)).index if by_frequency else int
    expected = literal_losses(views, y, np.array(counts), (0, 2, 4), theta, (1, 3), [places(c) for c in range(C)])
    for (L_x, L_u), name in zip(expected, ("_1", "", "_3"), strict=True):
        assert losses.labeled[f"labeled{name}"].item() == pytest.approx(L_x, rel=1e-9)
        assert losses.unlabeled[f"unlabeled{name}"].item() == pytest.approx(L_u, rel=1e-9)
    total = sum(L_x + 0.5 * L_u for L_x, L_u in expected)
    assert losses.total.item() == pytest.approx(total, rel=1e-9)
    assert leaves["weak"].grad is None
    assert all(leaves[view].grad.isfinite().all() for view in ("labeled", "strong"))


def test_ranks_are_places_in_order_of_size():
    assert ranks(torch.tensor([3, 7, 3, 9])).tolist() == [2, 1, 3, 0]


def test_every_expert_sees_every_branch_of_the_last_map():
    torch.manual_seed(0)
    experts, maps = Experts(4, 5).double(), torch.randn(6, 4, 3, 3, dtype=torch.float64)
    found = experts(maps)
    assert found.shape == (6, 3, 3, 5)
    for b, norm in enumerate(experts.norms):
        assert norm.running_mean.abs().sum() > 0 and (norm.momentum, norm.eps) == (0.1, 1e-5)
        mean, var = maps.mean((0, 2, 3)), maps.var((0, 2, 3), correction=0)
        features = ((maps - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + 1e-5).sqrt()).mean((2, 3))
        for k, expert in enumerate(experts.experts):
            assert torch.allclose(found[:, b, k], expert(features))


@pytest.mark.parametrize("arch", ["wrn", "res18", "cnn13"])
def test_a_head_on_the_last_map_leaves_features_and_logits_as_they_are(arch):
    class Mean(nn.Module):
        sees_map = True

        def forward(self, maps):
            return maps.mean((2, 3))

    model = build(arch, classes=3, side=16, filters=4, repeat=1, scales=2).eval()
    images = torch.randn(2, 3, 16, 16)
    logits, features, _ = model.outputs(images)
    model.add_heads({"mean": Mean(), "other": nn.Identity()})
    with_heads = model.outputs(images)
    assert torch.equal(with_heads[0], logits) and torch.equal(with_heads[1], features)
    assert torch.allclose(with_heads[2]["mean"], features) and torch.equal(with_heads[2]["other"], features)


def test_the_second_expert_predicts():
    rows = torch.randn(2, 3, 3, 4)
    found = make_method("cpe").predict(Outputs(torch.zeros(2, 4), heads={"experts": rows}), {})
    assert torch.equal(found, rows[:, :, 1].mean(1))


def test_cuts_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="cut1 must be at most cut2, 4, not 5"):
        make_method("cpe", cut1=5)
    with pytest.raises(UserError, match="cut2 must be at most the number of classes, 3, not 4"):
        make_method("cpe").state(make_facts(classes=3))


def test_a_network_of_ones_own_is_refused(tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self, side, channels, classes):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(side * side * channels, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    from cissl import plugins

    plugins.register("ours.py:Net", tmp_path)
    config = short_config("cpe", arch="ours.py:Net")
    with pytest.raises(UserError, match="last feature map.*use wrn, res18, cnn13"):
        Trainer(config, datasets.load(config.dataset), torch.device("cpu"))


def test_no_add_on_finds_a_place_that_is_none():
    for add_on in ("cap", "cai", "darp", "abc", "crest"):
        with pytest.raises(UserError, match="CPE and .* do not combine"):
            make_method(f"cpe+{add_on}")
