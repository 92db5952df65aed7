"""A YAML file that knows for each of its values in which line it was written."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cissl.errors import UserError
from cissl.tuning import scalars
from cissl.tuning.mistakes import Mistakes

At = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""

SHOWN = 60  # characters of a value that an error message repeats
MOST_VALUES = 100_000
MERGE = "<<"
BASE = "base"
FLAG = "--set "  # the place of a value from the command line begins with this


@dataclass
class Document:
    """Plain dicts, lists and scalars, and where each of them was written.

    Attributes:
        values: the file's content.
        places: path of a value → ``file.yaml:12``, or ``--set key=value``; the empty path → the file.
        folder: the file's folder; names of other files in it are relative to this.
        written: the file's text.
        based: whether some values come from another file.
    """

    values: dict[str, Any]
    places: dict[At, str] = field(default_factory=dict)
    folder: Path = Path()
    written: str = ""
    based: bool = False

    def place(self, path: At) -> str:
        """Where the value at `path` was written; if that is not known, where the group around it was."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def get(self, path: At) -> Any:
        """The value at `path`.

        Raises:
            KeyError, IndexError, TypeError: there is none.
        """
        value: Any = self.values
        for step in path:
            value = value[step]
        return value

    def put(self, path: At, value: Any, place: str) -> None:
        """Replace or add a value; groups on the way to it are made.

        Args:
            path: where to put it.
            value: the value.
            place: where it was given, for messages.

        Raises:
            UserError: a value on the way is not a group.
        """
        group: Any = self.values
        for depth, step in enumerate(path[:-1], 1):
            group = group.setdefault(step, {})
            if not isinstance(group, dict):
                raise self.error(path[:depth], "this is not a group of keys, so nothing can be set inside it")
        group[path[-1]] = value
        self.places = {known: where for known, where in self.places.items() if known[: len(path)] != path}
        self.places[path] = place

    def remove(self, path: At) -> None:
        """Remove a value, if there is one at `path`."""
        group: Any = self.values
        for step in path[:-1]:
            group = group.get(step) if isinstance(group, dict) else None
        if isinstance(group, dict):
            group.pop(path[-1], None)

    def text(self) -> str:
        """The file's text. If values were put in or came from a base, YAML that gives the same values."""
        changes = [" ".join(place.split()) for place in dict.fromkeys(self.places.values()) if place.startswith(FLAG)]
        if not changes and not self.based:
            return self.written
        values = yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True, width=120)
        return f"# {' with '.join([self.places[()], *([' '.join(changes)] if changes else [])])}\n\n{values}"

    def error(self, path: At, message: object) -> UserError:
        """The error to raise for a mistake at `path`; its message names file, line, key and value."""
        place = self.place(path)
        keys = [step for step in path if isinstance(step, str)]
        if not keys or place.startswith(FLAG):  # this place shows key and value already
            return UserError(f"{place}: {message}")
        try:
            value = self.get(path)
        except (KeyError, IndexError, TypeError):
            return UserError(f"{place}: {keys[-1]}: {message}")
        return UserError(f"{place}: '{keys[-1]}: {_shown(value)}': {message}", key=keys[-1])


def read(path: Path) -> Document:
    """Read a file. Its values replace those of the file that it names as its `base`.

    Raises:
        UserError: the file or its base cannot be read, is not YAML, is not a mapping, gives a key twice, or has a word
            that YAML reads in an unexpected way.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> Document:
    source = _read_alone(path)
    base = source.values.pop(BASE, None)
    if base is None:
        return source
    if not isinstance(base, str):
        raise UserError(f"{source.place((BASE,))}: {BASE} is the path of another sweep file")
    below = (path.parent / Path(base).expanduser()).resolve()
    if below in (*above, path.resolve()):
        raise UserError(f"{source.place((BASE,))}: {BASE}: {base} is based on this file itself")
    return _on(_read(below, (*above, path.resolve())), source)


def _on(base: Document, source: Document) -> Document:
    """A file's values on top of its base's. A setting in the file replaces the base's, in settings and in the grid."""
    values = dict(base.values)
    places: dict[At, str] = {at: place for at, place in base.places.items() if at}
    values.pop("name", None)  # two sweeps of one name would share a folder
    given = {name for group in ("settings", "grid") for name in source.values.get(group) or ()}
    for key, value in source.values.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key] = {**values[key], **value}
            replaced: list[At] = [(key, name) for name in value]
        else:
            values[key], replaced = value, [(key,)]
        places = {at: place for at, place in places.items() if at[:2] not in replaced and at[:1] not in replaced}
    for group in ("settings", "grid"):
        if isinstance(values.get(group), dict):
            own = source.values.get(group) or {}
            values[group] = {name: value for name, value in values[group].items() if name in own or name not in given}
    return Document(values, {**places, **source.places}, source.folder, source.written, based=True)


def _read_alone(path: Path) -> Document:
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
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path}:{line}: not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None


def parse_value(text: str, place: str) -> Any:
    """A value from the command line, read as in a file.

    Args:
        text: YAML, such as ``0.03`` or ``[1, 2]``.
        place: where it was given, for messages.

    Raises:
        UserError: it is not YAML, or YAML reads something in it in an unexpected way.
    """
    try:
        with _loader(text) as loader:
            root = loader.get_single_node()
            return None if root is None else _Values(lambda node: place, {}).of(root)
    except (yaml.YAMLError, RecursionError):
        raise UserError(f"{place}: '{_shown(text)}' is not a YAML value") from None


