"""Label new images with a trained model: ``python -m cissl.predict TRIAL IMAGES… --out predictions.csv``.

TRIAL is the folder of a complete trial. IMAGES are image files, or folders whose image files are all taken. The
predictions are a CSV file with one line for each image, in order: file, class, probability. Probabilities are not
calibrated. With --onnx the model is also written as an ONNX file, which other programs can run.
"""

import argparse
import csv
import io
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from cissl.atomic_files import write_output
from cissl.datasets.progress_bar import progress
from cissl.datasets.sources.folders import LeftOut, images_in
from cissl.datasets.sources.image_files import FITS
from cissl.datasets.store import UnfitImages
from cissl.errors import UserError, accept_any_text, reader_has_gone
from cissl.paths import path_argument, why_refused
from cissl.trained import BATCH, TrainedModel, load
from cissl.training.device import prepare_process

COLUMNS = ("file", "class", "probability")
Prediction = tuple[Path, str, float]  # as in `COLUMNS`


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 for a mistake that the user can correct."""
    accept_any_text()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return reader_has_gone()
    except OSError as error:
        print(f"error: {why_refused(error)}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    if not options.images and not options.onnx:
        raise UserError("give images to label, or --onnx FILE")
    files = list(_files(options.images))
    prepare_process()
    model = load(options.trial, options.device)
    if files:
        _label(model, files, options.out)
    if options.onnx:
        difference = model.export_onnx(options.onnx)
        print(f"the model is in {options.onnx}; probabilities differ from the network's by {difference:.1g} at most")


def _label(model: TrainedModel, files: Sequence[Path], out: Path | None) -> None:
    """Print or write the predictions for these files.

    Raises:
        UnfitImages: some files cannot be read; all of them are named.
    """
    rows: list[Prediction] = []
    unfit: list[UnfitImages] = []
    with progress("images", len(files)) as bar:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            try:
                classes, probabilities = model.predict(batch)
                rows += zip(batch, classes, probabilities.tolist(), strict=True)
            except UnfitImages as error:  # later batches may have such files too
                unfit.append(error)
            bar.update(len(batch))
    if unfit:
        raise UnfitImages.joined(unfit)
    if stretched := sum(not _is_square(path) for path in files):
        how = FITS[model.reading.fit]
        print(f"{stretched} of {len(files)} images are not square; they were {how} to squares", file=sys.stderr)
    text = _as_csv(rows)
    if out is None:
        print(text, end="")
    else:
        write_output(out, text.encode())
        print(f"{len(rows)} predictions are in {out}")


def _as_csv(rows: Sequence[Prediction]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((path, name, f"{probability:.6f}") for path, name, probability in rows)
    return table.getvalue()


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """The given image files, and the image files in the given folders. What a folder has beside them is named.

    Raises:
        UserError: there is no such file, or no image in a folder.
    """
    for path in given:
        if not path.is_dir():
            if not path.exists():
                raise UserError(f"{path}: there is no such file")
            yield path
            continue
        left_out = LeftOut(path)
        found = images_in(path, left_out)
        print(*left_out.remarks(), sep="\n", end="\n" if left_out.names else "", file=sys.stderr)
        if not found:
            raise UserError(f"{path}: no image is in this folder")
        yield from found


def _is_square(path: Path) -> bool:
    with Image.open(path) as image:
        return image.width == image.height


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cissl.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trial", metavar="TRIAL", help="folder of a complete trial")
    parser.add_argument(
        "images", nargs="*", type=path_argument, metavar="IMAGES", help="image files, and folders of them"
    )
    parser.add_argument(
        "--out", type=path_argument, metavar="FILE.csv", help="where the predictions go (default: printed)"
    )
    parser.add_argument("--onnx", type=path_argument, metavar="FILE.onnx", help="write the model as an ONNX file")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, … (default: a GPU where there is one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
