"""The command for a report: one HTML file with results, figures, failures, cost, provenance and all trials of a sweep.

python analysis/report.py ~/ray_results/digits_lt --out report.html
"""

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from cissl.analysis import formats, labels
from cissl.analysis.cells import Grid, build, setting_of
from cissl.analysis.command_line import add_bold_argument, add_choice_arguments, finish, form, run
from cissl.analysis.counting import figure_of
from cissl.analysis.history import MEASURED, VECTORS
from cissl.analysis.methods import label, rank
from cissl.analysis.results import STATES, Provenance, Records, Trial, load
from cissl.analysis.search_tables import SearchResults, search_tables, searches
from cissl.analysis.selection import METRICS, SELECTIONS
from cissl.analysis.series import KINDS, series_by_setting
from cissl.analysis.tables import table
from cissl.analysis.values import Value
from cissl.analysis.words import dataset_name, format_value, sort_key
from cissl.errors import UserError

TEMPLATE = Path(__file__).with_name("report_template.html")
SUFFIXES = {".html": "html", ".htm": "html"}
IDENTITY = ("dataset", "algorithm", "seed")


def report(
    records: Records,
    select: str,
    rows: Sequence[str],
    columns: Sequence[str],
    baseline: str,
    bold: str = "best",
) -> str:
    """The whole page as HTML. The same records always give the same page.

    Args:
        select: a key of `selection.SELECTIONS`.
        rows, columns: see `cells.build`.
        baseline: the algorithm that the others are compared with.
        bold: a key of `labels.BOLD`.

    Raises:
        UserError: see `cells.build`.
    """
    searched_only = all(trial.searched for trial in records.trials)
    grids = {} if searched_only else {m: build(records, m, SELECTIONS[select], rows, columns) for m in METRICS}
    sweeps = sorted({str(trial.sweep) for trial in records.trials if trial.sweep}) or ["Trials"]
    updated = max((t.status.get("updated") or "" for t in records.trials), default="") or "an unknown time"
    updated = updated.replace("T", " ").replace("+00:00", " UTC")
    parts = {
        "title": escape(", ".join(sweeps)),
        "subtitle": f"{len(records.trials)} trials; records as of {escape(updated)}",
        "overview": _overview(records),
        "results": _results(records, grids, select, rows, columns, baseline, bold),
        "figures": _figures(grids.get("accuracy"), searches(records)),
        "unfinished": _unfinished(records),
        "cost": _cost(records),
        "provenance": _provenance(records),
        "trials": _trials(records, select),
    }
    page = TEMPLATE.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], page)


def _overview(records: Records) -> str:
    settings = [trial.settings for trial in records.trials]
    keys = list(dict.fromkeys(key for values in settings for key in values if key not in IDENTITY))
    shared = {key: settings[0].get(key) for key in keys if len({repr(s.get(key)) for s in settings}) == 1}
    varied = {
        key: ", ".join(sorted({format_value(s.get(key)) for s in settings}, key=_natural))
        for key in keys
        if key not in shared
    }
    common = _definitions({key: format_value(value) for key, value in shared.items()})
    return (
        f'<div class="cards">{_cards(records)}</div>'
        f"<h3>What was run</h3>{_definitions(_what_was_run(records.trials) | varied)}"
        f"<details><summary>Settings that all trials share</summary>{common}</details>"
    )


def _cards(records: Records) -> str:
    """How many trials are in each state, and the device time of all."""
    found = Counter(trial.state for trial in records.trials)
    states = {state: found[state] for state in (*STATES, "unreadable")} | {"not started": len(records.waiting)}
    cards = [
        f'<div class="card"><b class="{state if state.isalpha() else "waiting"}">{count}</b>{state}</div>'
        for state, count in states.items()
        if count
    ]
    hours = sum(map(_device_hours, records.trials))
    return "".join(cards) + f'<div class="card"><b>{_hours(hours)}</b>device time</div>'


def _what_was_run(trials: Sequence[Trial]) -> dict[str, str]:
    settings = {setting_of(trial) for trial in trials}
    return {
        "data": "; ".join(labels.headings_in_words(sorted(settings, key=sort_key))),
        "methods": ", ".join(label(name) for name in sorted({t.config["algorithm"] for t in trials}, key=rank)),
        "seeds": ", ".join(map(str, sorted({t.config["seed"] for t in trials}))),
    }


def _results(
    records: Records,
    grids: dict[str, Grid],
    select: str,
    rows: Sequence[str],
    columns: Sequence[str],
    baseline: str,
    bold: str,
) -> str:
    parts = [f'<p class="notice">Skipped {escape(str(problem))}</p>' for problem in records.problems]
    parts += [formats.as_html(table(records, metric, select, rows, columns, bold=bold)) for metric in grids]
    parts += [_comparison(grid, baseline) for grid in grids.values()]
    if any(trial.searched for trial in records.trials):
        parts += [formats.as_html(made) for made in search_tables(records)]
    return "".join(parts)


