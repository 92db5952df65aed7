"""Images of one's own as folders, archives and arrays; official distributions; prepared data."""

import atexit
import contextlib
import io
import json
import random
import shutil
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from cissl.datasets import __main__ as datasets
from cissl.datasets import store
from tests.datasets.synthetic_archives import Cifar, Folder, MiniImageNet, Svhn, written
from tests.fuzz.case import Case
from tests.fuzz.odd import WORDS, changed, flipped

SUFFIXES = (".png", ".jpg", ".bmp", ".gif", ".tif", ".webp", ".PNG", ".jfif", ".ppm", ".tga")
NAMES = (".hidden.png", "._0.png", "Thumbs.db", "a b'.png", "日本.png", "caf\udce9.png", "a\nb.png", "x" * 200 + ".png")
FOLDERS = ("more", ".git", "a b", "__MACOSX", "caf\udce9", "a\nb", "  ", "'", unicodedata.normalize("NFD", "café"))
OPTIONS = ("--side", "--weak", "--shift", "--background", "--white")


def own_folders(folder: Path, r: random.Random) -> Case:
    """Folders of images, a few of which are damaged, odd, linked or elsewhere."""
    root = _images(folder / "images", r)
    spoiled = [_spoil(path, r) for path in r.sample(_files(root), r.choice([0, 1, 1, 2, 3]))]
    if r.random() < 0.3:
        spoiled += _spoil_folder(root, r)
    return _imported(root, folder, r, culprits=spoiled)


def own_archives(folder: Path, r: random.Random) -> Case:
    """Archives of such folders as several systems pack them, whole or damaged."""
    root = _images(folder / "images", r)
    source = folder / r.choice(["images.zip", "images.tar", "images.tgz", "images.tar.xz", "images.tar.bz2", "packed"])
    style = r.choice(["sound", "sound", "backslashes", "dots", "macOS", "several tops"])
    files = {_member(path.relative_to(root), style, r): path.read_bytes() for path in _files(root)}
    if style == "macOS":
        files.update({f"__MACOSX/{name}/._x": b"\0\5\x16\7" for name in list(files)})
    if r.random() < 0.2:
        files[r.choice(["../x", "/x", "C:/x", "", "images", "images/train/cat", "a\0b", "x" * 300])] = b"x"
    (_zip if source.suffix in (".zip", "") else _tar)(source, files, r)
    if r.random() < 0.3:
        source.write_bytes(flipped(source.read_bytes(), r))
    if r.random() < 0.1:
        source.write_bytes(
            r.choice([b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"PK", b"\x1f\x8b", b""]) + r.randbytes(99)
        )
    return _imported(source, folder, r, culprits=[source.name, "cat", "dog", "caf"])


def own_arrays(folder: Path, r: random.Random) -> Case:
    """``.npz`` files with arrays of wrong shapes, types, names or labels."""
    sound = Folder(unlabeled=r.choice([0, 4]))
    arrays = dict(np.load(sound.write_npz(folder / "data.npz")))
    for _ in range(r.choice([0, 1, 1, 2])):
        name = r.choice(list(arrays))
        arrays[name] = _odd_array(arrays[name], r)
        if r.random() < 0.2:
            arrays[r.choice(["unlabeled_images", "class_names", "x", name + "s"])] = arrays.pop(name)
    path = folder / "data.npz"
    with contextlib.suppress(ValueError, TypeError):
        np.savez(path, **arrays)
    if r.random() < 0.2:
        path.write_bytes(flipped(path.read_bytes(), r))
    return _imported(path, folder, r, culprits=[path.name, "label", "class", "image"])


def official_sources(folder: Path, r: random.Random) -> Case:
    """Official distributions with damaged, missing or exchanged files."""
    name, make, edition = r.choice(
        [("cifar10", Cifar, edition) for edition in ("python", "binary", "matlab")]
        + [("svhn", Svhn, "matlab")]
        + [
            ("miniimagenet", MiniImageNet, edition)
            for edition in ("caches", "category_splits", "csv_splits", "class_folders")
        ]
    )
    root = written(make(), edition, folder / "source")
    files = _files(root)
    for path in r.sample(files, r.choice([0, 1, 1, 2])):
        way = r.randrange(4)
        if way == 0:
            path.unlink()
        elif way == 1:
            other = r.choice(files)
            path.write_bytes(other.read_bytes() if other.exists() else b"")
        else:
            path.write_bytes(flipped(path.read_bytes(), r))
    kept = tuple(path for path in files if path.exists())
    arguments = ["prepare", name, "--from", str(root), "--unofficial", "--data-dir", str(folder / "data")]
    writes = (folder / "data" / name,)
    return Case(call=lambda: datasets.main(arguments), kept=kept, writes=writes, culprits=(str(root), name, "class"))


