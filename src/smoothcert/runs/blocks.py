"""The records of a block as two tables, and back. docs/store-format.md, sections 5 and 6."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa

from smoothcert.certificate import Certificate, Record, Votes
from smoothcert.runs import codec

_VOTES = tuple(f.name for f in fields(Votes))
_VOTES_SCHEMA = pa.schema([("index", pa.int64()), *((name, pa.binary()) for name in _VOTES)])
_SCHEMA = pa.schema(
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


def certificates_table(records: Sequence[Record]) -> pa.Table:
    """A row per certificate."""
    return pa.Table.from_pylist([_row(record.certificate) for record in records], _SCHEMA)


def certificates_of(table: pa.Table) -> tuple[Certificate, ...]:
    """Back from `certificates_table`; KeyError, TypeError or ValueError if it is none."""
    return tuple(_certificate(row) for row in table.to_pylist())


def votes_table(records: Sequence[Record]) -> pa.Table:
    """A row per input: its index, and each kind of votes through `codec`."""
    rows = [
        {"index": record.certificate.index}
        | {name: codec.encode(getattr(record.votes, name)) for name in _VOTES}
        for record in records
    ]
    return pa.Table.from_pylist(rows, _VOTES_SCHEMA)


def votes_of(table: pa.Table) -> tuple[Votes, ...]:
    """Back from `votes_table`; StoreError or KeyError if it is none."""
    return tuple(
        Votes(**{name: codec.decode(row[name]) for name in _VOTES}) for row in table.to_pylist()
    )


def _row(certificate: Certificate) -> dict[str, Any]:
    row = certificate.to_json()
    return row | {"budget": json.dumps(row["budget"])}


def _certificate(row: Mapping[str, Any]) -> Certificate:
    return Certificate.from_json({**row, "budget": json.loads(row["budget"])})
