"""The user's own code: a method or a backbone, named as ``file.py:Name`` or ``package.module:Name``.

Only the text of a file counts, not the folder that it is in: the text is kept beside the results and sent to every
machine, and its SHA-256 is recorded. So a process first *registers* a file, and then finds it by its name alone.
"""

import ast
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import linecache
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from cissl.errors import ContractError, UserError, nearest

SUFFIX = ".py"


@dataclasses.dataclass(frozen=True)
class Source:
    """A user's file.

    Attributes:
        name: the file's name without its folder, such as ``ours.py``; settings use it.
        text: the file's text.
        path: where the file was read, for messages.
    """

    name: str
    text: str
    path: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


_sources: dict[str, Source] = {}
_modules: dict[tuple[str, str], ModuleType] = {}
_installed_files: set[str] = set()  # of modules that hold a user's own code


def is_plugin(name: str) -> bool:
    """Whether a name means the user's own code, such as ``ours.py:Ours``, ``mylab.ours:Ours`` or ``ours.py``."""
    return ":" in name or name.strip().endswith(SUFFIX)


def split(name: str) -> tuple[str, str]:
    """The two parts of a name, such as ``("ours.py", "Ours")``.

    Folders of a file are left out, since they differ between machines.

    Raises:
        UserError: there is no name of a class after the colon.
    """
    where, what = _file_and_class(name)
    file = Path(where).name if where.endswith(SUFFIX) else where
    if not where or not what.isidentifier():
        found = _own_classes(file) if where.endswith(SUFFIX) else []
        choice = f"; it has {', '.join(f'{file}:{each}' for each in found)}" if found else ""
        raise UserError(f"'{name}': write file.py:Name or package.module:Name, with the name of a class{choice}")
    return file, what


def _file_and_class(name: str) -> tuple[str, str]:
    """The parts before and after the last colon; the name of a file alone has an empty second part."""
    where, colon, what = name.rpartition(":")
    return (where.strip(), what.strip()) if colon or not is_plugin(name) else (what.strip(), "")


def _own_classes(file: str) -> list[str]:
    """Names of the methods and networks that a user's file defines."""
    module = _module_of_file(file)
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    return [each.__name__ for each in own if hasattr(each, "kind") or hasattr(each, "forward")]


