"""Figures of one data setting: each takes ``{method: its trials}`` and gives a matplotlib figure."""

import textwrap
from collections.abc import Callable, Sequence
from functools import partial

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from cissl.analysis.history import THRESHOLDS
from cissl.analysis.panels import COLUMN_WIDTH, STYLE, Classes, NotOnRecord, Panel, algorithm_of, compose, each, fill
from cissl.analysis.results import Provenance, Trial
from cissl.analysis.series import Series
from cissl.analysis.values import FloatArray, IndexArray

WINDOW = 10  # evaluations that a "final" figure is averaged over


def training(series: Series, title: str) -> Figure:
    """Accuracy and geometric mean over training.

    Raises:
        NotOnRecord: no trial has been evaluated.
    """
    labels = {"accuracy": "accuracy (%)", "gmean": "geometric mean (%)"}
    panels = [Panel(label, each(series, _column(metric))) for metric, label in labels.items()]
    return compose(panels, series, title)


def head_and_tail(series: Series, title: str) -> Figure:
    """Accuracy of the classes with most and with fewest labels over training.

    Raises:
        NotOnRecord: labels or accuracies per class are not on record.
    """
    classes = Classes(series)
    panels = [
        Panel(
            "accuracy (%)",
            each(series, partial(_class_mean, members=members)),
            title=f"{part} classes: {classes.words(members, 42)}",
        )
        for part, members in classes.head_and_tail().items()
    ]
    return compose(panels, series, title)


def classes(series: Series, title: str) -> Figure:
    """Recall and precision of each class at the end.

    Raises:
        NotOnRecord: labels per class or confusion matrices are not on record.
    """
    classes = Classes(series)
    matrices = each(series, _final_confusion)
    recall = {name: [100 * _share(np.diag(m), m.sum(1)) for m in found] for name, found in matrices.items()}
    precision = {name: [100 * _share(np.diag(m), m.sum(0)) for m in found] for name, found in matrices.items()}
    panels = [
        Panel(label, values, over="classes", limits=(-3, 103))
        for label, values in (("recall (%)", recall), ("precision (%)", precision))
    ]
    return compose(panels, series, title, classes)


