"""A sweep with a method of one's own beside methods of the package, through real Ray."""

import json
import re
from pathlib import Path

import pytest

from cissl.errors import UserError
from cissl.training.records import read_status
from cissl.tuning import sweep_file

PAGE = (Path(__file__).parents[2] / "docs" / "how_to" / "own_method.md").read_text(encoding="utf-8")
METHOD = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)[0]


def folders(tmp_path):
    return [path.parent for path in (tmp_path / "results" / "tiny").glob("*/status.json")]


@pytest.mark.slow
def test_ones_own_method_is_trained_beside_finished_trials_that_are_not(sweep, tmp_path):
    code, out = sweep()
    assert code == 0, out
    before = {path.name: (path / "status.json").stat().st_mtime_ns for path in folders(tmp_path)}

    (tmp_path / "soft.py").write_text(METHOD)
    code, out = sweep("algorithm=[fixmatch, cadr, soft.py:SoftFixMatch]", "grid.power=[1, 2]")
    assert code == 0, out
    after = {path.name: (path / "status.json").stat().st_mtime_ns for path in folders(tmp_path)}
    assert len(before) == 2 and len(after) == 4  # the powers are the new method's alone
    assert {name: after[name] for name in before} == before
    for name in after.keys() - before.keys():
        folder = tmp_path / "results" / "tiny" / name
        assert read_status(folder)["state"] == "complete"
        assert (folder / "code" / "soft.py").read_text() == METHOD
        assert json.loads((folder / "config.json").read_text())["title"] == "Soft FixMatch"


@pytest.mark.slow
def test_a_mistake_in_it_costs_its_trial_and_not_the_sweep(sweep, tmp_path):
    (tmp_path / "soft.py").write_text(METHOD.replace("confidence**self", "confidence**step.nothing**self"))
    line = next(i for i, text in enumerate((tmp_path / "soft.py").read_text().splitlines(), 1) if "nothing" in text)
    code, out = sweep("algorithm=[soft.py:SoftFixMatch, fixmatch]")
    assert code == 1, out
    states = {path.name.partition("-")[0]: read_status(path) for path in folders(tmp_path)}
    assert states["fixmatch"]["state"] == "complete" and states["SoftFixMatch"]["state"] == "failed"
    assert f"soft.py:{line}" in out and "nothing" in out
    (failed,) = (path for path in folders(tmp_path) if path.name.startswith("SoftFixMatch"))
    assert len(list((failed / "tensorboard").iterdir())) == 1  # tried once: the mistake would only be made again


def test_a_setting_that_no_method_of_the_sweep_has_is_refused(tiny, tmp_path):
    (tmp_path / "soft.py").write_text(METHOD)
    with pytest.raises(UserError, match="fixmatch has no setting 'upper', which belongs to cap"):
        sweep_file.load(tiny, ["algorithm=[fixmatch]", "upper=3"])
    with pytest.raises(UserError, match="did you mean 'power'"):
        sweep_file.load(tiny, ["algorithm=[fixmatch, soft.py:SoftFixMatch]", "powr=3"])
    with pytest.raises(UserError, match="soft.py has no class 'SoftFixMach'; did you mean 'SoftFixMatch'"):
        sweep_file.load(tiny, ["algorithm=[fixmatch, soft.py:SoftFixMach]", "grid.power=[1, 2]"])
    planned = sweep_file.load(tiny, ["algorithm=[fixmatch, soft.py:SoftFixMatch]", "power=3"]).trials
    assert ["power" in config.method for config in planned] == [False, True]


@pytest.mark.parametrize("key, at", [("algorithm", "grid.algorithm=[sft.py:Soft]"), ("arch", "arch=sft.py:Net")])
def test_a_missing_file_is_told_at_the_line_that_names_it(tiny, tmp_path, key, at):
    (tmp_path / "soft.py").write_text(METHOD)
    with pytest.raises(
        UserError, match=f"--set {at}: .*sft.py: there is no such file; did you mean 'soft.py'".replace("[", "\\[")
    ):
        sweep_file.load(tiny, [at])
    name, value = at.removeprefix("grid.").split("=")
    text = tiny.read_text().replace(
        "  algorithm: [fixmatch, cadr]\n", "" if key == "algorithm" else "  algorithm: [cadr]\n"
    )
    tiny.write_text(text.replace("grid:\n", f"grid:\n  {name}: {value if key == 'algorithm' else f'[{value}]'}\n"))
    line = next(i for i, text in enumerate(tiny.read_text().splitlines(), 1) if "sft.py" in text)
    with pytest.raises(UserError, match=f"tiny.yaml:{line}: .*sft.py: there is no such file"):
        sweep_file.load(tiny)


def test_a_setting_without_its_add_ons_name_is_answered_with_it(tiny):
    with pytest.raises(UserError, match="fixmatch\\+prg, cadr have no setting 'nb'; did you mean 'prg.nb'?"):
        sweep_file.load(tiny, ["algorithm=[fixmatch+prg, cadr]", "nb=3"])
