"""Images of one's own: a folder of image files by class, or arrays in an ``.npz`` file.

PATH/train/<class>/*    PATH/test/<class>/*    PATH/unlabeled/*   (optional)

PATH.npz: train_images, train_labels, test_images, test_labels, and optionally unlabeled_images, class_names;
images are uint8 (N, H, W) or (N, H, W, C), labels count from 0; other arrays are left out. Files of MedMNIST
have this form.
"""

from pathlib import Path

import numpy as np

from cissl.datasets.sources.image_files import class_folders, common_shape, image_stream, images_in, repeated_labels
from cissl.datasets.store import Images
from cissl.errors import UserError


def read_folder(folder: Path, side: int | None = None) -> Images:
    """Classes are the folders of ``train`` in alphabetical order; images are in the order of their names.

    Args:
        side: resize to this many pixels; without it, images must be squares of one size.

    Raises:
        UserError: a folder is missing or empty, or an image is unreadable or of another size.
    """
    folder = _inner(folder)
    names = [path.name for path in class_folders(_existing_folder(folder / "train"))]
    train, test = ([images_in(_existing_folder(folder / part / name)) for name in names] for part in ("train", "test"))
    unlabeled = images_in(folder / "unlabeled") if (folder / "unlabeled").is_dir() else []
    _require_no_other_classes(folder / "test", names)
    train_files, test_files = [*sum(train, []), *unlabeled], sum(test, [])
    side, channels = common_shape([*train_files, *test_files], side)
    return Images(
        class_names=names,
        train_images=image_stream(train_files, side, channels),
        train_labels=np.concatenate([repeated_labels(train), np.full(len(unlabeled), -1)]),
        test_images=image_stream(test_files, side, channels),
        test_labels=repeated_labels(test),
    )


def read_npz(path: Path) -> Images:
    """The arrays of a file; nothing in it is unpickled.

    Raises:
        UserError: the file is damaged, or an array is missing or of another type.
    """
    arrays = _load_npz(path)
    train = _image_array(arrays, "train_images", path)
    labels = _label_array(arrays, "train_labels", path)
    if "unlabeled_images" in arrays:
        unlabeled = _image_array(arrays, "unlabeled_images", path)
        train = np.concatenate([train, unlabeled])
        labels = np.concatenate([labels, np.full(len(unlabeled), -1)])
    names = arrays.get("class_names", np.arange(labels.max(initial=-1) + 1))
    return Images(
        class_names=[str(name) for name in names],
        train_images=train,
        train_labels=labels,
        test_images=_image_array(arrays, "test_images", path),
        test_labels=_label_array(arrays, "test_labels", path),
    )


def _inner(folder: Path) -> Path:
    """The folder inside ``folder`` if that is all that an archive had in it."""
    inside = class_folders(folder)
    return inside[0] if len(inside) == 1 and inside[0].name != "train" else folder


def _existing_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}; expected are train/<class>/ and test/<class>/ with images, and "
            f"optionally unlabeled/",
            key="path",
        )
    return folder


def _require_no_other_classes(folder: Path, names: list[str]) -> None:
    for path in class_folders(folder):
        if path.name not in names:
            raise UserError(f"the class '{path.name}' of {folder} is not among the training classes", key="path")


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # a damaged zip file can raise anything
        raise UserError(
            f"{path} is damaged or no .npz file of plain arrays ({type(error).__name__}: {error})", key="path"
        ) from error


def _image_array(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    array = _array(arrays, name, path)
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise UserError(
            f"{name} of {path} is {array.dtype} of shape {array.shape}; wanted is uint8 of shape (N, H, W) "
            f"or (N, H, W, C)",
            key="path",
        )
    return array if array.ndim == 4 else array[..., None]


def _label_array(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    array = _array(arrays, name, path)
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{name} of {path} is {array.dtype}; wanted are integers", key="path")
    return array.ravel().astype(np.int64)


def _array(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    if name not in arrays:
        raise UserError(f"{path} has no array '{name}'; it has {', '.join(sorted(arrays)) or 'none'}", key="path")
    return arrays[name]
