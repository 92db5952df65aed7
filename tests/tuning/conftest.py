"""One Ray for all tests of this folder, and sweeps that take a second."""

import os

import pytest

TINY = """\
name: tiny
settings:
  dataset: digits
  valid_size: 20
  filters: 4
  repeat: 1
  scales: 1
  batch: 8
  uratio: 2
  train_kimg: 0.0546875  # 7 steps
  report_kimg: 0.015625  # 2 steps
  save_kimg: 0.015625
grid:
  algorithm: [fixmatch, cadr]
  imbalance_ratio, labeled_size: [[10, 10]]
  seed: [1]
resources: {cpus: 1, gpus: 0}
concurrency: 1  # one process, which all trials use
"""


@pytest.fixture(scope="session")
def ray_session():
    from cissl.tuning import cluster

    if cluster.JOINED:
        pytest.skip("RAY_ADDRESS is set: these tests start a cluster of their own")
    with cluster.connected(cluster.Node(cpus=2, gpus=0)):
        yield


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def sweep(ray_session, tiny, tmp_path, capsys):
    """Runs the tiny sweep with overrides; gives the exit code and what was printed."""
    from cissl.tuning import cli

    def run(*overrides: str, file=tiny):
        words = [word for override in overrides for word in ("--set", override)]
        code = cli.main([os.fspath(file), "--storage-path", os.fspath(tmp_path / "results"), *words])
        return code, capsys.readouterr().out

    return run
