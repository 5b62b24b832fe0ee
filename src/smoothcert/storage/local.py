"""A run in a local folder."""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smoothcert.errors import StoreError
from smoothcert.files import (
    ASIDE,
    cannot_write,
    is_litter,
    read_regular,
    reason,
    require_outside_runs,
    run_around,
    similar,
    sync_folder,
    write_whole,
)
from smoothcert.storage.base import occupied

_OWN_FOLDER = (
    "A run creates its own folder in one step. Choose a new folder inside it, such as `run`."
)


def no_run(path: Path) -> str:
    """Why there is no run at a path, and where one is."""
    around = run_around(path)
    if around is not None and path.exists():
        return f"it is inside one. Did you mean {os.path.relpath(around)!r}?"
    if path.is_file():
        return "it is a file"
    with suppress(OSError):
        if below := sorted(str(one.parent) for one in path.glob("*/run.json"))[:3]:
            return f"it has no run.json. Runs in it are {', '.join(map(repr, below))}"
    return f"it has no run.json{'' if path.is_dir() else similar(path)}"


@dataclass(frozen=True)
class LocalFolder:
    """See `Storage`."""

    path: Path

    def __str__(self) -> str:
        """The path as given."""
        return str(self.path)

    @property
    def name(self) -> str:
        """See `Storage`."""
        return self.path.resolve().name

    @property
    def occupied(self) -> bool:
        """See `Storage`."""
        path = self.path
        if not path.is_dir():
            return path.exists()
        return any(not is_litter(one.name) for one in path.iterdir())

    def require_unused(self, resumes: bool = True) -> None:
        """See `Storage`."""
        require_outside_runs(self.path)
        if self.occupied:
            if not self.path.is_dir():
                raise StoreError(f"{self} is a file, but a run is a folder. Choose another --out.")
            raise occupied(self, resumes)
        if self.path.is_dir() and self.path.samefile("."):
            raise StoreError(f"{self} is the current folder. {_OWN_FOLDER}")

    def uri_of(self, name: str) -> str:
        """See `Storage`."""
        return str(self.path / name)

    def exists(self, name: str) -> bool:
        """See `Storage`."""
        return (self.path / name).exists()

    def files(self, folder: str = "") -> list[str]:
        """See `Storage`."""
        found = (path for path in (self.path / folder).rglob("*") if not path.match(ASIDE))
        names = (path.relative_to(self.path).as_posix() for path in found if path.is_file())
        return sorted(name for name in names if not is_litter(name))

    def read(self, name: str, most: int) -> bytes:
        """See `Storage`."""
        path = self.path / name
        try:
            return read_regular(path, most, StoreError)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(str(path)) from error
        except (OSError, ValueError) as error:
            why = os.strerror(error.errno or errno.EIO) if isinstance(error, OSError) else error
            raise StoreError(
                f"{path} cannot be read: {why}. Check disk and permissions."
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        path = self.path / name
        try:
            if not path.parent.is_dir():  # copies may lack empty folders
                path.parent.mkdir(exist_ok=True)
                sync_folder(self.path)
        except OSError as error:
            raise cannot_write(path, error) from error
        write_whole(path, data)

    def remove(self, name: str) -> None:
        """See `Storage`."""
        try:
            (self.path / name).unlink(missing_ok=True)  # another process may have removed it
        except OSError as error:
            raise StoreError(f"Cannot remove {self.path / name}: {reason(error)}") from error

    def create(self, files: Iterable[tuple[str, bytes]]) -> None:
        """See `Storage`."""
        path = self.path
        self.require_unused()
        # A unique name, as another process may be starting the same run.
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        try:
            aside.mkdir(parents=True)
            for name, data in files:
                LocalFolder(aside).write(name, data)
            if path.is_dir():
                for one in filter(lambda one: is_litter(one.name), path.iterdir()):
                    one.rename(aside / one.name)
                path.rmdir()
            aside.rename(path)
        except (OSError, StoreError) as error:
            self.require_unused()  # another process was first
            if isinstance(error, StoreError):
                raise
            # It exists, but is a mount point, a link, or in a folder that is not ours.
            inside = f". {_OWN_FOLDER}" if path.is_dir() else ""
            raise StoreError(f"Cannot create {path}: {reason(error)}{inside}") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        sync_folder(path.parent)
        for killed in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
            shutil.rmtree(killed, ignore_errors=True)

    def remove_temporary(self) -> None:
        """See `Storage`."""
        for killed in self.path.rglob(ASIDE):
            with suppress(OSError):  # another process removed it, or the disk is read-only
                killed.unlink()

    def on_disk(self, name: str) -> Path:
        """See `Storage`."""
        return self.path / name
