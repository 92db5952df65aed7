"""What a training process asks of its machine, once, before the first step."""

import ctypes
import os
import re
import sys

import numpy as np
import torch
from torch import Tensor

from cissl.errors import UserError

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # glibc's mallopt
LARGEST_INT = 2**31 - 1


def choose_device(name: str | None = None) -> torch.device:
    """The device of that name; by default a GPU where there is one.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …

    Raises:
        UserError: training cannot use it.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:\d+)?", name):
        raise UserError(f"device '{name}' is none that trials run on; give cpu, cuda or cuda:1", key="device")
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(name.partition(":")[2] or 0) >= number:
        there = f"has {number}, cuda:0 to cuda:{number - 1}" if number else "shows PyTorch none; give cpu"
        raise UserError(f"device '{name}': there is no such GPU, this machine {there}", key="device")
    try:
        torch.zeros(1, device=name)
    except RuntimeError as error:
        raise UserError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}", key="device") from None
    return torch.device(name)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short; PyTorch has no type of its own for that on a CPU."""
    words = ("can't allocate memory", "std::bad_alloc")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def require_memory(images: int, *, side: int, channels: int, device: torch.device) -> None:
    """Refuse a step whose images alone are more than the memory; what the network needs comes on top.

    Without that a machine gets slow for minutes, and then ends the process without a word.

    Args:
        images: of one step on this device.
        side: of an image in pixels.
        channels: of an image.
        device: where they are trained on.

    Raises:
        UserError: they are too many.
    """
    needed = images * channels * side**2 * torch.float32.itemsize
    if device.type == "cuda":
        _, there = torch.cuda.mem_get_info(device)
    elif "SC_PHYS_PAGES" in os.sysconf_names:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return
    if needed > there:
        raise UserError(
            f"the {images} images of one step take {needed / 1e9:.1f} GB, and the memory has {there / 1e9:.1f} GB; a "
            "smaller batch needs less",
            key="batch",
        )


def prepare_process() -> None:
    """Set the process up for training; calling it again changes nothing.

    float32 convolutions stay float32 on GPUs that would round their inputs to TF32. On Linux freed memory stays with
    the process: the C library would return every tensor above 32 MB to the kernel and get it back page by page, a
    tenth of a step's time at 32×32 pixels.
    """
    torch.backends.cudnn.allow_tf32 = False
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:  # other C libraries do not have it
            mallopt(MMAP_MAX, 0)
            mallopt(TRIM_THRESHOLD, LARGEST_INT)


class DeviceImages:
    """A data set's images, where training reads its batches.

    On a GPU all of them are copied to its memory once, if they leave at least half of what is free.

    Args:
        images: (N, H, W, channels) uint8, possibly a file that is mapped into memory.
        device: where batches are wanted.
    """

    def __init__(self, images: np.ndarray, device: torch.device):
        self._images, self._device = images, device
        self._resident = None
        if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
            self._resident = torch.from_numpy(np.array(images)).to(device)

    def batch(self, indices: np.ndarray) -> Tensor:
        """Images by number, (len(indices), channels, H, W) uint8 on the device."""
        if self._resident is not None:
            rows = self._resident.index_select(0, to_device(indices, self._device))
        else:
            rows = to_device(self._images[indices], self._device)  # indexing copies: the file is never written
        return rows.permute(0, 3, 1, 2)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on the device; nothing waits for the copy."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
