"""``python -m cissl.datasets``: list, prepare, import, inspect and verify data sets."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from cissl.datasets import inspection, prepare, store, writing
from cissl.datasets.catalog import KNOWN
from cissl.datasets.dataset import load
from cissl.errors import UserError, accept_any_text, nearest, reader_has_gone

WEAK = {"none": (False, False), "m": (True, False), "s": (False, True), "ms": (True, True)}
"""Choice on the command line → whether weak augmentation mirrors, and whether it shifts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 after a mistake of the user."""
    accept_any_text()
    logging.basicConfig(format="%(message)s")
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
    return 0


def _list(options: argparse.Namespace, data_dir: Path) -> None:
    prepared = store.prepared_names(data_dir)
    print(f"data directory: {data_dir}")
    for known in KNOWN.values():
        state = "embedded" if known.embedded else "prepared" if known.name in prepared else "not prepared"
        unlabeled = f" + {known.unlabeled} unlabeled" if known.unlabeled else ""
        print(
            f"{known.name:<14}{state:<14}{known.title}: {known.classes} classes, {known.side}×{known.side}, "
            f"{known.train}{unlabeled} training and {known.test} test images"
        )
    for name in prepared:
        if name not in KNOWN:
            images = store.open_images(name, data_dir)
            print(
                f"{name:<14}{'imported':<14}{len(images.class_names)} classes, "
                f"{'×'.join(map(str, images.train_images.shape[1:3]))}, {len(images.train_images)} training and "
                f"{len(images.test_images)} test images"
            )


def _prepare(options: argparse.Namespace, data_dir: Path) -> None:
    if options.source and len(options.names) > 1:
        raise UserError("--from is the source of one data set; prepare them one by one", key="from")
    for name in options.names:
        if prepare.prepare(name, data_dir, source=options.source, unofficial=options.unofficial):
            print(f"'{name}' is prepared in {data_dir / name}")
        else:
            print(f"'{name}' is there already: " + ("embedded" if KNOWN[name].embedded else str(data_dir / name)))


def _import(options: argparse.Namespace, data_dir: Path) -> None:
    mirror = shift = None
    if options.weak is not None:
        mirror, shifts = WEAK[options.weak]
        shift = None if shifts else 0
    if options.shift is not None:
        shift = options.shift
    prepare.import_images(options.name, options.path, data_dir, mirror=mirror, shift=shift, side=options.side)
    images = store.open_images(options.name, data_dir)
    print(
        f"'{options.name}' is in {data_dir / options.name}: {len(images.class_names)} classes, images of "
        f"{'×'.join(map(str, images.train_images.shape[1:]))}, {len(images.train_images)} training and "
        f"{len(images.test_images)} test images; for example: python -m cissl.datasets inspect "
        f"{options.name}.1@{10 * len(images.class_names)}-1"
    )


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
        "--data-dir", type=Path, help="where prepared data live (default: $ML_DATA, else ~/.cache/cissl)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common], help=help, description=help)
        added.set_defaults(run=run)
        return added

    command("list", _list, "show known and prepared data sets")

    added = command("prepare", _prepare, "download a known data set, or convert an official archive that you have")
    added.add_argument("names", nargs="+", metavar="NAME", help=", ".join(KNOWN))
    added.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="PATH",
        help="archive or folder of an official distribution (Python, binary or MATLAB edition)",
    )
    added.add_argument(
        "--unofficial",
        action="store_true",
        help="accept a source with another checksum or number of images than the official one",
    )

    added = command("import", _import, "make a data set of your own images")
    added.add_argument("name", metavar="NAME", help="what specs will call it, in lower case")
    added.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="folder (or archive) with train/<class>/*, test/<class>/* and optionally unlabeled/*, or "
        "an .npz file with train_images, train_labels, test_images, test_labels",
    )
    added.add_argument(
        "--weak",
        choices=WEAK,
        help="weak augmentation: mirror, shift, both or none (default: ms, or what is usual for a known NAME)",
    )
    added.add_argument("--shift", type=int, metavar="PIXELS", help="largest shift (default: side ÷ 8)")
    added.add_argument("--side", type=int, metavar="PIXELS", help="resize the images of a folder to squares")

    added = command("inspect", _inspect, "show class counts, hash and overlap of a split")
    added.add_argument("spec", metavar="SPEC", help="for example cifar10_LT_20.1@20-1")
    added.add_argument("--plot", type=Path, metavar="FILE.png", help="draw class distributions and labeled images")

    added = command("verify", _verify, "check prepared files against their SHA-256")
    added.add_argument("names", nargs="+", metavar="NAME")
    return parser


if __name__ == "__main__":
    sys.exit(main())
