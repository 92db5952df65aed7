"""Every method holds to what every method must hold to, and every pair that is allowed trains."""

import itertools
import math

import pytest
import torch

from cissl import datasets
from cissl.algorithms.cards import built_in
from cissl.testing import check_method
from cissl.testing.conformance import CHECKS, WORKERS, compare_workers, short_config
from cissl.testing.pairs import ADD_ONS, BASES, allowed_pairs, refusal, with_base
from cissl.testing.workers import train_together
from cissl.training.trainer import Trainer
from tests.algorithms.methods import METHODS

ALONE = tuple(check for check in CHECKS if check != "workers")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_method_holds_to_every_check(name):
    findings = check_method(name, only=ALONE)
    assert [finding for finding in findings if not finding.passed] == []


@pytest.fixture(scope="module")
def together():
    """What all methods learn on two workers, trained by one pair of processes."""
    return dict(zip(METHODS, train_together([short_config(name) for name in METHODS], WORKERS), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_workers_train_what_one_trains(name, together):
    assert compare_workers(short_config(name), together[name]) == ""


@pytest.mark.parametrize("name", [name for name in allowed_pairs() if name not in METHODS])
def test_a_pair_that_is_allowed_trains(name):
    config = short_config(name)
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    rows = [row for row in itertools.islice(trainer.run(), 4) if row]
    assert rows and all(math.isfinite(row["loss"]) for row in rows)


@pytest.mark.parametrize("name", ["fixmatch+crest+abc", "flexmatch+cap"])
def test_a_sum_resumes_bit_for_bit(name):
    """At the first step, between CReST's two generations, and at the last step."""
    (finding,) = check_method(name, only=("resumption",))
    assert finding.problem == ""


def test_pairs_that_mean_nothing_are_refused_with_both_names_and_the_reason():
    refused = [pair for pair in itertools.product(BASES, ADD_ONS) if refusal(with_base(pair[1], pair[0]))]
    assert refused and len(refused) + len(allowed_pairs()) == len(BASES) * len(ADD_ONS)
    for base, add_on in refused:
        message = str(refusal(with_base(add_on, base)))
        parts = (add_on, *built_in()[add_on].needs)
        names = [f"{built_in()[base].title} and {built_in()[part].title} do not combine: " for part in parts]
        assert message.startswith(tuple(names)), message
