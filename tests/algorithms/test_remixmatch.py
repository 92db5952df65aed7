"""ReMixMatch against loops written from its description, on logits that are given."""

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.algorithms.contract import Outputs
from cissl.algorithms.remixmatch.rotation import rotated
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method
from cissl.testing.conformance import short_config
from cissl.training.trainer import Trainer


class MixingStep(CannedStep):
    """Keeps what goes through the network, and whether it moves the averages."""

    def __init__(self, *args, views, **kwargs):
        super().__init__(*args, **kwargs)
        self.views, self.passed, self.moving = views, [], []

    def view(self, name):
        return self.views[name]

    def network(self, images, *, update_averages=True):
        self.passed.append(images)
        self.moving.append(update_averages)
        return super().network(images)


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def cross_entropy(logits, targets):
    return np.mean([-(t * np.log(softmax(z))).sum() for z, t in zip(logits, targets, strict=True)])


def literal_guesses(logits, redux):
    """p of every view, view-major, row after row."""
    p = [[softmax(row) for row in view] for view in logits]
    if redux == "1st":
        return [row for _ in p for row in p[0]]
    if redux == "swap":
        return [row for k in range(len(p)) for row in p[(k + 1) % len(p)]]
    return [np.mean([view[i] for view in p], axis=0) for _ in p for i in range(len(p[0]))]


def literal_targets(guesses, fifo, labels_mean, temperature, use_dm):
    model = np.mean(fifo, axis=0)
    targets = []
    for p in guesses:
        q = p * (1e-6 + labels_mean / labels_mean.sum()) / (1e-6 + model / model.sum()) if use_dm else p
        q = (q / q.sum()) ** (1 / temperature)
        targets.append(q / q.sum())
    return np.array(targets)


