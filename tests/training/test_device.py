"""Choosing a device, its memory, and what travels to it: arrays of every kind in one piece."""

import numpy as np
import pytest
import torch

from cissl.errors import UserError
from cissl.training.device import (
    ALIGNMENT,
    DeviceImages,
    choose_device,
    is_out_of_memory,
    pack,
    require_memory,
    send,
    unpack,
)

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


def test_a_cpu_is_chosen_by_its_name_and_where_there_is_no_gpu(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")


@pytest.mark.parametrize(
    "name, message",
    [
        ("mps", "device 'mps' is none that trials run on; give cpu, cuda or cuda:1"),
        ("cuda:x", "device 'cuda:x' is none that trials run on"),
        ("cuda", "device 'cuda': there is no such GPU, this machine shows PyTorch none; give cpu"),
        ("cuda:1", "device 'cuda:1': there is no such GPU"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(name, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message) as refused:
        choose_device(name)
    assert refused.value.key == "device"


def test_a_step_of_more_images_than_the_memory_holds_is_refused():
    require_memory(1000, side=32, channels=3, device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"the 1000000000000 images of one step take 12288\d*\.\d GB") as refused:
        require_memory(10**12, side=32, channels=3, device=torch.device("cpu"))
    assert refused.value.key == "batch"


@pytest.mark.parametrize(
    "error, short",
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("sizes differ"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_an_error_says_whether_memory_is_short(error, short):
    assert is_out_of_memory(error) is short


def test_batches_are_copies_in_the_order_of_their_numbers():
    images = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    device_images = DeviceImages(images, torch.device("cpu"))
    batch = device_images.batch(np.array([3, 0, 3]))
    assert batch.shape == (3, 3, 2, 2) and batch.dtype == torch.uint8 and not device_images.resident
    assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), images[[3, 0, 3]])
    batch.zero_()
    assert images.any()
