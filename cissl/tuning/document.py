"""A YAML file whose every value knows the line that it stands in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cissl.errors import UserError

At = tuple[str | int, ...]
"""Where a value stands: the keys and list positions that lead to it."""

SHOWN = 60  # characters of a value that an error message repeats


@dataclass
class Document:
    """Plain dicts, lists and scalars, and where each of them was written."""

    values: dict[str, Any]
    places: dict[At, str] = field(default_factory=dict)
    """path → ``file.yaml:12``, or ``--set key=value``"""
    folder: Path = Path()
    """the file's own: what other files' names in it are relative to"""

    def place(self, path: At) -> str:
        """Where the value at `path` was written, or else the innermost thing around it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def get(self, path: At) -> Any:
        value: Any = self.values
        for step in path:
            value = value[step]
        return value

    def put(self, path: At, value: Any, place: str) -> None:
        """Replace or add a value that does not come from the file; groups on the way are made."""
        group = self.values
        for depth, step in enumerate(path[:-1], 1):
            group = group.setdefault(step, {})
            if not isinstance(group, dict):
                raise self.error(path[:depth], "this is not a group of keys, so nothing can be set inside it")
        group[path[-1]] = value
        self.places = {known: where for known, where in self.places.items() if known[: len(path)] != path}
        self.places[path] = place

    def remove(self, path: At) -> None:
        """Drop a value, if it is there."""
        group = self.values
        for step in path[:-1]:
            group = group.get(step) if isinstance(group, dict) else None
        if isinstance(group, dict):
            group.pop(path[-1], None)

    def error(self, path: At, message: object) -> UserError:
        """The mistake at `path`, with its file, line, key and value."""
        place = self.place(path)
        keys = [step for step in path if isinstance(step, str)]
        if not keys or place.startswith("--set"):  # that place shows key and value itself
            return UserError(f"{place}: {message}")
        try:
            value = self.get(path)
        except (KeyError, IndexError, TypeError):
            return UserError(f"{place}: {keys[-1]}: {message}")
        return UserError(f"{place}: '{keys[-1]}: {_shown(value)}': {message}", key=keys[-1])


def read(path: Path) -> Document:
    """The file's values.

    Raises:
        UserError: it cannot be read, is not YAML, is not a mapping, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file{_others(path)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return _document(text, path)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(path, text, error) from None
    except yaml.YAMLError as error:  # an unprintable character: it has a position, but no line
        raise UserError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None


def parse_value(text: str, place: str) -> Any:
    """A YAML value that was given on the command line."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"{place}: '{text}' is not a YAML value") from None


def _document(text: str, path: Path) -> Document:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise UserError(f"{path}: the file is empty")
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}:{_line(root)}: a sweep file is a mapping of keys such as 'settings:' and 'grid:'")
        places: dict[At, str] = {(): str(path)}
        return Document(_plain(loader, root, (), path, places), places, path.parent)
    finally:
        loader.dispose()


def _plain(loader: yaml.SafeLoader, node: yaml.Node, at: At, file: Path, places: dict[At, str]) -> Any:
    """The node as plain Python, with the line of everything in it noted in `places`."""
    if at:
        places[at] = f"{file}:{_line(node)}"
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, child, (*at, i), file, places) for i, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    values: dict[str, Any] = {}
    for key_node, child in node.value:
        key = key_node.value
        where = f"{file}:{_line(key_node)}"
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
            shown = key if isinstance(key, str) else "a list or mapping"
            raise UserError(f"{where}: {shown}: a key must be plain text")
        if key in values:
            raise UserError(
                f"{where}: {key}: given twice, first in line {places[(*at, key)].rpartition(':')[2]}", key=key
            )
        values[key] = _plain(loader, child, (*at, key), file, places)
        places[(*at, key)] = where  # a block's own mark is its first line below the key
    return values


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _syntax_error(path: Path, text: str, error: yaml.MarkedYAMLError) -> UserError:
    mark = error.problem_mark or error.context_mark
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    hint = "; indent with spaces, YAML allows no tabs" if "\t" in line[: mark.column + 1] else ""
    shown = f": '{line.strip()[:SHOWN]}'" if line.strip() else ""
    return UserError(f"{path}:{mark.line + 1}{shown}: not YAML: {error.problem}{hint}")


def _others(path: Path) -> str:
    """The sweep files that do lie where one was looked for."""
    others = sorted(other.name for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"; {path.parent} has {', '.join(others)}" if others else ""


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "…"
    text = "" if value is None else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
