"""Sealed files: a checksum inside each file of a run, and the Parquet and JSON that hold it.

A seal is over all bytes of a file, its name and the run it belongs to.

A file to be sealed contains `BLANK` once, after anything else that looks like it. The zeros are
replaced by SHA-256 over the file's name in the run, a line feed, and the file with the zeros. So a
changed bit, a truncated end, another file under this name and a file of another run are all
detected, while a Parquet or JSON file stays valid. docs/store-format.md, section 2.
"""

import io
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from smoothcert.errors import Damaged
from smoothcert.runs.validation import MOST_TEXT
from smoothcert.storage.base import MOST_BYTES, Storage

_MARK = b"smoothcert-sha256:"
_DIGITS = 64
BLANK = _MARK.decode() + "0" * _DIGITS
"""What a file holds where its seal will be."""


def seal(data: bytes, name: str) -> bytes:
    """Fill in the seal of a file that holds `BLANK`."""
    start, digits = _digits(data, name)
    return data[:start] + digits + data[start + _DIGITS :]


def is_sealed(data: bytes, name: str) -> bool:
    """Whether the data is, to the last bit, what was sealed under this name."""
    return _MARK in data and len(digest(data)) == _DIGITS and seal(data, name) == data


def why_not(data: bytes, name: str) -> str:
    """What was done to data that differs from what was sealed, as far as can be seen."""
    bare = data.removeprefix(b"\xef\xbb\xbf")
    lines = bare.replace(b"\r\n", b"\n")
    for before in (lines, lines + b"\n", lines.removesuffix(b"\n")):
        if _MARK in before and is_sealed(before, name):
            return (
                "its line ends were changed, or a byte order mark was added, as git, an editor or "
                "an archiver does to text; everything else is as written. Copy runs as binary "
                "files (git: a line `runs/** -text` in .gitattributes, or core.autocrlf false, and "
                "check out again)"
            )
    return (
        "its checksum does not match, so it was changed, truncated, renamed or taken from another "
        "run"
    )


def digest(data: bytes) -> str:
    """The 64 hexadecimal digits of a sealed file."""
    start = data.rindex(_MARK) + len(_MARK)
    return data[start : start + _DIGITS].decode("ascii", "replace")


def _digits(data: bytes, name: str) -> tuple[int, bytes]:
    start = data.rindex(_MARK) + len(_MARK)
    hashed = sha256(name.encode() + b"\n")
    hashed.update(data[:start] + b"0" * _DIGITS + data[start + _DIGITS :])
    return start, hashed.hexdigest().encode()


def read_sealed(storage: Storage, name: str, run: str, advice: str) -> bytes:
    """Read a file and check its seal.

    Raises:
        Damaged: missing, or changed since it was written.
        StoreError: it cannot be read, which says nothing about its content.
    """
    try:
        data = storage.read(name, MOST_BYTES)
    except FileNotFoundError:
        raise Damaged(
            f"{storage.uri_of(name)} is missing; the run directory is incomplete. {advice}"
        ) from None
    if not is_sealed(data, f"{run}/{name}"):
        why = why_not(data, f"{run}/{name}")
        raise Damaged(f"{storage.uri_of(name)} is damaged: {why}. {advice}")
    return data


def table_bytes(table: pa.Table, notes: Mapping[str, str] | None = None) -> bytes:
    """A Parquet file to be sealed: the same bytes for the same table, by the same pyarrow."""
    buffer = io.BytesIO()
    with parquet.ParquetWriter(
        buffer, table.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**(notes or {}), "seal": BLANK})
    return buffer.getvalue()


def read_table(data: bytes, schema: pa.Schema, rows: int, longest: int = MOST_TEXT) -> pa.Table:
    """The table of a Parquet file, in this thread, with texts and binary values by dictionary.

    One of Arrow's threads could be the last to release `data`, needs the interpreter's lock for
    that, and aborts the process if it is just ending (4 of 32 runs on a loaded machine).

    By dictionary, since a value that a small file holds once and repeats would otherwise be copied
    for each row before it could be checked.

    Args:
        data: the file.
        schema: names and types that it must have.
        rows: how many it must have.
        longest: maximum bytes of a text or binary value.

    Raises:
        ValueError: other columns or rows than these, or far too large.
        UNREADABLE: not a Parquet file.
    """
    texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_binary(f.type)]
    file = parquet.ParquetFile(pa.BufferReader(data), read_dictionary=texts, pre_buffer=False)
    by_dictionary = (f.with_type(pa.dictionary(pa.int32(), f.type)) for f in schema)
    found = zip(schema, by_dictionary, strict=True)
    wanted = pa.schema([kept if plain.name in texts else plain for plain, kept in found])
    metadata = file.metadata
    if not file.schema_arrow.equals(wanted) or metadata.num_rows != rows:
        raise ValueError(
            f"it is not a table of {rows} rows with the columns {', '.join(schema.names)}"
        )
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > MOST_BYTES:
        raise ValueError("it would unpack to more than any file of a run holds")
    table = file.read(use_threads=False)
    if len(table) != rows:
        raise ValueError(f"it has {len(table)} rows instead of {rows}")
    for name in texts:
        for chunk in table[name].chunks:
            if any(len(value.as_buffer() or b"") > longest for value in chunk.dictionary):
                raise ValueError(f"it has a value in {name!r} of more than {longest} bytes")
    return table


def rows_of(data: bytes, most: int) -> int:
    """How many rows a Parquet file has; ValueError if more than `most`, or UNREADABLE."""
    rows = parquet.ParquetFile(pa.BufferReader(data)).metadata.num_rows
    if not 0 <= rows <= most:
        raise ValueError(f"it has {rows} rows, but at most {most} are possible")
    return rows


def notes_of(data: bytes) -> dict[str, str]:
    """The key-value metadata of a Parquet file; UNREADABLE for another file."""
    found = parquet.ParquetFile(pa.BufferReader(data)).metadata.metadata or {}
    return {key.decode(): value.decode() for key, value in found.items()}


def has_no_gaps(table: pa.Table, *but: str) -> None:
    """Raise ValueError if a value is missing in any column except `but`."""
    for name in table.column_names:
        if table[name].null_count and name not in but:
            raise ValueError(f"it has rows without a value in {name!r}")


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """A JSON file to be sealed."""
    return (json.dumps({**body, "seal": BLANK}, indent=1) + "\n").encode()
