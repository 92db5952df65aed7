"""What travels to the device: arrays of every kind in one piece."""

import numpy as np
import pytest
import torch

from cissl.training.device import ALIGNMENT, pack, send, unpack

ARRAYS = {
    "bytes": np.arange(5, dtype=np.uint8),
    "flags": np.array([[True, False, True]]),
    "none": np.zeros((0, 3)),
    "numbers": np.arange(6).reshape(2, 3).T,
    "one": np.array(-7),
    "shares": np.linspace(0, 1, 4).reshape(2, 1, 2),
}


def test_what_is_packed_comes_out_again():
    arrays = list(ARRAYS.values())
    packed = torch.from_numpy(pack(arrays))
    assert packed.dtype == torch.uint8 and len(packed) % ALIGNMENT == 0
    for array, tensor in zip(arrays, unpack(packed, list(map(torch.from_numpy, arrays))), strict=True):
        assert torch.equal(tensor, torch.from_numpy(array)) and tensor.dtype == torch.from_numpy(array).dtype
        assert tensor.numel() == 0 or tensor.untyped_storage().data_ptr() == packed.untyped_storage().data_ptr()


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_nested_dicts_are_sent():
    sent = send({"outer": ARRAYS, "other": {}}, torch.device("cpu"))
    assert sent["other"] == {} and sent["outer"].keys() == ARRAYS.keys()
    assert all(np.array_equal(sent["outer"][name], array) for name, array in ARRAYS.items())
