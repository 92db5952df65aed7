"""Which file the name of a sweep stands for."""

from pathlib import Path

import pytest

from cissl.errors import UserError
from cissl.tuning import cli, shipped

ROOT = Path(__file__).parents[2]


def test_every_sweep_at_the_top_is_shipped():
    assert shipped.names() == sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))


def test_a_name_finds_the_shipped_sweep_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["digits_lt", "--dry-run"]) == 0
    assert "18 trials" in capsys.readouterr().out


def test_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits_lt").touch()
    assert shipped.locate(Path("digits_lt")) == Path("digits_lt")


@pytest.mark.parametrize("path", ["digits_lt.yaml", "sweeps/digits_lt", "./x/digits_lt.yaml"])
def test_a_path_is_never_looked_up_elsewhere(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.locate(Path(path)) == Path(path)


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_no_name_is_answered_with_the_names_that_there_are(path, capsys):
    assert cli.main([path, "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("SWEEP is empty, or a folder; name a sweep file, or one that comes with")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="digit_lt: there is neither .* did you mean 'digits_lt'"):
        shipped.locate(Path("digit_lt"))
