"""Methods and backbones of a user's own, from the page that teaches them; without Ray."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cissl import plugins, train
from cissl.algorithms import __main__ as describe
from cissl.algorithms.cards import find
from cissl.config import TrialConfig
from cissl.errors import ContractError, UserError
from cissl.models.backbones import build
from cissl.testing import __main__ as testing
from cissl.testing import check_method, make_facts, make_method
from cissl.testing.conformance import WORKERS, compare_workers, short_config
from cissl.testing.workers import train_together

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how_to"
PAGE = (HOW_TO / "own_method.md").read_text(encoding="utf-8")
METHOD = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)[0]
BACKBONE = re.findall(r"```python\n(.*?)```", (HOW_TO / "own_backbone.md").read_text(encoding="utf-8"), flags=re.S)[0]
SHORT = (
    "--dataset digits_LT_10.1@40-20 --filters 4 --repeat 1 --scales 2 --batch 8 --uratio 2 --bn_decay 0.9 "
    "--ema_decay 0.9 --train_kimg 0.0625 --report_kimg 0.03125 --quiet"
).split()


def run(*arguments):
    return train.main([*SHORT, *arguments])


def test_the_pages_method_passes_the_conformance_suite(here):
    here("soft.py", METHOD)
    command = [sys.executable, "-m", "cissl.testing", "soft.py:SoftFixMatch"]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passes") == 9


def test_the_pages_method_and_backbone_train_from_the_command_line(here, tmp_path, capsys):
    here("soft.py", METHOD + "\n\n" + BACKBONE)
    arguments = ["--algorithm", "soft.py:SoftFixMatch", "--arch", "soft.py:Net", "--power", "3"]
    assert run(*arguments, "--train-dir", str(tmp_path / "out")) == 0
    (folder,) = (tmp_path / "out").iterdir()
    record = json.loads((folder / "config.json").read_text())
    assert folder.name.startswith("SoftFixMatch-digits_LT_10@40-s1-")
    assert (record["title"], record["config"]["power"]) == ("Soft FixMatch", 3.0)
    assert record["config"]["algorithm"] == "soft.py:SoftFixMatch" and record["config"]["arch"] == "soft.py:Net"
    assert (folder / "code" / "soft.py").read_text() == (tmp_path / "soft.py").read_text()
    row = json.loads((folder / "history.jsonl").read_text().splitlines()[-1])
    assert 0 < row["measured"]["weight"] < 1 and row["measured"]["weight"] == pytest.approx(row["mask_ratio"])


def test_what_makes_a_step_wait_is_told_at_its_line(here):
    path = here("soft.py", METHOD.replace("weights.mean()", "weights.mean().item()"))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if ".item()" in text)
    (finding,) = check_method("soft.py:SoftFixMatch", only=("waiting",))
    assert finding.problem.startswith(f"a step reads a value back from the device at {path}:{line} (as .item()")


def test_an_error_is_told_once(here, capsys):
    path = here("soft.py", METHOD.replace("classes, weights, probabilities", "classes, weights.mean(), probabilities"))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "weights.mean()," in text)
    assert testing.main(["soft.py:SoftFixMatch"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert "training" in first and f"{path}:{line}: ContractError: PseudoLabels.weights is" in first
    assert second == "soft.py:SoftFixMatch: the other checks need a method that trains"
    here("soft.py", METHOD.replace("confidence, classes =", "step.number > 3 and 1 / 0\n        confidence, classes ="))
    found = check_method("soft.py:SoftFixMatch", only=("state", "bf16"))
    assert "ZeroDivisionError" in found[0].problem and found[1].problem == "the same as in 'state'"


LATE = """
    late: int = setting(100, "first step in which the power acts", other=2, acts_with={"soft": True})
    soft: bool = setting(False, "whether it acts at all", acts_with={"late": 2})
    power: float = setting(2.0, "exponent of the confidence", acts_with={"late": 2, "soft": True})
