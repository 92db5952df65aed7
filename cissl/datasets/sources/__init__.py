"""Where images come from: official distributions of known data sets, and images of one's own."""

from collections.abc import Callable
from pathlib import Path

from cissl.datasets.sources.cifar import read_cifar10, read_cifar100
from cissl.datasets.sources.miniimagenet import read_miniimagenet
from cissl.datasets.sources.stl10 import read_stl10
from cissl.datasets.sources.svhn import read_svhn
from cissl.datasets.store import SourceImages

READERS: dict[str, Callable[[Path], SourceImages]] = {
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "stl10": read_stl10,
    "svhn": read_svhn,
    "miniimagenet": read_miniimagenet,
}
"""Name of a known data set → reader of the folder that has its official distribution."""
