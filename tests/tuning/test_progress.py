"""The live table and the job log, on a clock that the test winds."""

import io

import pytest

from cissl.config import TrialConfig
from cissl.tuning.progress import Progress, duration


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


def trial(seed, **settings):
    return TrialConfig(
        dataset=f"digits_LT_20.{seed}@20-1", seed=seed, batch=64, train_kimg=6.25, **settings
    )  # 100 steps


def row(step, seconds, accuracy=50.0):
    return {"step": step, "seconds": seconds, "accuracy": accuracy, "gmean": 40.0}


def begin(stream, clock, trials, **known):
    progress = Progress(len(trials), (2, "CPU"), stream=stream, clock=clock)
    for config in trials:
        progress.add(config)
    return progress


def test_a_job_log_gets_a_line_at_most_every_ten_seconds(clock):
    stream = io.StringIO()
    trials = [trial(1), trial(2)]
    progress = begin(stream, clock, trials)
    progress.start(trials[0].trial_id)
    for second in range(1, 31):
        clock.now = second
        progress.evaluated(trials[0].trial_id, row(second, second))
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if "trials complete" in line] == [
        "  5%  0/2 trials complete  0:10 so far  3:10 left  0.01 CPU-hours",
        " 10%  0/2 trials complete  0:20 so far  3:00 left  0.01 CPU-hours",
        " 15%  0/2 trials complete  0:30 so far  2:50 left  0.02 CPU-hours",
    ]
    assert lines[-2] == "  fixmatch-digits_LT_20-s1  acc  50.0  gmean  40.0  step  30/100  1:10 left"


def test_an_old_sweep_speaks_less_often(clock):
    stream = io.StringIO()
    progress = begin(stream, clock, [trial(1)])
    progress.start(trial(1).trial_id)
    for minute in range(24 * 60):
        clock.now = 60.0 * minute
        progress.show()
    assert 200 < stream.getvalue().count("trials complete") < 600


def test_trials_side_by_side_share_the_time_that_is_left(clock):
    trials = [trial(seed) for seed in (1, 2, 3, 4)]
    progress = begin(io.StringIO(), clock, trials)
    for config in trials[:2]:
        progress.start(config.trial_id)
    clock.now = 10
    for config in trials[:2]:
        progress.evaluated(config.trial_id, row(10, 10))  # one second a step: 90 + 90 + 100 + 100 steps on two places
    assert "3:10 left" in progress._summary()
    clock.now = 20
    assert "3:00 left" in progress._summary()


def test_each_kind_of_trial_has_its_own_pace(clock):
    slow, quick = trial(1), trial(1, algorithm="supervised")
    progress = begin(io.StringIO(), clock, [quick, slow, trial(2)])
    progress.start(quick.trial_id)
    progress.evaluated(quick.trial_id, row(100, 10))
    progress.finish(quick.trial_id, "complete")
    progress.start(slow.trial_id)
    progress.evaluated(slow.trial_id, row(50, 100))
    assert "5:00 left" in progress._summary()  # 100 s for the rest of one, 200 s for the other


def test_a_resumed_trial_counts_what_was_done_before_but_not_as_time_of_this_run(clock):
    stream = io.StringIO()
    progress = Progress(1, (1, "GPU"), stream=stream, clock=clock)
    progress.add(trial(1), step=50, seconds=3600, row=row(50, 3600))
    progress.start(trial(1).trial_id)
    progress.evaluated(trial(1).trial_id, row(60, 3620))
    assert (
        "60%" in progress._summary() and "1:20 left" in progress._summary() and "0.01 GPU-hours" in progress._summary()
    )


def test_a_trial_that_goes_back_to_a_checkpoint_never_has_less_than_no_time_left(clock):
    progress = Progress(1, (1, "GPU"), stream=io.StringIO(), clock=clock)
    progress.add(trial(1), step=50, seconds=3600, row=row(50, 3600))  # when it stopped, after the checkpoint
    progress.start(trial(1).trial_id)
    for step in (60, 70):
        progress.evaluated(trial(1).trial_id, row(step, 30 * step))  # on the checkpoint's clock
    progress.evaluated(trial(1).trial_id, row(60, 1800))  # its process died
    progress.evaluated(trial(1).trial_id, row(80, 2400))
    assert "10:00 left" in progress._summary() and "0.25 GPU-hours" in progress._summary()


