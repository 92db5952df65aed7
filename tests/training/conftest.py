"""What the tests of training share: how many threads compute, and in which precision."""

import pytest

from cissl.testing import conformance


@pytest.fixture
def one_thread():
    with conformance.one_thread():
        yield


@pytest.fixture
def double_precision():
    """Networks are built, and hence trained, in float64: what is equal on paper is equal to 1e-9, on any processor."""
    with conformance.double_precision():
        yield
