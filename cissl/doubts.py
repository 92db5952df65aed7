"""Notes about settings that are allowed and seldom meant. A sweep and a single trial print them before they train."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from cissl.config import TrialConfig
from cissl.errors import counted

WINDOW = 10  # evaluations whose mean is the reported figure
FEWEST_TIME_CONSTANTS = 3  # of a moving average; after 3 of them 5 % of it still come from the start


class Split(Protocol):
    """What has to be known about a trial's data."""

    @property
    def labeled_counts(self) -> Sequence[int]:
        """Number of labeled images of each class."""

    @property
    def valid_labeled(self) -> int:
        """Number of validation images that are labeled too."""


def doubts(trials: Sequence[tuple[TrialConfig, Split]]) -> list[str]:
    """One line for each kind of doubt about these trials, such as the defaults of a long training in a short one.

    Args:
        trials: the trials' settings, and what is known about their data.
    """
    configs = [config for config, _ in trials]
    lines = [*_seldom_evaluated(configs), *_slow_averages(configs), *_mixed_stages(configs)]
    splits = {config.dataset: (config, split) for config, split in trials}.values()
    for look in (_classes_without_label, _labeled_validation):
        lines += _first_and_number(look(config, split) for config, split in splits)
    return lines


def _seldom_evaluated(configs: Sequence[TrialConfig]) -> list[str]:
    once = sum(config.report_steps >= config.steps for config in configs)
    be = "is" if once == 1 else "are"
    return (
        [f"{counted(once, 'trial')} {be} evaluated once, at the end; a smaller report_kimg shows more"] if once else []
    )


def _slow_averages(configs: Sequence[TrialConfig]) -> list[str]:
    lines = []
    for key in ("ema_decay", "bn_decay"):
        slow = [config for config in configs if config.steps * (1 - getattr(config, key)) < FEWEST_TIME_CONSTANTS]
        if slow:
            fewest = min(slow, key=lambda config: config.steps)
            have = "has" if len(slow) == 1 else "have as few as"
            lines.append(
                f"{counted(len(slow), 'trial')} {have} {counted(fewest.steps, 'step')}, in which an average with "
                f"{key} {getattr(fewest, key):g} hardly forgets where it started"
            )
    return lines


def _mixed_stages(configs: Sequence[TrialConfig]) -> list[str]:
    """Trials whose reported figure is a mean over more than the last stage of a training that has several."""
    mixed: dict[str, int] = {}
    for config in configs:
        evaluations = -(-config.steps // config.report_steps)
        first = max(1, evaluations - WINDOW + 1) * config.report_steps
        if first <= config.recipe.last_stage(config.method, config.steps):
            mixed[config.recipe.title] = mixed.get(config.recipe.title, 0) + 1
    return [
        f"the last {WINDOW} evaluations of {counted(number, 'trial')} with {title} are of more than the last stage of "
        "the training, and so is their mean; a smaller report_kimg keeps them within it"
        for title, number in mixed.items()
    ]


def _classes_without_label(config: TrialConfig, split: Split) -> str | None:
    counts = list(split.labeled_counts)
    if 0 not in counts:
        return None
    return f"{counts.count(0)} of the {len(counts)} classes of {config.dataset} have no label, and are not learned"


def _labeled_validation(config: TrialConfig, split: Split) -> str | None:
    if not split.valid_labeled:
        return None
    reason = ", since split seed 0 takes both in the order of the data" if config.spec.seed == 0 else ""
    share = f"{split.valid_labeled} of the {config.spec.valid} validation images of {config.dataset}"
    return (
        f"{share} are labeled too{reason}: "
        "figures on them are partly of training, so choose nothing by them; with _HELDOUT before its seed the split "
        "takes other images"
    )


def _first_and_number(lines: Iterable[str | None]) -> list[str]:
    """The first line, with the number of other splits that it holds for too."""
    found = [line for line in lines if line]
    others = len(found) - 1
    more = f" (and so in {others} other split{'s' * (others > 1)})" if others > 0 else ""
    return [f"{line}{more}" for line in found[:1]]
