"""Files that are either whole or not there: written aside, synced, renamed."""

import errno
import io
import os
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from smoothcert.errors import StoreError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any instant leaves the old state or the new one.

    Raises:
        StoreError: the disk is full or not writable; nothing is left behind.
    """
    # One fixed name, so that what a killed process leaves is overwritten by the next attempt.
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        why = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise StoreError(
            f"Cannot write {path}: {why}. Blocks already finished are kept: make room or fix "
            "the permissions, and run again with --resume."
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where folders can be synced."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def table_bytes(table: pa.Table) -> bytes:
    """A Parquet file: the same bytes for the same table, with a checksum on every page."""
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file, checking its page checksums.

    Raises:
        StoreError: missing, truncated or corrupted.
    """
    try:
        return parquet.ParquetFile(path, page_checksum_verification=True).read()
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; the run directory is incomplete.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(
            f"{path} is damaged ({error}). Delete it and run again with --resume: only that "
            "block is sampled anew."
        ) from error
