"""plan.parquet: what every input gets, decided before any of it is evaluated."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa

from smoothcert.errors import StoreError
from smoothcert.methods.reuse import How, Share
from smoothcert.runs.files import read_table, table_bytes

_COUNTS = tuple(f.name for f in fields(Share) if f.name != "how")


def plan_bytes(shares: Sequence[Share], indices: Sequence[int]) -> bytes:
    """The file's content: a row per input, in order."""
    columns = {
        "index": pa.array(indices, pa.int64()),
        "how": pa.array([share.how.value for share in shares], pa.string()),
    }
    for name in _COUNTS:
        columns[name] = pa.array([getattr(share, name) for share in shares], pa.int64())
    return table_bytes(pa.table(columns))


def read_plan(directory: Path) -> tuple[Share, ...]:
    """The shares of a planned run, by position.

    Raises:
        StoreError: the plan is missing or damaged.
    """
    rows = read_table(directory / "plan.parquet").to_pylist()
    try:
        return tuple(
            Share(How(row["how"]), **{name: row[name] for name in _COUNTS}) for row in rows
        )
    except (KeyError, ValueError) as error:
        raise StoreError(f"{directory}/plan.parquet is damaged: {error!r}") from error
