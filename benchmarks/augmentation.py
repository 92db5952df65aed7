"""Images a second of our augmentation, of torchvision's v2 transforms and of a loop over PIL images.

    python benchmarks/augmentation.py

By operation: 448 images of 32×32, each with a strength of its own. torchvision gives a whole batch one strength, so
each of its images is a call of its own, on tensors that lie in memory already; so is each PIL image.
By policy: what a FixMatch step needs (weak views; strong views with conversion to floats). Beside our CTAugment with
depth 2 and cutout stand RandAugments of two operations, which take less work: no rates, no final cutout.
"""

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

COUNT, SIDE = 448, 32
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
    "rescale": lambda image, level: image.crop((4, 4, 28, 28)).resize((SIDE, SIDE), Image.LANCZOS),
    "rotate": lambda image, level: image.rotate(round(90 * level - 45)),
    "sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(0.1 + 1.8 * level),
    "shear_x": lambda image, level: image.transform((SIDE, SIDE), Image.AFFINE, (1, 0.6 * level - 0.3, 0, 0, 1, 0)),
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
    "rescale": lambda image, level: V.resized_crop(image, 4, 4, 24, 24, [SIDE, SIDE], V.InterpolationMode.BICUBIC),
    "rotate": lambda image, level: V.rotate(image, 90 * level - 45),
    "sharpness": lambda image, level: V.adjust_sharpness(image, 0.1 + 1.8 * level),
    "shear_x": lambda image, level: V.affine(image, 0, [0, 0], 1, [17 * level, 0]),
    "solarize": lambda image, level: V.solarize(image, int(255.999 * level)),
}


def main() -> None:
    arguments = parser(__doc__).parse_args()
    device = prepare(arguments)
    draw = np.random.default_rng(0)
    array = draw.integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    batch = torch.from_numpy(array).permute(0, 3, 1, 2).contiguous().to(device)
    pictures = [Image.fromarray(image) for image in array]
    levels = draw.random(COUNT)

    def rate(function) -> float:
        return COUNT / median(seconds(function, device, arguments.repeats))

    rows = []
    for name in NAMES:
        ours = rate(our_operation(name, batch, levels))
        v2_rate = rate(each(V2_OPS[name], batch, levels)) if name in V2_OPS else None
        pil = rate(each(PIL_OPS[name], pictures, levels)) if name in PIL_OPS else None
        rows.append(row(name, ours, v2_rate, pil))
    rows += policies(batch, pictures, rate)
    report(arguments, rows, images=COUNT, side=SIDE)


def row(name: str, ours: float, v2_rate: float | None, pil: float | None) -> dict:
    return {
        "operation or policy": name,
        "ours (images/s)": ours,
        "torchvision v2 (images/s)": v2_rate or "–",
        "PIL loop (images/s)": pil or "–",
        "ours / v2": ours / v2_rate if v2_rate else "–",
        "ours / PIL": ours / pil if pil else "–",
    }


def our_operation(name: str, batch: torch.Tensor, levels: np.ndarray):
    choice = np.full((COUNT, 1), NAMES.index(name))
    strengths = torch.from_numpy(levels).to(batch.device).view(COUNT, 1, 1).expand(-1, -1, 2)
    centres = np.full((COUNT, 1, 2), SIDE // 2)
    return lambda: ctaugment.apply(batch, choice, strengths, centres)


def each(operation, images, levels: np.ndarray):
    strengths = levels.tolist()
    return lambda: [operation(image, level) for image, level in zip(images, strengths, strict=True)]


def policies(batch: torch.Tensor, pictures: list, rate) -> list[dict]:
    augmentation = Augmentation(
        "d.d.d", dataset="cifar10", mirror=True, shift=4, side=SIDE, channels=3, device=batch.device
    )
    floats = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    crop = [v2.RandomHorizontalFlip(), v2.RandomCrop(SIDE, padding=4, padding_mode="reflect")]
    of_v2 = {"weak": v2.Compose([*crop, *floats]), "strong": v2.Compose([*crop, v2.RandAugment(2), *floats])}

    def of_pil(strong: bool):
        for picture in pictures:
            picture = F.hflip(picture) if torch.rand(()) < 0.5 else picture
            picture = F.crop(F.pad(picture, 4, padding_mode="reflect"), *torch.randint(0, 9, (2,)).tolist(), SIDE, SIDE)
            F.normalize(F.to_tensor(randaugment(picture) if strong else picture), [0.5] * 3, [0.5] * 3)

    randaugment = RandAugment(2)
    rows = []
    for name, ours in (("weak", augmentation.weak), ("strong", augmentation.strong)):
        step = iter(range(10**6))
        rates = (
            rate(lambda ours=ours, step=step: ours(batch, RowRandom(0, "view", next(step), total=COUNT))),
            rate(lambda name=name: [of_v2[name](image) for image in batch]),
            rate(lambda name=name: of_pil(name == "strong")),
        )
        rows.append(row(f"policy: {name} view", *rates))
    return rows


if __name__ == "__main__":
    main()
