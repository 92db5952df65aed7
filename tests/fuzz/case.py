"""A case: what is called, and what it is held to."""

import contextlib
import faulthandler
import io
import logging
import multiprocessing
import os
import random
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from cissl import plugins
from cissl.errors import UserError

SECONDS = 180  # of one case, on a machine that does other work too


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call with odd input."""

    call: Callable[[], object]
    """Returns an exit code, or raises `UserError` where the kind is no command."""
    kept: tuple[Path, ...] = ()
    """Files that must be there and alike afterwards."""
    writes: tuple[Path, ...] = ()
    """Files and folders that the call may write, or write into, if it is not refused."""
    codes: tuple[int, ...] = (0, 2)
    """Documented exit codes."""
    culprits: tuple[str, ...] = ()
    """What is odd: a refusal must name one of them. Empty if anything may be at fault."""
    after: Callable[[int], str] = lambda code: ""
    """Called with the exit code: what else is not as it should be, empty if nothing."""


Kind = Callable[[Path, random.Random], Case]


class Checker:
    """Checks cases in a process of its own.

    A case that never ends, in C code too, or that ends its process, is then a failure of that case alone.

    Args:
        seconds: that a case may take.
    """

    def __init__(self, seconds: float = SECONDS):
        self._seconds = seconds
        self._process: Any = None

    def __enter__(self) -> "Checker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.join()

    def check(self, kind: Kind, seed: str) -> tuple[int | None, str]:
        """See `check`; the kind is a function of a module, as it is called elsewhere."""
        if self._process is None:
            self._start()
        self._connection.send((kind, seed))
        if self._connection.poll(self._seconds):
            with contextlib.suppress(EOFError):
                return self._connection.recv()
            self._process.join()
            problem = f"ends the process with exit code {self._process.exitcode}"
        else:
            os.kill(self._process.pid, signal.SIGABRT)  # `faulthandler` then shows the line on stderr
            self._process.join(5)
            self._process.kill()
            self._process.join()
            problem = f"does not end within {self._seconds} s"
        self._process = None
        return None, problem

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,))
        self._process.start()
        other.close()
        self._connection.recv()  # it is ready: starting is no part of a case


def _serve(connection: Connection) -> None:
    """Check what arrives until nobody is left who sends."""
    faulthandler.enable()
    connection.send(None)
    with contextlib.suppress(EOFError):
        while True:
            connection.send(check(*connection.recv()))


def check(kind: Kind, seed: str) -> tuple[int | None, str]:
    """Make and call one case in an empty folder.

    Args:
        kind: what makes the case.
        seed: of its random numbers.

    Returns:
        Its exit code, None for an error that nobody caught, and what it does not hold to, empty if nothing.
    """
    with tempfile.TemporaryDirectory() as name, _alone(Path(name)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        case = kind(folder, random.Random(seed))
        kept = {path: path.read_bytes() for path in case.kept}
        before = _files(folder)
        try:
            code, text = outcome(case)
        except Exception:
            return None, "a traceback: " + traceback.format_exc().strip()[-1500:]
        lost = [str(path) for path, data in kept.items() if not path.is_file() or path.read_bytes() != data]
        writes = () if code == 2 else case.writes
        stray = [str(path) for path in _files(folder) - before if not {path, *path.parents} & {*writes}]
        words = f"{text[:300]} … {text[-1200:]}" if len(text) > 1500 else text
        named = not case.culprits or any(culprit in text for culprit in case.culprits)
        problems = {
            "a traceback is shown": "Traceback" in text,
            f"exit code {code}": code not in case.codes,
            f"none of {case.culprits} is named": code != 0 and not named,
            f"input was lost or changed: {lost}": lost,
            f"is left behind: {stray}": stray,
        }
        problem = next((problem for problem, holds in problems.items() if holds), "") or case.after(code)
        return code, problem and f"{problem}; it says: {words}"


def outcome(case: Case) -> tuple[Any, str]:
    """Call; the exit code and all that was printed.

    Raises:
        Exception: what the program did not catch.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = case.call()
        except UserError as error:
            code = 2
            print(f"error: {error}")
        except SystemExit as end:
            code = end.code
            if isinstance(code, str):  # as Python does
                print(code)
                code = 1
    return code, out.getvalue()


def _files(folder: Path) -> set[Path]:
    """All that is below a folder, but for folders, and locks, which stay for the next process."""
    return {path for path in folder.rglob("*") if not path.name.endswith(".lock") and not path.is_dir()}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Within, the folder is the current one and the home, and what commands set in their process does not last."""
    logger, root = logging.getLogger("cissl"), logging.getLogger()
    level, handlers, environment, current = logger.level, list(root.handlers), dict(os.environ), Path.cwd()
    threads, interrupts = torch.get_num_threads(), {number: signal.getsignal(number) for number in _SIGNALS}
    os.environ["HOME"] = str(folder)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # Ray imports MLflow where it is installed, which writes a file
    os.environ.pop("ML_DATA", None)
    os.chdir(folder)
    plugins._sources.clear()
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        os.chdir(current)
        os.environ.clear()
        os.environ.update(environment)
        logger.setLevel(level)
        root.handlers[:] = handlers
        torch.set_num_threads(threads)
        for number, handler in interrupts.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
