"""Which backbones there are and which sizes they take; needs no torch."""

from cissl.errors import UserError, nearest
from cissl.plugins import is_plugin

ARCHS: tuple[str, ...] = ("wrn", "res18", "cnn13")
# Below these a pooling or an unpadded convolution would have no pixel left.
_SMALLEST_SIDE = {"wrn": 1, "res18": 3, "cnn13": 12}


def default_scales(side: int) -> int:
    """Stages of a WideResNet for images of `side` pixels, ⌈log2(side)⌉ − 2, as in the reference."""
    return (side - 1).bit_length() - 2


def check_sizes(arch: str, *, side: int, filters: int, repeat: int, scales: int | None) -> None:
    """See that a backbone of these sizes exists; arguments as for `backbones.build`.

    Raises:
        UserError: for an unknown `arch`, a size below 1, or images too small for the network.
    """
    if is_plugin(arch):
        return  # seen when it is built
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
    if arch == "wrn":
        _check_scales(default_scales(side) if scales is None else scales, side)


def _check_scales(scales: int, side: int) -> None:
    """The last stage keeps at least one whole pixel."""
    most = side.bit_length()  # 2^(most - 1) ≤ side
    if not 1 <= scales <= most:
        raise UserError(
            f"scales is {scales}; images of {side} pixels a side allow 1 to {most}, "
            "since every stage after the first halves them",
            key="scales",
        )
