"""The bytes of a run's Parquet and JSON files, and reading untrusted ones."""

import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from smoothcert.runs.sealed import BLANK
from smoothcert.runs.validation import MOST_TEXT
from smoothcert.storage.base import MOST_BYTES


def table_bytes(table: pa.Table, notes: Mapping[str, str] | None = None) -> bytes:
    """A Parquet file to be sealed: the same bytes for the same table, by the same pyarrow.

    Args:
        table: the content.
        notes: additional key-value metadata of the file.
    """
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
    facts = file.metadata
    if not file.schema_arrow.equals(wanted) or facts.num_rows != rows:
        raise ValueError(
            f"it is not a table of {rows} rows with the columns {', '.join(schema.names)}"
        )
    groups = (facts.row_group(number) for number in range(facts.num_row_groups))
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
