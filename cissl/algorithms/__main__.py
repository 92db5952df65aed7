"""Show the methods, or the settings of one: ``python -m cissl.algorithms``, ``python -m cissl.algorithms NAME``."""

import argparse
import sys
import textwrap
from pathlib import Path

from cissl import plugins
from cissl.algorithms.cards import ADD_ON, BASE, Card, find, known
from cissl.errors import UserError, accept_any_text, reader_has_gone
from cissl.paths import why_refused

WIDTH = 100


def main(arguments: list[str] | None = None) -> int:
    """Run the command. The exit status is 0, or 2 for an unknown name."""
    accept_any_text()
    name = _parser().parse_args(arguments).name
    try:
        print(describe(name) if name else overview(), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return reader_has_gone()
    except OSError as error:
        print(f"error: {why_refused(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cissl.algorithms", description=__doc__)
    parser.add_argument("name", nargs="?", help="a method or a sum, such as fixmatch+darp, or ours.py:Ours")
    return parser


def overview() -> str:
    """List all methods, one in a line, bases before add-ons."""
    cards = [card for name in known() for card in find_parts(name)]
    lines: list[str] = []
    for kind, heading in ((BASE, "Whole methods"), (ADD_ON, "Add-ons, as in fixmatch+NAME")):
        group = sorted({card.name: card for card in cards if card.kind == kind}.values(), key=lambda card: card.name)
        width = max(len(card.name) for card in group)
        title = max(len(card.title) for card in group)
        lines += ["", f"{heading}:"] if lines else [f"{heading}:"]
        lines += [f"  {card.name:<{width}}  {card.title:<{title}}  {_source(card)}".rstrip() for card in group]
    text = "cadr stands for fixmatch + cap + cai + dr. Settings: python -m cissl.algorithms NAME"
    return "\n".join([*lines, "", text])


def find_parts(name: str) -> tuple[Card, ...]:
    """The cards that belong to a name. The base of an add-on is not among them."""
    card = known()[name]
    if isinstance(card, Card):
        return (card,)
    try:
        return tuple(part for part in find(name).parts if part.name == name)
    except UserError as error:
        print(f"warning: the method '{name}' of another package cannot be used: {error}", file=sys.stderr)
        return ()


def describe(name: str) -> str:
    """Describe one method or sum: what it is, its settings, and what differs from the authors' protocol.

    Raises:
        UserError: the name is unknown.
    """
    plugins.register_all([name], Path.cwd())
    recipe = find(name)
    blocks = [f"{recipe.name}: {recipe.title}"]
    for card in recipe.parts:
        lines = [f"{card.title} ({card.kind})", *_wrapped(card.paper), *_wrapped(card.venue)]
        if card.slots:
            lines += _wrapped(f"Add-ons may act at: {', '.join(card.slots)}.")
        if card.fills:
            lines += _wrapped(f"Acts at: {', '.join(card.fills)}." + _needs(card))
        lines += _settings(card)
        if card.differs:
            lines += ["  What differs from the authors' program:", *_wrapped(card.differs, 4)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _needs(card: Card) -> str:
    return f" Needs {', '.join(card.needs)}." if card.needs else ""


def _settings(card: Card) -> list[str]:
    if not card.fields:
        return ["  No settings of its own."]
    width = max(map(len, card.fields))
    lines = ["  Settings:"]
    for key, field in card.fields.items():
        symbol = f" ({field.metadata['symbol']})" if field.metadata["symbol"] else ""
        choices = f"; {', '.join(field.metadata['choices'])}" if field.metadata["choices"] else ""
        lines.append(f"    {key:<{width}}  {field.default!s:<8} {field.metadata['help']}{symbol}{choices}")
    return lines


def _source(card: Card) -> str:
    authors = card.paper.partition(":")[0].split(",")
    first = authors[0] + (" et al." if len(authors) > 1 else "")
    return f"{first}, {card.venue}" if card.paper else ""


def _wrapped(text: str, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)


if __name__ == "__main__":
    sys.exit(main())
