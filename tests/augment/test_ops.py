"""Every operation against the installed Pillow: image by image, gray and colour, five sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cissl.augment import ctaugment, ops, randaugment

PIL = pytest.importorskip("PIL")
from PIL import Image, ImageEnhance, ImageFilter, ImageOps  # noqa: E402

SIZES = [(8, 1), (8, 3), (16, 1), (16, 3), (21, 3), (32, 1), (32, 3), (96, 1), (96, 3)]
CTA_NAMES = list(ctaugment.BINS)
METHODS = [Image.Resampling[name] for name in ops.RESAMPLING]


def pillow(image):
    """(C, S, S) uint8 tensor -> Pillow image of mode L or RGB."""
    array = image.movedim(0, -1).numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else np.ascontiguousarray(array))


def tensor(image):
    array = np.asarray(image)
    return torch.from_numpy(array.copy()).view(*array.shape[:2], -1).movedim(-1, 0)


def cutout(image, half, column, row, colour):
    side = image.size[0]
    for x in range(max(0, column - half), min(side, column + half)):
        for y in range(max(0, row - half), min(side, row + half)):
            image.putpixel((x, y), colour)
    return image


def ctaugment_by_pillow(image, name, level, second, centre):
    """One CTAugment operation as the reference's text describes it."""
    side = image.size[0]
    shear = (2 * level - 1) * 0.3

    def affine(*data):
        return image.transform(image.size, Image.Transform.AFFINE, data)

    if name in ("autocontrast", "equalize", "invert"):
        return Image.blend(image, getattr(ImageOps, name)(image), level)
    if name in ("blur", "smooth"):
        return Image.blend(image, image.filter(getattr(ImageFilter, name.upper())), level)
    if name in ("brightness", "color", "contrast", "sharpness"):
        return getattr(ImageEnhance, name.capitalize())(image).enhance(0.1 + 1.9 * level)
    if name == "posterize":
        return ImageOps.posterize(image, 1 + int(level * 7.999))
    if name == "solarize":
        return ImageOps.solarize(image, int(level * 255.999))
    if name == "rotate":
        return image.rotate(int(np.round((2 * level - 1) * 45)))
    if name == "shear_x":
        return affine(1, shear, 0, 0, 1, 0)
    if name == "shear_y":
        return affine(1, 0, 0, shear, 1, 0)
    if name == "translate_x":
        return affine(1, 0, shear, 0, 1, 0)
    if name == "translate_y":
        return affine(1, 0, 0, 0, 1, shear)
    if name == "cutout":
        size = 1 + int(level * side * 0.499)
        return cutout(image, size // 2, *centre, 127 if image.mode == "L" else (127,) * 3)
    if name == "rescale":
        scale = level * 0.25
        box = (scale * side, scale * side, side * (1 - scale), side * (1 - scale))
        return image.crop(box).resize(image.size, METHODS[int(second * 5.99)])
    return image


BATCHES = {
    "seed": st.integers(0, 2**32 - 1),
    "side": st.sampled_from([8, 9, 16, 32]),
    "channels": st.sampled_from([1, 3]),
    "depth": st.integers(1, 4),
}


def levels_with_edges(generator, n):
    """Uniform levels, with both ends of [0, 1), the middle and a bin's edge among them."""
    levels = generator.random((n, 2))
    levels[: min(n, 5), 0] = [0.0, np.nextafter(1, 0), 0.5, 1 / 17, 1 - 2**-24][: min(n, 5)]
    return levels


@pytest.mark.parametrize("side, channels", SIZES)
@pytest.mark.parametrize("name", CTA_NAMES)
def test_ctaugment_operation(name, side, channels, images_of):
    n = 36 if side < 96 else 12
    generator = np.random.default_rng(side)
    images, levels = images_of(n, channels, side, seed=side), levels_with_edges(generator, n)
    centres = generator.integers(0, side, (n, 2))
    results = ctaugment.apply(
        images, np.full((n, 1), CTA_NAMES.index(name)), torch.from_numpy(levels)[:, None], centres[:, None]
    )
    for image, result, level, centre in zip(images, results, levels.tolist(), centres.tolist(), strict=True):
        expected = ctaugment_by_pillow(pillow(image), name, *level, centre)
        assert torch.equal(result, tensor(expected)), f"{name} at {level}"


@settings(max_examples=40, deadline=None)
@given(**BATCHES)
def test_ctaugment_batches_of_different_policies(images_of, seed, side, channels, depth):
    generator, n = np.random.default_rng(seed), 20
    images = images_of(n, channels, side, seed=seed)
    choice, levels = generator.integers(0, 19, (n, depth)), generator.random((n, depth, 2))
    centres = generator.integers(0, side, (n, depth, 2))
    results = ctaugment.apply(images, choice, torch.from_numpy(levels), centres)
    for i, (image, result) in enumerate(zip(images, results, strict=True)):
        image = pillow(image)
        for slot in range(depth):
            name = CTA_NAMES[choice[i, slot]]
            image = ctaugment_by_pillow(image, name, *levels[i, slot].tolist(), centres[i, slot].tolist())
        assert torch.equal(result, tensor(image))


def randaugment_by_pillow(image, name, m, negative):
    """One operation of RandAugment or AutoAugment on a Pillow image with alpha (LA or RGBA)."""
    colour, alpha = image.mode[:-1], image.mode
    sign = -1 if negative else 1

    def affine(*data):
        return image.transform(image.size, Image.Transform.AFFINE, data)

    def opaque(changed):
        return changed.convert(alpha)

    if name in ("AutoContrast", "Equalize", "Invert"):
        return opaque(getattr(ImageOps, name.lower())(image.convert(colour)))
    if name == "Posterize":
        bits = 4 - int(0.4 * m)
        lut = [value & ~(2 ** (8 - bits) - 1) for value in range(256)]
        return opaque(image.convert(colour).point(lut * len(colour)))
    if name == "Solarize":
        return opaque(ImageOps.solarize(image.convert(colour), 256 - int(25.6 * m)))
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):
        return getattr(ImageEnhance, name)(image).enhance(float(m) * 1.8 / 10 + 0.1)
    if name == "Rotate":
        return image.rotate(sign * int(m * 30 / 10))
    if name == "ShearX":
        return affine(1, sign * (float(m) * 0.3 / 10), 0, 0, 1, 0)
    if name == "ShearY":
        return affine(1, 0, 0, sign * (float(m) * 0.3 / 10), 1, 0)
    if name == "TranslateX":
        return affine(1, 0, sign * m, 0, 1, 0)
    if name == "TranslateY":
        return affine(1, 0, 0, 0, 1, sign * m)
    return image


