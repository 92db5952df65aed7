"""Resources: defaults, what does not fit, and where Ray listens."""

import dataclasses
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cissl.errors import UserError
from cissl.tuning import cluster, sweep_file
from cissl.tuning.cluster import Node, Resources


@pytest.fixture
def sweep(tiny):
    return lambda *words: sweep_file.load(tiny, words)


LAPTOP = [Node(8, 0)]
SERVER = [Node(32, 4)]
RACK = [Node(16, 2), Node(16, 2), Node(4, 0)]


@pytest.mark.parametrize(
    "nodes, resources, expected",
    [
        (LAPTOP, "{}", Resources(1, 0, 1)),
        (LAPTOP, "{cpus: 2}", Resources(2, 0, 1)),
        (LAPTOP, "{workers: 4}", Resources(1, 0, 4)),
        (SERVER, "{}", Resources(8, 1, 1)),
        (SERVER, "{gpus: 0.25}", Resources(2, 0.25, 1)),
        (SERVER, "{gpus: 0}", Resources(1, 0, 1)),
        (RACK, "{workers: 4}", Resources(8, 1, 4)),
        ([Node(2, 1)], "{gpus: 0.25}", Resources(0.5, 0.25, 1)),
    ],
)
def test_defaults_come_from_the_machines(sweep, nodes, resources, expected):
    assert cluster.fit(sweep(f"resources={resources}"), nodes) == expected


@pytest.mark.parametrize(
    "nodes, resources, message",
    [
        (LAPTOP, "{cpus: 9}", r"1 × \(9 CPUs and 0 GPUs\), but there are only 1 × \(8 CPUs and 0 GPUs\)"),
        (LAPTOP, "{gpus: 1}", r"but there are only"),
        (LAPTOP, "{workers: 8, cpus: 2}", r"8 × \(2 CPUs"),
        (RACK, "{cpus: 10, workers: 4}", r"only 2 × \(16 CPUs and 2 GPUs\), 1 × \(4 CPUs and 0 GPUs\)"),
        ([], "{}", "but there are only"),
    ],
)
def test_what_can_never_fit_is_refused(sweep, nodes, resources, message):
    with pytest.raises(UserError, match=message):
        cluster.fit(sweep(f"resources={resources}"), nodes)


def test_trials_of_several_workers_are_as_many_as_find_room(sweep, monkeypatch):
    monkeypatch.setattr(cluster, "nodes", lambda: RACK)
    free = dataclasses.replace(sweep(), concurrency=None)
    assert cluster.concurrency(free, Resources(1, 0, 1)) is None
    assert cluster.concurrency(sweep("concurrency=3"), Resources(1, 0, 1)) == 3
    assert cluster.concurrency(free, Resources(8, 1, 2)) == 2
    assert cluster.concurrency(sweep("concurrency=1"), Resources(8, 1, 2)) == 1
    assert cluster.trial_request(Resources(8, 1, 2))["cpu"] == 0


@pytest.mark.parametrize(
    "address, message",
    [
        ("127.0.0.1:1", "no Ray cluster answers there"),
        (" ", "it is blank"),
        ("auto", "no cluster that `ray start` has started runs on this machine"),
        ("head", "an address is the head's host:port"),
        ("head:port", "an address is the head's host:port"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
        ("http://127.0.0.1:8265", "that is a dashboard"),
    ],
)
def test_an_address_where_nobody_answers_is_refused_at_once(address, message, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(UserError, match=f"^RAY_ADDRESS={re.escape(address)}: {re.escape(message)}"):
        cluster.found(address)


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad request\r\n", b"", b"\0\0"])
def test_a_server_that_is_no_head_is_refused_at_once(answer):
    """Ray itself would try for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=say, args=(server, answer)).start()
        with pytest.raises(UserError, match="what answers there is no Ray cluster"):
            cluster.found(f"127.0.0.1:{server.getsockname()[1]}")


def say(server, answer):
    connection, _ = server.accept()
    with connection:
        connection.recv(100)
        connection.sendall(answer)


def test_a_head_is_found(ray_session):
    import ray

    address = ray.get_runtime_context().gcs_address
    assert cluster.found(address) == address


def test_a_head_on_this_machine_is_found_as_long_as_it_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)  # as `ray start` does
        assert cluster.running_head() == cluster.found("auto") == address
    assert cluster.running_head() is None


def test_what_a_trial_waits_for(ray_session):
    from ray.util.placement_group import placement_group, remove_placement_group

    assert cluster.missing(Resources(2, 0, 1)) is None
    assert cluster.missing(Resources(2, 0, 1), anyhow=True) == "2 CPUs on one machine (the cluster has 2, 2 are free)"
    assert cluster.missing(Resources(1, 1, 3)) == (
        "3 CPUs (the cluster has 2, 2 are free) and 3 GPUs (the cluster has 0, 0 are free)"
    )
    assert not cluster.workers_wait()
    group = placement_group([{"CPU": 3}])
    assert cluster.workers_wait()
    remove_placement_group(group)


@pytest.mark.parametrize("address", [None, "local"])
def test_nothing_but_loopback_listens_and_no_token_file_is_left(address, tmp_path):
    """Left to itself Ray opens ports on all interfaces and writes ~/.ray/auth_token, which changes later clusters."""
    code = """if True:
        import cissl.tuning.trainable  # whichever module imports Ray first
        from cissl.tuning import cluster
        from pathlib import Path
        before = {line.split()[1] for kind in ("tcp", "tcp6") for line in open(f"/proc/net/{kind}") if " 0A " in line}
        with cluster.connected(cluster.Node(1, 0)):
            import psutil, ray
            mine = {process.pid for process in psutil.Process().children(recursive=True)}
            for connection in psutil.net_connections("tcp"):
                if connection.pid in mine and connection.status == "LISTEN":
                    print("listens", connection.laddr.ip)
        print("token", (Path.home() / ".ray" / "auth_token").exists())
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
        "HOME": str(tmp_path)
    }
    if address is not None:
        environment["RAY_ADDRESS"] = address
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    lines = set(process.stdout.splitlines())
    assert process.returncode == 0, process.stderr
    loopback = {"listens 127.0.0.1", "listens ::ffff:127.0.0.1", "listens ::1"}  # which of them, hangs on Ray's version
    assert lines & loopback and lines - loopback == {"token False"}


def test_the_address_of_a_cluster_may_be_an_option(tmp_path):
    """It takes the place of RAY_ADDRESS; nobody answers at port 1."""
    path = tmp_path / "s.yaml"
    path.write_text("settings: {dataset: digits, labeled_size: 100}\n")
    words = [path, "--address", "127.0.0.1:1", "--storage-path", tmp_path / "results"]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    command = [sys.executable, Path(__file__).parents[2] / "sweeps" / "run.py", *words]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert process.returncode == 2, process.stderr
    assert "RAY_ADDRESS=127.0.0.1:1: no Ray cluster answers there" in process.stderr
