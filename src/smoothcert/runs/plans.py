"""plan.parquet: what every input gets, decided before any of it is evaluated."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from smoothcert.errors import StoreError
from smoothcert.methods.reuse import How, Share
from smoothcert.runs.files import read_table, table_bytes


def plan_bytes(shares: Sequence[Share], indices: Sequence[int]) -> bytes:
    """The file's content: a row per input, in order."""
    columns = {
        "index": pa.array(indices, pa.int64()),
        "how": pa.array([share.how.value for share in shares], pa.string()),
        "winners": pa.array([share.winners for share in shares], pa.int64()),
        "losers": pa.array([share.losers for share in shares], pa.int64()),
        "fresh": pa.array([share.fresh for share in shares], pa.int64()),
    }
    return table_bytes(pa.table(columns))


def read_plan(directory: Path) -> tuple[Share, ...]:
    """The shares of a planned run, by position.

    Raises:
        StoreError: the plan is missing or damaged.
    """
    rows = read_table(directory / "plan.parquet").to_pylist()
    try:
        return tuple(
            Share(How(row["how"]), row["winners"], row["losers"], row["fresh"]) for row in rows
        )
    except (KeyError, ValueError) as error:
        raise StoreError(f"{directory}/plan.parquet is damaged: {error!r}") from error
