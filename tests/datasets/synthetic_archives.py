"""Tiny data sets in the exact forms of the official distributions, and images of their own to compare with."""

import csv
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def random_images(count, side, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def planes(images):
    """Rows of colour planes, each plane row by row: CIFAR's layout."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def columns(images):
    """Rows of colour planes, each plane column by column: STL-10's layout."""
    return images.transpose(0, 3, 2, 1).reshape(len(images), -1)


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as Python 2 did, in which CIFAR was pickled: both as byte strings."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_byte_string(self, text):
        content = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_byte_string


def python2_pickle(content) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


class Cifar:
    """A CIFAR-10 of 50 training and 10 test images, in its three editions."""

    names = [f"class{k}" for k in range(10)]
    folder = {"python": "cifar-10-batches-py", "binary": "cifar-10-batches-bin", "matlab": "cifar-10-batches-mat"}

    def __init__(self):
        self.train, self.test = random_images(50, 32, seed=1), random_images(10, 32, seed=2)
        self.train_labels, self.test_labels = np.arange(50) * 7 % 10, np.arange(10)[::-1]

    def batches(self):
        for i in range(5):
            yield f"data_batch_{i + 1}", self.train[i * 10 : (i + 1) * 10], self.train_labels[i * 10 : (i + 1) * 10]
        yield "test_batch", self.test, self.test_labels

    def python(self, folder: Path):
        for name, images, labels in self.batches():
            batch = {
                "batch_label": name,
                "labels": labels.tolist(),
                "data": planes(images),
                "filenames": [f"{i}.png" for i in range(len(images))],
            }
            (folder / name).write_bytes(python2_pickle(batch))
        (folder / "batches.meta").write_bytes(python2_pickle({"label_names": self.names, "num_vis": 3072}))

    def binary(self, folder: Path):
        for name, images, labels in self.batches():
            records = np.concatenate([labels[:, None].astype(np.uint8), planes(images)], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        (folder / "batches.meta.txt").write_text("\n".join(self.names) + "\n\n")

    def matlab(self, folder: Path):
        for name, images, labels in self.batches():
            savemat(folder / f"{name}.mat", {"data": planes(images), "labels": labels[:, None].astype(np.uint8)})
        savemat(folder / "batches.meta.mat", {"label_names": cell(self.names)})


class Cifar100(Cifar):
    """A CIFAR-100 of 200 training and 100 test images."""

    names = [f"fine{k}" for k in range(100)]
    folder = {"python": "cifar-100-python", "binary": "cifar-100-binary", "matlab": "cifar-100-matlab"}

    def __init__(self):
        self.train, self.test = random_images(200, 32, seed=3), random_images(100, 32, seed=4)
        self.train_labels, self.test_labels = np.arange(200) * 7 % 100, np.arange(100)

    def batches(self):
        yield "train", self.train, self.train_labels
        yield "test", self.test, self.test_labels

    def python(self, folder: Path):
        for name, images, labels in self.batches():
            batch = {
                "batch_label": name,
                "fine_labels": labels.tolist(),
                "coarse_labels": (labels // 5).tolist(),
                "data": planes(images),
            }
            (folder / name).write_bytes(python2_pickle(batch))
        (folder / "meta").write_bytes(python2_pickle({"fine_label_names": self.names}))

    def binary(self, folder: Path):
        for name, images, labels in self.batches():
            both = np.stack([labels // 5, labels], axis=1).astype(np.uint8)
            (folder / f"{name}.bin").write_bytes(np.concatenate([both, planes(images)], axis=1).tobytes())
        (folder / "fine_label_names.txt").write_text("\n".join(self.names) + "\n")

    def matlab(self, folder: Path):
        for name, images, labels in self.batches():
            savemat(
                folder / f"{name}.mat",
                {
                    "data": planes(images),
                    "fine_labels": labels[:, None].astype(np.uint8),
                    "coarse_labels": (labels[:, None] // 5).astype(np.uint8),
                },
            )
        savemat(folder / "meta.mat", {"fine_label_names": cell(self.names)})


class Stl10:
    """An STL-10 of 40 training images in ten folds of 20, 30 unlabeled and 20 test images."""

    names = [f"class{k}" for k in range(10)]
    folder = {"binary": "stl10_binary", "matlab": "stl10_matlab"}

    def __init__(self):
        self.labeled, self.unlabeled = random_images(40, 96, seed=5), random_images(30, 96, seed=6)
        self.train = np.concatenate([self.labeled, self.unlabeled])
        self.test = random_images(20, 96, seed=7)
        self.train_labels = np.concatenate([np.arange(40) * 3 % 10, np.full(30, -1)])
        self.test_labels = np.arange(20) % 10
        self.folds = np.array([np.random.default_rng(fold).permutation(40)[:20] for fold in range(10)])

    def binary(self, folder: Path):
        for part, images in (("train", self.labeled), ("test", self.test), ("unlabeled", self.unlabeled)):
            (folder / f"{part}_X.bin").write_bytes(columns(images).tobytes())
        for part, labels in (("train", self.train_labels[:40]), ("test", self.test_labels)):
            (folder / f"{part}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
        (folder / "class_names.txt").write_text("\n".join(self.names) + "\n")
        (folder / "fold_indices.txt").write_text("".join(" ".join(map(str, fold)) + " \n" for fold in self.folds))

    def matlab(self, folder: Path):
        import h5py

        self.matlab_without_unlabeled(folder)
        with h5py.File(folder / "unlabeled.mat", "w") as file:
            file["X"] = columns(self.unlabeled).T

    def matlab_without_unlabeled(self, folder: Path):
        folds = np.empty((1, 10), dtype=object)
        for i, fold in enumerate(self.folds):
            folds[0, i] = (fold[:, None] + 1).astype(np.float64)
        savemat(
            folder / "train.mat",
            {
                "X": columns(self.labeled),
                "y": (self.train_labels[:40, None] + 1).astype("u1"),
                "class_names": cell(self.names),
                "fold_indices": folds,
            },
        )
        savemat(
            folder / "test.mat",
            {
                "X": columns(self.test),
                "y": (self.test_labels[:, None] + 1).astype("u1"),
                "class_names": cell(self.names),
            },
        )


class Svhn:
    """An SVHN of 30 training and 20 test images."""

    names = [str(digit) for digit in range(10)]

    def __init__(self):
        self.train, self.test = random_images(30, 32, seed=8), random_images(20, 32, seed=9)
        self.train_labels, self.test_labels = np.arange(30) * 7 % 10, np.arange(20) % 10

    def matlab(self, folder: Path):
        for part, images, labels in (("train", self.train, self.train_labels), ("test", self.test, self.test_labels)):
            savemat(
                folder / f"{part}_32x32.mat",
                {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)},
            )


class MiniImageNet:
    """A mini-ImageNet of 6 classes with 6 images each, of which the last one is for testing."""

    splits = {"train": ["n03", "n01", "n05"], "val": ["n00"], "test": ["n04", "n02"]}

    def __init__(self):
        self.names = [f"n0{k}" for k in range(6)]
        self.by_class = {name: random_images(6, 84, seed=10 + k) for k, name in enumerate(self.names)}
        self.train = np.concatenate([self.by_class[name][:5] for name in self.names])
        self.test = np.concatenate([self.by_class[name][5:] for name in self.names])
        self.train_labels, self.test_labels = np.repeat(np.arange(6), 5), np.arange(6)

    def caches(self, folder: Path):
        for split, names in self.splits.items():
            images = np.concatenate([self.by_class[name] for name in names])
            indices = {name: list(range(6 * i, 6 * i + 6)) for i, name in enumerate(names)}
            (folder / f"mini-imagenet-cache-{split}.pkl").write_bytes(
                pickle.dumps({"image_data": images, "class_dict": indices})
            )

    def category_splits(self, folder: Path):
        label = 0
        for split, names in self.splits.items():
            labels = {name: label + i for i, name in enumerate(names)}
            label += len(names)
            file = "train_phase_train" if split == "train" else split
            (folder / f"miniImageNet_category_split_{file}.pickle").write_bytes(
                python2_pickle(
                    {
                        "data": np.concatenate([self.by_class[name] for name in names]),
                        "labels": [labels[name] for name in names for _ in range(6)],
                        "catname2label": labels,
                    }
                )
            )

    def csv_splits(self, folder: Path):
        (folder / "images").mkdir()
        for split, names in self.splits.items():
            with open(folder / f"{split}.csv", "w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["filename", "label"])
                for name in names:
                    for i, image in enumerate(self.by_class[name]):
                        save_png(image, folder / "images" / f"{name}{i:08}.png")
                        rows.writerow([f"{name}{i:08}.png", name])

    def class_folders(self, folder: Path):
        for name, images in self.by_class.items():
            (folder / name).mkdir()
            for i, image in enumerate(images):
                save_png(image, folder / name / f"{i:08}.png")

    def split_folders(self, folder: Path):
        for split, names in self.splits.items():
            for name in names:
                (folder / split / name).mkdir(parents=True)
                for i, image in enumerate(self.by_class[name]):
                    save_png(image, folder / split / name / f"{i:08}.png")


class Folder:
    """A folder of images by class: 3 classes, 12 training and 6 test images, optionally 4 unlabeled ones."""

    names = ["ant", "bee", "cat"]

    def __init__(self, side=8, channels=3, unlabeled=0):
        self.train, self.test = random_images(12 + unlabeled, side, channels, 20), random_images(6, side, channels, 21)
        self.train_labels = np.concatenate([np.repeat(np.arange(3), 4), np.full(unlabeled, -1)])
        self.test_labels = np.repeat(np.arange(3), 2)

    def write(self, folder: Path) -> Path:
        for part, images, labels in (("train", self.train, self.train_labels), ("test", self.test, self.test_labels)):
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                target = folder / part / self.names[label] if label >= 0 else folder / "unlabeled"
                target.mkdir(parents=True, exist_ok=True)
                save_png(image, target / f"{i:04}.png")
        return folder

    def write_npz(self, path: Path, **changes) -> Path:
        known = self.train_labels >= 0
        arrays = {
            "train_images": self.train[known],
            "train_labels": self.train_labels[known],
            "test_images": self.test,
            "test_labels": self.test_labels,
            "class_names": np.array(self.names),
        }
        if not known.all():
            arrays["unlabeled_images"] = self.train[~known]
        np.savez(path, **{name: array for name, array in {**arrays, **changes}.items() if array is not None})
        return path


def cell(texts):
    """MATLAB's cell array of texts, as savemat writes it."""
    cells = np.empty((len(texts), 1), dtype=object)
    cells[:, 0] = texts
    return cells


def save_png(image, path):
    Image.fromarray(image.squeeze()).save(path)


def written(data, edition, folder: Path) -> Path:
    """The edition's files in a new folder."""
    folder.mkdir(parents=True)
    getattr(data, edition)(folder)
    return folder


def tar_of(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return archive


def tar_with(archive: Path, member: tarfile.TarInfo, content: bytes = b"x") -> Path:
    """An archive of one member, whatever it is."""
    member.size = len(content) if member.isreg() else 0
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(member, io.BytesIO(content))
    return archive