def test_a_terminal_is_redrawn_and_keeps_the_lines_of_finished_trials(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    progress = begin(stream, clock, [trial(1)])
    progress.start(trial(1).trial_id)
    clock.now = 1
    progress.evaluated(trial(1).trial_id, row(100, 65))
    progress.finish(trial(1).trial_id, "complete")
    clock.now = 2
    progress.show()
    assert shown(stream.getvalue()) == [
        "complete  fixmatch-digits_LT_20-s1  acc  50.0  gmean  40.0  in 1:05",
        f"[{'#' * 22}] 100%  1/1 trials complete  0:02 so far  0.04 CPU-hours",
    ]


def shown(text):
    """What a terminal shows after this text: the one escape used is 'up n lines and clear below'."""
    screen = []
    for part in text.split("\x1b["):
        if "A" in part.split("\n")[0]:
            screen = screen[: len(screen) - int(part.partition("A")[0])]
            part = ""
        screen += part.removeprefix("J").splitlines()
    return screen


def test_unknown_figures_are_dashes_and_many_trials_are_cut(clock):
    stream = io.StringIO()
    trials = [trial(seed) for seed in range(1, 13)]
    progress = begin(stream, clock, trials)
    for config in trials:
        progress.start(config.trial_id)
    progress.show(now=True)
    assert "acc     –  gmean     –" in stream.getvalue() and "… and 4 more" in stream.getvalue()


def test_what_a_trial_waits_for_is_shown(clock):
    stream = io.StringIO()
    progress = begin(stream, clock, [trial(1)])
    progress.waiting = "1 CPU (the cluster has 1, 0 are free)"
    progress.show(now=True)
    assert stream.getvalue().splitlines()[0] == "  waiting for 1 CPU (the cluster has 1, 0 are free)"
    assert not progress.has_news([trial(1).trial_id])
    progress.start(trial(1).trial_id)
    progress.evaluated(trial(1).trial_id, row(10, 10))
    assert progress.has_news([trial(1).trial_id])


def test_trials_of_a_search_that_share_a_name_are_told_apart(clock):
    stream = io.StringIO()
    trials = [trial(1, lr=0.1), trial(1, lr=0.2)]
    progress = begin(stream, clock, trials)
    progress.start(trials[0].trial_id)
    progress.show(now=True)
    assert "  fixmatch-digits_LT_20-s1 lr=0.1  acc" in stream.getvalue()


def test_durations():
    assert [duration(seconds) for seconds in (0, 59.9, 61, 3600, 100_000)] == [
        "0:00",
        "0:59",
        "1:01",
        "1:00:00",
        "27:46:40",
    ]


def test_trials_of_one_name_are_told_apart_by_the_settings_in_which_they_differ(clock):
    stream = io.StringIO()
    trials = [trial(1, lr=0.03), trial(1, lr=0.1), trial(2)]
    progress = begin(stream, clock, trials)
    for config in trials:
        progress.finish(config.trial_id, "complete")
    names = [line[10:].partition("  acc")[0].strip() for line in stream.getvalue().splitlines()]
    name = "fixmatch-digits_LT_20-s1"
    assert names == [f"{name} lr=0.03", f"{name} lr=0.1", "fixmatch-digits_LT_20-s2"]


def test_many_differing_settings_and_other_code_are_told_by_the_hash(clock):
    many = [trial(1), trial(1, lr=0.1, wd=0.1, adepth=3, confidence=0.5)]
    progress = begin(io.StringIO(), clock, many)
    names = [progress._name(progress.trials[config.trial_id]).split() for config in many]
    assert [name[1:] for name in names] == [
        ["adepth=2", "lr=0.03", "wd=0.0005", many[0].hash], ["adepth=3", "lr=0.1", "wd=0.1", many[1].hash],
    ]  # fmt: skip
