"""LaTeX: compiled where a TeX engine is present, checked for its form otherwise."""

import re
import shutil
import subprocess

import pytest
from synthetic_records import write_sweep, write_trial

from cissl.analysis.results import load
from cissl.analysis.search import search_tables
from cissl.analysis.tables import table, write

ENGINE = shutil.which("pdflatex")


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


@pytest.mark.skipif(not ENGINE, reason="no TeX (Debian: texlive-latex-recommended texlive-science)")
@pytest.mark.parametrize("standalone", [True, False])
def test_compiles(tables, tmp_path, standalone):
    text = write(tables, "latex", standalone)
    if not standalone:
        head = "\\documentclass{article}\\usepackage{booktabs,siunitx}\\begin{document}\n"
        text = head + text + "\\end{document}\n"
    (tmp_path / "t.tex").write_text(text)
    done = subprocess.run(
        [ENGINE, "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").exists()
    assert "Missing character" not in done.stdout
