"""What a sweep file may say, and what each mistake in one is answered with."""

import textwrap
from pathlib import Path

import pytest

from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.tuning import cli, sweep_file

GOOD = """\
settings:
  dataset: digits
  valid_size: 20
  lr: 5e-2
grid:
  algorithm: [fixmatch, cadr]
  imbalance_ratio, labeled_size: [[10, 10], [20, 30]]
  seed: [1, 2]
"""


@pytest.fixture
def load(tmp_path):
    def load(text, *overrides):
        path = tmp_path / "study.yaml"
        path.write_text(textwrap.dedent(text))
        return sweep_file.load(path, overrides)

    return load


def test_every_combination_once_the_last_axis_fastest(load):
    trials = load(GOOD).trials
    assert [(t.algorithm, t.dataset, t.seed) for t in trials] == [
        (algorithm, f"digits_LT_{ratio}.{seed}@{size}-20", seed)
        for algorithm in ("fixmatch", "cadr")
        for ratio, size in ((10, 10), (20, 30))
        for seed in (1, 2)
    ]
    assert {t.lr for t in trials} == {0.05}  # YAML 1.1 reads 5e-2 as text


def test_name_is_the_files_unless_given(load):
    assert load(GOOD).name == "study"
    assert load(GOOD + "name: other").name == "other"


def test_the_data_folder_may_stand_in_the_file(load):
    assert load(GOOD).data_dir is None
    assert load(GOOD + "data_dir: /shared/data").data_dir == Path("/shared/data")


def test_everything_else_has_a_default(load):
    sweep = load("settings: {dataset: digits, labeled_size: 40}")
    assert sweep.trials == [TrialConfig(dataset="digits.1@40-1")]
    assert (sweep.resources, sweep.concurrency, sweep.search) == (sweep_file.Resources(), None, None)


@pytest.mark.parametrize(
    "settings, dataset",
    [
        ("dataset: digits, labeled_size: 40, imbalance_ratio: null", "digits.1@40-1"),
        ("dataset: digits, labeled_size: 40, imbalance_ratio: 2.5, seed: 7", "digits_LT_2.5.7@40-1"),
        ("dataset: digits, labeled_size: 40, imbalance_ratio: 20.0, valid_size: 9", "digits_LT_20.1@40-9"),
        ("dataset: digits_LT_20.3@20-1, seed: 8", "digits_LT_20.3@20-1"),
        ("dataset: 'digits_LT_20.{seed}@{labeled_size}-1', seed: 8, labeled_size: 21", "digits_LT_20.8@21-1"),
        ("dataset: 'digits_LT_5_UREV_5.{seed}@10-1'", "digits_LT_5_UREV_5.1@10-1"),
    ],
)
def test_the_split_is_made_of_its_keys_or_written_whole(load, settings, dataset):
    (trial,) = load(f"settings: {{{settings}}}").trials
    assert trial.dataset == dataset


def test_overrides_reach_settings_axes_and_other_blocks(load):
    sweep = load(
        GOOD, "lr=1e-3", "seed=[5]", "algorithm=cap", "resources.workers=2", "concurrency=3", "confidence=[0.8, 0.9]"
    )
    assert {(t.lr, t.seed, t.algorithm) for t in sweep.trials} == {(1e-3, 5, "cap")}
    assert sorted({t.confidence for t in sweep.trials}) == [0.8, 0.9]
    assert (sweep.resources.workers, sweep.concurrency) == (2, 3)
    assert len(load(GOOD, "grid.imbalance_ratio, labeled_size=[[5, 5]]").trials) == 4


def test_an_override_that_is_wrong_is_named(load):
    with pytest.raises(
        UserError, match=r"--set confidense=0.9: unknown setting 'confidense'; did you mean 'confidence'\?"
    ):
        load(GOOD, "confidense=0.9")
    with pytest.raises(UserError, match=r"--set batch: write key=value"):
        load(GOOD, "batch")
    with pytest.raises(UserError, match=r"--set labeled_size=3: labeled_size moves together with others"):
        load(GOOD, "labeled_size=3")


