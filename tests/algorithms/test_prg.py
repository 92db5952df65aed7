"""PRG against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(rows):
    powers = np.exp(rows - rows.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class Literal:
    """PRG as its authors run it: a dictionary of classes, and one batch's rows after the other."""

    def __init__(self, C, nb, alpha, temperature, last, hard, cutoff):
        self.bank, self.M, self.D, self.k = {}, np.zeros((C, C, nb)), np.zeros((nb, C)), 0
        self.C, self.nb, self.alpha, self.T = C, nb, alpha, temperature
        self.last, self.hard, self.cutoff = last, hard, cutoff

    def track(self, P, index):
        for row, i in zip(P, index, strict=True):
            a = int(np.argmax(row))
            if i in self.bank and self.bank[i] != a:
                self.M[self.bank[i], a, self.k] += 1
            self.bank[i] = a
        self.D[self.k] = P.mean(0)
        self.k = (self.k + 1) % self.nb
        self.M[:, :, self.k] = 0

    def guidance(self):
        mean = self.M.mean(2)
        H = mean / (mean.sum(1, keepdims=True) + 1e-16) + self.alpha / (self.C - 1) * np.eye(self.C)
        with np.errstate(divide="ignore", invalid="ignore"):
            return H / self.D.mean(0)

    def step(self, w, s, index):
        """The guided probabilities, the mask and the unlabeled loss."""
        P, Q = softmax(w), softmax(w / self.T)
        if not self.last:
            self.track(P, index)
        H, R = self.guidance(), Q.copy()
        for u, i in enumerate(index):
            row = self.bank.get(i) if self.last else int(np.argmax(Q[u]))
            if row is not None:
                R[u] = Q[u] * H[row] / (Q[u] * H[row]).sum()
        if self.last:
            self.track(P, index)
        mask, loss = R.max(1) >= self.cutoff, 0.0
        for u in range(len(w)):
            target = np.eye(self.C)[np.argmax(R[u])] if self.hard else R[u]
            loss += mask[u] * -(target * np.log(softmax(s[u]))).sum() / len(w)
        return R, mask, loss


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"nb": 1}, {"nb": 2, "alpha": 0.3}, {"temperature": 0.5}, {"hard_label": False}], ids=str
)
@pytest.mark.parametrize("size", [1, 4, 30])
def test_equals_literal_loops(size, settings, last):
    """With few images some stand in a batch several times, and change their class within it."""
    settings = {"nb": 3, "temperature": 1.0, "hard_label": True, "alpha": 3.0 if last else 1.0, **settings}
    random, C, B, U = np.random.default_rng(size), 4, 3, 12
    given = {f"prg.{name}": value for name, value in settings.items() if name != "alpha" or value == 0.3}
    method = make_method("fixmatch+prg", confidence=0.7, **{"prg.last": last}, **given)
    facts = make_facts(classes=C, unlabeled=size, dtype=torch.float64)
    values = [settings[name] for name in ("nb", "alpha", "temperature")]
    state, literal = method.state(facts), Literal(C, *values, last, settings["hard_label"], 0.7)
    changes = 0
    for _ in range(6):
        x, w, s = (2 * random.normal(size=(rows, C)) for rows in (B, U, U))
        index, targets = random.integers(0, size, U), random.integers(0, C, B)
        outputs = {
            view: torch.from_numpy(v).requires_grad_() for view, v in (("labeled", x), ("weak", w), ("strong", s))
        }
        positions = {"unlabeled": torch.from_numpy(index)}
        step = CannedStep(method, facts, outputs, torch.from_numpy(targets), state=state, index=positions)
        losses = step.run()
        losses.total.backward()
        R, mask, loss = literal.step(w, s, index)
        state = step.after
        np.testing.assert_allclose(losses.pseudo.probabilities, R, atol=1e-12)
        assert losses.pseudo.weights.tolist() == mask.tolist()
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(loss, rel=1e-9)
        assert outputs["weak"].grad is None
        assert state["prg.bank"].tolist() == [literal.bank.get(i, -1) for i in range(size)]
        assert state["prg.slot"].item() == literal.k
        np.testing.assert_array_equal(state["prg.transitions"].movedim(0, -1), literal.M)
        np.testing.assert_allclose(state["prg.shares"], literal.D, atol=1e-12)
        changes += literal.M.sum()
    assert changes > 0 or settings["nb"] == 1


def first_step(algorithm, **settings):
    method = make_method(algorithm, **settings)
    facts = make_facts(classes=3, unlabeled=5, dtype=torch.float64)
    torch.manual_seed(0)
    logits = {"labeled": torch.randn(2, 3), "weak": torch.randn(5, 3), "strong": torch.randn(5, 3)}
    outputs = {view: rows.double() for view, rows in logits.items()}
    index = {"unlabeled": torch.arange(5)}
    step = CannedStep(method, facts, outputs, torch.tensor([0, 1]), index=index)
    return step.run(), outputs


def test_at_first_every_row_of_prg_is_certain_and_none_of_prg_last_is_guided():
    losses, outputs = first_step("fixmatch+prg")
    assert losses.pseudo.weights.all() and losses.pseudo.probabilities.amax(1).min() == 1
    losses, outputs = first_step("fixmatch+prg", **{"prg.last": True})
    assert torch.equal(losses.pseudo.probabilities, outputs["weak"].softmax(1))


def test_it_guides_what_another_base_makes_pseudo_labels_of():
    losses, _ = first_step("flexmatch+prg")
    assert losses.pseudo.probabilities.amax(1).min() == 1


def test_soft_labels_need_a_base_that_lets_an_add_on_change_its_loss():
    method = make_method("fixmatch+prg", **{"prg.hard_label": False})
    method.base.card = type("Card", (), {"slots": ("guess",), "title": "Other"})
    with pytest.raises(UserError, match="prg.hard_label: false changes the unlabeled loss, and Other"):
        method.state(make_facts(classes=3))


def test_two_that_guide_do_not_combine():
    with pytest.raises(UserError, match="DARP and PRG do not combine"):
        make_method("fixmatch+darp+prg")


@pytest.mark.parametrize("base", ["simmatch", "dash"])
def test_soft_labels_are_refused_where_the_base_has_them_anyway(base):
    method = make_method(f"{base}+prg", **{"prg.hard_label": False})
    with pytest.raises(UserError, match="prg.hard_label: false changes nothing, since labels are probabilities"):
        method.state(make_facts(classes=2))
