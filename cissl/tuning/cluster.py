"""Where a sweep runs: on this machine, or on the Ray cluster that `RAY_ADDRESS` names.

Import Ray through this module: Ray needs its environment before, see `ray_environment`.
"""

import collections
import contextlib
import dataclasses
import logging
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cissl.tuning.ray_environment import ADDRESS, JOINED as JOINED  # isort: skip  (before Ray)

import ray
from ray._common.utils import get_ray_address_file  # there is no public way
from ray.util.placement_group import placement_group_table
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cissl.datasets.catalog import KNOWN
from cissl.errors import UserError
from cissl.tuning.plan import is_there
from cissl.tuning.sweep_file import Sweep

GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, the same under WSL, AMD
NODE_PATIENCE_S = 60  # how long a machine may take to say what it lacks
ANSWER_S = 10  # how long a cluster's head may take to answer
HTTP2_SETTINGS = b"\x04"  # the type of a frame, its fourth byte (RFC 9113)
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + HTTP2_SETTINGS + b"\0\0\0\0\0"
GONE = (
    ray.exceptions.GetTimeoutError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.TaskUnschedulableError,
    ray.exceptions.WorkerCrashedError,
)
OBJECT_STORE = 100_000_000  # bytes; a sweep passes settings and rows of figures, never images


