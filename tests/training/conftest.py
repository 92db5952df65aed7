"""What the tests of training share: how many threads compute, and in which precision."""

import pytest
import torch


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def double_precision():
    """Networks are built, and hence trained, in float64: what is equal on paper is equal to 1e-9, on any processor."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)
