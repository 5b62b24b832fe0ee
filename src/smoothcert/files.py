"""Files: regular ones are read whole, and all are written whole or not at all; their names."""

import errno
import os
import secrets
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from smoothcert.errors import InvalidInput, SmoothcertError, StoreError, did_you_mean

_MOST_NEIGHBOURS = 10_000


def require_regular(path: Path, most: int, error: type[SmoothcertError]) -> None:
    """Raise `error` for a device, a pipe (which would block) or more than `most` bytes.

    Raises:
        OSError: the path does not exist, or cannot be inspected.
    """
    facts = path.stat()
    if not S_ISREG(facts.st_mode):
        raise error(f"{path} is not a regular file, so it is not read. Give a regular file.")
    if facts.st_size > most:
        raise error(
            f"{path} has {facts.st_size} bytes; the limit for such a file is {most}. Check that "
            "it is the file you meant, or split it."
        )


def require_new_file(path: Path, overwrite: bool = False) -> None:
    """Raise InvalidInput for a path that exists, unless it is a file that may be replaced."""
    require_outside_runs(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder. Give a file name.")
    if os.path.lexists(path) and not overwrite:
        raise InvalidInput(
            f"{path} already exists. Give another name, or --overwrite (in Python "
            "overwrite=True) to replace it."
        )


def run_around(path: Path) -> Path | None:
    """The run directory that contains a path, if any."""
    for folder in path.absolute().parents:
        if all((folder / name).is_file() for name in ("run.json", "inputs.parquet")):
            return folder
    return None


def require_outside_runs(path: Path) -> None:
    """Raise InvalidInput for a path inside a run, of which `verify` knows every file."""
    if (run := run_around(path)) is not None:
        raise InvalidInput(
            f"{path} is inside the run {run}, and `verify` reports files added to a run as "
            "damage. Write somewhere else."
        )


def read_regular(path: Path, most: int, error: type[SmoothcertError]) -> bytes:
    """The bytes of a file that `require_regular` lets pass."""
    require_regular(path, most, error)
    with path.open("rb") as file:
        return file.read(most)


def fingerprint_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in the length used throughout (32 hex digits)."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()[:32]


def similar(path: Path) -> str:
    """The end of a message about a missing path: similar names in the same folder."""
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
    """Whether operating systems put a file of this name, with slashes, into folders."""
    parts = name.split("/")
    return any(part in _LITTER or part.startswith(_BEGINNINGS) for part in parts)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any instant leaves the old state or the new one.

    Raises:
        StoreError: the disk is full or not writable; nothing is left behind.
    """
    # A unique name: two processes that write the same file must not write into each other's.
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
    """Make a folder and its parents if they do not exist.

    Raises:
        StoreError: the operating system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {path}: {reason(error)}") from error


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error to raise when the operating system refuses to write a file."""
    return StoreError(
        f"Cannot write {path}: {reason(error)}. Free some space or fix the permissions, and run "
        "again; finished blocks of a run are kept, and --resume continues from them."
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
        return  # a disk that cannot be written to cannot be cleaned either


def reason(error: OSError) -> str:
    """Why the operating system refused, in words."""
    return "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure, where folders can be synced; or raise StoreError."""
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
            f"Cannot sync {folder}: {reason(error)}. Free some space or check the disk, and run "
            "again with --resume."
        ) from error
