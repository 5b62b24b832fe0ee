"""The records of a block as two tables, and back. docs/store-format.md, sections 5 and 6."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from smoothcert.certificate import Certificate, Record, Votes
from smoothcert.methods import Method
from smoothcert.runs import vote_codec as codec
from smoothcert.runs.manifest import Identity
from smoothcert.runs.sealed import has_no_gaps, notes_of, read_table
from smoothcert.runs.validation import (
    MOST_LABELS,
    MOST_STEPS,
    budget_of,
    check_certificate,
    check_contents,
    check_votes,
)

_INPUTS = pa.schema([("index", pa.int64()), ("content", pa.string()), ("label", pa.int32())])
FOLDERS = ("certificates", "events", "votes")
"""Folders of a run directory: each has a file per finished block."""

_VOTES = ("selection", "estimation", "original", "fresh", "margins", "roles")
"""The kinds of votes that every file of votes has a column for."""

_CERTIFICATES = pa.schema(
    [
        ("index", pa.int64()),
        ("content", pa.string()),
        ("method", pa.string()),
        ("candidate", pa.int32()),
        ("outcome", pa.string()),
        ("radius", pa.float64()),
        ("q", pa.float64()),
        ("runner_up", pa.float64()),
        ("k", pa.int64()),
        ("n", pa.int64()),
        ("cached_k", pa.int64()),
        ("cached_n", pa.int64()),
        ("flips", pa.int64()),
        ("zeta", pa.float64()),
        ("losers", pa.int64()),
        ("budget", pa.string()),
        ("evaluations", pa.int64()),
    ]
)


def inputs_table(
    indices: Sequence[int], contents: Sequence[str], labels: Sequence[int | None] | None
) -> pa.Table:
    """A row per input of a run."""
    return pa.table([indices, contents, labels or [None] * len(contents)], schema=_INPUTS)


def inputs_of(data: bytes, indices: Sequence[int]) -> pa.Table:
    """Read the file of an `inputs_table` of these inputs; UNREADABLE for another file."""
    table = read_table(data, _INPUTS, len(indices))
    _check_rows(table, indices, "label")
    check_contents(table["content"].to_pylist())
    return table


def block_name(folder: str, block: int) -> str:
    """The file of a block in one of `FOLDERS`, relative to the run directory."""
    return f"{folder}/{block:05d}.{'json' if folder == 'events' else 'parquet'}"


def certificates_table(records: Sequence[Record]) -> pa.Table:
    """A row per certificate."""
    return pa.Table.from_pylist([_row(record.certificate) for record in records], _CERTIFICATES)


def certificates_of(
    data: bytes, identity: Identity, indices: Sequence[int]
) -> tuple[Certificate, ...]:
    """Read the file of a `certificates_table` of these inputs; UNREADABLE for another file."""
    return certificates_in(read_table(data, _CERTIFICATES, len(indices)), identity, indices)


def certificates_in(
    table: pa.Table, identity: Identity, indices: Sequence[int]
) -> tuple[Certificate, ...]:
    """`certificates_of` for a table that was read."""
    _check_rows(table, indices)
    found = tuple(_certificate(row) for row in table.to_pylist())
    for certificate in found:
        check_certificate(certificate, identity.settings, identity.method, identity.num_classes)
    return tuple(map(identity.method.restated, found))


def votes_table(records: Sequence[Record], method: Method) -> pa.Table:
    """A row per input: its index, and each kind of votes through `vote_codec`."""
    kinds = _kinds(method)
    rows = [
        {"index": record.certificate.index}
        | {name: codec.encode(getattr(record.votes, name)) for name in kinds}
        for record in records
    ]
    return pa.Table.from_pylist(rows, _votes_schema(kinds))


def _kinds(method: Method) -> tuple[str, ...]:
    """The kinds of votes in the files of a method."""
    return (*_VOTES, *(name for name in method.vote_kinds if name not in _VOTES))


def _votes_schema(kinds: Sequence[str]) -> pa.Schema:
    return pa.schema([("index", pa.int64()), *((name, pa.binary()) for name in kinds)])


def votes_of(data: bytes, identity: Identity, indices: Sequence[int]) -> tuple[Votes, ...]:
    """Read the file of a `votes_table` of these inputs; StoreError or UNREADABLE for another."""
    kinds = _kinds(identity.method)
    longest = codec.longest(max(_most(identity, kind) for kind in kinds))
    schema = _votes_schema(kinds)
    return votes_in(read_table(data, schema, len(indices), longest), identity, indices)


def votes_in(table: pa.Table, identity: Identity, indices: Sequence[int]) -> tuple[Votes, ...]:
    """`votes_of` for a table that was read."""
    _check_rows(table, indices)
    found, left = [], MOST_LABELS
    for row in range(len(table)):
        columns: dict[str, NDArray[np.int32]] = {}
        for name in _kinds(identity.method):
            most = min(_most(identity, name), left)
            columns[name] = codec.decode(table[name][row].as_py(), most)
            left -= len(columns[name])
        found.append(Votes(**columns))
        check_votes(found[-1], identity.method, identity.num_classes)
    return tuple(found)


def _most(identity: Identity, kind: str) -> int:
    """Numbers that a kind of votes of an input can have."""
    streams = max(identity.settings.n0, identity.settings.n)
    return {"plan": MOST_STEPS, "cached": identity.num_classes}.get(kind, streams)


def _check_rows(table: pa.Table, indices: Sequence[int], *gaps: str) -> None:
    has_no_gaps(table, *gaps)
    if table["index"].to_pylist() != list(indices):
        raise ValueError("it holds other inputs")


def _row(certificate: Certificate) -> dict[str, Any]:
    row = certificate.to_json()
    return row | {"budget": json.dumps(row["budget"])}


def _certificate(row: Mapping[str, Any]) -> Certificate:
    return Certificate.from_json({**row, "budget": budget_of(row["budget"])})


def votes_named_by(data: bytes, _identity: Identity, _indices: Sequence[int]) -> str:
    """The seal of the votes that a file of certificates names; UNREADABLE for another file."""
    return notes_of(data).get("votes", "")
