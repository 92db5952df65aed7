"""AdaMatch against loops written from its description."""

import math

import numpy as np
import pytest
import torch

from cissl.algorithms.adamatch.ramp import unlabeled_weight
from cissl.algorithms.contract import Outputs
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


class TwoPasses(CannedStep):
    """The pass over the labeled rows alone has outputs of its own; it notes which pass moves the averages."""

    def __init__(self, *args, alone, **kwargs):
        super().__init__(*args, **kwargs)
        self.alone, self.passes = alone, []

    def forward(self, *views, update_averages=True):
        self.passes.append((views, update_averages))
        if update_averages:
            return super().forward(*views)
        return {view: Outputs(self.alone[view]) for view in views}


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def cross_entropy(row, target):
    return -math.log(softmax(row)[target])


def literal_step(z, y, a, fifo, *, m, confidence, relative):
    """One step of the authors' variant, row after row; z has the mixed labeled logits."""
    weak, strong = z["labeled"], z["labeled_strong"]
    B, U = len(weak), len(z["weak"])
    labeled = np.mean([0.5 * (cross_entropy(weak[i], y[i]) + cross_entropy(strong[i], y[i])) for i in range(B)])
    P = [softmax(row) for row in z["weak"]]
    a = m * a + (1 - m) * np.mean([softmax(row) for row in weak], axis=0)
    fifo = [*fifo[1:], np.mean(P, axis=0)]
    b = np.mean(fifo, axis=0)
    theta = confidence * (np.mean([softmax(row).max() for row in weak]) if relative else 1)
    loss, mask = 0.0, []
    for i in range(U):
        A = P[i] * (1e-6 + a) / (1e-6 + b)
        A = A / A.sum()
        mask.append(A.max() >= theta)
        loss += mask[-1] * cross_entropy(z["strong"][i], A.argmax()) / U
    return labeled, loss, mask, a, fifo


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_loops(seed, relative):
    random = np.random.default_rng(seed)
    B, U, C, steps = 4, 12, 5, 8
    method = make_method("adamatch", confidence=0.8, ema_p=0.7, wu=0.5, use_cr=relative)
    facts = make_facts(classes=C, batch=B, steps=steps, dtype=torch.float64)
    state, a, fifo, kept = method.state(facts), np.full(C, 1 / C), [np.full(C, 1 / C)] * 128, 0
    for number in range(steps):
        sizes = {"labeled": B, "labeled_strong": B, "weak": U, "strong": U}
        joint = {view: 2 * random.normal(size=(rows, C)) for view, rows in sizes.items()}
        alone = {view: 2 * random.normal(size=(B, C)) for view in ("labeled", "labeled_strong")}
        places, y = random.uniform(size=(B, 2, C)), random.integers(0, C, B)
        leaves = {view: torch.tensor(value, requires_grad=True) for view, value in joint.items()}
        apart = {view: torch.tensor(value, requires_grad=True) for view, value in alone.items()}
        step = TwoPasses(
            method,
            facts,
            leaves,
            torch.from_numpy(y),
            state=state,
            number=number,
            draws={"mix": [torch.from_numpy(places)]},
            alone=apart,
        )
        losses = step.run()
        losses.total.backward()
        z = dict(joint)
        for i, view in enumerate(alone):
            z[view] = joint[view] + (alone[view] - joint[view]) * places[:, i]
        labeled, loss, mask, a, fifo = literal_step(z, y, a, fifo, m=0.7, confidence=0.8, relative=relative)
        state = step.after
        assert losses.labeled["labeled"].item() == pytest.approx(labeled, rel=1e-12)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(loss, rel=1e-12)
        assert losses.pseudo.weights.tolist() == mask
        assert state["p_labeled"].tolist() == pytest.approx(a)
        assert state["p_unlabeled"].numpy() == pytest.approx(np.array(fifo))
        assert step.passes == [(("labeled", "labeled_strong"), False), (tuple(method.base.views), True)]
        gradients = [leaves["labeled"].grad, apart["labeled"].grad, apart["labeled_strong"].grad]
        assert all(gradient.any() for gradient in gradients)  # through both passes
        assert leaves["weak"].grad is None
        kept += sum(mask)
    assert 0 < kept < steps * U


