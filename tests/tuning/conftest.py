"""One Ray for all tests of this folder, and sweeps that take a second."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's 15, trials would wait for the tests that run beside them

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
LONGER = ["train_kimg=1", "algorithm=[fixmatch+crest+, cadr]", "crest.num_generation=4"]  # 128 steps


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


@pytest.fixture(scope="session")
def calm(tmp_path_factory):
    """The records of `LONGER`, which nothing disturbs, without Ray."""
    from cissl.tuning import sweep_file
    from tests.tuning.faults import undisturbed

    folder = tmp_path_factory.mktemp("calm")
    (folder / "tiny.yaml").write_text(TINY)
    return undisturbed(sweep_file.load(folder / "tiny.yaml", LONGER), folder)


@pytest.fixture
def sweep(ray_session, tiny, tmp_path, capsys):
    """Runs the tiny sweep with overrides; gives the exit code and what was printed."""
    from cissl.tuning import cli

    def run(*overrides: str, file=tiny):
        words = [word for override in overrides for word in ("--set", override)]
        code = cli.main([os.fspath(file), "--storage-path", os.fspath(tmp_path / "results"), *words])
        return code, capsys.readouterr().out

    return run


class Nodes:
    """Machines of a cluster, as the processes of ``ray start --block`` on this one."""

    def __init__(self, home: Path):
        self.temporary = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp")  # short: Ray's sockets lie below it
        self.address = f"127.0.0.1:{free_port()}"
        self.dashboard = free_port()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0" * 64,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.processes: list[subprocess.Popen] = []

    def add(self, cpus: int, **environment: str) -> subprocess.Popen:
        """The head, or another machine; `environment` is what differs there."""
        host, _, port = self.address.partition(":")
        words = ["--address", self.address] if self.processes else ["--head", "--port", port]
        if not self.processes:
            words += ["--dashboard-port", str(self.dashboard), "--temp-dir", self.temporary.name]
        words += ["--num-cpus", str(cpus), "--node-ip-address", host, "--object-store-memory", "100000000", "--block"]
        words += ["--dashboard-agent-listen-port", str(free_port())]  # through which jobs start; one for each machine
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *words],
            env=self.environment | environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ray runtime started" in line:
                return process
        raise AssertionError("".join(lines))

    def run(self, *words: object) -> subprocess.Popen:
        """Start run.py on this cluster."""
        return subprocess.Popen(
            [sys.executable, ROOT / "sweeps" / "run.py", *map(str, words)],
            env=self.environment | {"RAY_ADDRESS": self.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, process: subprocess.Popen) -> None:
        """All of a machine at once, as when its power fails."""
        for pid in [process.pid, *descendants(process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()

    def close(self) -> None:
        for process in reversed(self.processes):
            self.kill(process)
        self.temporary.cleanup()


@pytest.fixture
def machines(tmp_path):
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def descendants(pid: int) -> set[int]:
    """Processes that `pid` has started, and those that they have."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}
