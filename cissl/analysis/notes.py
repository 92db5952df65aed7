"""Sentences below a table that tell what a reader must know about its trials."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace

from cissl.analysis.counting import overlaps, reason
from cissl.analysis.methods import label, last_stage, settings_of, takes
from cissl.analysis.results import Trial
from cissl.analysis.selection import Selection
from cissl.analysis.values import Value
from cissl.analysis.words import dataset_name, first_names, format_value
from cissl.datasets.spec import parse_spec
from cissl.errors import UserError, counted

FEW_VALIDATION_IMAGES = 100


def on_searches(searched: list[Trial]) -> list[str]:
    """How many trials are left out because they belong to a search.

    Args:
        searched: the trials of searches.
    """
    if not searched:
        return []
    sweeps = ", ".join(sorted({str(trial.sweep) for trial in searched}))
    return [
        f"{len(searched)} trials of a hyper-parameter search ({sweeps}) are left out here; see "
        "analysis/tables.py --search."
    ]


def on_waiting(names: list[str]) -> list[str]:
    """How many planned trials have not started and have no known cell.

    Args:
        names: of these trials.
    """
    if not names:
        return []
    return [f"{len(names)} planned trials have not started: {first_names(names)}."]


def on_settings(described: Collection[Mapping[str, Value]], in_labels: Collection[str]) -> list[str]:
    """Settings that differ between rows or between data sets, although no label shows them.

    Only settings that a method uses count. Where methods differ only in their defaults, there is nothing to tell.

    Args:
        described: the values of each trial, by name.
        in_labels: the names that labels show.
    """
    uses: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    chosen = set()
    for values in described:
        algorithm = str(values["algorithm"])
        known = settings_of(algorithm)
        user = f"{label(algorithm)} on {dataset_name(str(values['name']))}"
        for key in values.keys() - in_labels:
            if takes(algorithm, key):
                uses[key][format_value(values[key])].add(user)
                if key not in known or values[key] != known[key].default:
                    chosen.add(key)
    notes = []
    for key, by_value in sorted(uses.items()):
        if len(by_value) > 1 and key in chosen:
            parts = [f"{value} ({', '.join(sorted(users))})" for value, users in sorted(by_value.items())]
            notes.append(f"{key} is not the same everywhere: {'; '.join(parts)}.")
    return notes


def on_windows(trials: list[Trial], selection: Selection) -> list[str]:
    """How many trials have fewer evaluations than the selection averages, or average over several stages."""
    if not selection.window:
        return []
    notes, complete = [], [trial for trial in trials if trial.complete]
    short = [trial for trial in complete if trial.rows < selection.window]
    if short:
        fewest = min(trial.rows for trial in short)
        notes.append(
            f"{counted(len(short), 'trial')} with fewer than {selection.window} evaluations (as few as {fewest}): all "
            "of these count."
        )
    mixed = [trial for trial in complete if _first_step(trial, selection.window) <= _last_stage(trial)]
    if mixed:
        titles = ", ".join(sorted({label(trial.algorithm) for trial in mixed}))
        notes.append(
            f"The last {selection.window} evaluations of {counted(len(mixed), 'trial')} ({titles}) are of more than "
            "the last stage of the training, and so is their mean."
        )
    return notes


def _first_step(trial: Trial, window: int) -> int:
    """The step of the first of the last ``window`` evaluations."""
    return int(trial.history["step"][-window:][0])


def _last_stage(trial: Trial) -> int:
    """The step at which the last stage of the trial's training begins."""
    return last_stage(trial.algorithm, trial.settings, int(trial.history["step"][-1]))


def on_validation(trials: list[Trial], selection: Selection) -> list[str]:
    """What makes a choice by validation images doubtful.

    Raises:
        UserError: every complete trial was trained on some of its validation images, so that these cannot choose.
    """
    if not selection.validates:
        return []
    complete = [trial for trial in trials if trial.complete]
    if complete and all(overlaps(trial, selection) for trial in complete):
        example = reason(complete[0], "", selection)
        raise UserError(
            f"--select {selection.name} would choose by images that were trained on ({complete[0].name}: {example}); "
            "take last10, or run splits whose validation images have no label, such as "
            f"{_held_out(complete[0].config['dataset'])}"
        )
    notes = []
    smallest = min((trial.spec["valid"] for trial in trials), default=FEW_VALIDATION_IMAGES)
    if smallest < FEW_VALIDATION_IMAGES:
        notes.append(f"Validation sets have as few as {smallest} images: what is best on them is largely chance.")
    unknown = sum("valid_labeled" not in trial.provenance for trial in complete)
    if unknown:
        notes.append(
            f"The records of {counted(unknown, 'trial')} do not tell whether labeled images are among the validation "
            "images."
        )
    return notes


def _held_out(dataset: str) -> str:
    """The name of the same split with validation images that have no label."""
    spec = parse_spec(dataset)
    return str(spec if spec.disjoint else replace(spec, held_out=True))


def on_programs(trials: list[Trial]) -> list[str]:
    """Which versions of the program made the trials, if several did; these may differ by more than their settings."""
    programs: dict[str, int] = defaultdict(int)
    for trial in trials:
        if trial.provenance:
            dirty = " with uncommitted changes" if trial.provenance.get("dirty") else ""
            programs[f"{str(trial.provenance.get('commit') or 'unknown')[:12]}{dirty}"] += 1
    if len(programs) < 2:
        return []
    commonest = sorted(programs, key=lambda program: (-programs[program], program))[:3]
    parts = ", ".join(f"{program} ({programs[program]})" for program in commonest)
    more = ", …" if len(programs) > len(commonest) else ""
    return [f"The trials were made by {len(programs)} versions of the program: {parts}{more}."]
