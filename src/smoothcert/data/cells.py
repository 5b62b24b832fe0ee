"""The cells of a table of numbers, from CSV and Parquet, and what numbers they hold."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isnan
from pathlib import Path
from typing import Any

from smoothcert.data import tables
from smoothcert.data.layouts import some
from smoothcert.data.listings import LABELS, MOST_TABLE_BYTES, text_of
from smoothcert.errors import InvalidInput
from smoothcert.files import similar
from smoothcert.text import many

TEXT = (".csv", ".tsv")
"""Suffixes of tables that are text."""

_PICTURES = ("img", "image", "images")
"""Columns whose names say that they are no numbers."""

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_DECIMAL = re.compile(r"[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,3})?", re.ASCII)
_BOOLEAN = {"true": 1, "false": 0}
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", "nat", "<na>"}
_MARKED = re.compile(r"[+-]?[\d.,'_\s]*\d[,'_\s]\d[\d.,'_\s]*")


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        path: its file.
        cells: by column, in the order of the file: a text, a number, or None where one is missing.
    """

    path: Path
    cells: Mapping[str, Sequence[Any]]

    @property
    def count(self) -> int:
        """Rows."""
        return len(next(iter(self.cells.values()), ()))


def read(path: Path) -> Table:
    """The cells of a `.csv`, `.tsv` or Parquet file.

    Raises:
        InvalidInput: it is missing, unreadable, or does not name each column once.
    """
    if not path.exists():
        raise InvalidInput(f"There is no data file {path}{similar(path)}")
    if path.suffix.lower() in TEXT:
        return _text(path)
    table = tables.opened([path], str(path))
    _require_distinct(path, table.column_names)
    return Table(path, {name: _listed(table[name]) for name in table.column_names})


def _listed(column: Any) -> Sequence[Any]:
    """The cells of a column of Parquet; in place of dates that Python does not have, their type."""
    try:
        return column.to_pylist()
    except (ArithmeticError, ValueError):
        return [str(column.type)] * len(column)


def holds_rows(path: Path) -> bool:
    """Whether a file is a table of numbers: text, or Parquet with numbers and without images."""
    if path.suffix.lower() in TEXT:
        return True
    import pyarrow as pa
    from pyarrow import parquet

    try:
        kinds = {field.name: field.type for field in parquet.read_schema(path)}
    except (OSError, pa.ArrowException, ValueError):
        return False  # the reader of images says what is wrong
    images = (pa.types.is_struct, pa.types.is_binary, pa.types.is_large_binary)
    if not kinds.keys().isdisjoint(_PICTURES) or _any_is(images, kinds.values()):
        return False
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return _any_is(numbers, (kind for name, kind in kinds.items() if name.lower() not in LABELS))


def _any_is(tests: Sequence[Callable[[Any], bool]], kinds: Iterable[Any]) -> bool:
    return any(test(kind) for kind in kinds for test in tests)


def number(cell: Any) -> Fraction | None:
    """A cell's number, exactly; None if it has none. True is 1, and False is 0."""
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in _BOOLEAN:
            return Fraction(_BOOLEAN[text.lower()])
        return Fraction(text) if _DECIMAL.fullmatch(text) else None
    try:
        return Fraction(cell)  # whole, float, bool or decimal; not NaN, infinite or a date
    except (TypeError, ValueError, OverflowError):
        return None


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty, or says that its value is not known."""
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    return cell is None or (isinstance(cell, float | Decimal) and isnan(cell))


def why_not(cell: Any) -> str:
    """What is in a cell that is no number, and what to do about it."""
    if is_missing(cell):
        return (
            "is missing. Fill it in as the model's training data was filled in, or leave such rows "
            "out"
        )
    told = f"is {cell!s:.40}, not a finite number" if not isinstance(cell, str) else ""
    told = told or f"is {cell.strip()!r:.60}, not a number"
    if isinstance(cell, str) and _MARKED.fullmatch(cell.strip()):
        return f"{told}. Write decimals as 1.5, and thousands without a mark"
    return (
        f"{told}. Names, dates and the like must be numbers in the table, as the model was trained "
        "on (a column of 0 and 1 for each name, days since a date); or take the column out of "
        "features"
    )


def _text(path: Path) -> Table:
    text = text_of(path, MOST_TABLE_BYTES)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise InvalidInput(f"{path} is empty. Its first line must name the columns.")
    try:
        delimiter = _delimiter(path, first)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [line for line in reader if any(map(str.strip, line)) or len(line) > 1]
    except csv.Error as error:
        raise InvalidInput(f"{path} is not a readable table: {error}") from error
    heading, rows = [name.strip() for name in lines[0]], lines[1:]
    if all(number(name) is not None for name in heading):
        raise InvalidInput(
            f"{path} begins with numbers ({some(heading)}), but its first line must name the "
            "columns, so that none is taken for another. Put a line of names in front."
        )
    _require_distinct(path, heading)
    for index, row in enumerate(rows):
        if len(row) != len(heading):
            raise InvalidInput(
                f"{path} has {many(len(row), 'value')} in row {index} (the first is 0), but "
                f"{many(len(heading), 'column')}. Put values that have the separator in quotes, "
                "and write decimals with a point."
            )
    return Table(path, {name: [row[at] for row in rows] for at, name in enumerate(heading)})


def _delimiter(path: Path, first: str) -> str:
    """What separates the columns, from the first line, in which names with it are quoted."""
    parted = {mark: len(next(csv.reader([first], delimiter=mark))) for mark in _DELIMITERS}
    found = [mark for mark, parts in parted.items() if parts > 1]
    if len(found) > 1:
        marks = " and ".join(_DELIMITERS[mark] for mark in found)
        raise InvalidInput(
            f"The first line of {path} has {marks}, so what separates the columns is not certain. "
            "Put names in quotes, or rename the columns."
        )
    return found[0] if found else ","


def _require_distinct(path: Path, heading: Sequence[str]) -> None:
    if twice := [name for name, count in Counter(heading).items() if count > 1]:
        raise InvalidInput(
            f"{path} has the column {twice[0]!r} twice. Keep one of them, or rename the other."
        )
