"""Files that are either whole or not there: written aside, synced, renamed."""

import errno
import os
import secrets
from pathlib import Path

from smoothcert.errors import StoreError

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