class _Loader(yaml.SafeLoader):
    """Gives every word without quotes the same tag; only `scalars` decides what it means."""

    yaml_implicit_resolvers: dict[str, Any] = {}


WORD = "!word"
TEXT, LIST, MAPPING = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
_Loader.add_implicit_resolver(WORD, re.compile(""), None)


@contextlib.contextmanager
def _loader(text: str) -> Iterator[_Loader]:
    loader = _Loader(text)
    try:
        yield loader
    finally:
        loader.dispose()


def _document(text: str, path: Path) -> Document:
    with _loader(text) as loader:
        root = loader.get_single_node()
        if root is None:
            raise UserError(f"{path}: the file is empty")
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}:{_line(root)}: a sweep file is a mapping of keys such as 'settings:' and 'grid:'")
        places: dict[At, str] = {(): str(path)}
        return Document(_Values(lambda node: f"{path}:{_line(node)}", places).of(root), places, path.parent, text)


class _Values:
    """Converts YAML's nodes to plain Python values.

    Args:
        where: gives the place of a node, for messages.
        places: path of a value → its place; filled on the way.
    """

    def __init__(self, where: Callable[[yaml.Node], str], places: dict[At, str]):
        self.where, self.places = where, places
        self._mistakes = Mistakes()
        self._count = 0

    def of(self, root: yaml.Node) -> Any:
        """The value of the whole document.

        Raises:
            UserError: all mistakes in it, one in a line.
        """
        value = self._value(root, ())
        self._mistakes.tell()
        return value

    def _value(self, node: yaml.Node, at: At) -> Any:
        if at:
            self.places[at] = self.where(node)
        self._count += 1
        if self._count > MOST_VALUES:  # ten lines with aliases of aliases can stand for billions of values
            raise UserError(f"{self.where(node)}: more than {MOST_VALUES} values")
        if node.tag not in (WORD, TEXT, LIST, MAPPING):
            self._note(node, at, f"the tag {_shown_tag(node.tag)} has no meaning here; leave it out")
        elif isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*at, i)) for i, child in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        elif node.tag == TEXT:
            return node.value
        else:
            try:
                return scalars.read(node.value)
            except ValueError as error:
                self._note(node, at, error)
        return None

    def _mapping(self, node: yaml.MappingNode, at: At) -> dict[str, Any]:
        values = self._merged(node, at)
        own: set[str] = set()
        for key_node, child in node.value:
            key = None if _merges(key_node) else self._key(key_node)
            if key is None:
                continue
            if key in own:
                first = self.places[(*at, key)].rpartition(":")[2]
                self._mistakes.add(
                    UserError(f"{self.where(key_node)}: {key}: given twice, first in line {first}", key=key)
                )
                continue
            own.add(key)
            for inside in [path for path in self.places if path[: len(at) + 1] == (*at, key)]:
                del self.places[inside]  # a merged value was here, and this one replaces it
            values[key] = self._value(child, (*at, key))
            self.places[(*at, key)] = self.where(key_node)  # a block's own mark is the line below its key
        return values

    def _merged(self, node: yaml.MappingNode, at: At) -> dict[str, Any]:
        """The values that ``<<: *name`` adds. If several mappings have a key, the first mapping counts."""
        values: dict[str, Any] = {}
        for key_node, child in node.value:
            if not _merges(key_node):
                continue
            children = child.value if isinstance(child, yaml.SequenceNode) else [child]
            for mapping in reversed(children):
                if isinstance(mapping, yaml.MappingNode):
                    values |= self._mapping(mapping, at)
                else:
                    message = f"{self.where(key_node)}: {MERGE}: what is merged is a mapping, such as *name"
                    self._mistakes.add(UserError(message))
        return values

    def _key(self, node: yaml.Node) -> str | None:
        """The text of a key; None after a mistake, which is noted."""
        if isinstance(node, yaml.ScalarNode) and node.tag in (WORD, TEXT) and _is_text(node):
            return str(node.value)
        shown = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        self._mistakes.add(UserError(f"{self.where(node)}: {_shown(shown)}: a key must be plain text"))
        return None

    def _note(self, node: yaml.Node, at: At, message: object) -> None:
        key = next((step for step in reversed(at) if isinstance(step, str)), None)
        shown = f"'{key}: {_shown(node.value)}': " if key and isinstance(node.value, str) else f"{key}: " if key else ""
        self._mistakes.add(UserError(f"{self.where(node)}: {shown}{message}", key=key))


def _is_text(node: yaml.ScalarNode) -> bool:
    """Whether a word is text, and not a number or another value."""
    if node.tag == TEXT:
        return True
    try:
        return isinstance(scalars.read(node.value), str)
    except ValueError:
        return False


def _merges(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == MERGE and node.tag == WORD


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax_error(path: Path, text: str, error: yaml.MarkedYAMLError) -> UserError:
    mark = error.problem_mark or error.context_mark
    assert mark is not None, "PyYAML marks where a document breaks its syntax"
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    hint = "; indent with spaces, YAML allows no tabs" if "\t" in line[: mark.column + 1] else ""
    shown = f": '{line.strip()[:SHOWN]}'" if line.strip() else ""
    return UserError(f"{path}:{mark.line + 1}{shown}: not YAML: {error.problem}{hint}")


def _shown_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _others(path: Path) -> str:
    """The other sweep files in the folder of a missing one, as the end of a message."""
    others = sorted(other.name for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"; {path.parent} has {', '.join(others)}" if others else ""


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "…"
    text = "" if value is None else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
