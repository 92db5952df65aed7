"""AutoAugment's lists of sub-policies."""

import pytest

from cissl.augment import autoaugment, randaugment
from cissl.errors import UserError

WITHOUT_MAGNITUDE = ("AutoContrast", "Equalize", "Invert")


@pytest.mark.parametrize(
    "dataset, found_on",
    [
        ("cifar10", "cifar10"),
        ("cifar100", "cifar10"),
        ("svhn", "svhn"),
        ("stl10", "imagenet"),
        ("miniimagenet", "imagenet"),
    ],
)
def test_sub_policies_are_those_of_torchvision(dataset, found_on):
    transforms = pytest.importorskip("torchvision.transforms")
    columns = (column.tolist() for column in autoaugment.sub_policies(dataset))
    ours = []
    for operations, probabilities, magnitudes in zip(*columns, strict=True):
        names = [randaugment.NAMES[operation] for operation in operations]
        magnitudes = [None if n in WITHOUT_MAGNITUDE else m for n, m in zip(names, magnitudes, strict=True)]
        ours.append(tuple(zip(names, probabilities, magnitudes, strict=True)))
    assert ours == transforms.AutoAugment(transforms.AutoAugmentPolicy(found_on)).policies


def test_datasets_without_a_policy():
    with pytest.raises(UserError, match="cifar10, cifar100, miniimagenet, stl10, svhn; use 'ra'"):
        autoaugment.sub_policies("digits")