def register(name: str, folder: Path) -> None:
    """Read and register the file of a name. An importable module needs no file, nor does a file that is registered.

    Args:
        name: such as ``ours.py:Ours``.
        folder: the file's path is relative to this.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    where, _ = _file_and_class(name)
    if not where.endswith(SUFFIX):
        return
    path = folder / Path(where).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path.name in _sources:
            return
        beside = sorted(other.name for other in path.parent.glob(f"*{SUFFIX}")) if path.parent.is_dir() else []
        raise UserError(f"{path}: there is no such file{nearest(path.name, beside) if beside else ''}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    add_source(Source(path.name, text, str(path)))


def register_all(texts: Iterable[str], folder: Path) -> None:
    """Register the files in the names of algorithms and backbones.

    Args:
        texts: the names; sums such as ``fixmatch+ours.py:Ours`` too.
        folder: the files' paths are relative to this.

    Raises:
        UserError: see `register`.
    """
    for part in (part.strip() for text in texts for part in text.split("+")):
        if is_plugin(part):
            register(part, folder)


def add_source(source: Source) -> None:
    """Register a file under its name. It replaces a registered file of the same name."""
    _sources[source.name] = source


def sources(names: Iterable[str]) -> list[Source]:
    """The registered files of some names, each once. Names of installed modules are left out.

    Raises:
        UserError: see `split`.
    """
    files = dict.fromkeys(split(name)[0] for name in names if is_plugin(name))
    return [_sources[file] for file in files if file in _sources]


def load(name: str) -> Any:
    """The class of a name.

    Raises:
        UserError: there is no such file or module, it does not run, or it has no such class; with file and line of the
            mistake.
    """
    where, what = split(name)
    module = _module_of_file(where) if where.endswith(SUFFIX) else _installed(where)
    found = getattr(module, what, None)
    if found is None:
        names = [key for key, value in vars(module).items() if isinstance(value, type) and not key.startswith("_")]
        raise UserError(f"{where} has no class '{what}'{nearest(what, names) if names else ''}")
    return found


def entry_points(group: str) -> Mapping[str, str]:
    """Name → ``module:Name`` for all entry points of installed packages in a group such as ``cissl.methods``."""
    return {point.name.lower(): point.value for point in importlib.metadata.entry_points(group=group)}


def _installed(module: str) -> ModuleType:
    try:
        found = importlib.import_module(module)
    except (ImportError, TypeError) as error:  # TypeError: a name of dots, as in a relative import
        raise UserError(
            f"cannot import {module}: {error}; install its package, or name a file as file.py:Name"
        ) from None
    except (Exception, SystemExit) as error:
        raise UserError(f"cannot import {module}: {type(error).__name__}: {error}") from error
    if not module.startswith("cissl.") and found.__file__:
        _installed_files.add(found.__file__)
    return found


def _module_of_file(file: str) -> ModuleType:
    if file not in _sources:
        register(f"{file}:_", Path.cwd())
    source = _sources[file]
    key = (source.name, source.sha256)
    if key not in _modules:
        _modules[key] = _execute(source)
    return _modules[key]


def _execute(source: Source) -> ModuleType:
    """The file as a module. Its name contains the hash, so that two versions of a file can be in one process."""
    name = f"cissl_plugin_{source.name.removesuffix(SUFFIX)}_{source.sha256[:8]}"
    module = ModuleType(name)
    module.__file__ = source.path
    sys.modules[name] = module  # dataclasses look their module up
    # Tracebacks show the text that runs here, even if the file has changed or is on another machine.
    linecache.cache[source.path] = (len(source.text), None, source.text.splitlines(keepends=True), source.path)
    try:
        exec(compile(source.text, source.path, "exec"), vars(module))
    except (Exception, SystemExit) as error:  # the user's script may call sys.exit
        del sys.modules[name]
        raise UserError(f"{place_of(error) or source.path}: {type(error).__name__}: {error}") from error
    return module


def place_of(error: BaseException) -> str | None:
    """``file:line`` of the innermost line of the user's own code that an error passed through; None without any."""
    if isinstance(error, ContractError) and error.place:
        return error.place
    places = _files()
    if isinstance(error, SyntaxError) and error.filename in places:
        return f"{error.filename}:{error.lineno}"
    place, trace = None, error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file in places:
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def place_now() -> str | None:
    """``file:line`` of the innermost line of the user's own code that runs now; None if none runs."""
    places = _files()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename not in places:
        frame = frame.f_back
    return frame and f"{frame.f_code.co_filename}:{frame.f_lineno}"


def place_of_class(owner: type) -> str | None:
    """``file:line`` where a class of a user's own file begins; None of any other."""
    return place_of_field(owner, "")


def place_of_field(owner: type, name: str) -> str | None:
    """``file:line`` where a class of the user's own code defines a field; None for other classes.

    Args:
        owner: the class.
        name: name of the field.
    """
    source = getattr(sys.modules.get(owner.__module__), "__file__", None)
    if source not in _files():
        return None
    tree = ast.parse("".join(linecache.getlines(source)))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == owner.__name__]
    assigned = [node for cls in classes for node in cls.body if isinstance(node, ast.AnnAssign)]
    lines = [node.lineno for node in assigned if isinstance(node.target, ast.Name) and node.target.id == name]
    return f"{source}:{(lines or [node.lineno for node in classes] or [1])[0]}"


def place_of_code(code: CodeType) -> str | None:
    """``file:line`` where a function of the user's own code begins; None for other functions."""
    return f"{code.co_filename}:{code.co_firstlineno}" if code.co_filename in _files() else None


def _files() -> set[str]:
    """The files of the user's own code, as tracebacks name them."""
    return {source.path for source in _sources.values()} | _installed_files
