"""plan.parquet: what every input gets, decided before any of it is evaluated."""

from collections.abc import Sequence
from dataclasses import fields

import pyarrow as pa

from smoothcert.errors import Damaged
from smoothcert.methods.reuse import How, Share
from smoothcert.runs.files import table_bytes
from smoothcert.runs.store import Run

NAME = "plan.parquet"

_COUNTS = tuple(f.name for f in fields(Share) if f.name != "how")


def plan_bytes(shares: Sequence[Share], indices: Sequence[int]) -> bytes:
    """The file's content, to be sealed: a row per input, in order."""
    columns = {
        "index": pa.array(indices, pa.int64()),
        "how": pa.array([share.how.value for share in shares], pa.string()),
    }
    for name in _COUNTS:
        columns[name] = pa.array([getattr(share, name) for share in shares], pa.int64())
    return table_bytes(pa.table(columns))


def read_plan(run: Run) -> tuple[Share, ...]:
    """The shares of a planned run, by position.

    Raises:
        Damaged: the plan is missing, changed or of other inputs.
    """
    rows = run.read_table(NAME).to_pylist()
    try:
        if tuple(row["index"] for row in rows) != run.identity.indices:
            raise ValueError("it is of other inputs")
        return tuple(
            Share(How(row["how"]), **{name: row[name] for name in _COUNTS}) for row in rows
        )
    except (KeyError, ValueError) as error:
        raise Damaged(f"{run.path}/{NAME} is damaged: {error}. Make the run again.") from error
