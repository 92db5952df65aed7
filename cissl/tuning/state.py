"""How far a sweep is and how it ended, as its trials' records say."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cissl.config import TrialConfig
from cissl.training.records import read_status, recorded_data, require_same_data, resumes_at, write_status
from cissl.tuning.mistakes import Mistakes
from cissl.tuning.search import FILE, Study

NOT_REPEATED = ("complete", "diverged")  # running such a trial again would change nothing
STEPS_SHOWN = 3


def is_over(config: TrialConfig, folder: Path) -> bool:
    """Whether a trial needs no further run."""
    return _status(config, folder).get("state") in NOT_REPEATED


def check_data(trials: Iterable[TrialConfig], folder: Path, data: Mapping[str, Mapping[str, str]]) -> None:
    """See that no trial was trained on other data than there are now; a complete one would not be looked at again.

    Raises:
        UserError: trials that were, one in a line.
    """
    mistakes = Mistakes()
    for config in trials:
        trial = folder / config.trial_id
        present = data.get(config.dataset, {})
        mistakes.attempt(require_same_data, trial, config.dataset, recorded_data(trial), present)
    mistakes.tell()


def describe(trials: Sequence[TrialConfig], folder: Path) -> str:
    """How far a sweep is: ``18 trials: 5 complete, 1 continues at step 320/800, 12 new``."""
    groups: dict[str, list[str]] = {"complete": [], "diverged": [], "failed": [], "unfinished": [], "new": []}
    for config in trials:
        status = _status(config, folder)
        state = status.get("state", "new")
        # "running" is what a process leaves that was killed: nobody runs this sweep now.
        group = groups.get(state, groups["unfinished"])
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
    """What went wrong with each trial that is not complete, and the file that tells more."""
    reports = []
    for config in trials:
        status = _status(config, folder)
        if status.get("state") == "complete":
            continue
        state = {"running": "died", None: "never ran"}.get(status.get("state"), status.get("state"))
        reason, file = _reason(folder / config.trial_id, status)
        reports.append(f"{state}: {config.name} at step {status.get('step', 0)}/{config.steps}: {reason}\n    {file}")
    return reports


def note_stopped(trials: Iterable[TrialConfig], folder: Path) -> None:
    """Mend the status of trials whose processes were ended before they could do it themselves."""
    for config in trials:
        status = _status(config, folder)
        if status.get("state") == "running":
            step = resumes_at(status)
            kept = {key: status[key] for key in ("seconds", "damaged") if key in status}
            write_status(folder / config.trial_id, "stopped", step=step, steps=config.steps, saved_step=step, **kept)


def damaged(trials: Iterable[TrialConfig], folder: Path) -> list[str]:
    """The checkpoints that were found damaged, so that a trial went on from an older one."""
    return [
        f"damaged checkpoint, not used: {folder / config.trial_id / 'checkpoints' / name}"
        for config in trials
        for name in _status(config, folder).get("damaged", ())
    ]


def describe_search(study: Study) -> str:
    """The candidates so far, and the best."""
    states = [candidate.state for candidate in study.candidates]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "open"))
    lines = [f"{len(states)} of {study.search.trials} candidates: {counts}"]
    pruned = [str(candidate.number) for candidate in study.candidates if candidate.state == "pruned"]
    if pruned:
        lines.append(f"pruned, since one of their trials fell behind and was stopped early: {', '.join(pruned)}")
    lines += [f"note: a candidate has no figure: {reason}" for reason in study.without_figure.values()]
    if study.aside:
        lines.append(f"{len(study.aside)} candidates of earlier runs lie outside the space; {FILE} keeps them")
    if study.best:
        params = ", ".join(f"{key} {_plain(value)}" for key, value in study.best.params.items())
        lines.append(f"best {study.search.metric}: {study.best.value:.2f} with {params}")
    return "\n".join(lines)


def table_command(place: str, *, search: bool = False) -> str:
    """How to see the results: in the current folder's checkout by its script, elsewhere by the installed command."""
    tables = "python analysis/tables.py" if Path("analysis/tables.py").is_file() else "cissl-tables"
    return f"{tables} {shlex.quote(place)}{' --search' if search else ''}"


def _reason(trial: Path, status: dict[str, Any]) -> tuple[str, Path]:
    """The last line of what a trial, or else Ray, says about its end, and the file with the rest."""
    own, by_ray = trial / "status.json", trial / "error.txt"
    found = by_ray.read_text(encoding="utf-8", errors="replace") if by_ray.is_file() else ""
    for file, text in ((own, status.get("error")), (by_ray, found)):
        if lines := str(text or "").strip().splitlines():
            return lines[-1], file
    return "its process ended without a word, perhaps for want of memory or disk space", own


def _status(config: TrialConfig, folder: Path) -> dict[str, Any]:
    return read_status(folder / config.trial_id) or {}


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
