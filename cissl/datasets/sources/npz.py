"""Images of one's own as arrays in an ``.npz`` file, the form of MedMNIST.

PATH.npz: train_images, train_labels, test_images, test_labels, and optionally unlabeled_images, class_names;
images are uint8 (N, H, W) or (N, H, W, C), labels count from 0, -1 for an unknown class; other arrays are left out.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cissl.datasets.sources.folders import class_name
from cissl.datasets.store import SourceImages
from cissl.errors import UserError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels", "unlabeled_images", "class_names")
OPTIONAL = {"unlabeled_images", "class_names"}
MOST_CLASSES = 2**20


def read_npz(path: Path) -> SourceImages:
    """The arrays of a file; nothing in it is unpickled.

    Raises:
        UserError: the file is damaged, or an array is missing or of another type or shape.
    """
    with _opened(path) as file:
        arrays = {name: _array(file, name, path) for name in ARRAYS if name in file or name not in OPTIONAL}
        others = sorted(set(file) - set(ARRAYS))
    images = {name: _images(arrays[name], name, path) for name in ARRAYS if name in arrays and name.endswith("images")}
    shapes = {name: array.shape[1:] for name, array in images.items()}
    if len(set(shapes.values())) > 1:
        described = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UserError(f"the images of {path} have several heights, widths or channels: {described}", key="path")
    train, labels = images["train_images"], _labels(arrays["train_labels"], "train_labels", path)
    if len(train) != len(labels):  # before the unlabeled images hide it
        raise UserError(f"{path} has {len(train)} train_images, but {len(labels)} train_labels", key="path")
    unlabeled = images.get("unlabeled_images", train[:0])
    return SourceImages(
        class_names=_class_names(arrays, labels, path),
        train_images=np.concatenate([train, unlabeled]) if len(unlabeled) else train,
        train_labels=np.concatenate([labels, np.full(len(unlabeled), -1)]),
        test_images=images["test_images"],
        test_labels=_labels(arrays["test_labels"], "test_labels", path),
        remarks=(f"left out of the file: {', '.join(others)} (arrays of other names)",) if others else (),
    )


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    if not path.is_file():
        raise UserError(f"there is no file {path}", key="path")
    try:
        file = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged zip file can raise anything
        raise UserError(f"{path} is damaged or no .npz file ({type(error).__name__}: {error})", key="path") from error
    if isinstance(file, np.ndarray):
        raise UserError(f"{path} has one array only; wanted is an .npz file with {', '.join(ARRAYS[:4])}", key="path")
    with file:
        yield file


def _array(file: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    if name not in file:
        raise UserError(f"{path} has no array '{name}'; it has {', '.join(sorted(file)) or 'none'}", key="path")
    try:
        array = file[name]
    except Exception as error:
        hint = (
            "; save it as plain numbers or texts, such as np.array(names, dtype=str)" if "pickle" in str(error) else ""
        )
        raise UserError(f"{name} of {path} cannot be read ({error}){hint}", key="path") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{name} of {path} is no array", key="path")
    return array


def _images(array: np.ndarray, name: str, path: Path) -> np.ndarray:
    """The images as uint8 (N, H, W, C)."""
    found = (
        f"{name} of {path} is {array.dtype} of shape {array.shape}; wanted is uint8 of shape (N, H, W) or (N, H, W, C)"
    )
    if array.dtype != np.uint8:
        raise UserError(f"{found}, with values from 0 to 255", key="path")
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[2] == array.shape[3]:
        raise UserError(f"{found}: put the channels last, {name}.transpose(0, 2, 3, 1)", key="path")
    if array.ndim not in (3, 4):
        raise UserError(found, key="path")
    return array if array.ndim == 4 else array[..., None]


def _labels(array: np.ndarray, name: str, path: Path) -> np.ndarray:
    """The labels as int64 (N,)."""
    found = f"{name} of {path} is {array.dtype} of shape {array.shape}; wanted are integers of shape (N,)"
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{found}, 0 for the first class", key="path")
    if array.ndim == 2 and array.shape[1] > 1:
        raise UserError(f"{found}: if these are one-hot, {name}.argmax(axis=1) is", key="path")
    if array.ndim not in (1, 2):
        raise UserError(found, key="path")
    labels = array.ravel()
    if labels.size and labels.max() >= MOST_CLASSES:
        raise UserError(f"{name} of {path} has the label {labels.max()}; labels count the classes from 0", key="path")
    return labels.astype(np.int64)


def _class_names(arrays: Mapping[str, np.ndarray], labels: np.ndarray, path: Path) -> list[str]:
    names = arrays.get("class_names")
    classes = int(labels.max(initial=-1)) + 1
    if names is None:
        names = np.arange(classes)
    elif names.size != max(names.shape, default=0) or names.dtype.kind not in "SUiu":
        raise UserError(
            f"class_names of {path} is {names.dtype} of shape {names.shape}; wanted is one text for each class",
            key="path",
        )
    if classes > 1 and labels[labels >= 0].min() == 1 and names.size in (classes - 1, classes):
        first = "" if "class_names" not in arrays or names.size == classes - 1 else f" ('{names.flat[0]}')"
        raise UserError(
            f"train_labels of {path} has no label 0{first}: labels count the classes from 0; if they begin with 1, "
            f"subtract 1 from train_labels and test_labels",
            key="path",
        )
    return [class_name(_text(name, path), path) for name in names.ravel().tolist()]


def _text(name: str | bytes | int, path: Path) -> str:
    try:
        return name.decode("utf-8") if isinstance(name, bytes) else str(name)
    except UnicodeDecodeError:
        raise UserError(f"class_names of {path} has {name!a}, which is not UTF-8", key="path") from None
