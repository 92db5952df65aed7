"""DASO against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl import plugins
from cissl.algorithms.cards import find
from cissl.algorithms.contract import Outputs
from cissl.errors import UserError
from cissl.testing import CannedStep, check_method, make_facts, make_method
from tests.algorithms.vectors.adapters import with_two_strong_views
from tests.algorithms.vectors.adapters.daso import banks

D = 3


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def cosines(f, M):
    return np.array([f @ m / max(np.linalg.norm(f), 1e-8) / max(np.linalg.norm(m), 1e-8) for m in M])


class Literal:
    """The description's state, and its step row after row."""

    def __init__(self, C, *, Q, proto, dist, alpha, pretrain, period, threshold, adjust):
        self.Q, self.proto, self.dist, self.alpha, self.adjust = Q, proto, dist, alpha, adjust
        self.pretrain, self.period, self.threshold = pretrain, period, threshold
        self.bank, self.M = [[] for _ in range(C)], np.zeros((C, D))
        self.counts, self.list, self.pretraining = np.zeros(C), [], True

    def step(self, t, x, y, ema, weak, strong, W, n):
        for c in sorted(set(y)):
            self.bank[c] = (self.bank[c] + [row for row, label in zip(ema, y, strict=True) if label == c])[-self.Q :]
            self.M[c] = np.mean(self.bank[c], 0)
        with np.errstate(divide="ignore"):
            shift = self.adjust * np.log(n / n.sum()) if self.adjust else 0
        found = {"labeled": np.mean([-np.log(softmax(W @ f + shift)[c]) for f, c in zip(x, y, strict=True)])}
        labels, blends, found["daso"] = [], [], 0.0
        for f, s in zip(weak, strong, strict=True):
            P = softmax(W @ f)
            if not self.pretraining:
                S = softmax(cosines(f, self.M) / self.proto)
                found["daso"] -= (S * np.log(softmax(cosines(s, self.M) / self.proto))).sum() / len(weak)
                if self.alpha is None:
                    v = (self.counts / self.counts.sum()) ** (1 / self.dist)
                    a = (v / v.max())[P.argmax()]
                else:
                    a = self.alpha
                P = (1 - a) * P + a * S
            labels.append(int(P.argmax()))
            blends.append(P)
        found["unlabeled"] = sum(
            -np.log(softmax(W @ s)[k]) for s, k, P in zip(strong, labels, blends, strict=True) if P[k] >= self.threshold
        ) / len(weak)
        self.list += labels
        self.pretraining &= t + 1 < self.pretrain
        if (t + 1) % self.period == 0:
            self.counts, self.list = np.bincount(self.list, minlength=len(n)).astype(float), []
        return found, np.array(blends)


