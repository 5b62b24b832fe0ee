"""A run in an object store, or in any other file system that pyarrow reads and writes.

An object appears when all of it was sent, as `Storage.write` promises. Folders cannot be renamed,
so a new run exists once its run.json does, which is written last.
"""

import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from smoothcert.errors import InvalidInput, StoreError
from smoothcert.files import ASIDE, is_litter
from smoothcert.storage.base import MOST_BYTES, occupied

_Found = TypeVar("_Found")

_RETRY_BACKOFF = (1.0, 5.0, 20.0)
"""Seconds before each retry; S3's client has then retried for several seconds itself."""

_NOT_RETRIED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS|SIGNATURE|HTTP status 40[0134]|Permission",
    re.IGNORECASE,
)
"""Errors that no retry helps against."""

_ATOMIC = {"s3", "gcs", "abfs"}
"""File systems where a file is not visible until it is closed."""

_CREATING = ".new"
"""An object that exists while a run is being created."""

_CREATE_ATTEMPTS = 3  # to create a run while others create the same one


@dataclass(frozen=True)
class ObjectStore:
    """See `Storage`.

    Attributes:
        uri: the URI as given; credentials come from the environment.
    """

    uri: str

    @staticmethod
    def parse(uri: str) -> "ObjectStore":
        """Check a URI; see `open_storage`."""
        parts = urlsplit(uri)
        named = parts.username is not None and parts.scheme not in ("abfs", "abfss")
        if named or parts.password is not None:  # there the name is that of a container
            raise InvalidInput(
                "A URI with a password would be stored in run directories. Put credentials into "
                "the environment (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and leave "
                f"them out of the {parts.scheme} URI."
            )
        if parts.fragment:
            raise InvalidInput(f"{uri} has a part after '#', which has no meaning here. Remove it.")
        _filesystem(uri)
        return ObjectStore(uri)

    def __str__(self) -> str:
        """The URI as given."""
        return self.uri

    @property
    def name(self) -> str:
        """See `Storage`."""
        return self._path.rpartition("/")[2]

    @property
    def occupied(self) -> bool:
        """See `Storage`."""
        there = self._names("")
        return bool(there) and ("run.json" in there or _CREATING not in there)

    def require_unused(self, resumes: bool = True) -> None:
        """See `Storage`."""
        if self.occupied:
            raise occupied(self, resumes)

    def uri_of(self, name: str) -> str:
        """See `Storage`."""
        folder, mark, options = self.uri.partition("?")
        return f"{folder.rstrip('/')}/{name}{mark}{options}"

    def exists(self, name: str) -> bool:
        """See `Storage`."""
        path = f"{self._path}/{name}"
        found = self._retry("looked at", name, lambda store: store.get_file_info(path))
        return found.type == fs.FileType.File

    def files(self, folder: str = "") -> list[str]:
        """See `Storage`."""
        names = (n for n in self._names(folder) if n != _CREATING and not _is_temporary(n))
        return [name for name in names if not is_litter(name)]

    def _names(self, folder: str) -> list[str]:
        """All names, temporary files included."""
        path = f"{self._path}/{folder}".rstrip("/")
        wanted = fs.FileSelector(path, recursive=True, allow_not_found=True)
        found = self._retry("listed", folder, lambda store: store.get_file_info(wanted))
        return sorted(i.path[len(self._path) + 1 :] for i in found if i.type == fs.FileType.File)

    def read(self, name: str, most: int) -> bytes:
        """See `Storage`."""
        path = f"{self._path}/{name}"

        def read(store: fs.FileSystem) -> bytes:
            with store.open_input_file(path) as file:
                if (size := file.size()) > most:
                    raise StoreError(
                        f"{self.uri_of(name)} has {size} bytes; at most {most} are read."
                    )
                data = file.read()
            if len(data) != size:
                raise OSError(f"only {len(data)} of {size} bytes arrived")
            return data

        return self._retry("read", name, read)

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        path = f"{self._path}/{name}"

        def write(store: fs.FileSystem) -> None:
            if store.type_name in _ATOMIC:
                _send(store, path, data)
                return
            folder, _, last = path.rpartition("/")
            aside = f"{folder}/.{last}.{secrets.token_hex(4)}.tmp"
            store.create_dir(folder, recursive=True)
            _send(store, aside, data)
            store.move(aside, path)

        self._retry("written", name, write)

    def remove(self, name: str) -> None:
        """See `Storage`."""
        path = f"{self._path}/{name}"
        try:
            self._retry("removed", name, lambda store: store.delete_file(path))
        except FileNotFoundError:
            return

    def create(self, files: Iterable[tuple[str, bytes]]) -> None:
        """See `Storage`.

        If several processes create one run at once, the last one's files stay, and each is read
        back; blocks that another process began with other settings are then found damaged.
        """
        self.require_unused()
        for name in self.files():
            if "/" in name:  # a block, so from a killed merge
                self.remove(name)
        written, top = [], {}
        try:
            self.write(_CREATING, b"")
            for name, data in files:
                written.append(name)
                top |= {} if "/" in name else {name: data}  # blocks are too large to keep
                self.write(name, data)
        except BaseException:
            self._undo(written)
            raise
        self._rewrite_overwritten(top)
        for name in (*self.files(), _CREATING):
            if "/" not in name and name not in top:
                self.remove(name)

    def _rewrite_overwritten(self, files: dict[str, bytes]) -> None:
        """Rewrite what another process has overwritten."""
        for _ in range(_CREATE_ATTEMPTS):
            other = [name for name, data in files.items() if not self._holds(name, data)]
            if not other:
                return
            for name in other:
                self.write(name, files[name])
        raise StoreError(
            f"Other processes are also creating {self}, with other settings. Let one of them "
            "create it, then start the others with --resume."
        )

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.read(name, MOST_BYTES) == data
        except FileNotFoundError:
            return False

    def _undo(self, written: Iterable[str]) -> None:
        """Remove what was written, unless it is now part of another process's run."""
        with suppress(StoreError):  # a store that cannot be written to cannot be cleaned either
            if not self.exists("run.json"):
                for name in (*written, _CREATING):
                    self.remove(name)

    def remove_temporary(self) -> None:
        """See `Storage`."""
        for name in self._names(""):
            if _is_temporary(name):
                self.remove(name)

    def on_disk(self, name: str) -> Path:
        """See `Storage`."""
        copy = Path(_copies().name) / secrets.token_hex(8) / name
        copy.parent.mkdir()
        copy.write_bytes(self.read(name, MOST_BYTES))
        return copy

    @property
    def _path(self) -> str:
        return _filesystem(self.uri)[1]

    def _retry(self, what: str, name: str, operation: Callable[[fs.FileSystem], _Found]) -> _Found:
        """Do something with the store, with retries where they may help."""
        store, _ = _filesystem(self.uri)
        for pause in (*_RETRY_BACKOFF, None):
            try:
                return operation(store)
            except FileNotFoundError:
                raise
            except (OSError, pa.ArrowException) as error:
                if pause is None or _NOT_RETRIED.search(str(error)):
                    raise StoreError(
                        f"{self.uri_of(name) if name else self} cannot be {what}: {error}. Check "
                        "the address, the credentials in the environment and the connection. "
                        "Blocks already finished are kept: then run again with --resume."
                    ) from error
                time.sleep(pause)
        raise AssertionError


def _is_temporary(name: str) -> bool:
    """Whether a file was being written."""
    return fnmatch(name.rpartition("/")[2], ASIDE)


def _send(store: fs.FileSystem, path: str, data: bytes) -> None:
    with store.open_output_stream(path) as file:
        file.write(data)


@lru_cache(maxsize=64)
def _filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI, and the path in it."""
    if uri.startswith("s3://"):
        # One request for a small object, and nothing partial in the store if that fails.
        uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
    try:
        store, path = fs.FileSystem.from_uri(uri)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(
            f"{uri.partition('?')[0]} cannot be used: {error}. A run must be in a folder, or at "
            "s3://, gs://, abfs:// or hdfs:// followed by a bucket and a path."
        ) from error
    return store, path.rstrip("/")


@lru_cache(maxsize=1)
def _copies() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="smoothcert-")