def prepared_data(folder: Path, r: random.Random) -> Case:
    """Prepared data whose files were damaged, as other commands meet them."""
    data = folder / "data"
    shutil.copytree(_prepared(), data / "own")
    path = r.choice(_files(data / "own"))
    way = r.randrange(5)
    if way == 0:
        path.unlink()
    elif way == 1 and path.suffix == ".json":
        path.write_text(json.dumps(changed(json.loads(path.read_text()), r)[0]))
    elif way == 2 and path.suffix == ".npy":
        np.save(path, _odd_array(np.load(path), r))
    elif way == 3:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(flipped(path.read_bytes(), r))
    words = r.choice([["list"], ["inspect", "own.1@6-1"], ["verify", "own"]])
    return Case(
        call=lambda: datasets.main([*words, "--data-dir", str(data)]), kept=tuple(_files(data)), culprits=("own",)
    )


def _imported(source: Path, folder: Path, r: random.Random, culprits: list[str]) -> Case:
    """An import into a folder that has another data set, and at times one of this name."""
    data = folder / "data"
    shutil.copytree(_prepared(), data / "other")
    if r.random() < 0.05:
        shutil.copytree(_prepared(), data / "own")
    words, name = [], r.choice(WORDS) if r.random() < 0.1 else "own"
    if r.random() < 0.15:
        words = [r.choice(OPTIONS), r.choice([*WORDS, "8", "16", "255", "65535", "#fff", "ms"])]
    arguments = ["import", "--data-dir", str(data), *words, "--", name, str(source)]

    def call() -> int:
        code = datasets.main(arguments)
        if code == 0:
            images = store.open_images(name, data)
            assert len(images.train_images) == len(images.train_labels) and len(images.test_images)
        return code

    kept = [*_files(data), *(_files(source) if source.is_dir() else [source])]
    culprits = [str(source), *culprits, *words, *(word.lstrip("-") for word in words[:1]), name, f"'{name}'"]
    return Case(
        call=call,
        kept=tuple(kept),
        writes=(data / name,),
        culprits=tuple(word for word in culprits if word.strip()),
    )


