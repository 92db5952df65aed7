"""A trial's settings are checked where they are made, and named by their hash."""

import dataclasses

import pytest

from cissl.config import TrialConfig
from cissl.errors import UserError


def test_defaults_are_the_protocol():
    config = TrialConfig()
    assert (config.batch, config.uratio, config.lr, config.confidence) == (64, 7, 0.03, 0.95)
    assert config.steps == 131_072 and config.report_steps == 1024


@pytest.mark.parametrize(
    "values,message",
    [
        ({"lr": -1}, "lr must be above 0, not -1"),
        ({"lr": "fast"}, "lr must be a number, not 'fast'"),
        ({"lr": float("nan")}, "lr must be a number"),
        ({"lr": True}, "lr must be a number, not True"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"batch": 6.5}, "batch must be a whole number"),
        ({"batch": True}, "batch must be a whole number"),
        ({"confidence": 1.5}, "confidence must be at most 1"),
        ({"cap_ema": "maybe"}, "cap_ema must be true or false"),
        ({"arch": "wnr"}, "did you mean 'wrn'"),
        ({"algorithm": "cai+cadr"}, "CADR needs CAP"),
        ({"dataset": 7}, "dataset must be text"),
        ({"dataset": "cifar10@40"}, "cifar10@40"),
        ({"augment": "d.d"}, "d.d"),
        ({"augment": "d.d.aa", "dataset": "digits.1@40-1"}, "no policy for dataset 'digits'"),
        ({"confidense": 0.9}, "did you mean 'confidence'"),
        ({"CADR": True}, "write 'algorithm: cadr'"),
    ],
)
def test_mistakes_are_refused_with_the_setting_and_value(values, message):
    with pytest.raises(UserError) as error:
        TrialConfig.from_mapping(values)
    assert message in str(error.value)
    assert error.value.key in values


def test_spellings_of_one_trial_share_a_hash():
    plain = TrialConfig(algorithm="cadr", lr=0.03, train_kimg=64)
    other = TrialConfig(algorithm="CAP+CAI+CADR", lr="3e-2", train_kimg=64.0)
    assert plain == other and plain.hash == other.hash


def test_every_setting_that_changes_a_result_changes_the_hash():
    base = TrialConfig()
    other = {
        "dataset": "cifar10.2@4000-5000", "algorithm": "cadr", "arch": "res18", "augment": "d.d.rac", "scales": 2,
        "bn_decay": 0.9, "ema_decay": 0.9, "confidence": 0.5, "ath": 0.5, "adecay": 0.5,
        "cap_ema_momentum": 0.5, "precision": "bf16",
    }  # fmt: skip
    for field in dataclasses.fields(TrialConfig):
        default = getattr(base, field.name)
        value = not default if field.type is bool else other.get(field.name) or default + 1
        changed = dataclasses.replace(base, **{field.name: value})
        assert (changed.hash != base.hash) == field.metadata["changes_result"], field.name


@pytest.mark.parametrize(
    "values,name",
    [
        ({"algorithm": "cadr", "dataset": "digits_LT_20.1@20-1"}, "cadr-digits_LT_20-s1"),
        ({"algorithm": "cap+cai", "dataset": "digits_LT_20.2@50-1", "seed": 2}, "cap_cai-digits_LT_20@50-s2"),
        ({"dataset": "cifar10.1@40-1", "seed": 3}, "fixmatch-cifar10@40-s1.3"),
        ({"dataset": "cifar10_LT_2.5.1@40-1"}, "fixmatch-cifar10_LT_2.5@40-s1"),
    ],
)
def test_names_are_readable(values, name):
    config = TrialConfig(**values)
    assert config.name == name
    assert config.trial_id == f"{name}-{config.hash}"


def test_a_config_survives_its_dictionary():
    config = TrialConfig(algorithm="cadr", scales=2, train_kimg=0.5)
    assert TrialConfig.from_mapping(config.to_dict()) == config


def test_steps_round_up():
    config = TrialConfig(batch=48, train_kimg=1, report_kimg=0.01)
    assert config.steps == 22 and config.report_steps == 1
