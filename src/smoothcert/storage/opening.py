"""Which storage a path or a URI names."""

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from smoothcert.errors import InvalidInput
from smoothcert.storage.base import Storage
from smoothcert.storage.local import LocalFolder

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def open_storage(where: Storage | Path | str) -> Storage:
    """The storage that a path or a URI names.

    Args:
        where: a path; or `s3://bucket/folder`, `gs://...`, `abfs://...`, `hdfs://...`, with
            pyarrow's options after a question mark.

    Raises:
        InvalidInput: a URI that cannot be used, or that contains a password.
    """
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
