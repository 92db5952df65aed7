"""Where a sweep runs: the machine itself, or the Ray cluster that `RAY_ADDRESS` names. The one door to Ray.

Ray reads its environment when it is imported, so the variables are set here, before that.
"""

import collections
import contextlib
import dataclasses
import logging
import os
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cissl.datasets.catalog import KNOWN
from cissl.errors import UserError
from cissl.tuning.plan import is_there
from cissl.tuning.sweep_file import Resources, Sweep

ADDRESS = os.environ.get("RAY_ADDRESS", "")
JOINED = ADDRESS.strip() != "local" and ADDRESS != ""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # no banner around our own table
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a trial keeps its own records
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a resumed trial may end without a new evaluation
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see sweep.Interruptible
}
for name, value in QUIET.items():
    os.environ.setdefault(name, value)
if not JOINED:
    os.environ.pop("RAY_ADDRESS", None)  # "local": what is done here anyway, and not in Ray's open way
    # A cluster of our own: loopback alone, and a token that lives and dies with this process. Left to itself Ray
    # listens on all interfaces and leaves a token file that switches authentication on in every later `ray start`.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import ray  # noqa: E402
from ray._common.utils import get_ray_address_file  # noqa: E402  (there is no public way)
from ray.util.placement_group import placement_group_table  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, the same under WSL, AMD
NODE_PATIENCE_S = 60
ANSWER_S = 10
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
    """What one machine can give."""

    cpus: float
    gpus: float


def local_node() -> Node:
    """This machine, as far as this process may use it."""
    return Node(cpus=_usable_cpus(), gpus=_visible_gpus())


@contextlib.contextmanager
def connected(resources: Node | None, *, dashboard: bool = False) -> Iterator[None]:
    """Ray on this machine with these resources, or the cluster that is given (None).

    Where Ray is connected already, it is used as it is and stays connected. Trials of several workers need the
    dashboard's process: without it Ray never frees what a stopped one of them held (ray-project/ray#54305).
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        _start(resources, dashboard)
        for chatty in ("ray.tune", "ray.train"):
            logging.getLogger(chatty).setLevel(logging.CRITICAL)  # failed trials are listed at the end
        yield
    finally:
        ray.shutdown()


def _start(resources: Node | None, dashboard: bool) -> None:
    quiet = dict(log_to_driver=False, logging_level=logging.ERROR)
    if resources is None:
        _join(ADDRESS, quiet)
        return
    options = dict(
        num_cpus=int(resources.cpus),
        num_gpus=int(resources.gpus),
        include_dashboard=None if dashboard else False,  # None: if it is installed
        object_store_memory=OBJECT_STORE,
    )
    try:
        ray.init("local", **options, **quiet)
    except Exception as error:  # Ray raises nothing more precise
        raise UserError(
            f"Ray did not start on this machine, which may be too busy or short of memory: {error}\n"
            f"Its own logs are in {Path(tempfile.gettempdir()) / 'ray' / 'session_latest' / 'logs'}"
        ) from None


def _join(address: str, options: dict[str, Any]) -> None:
    os.environ["RAY_ADDRESS"] = found(address)
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises nothing more precise
        raise UserError(f"RAY_ADDRESS={address}: the cluster cannot be joined: {error}") from None


def found(address: str) -> str:
    """The cluster that RAY_ADDRESS names, if one answers; Ray itself would try for two minutes.

    Raises:
        UserError: the address has no meaning, or nobody answers.
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
    """Whether a server sends the settings that begin an HTTP/2 connection; under TLS it is not asked."""
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return True
    connection.sendall(HTTP2_GREETING)
    answer = b""
    while len(answer) < 4 and (more := connection.recv(4 - len(answer))):
        answer += more
    return answer[3:4] == HTTP2_SETTINGS


def running_head() -> str | None:
    """The address of the cluster that `ray start` has started on this machine; None where there is none."""
    try:
        address = Path(get_ray_address_file(None)).read_text().strip()
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except (OSError, ValueError, OverflowError):
        return None
    return address


