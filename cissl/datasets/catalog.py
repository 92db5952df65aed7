"""The data sets that are known by name: shape, weak augmentation in the literature, and official files."""

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
    downloads: tuple[str, ...] = ()
    """Addresses of the official files."""
    embedded: bool = False
    """Comes with an installed package and needs no preparation."""

    @property
    def nbytes(self) -> int:
        """Size of all its images in memory, in colour."""
        return (self.train + self.unlabeled + self.test) * self.side**2 * 3


KNOWN = {
    known.name: known
    for known in (
        KnownDataset(
            name="cifar10",
            title="CIFAR-10",
            classes=10,
            side=32,
            train=50_000,
            test=10_000,
            mirror=True,
            shift=4,
            downloads=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        ),
        KnownDataset(
            name="cifar100",
            title="CIFAR-100",
            classes=100,
            side=32,
            train=50_000,
            test=10_000,
            mirror=True,
            shift=4,
            downloads=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        ),
        KnownDataset(
            name="stl10",
            title="STL-10",
            classes=10,
            side=96,
            train=5_000,
            unlabeled=100_000,
            test=8_000,
            mirror=True,
            shift=12,
            downloads=("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",),
        ),
        KnownDataset(
            name="miniimagenet",
            title="mini-ImageNet",
            classes=100,
            side=84,
            train=50_000,
            test=10_000,
            mirror=True,
            shift=4,
        ),  # under ImageNet's licence, hence no public download
        KnownDataset(
            name="svhn",
            title="SVHN",
            classes=10,
            side=32,
            train=73_257,
            test=26_032,
            mirror=False,
            shift=4,  # a mirrored digit is no digit
            downloads=(
                "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
                "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            ),
        ),
        KnownDataset(
            name="digits",
            title="Optical handwritten digits",
            classes=10,
            side=8,
            train=1_262,
            test=535,
            mirror=False,
            shift=1,
            embedded=True,
        ),
    )
}

OFFICIAL_MD5 = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-matlab.tar.gz": "70270af85842c9e89bb428ec9976c926",
    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
    "cifar-100-matlab.tar.gz": "6a4bfa1dcd5c9453dda6bb54194911f4",
    "stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb",
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
"""File name of an official distribution → its published MD5 checksum (the makers' pages, torchvision)."""
