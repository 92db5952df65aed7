"""Measure how many public definitions of a package have a docstring, with shapes and with raised errors.

    python docs/docstring_shares.py cissl
    python docs/docstring_shares.py /path/to/site-packages/lightly

The script counts the public classes and functions of modules, and the public methods of public classes. It leaves out
names that begin with an underscore, and definitions inside functions. It parses files and does not import them, so it
can measure any package.

docstring   share of the definitions with a docstring
shapes      among the definitions whose annotations name arrays: share whose docstring gives a shape or a dtype
raises      among the definitions whose body raises: share whose docstring says which errors. Assertions, and
            NotImplementedError of an abstract method, do not count

`all` gives the last two as shares of all public definitions. The docstring of a class includes those of its
constructor and those below its fields.
"""

import argparse
import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
ARRAYS = re.compile(r"\b(Tensor|ndarray|\w*Array|ArrayLike)\b")  # also an alias, such as FloatArray
EXTENT = r"(?:[\w.…]+(?: ?[·*+/−-] ?[\w.]+)*)"  # of one axis: N, 3, batch_size, N + 1
MARK = r"\b[A-Z]\d?\b|\b\d+\b|_|\bn\b|…|\.\.\."  # at least one extent that no prose in brackets would have
SHAPE = re.compile(
    rf"\({EXTENT},\)|\((?=[^()]*(?:{MARK})){EXTENT}(?:, {EXTENT})+\)"  # (N,), (N, C, H, W)
    r"|\bshapes?\b|\bscalars?\b|\bu?int\d+\b|\bfloat\d+\b"
)
RAISES = re.compile(r"^\s*(?:Raises|:raises?\b.*):?", re.M)
ABSTRACT = ("NotImplementedError", "AssertionError", "StopIteration")


@dataclass(frozen=True)
class Counts:
    """What was counted in a package.

    Attributes:
        definitions: number of public definitions.
        documented: those with a docstring.
        arrays: those whose annotations name arrays.
        shaped: those of `arrays` whose docstring gives a shape or dtype.
        shaped_at_all: all definitions whose docstring gives a shape or dtype.
        raising: those whose body raises.
        told: those of `raising` whose docstring says so.
        told_at_all: all definitions whose docstring names raised errors.
    """

    definitions: int
    documented: int
    arrays: int
    shaped: int
    shaped_at_all: int
    raising: int
    told: int
    told_at_all: int


def count(folder: Path) -> Counts:
    """Count in all files below a folder.

    Raises:
        SyntaxError: a file is not valid Python.
    """
    found = [
        definition
        for path in sorted(folder.rglob("*.py"))
        for definition in public(ast.parse(path.read_text(encoding="utf-8")).body)
    ]
    arrays, raising = [one for one in found if handles_arrays(one)], [one for one in found if raises(one)]
    return Counts(
        definitions=len(found),
        documented=sum(bool(text(one)) for one in found),
        arrays=len(arrays),
        shaped=sum(gives_shape(one) for one in arrays),
        shaped_at_all=sum(gives_shape(one) for one in found),
        raising=len(raising),
        told=sum(says_what_it_raises(one) for one in raising),
        told_at_all=sum(says_what_it_raises(one) for one in found),
    )


def public(body: list[ast.stmt]) -> Iterator[Definition]:
    """Public classes and functions of a module or class, and those inside the classes."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def text(definition: Definition) -> str:
    """The docstring. For a class it includes those of the constructor, and those below the fields."""
    own = ast.get_docstring(definition) or ""
    if isinstance(definition, ast.ClassDef):
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                own += f"\n{ast.unparse(below)}"
        inits = [node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        own += "".join(ast.get_docstring(node) or "" for node in inits)
    return own


def handles_arrays(definition: Definition) -> bool:
    """Whether an annotation of a function, or of the fields or constructor of a class, names an array."""
    if isinstance(definition, ast.ClassDef):
        fields = [node.annotation for node in definition.body if isinstance(node, ast.AnnAssign)]
        inits = [node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        annotations = [*fields, *(one for init in inits for one in annotated(init))]
    else:
        annotations = annotated(definition)
    return any(ARRAYS.search(ast.unparse(annotation)) for annotation in annotations)


def annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    """The annotations of a function's arguments and result."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    found = [argument.annotation for argument in arguments] + [function.returns]
    return [annotation for annotation in found if annotation is not None]


def raises(definition: Definition) -> bool:
    """Whether a function, or the constructor of a class, raises an error. Errors of abstract methods do not count."""
    if isinstance(definition, ast.ClassDef):
        return any(
            isinstance(node, ast.FunctionDef) and node.name in ("__init__", "__post_init__") and raises(node)
            for node in definition.body
        )
    statements = [node for node in ast.walk(definition) if isinstance(node, ast.Raise) and node.exc is not None]
    return any(not ast.unparse(node.exc).startswith(ABSTRACT) for node in statements)


def gives_shape(definition: Definition) -> bool:
    """Whether the docstring gives a shape or a dtype."""
    return bool(SHAPE.search(text(definition)))


def says_what_it_raises(definition: Definition) -> bool:
    """Whether the docstring has a section on errors."""
    return bool(RAISES.search(text(definition)))


def folder_of(package: str) -> Path:
    """The folder of a package, from its path or its name.

    Raises:
        SystemExit: there is no such package.
    """
    if Path(package).is_dir():
        return Path(package)
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{package}: there is neither such a folder nor such an installed package")
    return Path(spec.submodule_search_locations[0])


def main() -> None:
    """Print the shares of the packages that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", default=["cissl"], help="names or folders [cissl]")
    columns = ("public", "docstring", "shapes", "raises", "shapes/all", "raises/all")
    print(f"{'package':<24}" + "".join(f"{column:>12}" for column in columns))
    for package in parser.parse_args().packages:
        found = count(folder_of(package))
        parts = [
            (found.documented, found.definitions),
            (found.shaped, found.arrays),
            (found.told, found.raising),
            (found.shaped_at_all, found.definitions),
            (found.told_at_all, found.definitions),
        ]
        shares = "".join(f"{100 * part / whole if whole else 100:>10.0f} %" for part, whole in parts)
        print(f"{Path(package).name:<24}{found.definitions:>12}{shares}")


if __name__ == "__main__":
    main()
