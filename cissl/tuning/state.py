"""How far a sweep is and how it ended, according to its trials' records."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cissl.config import TrialConfig
from cissl.record_format import Status
from cissl.training.records import read_status, recorded_data, require_same_data, resumes_at, write_status
from cissl.tuning.mistakes import Mistakes
from cissl.tuning.search import FILE, Study

NOT_REPEATED = ("complete", "diverged")  # such a trial would end in the same way again
STEPS_SHOWN = 3


def is_over(config: TrialConfig, folder: Path) -> bool:
    """Whether a trial needs no further run.

    Args:
        config: the trial's settings.
        folder: the sweep's folder.
    """
    return _status(config, folder)["state"] in NOT_REPEATED


def check_data(trials: Iterable[TrialConfig], folder: Path, data: Mapping[str, Mapping[str, str]]) -> None:
    """Check that no trial was trained on other data than the current ones; complete trials are checked only here.

    Args:
        trials: the sweep's trials.
        folder: the sweep's folder.
        data: split → hashes of its data, see `records.data_hashes`; a split that is missing is not checked.

    Raises:
        UserError: trials were trained on other data; one line for each of them.
    """
    mistakes = Mistakes()
    for config in trials:
        trial = folder / config.trial_id
        present = data.get(config.dataset, {})
        mistakes.attempt(require_same_data, trial, config.dataset, recorded_data(trial), present)
    mistakes.tell()


def describe(trials: Sequence[TrialConfig], folder: Path) -> str:
    """How far a sweep is, such as ``18 trials: 5 complete, 1 continues at step 320/800, 12 new``.

    Args:
        trials: the sweep's trials.
        folder: the sweep's folder.
    """
    groups: dict[str, list[str]] = {"complete": [], "diverged": [], "failed": [], "unfinished": [], "new": []}
    for config in trials:
        status = _status(config, folder)
        # Nobody runs this sweep now: a trial that is still called "running" was killed, and counts as unfinished.
        group = groups.get(status["state"], groups["unfinished"])
        group.append(f"{resumes_at(status)}/{config.steps}")
    if not trials:
        return "no trial has begun"
    unfinished = groups["unfinished"]
    steps = ", ".join(unfinished[:STEPS_SHOWN]) + (", …" if len(unfinished) > STEPS_SHOWN else "")
    words = {
        "complete": "complete",
        "diverged": "diverged and not repeated",
        "failed": "failed and tried again",
        "unfinished": f"{'continues' if len(unfinished) == 1 else 'continue'} at step {steps}",
        "new": "new",
    }
    return f"{len(trials)} trials: " + ", ".join(f"{len(groups[key])} {words[key]}" for key in words if groups[key])


def failures(trials: Iterable[TrialConfig], folder: Path) -> list[str]:
    """Why each trial is not complete, and the file that has more about it; two lines for each.

    Args:
        trials: the sweep's trials.
        folder: the sweep's folder.
    """
    reports = []
    for config in trials:
        status = _status(config, folder)
        if status["state"] == "complete":
            continue
        state = {"running": "died", "new": "never ran"}.get(status["state"], status["state"])
        reason, file = _reason(folder / config.trial_id, status)
        reports.append(f"{state}: {config.name} at step {status.get('step', 0)}/{config.steps}: {reason}\n    {file}")
    return reports


def note_stopped(trials: Iterable[TrialConfig], folder: Path) -> None:
    """Record as stopped the trials whose processes were ended before they could record it themselves.

    Args:
        trials: the sweep's trials.
        folder: the sweep's folder.
    """
    for config in trials:
        status = _status(config, folder)
        if status["state"] == "running":
            step = resumes_at(status)
            write_status(
                folder / config.trial_id,
                "stopped",
                step=step,
                steps=config.steps,
                saved_step=step,
                seconds=status.get("seconds", 0.0),
                damaged=status.get("damaged", ()),
            )


def damaged(trials: Iterable[TrialConfig], folder: Path) -> list[str]:
    """A line for each damaged checkpoint; its trial resumed from an older one.

    Args:
        trials: the sweep's trials.
        folder: the sweep's folder.
    """
    return [
        f"damaged checkpoint, not used: {folder / config.trial_id / 'checkpoints' / name}"
        for config in trials
        for name in _status(config, folder).get("damaged", ())
    ]


def describe_search(study: Study) -> str:
    """How far a search is: its candidates by their states, and the best one."""
    states = [candidate.state for candidate in study.candidates]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "open"))
    lines = [f"{len(states)} of {study.search.trials} candidates: {counts}"]
    pruned = [str(candidate.number) for candidate in study.candidates if candidate.state == "pruned"]
    if pruned:
        lines.append(f"pruned, since one of their trials fell behind and was stopped early: {', '.join(pruned)}")
    lines += [f"note: a candidate has no figure: {reason}" for reason in study.without_figure.values()]
    if study.aside:
        lines.append(f"{len(study.aside)} candidates of earlier runs lie outside the space; {FILE} keeps them")
    best = study.best
    if best:
        params = ", ".join(f"{key} {_plain(value)}" for key, value in best.params.items())
        lines.append(f"best {study.search.metric}: {best.value:.2f} with {params}")
    return "\n".join(lines)


def table_command(place: str, *, search: bool = False) -> str:
    """The command that shows the results: the script of a checkout if this is one, else the installed command.

    Args:
        place: folder or URI of the results.
        search: whether they are those of a search.
    """
    tables = "python analysis/tables.py" if Path("analysis/tables.py").is_file() else "cissl-tables"
    return f"{tables} {shlex.quote(place)}{' --search' if search else ''}"


def _reason(trial: Path, status: Status) -> tuple[str, Path]:
    """The last line of the error that the trial recorded, or else Ray; and the file that has the whole error."""
    own, by_ray = trial / "status.json", trial / "error.txt"
    found = by_ray.read_text(encoding="utf-8", errors="replace") if by_ray.is_file() else ""
    for file, text in ((own, status.get("error")), (by_ray, found)):
        if lines := str(text or "").strip().splitlines():
            return lines[-1], file
    return "its process ended without a message, perhaps for lack of memory or disk space", own


def _status(config: TrialConfig, folder: Path) -> Status:
    """A trial's status; ``new`` if it has none."""
    return read_status(folder / config.trial_id) or {"state": "new"}


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
