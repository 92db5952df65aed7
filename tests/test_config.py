"""A trial's settings are checked where they are made, and named by their hash."""

import dataclasses
import json
import pickle
from pathlib import Path

import pytest

from cissl.algorithms.cards import BASE, built_in, find
from cissl.config import TrialConfig, core_fields
from cissl.errors import UserError
from cissl.settings import setting


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
        ({"cap_ema": "maybe", "algorithm": "cap"}, "cap_ema must be true or false"),
        ({"cap_ema": False}, "fixmatch has no setting 'cap_ema', which belongs to cap"),
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
    base = TrialConfig(algorithm="cadr")
    other = {
        "dataset": "cifar10.2@4000-5000", "algorithm": "cap+cai", "arch": "res18", "augment": "d.d.rac", "scales": 2,
        "weights": f"net.pth@{64 * '0'}", "optimizer": "adamw", "lr_schedule": "cosine",
        "bn_decay": 0.9, "ema_decay": 0.9, "confidence": 0.5, "ath": 0.5, "adecay": 0.5,
        "cap_ema_momentum": 0.5, "precision": "bf16",
    }  # fmt: skip
    for key, field in {**core_fields(), **base.recipe.fields}.items():
        default = base.to_dict()[key]
        value = not default if field.type is bool else other.get(key) or default + 1
        changed = dataclasses.replace(base, **{key: value})
        assert (changed.hash != base.hash) == field.metadata["changes_result"], key


def test_trials_of_the_first_version_are_found_again():
    """Hashes that the first version computed, when every trial had every setting."""
    hashes = json.loads((Path(__file__).parent / "reference" / "first_version" / "hashes.json").read_text())
    assert len(hashes) == 224
    for trial_id, settings in hashes.items():
        assert TrialConfig(**settings).trial_id == trial_id


def test_a_setting_that_came_later_is_in_the_hash_only_beside_another_value():
    field = setting(1, "a new setting", added_later=True)
    assert field.metadata["added_later"]
    for recipe in (find(name) for name in built_in() if built_in()[name].kind == BASE):
        config = TrialConfig(algorithm=recipe.name)
        for key, known in recipe.fields.items():
            if known.metadata["added_later"]:
                value = config.method[key]
                changed = dataclasses.replace(config, **{key: not value if known.type is bool else value + 1})
                assert changed.hash != config.hash, key


def test_a_setting_of_no_part_is_refused_unless_it_changes_nothing():
    assert TrialConfig(algorithm="fixmatch", cai_beta=0.5) == TrialConfig(algorithm="fixmatch")
    with pytest.raises(UserError, match="supervised has no setting 'confidence'") as error:
        TrialConfig(algorithm="supervised", confidence=0.5)
    assert error.value.key == "confidence"


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


def test_a_config_survives_pickling_in_another_process():
    config = TrialConfig(algorithm="cadr", cai_beta=0.3, lr=0.02)
    assert config.recipe and config.hash  # cached, and not pickled
    again = pickle.loads(pickle.dumps(config))
    assert again == config and again.hash == config.hash
