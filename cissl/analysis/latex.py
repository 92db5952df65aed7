"""Writes tables as LaTeX that fits a page: for a document that loads booktabs and siunitx, or as a whole document.

A table that is too wide is set in smaller type. If the type would be too small, the table is cut into blocks of columns
that stand one below the other. A table that is too high continues in a further one. Only TeX knows the width of a
document's line, so TeX chooses the size of the type (``\fitted``). The sizes of blocks are estimated here, in
characters and lines.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cissl.analysis.formats import Entry, Line, Table
from cissl.analysis.text import one_line

PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{booktabs}
\usepackage{siunitx}
\pagestyle{empty}
\begin{document}
"""
# Sets a tabular in the largest type that fits the line. The last resort needs graphicx, which a document may not load.
FITTED = r"""\providecommand{\fitted}[1]{{%
  \sbox0{#1}%
  \ifdim\wd0>\linewidth\small\sbox0{#1}\fi
  \ifdim\wd0>\linewidth\footnotesize\tabcolsep=4pt\sbox0{#1}\fi
  \ifdim\wd0>\linewidth\scriptsize\tabcolsep=3pt\sbox0{#1}\fi
  \ifdim\wd0>\linewidth\tiny\tabcolsep=2pt\sbox0{#1}\fi
  \ifdim\wd0>\linewidth\ifdefined\resizebox\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi\else\usebox0\fi}}
"""
TEXT_WIDTH, PAGE_WIDTH = 92, 185  # characters: an article's line in scriptsize, our landscape page in footnotesize
TEXT_HEIGHT, PAGE_HEIGHT = 46, 36  # lines of a page
BETWEEN = 3  # characters between two columns
LABEL = 34  # characters; longer labels are broken
HEADING = 18  # characters; longer headings are broken
LONG_WORD = 24  # characters; longer words may be broken
BREAK = "\0"  # stands for a place to break at


def latex(table: Table, width: int = TEXT_WIDTH, height: int = TEXT_HEIGHT) -> str:
    """The table as one or several ``table`` environments, for a document that loads booktabs and siunitx.

    Args:
        width: of a line, in characters.
        height: of a page, in lines.
    """
    caption = tex(" ".join([table.caption, *table.notes]))
    blocks = list(_blocks(table, width))
    notes = [rf"\textsuperscript{{{mark}}} {tex(text)}" for mark, text in table.footnotes]
    head = 3 + math.ceil(len(caption) / width)
    floats = list(_floats(blocks, height - head))
    foot = sum(math.ceil(len(note) / width) for note in notes)
    inside = head + foot + sum(_height(block) for block in floats[-1]) <= height
    lines = [FITTED.rstrip("\n")]
    for number, stacked in enumerate(floats):
        heading = (
            [rf"  \caption{{{caption}}}", rf"  \label{{{table.label}}}"]
            if number == 0
            else [rf"  Table~\ref{{{table.label}}}, continued\par\medskip"]
        )
        lines += [
            r"\begin{table}",
            r"  \centering",
            r"  \setlength{\belowcaptionskip}{6pt}",
            r"  \sisetup{detect-weight=true, table-align-text-post=false}",
            *heading,
        ]
        for block in stacked:
            lines += [r"  \fitted{%", *_tabular(block), r"  }\par\medskip"]
        if inside and number == len(floats) - 1:
            lines += [rf"  \par\raggedright\footnotesize {note}" for note in notes]
        lines.append(r"\end{table}")
    if not inside:  # text may continue on the next page; a float may not
        lines += [rf"{{\par\noindent\raggedright\footnotesize {note}\par}}" for note in notes]
    return "\n".join(lines) + "\n"


def standalone(tables: Sequence[Table]) -> str:
    """A whole LaTeX document with these tables."""
    return PREAMBLE + "\n".join(latex(table, PAGE_WIDTH, PAGE_HEIGHT) for table in tables) + "\\end{document}\n"


def _blocks(table: Table, width: int) -> Iterator[Table]:
    """Cut the table into blocks of columns that fit the width; a data set stays in one block where possible."""
    lines = [line for section in table.sections for line in section]
    room = width - min(LABEL, max((len(line.label) for line in lines), default=0))
    widths = [_width(heading, [line.entries[k] for line in lines]) for k, heading in enumerate(table.headings)]
    groups = [group for group, _ in table.headings]
    start = 0
    while start < len(widths):
        end = start + 1
        while end < len(widths) and sum(widths[start : end + 1]) <= room:
            end += 1
        first = groups.index(groups[end], start) if end < len(widths) else end  # column of the data set that is cut
        if start < first < end:
            end = first
        yield _columns(table, start, end)
        start = end


def _width(heading: tuple[str, str], entries: list[Entry]) -> int:
    """Characters that a column needs."""
    cells = [len(entry.number + entry.suffix + entry.marks) for entry in entries]
    return BETWEEN + max(min(HEADING, len(heading[1])), *cells, 5)


def _columns(table: Table, start: int, end: int) -> Table:
    sections = [[replace(line, entries=line.entries[start:end]) for line in section] for section in table.sections]
    return replace(table, headings=table.headings[start:end], sections=sections)


def _floats(blocks: Sequence[Table], height: int) -> Iterator[list[Table]]:
    """Collect blocks that stand below each other on one page; a block that is higher than a page is cut."""
    page: list[Table] = []
    for part in (part for block in blocks for part in _cut(block, height)):
        if page and sum(map(_height, page)) + _height(part) > height:
            yield page
            page = []
        page.append(part)
    yield page


