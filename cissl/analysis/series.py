"""What figures show: their kinds, and the trials of one data setting."""

from collections.abc import Iterator

from cissl.analysis import labels
from cissl.analysis.cells import Grid
from cissl.analysis.results import Trial

KINDS = {  # kind of figure → what it shows
    "training": "Accuracy and geometric mean on the test set over training: mean and ± sample std over seeds.",
    "head-tail": "Test accuracy of the classes with most and with fewest labels over training.",
    "classes": "Recall and precision of each class on the test set at the end, classes ordered by their labels.",
    "confusion": "Row-normalised confusion matrices on the test set, the last evaluations and all seeds together.",
    "prior": "Estimated class prior at the end, and its distance from the true one over training, where that is known.",
    "thresholds": "Threshold of pseudo-labels per class at the end, and share of pseudo-labels kept over training.",
    "pseudo-labels": "Kept pseudo-labels per class at the end, and their precision for head and tail classes over "
    "training; labeled images that are among the unlabeled ones count too.",
    "measured": "What methods measure themselves: numbers over training, and values per class at the end.",
}
SEARCH = "search"  # the kind of figure that a hyper-parameter search has
SEARCH_CAPTION = (
    "Candidates of a search by each searched setting: mean and ± sample std over seeds on validation images."
)
Series = dict[str, list[Trial]]  # by label of a method, its trials of one data setting


def series_by_setting(grid: Grid) -> Iterator[tuple[str, Series]]:
    """The heading and the series of each column.

    A row has its complete trials there. A row without any has its running trials, and its label says so.
    """
    for column, heading in zip(grid.columns, labels.headings_in_words(grid.columns), strict=True):
        series: Series = {}
        for row in grid.rows:
            cell = grid.cells.get((row, column))
            running = [t for t, _ in cell.left_out if t.state == "running" and t.rows] if cell else []
            if cell and cell.counted:
                series[f"{labels.row_label(row)} (n = {cell.n})"] = cell.counted
            elif running:
                series[f"{labels.row_label(row)} ({len(running)} running)"] = running
        if series:
            yield heading, series
