"""What tests of several parts of the package need."""

import os
import textwrap

import pytest

from cissl import plugins

# Ray's workers give way to all other processes, and on a machine that is busy a test of them would never end.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, with a function that writes a file of the user's own into it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_sources", {})

    def write(name, text):
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
        plugins.register(f"{name}:_", tmp_path)
        return tmp_path / name

    return write