@cache
def _prepared() -> Path:
    """A prepared data set."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source = Folder().write_npz(folder / "other.npz")
    with contextlib.redirect_stdout(io.StringIO()):
        assert datasets.main(["import", "other", str(source), "--data-dir", str(folder)]) == 0
    return folder / "other"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _images(root: Path, r: random.Random) -> Path:
    """A sound folder: two classes, three images of each in both parts, some without a label."""
    suffix = r.choice(SUFFIXES)
    mode = r.choice(["RGB", "L", "RGBA", "P", "LA", "1"]) if suffix == ".png" else "RGB"
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(3):
                _image(root / part / name / f"{number}{suffix}", mode, r)
    for number in range(r.choice([0, 2])):
        _image(root / "unlabeled" / f"{number}{suffix}", mode, r)
    return root


def _image(path: Path, mode: str, r: random.Random, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("RGBA", size, r.randbytes(4 * size[0] * size[1]))
    image.convert(mode).save(path, exif=_exif(r)) if path.suffix == ".jpg" else image.convert(mode).save(path)


def _exif(r: random.Random) -> Image.Exif:
    exif = Image.Exif()
    if r.random() < 0.5:
        exif[0x0112] = r.choice([1, 3, 6, 8, 9, 0, 1000])
    return exif


def _spoil(path: Path, r: random.Random) -> str:
    """Make a file odd; its name afterwards, or that of what it became."""
    way = r.randrange(9)
    if way == 0:
        path.write_bytes(b"")
    elif way == 1:
        path.write_bytes(flipped(path.read_bytes(), r))
    elif way == 2:
        path = path.rename(path.with_suffix(r.choice([".txt", ".PNG", "", ".jpeg2", ".tif", ".heic"])))
    elif way == 3:
        path.unlink()
        path.symlink_to(r.choice([path.parent, path.parents[2], Path("/nowhere"), Path(path.name)]))
    elif way == 4:
        path = path.rename(path.with_name(r.choice(NAMES)))
    elif way == 5:
        inner = path.parent / r.choice(FOLDERS)
        inner.mkdir(exist_ok=True)
        path = path.rename(inner / path.name)
    elif way == 6:
        path.write_bytes(r.randbytes(100))
    elif way == 7:
        path.unlink()
        _image(path, "RGB", r, size=(r.randrange(1, 12), r.randrange(1, 12)))
    else:
        path.unlink()
        path = path.with_suffix(".png")
        Image.fromarray(np.frombuffer(r.randbytes(128), np.uint16).reshape(8, 8)).save(path)
    return path.name


def _spoil_folder(root: Path, r: random.Random) -> list[str]:
    """Take a folder away, empty it or give it another name; names that a message may name."""
    path = root / r.choice(["train", "test", "train/cat", "test/dog", "train/dog"])
    way = r.randrange(5)
    if way == 0:
        shutil.rmtree(path)
    elif way == 1:
        for inside in _files(path):
            inside.unlink()
    elif way == 2:
        path = path.rename(path.with_name(r.choice(FOLDERS)))
    elif way == 3:
        shutil.rmtree(path)
        path.symlink_to(r.choice([root, Path("/nowhere"), Path(path.name)]))
    else:
        other = path.with_name(r.choice(["Train", "val", "CAT", "extra", "cat "]))
        shutil.copytree(path, other, symlinks=True)
    return [ascii(path.name)[1:-1], "train", "test", "cat", "dog"]


def _member(path: Path, style: str, r: random.Random) -> str:
    top = r.choice(["", "pets/", "__MACOSX/"]) if style == "several tops" else "pets/"
    name = f"{top}{path.as_posix()}"
    if style == "dots":
        return f"./{name}"
    if style == "backslashes":
        return name.replace("/", "\\")
    if r.random() < 0.01:
        return r.choice([name.replace("cat", "caf\u00e9"), name.upper(), name.replace("/", "\\")])
    return name


def _zip(source: Path, files: dict[str, bytes], r: random.Random) -> None:
    with zipfile.ZipFile(source, "w", r.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.external_attr = 0o120777 << 16 if r.random() < 0.005 else 0  # a link
            archive.writestr(info, content)


def _tar(source: Path, files: dict[str, bytes], r: random.Random) -> None:
    kind = {".tar": "", ".tgz": "gz", ".xz": "xz", ".bz2": "bz2"}[source.suffix]
    with tarfile.open(source, f"w:{kind}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if r.random() < 0.005:
                member.type, member.linkname, member.size = tarfile.SYMTYPE, r.choice(["/etc/passwd", name, "."]), 0
            archive.addfile(member, io.BytesIO(content))


def _odd_array(array: np.ndarray, r: random.Random) -> np.ndarray:
    """Of another shape, type or content; one that is odd already may be beyond a second change."""
    ways: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a[:0],
        lambda a: a[:-1],
        lambda a: a.astype(float),
        lambda a: a.astype(np.int64) - 1,
        lambda a: a.astype(np.int64) + 1,
        lambda a: a.astype(str),
        lambda a: a.astype(bytes),
        lambda a: a.astype(object),
        lambda a: a[None],
        lambda a: a[..., None],
        lambda a: a.T,
        lambda a: a.transpose(0, 3, 1, 2),
        lambda a: a.astype(np.uint16) * 300,
        lambda a: a.astype(np.uint64) + np.uint64(2**63),
        lambda a: np.eye(3, dtype=int)[a],
        lambda a: np.array(3),
        lambda a: np.full(a.shape, np.nan),
        lambda a: a.astype(bool),
        lambda a: a.astype(complex),
        lambda a: a.astype("datetime64[s]"),
        lambda a: np.concatenate([a, a]),
        lambda a: a * 0,
    ]
    try:
        return r.choice(ways)(array)
    except (ValueError, TypeError, IndexError, OverflowError):
        return array
