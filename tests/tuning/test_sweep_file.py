"""What a sweep file may say, and what each mistake in one is answered with."""

import re
import textwrap

import pytest

from cissl import datasets
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.tuning import cli, scalars, search, sweep_file

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
    assert load(GOOD + "data_dir: /shared/data").data_dir == "/shared/data"


def test_everything_else_has_a_default(load):
    sweep = load("settings: {dataset: digits, labeled_size: 40}")
    assert sweep.trials == [TrialConfig(dataset="digits.1@40-1")]
    assert (sweep.resources, sweep.concurrency, sweep.search) == (sweep_file.ResourceRequest(), None, None)


@pytest.mark.parametrize(
    "settings, dataset",
    [
        ("dataset: digits, labeled_size: 40, imbalance_ratio: null", "digits.1@40-1"),
        ("dataset: digits, labeled_size: 40, imbalance_ratio: 2.5, seed: 7", "digits_LT_2.5.7@40-1"),
        ("dataset: digits, labeled_size: 40, imbalance_ratio: 20.0, valid_size: 9", "digits_LT_20.1@40-9"),
        ("dataset: digits_LT_20.3@20-1, seed: 8", "digits_LT_20.3@20-1"),
        ("dataset: 'digits_LT_20.{seed}@{labeled_size}-1', seed: 8, labeled_size: 21", "digits_LT_20.8@21-1"),
        ("dataset: 'digits_LT_5_UREV_5.{seed}@10-1'", "digits_LT_5_UREV_5.1@10-1"),
        ("dataset: digits, labels: all", "digits.1@all-1"),
        ("dataset: digits, labeled_size: all, valid_size: 9", "digits.1@all-9"),
        ("dataset: 'digits_HELDOUT.{seed}@{labels}-3', labels: all", "digits_HELDOUT.1@all-3"),
        ("dataset: digits, labels: all, imbalance_ratio: 5, class_order: size", "digits_LT_5_BYSIZE.1@all-1"),
        ("dataset: digits, labels: all, imbalance_ratio: 5, class_order: index", "digits_LT_5.1@all-1"),
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


def test_what_was_run_can_be_kept_as_a_file(load, tmp_path):
    assert load(GOOD).source.text() == textwrap.dedent(GOOD)
    changed = load(GOOD, "lr=\n1e-6", "name='010'", "confidence=[0.8, 0.9]")
    text = changed.source.text()
    assert text.startswith(
        f"# {tmp_path / 'study.yaml'} with --set lr= 1e-6 --set name='010' --set confidence=[0.8, 0.9]"
    )
    again = load(text)
    assert (again.name, again.trials) == ("010", changed.trials)


def test_an_override_that_is_wrong_is_named(load):
    with pytest.raises(
        UserError, match=r"--set confidense=0.9: unknown setting 'confidense'; did you mean 'confidence'\?"
    ):
        load(GOOD, "confidense=0.9")
    with pytest.raises(UserError, match=r"--set batch: write key=value"):
        load(GOOD, "batch")
    with pytest.raises(UserError, match=r"--set labeled_size=3: labeled_size changes together with others"):
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

RUNS = "\nsettings: {dataset: digits.1@40-1}"  # what a file needs that is right but for one thing

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
        "study.yaml:4: 'labeled_size: 99999': digits.1@99999-1: the classes have 1262 images, but",
    ),
    "size in a coupled axis": (
        "settings:\n  dataset: digits\ngrid:\n  imbalance_ratio, labeled_size:\n    - [10, 10]\n    - [2, 5000]",
        "study.yaml:6: 'imbalance_ratio, labeled_size: [2, 5000]': digits_LT_2.1@5000-1: the classes have",
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
    "class order of a whole split": (
        "settings:\n  dataset: digits_LT_5.1@40-1\n  class_order: size",
        "study.yaml:3: 'class_order: size': class_order would have no effect, since dataset is the whole split "
        "'digits_LT_5.1@40-1'; write _BYSIZE after its ratios",
    ),
    "class order without a tail": (
        "settings:\n  dataset: digits\n  labels: all\n  class_order: size",
        "study.yaml:4: 'class_order: size': class_order: size would have no effect: without an imbalance_ratio",
    ),
    "class order that there is not": (
        "settings:\n  dataset: digits\n  labels: all\n  class_order: sized",
        "study.yaml:4: 'class_order: sized': class_order is one of index, size: a long tail begins with the first "
        "class, or with the largest; did you mean 'size'?",
    ),
    "labels twice": (
        "settings:\n  dataset: digits\n  labels: all\n  labeled_size: 9",
        "study.yaml:3: 'labels: all': labels and labeled_size both say how many labels there are",
    ),
    "number of labels": (
        "settings:\n  dataset: digits\n  labels: 40",
        "study.yaml:3: 'labels: 40': labels can only be 'all'; labeled_size takes their number",
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
    "more trials than a sweep can have": (
        f"settings: {{dataset: digits.1@40-1}}\ngrid: {{seed: {[*range(400)]}, lr: {[*range(1, 401)]}}}",
        ": 160000 combinations, of more than 100000 no sweep is made",
    ),
    "two spellings of one trial": (
        "settings: {dataset: digits.1@40-1}\ngrid:\n  algorithm: [cadr, cap+cai+cadr]",
        "algorithm cap+cai+cadr is the same trial as algorithm cadr",
    ),
    "unknown resource": (
        "resources: {cpu: 1}" + RUNS,
        "study.yaml:1: 'cpu: 1': unknown key 'cpu'; did you mean 'cpus'?",
    ),
    "data folder": ("data_dir: [a]" + RUNS, "study.yaml:1: 'data_dir: ['a']': data_dir is the path of a folder"),
    "negative resource": ("resources: {cpus: -1}" + RUNS, "study.yaml:1: 'cpus: -1': cpus must be above 0"),
    "fractional CPUs": ("resources: {cpus: 1.5}" + RUNS, "cpus above 1 must be whole"),
    "a share that Ray does not know": (
        "resources: {cpus: 1e-320}" + RUNS,
        "study.yaml:1: 'cpus: 1e-320': cpus must be at least 0.0001, Ray's finest share",
    ),
    "a range of numbers that no float tells apart": (
        SEARCH + "{int: [1, 1e30]}",
        "an int range is made of whole numbers up to 9007199254740992",
    ),
    "a geometric mean without some classes": (
        "settings:\n  dataset: digits_LT_20_ULT_100_HELDOUT.1@10-12\n"
        "search: {metric: valid_gmean, space: {lr: {choice: [0.1]}}}",
        "of the 10 classes are not among the 12 validation images",
    ),
    "workers that share a GPU": (
        "resources: {gpus: 0.5, workers: 2}" + RUNS,
        "workers of one trial cannot share a GPU",
    ),
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
    "a number that no sum can hold": (
        "concurrency: 1e308" + RUNS,
        "concurrency must be at most 9007199254740992",
    ),
    "concurrency of nothing": (
        "concurrency: 0" + RUNS,
        "study.yaml:1: 'concurrency: 0': concurrency must be at least 1",
    ),
    "name with a slash": ("name: a/b" + RUNS, "study.yaml:1: 'name: a/b': the name of a sweep is the name of a folder"),
    "search without space": ("search: {trials: 3}" + RUNS, "a search needs a space"),
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
        "study.yaml:3: 'metric: valid_gmean': digits_HELDOUT.1@40-1 has 1 validation images, too few",
    ),
    "tab": ("settings:\n\tlr: 0.1", "study.yaml:2: 'lr: 0.1': not YAML: found character '\\t'"),
    "open bracket": ("grid:\n  seed: [1, 2\nsettings: {}", "study.yaml:3: 'settings: {}': not YAML: "),
    "list at the top": ("- a\n- b", "study.yaml:1: a sweep file is a mapping of keys"),
    "empty": ("# nothing\n", "study.yaml: the file is empty"),
    "key that is a number": ("settings:\n  3: 4", "study.yaml:2: 3: a key must be plain text"),
    "code": ("name: !!python/object/apply:os.system ['true']", "study.yaml:1"),
    "endless": ("grid: &a [*a]", "study.yaml: nested too deeply"),
    "aliases of aliases": (
        "a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
        "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
        "e: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]",
        "study.yaml:1: more than 100000 values",
    ),
    "unknown tag on a list": (
        "settings: {dataset: digits.1@40-1}\ngrid:\n  seed: !range [1, 5]",
        "study.yaml:3: seed: the tag !range has no meaning here",
    ),
    "unknown tag on a mapping": ("grid: !include {seed: [1]}", "study.yaml:1: grid: the tag !include has no meaning"),
    "known tag on text": (
        "settings:\n  lr: !!int fast",
        "study.yaml:2: 'lr: fast': the tag !!int has no meaning here; leave it out",
    ),
    "merge key": ("settings: &a 0.1\ngrid:\n  <<: *a", "study.yaml:3: <<: what is merged is a mapping"),
    "octal": ("settings:\n  seed: 010", "study.yaml:2: 'seed: 010': 010 is a number that begins with 0"),
    "base 60": ("grid:\n  lr: [1:30]", "study.yaml:2: 'lr: 1:30': 1:30 is a number to the base 60"),
    "hexadecimal": ("settings:\n  seed: 0x1F", "study.yaml:2: 'seed: 0x1F': 0x1F is a number that is not decimal"),
    "infinite": (
        "search: {space: {batch: {int: [8, .inf]}}}",
        "study.yaml:1: 'int: .inf': .inf is not a finite number",
    ),
    "yes": ("settings:\n  cap_ema: yes", "study.yaml:2: 'cap_ema: yes': YAML reads yes as true; write true, or 'yes'"),
    "no as a key": ("settings:\n  no: 1", "study.yaml:2: no: a key must be plain text"),
    "a date that is none": (
        "settings:\n  dataset: digits.1@40-1\n  batch: 2024-13-45",
        "study.yaml:3: 'batch: 2024-13-45': batch must be a whole number, not '2024-13-45'",
    ),
    "too large": ("settings:\n  seed: 1" + 5000 * "0", "the number is too large; the largest is 9223372036854775807"),
    "joined key twice": (
        "settings: {dataset: digits.1@40-1}\ngrid:\n  'lr, lr': [[0.1, 0.01]]",
        "study.yaml:3: 'lr, lr: [[0.1, 0.01]]': 'lr' stands twice in one axis",
    ),
    "name that no folder can have": ("name: " + 300 * "a" + RUNS, "a folder, of at most 100 letters"),
    "name that is a number": (
        "name: 2024" + RUNS,
        "study.yaml:1: 'name: 2024': the name of a sweep is text; put it in",
    ),
    "choice twice": (SEARCH + "{choice: [0.1, 1e-1]}", "study.yaml:4: 'choice: 0.1': the choice stands here twice"),
    "fractions of a whole number": (
        SEARCH + "{choice: [0.1]}\n    batch: {uniform: [8, 64]}",
        "study.yaml:5: 'batch: …': batch is a whole number, and uniform gives fractions; write int: [8, 64]",
    ),
    "batches that workers cannot share": (
        SEARCH + "{choice: [0.1]}\n    batch: {choice: [8, 65]}\nresources: {workers: 2}",
        "a batch of 65 cannot be divided evenly among 2 workers",
    ),
    "batches between that workers cannot share": (
        SEARCH + "{choice: [0.1]}\n    batch: {int: [8, 64]}\nresources: {workers: 2}",
        "study.yaml:5: 'batch: …': the range has batches that 2 workers cannot share evenly; write int: [8, 64, 2]",
    ),
    "a step that leads nowhere": (
        SEARCH + "{choice: [0.1]}\n    batch: {int: [8, 64, 3]}",
        "study.yaml:5: 'int: [8, 64, 3]': a step of 3 does not lead from 8 to 64",
    ),
    "networks that exist at some corners alone": (
        SEARCH + "{choice: [0.1, 0.2]}\n    scales: {choice: [9, 2]}\n    arch: {choice: [res18, wrn]}",
        "study.yaml:5: 'scales: …': scales is 9; images of 8 pixels",
    ),
    "a search for the best seed": (
        "settings: {dataset: digits, labeled_size: 40, valid_size: 50}\nsearch:\n  space:\n    seed: {int: [1, 9]}",
        "study.yaml:4: 'seed: …': candidates with another seed would be trained and judged on other images",
    ),
    "a search for the best moment": (
        SEARCH + "{choice: [0.1]}\n    report_kimg: {uniform: [1, 2]}",
        "study.yaml:5: 'report_kimg: …': candidates with another report_kimg would be judged at other moments",
    ),
    "a search that changes nothing": (
        SEARCH + "{choice: [0.1]}\n    keep_ckpt: {int: [1, 3]}",
        "study.yaml:5: 'keep_ckpt: …': keep_ckpt changes no result",
    ),
    "validation images that are labeled": (
        "settings:\n  dataset: digits_LT_20.1@21-200\nsearch: {space: {lr: {choice: [0.1]}}}",
        "study.yaml:2: 'dataset: digits_LT_20.1@21-200': 12 of the 200 validation images of digits_LT_20.1@21-200 are "
        "labeled, so a search would choose by images that it trains on; write _HELDOUT before the split's seed, as in "
        "digits_LT_20_HELDOUT.1@21-200",
    ),
    "not text": (b"\xff\xfe\x00", "study.yaml: not UTF-8 text"),
    "control character": ("name: a\x07b", "study.yaml:1: not YAML: unacceptable character"),
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


def test_all_mistakes_of_a_file_are_told_at_once(load):
    with pytest.raises(UserError) as error:
        load(
            """
            resources: {cpu: 1}
            concurrency: 0
            settings:
              dataset: digits
              labeled_size: 40
              lr: -1
              batch: many
            grid:
              algorithm: [fixmach, cadr, cad]
            """
        )
    lines = str(error.value).splitlines()
    assert sorted(int(line.partition("study.yaml:")[2].partition(":")[0]) for line in lines) == [2, 3, 7, 8, 10, 10]
    with pytest.raises(UserError) as error:
        load("settings:\n  lr: 010\n  wd: 1:30\n  lr: 1\n  5: 1\ngrid: !x [1]")
    assert len(str(error.value).splitlines()) == 5


@pytest.mark.parametrize(
    "text, value",
    [
        ("5e-4", 5e-4), ("1e1", 10.0), ("+1E-3", 1e-3), (".5", 0.5), ("-2.", -2.0), ("7", 7), ("-3", -3), ("0", 0),
        ("1_000", 1000), ("00.5", 0.5), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("2024-01-31", "2024-01-31"), ("12:30:45.1.2", "12:30:45.1.2"), ("2024_01", "2024_01"), ("=", "="), ("y", "y"),
        ("1e", "1e"), (".", "."), ("1.2.3", "1.2.3"), ("d.d.d", "d.d.d"), ("1,5", "1,5"),
    ],
)  # fmt: skip
def test_a_word_means_what_a_person_reads(text, value):
    read = scalars.read(text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    "010 -07 0_8 0o17 0x1F 0b11 1:30 190:20:30 1:30.5 yes No ON off .inf -.INF .nan 1e400 1e-400 "
    "9223372036854775808".split(),
)
def test_a_word_that_yaml_reads_otherwise_is_refused(text):
    with pytest.raises(ValueError, match="YAML|decimal|number|small"):
        scalars.read(text)


def test_quotes_make_text_of_any_word(load):
    assert load("name: 'no'" + RUNS).name == "no"
    assert load("name: !!str 010" + RUNS).name == "010"
    assert load("name: 2024-01-31" + RUNS).name == "2024-01-31"


@pytest.mark.parametrize("override", ["lr=010", "seed=[1:30]", "seed=2024-02-31", "lr=!x 1", "lr={a: 1, a: 2}", "lr=["])
def test_an_override_is_read_as_the_file_is(load, override):
    with pytest.raises(UserError, match=f"^--set {re.escape(override)}: "):
        load(GOOD.replace("  lr: 5e-2\n", ""), override)


def test_the_same_number_is_right_wherever_a_number_is(load):
    sweep = load(
        """
        settings: {dataset: digits, labeled_size: 4e1, valid_size: 5e1, imbalance_ratio: 1e1}
        grid: {seed: [1e0]}
        search:
          space: {lr: {loguniform: [1e-3, 1e-1]}, batch: {int: [8e0, 16]}}
          trials: 1e1
          asha: {grace_kimg: 1e-1}
        resources: {gpus: 5e-1, workers: 1e0}
        concurrency: 2e0
        """
    )
    assert sweep.trials[0].dataset == "digits_LT_10_HELDOUT.1@40-50"
    assert (sweep.search.trials, sweep.search.asha.grace_kimg, sweep.search.space["batch"].values) == (10, 0.1, (8, 16))
    assert (sweep.resources, sweep.concurrency) == (sweep_file.ResourceRequest(None, 0.5, 1), 2)


def test_a_search_has_validation_images_without_a_label(load):
    text = "settings: {dataset: digits, labeled_size: 40, valid_size: 50, imbalance_ratio: 20}"
    assert load(text).trials[0].dataset == "digits_LT_20.1@40-50"
    search = load(text + "\nsearch: {space: {lr: {choice: [0.1]}}}")
    (candidate,) = search.candidate({"lr": 0.1})
    assert search.trials[0].dataset == candidate.dataset == "digits_LT_20_HELDOUT.1@40-50"
    assert datasets.load(candidate.dataset).valid_labeled == 0


def test_a_candidate_that_cannot_be_is_refused_even_if_the_corners_can(load):
    sweep = load(
        "settings: {dataset: digits, labeled_size: 40, valid_size: 50}\n"
        "search: {space: {batch: {int: [8, 64, 2]}}}\nresources: {workers: 2}"
    )
    assert sweep.candidate({"batch": 10})[0].batch == 10
    with pytest.raises(UserError, match="a batch of 9 cannot be divided"):
        sweep.candidate({"batch": 9})


def test_a_file_that_is_not_there_suggests_those_that_are(tmp_path, capsys):
    (tmp_path / "digits.yaml").touch()
    assert cli.main([str(tmp_path / "digit.yaml")]) == 2
    assert "digit.yaml: there is no such file; " in (err := capsys.readouterr().err) and "has digits.yaml" in err
    assert cli.main([str(tmp_path)]) == 2
    assert "cannot be read: Is a directory" in capsys.readouterr().err


# Shorter files


def written(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_merged_keys_give_way_to_those_that_stand_there(tmp_path):
    path = written(
        tmp_path,
        "s.yaml",
        "settings:\n  <<: [{lr: 0.1, batch: 32}, {lr: 0.2, seed: 7}]\n"
        "  dataset: digits\n  labeled_size: 100\n  batch: 16\n",
    )
    (config,) = sweep_file.load(path).trials
    assert (config.lr, config.seed, config.batch) == (0.1, 7, 16)
    path = written(tmp_path, "t.yaml", "settings:\n  <<: &a {lr: 0}\n  dataset: digits\n  labeled_size: 100\n")
    with pytest.raises(UserError, match=r"t.yaml:2: 'lr: 0'"):
        sweep_file.load(path)


def test_a_base_says_what_a_file_does_not(tmp_path):
    written(
        tmp_path,
        "base.yaml",
        "name: b\nsettings: {dataset: digits, labeled_size: 100, lr: 0.1, batch: 32}\n"
        "grid: {seed: [1, 2], algorithm: [fixmatch, cadr]}\nconcurrency: 3\n",
    )
    path = written(tmp_path, "own.yaml", "base: base.yaml\nsettings: {batch: 16, seed: 5}\ngrid: {lr: [0.2, 0.3]}\n")
    sweep = sweep_file.load(path)
    assert (sweep.name, sweep.concurrency) == ("own", 3)
    assert [(t.algorithm, t.lr, t.seed, t.batch) for t in sweep.trials] == [
        ("fixmatch", 0.2, 5, 16), ("fixmatch", 0.3, 5, 16), ("cadr", 0.2, 5, 16), ("cadr", 0.3, 5, 16),
    ]  # fmt: skip
    kept = written(tmp_path, "kept.yaml", sweep.source.text())  # stands by itself
    assert [t.trial_id for t in sweep_file.load(kept).trials] == [t.trial_id for t in sweep.trials]
    written(tmp_path, "base.yaml", "base: own.yaml")
    with pytest.raises(UserError, match="own.yaml is based on this file itself"):
        sweep_file.load(path)
    written(tmp_path, "base.yaml", "settings:\n  dataset: digits\n  labeled_size: 100\n  uratio: -1\n")
    with pytest.raises(UserError, match=r"base.yaml:4: 'uratio: -1'"):
        sweep_file.load(path)


def test_ranges_of_whole_numbers_are_written_out(tmp_path):
    path = written(
        tmp_path, "s.yaml", "settings: {dataset: digits, labeled_size: 100}\ngrid: {seed: 1..3, batch: [8, 16..18]}\n"
    )
    trials = sweep_file.load(path).trials
    assert [(t.seed, t.batch) for t in trials[:5]] == [(1, 8), (1, 16), (1, 17), (1, 18), (2, 8)]
    assert len(trials) == 12
    assert [t.seed for t in sweep_file.load(path, ["seed=4..5", "batch=8"]).trials] == [4, 5]
    with pytest.raises(UserError, match=r"s.yaml:2: .*3\.\.1 is no range; write the lower number first"):
        sweep_file.load(written(tmp_path, "s.yaml", "settings: {dataset: digits}\ngrid: {seed: 3..1}\n"))


def test_whole_numbers_may_be_searched_on_a_logarithmic_scale(tmp_path):
    text = "settings: {dataset: digits, labeled_size: 100, valid_size: 100}\n"
    text += "search: {space: {batch: {logint: [%s, 64]}}}\n"
    sweep = sweep_file.load(written(tmp_path, "s.yaml", text % 4))
    distribution = search._distribution(sweep.search.space["batch"])
    assert (distribution.low, distribution.high, distribution.log) == (4, 64, True)
    with pytest.raises(UserError, match="a logarithmic range needs bounds above 0"):
        sweep_file.load(written(tmp_path, "s.yaml", text % 0))
