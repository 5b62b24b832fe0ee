"""Where the files of a run are: in a folder of this machine, or under a prefix of an object store.

The one interface through which a run reads and writes, so that everything above it is the same
wherever a run is. A file is whole or not there, whatever happens while it is written.
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
"""Of a file of a run, packed or unpacked: a block is megabytes, a Parquet page less than this."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


A_FOLDER_OF_ITS_OWN = (
    "A run makes a folder of its own, and appears whole. Choose one inside, as `run`."
)


class Storage(Protocol):
    """A folder of files; `str` gives it as the user does. Names are relative, with slashes.

    Every method raises StoreError for a disk or a store that does not do what it should.
    """

    @property
    def name(self) -> str:
        """The last part of where it is."""
        ...

    @property
    def occupied(self) -> bool:
        """Whether something is there, so that no run can be created."""
        ...

    def uri_of(self, name: str) -> str:
        """A file as the user would give it."""
        ...

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        ...

    def files(self, folder: str = "") -> list[str]:
        """The names of all whole files, or of those of a folder; sorted; not `is_litter`."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """A file; FileNotFoundError if there is none, StoreError if it has more than `most` bytes.

        What is no regular file is not read.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file: a crash at any instant leaves the old state or the new one."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, unless it is not there."""
        ...

    def create(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Write all files of a new run, which appears when it is whole.

        Args:
            files: names and contents, run.json last. What it raises leaves nothing behind.

        Raises:
            StoreError: something is there already, or it cannot be written.
        """
        ...

    def remove_temporary(self) -> None:
        """Remove what killed processes left half-written."""
        ...

    def on_disk(self, name: str) -> Path:
        """A file for libraries that read paths of this machine: itself, or a copy."""
        ...


def open_storage(where: "Storage | Path | str") -> Storage:
    """The place that a path or a URI names.

    Args:
        where: a path; or `s3://bucket/folder`, `gs://...`, `abfs://...`, `hdfs://...`, with the
            options that pyarrow reads behind a question mark.

    Raises:
        InvalidInput: a URI that cannot be used, or that holds a password.
    """
    from smoothcert.storage.local import LocalFolder

    if not isinstance(where, Path | str):
        if not hasattr(where, "remove_temporary"):
            raise InvalidInput(f"A run is named by its path or URI; got {type(where).__name__}")
        return where
    if not _URI.match(str(where)):
        return LocalFolder(Path(where))
    if isinstance(where, Path):
        raise InvalidInput(f"{where} was a URI before it became a path. Give it as a text.")
    if urlsplit(where).scheme.lower() == "file":
        return LocalFolder(Path(url2pathname(urlsplit(where).path)))
    from smoothcert.storage.object_store import ObjectStore

    return ObjectStore.parse(where)


def require_unused(where: Storage, resumes: bool = True) -> None:
    """Raise StoreError if a new run cannot go there because something is there already.

    Args:
        where: the place.
        resumes: whether who asks could go on from what is there.

    Raises:
        StoreError: something is there.
        InvalidInput: it is inside another run.
    """
    from smoothcert.storage.local import LocalFolder

    if isinstance(where, LocalFolder):
        require_outside_runs(where.path)
    if where.occupied:
        if isinstance(where, LocalFolder) and not where.path.is_dir():
            raise StoreError(f"{where} is a file, and a run is a folder. Choose another --out.")
        resume = "Pass --resume to continue a run there, or choose" if resumes else "Choose"
        raise StoreError(f"{where} already exists and is not empty. {resume} another --out.")
    if isinstance(where, LocalFolder) and where.path.is_dir() and where.path.samefile("."):
        raise StoreError(f"{where} is the folder you are in. {A_FOLDER_OF_ITS_OWN}")
