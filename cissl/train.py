"""Train one trial from the command line, without Ray: ``python -m cissl.train --help``.

The flags are those of the authors' program, as far as they still mean something. Dashes and underscores are the same,
and so are capital and small letters.
"""

import argparse
import dataclasses
import logging
import math
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from cissl import datasets, plugins
from cissl.algorithms.cards import Recipe, find, from_switches
from cissl.config import TrialConfig, core_fields, known_settings, setting_not_taken
from cissl.doubts import doubts
from cissl.errors import UserError, accept_any_text, nearest, reader_has_gone
from cissl.paths import local_folder, require_folder, why_refused
from cissl.training.device import is_out_of_memory
from cissl.training.records import read_status
from cissl.training.trainer import TrialDiverged
from cissl.training.trial import run_trial

EXIT_FAILED, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 3
SWITCHES = {
    "cap": "class-aware propensity",
    "cai": "class-aware imputation",
    "cadr": "doubly robust term; needs --CAP",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status.

    0: complete. 1: the trial diverged, or the user's own code failed. 2: a mistake that the user can correct, or a full
    disk or memory. 3: interrupted.
    """
    accept_any_text()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _train(parse(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        return _end(EXIT_USER, f"error: {error}")
    except TrialDiverged as error:
        return _end(EXIT_FAILED, f"diverged: {error}; try a smaller --lr")
    except KeyboardInterrupt:
        words = "interrupted; the same command continues from the last checkpoint, if there is one yet"
        return _end(EXIT_INTERRUPTED, words)
    except Exception as error:
        if is_out_of_memory(error):
            words = str(error).splitlines()[0] if str(error) else "memory is exhausted"
            return _end(EXIT_USER, f"error: not enough memory: {words}; try a smaller --batch, --uratio or --filters")
        if place := plugins.place_of(error):
            return _end(EXIT_FAILED, f"error: {place}: {type(error).__name__}: {error}")
        if isinstance(error, OSError):
            return _end(EXIT_USER, f"error: {why_refused(error)}")
        raise
    return 0


def _train(options: argparse.Namespace) -> None:
    config = make_config(options)
    folder = local_folder("--train-dir", options.train_dir) / config.trial_id
    require_folder("--train-dir", folder)
    data_dir = None if options.data_dir is None else local_folder("--data-dir", options.data_dir)
    for doubt in _doubts(config, folder, data_dir):
        print(f"note: {doubt}", file=sys.stderr, flush=True)

    def announce(step: int) -> None:
        if step == config.steps:
            progress = f"all {step} steps are made"
        elif step:
            progress = f"continues at step {step} of {config.steps} steps"
        else:
            progress = f"{config.steps} steps"
        _say(f"{config.trial_id}: {progress}, records in {folder}")

    last = run_trial(
        config,
        folder,
        data_dir=data_dir,
        device=options.device,
        on_start=announce,
        progress=not options.quiet,
        loggers=[name.strip() for name in options.loggers.split(",") if name.strip()],
    )
    scores = f"accuracy {_figure(last, 'accuracy')}, geometric mean {_figure(last, 'gmean')}"
    _say(f"step {last['step']}: {scores}; means over the last evaluations in {folder / 'stats'}")


def _say(line: str) -> None:
    """Print a line. A reader that closes the pipe, such as head, does not end the training."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        reader_has_gone()


def _end(status: int, line: str) -> int:
    print(line, file=sys.stderr)
    return status


def _figure(row: Mapping[str, Any], name: str) -> str:
    """A score of a history's row in words; it is None or NaN where a class has no test image."""
    return "unknown" if row.get(name) is None or math.isnan(row[name]) else f"{row[name]:.2f}"


def _doubts(config: TrialConfig, folder: Path, data_dir: Path | None) -> list[str]:
    """What the user may not have meant, for a trial that has not begun yet."""
    return [] if read_status(folder) else doubts([(config, datasets.load(config.dataset, data_dir))])


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line; settings that were not given are absent.

    Raises:
        UserError: an argument is unknown, or belongs to another algorithm.
    """
    arguments = [_normal(argument) for argument in arguments]
    parser = make_parser(_algorithm(arguments))
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        flag = unknown[0].partition("=")[0]
        known = [text for action in parser._actions for text in action.option_strings]
        key = flag.removeprefix("--")
        if key in known_settings() or any(text.endswith(f".{key}") for text in known):
            raise UserError(setting_not_taken(key, options.recipe.name))
        raise UserError(f"unknown argument '{unknown[0]}'{nearest(unknown[0], known)}")
    return options


def _algorithm(arguments: list[str]) -> Recipe:
    """The algorithm that the arguments name; the other flags depend on it.

    Raises:
        UserError: it is unknown, or named twice.
    """
    first = Parser(add_help=False, allow_abbrev=False)
    first.add_argument("--algorithm")
    first.add_argument("--arch", default="")
    for switch in SWITCHES:
        first.add_argument(f"--{switch}", action="store_true")
    options, _ = first.parse_known_args(arguments)
    plugins.register_all([options.algorithm or "", options.arch], Path.cwd())
    switches = {switch: getattr(options, switch) for switch in SWITCHES}
    if any(switches.values()):
        if options.algorithm:
            raise UserError("give either --algorithm or the switches --CAP --CAI --CADR", key="algorithm")
        return from_switches(**switches)
    return find(TrialConfig.algorithm if options.algorithm is None else options.algorithm)


class Parser(argparse.ArgumentParser):
    """A parser that raises `UserError` where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UserError: always.
        """
        raise UserError(message)


def make_parser(recipe: Recipe) -> argparse.ArgumentParser:
    """A parser with a flag for every setting that an algorithm takes, with its default and its meaning."""
    epilog = f"These are the settings of {recipe.name}; beside --algorithm NAME, --help shows NAME's."
    parser = Parser(prog="python -m cissl.train", description=__doc__, epilog=epilog, allow_abbrev=False)
    parser.set_defaults(recipe=recipe)
    for switch, meaning in SWITCHES.items():
        parser.add_argument(f"--{switch.upper()}", f"--{switch}", action="store_true", dest=switch, help=meaning)
    _add_settings(parser.add_argument_group("settings of every trial"), core_fields())
    _add_settings(parser.add_argument_group(f"settings of {recipe.name}"), recipe.fields)
    parser.add_argument("--train_dir", default="./experiments", help="folder of trials' folders [./experiments]")
    parser.add_argument("--data_dir", help="where prepared data sets are [$ML_DATA]")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, … [a GPU where there is one]")
    parser.add_argument("--loggers", default="tensorboard", help="tensorboard, wandb and mlflow [tensorboard]")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _add_settings(group: argparse._ArgumentGroup, fields: Mapping[str, dataclasses.Field[Any]]) -> None:
    for key, field in fields.items():
        symbol = f", symbol {field.metadata['symbol']}" if field.metadata["symbol"] else ""
        choices = f" ({', '.join(field.metadata['choices'])})" if field.metadata["choices"] else ""
        default = "" if field.default is None else f" [{field.default}]"  # for None, the help says what it means
        help = f"{field.metadata['help']}{choices}{symbol}{default}".replace("%", "%%")
        group.add_argument(f"--{key}", default=argparse.SUPPRESS, metavar="V", help=help)


def make_config(options: argparse.Namespace) -> TrialConfig:
    """The trial that the options ask for.

    Raises:
        UserError: a value is refused, see `TrialConfig`.
    """
    given = vars(options)
    fields = {**core_fields(), **options.recipe.fields}
    values: dict[str, Any] = {key: _value(given[key], field) for key, field in fields.items() if key in given}
    return TrialConfig(**{**values, "algorithm": options.recipe.name})


def _normal(argument: str) -> str:
    """Write a flag as the parser knows it: ``--CAP-EMA-momentum=0.9`` becomes ``--cap_ema_momentum=0.9``."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return "--" + flag[2:].replace("-", "_").lower() + equals + value


def _value(text: str, field: dataclasses.Field[Any]) -> Any:
    """Text from the command line as a value of the field's type; `TrialConfig` refuses what stays text."""
    if text.lower() == "none" and field.default is None:
        return None
    if field.type is bool:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    if field.type is str:
        return text
    for number in (int, float):  # float would round a large seed
        try:
            return number(text)
        except ValueError:
            pass
    return text


if __name__ == "__main__":
    sys.exit(main())
