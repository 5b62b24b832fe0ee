"""plan.parquet: every input's allocation, decided before any draw is evaluated."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from smoothcert.errors import Damaged
from smoothcert.methods import Allocation, Bound
from smoothcert.runs.sealed import has_no_gaps, read_table, table_bytes
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE, whole

NAME = "plan.parquet"

_STEPS = pa.list_(pa.int64())


def _schema(columns: Sequence[str]) -> pa.Schema:
    """Of the plans of a method with these `plan_columns`."""
    counts = [(name, _STEPS if name == "steps" else pa.int64()) for name in columns]
    return pa.schema([("index", pa.int64()), ("how", pa.string()), *counts])


def plan_bytes(
    allocations: Sequence[Allocation], indices: Sequence[int], columns: Sequence[str]
) -> bytes:
    """The file's content, to be sealed: a row per input, in order, with a method's columns."""
    rows = [
        {"index": index, "how": one.bound.value} | {name: getattr(one, name) for name in columns}
        for index, one in zip(indices, allocations, strict=True)
    ]
    return table_bytes(pa.Table.from_pylist(rows, _schema(columns)))


def read_plan(run: Run) -> tuple[Allocation, ...]:
    """The allocations of a planned run, by position.

    Raises:
        Damaged: the plan is missing, changed or of other inputs.
    """
    data, indices, columns = run.read(NAME), run.identity.indices, run.identity.method.plan_columns
    try:
        table = read_table(data, _schema(columns), len(indices))
        has_no_gaps(table)
        rows = table.to_pylist()
        if tuple(row["index"] for row in rows) != indices:
            raise ValueError("it is of other inputs")
        return tuple(_allocation(row, columns, run.identity.settings.n) for row in rows)
    except UNREADABLE as error:
        raise Damaged(
            f"{run.storage.uri_of(NAME)} is damaged: {error}. Make the run again."
        ) from error


def _allocation(row: dict[str, Any], columns: Sequence[str], most: int) -> Allocation:
    """Of one row, whose counts are at most `most`."""
    counts = {name: int(row[name]) for name in columns if name != "steps"}
    steps = tuple(map(int, row.get("steps", ())))
    for name, count in (*counts.items(), *(("steps", step) for step in steps)):
        whole(count, name, 0, most)
    return Allocation(Bound(row["how"]), steps=steps, **counts)
