"""Files that are read whole (regular, of a size looked at before), or not yet there."""

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from smoothcert.errors import InvalidInput, SmoothcertError, did_you_mean

_MOST_NEIGHBOURS = 10_000


def require_regular(path: Path, most: int, error: type[SmoothcertError]) -> None:
    """Raise `error` for a device, a pipe (which would be waited for) or more than `most` bytes.

    Raises:
        OSError: there is nothing, or it cannot be looked at.
    """
    facts = path.stat()
    if not S_ISREG(facts.st_mode):
        raise error(f"{path} is no regular file, so it is not read. Give one that is.")
    if facts.st_size > most:
        raise error(
            f"{path} has {facts.st_size} bytes; at most {most} of such a file are read. Check "
            "that it is what you meant, or cut it into several."
        )


def require_new_file(path: Path, overwrite: bool = False) -> None:
    """Raise InvalidInput for what is there already, unless it is a file that may be replaced."""
    require_outside_runs(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder. Give the name of a file.")
    if os.path.lexists(path) and not overwrite:
        raise InvalidInput(
            f"{path} is there already. Give another name, or --overwrite (in Python "
            "overwrite=True) to replace it."
        )


def run_around(path: Path) -> Path | None:
    """The run directory that a path is inside of, if it is in one."""
    for folder in path.absolute().parents:
        if all((folder / name).is_file() for name in ("run.json", "inputs.parquet")):
            return folder
    return None


def require_outside_runs(path: Path) -> None:
    """Raise InvalidInput for a path inside a run, of which `verify` knows every file."""
    if (run := run_around(path)) is not None:
        raise InvalidInput(
            f"{path} is inside the run {run}, and `verify` takes what is added to a run for "
            "damage. Write elsewhere."
        )


def read_regular(path: Path, most: int, error: type[SmoothcertError]) -> bytes:
    """The bytes of a file that `require_regular` lets pass."""
    require_regular(path, most, error)
    with path.open("rb") as file:
        return file.read(most)


def similar(path: Path) -> str:
    """The end of a message about a path that is not there: the names beside it that are near."""
    with suppress(OSError, ValueError):
        beside = islice(path.parent.iterdir(), _MOST_NEIGHBOURS)
        return did_you_mean(path.name, (one.name for one in beside if one.name != path.name))
    return ""
