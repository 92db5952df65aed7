"""Every operation against the images that the authors' program made (with Pillow 8.4)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cissl.augment import ctaugment, ops, randaugment, weak

REFERENCE = Path(__file__).parents[1] / "reference"
CTA = dict(np.load(REFERENCE / "augment_ctaugment.npz"))
RAND = dict(np.load(REFERENCE / "augment_randaugment.npz"))
NAMES = list(ctaugment.BINS)
SINGLE = [key[3:] for key in CTA if key.startswith("op/") and key not in ("op/rescale", "op/cutout")]


def nchw(array):
    return torch.from_numpy(np.ascontiguousarray(array)).movedim(-1, 1)


def apply(images, name, level, second=0.0, centres=None):
    """One CTAugment operation on all images."""
    n = len(images)
    levels = torch.tensor([level, second], dtype=torch.float64).expand(n, 1, 2)
    centres = np.zeros((n, 2), np.int64) if centres is None else centres
    return ctaugment.apply(images, np.full((n, 1), NAMES.index(name)), levels, centres[:, None])


@pytest.mark.parametrize("name", SINGLE)
def test_ctaugment_operation(name):
    images = nchw(CTA["images"][CTA["kept_images"]])
    for level, expected in zip(CTA["levels"], CTA[f"op/{name}"], strict=True):
        assert torch.equal(apply(images, name, level), nchw(expected))


@pytest.mark.parametrize("method", range(6))
def test_ctaugment_rescale(method):
    images = nchw(CTA["images"][3:4])
    for level, expected in zip(CTA["levels"], CTA["op/rescale"][:, method], strict=True):
        assert torch.equal(apply(images, "rescale", level, CTA["method_levels"][method]), nchw(expected))


def test_ctaugment_cutout():
    images = nchw(CTA["images"][CTA["kept_images"]])
    for i, level in enumerate(CTA["cutout_levels"]):
        result = apply(images, "cutout", level, centres=CTA["cutout_loc"][i])
        assert torch.equal(result, nchw(CTA["op/cutout"][i]))


@pytest.mark.parametrize("name", ["identity", "translate_x", "translate_y"])
def test_operations_that_change_nothing(name):
    images = nchw(CTA["images"])
    for level in (0.0, 0.3, 0.999):
        assert torch.equal(apply(images, name, level), images)


def test_ctaugment_composed():
    """Two operations and the cutout, each image with its own, in one batch."""
    images = ctaugment.apply(
        nchw(CTA["images"]),
        CTA["composed_ops"],
        torch.from_numpy(CTA["composed_levels"]),
        np.zeros((8, 2, 2), np.int64),
    )
    images = ctaugment.final_cutout_(images, CTA["composed_loc"])
    assert torch.equal(images, nchw(CTA["composed_out_uint8"]))


def test_conversions():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(ops.to_float(pixels), torch.from_numpy(CTA["apply_uint8"]))
    np.testing.assert_allclose(ops.to_float(pixels), CTA["float_of_uint8"], atol=1.2e-7, rtol=0)
    assert torch.equal(ops.to_uint8(ops.to_float(pixels)), pixels)
    ties_and_outside = ops.to_float(ops.to_uint8(torch.from_numpy(CTA["apply_in"])))
    assert torch.equal(ties_and_outside, torch.from_numpy(CTA["apply_out"]))


@pytest.mark.parametrize("shift", [4, 12])
def test_shift_pads_by_reflection(shift):
    image, padded = nchw(CTA["images"][:1]), CTA[f"weak/padded{shift}"]
    for flip in (False, True):
        source = image.flip(3) if flip else image
        for row, column in [(0, 0), (shift, shift), (2 * shift, 1), (3, 2 * shift)]:
            moved = weak.mirror_and_shift(image, np.array([flip]), np.array([[row, column]]), shift)
            if not flip:
                window = padded[row : row + 32, column : column + 32]
                assert torch.equal(moved, nchw(window[None]))
            windowed = torch.nn.functional.pad(source.float(), (shift,) * 4, mode="reflect")
            assert torch.equal(moved, windowed[..., row : row + 32, column : column + 32].to(torch.uint8))


# RandAugment


def test_randaugment_conversions():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    wrapped = randaugment.add_alpha(pixels)
    assert torch.equal(wrapped[0, 0].flatten(), torch.from_numpy(RAND["roundtrip_uint8"]))
    assert (wrapped[:, 1] == 255).all()
    opaque = torch.cat((pixels, torch.full_like(pixels, 255)), dim=1)
    unwrapped = randaugment.remove_alpha(opaque).flatten()
    np.testing.assert_allclose(unwrapped, RAND["unwrap_of_uint8"], atol=1.2e-7, rtol=0)
    transparent = torch.cat((pixels, torch.zeros_like(pixels)), dim=1)
    assert (randaugment.remove_alpha(transparent) == 0).all()


@pytest.mark.parametrize("key", [k for k in RAND if k.startswith("op/")])
def test_randaugment_operation(key):
    """Colours and alpha, at two magnitudes and both signs."""
    name, _, sign = key[3:].partition("/")
    place = randaugment.NAMES.index(name)
    expected = RAND[key] if RAND[key].ndim == 5 else np.stack([RAND[key]] * 2)
    for magnitude, result in zip(RAND["magnitudes"], expected, strict=True):
        images = randaugment.add_alpha(nchw(RAND["images"][1:2] if sign else RAND["images"][:2]))
        parameter = randaugment.PARAMETERS[place, magnitude] * (-1 if sign == "neg" else 1)
        parameter = torch.full((len(images),), parameter, dtype=torch.float64)
        images = randaugment.FAMILY(images, torch.full((len(images), 1), place), parameter[:, None], alpha=True)
        assert torch.equal(images[:, : result.shape[-1]], nchw(result))
        if result.shape[-1] == 3:
            assert (images[:, 3] == 255).all()


def test_randaugment_composed():
    choice = np.where(RAND["composed_applied"] < 0.5, RAND["composed_ops"], 0)
    negative = RAND["composed_sign"] > 0.5
    views = randaugment.transform(nchw(RAND["images"]), choice, RAND["composed_magnitudes"], negative)
    cut = randaugment.cut(views, 16, RAND["composed_loc"])
    for key, result in (("composed_out", views), ("composed_cutout_out", cut)):
        shape = RAND[key].shape[:3]
        zero = np.unpackbits(RAND[f"{key}_is_zero"], count=np.prod(shape)).reshape(shape).astype(bool)
        expected = np.where(zero[..., None], 0.0, RAND[key] / 127.5 - 1)
        np.testing.assert_allclose(result.movedim(1, -1), expected, atol=1e-6, rtol=0)
