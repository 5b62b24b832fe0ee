"""The text of a published log as columns, whatever its program called and separated them."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput

_NAMES = {
    "idx": ("idx", "index", "original_idx"),
    "label": ("label", "true_label", "target"),
    "predict": ("predict", "prediction", "predicted", "pred"),
    "radius": ("radius", "certified_radius", "radius proved"),
    "correct": ("correct", "is_correct"),
    "sigma": ("sigma", "sigma_test", "noise_sd"),
    "n": ("n",),
    "alpha": ("alpha",),
}
"""What a column is called, here and in the public certification programs."""
_NEEDED = ("label", "predict", "radius")
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, eq=False)
class LogTable:
    """A log's columns.

    Attributes:
        columns: by the names idx, label, predict, radius, correct, sigma, n and alpha, of which
            label, predict and radius are always there; shape (images,) each.
        digits: most significant digits that a radius is written with.
        notes: what a reader should know of the file's form.
    """

    columns: dict[str, NDArray[np.float64]]
    digits: int
    notes: tuple[str, ...]


def log_table(path: Path, text: str) -> LogTable:
    """Read a log.

    Args:
        path: where it is from, for messages.
        text: tab-, comma- or semicolon-separated, the names of the columns first; columns of
            other names are left out, and so are lines of a single cell at the end.

    Raises:
        InvalidInput: a column is missing, a cell is no number, or there are no images.
    """
    # Not splitlines: it would also break a line at a control character within a cell.
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [line for line in lines if line.strip()]
    delimiter = next((d for d in "\t,;" if lines and d in lines[0]), "\t")
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, quoting=quoting))
    except csv.Error as error:
        raise InvalidInput(f"{path} is not a table: {error}") from None
    columns = _columns(path, rows[0] if rows else [])
    notes, end = [], len(rows)
    while end > 1 and len(rows[end - 1]) == 1:
        end -= 1
    if end < len(rows):
        notes.append(f"it ends with text that is no row and was left out: {lines[end][:60]!r}")
    body = rows[1:end]
    if not body:
        raise InvalidInput(f"{path} has no images below its header")
    if len(body[-1]) < len(body[0]):
        raise InvalidInput(
            f"{path} ends in the middle of a row, as a run that was stopped leaves it: {body[-1]}: "
            "a cell is missing that must be a number; got ''. Remove that line."
        )
    values = {name: _values(path, body, place, name) for name, place in columns.items()}
    digits = max(_digits(row[columns["radius"]]) for row in body)
    return LogTable(values, digits, tuple(notes))


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """Where each known column is."""
    found = [cell.strip().lower() for cell in header]
    known = {
        name: found.index(alias)
        for name, aliases in _NAMES.items()
        for alias in aliases[::-1]
        if alias in found
    }
    missing = [name for name in _NEEDED if name not in known]
    if missing:
        raise InvalidInput(
            f"{path} lacks the columns {', '.join(missing)}; a log starts with a line of names, as "
            "idx, label, predict, radius, correct, time, between tabs or commas, but this one with "
            f"{', '.join(cell.strip() for cell in header)[:200] or 'nothing'}"
        )
    return known


def _values(path: Path, rows: list[list[str]], place: int, name: str) -> NDArray[np.float64]:
    values = np.empty(len(rows))
    for number, row in enumerate(rows):
        cell = row[place] if place < len(row) else ""
        values[number] = _number(cell, f"{path}, image {number + 1}, column {name!r}")
    return values


def _number(cell: str, where: str) -> float:
    try:
        value = _TRUTH.get(cell.strip().lower(), np.nan)
        value = float(cell) if np.isnan(value) else value
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InvalidInput(f"{where} must be a number; got {cell!r}")
    return value


def _digits(cell: str) -> int:
    """How many significant digits a number is written with."""
    mantissa = cell.strip().lower().partition("e")[0]
    return len("".join(c for c in mantissa if c.isdigit()).lstrip("0"))
