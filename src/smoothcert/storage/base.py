"""Where the files of a run are: in a local folder, or under a prefix of an object store.

A run reads and writes through this interface alone, so everything above it is the same wherever a
run is. A file is complete or absent, whatever happens while it is written.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from smoothcert.errors import StoreError

MOST_BYTES = 2**31
"""Size limit of a run's file, packed or not: a block is megabytes, a Parquet page is smaller."""


class Storage(Protocol):
    """A folder of files; `str` gives it as the user did. Names are relative, with slashes.

    Every method raises StoreError if the disk or the store fails.
    """

    @property
    def name(self) -> str:
        """The last part of its location."""
        ...

    @property
    def occupied(self) -> bool:
        """Whether something is there, so that a run cannot be created."""
        ...

    def require_unused(self, resumes: bool = True) -> None:
        """Check that a new run can go there.

        Args:
            resumes: whether the caller could also resume what is there, for the message.

        Raises:
            StoreError: the place is not empty.
            InvalidInput: it is inside another run.
        """
        ...

    def uri_of(self, name: str) -> str:
        """A file as the user would give it."""
        ...

    def exists(self, name: str) -> bool:
        """Whether a file exists."""
        ...

    def files(self, folder: str = "") -> list[str]:
        """The sorted names of all complete files, or of a folder's; without `is_litter`."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """A file; FileNotFoundError if there is none, StoreError if it has more than `most` bytes.

        Devices, pipes and other special files are not read.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file: a crash at any instant leaves the old state or the new one."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        ...

    def create(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Write all files of a new run, which appears when it is complete.

        Args:
            files: names and contents, run.json last. If it raises, nothing is left behind.

        Raises:
            StoreError: the place is not empty, or cannot be written.
        """
        ...

    def remove_temporary(self) -> None:
        """Remove what killed processes left half-written."""
        ...

    def on_disk(self, name: str) -> Path:
        """A file for libraries that read local paths: itself, or a copy."""
        ...


def occupied(where: Storage, resumes: bool) -> StoreError:
    """The error of a place where something is; see `Storage.require_unused`."""
    resume = "Pass --resume to continue a run there, or choose" if resumes else "Choose"
    return StoreError(f"{where} already exists and is not empty. {resume} another --out.")
