"""LaTeX: compiled where a TeX engine is present, checked for its form otherwise."""

import re
import shutil
import subprocess

import pytest

from cissl.analysis.formats import Entry, Line, Table
from cissl.analysis.latex import tex
from cissl.analysis.results import load
from cissl.analysis.search_tables import search_tables
from cissl.analysis.tables import table, write
from tests.analysis.synthetic_records import write_sweep, write_trial

ENGINE = shutil.which("pdflatex")
needs_engine = pytest.mark.skipif(not ENGINE, reason="no TeX (Debian: texlive-latex-recommended texlive-science)")
DOCUMENT = "\\documentclass{article}\\usepackage{booktabs,siunitx}\\begin{document}\n"


@pytest.fixture
def tables(tmp_path):
    """Bold, unfinished, missing and single cells, names with special characters, several data sets, a search."""
    for algorithm in ("fixmatch", "cap", "cadr"):
        for ratio in (20, 100):
            for seed in (1, 2, 3):
                dataset = f"cifar10_LT_{ratio}.{seed}@{ratio}-1"
                write_trial(tmp_path / "s", dataset=dataset, algorithm=algorithm, seed=seed)
    write_trial(
        tmp_path / "s", dataset="cifar10_LT_20.4@20-1", seed=4, state="failed", error="50% & #1 {x} a_b \\y ~^ é"
    )
    write_trial(tmp_path / "s", dataset="own-set_2_LT_20_UREV_50_DISJOINT.1@20+30-1")
    write_trial(tmp_path / "s", dataset="cifar10_LT_20.1@20-1", algorithm="cadr", cai_beta=0.25, series=[100.0] * 12)
    write_trial(tmp_path / "search", lr=0.01)
    write_sweep(tmp_path / "search", [], {"space": {"lr": {"uniform": [0, 1]}}, "metric": "valid_accuracy"})
    records = load([tmp_path])
    return [table(records, m, published=True) for m in ("accuracy", "gmean")] + search_tables(records)


def compiled(folder, text):
    """The log of the document."""
    (folder / "t.tex").write_text(text)
    done = subprocess.run(
        [ENGINE, "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def big_table(rows=3, columns=3, label="+ CADR", setting="γ = 20", group="CIFAR-10", notes=0, error="failed"):
    entries = [Entry(56.26, 10.45, 3, 3, "(n = 3)", best=k == 0) for k in range(columns)]
    return Table(
        title="Accuracy",
        caption="Accuracy (%). " + "A long caption. " * 12,
        headings=[(f"{group} {k // 3}", setting) for k in range(columns)],
        sections=[[Line(f"{label} {k}", entries) for k in range(rows)]],
        notes=["A note."],
        footnotes=[("a", error)] * notes,
    )


SIZES = [
    {"columns": 24},
    {"columns": 9},
    {"rows": 90},
    {"rows": 50, "columns": 12},
    {"notes": 80},
    {"label": "+ CADR, β = 0.25, lr = 0.03, wd = 0.0005, cap_ema_momentum = 0.999, train_kimg = 8192"},
    {"label": "x" * 300},
    {"setting": "γ = 20, γᵤ = 50 reversed, M₁ = 3000, disjoint, validation size = 5000", "columns": 8},
    {"group": "g" * 300},
    {"notes": 3, "error": f"OSError: /{'path/' * 40}{'x' * 200}"},
]


@needs_engine
@pytest.mark.parametrize("standalone", [True, False])
def test_no_table_runs_over_the_page(tmp_path, standalone):
    text = write([big_table(**size) for size in SIZES], "latex", standalone)
    log = compiled(tmp_path, text if standalone else DOCUMENT + text + "\\end{document}\n")
    assert "Overfull" not in log and "too large" not in log, log
    assert text.count("56.26") == sum(size.get("rows", 3) * size.get("columns", 3) for size in SIZES)  # nothing is lost


def test_a_table_that_fits_stays_in_one_piece():
    text = write([big_table(columns=6)], "latex", standalone=True)
    assert text.count(r"\begin{tabular}") == text.count(r"\begin{table}") == 1
    assert write([big_table(columns=6)], "latex").count(r"\begin{table}") == 1


def test_a_data_set_is_cut_only_where_it_must(tables):
    first, second = write([big_table(columns=9)], "latex").split(r"\begin{tabular}")[1:3]
    assert "CIFAR-10 0" in first and "CIFAR-10 0" not in second


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[36mb\x07\tc\nd", "ab? c d"),
        ("--set [x] *", "-{}-set {[}x{]} {*}"),
        ("–", r"\textendash{}"),
        ("x" * 30, "x" * 24 + r"\allowbreak{}" + "x" * 6),
        ("a_b", r"a\_b"),
    ],
)
def test_any_text_is_plain_in_latex(text, expected):
    assert tex(text) == expected


@needs_engine
def test_every_character_compiles(tmp_path):
    every = "".join(chr(code) for code in [*range(1, 0x250), 0x3B3, 0x2028, 0xFFFE, 0x1F600] if code != 0x1B)
    rows = [Line(f"{character}{character}", [Entry(1.0, 2.0)]) for character in "[*!\\&%{}^~#-"]
    shown = Table("T", every, [(every[40:60], every[60:80])], [rows], [every], [("a", every)])
    compiled(tmp_path, write([shown], "latex", standalone=True))


def test_form(tables):
    text = write(tables, "latex")
    assert r"\documentclass" not in text
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 3
    for part in text.split(r"\begin{tabular}")[1:]:
        columns = part.split("\n", 1)[0].count("S[") + 1
        body = part.split(r"\end{tabular}")[0].split("\n", 1)[1]
        for line in re.findall(r"^.*\\\\$", body, flags=re.M):
            spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + spanned == columns - 1, line
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert text.isascii()
    assert r"50\% \& \#1 \{x\} a\_b \textbackslash{}y \textasciitilde{}\textasciicircum{} ?" in text


def test_caption_states_rule_n_and_spread(tables):
    text = write(tables, "latex")
    caption = re.search(r"\\caption\{(.*)\}", text)[1]
    for part in ("n = 3", "last 10 evaluations", "sample standard deviation", "arXiv 2206.14923"):
        assert part in caption


@needs_engine
@pytest.mark.parametrize("standalone", [True, False])
def test_compiles(tables, tmp_path, standalone):
    text = write(tables, "latex", standalone)
    if not standalone:
        text = DOCUMENT + text + "\\end{document}\n"
    log = compiled(tmp_path, text)
    assert (tmp_path / "t.pdf").exists()
    assert "Missing character" not in log and "Overfull" not in log
