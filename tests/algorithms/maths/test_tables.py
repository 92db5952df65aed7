"""Tables of images against a loop over their rows."""

import numpy as np
import pytest
import torch

from cissl.algorithms.maths.row_tables import put_rows


@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_later_of_two_rows_counts(shape):
    random = np.random.default_rng(0)
    for _ in range(20):
        table, rows = random.normal(size=(7, *shape)), random.normal(size=(30, *shape))
        index = random.integers(0, 6, 30)
        given = torch.from_numpy(table.copy())
        found = put_rows(given, torch.from_numpy(index), torch.from_numpy(rows))
        np.testing.assert_array_equal(given, table)
        for i, row in zip(index, rows, strict=True):
            table[i] = row
        np.testing.assert_array_equal(found, table)


def test_rows_of_another_type_are_converted():
    found = put_rows(torch.zeros(3, 2), torch.tensor([1]), torch.ones(1, 2, dtype=torch.float64))
    assert found.tolist() == [[0, 0], [1, 1], [0, 0]] and found.dtype == torch.float32
