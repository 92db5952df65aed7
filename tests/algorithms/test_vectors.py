"""Every method against numbers of its authors' program, which lie in ``tests/reference/methods``."""

from pathlib import Path

import pytest
import torch

from tests.algorithms.vectors import __main__ as command
from tests.algorithms.vectors.compare import adapter, compare
from tests.algorithms.vectors.reader import read

FOLDER = Path(__file__).parents[1] / "reference" / "methods"
CASES = [case for path in sorted(FOLDER.glob("*.json")) for case in read(path)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}-{case.name}")
def test_a_method_equals_its_authors_program(case, dtype):
    deviations = compare(case, dtype)
    assert deviations
    assert [deviation for deviation in deviations if deviation.off] == []


def test_every_method_of_the_package_has_vectors():
    from cissl.algorithms.cards import built_in

    first = {"supervised", "fixmatch", "cap", "cai", "dr"}  # theirs are in tests/algorithms/test_losses.py
    named = {"crest+": "crest"}
    missing = {named.get(name, name) for name in built_in()} - first - {path.stem for path in FOLDER.glob("*.json")}
    assert not missing


def test_the_command_tells_what_is_off(tmp_path, capsys, monkeypatch):
    assert command.main([str(tmp_path)]) == 1 and "no vectors" in capsys.readouterr().err
    assert command.main([str(FOLDER), "--only", "abc"]) == 0
    assert "equal" in capsys.readouterr().out

    real = adapter("abc").run
    monkeypatch.setattr(adapter("abc"), "run", lambda case, dtype: {**real(case, dtype), "loss": 0.0})
    assert command.main([str(FOLDER), "--only", "abc"]) == 1
    assert "loss" in capsys.readouterr().out