def test_search_space_and_its_candidates(load):
    sweep = load(
        """
        settings: {dataset: digits, labeled_size: 40, valid_size: 50}
        grid: {seed: [1, 2]}
        search:
          space: {lr: {loguniform: [1e-3, 0.1]}, adepth: {int: [1, 3]}, augment: {choice: [d.d.d, d.d.ra, x.x.x]}}
          trials: 7
          sampler: random
        """
    )
    assert sweep.search.space["lr"] == sweep_file.Dimension("loguniform", (1e-3, 0.1))
    assert (sweep.search.metric, sweep.search.trials, sweep.search.sampler, sweep.search.seed) == (
        "valid_accuracy",
        7,
        "random",
        0,
    )
    assert [(t.seed, t.lr, t.adepth) for t in sweep.candidate({"lr": 0.02, "adepth": 2, "augment": "d.d.d"})] == [
        (1, 0.02, 2),
        (2, 0.02, 2),
    ]


def test_smoke_takes_each_algorithm_on_each_data_set_for_three_steps(load):
    smoke = sweep_file.smoke(load(GOOD))
    assert smoke.name == "study-smoke"
    assert [(t.algorithm, t.steps, t.report_steps, t.save_steps) for t in smoke.trials] == [
        ("fixmatch", 3, 3, 3),
        ("cadr", 3, 3, 3),
    ]


SEARCH = "settings: {dataset: digits, labeled_size: 40, valid_size: 50}\nsearch:\n  space:\n    lr: "