def _cut(block: Table, height: int) -> Iterator[Table]:
    """Cut a block into parts whose rows fit a page; its sections stay apart."""
    room = max(1, height - _height(replace(block, sections=[])))
    rows: list[list[Line]] = []
    used = 0
    for section in block.sections:
        rows.append([])
        for line in section:
            if used + _line_height(line) > room and used:
                yield replace(block, sections=[part for part in rows if part])
                rows, used = [[]], 0
            rows[-1].append(line)
            used += _line_height(line)
    yield replace(block, sections=[part for part in rows if part] or [[]])


def _height(block: Table) -> int:
    """Number of lines that a block takes, with its heading and rules."""
    headings = max(len(_broken(heading)) for _, heading in block.headings) + 1
    return 2 + headings + sum(_line_height(line) for section in block.sections for line in section)


def _line_height(line: Line) -> int:
    return 1 if len(line.label) <= LABEL else math.ceil(len(line.label) / (0.8 * LABEL))  # broken lines are seldom full


def _tabular(block: Table) -> list[str]:
    lines = [line for section in block.sections for line in section]
    long = any(len(line.label) > LABEL for line in lines)
    label = rf">{{\raggedright\arraybackslash}}p{{{LABEL / 2:g}em}}" if long else "l"
    spec = label + "".join(_column([line.entries[k] for line in lines]) for k in range(len(block.headings)))
    made = [rf"  \begin{{tabular}}{{{spec}}}", r"    \toprule", *_headings(block.headings), r"    \midrule"]
    for number, section in enumerate(block.sections):
        made += [r"    \midrule"] if number else []
        made += ["    " + " & ".join([tex(line.label), *map(_entry, line.entries)]) + r" \\" for line in section]
    return [*made, r"    \bottomrule", r"  \end{tabular}%"]


def _headings(headings: list[tuple[str, str]]) -> list[str]:
    """Lines of the heading: data sets with a rule below them, then their settings."""
    spans: list[tuple[str, int]] = []
    for group, _ in headings:
        if spans and spans[-1][0] == group:
            spans[-1] = (group, spans[-1][1] + 1)
        else:
            spans.append((group, 1))
    lines = []
    if any(group for group, _ in spans):
        heads = [rf"\multicolumn{{{n}}}{{c}}{{{_stack(group, HEADING * n)}}}" for group, n in spans]
        lines.append("    & " + " & ".join(heads) + r" \\")
        start, rules = 2, []
        for group, n in spans:
            rules += [rf"\cmidrule(lr){{{start}-{start + n - 1}}}"] if group else []
            start += n
        lines.append("    " + " ".join(rules))
    if any(setting for _, setting in headings):
        lines.append("    & " + " & ".join(f"{{{_stack(setting, HEADING)}}}" for _, setting in headings) + r" \\")
    return lines


def _broken(text: str, width: int = HEADING) -> list[str]:
    return textwrap.wrap(text, width) or [""]


def _stack(text: str, width: int) -> str:
    """Text on as many lines as the width requires."""
    lines = [tex(line) for line in _broken(text, width)]
    stacked = r"\\".join(lines)
    return stacked if len(lines) == 1 else rf"\shortstack{{{stacked}}}"


def _column(entries: list[Entry]) -> str:
    """An S column of siunitx, which aligns the means; it has room for the widest ± and remark behind them."""
    figures = [entry for entry in entries if not np.isnan(entry.mean)]
    widest = max(figures, key=lambda e: len(e.number + e.suffix + e.marks), default=Entry())
    room = (r"\bfseries" if any(e.best for e in figures) else "") + _tail(widest)
    whole = max((len(f"{e.mean:.0f}") for e in figures), default=2)
    return f"S[table-format={whole}.2,table-space-text-post={{{room}}}]"


def _entry(entry: Entry) -> str:
    if np.isnan(entry.mean):
        return "{--" + _tail(entry) + "}"
    tail = _tail(entry)
    return (r"\bfseries " if entry.best else "") + f"{entry.mean:.2f}" + (f" {{{tail}}}" if tail else "")


def _tail(entry: Entry) -> str:
    spread = "" if np.isnan(entry.std) else rf"\,$\pm$\,{entry.std:.2f}"
    suffix = rf"\,{{\mdseries {tex(entry.suffix)}}}" if entry.suffix else ""
    return spread + suffix + (rf"\textsuperscript{{{entry.marks}}}" if entry.marks else "")


_TEX = {
    BREAK: r"\allowbreak{}",
    **{c: "\\" + c for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",  # after a line break, TeX would read these two as its argument and its star
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "–": r"\textendash{}",
    "−": "$-$",
    "…": r"\ldots{}",
    "₁": r"$_1$",
    "ᵤ": r"$_u$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "τ": r"$\tau$",
    "Π": r"$\Pi$",
    "×": r"$\times$",
}


def tex(text: str) -> str:
    """Plain text as LaTeX on one line; characters that pdfLaTeX may not know become ``?``."""
    plain = "".join(_TEX.get(c, c if c.isascii() else "?") for c in _breakable(one_line(text)))
    return plain.replace("--", "-{}-")


def _breakable(text: str) -> str:
    """Text with places to break in its long words, such as paths."""
    return " ".join(BREAK.join(textwrap.wrap(word, LONG_WORD)) for word in text.split())
