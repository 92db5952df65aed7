"""What the records of trials and sweeps hold: the rows and groups that training writes and the analysis reads.

These are types alone, so that both sides can import them: there is neither torch nor Ray here. `cissl.training.records`
says which file holds what. A figure that is not a number is NaN in memory and null in a file, which is read as None.
A key that is not required may be missing: older versions did not write it, or not every method has such a figure.
"""

from typing import Any, TypedDict

Figure = float | None
"""a number of a record; None stands for NaN and infinities, which JSON has no word for"""


class LossFigures(TypedDict):
    """Means over the steps since the last evaluation, in every row of a history.

    Attributes:
        loss: the whole loss.
        loss_labeled: its part on labeled images.
        loss_unlabeled: its part on pseudo-labels.
        mask_ratio: share of the pseudo-labels that were kept, 0 to 1.
    """

    loss: Figure
    loss_labeled: Figure
    loss_unlabeled: Figure
    mask_ratio: Figure


class PseudoLabelFigures(TypedDict, total=False):
    """Pseudo-labels since the last evaluation, counted by their class, (C,); of methods that make any.

    Attributes:
        pseudo_kept: those that were kept; a fraction where a method weights them.
        pseudo_correct: those of them that are the image's true label.
    """

    pseudo_kept: list[float]
    pseudo_correct: list[float]


class MethodFigures(TypedDict, total=False):
    """What a method adds to a row of a history.

    Attributes:
        terms: mean of each named term of the loss.
        measured: what the method measured, by name: a number, or lists of numbers in the shape of its array.
        class_prior: moving average of the mean prediction on weak views, (C,).
        stage: number of the stage that the steps before belong to, where the method has several.
    """

    terms: dict[str, Figure]
    measured: dict[str, Any]
    class_prior: list[Figure]
    stage: int


class EvaluationFigures(LossFigures, PseudoLabelFigures, MethodFigures):
    """What one evaluation finds. Accuracies are percent.

    Attributes:
        step: optimizer updates before it.
        kimg: the same in 1024 labeled images.
        lr: learning rate of the last of these updates.
        accuracy: share of the test images that are classified rightly.
        gmean: geometric mean of the classes' accuracies on test images.
        valid_accuracy, valid_gmean: the same on validation images.
        per_class: accuracy on test images of each class, (C,).
    """

    step: int
    kimg: float
    lr: float
    accuracy: Figure
    gmean: Figure
    valid_accuracy: Figure
    valid_gmean: Figure
    per_class: list[Figure]


class EvaluationRow(EvaluationFigures):
    """One evaluation as it stands in the record: a line of ``history.jsonl``.

    Attributes:
        seconds: training time until then, in seconds, summed over resumptions.
    """

    seconds: float


class _State(TypedDict):
    state: str


class Status(_State, total=False):
    """How far a trial is: ``status.json``. Only its state is sure to be there.

    Attributes:
        state: running, or for its end complete, failed, stopped or diverged.
        step: optimizer updates made.
        steps: optimizer updates of the whole training.
        saved_step: updates that the newest checkpoint holds; 0 stands for none.
        seconds: training time, in seconds.
        error: what the trial failed of.
        damaged: names of the checkpoints that were found damaged.
        updated: when this was written, in UTC, ISO 8601.
    """

    step: int
    steps: int
    saved_step: int
    seconds: float
    error: str | None
    damaged: list[str]
    updated: str


class CandidateRow(TypedDict):
    """One candidate of a search: an entry of ``search.json``.

    Attributes:
        number: of the candidate, counted from 0.
        params: its settings.
        state: open, complete, pruned or failed.
        value: mean of the metric over its trials, in percent; None where it has none.
        stopped: id of the trial that was stopped early, if any.
        trials: ids of its trials.
    """

    number: int
    params: dict[str, Any]
    state: str
    value: float | None
    stopped: str | None
    trials: list[str]