"""


def test_a_setting_is_tried_beside_what_it_acts_with(here):
    line = next(line for line in METHOD.splitlines(keepends=True) if "power: float" in line)
    acts = "self.settings.soft and step.number >= self.settings.late"
    method = METHOD.replace(line, LATE).replace("**self.settings.power", f"**(self.settings.power if {acts} else 1)")
    here("soft.py", method)
    assert check_method("soft.py:SoftFixMatch", only=("settings",))[0].passed


def test_help_shows_the_settings_of_ones_own_method(here, capsys):
    here("soft.py", METHOD)
    with pytest.raises(SystemExit):
        train.main(["--algorithm", "soft.py:SoftFixMatch", "--help"])
    text = capsys.readouterr().out
    assert "--power V" in text and "--confidence" not in text
    assert "exponent of the confidence, symbol α [2.0]" in " ".join(text.split())


def test_a_backbone_beside_the_authors_switches_is_part_of_the_hash_from_the_first(here, tmp_path, monkeypatch):
    here("net.py", BACKBONE)
    registered = train.make_config(train.parse([*SHORT, "--arch", "net.py:Net", "--CAP"]))
    monkeypatch.setattr(plugins, "_sources", {})  # as in a process that has just begun
    config = train.make_config(train.parse([*SHORT, "--arch", "net.py:Net", "--CAP"]))
    assert config.code == registered.code and list(config.code) == ["net.py"]


def test_a_change_of_the_file_makes_other_trials_and_touches_no_others(here):
    here("soft.py", METHOD)
    before = TrialConfig(algorithm="soft.py:SoftFixMatch")
    here("soft.py", METHOD + "\n# a change\n")
    after = TrialConfig(algorithm="soft.py:SoftFixMatch")
    assert before.name == after.name and before.hash != after.hash
    assert TrialConfig().hash == TrialConfig(algorithm="fixmatch").hash


SETTINGS = """
    import dataclasses
    from cissl.algorithms.cards import setting
    from cissl.algorithms.contract import AddOn, Base
    from cissl.algorithms.fixmatch.method import FixMatch

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine:
        uratio: int = setting(7, "unlabeled images per labeled image")
        FIELD  # here

    class Ours(FixMatch):
        Settings = Mine
"""


@pytest.mark.parametrize("field, message", [
    ("power: float = 2.0", "Mine.power is not a setting; write power: float = setting(2.0, \"what it means\")"),
    ("power: 'int'", "Mine.power is not a setting; write power: int = setting(default, \"what it means\")"),
    ("power: list = setting(None, 'some')", "Mine.power is of type list; a setting is a float, int, bool or str"),
])  # fmt: skip
def test_a_setting_that_is_none_is_told_at_its_line(here, field, message):
    path = here("mine.py", SETTINGS.replace("FIELD", field))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "# here" in text)
    with pytest.raises(UserError) as error:
        find("mine.py:Ours")
    assert str(error.value).startswith(f"{path}:{line}: {message}")


def test_settings_that_are_no_dataclass_or_have_the_name_of_another_are_refused(here):
    here(
        "mine.py", SETTINGS.replace("@dataclasses.dataclass(frozen=True, kw_only=True)", "").replace("FIELD", "wu = 1")
    )
    with pytest.raises(UserError, match="mine.py:Ours: Settings is not a dataclass; put @dataclasses.dataclass"):
        find("mine.py:Ours")
    here("mine.py", SETTINGS.replace("FIELD", "lr: float = setting(0.1, 'rate')"))
    with pytest.raises(UserError, match="mine.py:Ours has a setting 'lr', which every trial has"):
        TrialConfig(algorithm="mine.py:Ours")


def test_a_setting_that_the_extended_method_uses_and_ones_own_lack_is_named(here, tmp_path, capsys):
    path = here("mine.py", SETTINGS.replace("FIELD", "wu: float = setting(1.0, 'weight')"))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "class Mine" in text)
    assert run("--algorithm", "mine.py:Ours", "--train-dir", str(tmp_path / "out")) == train.EXIT_FAILED
    assert f"{path}:{line}: ContractError: Mine has no 'cap_ema_momentum', which Ours uses" in capsys.readouterr().err


def test_a_setting_in_the_place_of_a_function_is_refused_at_its_line(here):
    path = here("mine.py", SETTINGS.replace("FIELD", "") + "\n        uratio: int = setting(7, 'ratio')\n")
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "'ratio'" in text)
    with pytest.raises(UserError, match=f"{path}:{line}: Ours.uratio is a value where Base has a function"):
        find("mine.py:Ours")


def test_a_constructor_that_takes_something_else_than_the_settings_is_refused_at_its_class(here):
    text = SETTINGS.replace("FIELD", "wu: float = setting(1.0, 'weight')")
    path = here("mine.py", text + "\n        def __init__(self, classes, filters):\n            pass\n")
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "class Ours" in text)
    with pytest.raises(UserError, match=rf"{path}:{line}: Ours.__init__ cannot be called with the settings alone"):
        find("mine.py:Ours")


@pytest.mark.parametrize("name", ["mine.py", "mine.py:", "mine.py: ", "fixmatch+mine.py"])
def test_a_file_without_a_class_is_answered_with_those_that_it_has(here, capsys, name):
    here("mine.py", SETTINGS.replace("FIELD", "wu: float = setting(1.0, 'weight')") + "\n    class Plus(AddOn): pass")
    for command in (testing.main, describe.main):
        assert command([name]) == 2
        message = capsys.readouterr().err
        assert "write file.py:Name" in message and "it has mine.py:Ours, mine.py:Plus\n" in message


def test_a_setting_without_its_add_ons_name_is_answered_with_it(here, capsys):
    here("mine.py", ADD_ON)
    assert run("--algorithm", "fixmatch+mine.py:Smooth", "--share", "0.2") == train.EXIT_USER
    assert "has no setting 'share'; did you mean 'smooth.share'?" in capsys.readouterr().err
    with pytest.raises(UserError, match="fixmatch\\+prg has no setting 'temperature'; did you mean 'prg.temperature'?"):
        TrialConfig(algorithm="fixmatch+prg", temperature=2)


def test_an_add_ons_state_without_its_name_is_told_at_its_line(here):
    text = "from cissl.algorithms.contract import AddOn\n\nclass Mine(AddOn):\n    def state(self, facts):\n"
    path = here("mine.py", text + "        return {'seen': facts.full((1,), 0.0)}")
    method = make_method("fixmatch+mine.py:Mine")
    with pytest.raises(ContractError, match="state 'seen' must be called 'mine.seen'") as error:
        method.state(make_facts(classes=2))
    assert plugins.place_of(error.value) == f"{path}:4"


ADD_ON = """
    from cissl.algorithms.cards import setting
    from cissl.algorithms.contract import AddOn
    import dataclasses

    class Smooth(AddOn):
        @dataclasses.dataclass(frozen=True, kw_only=True)
        class Settings:
            share: float = setting(0.1, "share of the uniform distribution", at_least=0, at_most=1)

        def guess(self, step, out, probabilities):
            share = self.settings.share
            return (1 - share) * probabilities + share / probabilities.shape[1]