@settings(max_examples=40, deadline=None)
@given(**BATCHES)
def test_randaugment_batches_of_different_policies(images_of, seed, side, channels, depth):
    generator, n = np.random.default_rng(seed), 20
    images = images_of(n, channels, side, seed=seed)
    choice = generator.integers(0, len(randaugment.NAMES), (n, depth))
    magnitude, negative = generator.integers(1, 16, (n, depth)), generator.random((n, depth)) < 0.5
    results = randaugment.transform(images, choice, magnitude, negative)
    for i, (image, result) in enumerate(zip(images, results, strict=True)):
        floats = image.numpy().astype(np.float32) * np.float32(2 / 255) - np.float32(1)
        truncated = np.uint8((floats * 0.5 + 0.5) * np.float32(255))
        image = pillow(torch.from_numpy(truncated)).convert("LA" if channels == 1 else "RGBA")
        for slot in range(depth):
            name = randaugment.NAMES[choice[i, slot]]
            image = randaugment_by_pillow(image, name, int(magnitude[i, slot]), negative[i, slot])
        array = tensor(image).numpy()
        expected = np.where(array[-1:] == 0, 0.0, (array[:-1] / 255.0 - 0.5) / 0.5)
        np.testing.assert_allclose(result, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_format_does_not_matter_and_inputs_stay(memory_format, images_of):
    images = images_of(57, 3, 16)
    given_images = images.clone().contiguous(memory_format=memory_format)
    generator = np.random.default_rng(0)
    choice = np.stack((np.arange(57) % 19, np.arange(57) // 3), axis=1)
    levels = torch.from_numpy(generator.random((57, 2, 2)))
    centres = generator.integers(0, 16, (57, 2, 2))
    kept = given_images.clone(), levels.clone(), choice.copy(), centres.copy()
    result = ctaugment.apply(given_images, choice, levels, centres)
    assert result.dtype == torch.uint8
    assert torch.equal(result, ctaugment.apply(images, choice, levels, centres))
    assert torch.equal(given_images, kept[0]) and torch.equal(levels, kept[1])
    assert (choice == kept[2]).all() and (centres == kept[3]).all()


@pytest.mark.parametrize("name", ["blurred", "smoothed", "gray", "mean", "stretched", "equalized", "inverted"])
def test_pictures_in_any_memory_format(name, images_of):
    images = images_of(5, 3, 16)
    strided = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(getattr(ops, name)(strided), getattr(ops, name)(images))
    assert torch.equal(strided, images)


def test_every_angle(images_of):
    images = images_of(2, 3, 32)
    for degrees in range(-45, 46):
        index = ops.move_index(torch.zeros(2).long() + ops.MOVES.index("rotate"), torch.full((2,), float(degrees)), 32)
        result = ops.moved(images, index)
        for image, turned in zip(images, result, strict=True):
            assert torch.equal(turned, tensor(pillow(image).rotate(degrees))), degrees


def test_every_crop_and_method(images_of):
    """All squares that a level can ask for, at an even and an odd side."""
    for side in (16, 21):
        image = images_of(2, 3, side)[:1]
        for first in range(side // 4 + 1):
            for last in range(side - side // 4, side + 1):
                crop = pillow(image[0]).crop((first, first, last, last))
                for number, method in enumerate(METHODS):
                    matrix = ops.resampling_matrix(*(torch.tensor([k]) for k in (first, last, number)), side)
                    result = ops.rescaled(image, matrix)
                    expected = tensor(crop.resize((side, side), method))
                    assert torch.equal(result[0], expected), (first, last, method)


@pytest.mark.parametrize("side, channels", [(8, 1), (9, 3), (16, 3), (32, 1), (32, 3)])
@pytest.mark.parametrize("name", CTA_NAMES)
def test_both_forms_give_the_same_bytes(name, side, channels, images_of):
    """Every operation at every bin's edge and in between, and at both ends, on images of every kind, constants too."""
    generator = np.random.default_rng(side)
    levels = np.concatenate(([0.0, np.nextafter(1, 0)], np.arange(17) / 17, np.arange(8) / 8, generator.random(13)))
    number = len(levels)
    images = images_of(number, channels, side, seed=side)
    images[0], images[1] = 0, 255
    choice = torch.full((number, 1), CTA_NAMES.index(name))
    value = torch.from_numpy(levels)[:, None]
    a, b, c = ctaugment._scale_table(side, images.device)[choice].unbind(2)
    second, centre = (torch.from_numpy(generator.random((number, 1))), torch.zeros(number, 1, 2).long() + side // 3)
    arguments = (images, choice, (a * value + b) * c, second, centre)
    assert torch.equal(ctaugment.FAMILY.all_rows(*arguments), ctaugment.FAMILY.sorted_rows(*arguments))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), channels=st.sampled_from([1, 3]), depth=st.integers(1, 3))
def test_both_forms_give_the_same_bytes_and_opacities(images_of, seed, channels, depth):
    generator, n = np.random.default_rng(seed), 60
    choice = generator.integers(0, len(randaugment.NAMES), (n, depth))
    magnitude, negative = generator.integers(0, 16, (n, depth)), generator.random((n, depth)) < 0.5
    parameter = torch.from_numpy(randaugment.parameters(choice, magnitude, negative))
    images = randaugment.add_alpha(images_of(n, channels, 16, seed=seed))
    arguments = (images, torch.from_numpy(choice), parameter)
    rows, every = (
        form(*arguments, alpha=True) for form in (randaugment.FAMILY.sorted_rows, randaugment.FAMILY.all_rows)
    )
    assert torch.equal(rows, every)
