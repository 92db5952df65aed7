"""What a method of one's own returns and writes is checked, and told with the line of its file."""

import itertools

import pytest
import torch

from cissl import plugins
from cissl.algorithms import watch
from cissl.errors import ContractError
from cissl.testing.conformance import short_config
from cissl.testing.workers import short_data
from cissl.training.trainer import Trainer

HEAD = """
import torch
from torch import nn
from cissl.algorithms.contract import AddOn, Losses, PseudoLabels, Stage
from cissl.algorithms.fixmatch.method import FixMatch

"""
STATE = """
    def state(self, facts):
        return super().state(facts) | {"seen": facts.full((facts.classes,), 0.0)}

"""
STAGES = """
    def stages(self, facts):
        return Stage(1 / 6), Stage(5 / 6)

"""
CHOOSE = """
    def choose(self, step, probabilities):
        confidence, classes = probabilities.max(1)
"""
# The body of a class and what is said of it, at the line that ends in "# here".
WRONG = {
    "a scalar weight": (
        f"{CHOOSE}        return PseudoLabels(classes, confidence.mean(), probabilities)  # here",
        "PseudoLabels.weights is a tensor of shape (), float32; "
        "expected a tensor of shape (U,) = (16,) of bool or float",
    ),
    "classes of another type": (
        f"{CHOOSE}        return PseudoLabels(classes.float(), confidence, probabilities)  # here",
        "PseudoLabels.classes is a tensor of shape (16,), float32; expected a tensor of shape (U,) = (16,) of int64",
    ),
    "labels with gradient": (
        """
    def predictions(self, step, out):
        return out["weak"].probabilities

    def choose(self, step, probabilities):
        classes = probabilities.argmax(1)
        return PseudoLabels(classes, classes >= 0, probabilities)  # here
        """,
        "PseudoLabels.probabilities has a gradient",
    ),
    "fewer rows": (
        """
    def choose(self, step, probabilities):  # here
        return super().choose(step, probabilities[:5])
        """,
        "Mine.choose returns PseudoLabels whose probabilities are a tensor of shape (5, 10), float32; "
        "expected a tensor of shape (U, C) = (16, 10) of float",
    ),
    "no pseudo-labels": (
        "    def choose(self, step, probabilities):  # here\n        return probabilities.max(1)",
        "Mine.choose returns max; expected PseudoLabels",
    ),
    "a loss for each row": (
        """
    def supervised(self, step, out, weights=None):  # here
        return out["labeled"].logits.square().mean(1)
        """,
        "Mine.supervised returns a tensor of shape (8,), float32; expected a scalar, of shape (), of float",
    ),
    "a term for each row": (
        """
    def further_terms(self, step, out, pseudo):  # here
        return {"size": pseudo.weights.float()}
        """,
        "Mine.further_terms returns 'size': a tensor of shape (16,), float32; expected a scalar",
    ),
    "a term that is no tensor": (
        "    def further_terms(self, step, out, pseudo):  # here\n        return {'size': 0.5}",
        "Mine.further_terms returns 'size': float 0.5; expected a scalar, of shape (), of float",
    ),
    "nothing": (
        "    def further_terms(self, step, out, pseudo):  # here\n        pass",
        "Mine.further_terms returns None; expected a dict with names as keys",
    ),
    "losses of one's own": (
        """
    def losses(self, step):
        out = step.forward("labeled")
        return Losses(labeled={"labeled": out["labeled"].logits.sum(1)})  # here
        """,
        "Losses.labeled has 'labeled': a tensor of shape (8,), float32",
    ),
    "a weight for each class": (
        "    def weights(self):  # here\n        return {'unlabeled': torch.ones(10)}",
        "Mine.weights returns 'unlabeled': a tensor of shape (10,), float32; expected a number or a scalar tensor",
    ),
    "a state of another shape": (
        f"{STATE}{CHOOSE}"
        """        step.next["seen"] = confidence.mean()  # here
        return super().choose(step, probabilities)
        """,
        "step.next['seen'] is a tensor of shape (), float32; the state that it replaces is a tensor of shape (10,)",
    ),
    "a state of another type": (
        f"{STATE}{CHOOSE}"
        """        step.next |= {"seen": step.state["seen"].double()}  # here
        return super().choose(step, probabilities)
        """,
        "step.next['seen'] is a tensor of shape (10,), float64; the state that it replaces is",
    ),
    "a state that is not declared": (
        f"{STATE}{CHOOSE}"
        """        step.next.update(sen=confidence)  # here
        return super().choose(step, probabilities)
        """,
        "step.next['sen'] is written, and `state` does not declare it; did you mean 'seen'?",
    ),
    "another name than the declared one": (
        f"{STATE}{CHOOSE}"
        """        step.measured["seen"] = step.state["sen"]  # here
        return super().choose(step, probabilities)
        """,
        "step.state['sen'] is read, and `state` does not declare it; did you mean 'seen'?",
    ),
    "a state without the base's": (
        "    def state(self, facts):  # here\n        return {'seen': facts.full((1,), 0.0)}",
        "step.state['class_prior'] is read, and `state` does not declare it; known: seen; a method that extends "
        "another one keeps that one's state: return super().state(facts) | {…}",
    ),
    "a state that is no tensor": (
        "    def state(self, facts):  # here\n        return super().state(facts) | {'seen': 0.0}",
        "Mine.state returns 'seen': float 0.0; expected Tensor",
    ),
    "a state changed in place": (
        f"{STATE}"
        """
    def choose(self, step, probabilities):  # here
        step.state["seen"] += probabilities.mean(0)
        return super().choose(step, probabilities)
        """,
        "Mine.choose changes the state 'seen' in place",
    ),
    "a state changed in place by a survey": (
        f"{STATE}"
        """
    def period(self, facts):
        return 1

    def periodically(self, survey, state):  # here
        return {"seen": state["seen"].fill_(2.0)}
        """,
        "Mine.periodically changes the state 'seen' in place",
    ),
    "a setting that is misspelt": (
        f"""{CHOOSE}        step.measured["power"] = self.settings.confidense  # here
        return super().choose(step, probabilities)
        """,
        "Settings has no 'confidense', which Mine uses; did you mean 'confidence'?",
    ),
    "a period in images": (
        "    def period(self, facts):  # here\n        return 1.5",
        "Mine.period returns float 1.5; expected int",
    ),
    "labels of another length": (
        f"{STAGES}"
        """
    def extra_labeled(self, state):  # here
        return torch.zeros(3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
        """,
        "Mine.extra_labeled returns a tuple with a tensor of shape (2,), int64; "
        "expected a tensor of shape (n,) = (3,) of int64",
    ),
    "a state between stages that is not declared": (
        f"{STAGES}"
        """
    def between(self, survey, state):  # here
        return {"class_prio": state["class_prior"]}
        """,
        "Mine.between returns 'class_prio', and `state` does not declare it; did you mean 'class_prior'?",
    ),
    "a text measured": (
        f"""{CHOOSE}        step.measured["most"] = "high"  # here
        return super().choose(step, probabilities)
        """,
        "step.measured['most'] is str 'high'; expected a tensor or a number",
    ),
    "a measured shape that changes": (
        f"""{CHOOSE}        step.measured["kept"] = confidence[: step.number + 1]  # here
        return super().choose(step, probabilities)
        """,
        "step.measured['kept'] is of shape (2,), and was of shape (1,) in an earlier step",
    ),
    "a head's mean": (
        """
    def heads(self, width, classes):
        class Mean(nn.Linear):
            def forward(self, features):  # here
                return super().forward(features).mean()

        return {"mean": Mean(width, classes)}
        """,
        "the head 'mean' gives a tensor of shape (), float32; "
        "expected a tensor of shape (n, …) with n = 40, one entry a row",
    ),
    "heads that are no modules": (
        "    def heads(self, width, classes):  # here\n        return {'mean': torch.mean}",
        "Mine.heads returns 'mean': builtin_function_or_method",
    ),
    "a prediction for each row": (
        "    def predict(self, outputs, state):  # here\n        return outputs.logits.argmax(1)",
        "Mine.predict returns a tensor of shape (30,), int64; expected a tensor of shape (n, C) = (30, 10) of float",
    ),
}
ADD_ON = {
    "probabilities of one row": (
        """
    def guess(self, step, out, probabilities):  # here
        return probabilities.mean(0)
        """,
        "Mine.guess returns a tensor of shape (10,), float32; expected a tensor of shape (U, C) = (16, 10) of float",
    ),
    "a forgotten return": (
        "    def select(self, step, out, pseudo):  # here\n        pseudo.weights",
        "Mine.select returns None; expected PseudoLabels",
    ),
    "a term for each labeled row": (
        "    def labeled_terms(self, step, out):  # here\n        return {'norm': out['labeled'].logits.norm(dim=1)}",
        "Mine.labeled_terms returns 'norm': a tensor of shape (8,), float32",
    ),
}


