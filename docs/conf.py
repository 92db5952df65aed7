"""How Sphinx builds the pages. `make docs` first writes the generated ones (`docs/generate.py`), then calls Sphinx."""

import re

import docutils.nodes
import latex2mathml.converter
from sphinx.ext.napoleon import Config, GoogleDocstring

import cissl

project = "cissl"
author = "The cissl developers"
copyright = author
version = release = cissl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3  # pages may link to each other's headings, and Sphinx checks that they exist
suppress_warnings = ["misc.highlighting_failure"]  # YAML keys with commas, which Pygments does not know
exclude_patterns = ["_build", "reference/generated"]

html_theme = "furo"
html_title = "cissl"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"

default_role = "code"
nitpicky = True
# Types of other projects have no page here. Every other reference must lead to a page.
nitpick_ignore = [("py:exc", name) for name in ("TrialDiverged", "ContractError")]  # as "Raises:" names them
# Every backbone is a Classifier, and a SplitPart is the type of one value. They have no page.
nitpick_ignore += [
    ("py:class", f"cissl.{name}") for name in ("models.layers.Classifier", "analysis.split_parts.SplitPart")
]
nitpick_ignore_regex = [
    (r"py:.*", r"(tuple|torch|np|numpy|nn|pathlib|collections|dataclasses|argparse|typing|pd|pyarrow|Path)\b.*")
]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"


SEVERAL = re.compile(r"^ +\w+(, \w+)+:")


def _inline_formula(page, node):
    page.body.append(latex2mathml.converter.convert(node.astext()))
    raise docutils.nodes.SkipNode


def _formula(page, node):
    page.body.append(f"<p>{latex2mathml.converter.convert(node.astext(), display='block')}</p>")
    raise docutils.nodes.SkipNode


def _read_google_style(app, what, name, obj, options, lines):
    """Turn Args, Returns, Raises and Attributes into lists. The one-line docstrings of attributes do not change."""
    if what not in ("attribute", "property", "data"):
        # "side, channels: …" describes two at once; with spaces Sphinx would take the first for a type.
        lines[:] = [SEVERAL.sub(lambda names: names[0].replace(", ", ","), line) for line in lines]
        lines[:] = str(
            GoogleDocstring(lines, Config(napoleon_use_ivar=True), app, what, name, obj, options)
        ).splitlines()


def setup(app):
    """Write formulas as MathML. Browsers draw it themselves, so the pages need no network."""
    app.connect("autodoc-process-docstring", _read_google_style)
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_formula, None))
