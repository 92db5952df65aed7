"""The sweep files that come with the package. Their names are enough to run them: ``cissl-sweep cifar10_lt``."""

from pathlib import Path

import cissl
from cissl.errors import UserError, nearest

FOLDER = Path(cissl.__file__).parent / "sweeps"  # a link to sweeps/ in a checkout, files in an installed package


def names() -> list[str]:
    """Names of the shipped sweeps, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def locate(given: Path) -> Path:
    """The sweep file that somebody means.

    Args:
        given: a path, or the name of a shipped sweep. A file of the user's own comes first.

    Returns:
        The path of a shipped file for its name; every other path as it is, whether there is such a file or not.

    Raises:
        UserError: a path without a name, as an empty argument is, or a bare name without suffix that is neither a
            file nor a shipped sweep.
    """
    if not given.name:
        raise UserError(
            "SWEEP is empty, or a folder; name a sweep file, or one that comes with cissl: " + ", ".join(names())
        )
    is_bare_name = given.suffix == "" and given.name == str(given)
    if given.exists() or not is_bare_name:
        return given
    if given.name not in names():
        raise UserError(f"{given}: there is neither such a file nor a shipped sweep{nearest(given.name, names())}")
    return FOLDER / f"{given}.yaml"
