"""The dry run's table tells trials apart."""

from cissl.tuning import cli


def test_swept_settings_have_a_column(tiny, capsys):
    assert cli.main([str(tiny), "--dry-run", "--set", "lr=[0.03, 0.1]", "--set", "wd=0.001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["trial", "split", "lr", "steps"]
    assert sorted(line.split()[2] for line in lines[2:6]) == ["0.03", "0.03", "0.1", "0.1"]
