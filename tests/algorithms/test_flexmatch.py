"""FlexMatch against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.algorithms.flexmatch.curriculum import class_thresholds, learning_effects
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def literal_step(w, s, index, selected, learning, cutoff, warmup, hard):
    """One step, image after image; returns the loss, the mask and the new state."""
    C, N, loss, mask = len(learning), len(selected), 0.0, []
    selected = dict(selected)
    for row, strong, i in zip(w, s, index, strict=True):
        P = softmax(row)
        k = int(np.argmax(P))
        mask.append(P[k] >= cutoff * (learning[k] / (2 - learning[k])))
        targets = np.eye(C)[k] if hard else P
        loss += mask[-1] * -(targets * np.log(softmax(strong))).sum() / len(w)
        if P[k] >= cutoff:
            selected[i] = k
    counts = [sum(value == c for value in selected.values()) for c in range(C)]
    unused = sum(value == -1 for value in selected.values())
    if max(*counts, unused) < N:
        largest = max(*counts, unused) if warmup else max(counts)
        learning = [count / largest for count in counts]
    return loss, mask, selected, learning


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_equals_literal_loops(seed, warmup, hard):
    random = np.random.default_rng(seed)
    B, U, C, N = 4, 9, 3, 7  # more rows than images: some stand in a batch twice
    method = make_method("flexmatch", confidence=0.7, thresh_warmup=warmup, hard_label=hard, wu=0.5)
    facts = make_facts(classes=C, unlabeled=N, dtype=torch.float64)
    state, selected, learning = method.state(facts), dict.fromkeys(range(N), -1), [0.0] * C
    kept = 0
    for number in range(6):
        x, w, s = (3 * random.normal(size=(rows, C)) for rows in (B, U, U))
        index, targets = random.integers(0, N, U), random.integers(0, C, B)
        outputs = {view: torch.from_numpy(v) for view, v in (("labeled", x), ("weak", w), ("strong", s))}
        positions = {"unlabeled": torch.from_numpy(index)}
        step = CannedStep(
            method, facts, outputs, torch.from_numpy(targets), state=state, number=number, index=positions
        )
        losses = step.run()
        loss, mask, selected, learning = literal_step(w, s, index, selected, learning, 0.7, warmup, hard)
        state = step.after
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(loss, rel=1e-12)
        assert losses.pseudo.weights.tolist() == mask
        assert state["selected"].tolist() == [selected[i] for i in range(N)]
        assert state["learning"].tolist() == pytest.approx(learning)
        assert torch.equal(state["selected_counts"][:-1], torch.bincount(state["selected"] + 1, minlength=C + 1)[1:])
        kept += sum(mask)
    assert 0 < kept < 6 * U


def test_a_class_that_was_never_confident_has_no_threshold():
    assert class_thresholds(torch.tensor([0.0, 1.0]), 0.95).tolist() == pytest.approx([0.0, 0.95])


@pytest.mark.parametrize("counts", [[0, 0, 5], [5, 0, 0]])
def test_where_all_images_are_alike_nothing_is_learned(counts):
    before = torch.tensor([0.3, 0.6])
    assert learning_effects(torch.tensor(counts), before, warmup=True) is not before
    assert torch.equal(learning_effects(torch.tensor(counts), before, warmup=False), before)


def test_its_own_thresholds_leave_no_place_for_cais():
    with pytest.raises(UserError, match="FlexMatch and CAI do not combine"):
        make_method("flexmatch+cai")
    assert make_method("flexmatch+cap+dr").recipe.name == "flexmatch+cap+dr"
