"""What is said of trials that are allowed and seldom meant."""

import pytest

from cissl.config import TrialConfig
from cissl.datasets import load
from cissl.doubts import doubts


def said(dataset, **settings):
    config = TrialConfig(dataset=dataset, batch=8, **settings)
    return doubts([(config, load(config.dataset))])


LONG = dict(train_kimg=64, report_kimg=1)
SHORT = dict(train_kimg=0.0546875, report_kimg=0.015625)  # 7 steps


def test_nothing_is_said_of_a_long_training_with_labels_for_all():
    assert said("digits_LT_20.1@21-1", **LONG) == []
    assert said("digits_LT_20_HELDOUT.1@21-200", **LONG) == []


def test_averages_that_are_too_slow_for_a_short_training():
    weights, norms = said("digits.1@40-1", **SHORT)
    assert weights == "1 trial has 7 steps, in which an average with ema_decay 0.999 hardly forgets where it started"
    assert "bn_decay 0.999" in norms
    assert said("digits.1@40-1", **SHORT, ema_decay=0.5, bn_decay=0.5) == []


def test_a_single_evaluation():
    (once,) = said("digits.1@40-1", train_kimg=64, report_kimg=64)
    assert once == "1 trial is evaluated once, at the end; a smaller report_kimg shows more"


@pytest.mark.parametrize("dataset, number", [("digits.1@5-1", 5), ("digits.1@9-1", 1)])
def test_fewer_labels_than_classes(dataset, number):
    (line,) = said(dataset, **LONG)
    assert line == f"{number} of the 10 classes of {dataset} have no label, and are not learned"


def test_validation_images_that_are_labeled():
    (line,) = said("digits_LT_20.1@21-200", **LONG)
    assert line.startswith("12 of the 200 validation images of digits_LT_20.1@21-200 are labeled too: figures on them")
    (line,) = said("digits.0@60-60", **LONG)
    assert "60 of the 60 validation images" in line and "since split seed 0 takes both in the order of the data" in line


def test_many_trials_have_one_line_for_each_kind():
    configs = [TrialConfig(dataset=f"digits_LT_20.{seed}@21-200", seed=seed, batch=8, **SHORT) for seed in (1, 2, 3)]
    lines = doubts([(config, load(config.dataset)) for config in configs])
    assert [line.split(" ")[0] for line in lines] == ["3", "3", "12"]
    assert lines[0].startswith("3 trials have as few as 7 steps") and lines[2].endswith("(and so in 2 other splits)")


@pytest.mark.parametrize(
    "settings, told",
    [
        (dict(algorithm="fixmatch+crest", report_kimg=1), False),  # 64 evaluations, the last 11 of the sixth generation
        (dict(algorithm="fixmatch+crest", report_kimg=2), True),  # five of each
        (dict(algorithm="fixmatch+cossl", report_kimg=1), False),  # 12 of the second phase
        (dict(algorithm="fixmatch+cossl", report_kimg=2), True),
        (dict(algorithm="fixmatch+cossl", report_kimg=2, **{"cossl.start": 0.5}), False),
        (dict(algorithm="fixmatch", report_kimg=2), False),
    ],
)
def test_a_mean_over_more_than_the_last_stage(settings, told):
    lines = said("digits.1@40-1", train_kimg=64, **settings)
    assert any("more than the last stage" in line for line in lines) == told