def test_the_unlabeled_weight_rises_to_1_and_then_goes_to_its_last_value():
    assert [unlabeled_weight(p, 3.0) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([0, 0.5, 1, 2, 3])
    assert (
        unlabeled_weight(0.1, 3.0) == unlabeled_weight(0.1, 0.0) == pytest.approx(0.5 - 0.5 * math.cos(0.2 * math.pi))
    )
    assert unlabeled_weight(1.01, 3.0) == 0


def usb_step(**settings):
    method, facts = make_method("adamatch", variant="usb", **settings), make_facts(classes=3, dtype=torch.float64)
    torch.manual_seed(0)
    outputs = {view: torch.randn(6, 3, dtype=torch.float64) for view in ("labeled", "weak", "strong")}
    return CannedStep(method, facts, outputs, torch.tensor([0, 1, 2, 0, 1, 2]), number=5), outputs


def test_usb_starts_from_the_first_batch_and_has_no_ramp_and_no_second_pass():
    step, outputs = usb_step(wu=0.7)
    losses = step.run()
    assert "labeled_strong" not in step.method.views
    assert torch.equal(step.next["p_unlabeled"], outputs["weak"].softmax(1).mean(0))
    assert losses.weights == {"unlabeled": 0.7}
    assert losses.labeled_sum == torch.nn.functional.cross_entropy(outputs["labeled"], step.targets)


def test_soft_pseudo_labels_are_the_aligned_probabilities():
    step, outputs = usb_step(hard_label=False, confidence=0.0)
    losses = step.run()
    rows = -(losses.pseudo.probabilities * outputs["strong"].log_softmax(1)).sum(1)
    assert losses.unlabeled["unlabeled"].item() == pytest.approx(rows.mean().item())
    assert losses.pseudo.probabilities.sum(1).tolist() == pytest.approx([1] * 6)


def test_a_confidence_at_its_threshold_is_kept():
    method, facts = make_method("adamatch", variant="usb", confidence=1.0), make_facts(classes=4)
    outputs = dict.fromkeys(("labeled", "weak", "strong"), torch.zeros(2, 4))  # every confidence is a quarter
    losses = CannedStep(method, facts, outputs, torch.tensor([0, 1])).run()
    assert losses.pseudo.weights.all() and not losses.pseudo.classes.any()


def test_an_add_on_weighs_the_rows_of_both_labeled_views():
    method, facts = make_method("adamatch"), make_facts(classes=3, dtype=torch.float64)
    out = {view: Outputs(torch.randn(4, 3, dtype=torch.float64)) for view in ("labeled", "labeled_strong")}
    targets, weights = torch.tensor([0, 1, 2, 0]), torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    step = CannedStep(method, facts, {}, targets)
    rows = sum(torch.nn.functional.cross_entropy(o.logits, targets, reduction="none") for o in out.values()) / 2
    assert method.base.supervised(step, out).item() == pytest.approx(rows.mean().item())
    assert method.base.supervised(step, out, weights).item() == pytest.approx((weights * rows).mean().item())


def test_outputs_with_other_logits_keep_their_features_and_heads():
    out = Outputs(torch.zeros(2, 3), lambda: torch.ones(2, 5), {"abc": lambda: torch.ones(2, 3)})
    other = out.with_logits(torch.full((2, 3), 7.0))
    assert other.logits.mean() == 7 and out.logits.mean() == 0
    assert other.features is out.features and other.head("abc") is out.head("abc")


@pytest.mark.parametrize("other", ["cai", "darp"])
def test_its_own_alignment_and_threshold_leave_no_place_for_others(other):
    with pytest.raises(UserError, match="AdaMatch and .* do not combine"):
        make_method(f"adamatch+{other}")
    assert make_method("adamatch+cap+dr").recipe.name == "adamatch+cap+dr"
