"""What it costs to prepare, open and share data sets.

    python benchmarks/datasets.py [--folder DIR]      needs 4 GB of disk and of page cache, and a minute or two

Three questions, on data of the real sizes but with random content:

1. How long does it take to prepare CIFAR-10 from its official archive? It is compared with reading the archive and
   hashing its contents, which is the least work that is possible, and with hashing only the compressed file.
2. How long does it take to open a small and a large prepared data set, and to load it with its split?
3. How much memory do four trials on one STL-10 take? It is the proportional set size (PSS): a page that processes share
   counts in equal parts for each of them.
"""

import argparse
import hashlib
import multiprocessing
import os
import pickle
import platform
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import IO

import numpy as np

from cissl.datasets import load, prepare, store, writing

BLOCK = 2**20
TRIALS = 4
BATCHES, BATCH = 50, 512  # what each trial reads for the memory figure, after one pass over all images


def main() -> None:
    """Print the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as folder:
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"NumPy {np.__version__}, load average {os.getloadavg()[0]:.1f}\n"
        )
        measure_preparing(Path(folder))
        measure_opening(Path(folder))
        measure_memory(Path(folder))


def measure_preparing(folder: Path) -> None:
    """Answer the first question."""
    archive = cifar10_archive(folder)
    print(f"CIFAR-10 from an archive of {archive.stat().st_size / 1e6:.0f} MB: best of 3, seconds (CPU seconds)")
    hashing = timed("read and hash the compressed file (MD5)", lambda: hash_file(archive))
    reading = timed("read, decompress and hash its contents (SHA-256)", lambda: hash_contents(archive))
    preparing = timed("prepare", lambda: prepare_anew(archive, folder / "data"))
    print(
        f"  prepare ÷ read, decompress and hash: {preparing / reading:.2f}; ÷ hash the compressed file: "
        f"{preparing / hashing:.1f}\n"
    )


def measure_opening(folder: Path) -> None:
    """Answer the second question."""
    print("Opening a prepared data set, and loading it with its split: best of 3, milliseconds")
    for name, count, side in (("small", 1_000, 32), ("cifar10like", 50_000, 32), ("stl10like", 105_000, 96)):
        write_blank(folder / "data", name, count, side)
        opening = min(seconds(partial(store.open_images, name, folder / "data")) for _ in range(3))
        loading = min(seconds(partial(load, f"{name}.1@100-1", folder / "data")) for _ in range(3))
        print(f"  {count:>7} images of {side}×{side}: {1e3 * opening:6.1f} {1e3 * loading:8.1f}")
    print()


def measure_memory(folder: Path) -> None:
    """Answer the third question."""
    copy = store.open_images("stl10like", folder / "data").train_images.nbytes
    context = multiprocessing.get_context("spawn")
    everyone_has_read = context.Barrier(TRIALS)
    with context.Pool(TRIALS, initializer=remember, initargs=(everyone_has_read,)) as pool:
        memory = pool.map(trial_memory, [folder / "data"] * TRIALS, chunksize=1)
    print(f"{TRIALS} trials on one STL-10 of {copy / 1e9:.2f} GB, GB per trial: before, after reading every image")
    for before, after, private in memory:
        print(f"  PSS {before / 1e9:.3f} → {after / 1e9:.3f}, of which the trial's own (anonymous) {private / 1e9:.3f}")
    print(
        f"  together {sum(after for _, after, _ in memory) / 1e9:.2f} GB, against {TRIALS * copy / 1e9:.2f} GB for a "
        f"copy each"
    )


def cifar10_archive(folder: Path) -> Path:
    """Write an archive with the form and size of the official one, whose pixels compress as well."""
    source = folder / "cifar-10-batches-py"
    source.mkdir()
    generator = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = np.clip(generator.normal(128, 43, (10_000, 3072)), 0, 255).astype(np.uint8)
        labels = generator.permutation(np.repeat(np.arange(10), 1000)).tolist()
        (source / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
    (source / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {k}" for k in range(10)]}))
    archive = folder / "archive.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        tar.add(source, arcname=source.name)
    shutil.rmtree(source)
    return archive


def hash_file(archive: Path) -> str:
    """The MD5 of a file."""
    digest = hashlib.md5()
    with open(archive, "rb") as file:
        for block in blocks(file):
            digest.update(block)
    return digest.hexdigest()


def hash_contents(archive: Path) -> str:
    """The SHA-256 of all files in an archive, one after the other."""
    digest = hashlib.sha256()
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isreg():
                for block in blocks(tar.extractfile(member)):
                    digest.update(block)
    return digest.hexdigest()


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The contents of a file, in blocks."""
    return iter(lambda: file.read(BLOCK), b"")


def prepare_anew(archive: Path, data_dir: Path) -> None:
    """Prepare CIFAR-10 as if for the first time."""
    shutil.rmtree(data_dir / "cifar10", ignore_errors=True)
    assert prepare.prepare("cifar10", data_dir, source=archive, unofficial=True)


def write_blank(data_dir: Path, name: str, count: int, side: int) -> None:
    """Write a prepared data set of black images."""
    blank = np.zeros((1000, side, side, 3), dtype=np.uint8)
    stream = store.ImageStream((count, side, side, 3), (blank for _ in range(count // 1000)))
    (data_dir / name).mkdir(parents=True)
    writing.write(
        data_dir / name,
        store.SourceImages(
            class_names=[str(k) for k in range(10)],
            train_images=stream,
            train_labels=np.arange(count) % 10,
            test_images=blank,
            test_labels=np.arange(1000) % 10,
        ),
        {},
    )


def remember(barrier: Barrier) -> None:
    """Keep the barrier in this process."""
    global everyone_has_read
    everyone_has_read = barrier


def trial_memory(data_dir: Path) -> tuple[int, int, int]:
    """Read every image, and some random batches as a trial does; returns PSS before and after, and anonymous PSS."""
    before, _ = pss()
    data = load("stl10like.1@100-1", data_dir)
    generator = np.random.default_rng(os.getpid())
    checksum = 0
    for start in range(0, len(data.images), BATCH):
        checksum += int(data.images[start : start + BATCH].sum(dtype=np.int64))
    for _ in range(BATCHES):
        checksum += int(data.images[generator.choice(data.unlabeled, BATCH)].sum(dtype=np.int64))
    everyone_has_read.wait()
    after = pss()
    everyone_has_read.wait()
    return before, *after


def pss() -> tuple[int, int]:
    """Proportional set size of this process, in bytes: the whole, and the anonymous part (Linux)."""
    fields = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return tuple(1024 * int(fields[name].split()[0]) for name in ("Pss", "Pss_Anon"))


def timed(what: str, work: Callable[[], object]) -> float:
    """Print and return the best wall time of three, in seconds."""
    walls, cpus = [], []
    for _ in range(3):
        cpu = time.process_time()
        walls.append(seconds(work))
        cpus.append(time.process_time() - cpu)
    print(f"  {what:<52}{min(walls):6.2f} ({min(cpus):.2f})")
    return min(walls)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
