"""Images a second of our augmentation, of torchvision's v2 transforms and of a loop over PIL images.

    python benchmarks/augmentation.py
    python benchmarks/augmentation.py --side 224 --images 64 --threads 1 --policies [--cpu-time]

By operation: 448 images of 32×32, each with a strength of its own. torchvision gives a whole batch one strength, so
each of its images is a call of its own, on tensors that lie in memory already; so is each PIL image.
By policy: what a FixMatch step needs (weak views; strong views with conversion to floats). Beside our CTAugment with
depth 2 and cutout stand torchvision's RandAugments of two operations, which take less work: no rates, no final cutout.
"strong, RandAugment" is our RandAugment of the same two operations and magnitude.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from common import median, parser, prepare, report, seconds
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms import RandAugment, v2
from torchvision.transforms import functional as F
from torchvision.transforms.v2 import functional as V

from cissl.augment import ctaugment
from cissl.augment.policy import Augmentation
from cissl.training.randomness import RowRandom

NAMES = tuple(ctaugment.BINS)

PIL_OPS = {
    "autocontrast": lambda image, level: ImageOps.autocontrast(image),
    "blur": lambda image, level: Image.blend(image, image.filter(ImageFilter.BLUR), level),
    "brightness": lambda image, level: ImageEnhance.Brightness(image).enhance(0.1 + 1.8 * level),
    "color": lambda image, level: ImageEnhance.Color(image).enhance(0.1 + 1.8 * level),
    "contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(0.1 + 1.8 * level),
    "equalize": lambda image, level: ImageOps.equalize(image),
    "invert": lambda image, level: ImageOps.invert(image),
    "posterize": lambda image, level: ImageOps.posterize(image, 1 + int(7.999 * level)),
    "rescale": lambda image, level: image.crop(middle(image.width)).resize(image.size, Image.LANCZOS),
    "rotate": lambda image, level: image.rotate(round(90 * level - 45)),
    "sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(0.1 + 1.8 * level),
    "shear_x": lambda image, level: image.transform(image.size, Image.AFFINE, (1, 0.6 * level - 0.3, 0, 0, 1, 0)),
    "solarize": lambda image, level: ImageOps.solarize(image, int(255.999 * level)),
}
V2_OPS = {
    "autocontrast": lambda image, level: V.autocontrast(image),
    "brightness": lambda image, level: V.adjust_brightness(image, 0.1 + 1.8 * level),
    "color": lambda image, level: V.adjust_saturation(image, 0.1 + 1.8 * level),
    "contrast": lambda image, level: V.adjust_contrast(image, 0.1 + 1.8 * level),
    "equalize": lambda image, level: V.equalize(image),
    "invert": lambda image, level: V.invert(image),
    "posterize": lambda image, level: V.posterize(image, 1 + int(7.999 * level)),
    "rescale": lambda image, level: rescale(image),
    "rotate": lambda image, level: V.rotate(image, 90 * level - 45),
    "sharpness": lambda image, level: V.adjust_sharpness(image, 0.1 + 1.8 * level),
    "shear_x": lambda image, level: V.affine(image, 0, [0, 0], 1, [17 * level, 0]),
    "solarize": lambda image, level: V.solarize(image, int(255.999 * level)),
}


def parse() -> argparse.Namespace:
    """The options of the command line."""
    options = parser(__doc__)
    options.add_argument("--side", type=int, default=32, help="of the images, in pixels [%(default)s]")
    options.add_argument("--images", type=int, default=448, help="in a batch [%(default)s]")
    options.add_argument("--policies", action="store_true", help="leave out the single operations")
    options.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that is busy otherwise")
    return options.parse_args()


def main() -> None:
    """Print the table."""
    arguments = parse()
    report(arguments, measured(arguments), images=arguments.images, side=arguments.side)


def measured(arguments: argparse.Namespace) -> list[dict[str, float | str]]:
    """A row for each operation and each policy."""
    device = prepare(arguments)
    draw = np.random.default_rng(0)
    array = draw.integers(0, 256, (arguments.images, arguments.side, arguments.side, 3), dtype=np.uint8)
    batch = torch.from_numpy(array).permute(0, 3, 1, 2).contiguous().to(device)
    pictures = [Image.fromarray(image) for image in array]
    levels = draw.random(arguments.images)

    clock = time.process_time if arguments.cpu_time else time.perf_counter

    def rate(function: Callable[[], object]) -> float:
        return arguments.images / median(seconds(function, device, arguments.repeats, clock=clock))

    rows = []
    for name in () if arguments.policies else NAMES:
        ours = rate(our_operation(name, batch, levels))
        v2_rate = rate(each(V2_OPS[name], batch, levels)) if name in V2_OPS else None
        pil = rate(each(PIL_OPS[name], pictures, levels)) if name in PIL_OPS else None
        rows.append(row(name, ours, v2_rate, pil))
    return [*rows, *policies(batch, pictures, rate)]


def middle(side: int) -> tuple[int, int, int, int]:
    """The middle three quarters of an image: left, upper, right and lower."""
    edge = side // 8
    return edge, edge, side - edge, side - edge


def rescale(image: torch.Tensor) -> torch.Tensor:
    """Cut out the middle of an image (3, H, W), and bring it back to its size."""
    left, upper, right, lower = middle(image.shape[-1])
    size = list(image.shape[-2:])
    return V.resized_crop(image, upper, left, lower - upper, right - left, size, V.InterpolationMode.BICUBIC)


def row(name: str, ours: float, v2_rate: float | None, pil: float | None) -> dict[str, float | str]:
    """A row of the table, from images per second."""
    return {
        "operation or policy": name,
        "ours (images/s)": ours,
        "torchvision v2 (images/s)": v2_rate or "–",
        "PIL loop (images/s)": pil or "–",
        "ours / v2": ours / v2_rate if v2_rate else "–",
        "ours / PIL": ours / pil if pil else "–",
    }


def our_operation(name: str, batch: torch.Tensor, levels: np.ndarray) -> Callable[[], object]:
    """A function that applies one operation to uint8 images (N, 3, H, W) with strengths (N,)."""
    count, side = len(batch), batch.shape[-1]
    choice = np.full((count, 1), NAMES.index(name))
    strengths = torch.from_numpy(levels).to(batch.device).view(count, 1, 1).expand(-1, -1, 2)
    centres = np.full((count, 1, 2), side // 2)
    return lambda: ctaugment.apply(batch, choice, strengths, centres)


def each(operation: Callable[[Any, float], object], images: Iterable[Any], levels: np.ndarray) -> Callable[[], object]:
    """A function that applies an operation to one image after the other, with strengths (N,)."""
    strengths = levels.tolist()
    return lambda: [operation(image, level) for image, level in zip(images, strengths, strict=True)]


def policies(
    batch: torch.Tensor, pictures: list[Image.Image], rate: Callable[[Callable[[], object]], float]
) -> list[dict[str, float | str]]:
    """A row for weak and for strong views of uint8 images (N, 3, H, W)."""
    count, side = len(batch), batch.shape[-1]
    shift = side // 8
    shape = dict(dataset="cifar10", mirror=True, shift=shift, side=side, channels=3, device=batch.device)
    default, like_torchvision = (Augmentation(triple, **shape) for triple in ("d.d.d", "d.d.r2_9_0"))
    floats = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    crop = [v2.RandomHorizontalFlip(), v2.RandomCrop(side, padding=shift, padding_mode="reflect")]
    of_v2 = {"weak": v2.Compose([*crop, *floats]), "strong": v2.Compose([*crop, v2.RandAugment(2), *floats])}

    def of_pil(strong: bool) -> None:
        for picture in pictures:
            picture = F.hflip(picture) if torch.rand(()) < 0.5 else picture
            corner = torch.randint(0, 2 * shift + 1, (2,)).tolist()
            picture = F.crop(F.pad(picture, shift, padding_mode="reflect"), *corner, side, side)
            F.normalize(F.to_tensor(two_operations(picture) if strong else picture), [0.5] * 3, [0.5] * 3)

    two_operations = RandAugment(2)
    theirs = {
        name: (rate(lambda view=view: [view(image) for image in batch]), rate(partial(of_pil, name == "strong")))
        for name, view in of_v2.items()
    }
    ours = {"weak": default.weak, "strong": default.strong, "strong, RandAugment": like_torchvision.strong}
    rows = []
    for name, view in ours.items():
        step = iter(range(10**6))
        own = rate(lambda view=view, step=step: view(batch, RowRandom(0, "view", next(step), total=count)))
        rows.append(row(f"policy: {name} view", own, *theirs[name.partition(",")[0]]))
    return rows


if __name__ == "__main__":
    main()
