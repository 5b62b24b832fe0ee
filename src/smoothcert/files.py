"""Files: read whole if they are regular, written whole or not at all, and what they are named."""

import errno
import os
import secrets
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from smoothcert.errors import InvalidInput, SmoothcertError, StoreError, did_you_mean

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


ASIDE = ".*.tmp"
"""Files that are being written, or that a killed process left."""


_LITTER = {
    *(".DS_Store", "Thumbs.db", "desktop.ini", ".directory", ".localized"),
    *("__MACOSX", "@eaDir", ".ipynb_checkpoints", ".Spotlight-V100", ".Trashes", ".fseventsd"),
    *("ehthumbs.db", "ehthumbs_vista.db", "Icon\r", ".AppleDouble", ".TemporaryItems", ".dropbox"),
    *(".gitkeep", ".gitattributes", ".gitignore", "$RECYCLE.BIN", "System Volume Information"),
}
_BEGINNINGS = ("._", ".nfs", ".fuse_hidden", ".Trash-", ".goutputstream-", "~$")


def is_litter(name: str) -> bool:
    """Whether systems put a file of this name, with slashes, into folders by themselves."""
    parts = name.split("/")
    return any(part in _LITTER or part.startswith(_BEGINNINGS) for part in parts)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any instant leaves the old state or the new one.

    Raises:
        StoreError: the disk is full or not writable; nothing is left behind.
    """
    # A name of its own: two processes that write the same file must not write into each other's.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _put(aside, path)
    except OSError as error:
        _drop(aside)
        raise cannot_write(path, error) from error
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder, with those above it, if it is not there.

    Raises:
        StoreError: the operating system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {path}: {reason(error)}") from error


def cannot_write(path: Path, error: OSError) -> StoreError:
    """What to raise when the operating system refuses to write a file."""
    return StoreError(
        f"Cannot write {path}: {reason(error)}. Make room or fix the permissions, and run again; "
        "finished blocks of a run are kept, and --resume goes on from them."
    )


def _put(aside: Path, path: Path) -> None:
    try:
        aside.replace(path)
    except FileNotFoundError:
        if not path.exists():  # else another process finished the run, this file too, and swept
            raise


def _drop(aside: Path) -> None:
    try:
        aside.unlink(missing_ok=True)
    except OSError:
        return  # the disk that cannot be written to cannot be tidied either


def reason(error: OSError) -> str:
    """Why the operating system refused, in words."""
    return "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))


def sync_folder(folder: Path) -> None:
    """Make a rename itself survive a power cut, where folders can be synced; or StoreError."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(
            f"Cannot sync {folder}: {reason(error)}. Make room or check the disk, and run again "
            "with --resume."
        ) from error