@pytest.mark.parametrize("C, Q, B", [(2, 1, 5), (4, 3, 12), (100, 2, 8)])
@pytest.mark.parametrize("alpha, adjust, dist", [(None, 0.0, 1.5), (0.3, 1.0, 1.0), (None, 2.0, 0.3)])
@pytest.mark.parametrize("first", [0, 100])
def test_equals_literal_loops(C, Q, B, alpha, adjust, dist, first):
    """Classes without an image, batches with more rows of a class than are remembered, a start in the middle."""
    random = np.random.default_rng(C)
    n = np.maximum(np.arange(C, 0, -1) - 1, 0)
    pretrain, period = 4, 2
    settings = {"queue_size": Q, "interp_alpha": alpha, "dist_temp": dist, "logit_adjust": adjust}
    settings |= {"pretrain_steps": pretrain, "pl_dist_update_period": period}
    dotted = {f"daso.{key}": value for key, value in settings.items()}
    method = make_method("fixmatch+daso", confidence=0.5, **dotted)
    facts = make_facts(classes=C, labeled_counts=n, width=D, steps=1000, dtype=torch.float64)
    oracle = Literal(
        C, Q=Q, proto=0.05, dist=dist, alpha=alpha, pretrain=pretrain, period=period, threshold=0.5, adjust=adjust
    )
    if first:  # counts stand where the authors' program would have them
        oracle.counts = np.arange(C) + 0.0
    state = method.state(facts) | {"daso.counts": torch.from_numpy(oracle.counts).long()}
    W, blended, kept = 2 * random.normal(size=(C, D)), 0, 0
    for t in range(first, first + 8):
        x, ema = random.normal(size=(2, B, D))
        weak, strong = 2 * random.normal(size=(2, 7, D))
        y = random.integers(0, C - 1, B)
        leaves = [torch.from_numpy(f).requires_grad_() for f in (x, weak, strong)]
        outputs = {
            view: Outputs(f @ torch.from_numpy(W).T, f)
            for view, f in zip(("labeled", "weak", "strong"), leaves, strict=True)
        }
        networks = [Outputs(torch.zeros(0), torch.from_numpy(ema))]
        step = CannedStep(method, facts, outputs, torch.from_numpy(y), state=state, number=t, networks=networks)
        losses = step.run()
        assert bool(state["daso.pretraining"]) == oracle.pretraining
        found, blends = oracle.step(t, x, y, ema, weak, strong, W, n)
        state = step.after
        for name, value in found.items():
            assert (losses.labeled | losses.unlabeled)[name].item() == pytest.approx(value, rel=1e-9, abs=1e-12), name
        np.testing.assert_allclose(losses.pseudo.probabilities, blends, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(state["daso.prototypes"], oracle.M, rtol=1e-12, atol=1e-14)
        for rows, expected in zip(banks(state), oracle.bank, strict=True):
            assert rows.tolist() == [row.tolist() for row in expected]
        assert state["daso.counts"].tolist() == oracle.counts.tolist()
        losses.total.backward()
        assert leaves[1].grad is None and leaves[0].grad.isfinite().all() and leaves[2].grad.isfinite().all()
        blended += found["daso"] > 0
        kept += losses.pseudo.weights.sum().item()
    assert blended == (4 if first == 0 else 7) and 0 < kept


def step_of(method, facts, state=None, number=0, labels=(0, 1)):
    rows = torch.eye(3, dtype=torch.float64)
    views = ("labeled", "weak", *method.base.strong_views)
    labels = torch.tensor(labels)
    outputs = dict.fromkeys(views, Outputs(4 * rows, rows)) | {"labeled": Outputs(4 * rows[labels], rows[labels])}
    networks = [Outputs(torch.zeros(0), rows[labels])]
    return CannedStep(method, facts, outputs, labels, state=state, number=number, networks=networks)


def test_pretraining_lasts_until_labels_have_been_counted():
    facts = make_facts(classes=3, labeled_counts=[2, 1, 1], width=3, steps=100, dtype=torch.float64)
    for alpha, pretraining in ((None, [True, True, False]), (0.5, [False, False, False])):
        settings = {"daso.pretrain_steps": 1, "daso.pl_dist_update_period": 3, "daso.interp_alpha": alpha}
        method = make_method("fixmatch+daso", **settings)
        state = None
        for number, expected in enumerate(pretraining):
            step = step_of(method, facts, state, number)
            assert step.run().total.isfinite()
            state = step.after
            assert state["daso.pretraining"].item() is expected


def test_a_class_never_seen_resembles_nothing_and_a_class_never_predicted_keeps_its_prediction():
    facts = make_facts(classes=3, labeled_counts=[2, 1, 1], width=3, steps=100, dtype=torch.float64)
    method = make_method("fixmatch+daso")
    state = method.state(facts) | {
        "daso.counts": torch.tensor([8, 2, 0]),
        "daso.pretraining": torch.tensor(False),
    }
    step = step_of(method, facts, state)
    pseudo = step.run().pseudo
    S = step.shared["daso.targets"][2]
    assert S.tolist() == pytest.approx([1 / 3] * 3)  # cosines with both others are 0 too
    P = step_of(method, facts).run().pseudo.probabilities  # in pretraining
    shares = torch.tensor([1, 0.25 ** (1 / 1.5), 0], dtype=torch.float64)[:, None]
    assert torch.allclose(pseudo.probabilities, (1 - shares) * P + shares * step.shared["daso.targets"])
    assert torch.equal(pseudo.probabilities[2], P[2])


def test_several_strong_views_have_their_mean():
    facts = make_facts(classes=3, labeled_counts=[2, 1, 1], width=3, steps=100, dtype=torch.float64)
    one, two = (make_method("fixmatch+daso", **{"daso.interp_alpha": 0.5}) for _ in range(2))
    with_two_strong_views(two)
    losses = []
    for method in (one, two):
        state = method.state(facts) | {"daso.pretraining": torch.tensor(False)}
        losses.append(step_of(method, facts, state).run().unlabeled["daso"].item())
    assert losses[0] == pytest.approx(losses[1]) and losses[0] > 0


@pytest.mark.parametrize("name", ["cadr+daso", "fixmatch+saw+adsh+daso+abc", "fixmatch+daso+crest"])
def test_sums_train(name):
    assert [finding.problem for finding in check_method(name, only=("training",))] == [""]


@pytest.mark.parametrize("name", ["remixmatch+daso", "softmatch+daso", "fixmatch+darp+daso", "fixmatch+daso+crest+"])
def test_sums_that_mean_nothing_are_refused(name):
    with pytest.raises(UserError, match="do not combine"):
        find(name)


def test_logit_adjustment_is_refused_where_the_base_has_no_place_for_it(tmp_path):
    (tmp_path / "ours.py").write_text(
        "from cissl.algorithms.fixmatch.method import FixMatch\n\n\nclass Plain(FixMatch):\n"
        "    slots = ('guess', 'unlabeled')\n"
    )
    plugins.register("ours.py:Plain", tmp_path)
    make_method("ours.py:Plain+daso").state(make_facts(classes=3))
    with pytest.raises(UserError, match=r"daso\.logit_adjust changes the labeled loss, and Plain lets no add-on"):
        make_method("ours.py:Plain+daso", **{"daso.logit_adjust": 1.0}).state(make_facts(classes=3))
