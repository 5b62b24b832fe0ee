"""plan.parquet: every input's allocation, decided before any draw is evaluated."""

from collections.abc import Sequence
from dataclasses import fields

import pyarrow as pa

from smoothcert.errors import Damaged
from smoothcert.methods import Allocation, Bound
from smoothcert.runs.sealed import has_no_gaps, read_table, table_bytes
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE, whole

NAME = "plan.parquet"

_COUNTS = tuple(f.name for f in fields(Allocation) if f.name != "bound")
_SCHEMA = pa.schema(
    [("index", pa.int64()), ("how", pa.string()), *((name, pa.int64()) for name in _COUNTS)]
)


def plan_bytes(allocations: Sequence[Allocation], indices: Sequence[int]) -> bytes:
    """The file's content, to be sealed: a row per input, in order."""
    columns = {
        "index": pa.array(indices, pa.int64()),
        "how": pa.array([one.bound.value for one in allocations], pa.string()),
    }
    for name in _COUNTS:
        columns[name] = pa.array([getattr(one, name) for one in allocations], pa.int64())
    return table_bytes(pa.table(columns))


def read_plan(run: Run) -> tuple[Allocation, ...]:
    """The allocations of a planned run, by position.

    Raises:
        Damaged: the plan is missing, changed or of other inputs.
    """
    data, indices = run.read(NAME), run.identity.indices
    try:
        table = read_table(data, _SCHEMA, len(indices))
        has_no_gaps(table)
        rows = table.to_pylist()
        if tuple(row["index"] for row in rows) != indices:
            raise ValueError("it is of other inputs")
        for row in rows:
            for name in _COUNTS:
                whole(row[name], name, 0, run.identity.settings.n)
        return tuple(
            Allocation(Bound(row["how"]), **{name: row[name] for name in _COUNTS}) for row in rows
        )
    except UNREADABLE as error:
        raise Damaged(
            f"{run.storage.uri_of(NAME)} is damaged: {error}. Make the run again."
        ) from error