def _comparison(grid: Grid, algorithm: str) -> str:
    """Differences from the baseline; nothing where the baseline is not one row."""
    from cissl.analysis import comparison  # here, so that the help needs no SciPy

    try:
        compared = comparison.compare_rows(grid, comparison.find_baseline(grid, algorithm))
    except UserError:
        return ""
    if not compared:
        return ""
    heads = dict(zip(grid.columns, labels.headings_in_words(grid.columns), strict=True))
    titles, lines = comparison.comparison_cells(compared, heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    name = f"{METRICS[grid.metric]}: differences from {label(algorithm)}"
    return (
        f"<details><summary>{escape(name[0].upper() + name[1:])}, paired by split and seed</summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f'<p class="quiet">In percentage points; {comparison.ALL} treats settings as independent. '
        "p: exact sign-flip test, corrected for all rows (Benjamini-Hochberg).</p></details>"
    )


def _figures(grid: Grid | None, searched: Sequence[SearchResults]) -> str:
    from cissl.analysis import svg  # here, so that the help needs no matplotlib

    parts = [f'<div class="figures">{svg.search_figure(search)}</div>' for search in searched]
    for heading, series in series_by_setting(grid) if grid else ():
        drawn = "".join(svg.figure(kind, heading, series) for kind in KINDS)
        parts.append(
            f"<details{'' if parts else ' open'}><summary><b>{escape(heading)}</b></summary>"
            f'<div class="figures">{drawn}</div></details>'
        )
    return "".join(parts) or "<p>There is nothing to draw yet.</p>"


def _unfinished(records: Records) -> str:
    """All trials without a result, with the reason; a click shows the whole text of an error."""
    rows = []
    for trial in records.trials:
        if trial.complete:
            continue
        status = trial.status
        error = str(status.get("error") or "").strip()
        line = escape(error.splitlines()[-1]) if error else ""
        text = f"<details><summary>{line}</summary><pre>{escape(error)}</pre></details>" if "\n" in error else line
        step = f"{status.get('step', '–')} / {status.get('steps', '–')}"
        rows.append((escape(trial.name), _state(trial.state), step, text))
    rows += [(escape(trial.rpartition("-")[0]), _state("not started"), "", "") for trial in records.waiting]
    if not rows:
        return "<p>None: every trial is complete.</p>"
    return _plain_table(("trial", "state", "step", "last message"), rows, left=(0, 1, 3))


def _cost(records: Records) -> str:
    groups: dict[tuple[str, str, str], list[Trial]] = defaultdict(list)
    for trial in records.trials:
        hardware = trial.provenance.get("hardware") or "unknown"
        groups[label(trial.config["algorithm"]), trial.spec["name"], hardware].append(trial)
    rows = []
    for (name, dataset, hardware), trials in sorted(groups.items()):
        times = [t.status["seconds"] for t in trials if t.complete and t.status.get("seconds")]
        each = _duration(float(np.mean(times))) if times else "–"
        hours = _hours(sum(map(_device_hours, trials)))
        rows.append((escape(name), escape(dataset_name(dataset)), str(len(trials)), each, hours, escape(hardware)))
    heads = ("method", "data", "trials", "time per complete trial", "device time", "hardware")
    note = '<p class="quiet">Training time summed over resumptions, all trials whatever their state.</p>'
    return _plain_table(heads, rows, left=(0, 1, 5)) + note


def _provenance(records: Records) -> str:
    known = [trial for trial in records.trials if trial.provenance]
    if not known:
        return "<p>Nothing is on record.</p>"
    facts: dict[str, Counter[str]] = {"commit": Counter(), "hardware": Counter()}
    for trial in known:
        dirty = " with uncommitted changes" if trial.provenance.get("dirty") else ""
        facts["commit"][f"{trial.provenance.get('commit') or 'unknown'}{dirty}"] += 1
        facts["hardware"][str(trial.provenance.get("hardware"))] += 1
        for package, version in trial.provenance.get("versions", {}).items():
            facts.setdefault(package, Counter())[str(version)] += 1
    shown = {
        name: ", ".join(v if len(counts) == 1 else f"{v} ({n} trials)" for v, n in counts.most_common())
        for name, counts in facts.items()
    }
    splits = {(t.config["dataset"], t.provenance.get("split_hash")): t.provenance for t in known}
    rows = [
        (escape(dataset), f"<code>{escape(str(split))}</code>", *_split_facts(provenance))
        for (dataset, split), provenance in sorted(splits.items(), key=lambda item: _natural(str(item[0])))
    ]
    heads = ("split", "hash", "labels", "unlabeled", "validation", "test", "labels per class")
    return (
        _definitions(shown)
        + f"<details><summary>{len(rows)} splits</summary>{_plain_table(heads, rows, left=(0, 1, 6))}</details>"
        + "<p class='quiet'>Settings of every trial: its folder's config.json.</p>"
    )


def _split_facts(provenance: Provenance) -> tuple[str, ...]:
    counts = provenance.get("labeled_counts") or []
    shown = " ".join(map(str, counts[:20])) + (" …" if len(counts) > 20 else "")
    sizes = (str(provenance.get(f"{part}_size", "–")) for part in ("unlabeled", "valid", "test"))
    return (str(sum(counts)), *sizes, shown)


def _trials(records: Records, select: str) -> str:
    """The list of all trials, which a reader can sort and filter."""
    settings = [trial.settings for trial in records.trials]
    keys = dict.fromkeys(key for values in settings for key in values)
    varied = [k for k in keys if k not in IDENTITY and len({repr(values.get(k)) for values in settings}) > 1]
    heads = ["trial", "method", "data", "seed", *varied, "state", "step", *METRICS, "seconds", "folder"]
    rows = []
    for trial, values in zip(records.trials, settings, strict=True):
        cells = [
            _td(trial.name),
            _td(label(trial.config["algorithm"])),
            _td(trial.config["dataset"]),
            _td(trial.config["seed"]),
            *(_value_cell(values.get(key)) for key in varied),
            f"<td>{_state(trial.state)}</td>",
            _td(trial.status.get("step", "")),
            *(_figure_cell(trial, metric, select) for metric in METRICS),
            _td(trial.status.get("seconds", "")),
            f'<td class="folder">{escape(trial.folder)}</td>',
        ]
        rows.append(f'<tr data-state="{trial.state}">{"".join(cells)}</tr>')
    options = "".join(f"<option>{state}</option>" for state in sorted({t.state for t in records.trials}))
    head = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in heads)
    return (
        '<div class="filters"><label>Filter <input id="filter" type="search" placeholder="cadr LT_20 …"></label>'
        f'<label>State <select id="state"><option value="">any</option>{options}</select></label>'
        '<span id="count" aria-live="polite"></span></div>'
        f'<div class="scroll"><table id="trials"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="quiet">Accuracy and gmean: {SELECTIONS[select].caption}, complete trials only.</p>'
    )


