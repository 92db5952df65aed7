"""A trial's device: choosing it, setting the process up for it, and moving images to it."""

import ctypes
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from cissl.errors import UserError

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # glibc's mallopt
LARGEST_INT = 2**31 - 1
ALIGNMENT = 16  # bytes, at least those of any element


def choose_device(name: str | None = None) -> torch.device:
    """The device of a name.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` and so on; by default a GPU if there is one, else the CPU.

    Raises:
        UserError: there is no such device, or PyTorch cannot use it.
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
    """Whether an error says that memory is short. On a CPU PyTorch raises a plain RuntimeError for that."""
    words = ("can't allocate memory", "std::bad_alloc")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def require_memory(images: int, *, side: int, channels: int, device: torch.device) -> None:
    """Refuse a step whose images alone exceed the memory, not counting what the network needs.

    Without this check the machine gets slow for minutes and then kills the process without a message.

    Args:
        images: number of images that one step has on this device.
        side: height and width of an image in pixels.
        channels: channels of an image.
        device: the device that the images are on.

    Raises:
        UserError: the images, as float32, need more bytes than the memory has.
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

    GPUs must not round the inputs of float32 convolutions to TF32. On Linux the process keeps freed memory: glibc would
    return every tensor above 32 MB to the kernel and then get it back page by page, which takes a tenth of a step's
    time at 32×32 pixels.
    """
    torch.backends.cudnn.allow_tf32 = False
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:  # only glibc has it
            mallopt(MMAP_MAX, 0)
            mallopt(TRIM_THRESHOLD, LARGEST_INT)


class DeviceImages:
    """A data set's images, from which training takes its batches.

    All images are copied to a GPU's memory once, if they take less than half of its free memory.

    Args:
        images: (N, H, W, channels) uint8, possibly a memory-mapped file.
        device: the device of the batches.
    """

    def __init__(self, images: np.ndarray, device: torch.device):
        self._images, self._device = images, device
        self._resident = None
        if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
            self._resident = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).contiguous()

    @property
    def resident(self) -> bool:
        """Whether the images are in a GPU's memory."""
        return self._resident is not None

    def batch(self, numbers: np.ndarray | Tensor) -> Tensor:
        """Images (n, channels, H, W) uint8 on the device.

        Args:
            numbers: theirs, (n,) int64; a tensor of the device only where the images are resident.
        """
        if self._resident is not None:
            wanted = numbers if isinstance(numbers, Tensor) else to_device(numbers, self._device)
            return self._resident.index_select(0, wanted)
        rows = to_device(self._images[numbers], self._device)  # indexing copies: the file is never written
        return rows.permute(0, 3, 1, 2)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on the device; nothing waits for the copy."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)


def send(parcel: Any, device: torch.device) -> Any:
    """Arrays as tensors on the device, in the same nested dicts; a GPU gets them in one copy, which nothing waits for.

    Args:
        parcel: nested dicts of arrays.
        device: where they are wanted.
    """
    leaves, structure = tree_flatten(parcel)
    tensors = [torch.from_numpy(np.asarray(leaf, order="C")) for leaf in leaves]
    if device.type != "cpu":
        packed = torch.from_numpy(pack(leaves)).pin_memory()
        tensors = unpack(packed.to(device, non_blocking=True), tensors)
    return tree_unflatten(tensors, structure)


def pack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays' bytes one after the other, each from a multiple of ALIGNMENT on."""
    parts = []
    for array in arrays:
        own = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        parts += [own, np.zeros(-own.size % ALIGNMENT, np.uint8)]
    return np.concatenate(parts)


def unpack(packed: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """What was packed, as views of it.

    Args:
        packed: what `pack` gave, on any device.
        like: tensors of the shapes and types of what was packed.
    """
    ends = np.cumsum([tensor.nbytes + -tensor.nbytes % ALIGNMENT for tensor in like]).tolist()
    starts = [0, *ends[:-1]]
    return [
        packed[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for start, tensor in zip(starts, like, strict=True)
    ]
