"""A trial's settings on their way through Tune."""

import copy

from cissl.config import TrialConfig
from cissl.tuning.trainable import trial_config, tune_config


def test_settings_come_back_as_they_went():
    for config in (TrialConfig(), TrialConfig(algorithm="cap+cai", lr=0.1 + 0.2, scales=2, compile=True, seed=7)):
        carried = tune_config(config)
        back = trial_config(carried["trial"])
        assert back == config and back.trial_id == config.trial_id
        assert copy.deepcopy(carried)["trial"] is carried["trial"]  # what makes a thousand trials cheap to list


def test_a_trials_name_is_worked_out_once():
    config = TrialConfig()
    assert config.spec is config.spec and config.trial_id is config.trial_id