MISTAKES = {
    "unknown top key": (
        "setting:\n  lr: 0.1",
        "study.yaml:1: 'setting: …': unknown key 'setting'; did you mean 'settings'?",
    ),
    "setting at the top": (
        "lr: 0.1",
        "study.yaml:1: 'lr: 0.1': unknown key 'lr'; it belongs under 'settings' or 'grid'",
    ),
    "unknown setting": (
        "settings:\n  dataset: digits\n  confidense: 0.9",
        "study.yaml:3: 'confidense: 0.9': unknown setting 'confidense'; did you mean 'confidence'?",
    ),
    "unknown axis": ("grid:\n  sede: [1]", "study.yaml:2: 'sede: [1]': unknown setting 'sede'; did you mean 'seed'?"),
    "wrong type": (
        "settings:\n  dataset: digits.1@40-1\n  batch: many",
        "study.yaml:3: 'batch: many': batch must be a whole number, not 'many'",
    ),
    "out of range": (
        "settings:\n  dataset: digits.1@40-1\n  confidence: 1.5",
        "study.yaml:3: 'confidence: 1.5': confidence must be at most 1, not 1.5",
    ),
    "bad value of an axis": (
        "settings: {dataset: digits.1@40-1}\ngrid:\n  algorithm:\n    - cadr\n    - fixmach",
        "study.yaml:5: 'algorithm: fixmach': unknown algorithm 'fixmach'; did you mean 'fixmatch'?",
    ),
    "CADR without CAP": (
        "settings:\n  dataset: digits.1@40-1\n  algorithm: cai+cadr",
        "study.yaml:3: 'algorithm: cai+cadr': CADR needs CAP",
    ),
    "no data set": ("settings: {lr: 0.1}", "dataset must be a name such as cifar10"),
    "unknown data set": (
        "settings:\n  dataset: digts\n  labeled_size: 40",
        "study.yaml:2: 'dataset: digts': unknown data set 'digts'",
    ),
    "missing data set": (
        "settings:\n  dataset: cifar10\n  labeled_size: 40",
        "study.yaml:2: 'dataset: cifar10': the data set 'cifar10' is not in",
    ),
    "malformed split": (
        "settings:\n  dataset: digits_LT_20@20-1",
        "study.yaml:2: 'dataset: digits_LT_20@20-1': 'digits_LT_20@20-1' is not the name of a split",
    ),
    "size that a class cannot fill": (
        "settings:\n  dataset: digits\ngrid:\n  labeled_size: [40, 99999]",
        "study.yaml:4: 'labeled_size: 99999': digits.1@99999-1: class",
    ),
    "size in a coupled axis": (
        "settings:\n  dataset: digits\ngrid:\n  imbalance_ratio, labeled_size:\n    - [10, 10]\n    - [2, 5000]",
        "study.yaml:6: 'imbalance_ratio, labeled_size: [2, 5000]': digits_LT_2.1@5000-1: class",
    ),
    "no labeled size": ("settings:\n  dataset: digits", "study.yaml:2: 'dataset: digits': labeled_size is missing"),
    "more validation images than there are": (
        "settings:\n  dataset: digits\n  labeled_size: 40\n  valid_size: 5000",
        "study.yaml:4: 'valid_size: 5000': digits.1@40-5000: 5000 validation images",
    ),
    "imbalance below 1": (
        "settings:\n  dataset: digits\n  labeled_size: 40\n  imbalance_ratio: 0.5",
        "study.yaml:4: 'imbalance_ratio: 0.5': imbalance_ratio is largest class ÷ smallest class",
    ),
    "split key without effect": (
        "settings:\n  dataset: digits.1@40-1\n  labeled_size: 50",
        "study.yaml:3: 'labeled_size: 50': labeled_size would have no effect",
    ),
    "unknown placeholder": (
        "settings:\n  dataset: 'digits.{sede}@40-1'",
        "nothing to put in place of {sede}; did you mean 'seed'?",
    ),
    "network too deep for the images": (
        "settings:\n  dataset: digits.1@40-1\n  scales: 9",
        "study.yaml:3: 'scales: 9': scales is 9; images of 8 pixels",
    ),
    "key twice": ("settings:\n  lr: 0.1\n  lr: 0.2", "study.yaml:3: lr: given twice, first in line 2"),
    "fixed and an axis": (
        "settings:\n  seed: 1\n  dataset: digits.1@40-1\ngrid:\n  seed: [1, 2]",
        "study.yaml:5: 'seed: [1, 2]': 'seed' is already given at",
    ),
    "empty axis": ("grid:\n  seed: []", "study.yaml:2: 'seed: []': an axis needs at least one value"),
    "axis that is no list": (
        "grid:\n  seed: 3",
        "study.yaml:2: 'seed: 3': the values of an axis are a list, such as [3]",
    ),
    "grid that is a list": ("grid: [1]", "study.yaml:1: 'grid: [1]': the grid is a mapping"),
    "coupled lengths": (
        "grid:\n  imbalance_ratio, labeled_size:\n    - [10, 10]\n    - [20]",
        "study.yaml:4: 'imbalance_ratio, labeled_size: [20]': each point of this axis is a list of 2 values",
    ),
    "the same trial twice": (
        "settings: {dataset: digits.1@40-1}\ngrid:\n  seed: [1, 2, 1]",
        "study.yaml:3: 'seed: [1, 2, 1]': seed 1 is the same trial as seed 1",
    ),
    "two spellings of one trial": (
        "settings: {dataset: digits.1@40-1}\ngrid:\n  algorithm: [cadr, cap+cai+cadr]",
        "algorithm cap+cai+cadr is the same trial as algorithm cadr",
    ),
    "unknown resource": ("resources: {cpu: 1}", "study.yaml:1: 'cpu: 1': unknown key 'cpu'; did you mean 'cpus'?"),
    "data folder": ("data_dir: [a]", "study.yaml:1: 'data_dir: ['a']': data_dir is the path of a folder"),
    "negative resource": ("resources: {cpus: -1}", "study.yaml:1: 'cpus: -1': cpus must be above 0"),
    "fractional CPUs": ("resources: {cpus: 1.5}", "cpus above 1 must be whole"),
    "workers that share a GPU": ("resources: {gpus: 0.5, workers: 2}", "workers of one trial cannot share a GPU"),
    "uneven workers": (
        "settings: {dataset: digits.1@40-1, batch: 16}\nresources:\n  workers: 3",
        "study.yaml:3: 'workers: 3': a batch of 16 cannot be divided evenly among 3 workers",
    ),
    "compiled workers": (
        "settings: {dataset: digits.1@40-1, compile: true}\nresources: {workers: 2}",
        "study.yaml:2: 'workers: 2': compile: true takes trials of one worker",
    ),
    "more than there is": (
        "settings: {dataset: digits.1@40-1}\nresources: {cpus: 4096}",
        "study.yaml:2: 'resources: …': a trial wants 1 × (4096 CPUs and",
    ),
    "concurrency of nothing": ("concurrency: 0", "study.yaml:1: 'concurrency: 0': concurrency must be at least 1"),
    "name with a slash": ("name: a/b", "study.yaml:1: 'name: a/b': the name of a sweep is the name of a folder"),
    "search without space": ("search: {trials: 3}", "a search needs a space"),
    "unknown range": (
        SEARCH + "{logunifrm: [1, 2]}",
        "study.yaml:4: 'logunifrm: [1, 2]': unknown range 'logunifrm'; did you",
    ),
    "range without bounds": (SEARCH + "{uniform: 3}", "a range is a list of two numbers"),
    "range upside down": (SEARCH + "{uniform: [2, 1]}", "the first bound must be below the second"),
    "range beyond the setting's": (SEARCH + "{uniform: [-1, 1]}", "study.yaml:4: 'lr: …': lr must be above 0, not -1"),
    "test data in the search": (
        SEARCH + "{uniform: [1, 2]}\n  metric: gmean",
        "study.yaml:5: 'metric: gmean': 'gmean' is measured on test data",
    ),
    "too little validation data": (
        "settings: {dataset: digits, labeled_size: 40}\nsearch:\n  metric: valid_gmean\n  space: {lr: {choice: [0.1]}}",
        "study.yaml:3: 'metric: valid_gmean': digits.1@40-1 has 1 validation images, too few",
    ),
    "tab": ("settings:\n\tlr: 0.1", "study.yaml:2: 'lr: 0.1': not YAML: found character '\\t'"),
    "open bracket": ("grid:\n  seed: [1, 2\nsettings: {}", "study.yaml:3: 'settings: {}': not YAML: "),
    "list at the top": ("- a\n- b", "study.yaml:1: a sweep file is a mapping of keys"),
    "empty": ("# nothing\n", "study.yaml: the file is empty"),
    "key that is a number": ("settings:\n  3: 4", "study.yaml:2: 3: a key must be plain text"),
    "code": ("name: !!python/object/apply:os.system ['true']", "study.yaml:1"),
    "endless": ("grid: &a [*a]", "study.yaml: nested too deeply"),
    "not text": (b"\xff\xfe\x00", "study.yaml: not UTF-8 text"),
    "control character": ("name: a\x07b", "study.yaml: not YAML: unacceptable character"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_with_exit_code_2(mistake, tmp_path, monkeypatch, capsys):
    text, message = MISTAKES[mistake]
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.setenv("ML_DATA", str(tmp_path / "data"))
    assert cli.main([str(path), "--storage-path", str(tmp_path / "results")]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert len(err.splitlines()) == 1 and "Traceback" not in err
    assert not (tmp_path / "results").exists()


def test_a_file_that_is_not_there_suggests_those_that_are(tmp_path, capsys):
    (tmp_path / "digits.yaml").touch()
    assert cli.main([str(tmp_path / "digit.yaml")]) == 2
    assert "digit.yaml: there is no such file; " in (err := capsys.readouterr().err) and "has digits.yaml" in err
    assert cli.main([str(tmp_path)]) == 2
    assert "cannot be read: Is a directory" in capsys.readouterr().err
