"""Where the files of a run are: in a local folder, or under a prefix of an object store.

A run reads and writes through this interface alone, so everything above it is the same wherever a
run is. A file is complete or absent, whatever happens while it is written.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from smoothcert.errors import InvalidInput, StoreError
from smoothcert.files import require_outside_runs

MOST_BYTES = 2**31
"""Size limit of a run's file, packed or not: a block is megabytes, a Parquet page is smaller."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


A_FOLDER_OF_ITS_OWN = (
    "A run creates its own folder in one step. Choose a new folder inside it, such as `run`."
)


class Storage(Protocol):
    """A folder of files; `str` is the user's text for it. Names are relative, with slashes.

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

        Only regular files are read.
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


def open_storage(where: "Storage | Path | str") -> Storage:
    """Open the storage that a path or a URI names.

    Args:
        where: a path; or `s3://bucket/folder`, `gs://...`, `abfs://...`, `hdfs://...`, with
            pyarrow's options after a question mark.

    Raises:
        InvalidInput: a URI that cannot be used, or that contains a password.
    """
    from smoothcert.storage.local import LocalFolder

    if not isinstance(where, Path | str):
        if not hasattr(where, "remove_temporary"):
            raise InvalidInput(f"A run must be given as a path or URI; got {type(where).__name__}")
        return where
    if not _URI.match(str(where)):
        return LocalFolder(Path(where))
    if isinstance(where, Path):
        raise InvalidInput(f"{where} is a URI turned into a path. Give the URI as text.")
    if urlsplit(where).scheme.lower() == "file":
        return LocalFolder(Path(url2pathname(urlsplit(where).path)))
    from smoothcert.storage.object_store import ObjectStore

    return ObjectStore.parse(where)


def require_unused(where: Storage, resumes: bool = True) -> None:
    """Raise StoreError if a new run cannot be created because the place is not empty.

    Args:
        where: the place.
        resumes: whether the caller could resume a run there.

    Raises:
        StoreError: the place is not empty.
        InvalidInput: it is inside another run.
    """
    from smoothcert.storage.local import LocalFolder

    if isinstance(where, LocalFolder):
        require_outside_runs(where.path)
    if where.occupied:
        if isinstance(where, LocalFolder) and not where.path.is_dir():
            raise StoreError(f"{where} is a file, but a run is a folder. Choose another --out.")
        resume = "Pass --resume to continue a run there, or choose" if resumes else "Choose"
        raise StoreError(f"{where} already exists and is not empty. {resume} another --out.")
    if isinstance(where, LocalFolder) and where.path.is_dir() and where.path.samefile("."):
        raise StoreError(f"{where} is the current folder. {A_FOLDER_OF_ITS_OWN}")
