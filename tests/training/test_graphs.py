"""`compile: true` as graphs: how many there are, that none breaks, and that they compute what the step computes."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from cissl import datasets
from cissl.config import TrialConfig
from cissl.training import graphs, optim
from cissl.training.trainer import Trainer
from tests.training import short_trial


@pytest.fixture
def counted(monkeypatch):
    """All of a compiled step becomes graphs here too, made without a backend, and counted."""
    counter = CompileCounterWithBackend("eager")
    monkeypatch.setattr(graphs, "BACKEND", counter)
    for module in (graphs, optim):
        monkeypatch.setattr(module, "compiles_all", lambda device: True)
    torch._dynamo.reset()
    yield counter
    torch._dynamo.reset()


def trained(steps, **settings):
    config = TrialConfig(**short_trial.settings(repeat=1, scales=2, **settings))
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    rows = [next(trainer.run()) for _ in range(steps)]
    return trainer, [row["loss"] for row in rows]


def test_a_whole_step_is_three_graphs_and_their_gradient(counted, one_thread):
    """Whatever was drawn, later steps need no further graph; the results are the exact step's."""
    exact, losses = trained(3, algorithm="cadr")
    assert counted.frame_count == 0
    compiled, again = trained(3, algorithm="cadr", compile=True)
    assert counted.frame_count == 3
    assert again == pytest.approx(losses, rel=1e-5)
    rates, exact_rates = (trainer.augmentation.state_dict()["rates"] for trainer in (compiled, exact))
    torch.testing.assert_close(rates, exact_rates, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "algorithm, same",
    [("cadr", True), ("supervised", True), ("fixmatch+cai", True), ("pi_model", False), ("adamatch", False)],
)
def test_a_method_that_draws_or_counts_steps_is_no_graph(algorithm, same):
    """It is seen by a try that leaves no trace."""
    config = TrialConfig(**short_trial.settings(algorithm=algorithm, repeat=1, scales=2))
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    batch = trainer._batch()
    step = trainer._step(batch, trainer._augmented(batch)[0])
    before = copy.deepcopy(trainer.learner.model.state_dict())
    losses = trainer.learner.method.base.losses
    assert graphs.is_the_same_each_step(step, losses, trainer.learner.model) == same
    assert all(torch.equal(value, before[name]) for name, value in trainer.learner.model.state_dict().items())
    assert not step.next and not step.measured and not step.shared


def test_what_cannot_be_a_graph_is_computed_as_it_is(counted, caplog):
    def broken(x):
        torch._dynamo.graph_break()
        return x + 1

    function = graphs.graph_where_possible(broken)
    assert function(torch.zeros(1)).item() == function(torch.zeros(1)).item() == 1
    assert [record.message for record in caplog.records].count(caplog.records[-1].message) == 1
    assert "the losses cannot be compiled, and only the network is" in caplog.text
    with pytest.raises(torch._dynamo.exc.Unsupported):
        graphs.graph(broken)(torch.zeros(1))
