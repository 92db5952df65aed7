"""``python -m cissl.datasets``: list, prepare, import, inspect and verify data sets."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cissl.datasets import inspection, prepare, splits, store, writing
from cissl.datasets.catalog import KNOWN, KnownDataset
from cissl.datasets.dataset import load
from cissl.datasets.sources.image_files import FITS, Reading
from cissl.errors import UserError, accept_any_text, nearest, reader_has_gone
from cissl.paths import path_argument, why_refused

WEAK = {"none": (False, False), "m": (True, False), "s": (False, True), "ms": (True, True)}
"""Choice on the command line → whether weak augmentation mirrors, and whether it shifts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 after a mistake of the user."""
    accept_any_text()
    logging.basicConfig(format="%(message)s")
    warnings.filterwarnings("ignore", module="PIL")  # of unusual metadata and large images
    os.environ["MPLBACKEND"] = "agg"  # figures go into files; the one of a notebook around us may not exist here
    options = _parser().parse_args(arguments)
    try:
        options.run(options, store.data_directory(options.data_dir))
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing unfinished was kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return reader_has_gone()
    except OSError as error:  # a folder or file that cannot be read or written
        print(f"error: {why_refused(error)}", file=sys.stderr)
        return 2
    return 0


def _list(options: argparse.Namespace, data_dir: Path) -> None:
    prepared = store.prepared_names(data_dir)
    print(f"data directory: {data_dir}")
    for known in KNOWN.values():
        unlabeled = f" + {known.unlabeled} unlabeled" if known.unlabeled else ""
        official = f"{known.classes} classes, {known.side}×{known.side}, {known.train}{unlabeled} training and "
        state, facts = "embedded" if known.embedded else "not prepared", f"{official}{known.test} test images"
        if known.name in prepared:
            state, facts = "prepared", _facts(known.name, data_dir, known)
        print(f"{known.name:<14}{state:<14}{known.title}: {facts}")
    for name in prepared:
        if name not in KNOWN:
            print(f"{name:<14}{'imported':<14}{_facts(name, data_dir)}")


def _facts(name: str, data_dir: Path, known: KnownDataset | None = None) -> str:
    """What a prepared data set really holds, and whether that is another number than the known one's."""
    try:
        images = store.open_images(name, data_dir)
    except UserError as error:
        return f"damaged: {error}"
    unlabeled = int(np.count_nonzero(images.train_labels < 0))
    found = (
        len(images.class_names),
        images.train_images.shape[1],
        len(images.train_images) - unlabeled,
        unlabeled,
        len(images.test_images),
    )
    other = known and found != (known.classes, known.side, known.train, known.unlabeled, known.test)
    return (
        f"{found[0]} classes, {'×'.join(map(str, images.train_images.shape[1:3]))}, {found[2]}"
        f"{f' + {unlabeled} unlabeled' if unlabeled else ''} training and {found[4]} test images"
        + (" (not the official numbers)" if other else "")
    )


def _prepare(options: argparse.Namespace, data_dir: Path) -> None:
    if options.source and len(options.names) > 1:
        raise UserError("--from is the source of one data set; prepare them one by one", key="from")
    for name in options.names:
        if prepare.prepare(name, data_dir, source=options.source, unofficial=options.unofficial):
            print("\n".join([f"'{name}' is prepared in {data_dir / name}", *store.open_images(name, data_dir).remarks]))
        else:
            print(f"'{name}' is there already: " + ("embedded" if KNOWN[name].embedded else str(data_dir / name)))


def _import(options: argparse.Namespace, data_dir: Path) -> None:
    mirror, shifts = WEAK[options.weak]
    shift = options.shift if options.shift is not None or shifts else 0
    given = {
        key: getattr(options, key)
        for key in ("side", "fit", "background", "white")
        if getattr(options, key) is not None
    }
    reading = Reading(**given) if given else None
    prepare.import_images(options.name, options.path, data_dir, mirror=mirror, shift=shift, reading=reading)
    images = store.open_images(options.name, data_dir)
    shape = "×".join(map(str, images.train_images.shape[1:]))
    print(f"'{options.name}' is in {data_dir / options.name}: images of {shape}")
    print(inspection.contents(images))
    for remark in (*images.remarks, *inspection.look_alikes(images.class_names), *inspection.repeats(images)):
        print(remark)
    size = min(10 * len(images.class_names), int(splits.class_counts(images.train_labels).sum()))
    print(f"for example: python -m cissl.datasets inspect {options.name}.1@{size}-1")