def trainer(algorithm, steps=3):
    config = short_config(algorithm)
    made = Trainer(config, short_data(config), torch.device("cpu"))
    return list(itertools.islice(made.run(), steps))


CASES = [pytest.param("Mine(FixMatch)", "mine.py:Mine", *case, id=key) for key, case in WRONG.items()]
CASES += [pytest.param("Mine(AddOn)", "fixmatch+mine.py:Mine", *case, id=key) for key, case in ADD_ON.items()]


@pytest.mark.parametrize("header, algorithm, body, message", CASES)
def test_what_is_wrong_is_told_at_the_line_that_does_it(here, header, algorithm, body, message):
    path = here("mine.py", f"{HEAD}class {header}:\n{body}\n")
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "# here" in text)
    with pytest.raises(ContractError) as error:
        trainer(algorithm)
    assert message in str(error.value)
    assert plugins.place_of(error.value) == f"{path}:{line}"


def test_what_is_wrong_in_an_installed_module_is_told_at_its_line_too(tmp_path, monkeypatch):
    (tmp_path / "mylab.py").write_text(f"{HEAD}class Mine(FixMatch):\n{WRONG['a scalar weight'][0]}\n")
    monkeypatch.syspath_prepend(tmp_path)
    line = (tmp_path / "mylab.py").read_text().splitlines().index(WRONG["a scalar weight"][0].splitlines()[-1]) + 1
    with pytest.raises(ContractError) as error:
        trainer("mylab:Mine")
    assert plugins.place_of(error.value) == f"{tmp_path / 'mylab.py'}:{line}"


def test_numbers_may_be_measured(here):
    body = """
    def choose(self, step, probabilities):
        step.measured.update(largest=probabilities.max().item(), number=step.number, whole=True)
        return super().choose(step, probabilities)
    """
    here("mine.py", f"{HEAD}class Mine(FixMatch):\n{body}\n")
    rows = trainer("mine.py:Mine")
    assert [(row["measured"]["number"], row["measured"]["whole"]) for row in rows] == [(0, 1), (1, 1), (2, 1)]
    assert 0.1 < rows[0]["measured"]["largest"] <= 1


def test_what_is_read_before_it_is_written_is_named():
    with pytest.raises(ContractError, match=r"step.next\['prior'\] is read before it is written"):
        watch.next_state({"prior": torch.zeros(2)})["prior"]
