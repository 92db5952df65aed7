"""The data sets that are known by name: shape, and the weak augmentation that the literature uses on them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """What is known of a data set before its images are there."""

    name: str
    title: str
    classes: int
    side: int
    """Height and width of the images, in pixels."""
    train: int
    unlabeled: int = 0
    """Images without a label, beside the training images."""
    test: int
    mirror: bool
    """Weak augmentation mirrors half of the images."""
    shift: int
    """Weak augmentation shifts by up to this many pixels."""
    embedded: bool = False
    """Comes with an installed package and needs no preparation."""


KNOWN = {known.name: known for known in (
    KnownDataset(name="cifar10", title="CIFAR-10", classes=10, side=32, train=50_000, test=10_000,
                 mirror=True, shift=4),
    KnownDataset(name="cifar100", title="CIFAR-100", classes=100, side=32, train=50_000, test=10_000,
                 mirror=True, shift=4),
    KnownDataset(name="stl10", title="STL-10", classes=10, side=96, train=5_000, unlabeled=100_000,
                 test=8_000, mirror=True, shift=12),
    KnownDataset(name="miniimagenet", title="mini-ImageNet", classes=100, side=84, train=50_000, test=10_000,
                 mirror=True, shift=4),
    KnownDataset(name="svhn", title="SVHN", classes=10, side=32, train=73_257, test=26_032,
                 mirror=False, shift=4),  # a mirrored digit is another sign
    KnownDataset(name="digits", title="Optical handwritten digits", classes=10, side=8, train=1_262, test=535,
                 mirror=False, shift=1, embedded=True),
)}