def confusion(series: Series, title: str) -> Figure:
    """Confusion matrices whose rows add up to 100 %, over the last evaluations of all trials.

    Raises:
        NotOnRecord: labels per class or confusion matrices are not on record.
    """
    matrices = each(series, _final_confusion)
    shown = {name: np.sum(found, axis=0) for name, found in matrices.items() if np.any(found)}
    if not shown:
        raise NotOnRecord("there is no evaluation yet")
    classes = Classes(series)
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    size = (COLUMN_WIDTH, 1.2 + classes.height() + (1.5 if columns > 1 else 2.2) * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axis in grid.flat[len(shown) :]:
        axis.remove()
    for place, (name, matrix) in enumerate(shown.items()):
        axis = grid.flat[place]
        image = axis.imshow(100 * _share(matrix.T, matrix.sum(1)).T, cmap="cividis", vmin=0, vmax=100)
        axis.set_title(name if columns == 1 or len(name) <= 18 else _over_two_lines(name), loc="left")
        axis.spines[:].set_visible(False)
        axis.grid(False)
        classes.tick_both(axis, below=place + columns >= len(shown), beside=place % columns == 0)
    label = "share of the true class (%)"
    bar = figure.colorbar(image, ax=figure.axes, location="bottom", label=label, shrink=0.7, aspect=30)
    bar.outline.set_visible(False)
    figure.suptitle(fill(title), fontsize=8)
    return figure


def prior(series: Series, title: str) -> Figure:
    """Estimated class prior, and its distance from the true one where the class of every unlabeled image is known.

    Raises:
        NotOnRecord: labels per class are not on record, or no method estimates a prior.
    """
    drawn = _with_class_prior(series)
    classes = Classes(drawn)
    trials = [trial for found in drawn.values() for trial in found]
    found = {id(trial): _true_prior(trial) for trial in trials}
    truths = {key: truth for key, truth in found.items() if truth is not None}
    known = len(truths) == len(found)
    final = each(drawn, lambda trial: 100 * trial.history["class_prior"][-WINDOW:].mean(0))
    truth: FloatArray | None = 100 * np.mean(list(truths.values()), axis=0) if known else None
    panels = [Panel("class prior (%)", final, over="classes", truth=truth)]
    if known:
        distance = each(drawn, lambda trial: _total_variation(trial.history["class_prior"], truths[id(trial)]))
        panels.append(Panel("distance to truth (%)", distance, title="total variation distance"))
    notes = ["" if known else f"the truth is not known: {_known(trials)}", _without("class prior", series, drawn)]
    return compose(panels, drawn, title, classes, note="; ".join(filter(None, notes)))


def thresholds(series: Series, title: str) -> Figure:
    """Threshold of pseudo-labels for each class at the end, and share of pseudo-labels kept over training.

    Raises:
        NotOnRecord: labels per class are not on record, or no method has thresholds.
    """
    recorded = _with_vector(series, THRESHOLDS)
    drawn = {name: trials for name, trials in recorded.items() if algorithm_of(trials) != "supervised"}
    if not drawn:
        raise NotOnRecord("no method here has thresholds for unlabeled images on record")
    final = each(drawn, lambda trial: trial.history[THRESHOLDS][-WINDOW:].mean(0))
    kept = each(drawn, lambda trial: 100 * trial.history["mask_ratio"])
    panels = [Panel("threshold", final, over="classes"), Panel("pseudo-labels kept (%)", kept)]
    return compose(panels, drawn, title, Classes(drawn), note=_without("threshold", series, drawn))


def measured(series: Series, title: str) -> Figure:
    """What methods measured themselves: numbers over training, values per class at the end; without thresholds.

    Raises:
        NotOnRecord: labels per class are not on record, or no method measured anything that can be drawn.
    """
    classes = Classes(series)
    names = sorted({name for trials in series.values() for trial in trials for name in trial.measured} - {"thresholds"})
    panels = {name: _measured_panel(series, name, len(classes.order)) for name in names}
    drawn = sorted(filter(None, panels.values()), key=lambda panel: panel.over)  # panels over classes stand together
    if not drawn:
        raise NotOnRecord("no method here has measured anything but thresholds")
    others = [name for name, panel in panels.items() if panel is None]
    shown = {name: trials for name, trials in series.items() if any(name in panel.values for panel in drawn)}
    note = f"neither numbers nor per class: {', '.join(others)}" if others else ""
    return compose(drawn, shown, title, classes, note=note)


def _measured_panel(series: Series, name: str, classes: int) -> Panel | None:
    """The panel of one thing that methods measured; None where it is neither a number nor one value per class."""
    found = {n: [t.measured[name] for t in trials if name in t.measured] for n, trials in series.items()}
    values = {n: arrays for n, arrays in found.items() if arrays}
    shapes = {array.shape[1:] for arrays in values.values() for array in arrays}
    if shapes == {()}:
        return Panel(name, values, percent=False)
    if shapes != {(classes,)}:
        return None
    final = {n: [array[-WINDOW:].mean(0) for array in arrays] for n, arrays in values.items()}
    return Panel(name, final, over="classes")


def pseudo_labels(series: Series, title: str) -> Figure:
    """Kept pseudo-labels of each class at the end, and their precision over training, where classes are known.

    Raises:
        NotOnRecord: labels or pseudo-labels per class are not on record, or no unlabeled image has a known class.
    """
    drawn = _with_vector(_with_class_prior(series), "pseudo_kept")
    if not drawn:
        raise NotOnRecord("kept and correct pseudo-labels per class (pseudo_kept, pseudo_correct) are not on record")
    trials = [trial for found in drawn.values() for trial in found]
    if not all(map(_can_be_judged, trials)):
        raise NotOnRecord(f"whether pseudo-labels are right is not known: {_known(trials)}")
    classes = Classes(drawn)
    panels = [Panel("share of kept (%)", each(drawn, _kept_shares), over="classes")]
    for part, members in classes.head_and_tail().items():
        precision = each(drawn, partial(_precision, members=members))
        heading = f"{part} classes: {classes.words(members, 42)}"
        panels.append(Panel("precision (%)", precision, title=heading, limits=(-3, 103)))
    partly = any(_true_prior(trial) is None for trial in trials)
    notes = [f"only what is known: {_known(trials)}" if partly else "", _without("class prior", series, drawn)]
    return compose(panels, drawn, title, classes, note="; ".join(filter(None, notes)))


Draw = Callable[[Series, str], Figure]
FIGURES: dict[str, Draw] = {
    "training": training,
    "head-tail": head_and_tail,
    "classes": classes,
    "confusion": confusion,
    "prior": prior,
    "thresholds": thresholds,
    "pseudo-labels": pseudo_labels,
    "measured": measured,
}


def draw(kind: str, series: Series, title: str) -> Figure:
    """Draw one figure.

    Args:
        kind: a key of `FIGURES`.
        series: by label of a method, its trials of one data setting; those without an evaluation are left out.

    Raises:
        NotOnRecord: the records do not hold what the figure shows.
    """
    evaluated = {name: [trial for trial in trials if trial.rows] for name, trials in series.items()}
    series = {name: trials for name, trials in evaluated.items() if trials}
    facts = [trial.provenance for trials in series.values() for trial in trials]
    numbers = {fact["classes"] for fact in facts if "classes" in fact}
    if kind != "training" and len(numbers) > 1:
        words = " and ".join(map(str, sorted(numbers)))
        raise NotOnRecord(f"the trials' data have different numbers of classes: {words}")
    with matplotlib.rc_context(STYLE):
        return FIGURES[kind](series, title)


def _over_two_lines(name: str) -> str:
    """A method's label on two lines; its number of trials stands on the second one."""
    words, _, count = name.rpartition(" (")
    return f"{textwrap.shorten(words, 22, placeholder='…')}\n({count}"


def _column(name: str) -> Callable[[Trial], FloatArray]:
    """A function that gives this column of a trial's history."""
    return lambda trial: trial.history[name]


def _final_confusion(trial: Trial) -> FloatArray:
    """Counts on the test set over the last evaluations, (C, C): rows are true classes."""
    try:
        matrices = trial.confusion()
    except ValueError as error:
        raise NotOnRecord(str(error)) from None
    counts: FloatArray = matrices[-WINDOW:].sum(0).astype(np.float64)
    return counts


def _class_mean(trial: Trial, members: IndexArray) -> FloatArray:
    """Mean accuracy of these classes in each evaluation, (evaluations,); classes without a test image do not count."""
    values = trial.history["per_class"]
    if not values.shape[1]:
        raise NotOnRecord("the accuracy per class is not on record")
    part = values[:, members]
    part = part[:, ~np.isnan(part).all(0)]
    return part.mean(1) if part.shape[1] else np.full(len(values), np.nan)


def _true_prior(trial: Trial) -> FloatArray | None:
    """Class shares of the trial's unlabeled images, (C,); None unless the class of every image is known."""
    counts, size = trial.provenance.get("unlabeled_counts"), trial.provenance.get("unlabeled_size")
    if not counts or not size or sum(counts) != size:
        return None
    return np.array(counts, dtype=np.float64) / size


def _can_be_judged(trial: Trial) -> bool:
    """Whether the classes of unlabeled images are known that are not labeled images too."""
    facts = trial.provenance
    known = sum(facts.get("unlabeled_counts") or ())
    labeled = facts.get("unlabeled_labeled", sum(facts.get("labeled_counts") or ()))  # older records: as many at most
    return known > labeled


def _known(trials: Sequence[Trial]) -> str:
    """How many unlabeled images have a known class, in words."""
    facts = max((trial.provenance for trial in trials), key=_unknown)
    known, size = sum(facts.get("unlabeled_counts") or ()), facts.get("unlabeled_size", "?")
    labeled = facts.get("unlabeled_labeled")
    words = f"the class of {known} of {size} unlabeled images is on record"
    return words if labeled is None else f"{words}, {labeled} of them labeled ones"


def _unknown(facts: Provenance) -> int:
    """Number of unlabeled images whose class is not known."""
    return facts.get("unlabeled_size", 0) - sum(facts.get("unlabeled_counts") or ())


def _total_variation(estimates: FloatArray, truth: FloatArray) -> FloatArray:
    """Distance of (evaluations, C) class shares from the true ones (C,), in percent, (evaluations,)."""
    distance: FloatArray = 50 * np.abs(estimates - truth).sum(1)
    return distance


def _kept_shares(trial: Trial) -> FloatArray:
    """Share of each class among the pseudo-labels kept in the last evaluations, in percent, (C,)."""
    kept = trial.history["pseudo_kept"][-WINDOW:].sum(0)
    return 100 * _share(kept, kept.sum())


def _precision(trial: Trial, members: IndexArray) -> FloatArray:
    """Correct ÷ kept pseudo-labels of these classes in percent, (evaluations,); NaN where none was kept."""
    kept = trial.history["pseudo_kept"][:, members].sum(1)
    return 100 * _share(trial.history["pseudo_correct"][:, members].sum(1), kept)


def _with_vector(series: Series, column: str) -> Series:
    """The trials whose history has this column, (evaluations, C); methods without such a trial are left out."""
    found = {name: [t for t in trials if t.history[column].shape[1]] for name, trials in series.items()}
    return {name: trials for name, trials in found.items() if trials}


def _with_class_prior(series: Series) -> Series:
    """The trials that estimate a class prior.

    Raises:
        NotOnRecord: there are none.
    """
    found = _with_vector(series, "class_prior")
    # Supervised trials of the first version recorded a prior that never changes.
    found = {name: trials for name, trials in found.items() if algorithm_of(trials) != "supervised"}
    if not found:
        raise NotOnRecord("no method here estimates the classes of unlabeled images")
    return found


def _without(what: str, series: Series, drawn: Series) -> str:
    """A note that names the methods that a figure leaves out."""
    names = [name.rpartition(" (")[0] or name for name in series if name not in drawn]
    return f"without a {what} on record: {', '.join(names)}" if names else ""


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Part ÷ whole, broadcast; NaN where the whole is 0."""
    shares: FloatArray = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=shares, where=np.asarray(whole) > 0)
    return shares
