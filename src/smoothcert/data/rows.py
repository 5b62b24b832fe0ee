"""Rows of numbers as inputs: each column on the grid, by what its columns file says."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf, nextafter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.cells import Table, is_missing, number, read, why_not
from smoothcert.data.columns import Column, Columns, beside, shown
from smoothcert.data.inputs import Inputs, known_labels, rounded_up
from smoothcert.data.layouts import some
from smoothcert.data.listings import label_values
from smoothcert.data.proposed_columns import refusal
from smoothcert.errors import InvalidInput, did_you_mean
from smoothcert.text import many

_OFF_STEP = Fraction(1, 1000)  # of a column's own step; float32 numbers are off it by less


@dataclass(frozen=True, eq=False)
class _Placed:
    """A column on the grid: steps of each row, and how far its value is from there, on [0, 1].

    Distances are rounded up, and 0 only where they are.
    """

    steps: NDArray[np.int32]
    off: NDArray[np.float64]


def inputs(path: Path, grid: float | Fraction | None) -> Inputs:
    """The rows of a table as vectors of the columns that its columns file names, in its order.

    Args:
        path: a `.csv`, `.tsv` or Parquet file, with `NAME.columns.json` or `columns.json` beside.
        grid: the step between neighbouring values on the [0, 1] scale; None chooses it, see
            `Columns.levels`.

    Raises:
        InvalidInput: not readable; no columns file, with the one that is proposed; a cell that is
            no number, or not one that its column can have.
    """
    table = read(path)
    said = beside(path)
    if said is None:
        raise refusal(table)
    if "split" in table.cells and "split" not in said.names:
        raise InvalidInput(f"{path} has a column 'split'. Write each split to a file without it.")
    levels = said.levels(grid)
    given = [_cells(table, name, said) for name in said.names]
    if not table.count:
        raise InvalidInput(f"{path} has no rows: nothing to certify.")
    placed = [
        _placed(one, cells, levels, said) for one, cells in zip(said.features, given, strict=True)
    ]
    steps = np.stack([one.steps for one in placed], axis=1)
    off = _farthest(np.stack([one.off for one in placed], axis=1))
    labels = None if said.label is None else _labels(table, said.label, said)
    return Inputs(
        str(path),
        (len(said.features),),
        levels,
        tuple(range(table.count)),
        lambda index: steps[index],
        labels,
        tuple(map(str, said.classes)),
        off,
        tuple(_notes(table, said, levels, off)),
        "row {}".format,
        said.ranges,
    )


def _cells(table: Table, name: str, said: Columns) -> Sequence[Any]:
    if name not in table.cells:
        near = did_you_mean(name, table.cells) or "."
        raise InvalidInput(
            f"{table.path} has no column {name!r}, which {said.file} names{near} It has "
            f"{some(table.cells)}."
        )
    return table.cells[name]


def _placed(column: Column, cells: Sequence[Any], levels: int, said: Columns) -> _Placed:
    """The grid points of a column's cells; equal cells are looked at once."""
    known = dict[Any, tuple[int, float]]()
    for row, cell in enumerate(cells):
        if not isinstance(cell, list | dict) and cell in known:
            continue
        if (value := number(cell)) is None:
            raise _wrong(row, column, why_not(cell))
        known[cell] = _nearest(column, value, row, levels, said)
    found = [known[cell] for cell in cells]
    steps = np.fromiter((step for step, _ in found), np.int32, len(found))
    return _Placed(steps, np.fromiter((off for _, off in found), np.float64, len(found)))


def _nearest(
    column: Column, value: Fraction, row: int, levels: int, said: Columns
) -> tuple[int, float]:
    """The grid point nearest to a value, and the distance, at least the exact one."""
    # In whole numbers, which takes a third of the time of fractions.
    (low, under), (span, over) = column.low.as_integer_ratio(), column.span.as_integer_ratio()
    part = (value.numerator * under - low * value.denominator) * over
    whole = value.denominator * under * span  # the value is part / whole of the range
    if not 0 <= part <= whole:
        why = f"is {shown(value)}, and {said.file} says {shown(column.low)} to"
        why += f" {shown(column.high)}. Leave such rows out, or widen that range, which changes"
        raise _wrong(row, column, f"{why} what radii mean")
    if column.step:
        own = Fraction(part * column.steps, whole)
        if abs(own - round(own)) > _OFF_STEP:
            why = f"is {shown(value)}, which is not {shown(column.low)} and whole steps of"
            why += f" {shown(column.step)}. Correct the step in {said.file}, or leave it out there"
            raise _wrong(row, column, why)
    step = (2 * part * levels + whole) // (2 * whole)
    off = abs(part * levels - step * whole) / (whole * levels)
    return step, nextafter(off, inf) if off else 0.0


def _wrong(row: int, column: Column, why: str) -> InvalidInput:
    return InvalidInput(f"{column.name} in row {row} (the first is 0) {why}.")


def _farthest(off: NDArray[np.float64]) -> float:
    """The largest l2 distance of a row from its grid point, at least the exact one."""
    largest = float(off.max())
    if not largest:
        return 0.0
    squares = np.square(off / largest)  # no relevant one underflows
    length = float(np.sqrt(squares.sum(axis=1).max())) * largest
    return rounded_up(length * (1 + (squares.shape[1] + 16) * 2.0**-52))


def _labels(table: Table, name: str, said: Columns) -> tuple[int, ...] | None:
    """The classes of all rows, or None if none is known."""
    cells = _cells(table, name, said)
    missing = [row for row, cell in enumerate(cells) if is_missing(cell)]
    if len(missing) == len(cells):
        return None
    if missing:
        raise InvalidInput(
            f"{name} in row {missing[0]} (the first is 0) is missing, of "
            f"{many(len(missing), 'row')} in all. Leave them out of {table.path}, or leave label "
            f"out of {said.file}."
        )
    plain = [int(cell) if isinstance(cell, bool) else cell for cell in cells]
    found = label_values(plain, table.path, name)
    if said.classes:
        return _in_order(found, said, name)
    if isinstance(found[0], str):
        raise InvalidInput(
            f"The labels in the column {name!r} of {table.path} are names "
            f"({some(sorted(set(found)))}). List them in {said.file}, in the order of the model's "
            '"classes".'
        )
    return known_labels([int(label) for label in found], str(table.path))


def _in_order(found: Sequence[int | str], said: Columns, name: str) -> tuple[int, ...]:
    place = {str(one): number for number, one in enumerate(said.classes)}
    for row, label in enumerate(found):
        if str(label) not in place:
            raise InvalidInput(
                f"{name} in row {row} (the first is 0) is {label!r:.60}, which is not among the "
                f"classes of {said.file}: {some(said.classes)}."
            )
    return tuple(place[str(label)] for label in found)


def _notes(table: Table, said: Columns, levels: int, off: float) -> list[str]:
    told = [f"Columns as in {said.file}.", said.unit()]
    if off:
        told.append(
            f"Grid 1/{levels}; rows are up to {off:g} off it, which is subtracted from radii."
        )
    else:
        told.append(f"Grid 1/{levels}, with every value on it.")
    if said.label:
        told.append(f"Labels from the column {said.label!r}.")
    if others := [name for name in table.cells if name not in (*said.names, said.label)]:
        told.append(f"Not read: {some(map(repr, others))}.")
    return told