"""


def test_an_add_on_of_ones_own_acts_where_it_overrides(here):
    here("mine.py", ADD_ON)
    recipe = find("fixmatch+mine.py:Smooth")
    assert recipe.add_ons[0].fills == ("guess",)
    config = TrialConfig(algorithm="cap+mine.py:Smooth", **{"smooth.share": 0.2})
    assert config.name.startswith("fixmatch_cap_Smooth-")
    with pytest.raises(UserError, match="Supervised and Smooth do not combine"):
        find("supervised+mine.py:Smooth")


def test_a_method_that_chooses_by_itself_leaves_no_place_for_cai(here):
    here("soft.py", METHOD)
    with pytest.raises(UserError, match="Soft FixMatch and CAI do not combine"):
        find("soft.py:SoftFixMatch+cadr")
    assert find("soft.py:SoftFixMatch+cap+darp").add_ons


def test_a_whole_method_of_ones_own_offers_the_places_that_its_losses_ask_for(here):
    here(
        "whole.py",
        """
        from cissl.algorithms.contract import LABELED, Base, Losses

        class Whole(Base):
            views = {"labeled": LABELED}

            def losses(self, step):
                out = step.forward("labeled")
                return Losses(labeled={"labeled": out["labeled"].logits.mean()} | step.labeled_terms(out))
        """,
    )
    assert find("whole.py:Whole").base.slots == ("labeled", "predict", "stages")
    with pytest.raises(UserError, match="Whole and ABC do not combine"):
        find("whole.py:Whole+abc")


@pytest.mark.parametrize(
    "text, message",
    [
        ("def broken(:", "mine.py:1: SyntaxError"),
        ("import torch\n\n1 / 0", "mine.py:3: ZeroDivisionError"),
        ("import torch\n\nraise SystemExit(3)", "mine.py:3: SystemExit: 3"),
        ("class Other: pass", "mine.py has no class 'Mine'"),
        ("class Mine: pass", "mine.py:Mine is not a method"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(here, tmp_path, capsys, text, message):
    here("mine.py", text)
    assert run("--algorithm", "mine.py:Mine", "--train-dir", str(tmp_path / "out")) == train.EXIT_USER
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line, message", [("1 / 0", "ZeroDivisionError: division"), ("raise SystemExit(3)", "SystemExit")]
)
def test_an_installed_module_that_cannot_be_used_is_refused(tmp_path, monkeypatch, line, message):
    (tmp_path / "broken_package.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"cannot import broken_package: {message}"):
        find("broken_package:Mine")


def test_what_fails_while_training_is_told_with_file_and_line(here, tmp_path, capsys):
    path = here("mine.py", METHOD.replace("confidence**self", "confidence**step.nothing**self"))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "step.nothing" in text)
    arguments = ["--algorithm", "mine.py:SoftFixMatch", "--train-dir", str(tmp_path / "out")]
    assert run(*arguments) == train.EXIT_FAILED
    output = capsys.readouterr().err
    assert f"mine.py:{line}: AttributeError" in output and "Traceback" not in output
    (folder,) = (tmp_path / "out").iterdir()
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed" and "step.nothing" in status["error"]


def test_files_and_names_that_are_not_there_are_named(here, tmp_path, capsys):
    here("mine.py", "")
    for name, message in (
        ("mne.py:Mine", "mne.py: there is no such file; did you mean 'mine.py'?"),
        ("nowhere.at.all:Mine", "cannot import nowhere.at.all"),
        ("mine.py:", "write file.py:Name"),
    ):
        assert run("--algorithm", name) == train.EXIT_USER
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, message",
    [
        (BACKBONE.replace("nn.Linear(filters, classes)", "nn.Linear(filters, 7)"), "no nn.Linear with 10 outputs"),
        (
            BACKBONE.replace("nn.Linear(filters,", "nn.Linear(2 * filters,"),
            "images of digits are 8 × 8 pixels with 1 channel, in 10 classes",
        ),
        (BACKBONE.replace("super().__init__()", "super().__init__()\n        1 / 0"), "net.py:7: ZeroDivisionError"),
        ("class Net:\n    pass", "is no torch.nn.Module"),
        (
            BACKBONE.replace("self.body(images))", "self.body(images)).log_softmax(1)"),
            "must end with its last nn.Linear",
        ),
        (BACKBONE.replace("self.classify(self.body(images))", "self.body(images)"), "must end with its last nn.Linear"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(here, text, message):
    here("net.py", text)
    with pytest.raises(UserError) as error:
        build("net.py:Net", classes=10, side=8, channels=1, data="digits")
    assert message in str(error.value) and error.value.key == "arch"


@pytest.mark.parametrize(
    "text, message",
    [
        (METHOD.replace("@dataclasses.dataclass(frozen=True, kw_only=True)\n", ""), "Settings is not a dataclass"),
        (
            METHOD.replace('setting(2.0, "exponent of the confidence", symbol="α", at_least=0)', "2.0"),
            "power is not a setting",
        ),
        (
            METHOD.replace('    title = "Soft', '    slots = "select"\n    title = "Soft'),
            "slots must be a tuple of texts",
        ),
        (METHOD.replace('    title = "Soft', '    slots = ("selekt",)\n    title = "Soft'), "did you mean 'select'?"),
        (METHOD.replace('    title = "Soft', '    short = ["wu"]\n    title = "Soft'), "short must be a dict"),
    ],
)
def test_what_a_method_says_of_itself_in_another_form_is_refused(here, text, message):
    here("soft.py", text)
    with pytest.raises(UserError, match=r"soft\.py:(SoftFixMatch|\d+): ") as error:
        find("soft.py:SoftFixMatch")
    assert message in str(error.value)


def test_an_add_on_that_needs_another_of_ones_own_says_which(here):
    here(
        "ours.py", "from cissl.algorithms.contract import AddOn\n\nclass Ours(AddOn):\n    needs = ('ours.py:Other',)\n"
    )
    with pytest.raises(UserError, match=r"Ours needs ours.py:Other: write ours.py:Other\+ours.py:Ours"):
        find("fixmatch+ours.py:Ours")


def test_a_module_name_that_cannot_be_is_refused():
    for name in (".:Ours", "..x:Ours", "no such:Ours"):
        with pytest.raises(UserError, match="cannot import"):
            plugins.load(name)


def test_a_backbones_weights_are_a_function_of_the_seed(here):
    here("net.py", BACKBONE)
    torch.manual_seed(123)
    first = build("net.py:Net", classes=10, side=8, channels=1, seed=1)
    drawn = torch.rand(1)
    torch.manual_seed(123)
    assert torch.equal(drawn, torch.rand(1))  # building left the global state as it was
    second, other = (build("net.py:Net", classes=10, side=8, channels=1, seed=seed) for seed in (1, 2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(first.dense.weight, other.dense.weight)


def _environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.slow
def test_a_backbones_own_batchnorm_is_joint_on_several_workers(here):
    here("net.py", BACKBONE)
    config = short_config("fixmatch", arch="net.py:Net")
    assert compare_workers(config, train_together([config], WORKERS)[0]) == ""
