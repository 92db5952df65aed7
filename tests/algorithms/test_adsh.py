"""Adsh against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.algorithms.adsh.adaptive_thresholds import adapted
from cissl.algorithms.cards import find
from cissl.algorithms.contract import Outputs
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method
from cissl.training.survey import TrainingSurvey
from cissl.training.trainer import Trainer
from tests.training import short_trial


def softmax(rows):
    e = np.exp(rows - rows.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def literal(score, P, threshold, head):
    lists = [sorted((p.max() for p in P if p.argmax() == c), reverse=True) for c in range(len(score))]
    k = 0
    while k < len(lists[head]) and lists[head][k] >= threshold:
        k += 1
    rho = k / len(lists[head]) if k else 1
    new = list(score)
    for c, v in enumerate(lists):
        if c != head and v:
            new[c] = min(threshold, v[int(max(0, np.rint(len(v) * rho - 1)))])
    return new, rho


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("head", [0, 2])
def test_thresholds_equal_literal_loops(seed, head):
    random = np.random.default_rng(seed)
    C, score = 5, torch.full((5,), 0.8, dtype=torch.float64)
    for bias in ([1, 0, 0, -9, 0], [0, 1, 0, 0, 0], [-9, 0, -9, 0, 0]):
        P = softmax(2 * random.normal(size=(40, C)) + np.array(bias))
        expected, rho = literal(score.tolist(), P, 0.8, head)
        assert rho == 1 or 0 < rho < 1
        score = adapted(score, torch.tensor(P), 0.8, head)
        assert score.tolist() == expected and score.dtype == torch.float64
    assert score[head] == 0.8


def rows(confidences):
    """Probabilities of these (class, confidence) pairs, of three classes."""
    return torch.tensor([[p if c == k else (1 - p) / 2 for k in range(3)] for c, p in confidences], dtype=torch.float64)


def test_halves_are_rounded_to_even():
    """Class 0 keeps 1 of 2; of class 1's 3 and class 2's 5 rows that is 1.5 − 1 and 2.5 − 1: places 0 and 2."""
    P = rows([(0, 0.9), (0, 0.6), *((1, p) for p in (0.85, 0.8, 0.7)), *((2, p) for p in (0.75, 0.7, 0.65, 0.6, 0.5))])
    assert adapted(torch.full((3,), 0.9).double(), P, 0.9, 0).tolist() == [pytest.approx(0.9), 0.85, 0.65]


def test_no_confident_row_of_the_head_keeps_all_of_the_others():
    P = rows([(0, 0.5), (1, 0.8), (1, 0.6), (2, 0.97)])
    assert adapted(torch.full((3,), 0.95).double(), P, 0.95, 0).tolist() == [pytest.approx(0.95), 0.6, 0.95]


def test_a_class_that_is_never_predicted_keeps_its_threshold():
    score = torch.tensor([0.9, 0.4, 0.3], dtype=torch.float64)
    assert adapted(score, rows([(0, 0.95), (2, 0.5)]), 0.9, 0).tolist() == [0.9, 0.4, 0.5]


def test_the_label_is_the_largest_of_the_rectified_probabilities():
    method = make_method("fixmatch+adsh", confidence=0.9)
    facts = make_facts(classes=3, dtype=torch.float64)
    P = torch.tensor([[0.6, 0.3, 0.1], [0.85, 0.1, 0.05], [0.05, 0.03, 0.92], [0.5, 0.19, 0.31]], dtype=torch.float64)
    score = torch.tensor([0.9, 0.25, 0.9], dtype=torch.float64)
    strong = torch.randn(4, 3, dtype=torch.float64)
    outputs = {"labeled": strong[:1], "weak": P.log(), "strong": strong}
    state = {**method.state(facts), "adsh.score": score}
    step = CannedStep(method, facts, outputs, torch.tensor([0]), state=state)
    losses = step.run()
    assert losses.pseudo.classes.tolist() == [1, 0, 2, 1]
    assert losses.pseudo.weights.tolist() == [True, False, True, False]
    log = strong.log_softmax(1)
    assert losses.unlabeled["unlabeled"].item() == pytest.approx(-(log[0, 1] + log[2, 2]).item() / 4)
    assert torch.equal(step.after["adsh.score"], score)


def test_the_thresholds_of_the_first_two_epochs_are_fixed_and_those_of_others_follow_the_raw_network(monkeypatch):
    settings = short_trial.settings(algorithm="fixmatch+adsh", **{"adsh.epoch": 3, "train_kimg": 12 * 8 / 1024})
    config = TrialConfig(**settings)
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    asked, scores = [], []
    outputs = TrainingSurvey.outputs

    def noted(survey, images="unlabeled", **how):
        asked.append((trainer.step, images, how))
        return outputs(survey, images, **how)

    monkeypatch.setattr(TrainingSurvey, "outputs", noted)
    for _ in range(12):
        trainer.train_step()
        scores.append(trainer.learner.state["adsh.score"].tolist())
    how = {"network": "raw", "augment": "weak"}
    assert asked == [(6, "unlabeled", how), (9, "unlabeled", how)]
    assert scores[5] == [config.confidence] * 10 and scores[6] != scores[5] and scores[8] == scores[6]


def test_the_head_is_the_class_with_most_labels():
    method = make_method("fixmatch+adsh", confidence=0.9, **{"adsh.epoch": 1})
    facts = make_facts(classes=3, labeled_counts=[2, 5, 5], steps=9)

    class Given:
        number, stage = 2, 0

        def outputs(self, images, **how):
            return Outputs(rows([(0, 0.6), (0, 0.5), (1, 0.95), (1, 0.4), (2, 0.8), (2, 0.7)]).log())

    Given.facts = facts
    found = method.add_ons[0].periodically(Given(), method.state(facts))["adsh.score"].tolist()
    assert found == pytest.approx([0.6, 0.9, 0.8])


def test_two_that_choose_pseudo_labels_are_refused():
    with pytest.raises(UserError, match="Adsh and CAI do not combine"):
        find("fixmatch+adsh+cai")
