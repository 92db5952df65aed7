import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cissl.analysis.history import VECTORS
from cissl.analysis.report import report
from cissl.analysis.results import load
from tests.analysis import browser
from tests.analysis.synthetic_records import write_sweep, write_trial

SCRIPT = Path(__file__).resolve().parents[2] / "analysis" / "report.py"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two methods, two seeds, one failure, one trial that still runs and one that waits."""
    folder = tmp_path_factory.mktemp("records") / "night <1>"
    ids = [
        write_trial(folder, dataset=f"digits_LT_20.{seed}@20-100", algorithm=algorithm, seed=seed).name
        for algorithm in ("fixmatch", "cadr")
        for seed in (1, 2)
    ]
    error = "Traceback (most recent call last):\n  File <x>\nRuntimeError: out of <memory>"
    write_trial(folder, dataset="digits_LT_20.3@20-100", seed=3, state="failed", error=error)
    write_trial(folder, dataset="digits_LT_20.3@20-100", algorithm="cadr", seed=3, state="running", rows=4)
    write_sweep(folder, [*ids, "fixmatch-digits_LT_20-s4-01234567"])
    return folder


def page_of(folder):
    return report(load([folder], vectors=VECTORS), "last10", ["method"], ["dataset"], "fixmatch")


@pytest.fixture(scope="module")
def page(sweep, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_of(sweep), encoding="utf-8")
    return path


class Balance(HTMLParser):
    """Every tag that is opened is closed, in order."""

    VOID = {"meta", "link", "input", "br", "img", "hr"}

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:], self.getpos())
        self.open.pop()


def test_page_is_well_formed_and_self_contained(page):
    text = page.read_text(encoding="utf-8")
    checker = Balance()
    checker.feed(text)
    assert checker.open == []
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r'(?:src|href)="(?!#|data:)', without_names)
    assert "url(http" not in text and "@import" not in text and "fetch(" not in text


def test_page_tells_everything(page):
    text = page.read_text(encoding="utf-8")
    assert "night &lt;1&gt;" in text and "<1>" not in text
    for part in ("FixMatch", "+ CADR", "Digits γ = 20", "not started", "out of &lt;memory&gt;", "0123abc", "2.15.0"):
        assert part in text, part
    assert text.count('<tr data-state="') == 6
    assert text.count("<figure data-kind=") == 6  # pseudo-labels are not on record here
    assert "too few to conclude" in text


def test_same_records_give_the_same_page(sweep, page):
    assert page_of(sweep) == page.read_text(encoding="utf-8")


def test_a_search_alone_has_a_report(tmp_path):
    write_trial(tmp_path / "search", lr=0.01)
    write_trial(tmp_path / "search", lr=0.02)
    write_sweep(tmp_path / "search", [], {"space": {"lr": {"uniform": [0, 1]}}, "metric": "valid_gmean"})
    text = page_of(tmp_path)
    assert "best first by valid_gmean" in text and 'data-kind="search"' in text
    assert "nothing to draw" not in text


def test_command_line(sweep, tmp_path):
    damaged = write_trial(tmp_path / "records", seed=1)
    write_trial(tmp_path / "records", seed=2, state="running", series=[])  # nothing to draw, so quick
    (damaged / "history.jsonl").write_text("{")
    done = subprocess.run([sys.executable, str(SCRIPT), "records"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and str(damaged.name) in done.stderr
    assert "line 1 is cut short" in (tmp_path / "report.html").read_text(encoding="utf-8")


needs_browser = pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING)


@pytest.fixture(scope="module")
def window():
    with browser.Browser() as opened:
        yield opened


def column(window, name):
    return window.script(
        """const table = document.getElementById("trials");
        const k = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent === arguments[0]);
        return [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[k].textContent);""",
        name,
    )


@needs_browser
def test_renders_without_errors_or_requests(window, page):
    window.open(page)
    assert window.console() == []
    assert window.script("return performance.getEntriesByType('resource').length") == 0
    drawn = window.script(
        "return [...document.querySelectorAll('.figures svg')].map(svg => svg.getBoundingClientRect().height)"
    )
    assert len(drawn) == 6 and min(drawn) > 100


@needs_browser
def test_sorting(window, page):
    window.open(page)
    button = "//table[@id='trials']//th[button='{}']/button".format
    window.click(button("accuracy"))
    ascending = column(window, "accuracy")
    figures = [float(text) for text in ascending if text != "–"]
    assert figures == sorted(figures) and len(figures) == 4 and ascending[4:] == ["–", "–"]
    window.click(button("accuracy"))
    assert column(window, "accuracy") == [f"{figure:.2f}" for figure in reversed(figures)] + ["–", "–"]
    window.click(button("trial"))
    assert column(window, "trial") == sorted(column(window, "trial"))
    assert window.script("return document.querySelectorAll('#trials th[aria-sort]').length") == 1
    assert window.console() == []


@needs_browser
def test_filtering(window, page):
    window.open(page)
    window.type("//input[@id='filter']", "cadr LT_20")
    assert set(column(window, "method")) == {"+ CADR"}
    assert window.script("return document.getElementById('count').textContent") == "3 of 6"
    window.click("//select[@id='state']/option[text()='running']")
    assert column(window, "trial") == ["cadr-digits_LT_20-s3"]
    window.type("//input[@id='filter']", " nothing")
    assert window.script("return document.getElementById('count').textContent") == "0 of 6"
    assert window.console() == []


@needs_browser
def test_light_and_dark(window, page):
    def contrast():
        return window.script(
            """const tone = color => color.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3;
            const style = getComputedStyle(document.body);
            const ink = getComputedStyle(document.querySelector(".figures svg text")).fill;
            return [tone(style.backgroundColor), tone(style.color), tone(ink)];"""
        )

    for scheme, other in (("light", "dark"), ("dark", "light")):
        window.prefer(scheme)
        window.open(page)
        background, text, ink = contrast()
        assert (background > 200 and max(text, ink) < 60) == (scheme == "light")
        assert (background < 60 and min(text, ink) > 200) == (scheme == "dark")
        window.click("//button[@id='theme']")
        assert (contrast()[0] > 200) == (other == "light")


@needs_browser
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_page_never_scrolls_sideways(window, page, width):
    window.resize(width, 900)
    window.open(page)
    assert window.script("return document.documentElement.scrollWidth") <= width