@dataclasses.dataclass(frozen=True)
class Node:
    """One machine.

    Attributes:
        cpus: CPUs that trials can use.
        gpus: GPUs that trials can use.
    """

    cpus: float
    gpus: float


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a trial gets; see `fit`.

    Attributes:
        cpus: CPUs of each worker; may be a fraction.
        gpus: GPUs of each worker; may be a fraction.
        workers: processes of one trial.
    """

    cpus: float
    gpus: float
    workers: int


def local_node() -> Node:
    """This machine, with the CPUs and GPUs that this process may use."""
    return Node(cpus=_usable_cpus(), gpus=_visible_gpus())


@contextlib.contextmanager
def connected(resources: Node | None, *, dashboard: bool = False) -> Iterator[None]:
    """A context in which Ray is connected.

    If Ray is connected already, it stays so afterwards. Trials of several workers need the dashboard's process: without
    it Ray never frees the resources of a stopped trial (ray-project/ray#54305).

    Args:
        resources: starts Ray on this machine with these; None joins the cluster that `RAY_ADDRESS` names.
        dashboard: whether to start the dashboard, if it is installed.

    Raises:
        UserError: Ray does not start, or the cluster cannot be joined.
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        _start(resources, dashboard)
        for name in ("ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # the end of a sweep lists failed trials
        yield
    finally:
        ray.shutdown()


def _start(resources: Node | None, dashboard: bool) -> None:
    if resources is None:
        _join(ADDRESS)
        return
    try:
        ray.init(
            "local",
            num_cpus=int(resources.cpus),
            num_gpus=int(resources.gpus),
            include_dashboard=None if dashboard else False,  # None: if it is installed
            object_store_memory=OBJECT_STORE,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises nothing more precise
        raise UserError(
            f"Ray did not start on this machine, which may be too busy or short of memory: {error}\n"
            f"Its own logs are in {Path(tempfile.gettempdir()) / 'ray' / 'session_latest' / 'logs'}"
        ) from None


def _join(address: str) -> None:
    os.environ["RAY_ADDRESS"] = found(address)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises nothing more precise
        raise UserError(f"RAY_ADDRESS={address}: the cluster cannot be joined: {error}") from None


def found(address: str) -> str:
    """The address of the cluster that RAY_ADDRESS names, after it has answered. Ray would try for two minutes.

    Args:
        address: value of RAY_ADDRESS: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.

    Raises:
        UserError: this is no such address, or no cluster answers there.
    """
    place = f"RAY_ADDRESS={address}"
    out = "unset RAY_ADDRESS to run on this machine alone"
    if not address.strip():
        raise UserError(f"{place}: it is blank; give the address of a cluster's head, or {out}")
    if address.strip() == "auto":
        head = running_head()
        if head is None:
            raise UserError(f"{place}: no cluster that `ray start` has started runs on this machine; {out}")
        return head
    if re.match(r"https?://", address):
        raise UserError(f"{place}: that is a dashboard, which takes jobs (ray job submit); give the head's host:port")
    host, _, port = address.strip().removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"{place}: an address is the head's host:port, such as 10.0.0.1:6379; {out}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as connection:
            if not _speaks_grpc(connection):
                raise UserError(f"{place}: what answers there is no Ray cluster; {out}")
    except (OSError, OverflowError, UnicodeError) as error:
        raise UserError(f"{place}: no Ray cluster answers there ({error}); {out}") from None
    return address.strip()


def _speaks_grpc(connection: socket.socket) -> bool:
    """Whether a server speaks HTTP/2: such a connection begins with its settings."""
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return True  # under TLS it is not tested
    connection.sendall(HTTP2_GREETING)
    answer = b""
    while len(answer) < 4 and (more := connection.recv(4 - len(answer))):
        answer += more
    return answer[3:4] == HTTP2_SETTINGS


def running_head() -> str | None:
    """The address of the cluster that `ray start` has started on this machine; None if there is none."""
    try:
        address = Path(get_ray_address_file(None)).read_text().strip()
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except (OSError, ValueError, OverflowError):
        return None
    return address


def missing(resources: Resources, *, anyhow: bool = False) -> str | None:
    """What a trial needs and the cluster cannot give at this moment, in words; None if nothing is missing.

    Args:
        resources: what the trial needs.
        anyhow: whether it is certain that something is missing. If the cluster has enough in all, it is then said that
            no machine has enough.
    """
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]  # Ray gives no types
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    each = {"CPU": resources.cpus, "GPU": resources.gpus}
    short = [unit for unit, number in each.items() if resources.workers * number > free.get(unit, 0)]
    scattered = "" if short else " on one machine"
    words = [
        f"{number:g} {unit}{'' if number == 1 else 's'}{scattered} (the cluster has {total.get(unit, 0):g}, "
        f"{free.get(unit, 0):g} are free)"
        for unit, share in each.items()
        if (number := share if scattered else share * resources.workers) and (unit in short or (anyhow and scattered))
    ]
    return " and ".join(words) or None


def workers_wait() -> bool:
    """Whether a trial of several workers still waits for them. Tune does not see this."""
    return any(group["state"] == "PENDING" for group in placement_group_table().values())


def nodes() -> list[Node]:
    """The machines of the running cluster."""
    return [Node(cpus=node["Resources"].get("CPU", 0), gpus=node["Resources"].get("GPU", 0)) for node in _alive()]


def any_alive() -> bool:
    """Whether a machine of the cluster is left. Without one Tune would wait for ever."""
    return bool(_alive())


def _alive() -> list[dict[str, Any]]:
    """What Ray knows about the machines that are alive."""
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray gives no types
    return [node for node in known if node["Alive"]]


def check_nodes(folder: Path | None, datasets: set[str], data_dir: Path | None) -> None:
    """Check that every machine can run trials. Otherwise a trial would fail on one of them hours later.

    Args:
        folder: the sweep's folder, which all machines must see, since trials keep their records and checkpoints there;
            None if the results are in an object store.
        datasets: names of the data sets that are needed.
        data_dir: where prepared data sets live.

    Raises:
        UserError: a machine lacks cissl, the folder or a data set.
    """
    alive = [node for node in _alive() if node["Resources"].get("CPU")]
    if len(alive) < 2:
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-by-all-") as file:
        mark = Path(file.name) if folder else None
        # By id and not by address: several nodes of a cluster may run on one computer.
        reports = [(node["NodeManagerAddress"], _on(node).remote(mark, datasets, data_dir)) for node in alive]
        for address, report in reports:
            try:
                missing = ray.get(report, timeout=NODE_PATIENCE_S)
            except GONE:
                continue  # it is busy with other work, or it has died and Ray has not noticed yet
            except ray.exceptions.RayError as error:
                last = str(error).strip().splitlines()[-1]
                raise UserError(f"machine {address} cannot run trials; is cissl installed there? {last}") from None
            if missing:
                raise UserError(f"machine {address} {missing}")


def _on(node: dict[str, Any]) -> Any:
    """`_what_is_missing` as a remote function that runs on one machine."""
    strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(_what_is_missing).options(num_cpus=0, scheduling_strategy=strategy)


def _what_is_missing(mark: Path | None, datasets: set[str], data_dir: Path | None) -> str | None:
    """What the machine that runs this lacks, in words; None if it lacks nothing."""
    if mark and not mark.exists():
        return f"does not see {mark.parent}: give a --storage-path that all machines share"
    for name in sorted(datasets):
        if not is_there(name, data_dir):
            verb = "prepare" if name in KNOWN else "import"
            return (
                f"lacks the data set '{name}'; run there: python -m cissl.datasets {verb} {name}, or give a --data-dir "
                "that all machines share"
            )
    return None


def fit(sweep: Sweep, nodes: list[Node]) -> Resources:
    """The resources of each worker: what the sweep asks for, with defaults for the rest.

    Without GPUs a worker gets one CPU: for small networks many trials at a time are faster than many threads. With GPUs
    it gets one GPU and that GPU's share of the CPUs.

    Args:
        sweep: what to run.
        nodes: the machines.

    Raises:
        UserError: the machines can never give what a trial asks for.
    """
    asked = sweep.resources
    gpus = asked.gpus if asked.gpus is not None else float(sum(node.gpus for node in nodes) >= asked.workers)
    cpus = asked.cpus if asked.cpus is not None else _cpu_share(gpus, nodes)
    wanted = Resources(cpus=cpus, gpus=gpus, workers=asked.workers)
    if _room(wanted, nodes) < wanted.workers:
        have = collections.Counter(f"({node.cpus:g} CPUs and {node.gpus:g} GPUs)" for node in nodes)
        raise sweep.source.error(
            ("resources",),
            f"a trial wants {wanted.workers} × ({cpus:g} CPUs and {gpus:g} GPUs), but there are only "
            + ", ".join(f"{number} × {node}" for node, number in have.items()),
        )
    return wanted


def _cpu_share(gpus: float, nodes: list[Node]) -> float:
    """CPUs for a worker with this many GPUs, so that all GPUs can be used; one CPU without GPUs."""
    if not gpus:
        return 1
    share = min((node.cpus / node.gpus for node in nodes if node.gpus), default=1.0) * gpus
    return int(share) if share >= 1 else share


def trial_request(resources: Resources) -> dict[str, float]:
    """What Tune reserves for a trial's process. Several workers reserve their own resources beside it."""
    if resources.workers > 1:
        return {"cpu": 0, "memory": 1}  # one byte, since Tune refuses to reserve nothing
    return {"cpu": resources.cpus, "gpu": resources.gpus}


def concurrency(sweep: Sweep, resources: Resources) -> int | None:
    """How many trials may run at a time; None leaves it to Tune.

    Tune does not know what several workers need. Without a limit too many trials would start and then wait for workers.

    Args:
        sweep: what to run.
        resources: what a trial gets.
    """
    if resources.workers == 1:
        return sweep.concurrency
    return min(sweep.concurrency or sys.maxsize, _room(resources, nodes()) // resources.workers)


def _room(resources: Resources, nodes: list[Node]) -> int:
    """How many workers can run at a time."""
    gpus = resources.gpus
    return sum(int(min(node.cpus / resources.cpus, node.gpus / gpus if gpus else sys.maxsize)) for node in nodes)


def _visible_gpus() -> int:
    """Number of GPUs that torch can use. Torch takes seconds to import, and is asked only if a GPU's driver exists."""
    if not any(map(os.path.exists, GPU_DRIVERS)):
        return 0
    import torch

    return torch.cuda.device_count()


def _usable_cpus() -> int:
    """CPUs that this process may use, by its affinity and by the limit of its container."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.exists():
        quota, period = limit.read_text().split()
        if quota != "max":
            usable = min(usable, max(1, int(quota) // int(period)))
    return usable
