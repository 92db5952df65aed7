"""Names of backbones and the sizes that they allow; needs no torch."""

import importlib.util

from cissl.errors import UserError, nearest
from cissl.plugins import is_plugin

ARCHS: tuple[str, ...] = ("wrn", "res18", "cnn13")
LIBRARIES = {"torchvision": "", "timm": 'pip install -c constraints.txt -e ".[timm]"'}
"""Library → how to install it; its networks are backbones under names such as ``timm.vit_small_patch16_224``."""
# On smaller images, a pooling or an unpadded convolution would leave no pixel.
_SMALLEST_SIDE = {"wrn": 1, "res18": 3, "cnn13": 12}
LARGEST_NETWORK = 10**10  # weights; in training they take 120 GB


def library_of(arch: str) -> str | None:
    """The library that a backbone is of; None for our own networks and those of users."""
    library = arch.partition(".")[0]
    return library if library in LIBRARIES and not is_plugin(arch) else None


def is_known(arch: str) -> bool:
    """Whether a backbone's sizes can be checked without building it."""
    return arch in ARCHS


def require_library(arch: str) -> None:
    """Check that the library of a backbone is installed.

    Raises:
        UserError: it is not. The message has the command that installs it.
    """
    library = library_of(arch)
    if library and importlib.util.find_spec(library) is None:
        raise UserError(f"arch '{arch}' needs {library}, which is not installed: {LIBRARIES[library]}", key="arch")


def default_scales(side: int) -> int:
    """Stages of a WideResNet for images of `side` pixels, ⌈log2(side)⌉ − 2, as in the reference."""
    return (side - 1).bit_length() - 2


def check_sizes(arch: str, *, side: int, filters: int, repeat: int, scales: int | None) -> None:
    """Check that a backbone can have these sizes; the arguments are those of `backbones.build`.

    Raises:
        UserError: for an unknown `arch`, a size below 1, images too small for the network, or a network too large for
            any machine.
    """
    if is_plugin(arch) or library_of(arch):
        return  # building it will tell
    if arch not in ARCHS:
        raise UserError(f"arch '{arch}' does not exist{nearest(arch, ARCHS)}", key="arch")
    for key, value in (("filters", filters), ("repeat", repeat)):
        if value < 1:
            raise UserError(f"{key} is {value}; it must be at least 1", key=key)
    if side < _SMALLEST_SIDE[arch]:
        raise UserError(
            f"arch '{arch}' needs images of at least {_SMALLEST_SIDE[arch]} pixels a side, "
            f"these have {side}; use 'wrn'",
            key="arch",
        )
    stages = 4  # of res18; cnn13 widens as much
    if arch == "wrn":
        stages = default_scales(side) if scales is None else scales
        _check_scales(stages, side)
    _check_weights(filters, repeat if arch == "wrn" else 1, stages)


def _check_scales(scales: int, side: int) -> None:
    """Check that the last stage keeps at least one whole pixel.

    Raises:
        UserError: it does not.
    """
    most = side.bit_length()  # 2^(most - 1) ≤ side
    if not 1 <= scales <= most:
        raise UserError(
            f"scales is {scales}; images of {side} pixels a side allow 1 to {most}, "
            "since every stage after the first halves them",
            key="scales",
        )


def _check_weights(filters: int, repeat: int, stages: int) -> None:
    """Check the number of weights: two 3×3 convolutions in each block of the last stage have most of them.

    Raises:
        UserError: there are more than a machine holds.
    """
    of_a_block = 18 * (filters << (stages - 1)) ** 2
    for key, value, weights in (("filters", filters, of_a_block), ("repeat", repeat, repeat * of_a_block)):
        if weights > LARGEST_NETWORK:
            raise UserError(f"{key} is {value}; such a network has more weights than a machine holds", key=key)