def missing(resources: Resources, *, anyhow: bool = False) -> str | None:
    """What a trial needs and the cluster has not got at this moment, since others hold it; None if it has all.

    Args:
        resources: of each worker.
        anyhow: something is missing for sure; if there is enough in all, it is not on one machine.
    """
    free, total = ray.available_resources(), ray.cluster_resources()
    each = {"CPU": resources.cpus, "GPU": resources.gpus or 0}
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
    """Whether a trial of several workers is without them, which Tune does not see."""
    return any(group["state"] == "PENDING" for group in placement_group_table().values())


def nodes() -> list[Node]:
    """The machines of the running cluster."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(cpus=have.get("CPU", 0), gpus=have.get("GPU", 0)) for have in alive]


def any_alive() -> bool:
    """Whether a machine is left; Tune would wait for one for ever."""
    return any(node["Alive"] for node in ray.nodes())


def check_nodes(folder: Path | None, datasets: set[str], data_dir: Path | None) -> None:
    """See that every machine can do the sweep's work, before hours later a trial there cannot.

    Args:
        folder: the sweep's, which all machines must see: that is where trials keep their records and go on from; None
            where an object store takes its place.
        datasets: names of the data sets that are needed.
        data_dir: where prepared data sets live.

    Raises:
        UserError: a machine that lacks cissl, the folder or a data set.
    """
    alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if len(alive) < 2:
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-by-all-") as file:
        mark = Path(file.name) if folder else None
        # Not by address: several machines of a cluster may be processes of one computer.
        reports = [(node["NodeManagerAddress"], _on(node).remote(mark, datasets, data_dir)) for node in alive]
        for address, report in reports:
            try:
                missing = ray.get(report, timeout=NODE_PATIENCE_S)
            except GONE:
                continue  # busy with someone else's work, or dead, which takes Ray some seconds to notice
            except ray.exceptions.RayError as error:
                last = str(error).strip().splitlines()[-1]
                raise UserError(f"machine {address} cannot run trials; is cissl installed there? {last}") from None
            if missing:
                raise UserError(f"machine {address} {missing}")


def _on(node: dict) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(_what_is_missing).options(num_cpus=0, scheduling_strategy=strategy)


def _what_is_missing(mark: Path | None, datasets: set[str], data_dir: Path | None) -> str | None:
    """Runs on each machine."""
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
    """The resources of each worker, defaults filled in.

    Without GPUs a worker gets one CPU: small networks gain more from many trials side by side than from threads.
    With GPUs it gets one of them and its share of the CPUs.

    Raises:
        UserError: no machine, or not all of them together, can ever give what a trial asks for.
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
    """CPUs that go with so many GPUs, so that all GPUs can be used; one where there is none."""
    if not gpus:
        return 1
    share = min((node.cpus / node.gpus for node in nodes if node.gpus), default=1.0) * gpus
    return int(share) if share >= 1 else share


def trial_request(resources: Resources) -> dict[str, float]:
    """What Tune is to set aside for a trial; workers of their own bring their own resources, beside the trial's."""
    if resources.workers > 1:
        return {"cpu": 0, "memory": 1}  # a byte: Tune refuses nothing at all, and CPUs are for the workers
    return {"cpu": resources.cpus, "gpu": resources.gpus}


def concurrency(sweep: Sweep, resources: Resources) -> int | None:
    """How many trials may run at a time; None leaves it to Tune.

    Tune does not see what workers of their own will need, so that too many trials would wait for each other's workers.
    """
    if resources.workers == 1:
        return sweep.concurrency
    return min(sweep.concurrency or sys.maxsize, _room(resources, nodes()) // resources.workers)


def _room(resources: Resources, nodes: list[Node]) -> int:
    """Workers that fit at a time."""
    gpus = resources.gpus or 0
    return sum(int(min(node.cpus / resources.cpus, node.gpus / gpus if gpus else sys.maxsize)) for node in nodes)


def _visible_gpus() -> int:
    """GPUs that torch can use; it is only imported, which takes seconds, where a driver for them is."""
    if not any(map(os.path.exists, GPU_DRIVERS)):
        return 0
    import torch

    return torch.cuda.device_count()


def _usable_cpus() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = Path("/sys/fs/cgroup/cpu.max")  # a container's share
    if limit.exists():
        quota, period = limit.read_text().split()
        if quota != "max":
            usable = min(usable, max(1, int(quota) // int(period)))
    return usable