def _inspect(options: argparse.Namespace, data_dir: Path) -> None:
    data = load(options.spec, data_dir)
    print(inspection.report(data))
    if options.plot:
        inspection.plot(data, options.plot)
        print(f"\ndrawn to {options.plot}")


def _verify(options: argparse.Namespace, data_dir: Path) -> None:
    for name in options.names:
        if name in KNOWN and KNOWN[name].embedded:
            print(f"'{name}' is embedded; there is nothing to verify")
            continue
        if not store.is_prepared(name, data_dir):
            known = store.prepared_names(data_dir)
            raise UserError(
                f"'{name}' is not prepared in {data_dir}{nearest(name, known) if known else ''}", key="name"
            )
        print(f"'{name}' is unchanged: " + ", ".join(writing.verify(name, data_dir)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cissl.datasets", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data-dir", type=path_argument, help="where prepared data live (default: $ML_DATA, else ~/.cache/cissl)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, parents=[common], help=command.help, description=command.help)
        added.set_defaults(run=command.run)
        command.add_arguments(added)
    return parser


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def _prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(KNOWN))
    parser.add_argument(
        "--from",
        dest="source",
        type=path_argument,
        metavar="PATH",
        help="archive or folder of an official distribution (Python, binary or MATLAB edition)",
    )
    parser.add_argument(
        "--unofficial",
        action="store_true",
        help="accept a source with another checksum or number of images than the official one",
    )


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what specs will call it, in lower case")
    parser.add_argument(
        "path",
        type=path_argument,
        metavar="PATH",
        help="folder (or archive) with train/<class>/*, test/<class>/* and optionally unlabeled/*, or "
        "an .npz file with train_images, train_labels, test_images, test_labels",
    )
    parser.add_argument(
        "--weak",
        choices=WEAK,
        default="ms",
        help="weak augmentation: mirror (m), shift (s), both (ms) or none (default: ms)",
    )
    parser.add_argument("--shift", type=int, metavar="PIXELS", help="largest shift (default: side ÷ 8)")
    parser.add_argument("--side", type=int, metavar="PIXELS", help="resize the images of a folder to squares")
    parser.add_argument(
        "--fit",
        choices=FITS,
        help="how images that are no squares become squares: both sides stretched to one length, the middle cropped, "
        "or padded with the background (default: stretch)",
    )
    parser.add_argument(
        "--background", metavar="COLOUR", help="put under transparent parts: a name or #rrggbb (default: gray)"
    )
    parser.add_argument(
        "--white",
        type=float,
        metavar="VALUE",
        help="value of white in images of more than 8 bits, such as 65535 or 4095",
    )


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="for example cifar10_LT_20.1@20-1")
    parser.add_argument(
        "--plot", type=path_argument, metavar="FILE.png", help="draw class distributions and labeled images"
    )


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME")


class Command(NamedTuple):
    """What stands behind one word of the command line."""

    help: str
    run: Callable[[argparse.Namespace, Path], None]
    add_arguments: Callable[[argparse.ArgumentParser], None]


COMMANDS = {
    "list": Command("show known and prepared data sets", _list, _list_arguments),
    "prepare": Command(
        "download a known data set, or convert an official archive that you have", _prepare, _prepare_arguments
    ),
    "import": Command("make a data set of your own images", _import, _import_arguments),
    "inspect": Command("show class counts, hash and overlap of a split", _inspect, _inspect_arguments),
    "verify": Command("check prepared files against their SHA-256", _verify, _verify_arguments),
}


if __name__ == "__main__":
    sys.exit(main())