def _figure_cell(trial: Trial, metric: str, select: str) -> str:
    figure = figure_of(trial, metric, SELECTIONS[select])
    return '<td data-value="">–</td>' if np.isnan(figure) else f'<td data-value="{figure!r}">{figure:.2f}</td>'


def _value_cell(value: Value) -> str:
    """The value of a setting; of a float four digits, and all of them where the pointer rests on it."""
    short = f"{value:.4g}" if isinstance(value, float) else format_value(value)
    return f'<td title="{escape(format_value(value))}">{escape(short)}</td>'


def _td(value: Value) -> str:
    return f"<td>{escape(str(value))}</td>"


def _state(state: str) -> str:
    return f'<span class="state {state if state.isalpha() else "waiting"}">{escape(state)}</span>'


def _plain_table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: tuple[int, ...]) -> str:
    """A table of cells that are HTML already.

    Args:
        left: the columns that are flush left.
    """

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=left' if k in left else ''}>{v}</{tag}>" for k, v in enumerate(values))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells("th", heads)}</tr></thead><tbody>{body}</tbody></table></div>'


def _definitions(values: dict[str, str]) -> str:
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in values.items())
    return f"<dl>{items}</dl>" if items else ""


def _device_hours(trial: Trial) -> float:
    """Training time × number of workers, each of which uses one device."""
    return (trial.status.get("seconds") or 0.0) / 3600 * (trial.provenance.get("workers") or 1)


def _hours(hours: float) -> str:
    return _duration(hours * 3600) if hours < 1 else f"{hours:,.1f} h"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def _natural(text: str) -> list[tuple[int, float, str]]:
    """A key for `sorted` that puts 20 before 100."""
    return [(0, float(part), "") if part.isdigit() else (1, 0.0, part) for part in re.split(r"(\d+)", text)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="One self-contained HTML file about a sweep.", allow_abbrev=False)
    add_choice_arguments(made)
    made.set_defaults(out=Path("report.html"))
    add_bold_argument(made)
    made.add_argument(
        "--baseline", default="fixmatch", help="algorithm that the others are compared with [%(default)s]"
    )
    return made


def write_report(arguments: argparse.Namespace) -> int:
    """Write the page; the exit code is 1 where a record could not be read.

    Raises:
        UserError: --out has a suffix other than .html, or there is nothing to report.
    """
    form(arguments, SUFFIXES)
    records = load(arguments.results, vectors=(*VECTORS, MEASURED))
    choices = (arguments.select, arguments.rows, arguments.columns, arguments.baseline, arguments.bold)
    page = report(records, *choices)
    return finish(page, arguments.out, records)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    return run(write_report, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