def interleaved_order(n, B):
    """Where each row of the n interleaved batches comes from."""
    sizes = [B // n] * n
    for j in range(B - sum(sizes)):
        sizes[-j - 1] += 1
    starts = np.cumsum([0, *sizes])
    order = np.arange(n * B).reshape(n, B)
    for j in range(1, n):
        group = slice(starts[j], starts[j + 1])
        order[0, group], order[j, group] = order[j, group].copy(), order[0, group].copy()
    return order.ravel()


@pytest.mark.parametrize("redux", ["1st", "swap", "mean"])
@pytest.mark.parametrize("K, use_dm, use_xe, mixmode", [(1, True, True, "xxy.yxy"), (2, True, False, "xx.yxy")])
def test_equals_literal_loops(redux, K, use_dm, use_xe, mixmode):
    random = np.random.default_rng(K)
    B, C, n, dbuf, T = 8, 3, K + 2, 2, 0.7
    settings = dict(redux=redux, k=K, use_dm=use_dm, use_xe=use_xe, mixmode=mixmode, dbuf=dbuf, temperature=T)
    method = make_method("remixmatch", warmup_kimg=0.125, **settings)  # a ramp of 16 steps
    facts = make_facts(classes=C, batch=B, steps=10, dtype=torch.float64)
    state, fifo, d = method.state(facts), [np.full(C, 1 / C)] * dbuf, np.full(C, 1 / C)
    for number in range(4):
        names = ["weak", "strong", *(f"strong{k}" for k in range(2, K + 1))]
        views = {name: torch.from_numpy(random.normal(size=(B, 1, 2, 2))) for name in ("labeled", *names)}
        y, turns = random.integers(0, C, B), np.repeat(np.arange(4), B // 4)
        forwarded = names[:2] if redux == "1st" else names
        z_rot, z_guess, z = (random.normal(size=(k, B, c)) for k, c in ((1, 4), (len(forwarded), C), (n, C)))
        rows = [B, n * B] if mixmode == "xx.yxy" else [n * B]
        draws = [(random.beta(0.75, 0.75, r), random.permutation(r)) for r in rows]
        networks = [Outputs(torch.zeros(B, C), heads={"rotation": torch.from_numpy(z_rot[0])})]
        networks += [Outputs(torch.from_numpy(logits)) for logits in (*z_guess, *z)]
        step = MixingStep(
            method,
            facts,
            {},
            torch.from_numpy(y),
            state=state,
            number=number,
            networks=networks,
            views=views,
            draws={f"mix {j}": [torch.from_numpy(values) for values in draw] for j, draw in enumerate(draws)},
        )
        losses = step.run()

        guesses = literal_guesses(z_guess if redux != "1st" else [z_guess[0]] * (K + 1), redux)
        targets = literal_targets(guesses, fifo, d, T, use_dm)
        X = np.concatenate([views[name].numpy() for name in ("labeled", *names)])
        Y = np.concatenate([np.eye(C)[y], targets])
        mixed_X, mixed_Y = [], []
        for i in range(n * B):
            shares, order = draws[0] if i < B or len(draws) == 1 else draws[1]
            share = max(shares[i], 1 - shares[i])
            mixed_X.append(share * X[i] + (1 - share) * X[order[i]])
            mixed_Y.append(share * Y[i] + (1 - share) * Y[order[i]])
        order = interleaved_order(n, B)
        for j, images in enumerate(step.passed[-n:]):
            np.testing.assert_allclose(images, np.array(mixed_X)[order[j * B : (j + 1) * B]])
        logits = np.concatenate(z)[order]  # the swaps undo themselves

        assert step.moving == [False] * (len(step.moving) - 1) + [True]
        assert losses.labeled["labeled"].item() == pytest.approx(cross_entropy(logits[:B], mixed_Y[:B]))
        brier = np.mean([(softmax(a) - t) ** 2 for a, t in zip(logits[B:], mixed_Y[B:], strict=True)])
        match = cross_entropy(logits[B:], mixed_Y[B:]) if use_xe else brier
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(match)
        assert losses.unlabeled["kl"].item() == pytest.approx(cross_entropy(z_guess[1], targets[:B]))
        assert losses.unlabeled["rotation"].item() == pytest.approx(cross_entropy(z_rot[0], np.eye(4)[turns]))
        ramp = number / 16
        assert losses.weights == pytest.approx({"unlabeled": 1.5 * ramp, "kl": 0.5 * ramp, "rotation": 0.5})

        fifo = [*fifo[1:], np.mean(guesses, axis=0)]
        d = 0.999 * d + 0.001 * np.eye(C)[y].mean(0)
        state = step.after
        np.testing.assert_allclose(state["p_model"], fifo)
        np.testing.assert_allclose(state["p_data"], d)


def test_quarters_of_a_batch_are_turned_each_in_its_way():
    image = torch.arange(9.0).view(1, 1, 3, 3)  # unlike its mirror images and its rotations
    images, turns = rotated(image.repeat(4, 2, 1, 1))
    assert turns.tolist() == [0, 1, 2, 3]
    for turned, quarters in zip(images[:, 1], (0, 2, 1, 3), strict=True):
        np.testing.assert_array_equal(turned, np.rot90(image[0, 0], quarters))


def test_a_batch_that_has_no_quarters_is_refused_before_training():
    config = short_config("remixmatch", batch=6)
    with pytest.raises(UserError, match="batch 6 is not a multiple of 4; use 8") as error:
        Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    assert error.value.key == "batch"
    trainer = Trainer(short_config("remixmatch", batch=6, w_rot=0), datasets.load(config.dataset), torch.device("cpu"))
    trainer.train_step()
    assert trainer.evaluate()["terms"].keys() == {"labeled", "unlabeled", "kl"}


def test_a_class_distribution_may_be_given_with_a_number_for_each_class():
    facts = make_facts(classes=3, batch=4)
    method = make_method("remixmatch", p_unlabeled="6,3,0")
    assert method.state(facts)["p_data"].tolist() == [6, 3, 0]
    with pytest.raises(UserError, match="p_unlabeled has 2 numbers for 3 classes"):
        make_method("remixmatch", p_unlabeled="6,3").state(facts)
    with pytest.raises(UserError, match="p_unlabeled must be 'labels' or numbers from 0"):
        TrialConfig(algorithm="remixmatch", p_unlabeled="0,0")


@pytest.mark.parametrize("add_on", ["cap", "cai", "darp", "abc", "saw"])
def test_add_ons_on_pseudo_labels_are_refused(add_on):
    with pytest.raises(UserError, match="ReMixMatch and .* do not combine"):
        make_method(f"remixmatch+{add_on}")
