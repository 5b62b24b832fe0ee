"""The columns file that a table's cells speak for: shown to a person, never assumed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import gcd
from typing import Any

from smoothcert.data.cells import Table, is_missing, number
from smoothcert.data.columns import FINEST, MOST_COLUMNS, places, shown
from smoothcert.data.layouts import some
from smoothcert.data.listings import LABELS, label_column
from smoothcert.errors import InvalidInput

_MOST_CLASSES = 1000
_MEANING = (
    "Check it and save it. features are the model's inputs in its order. low and high are 0 and 1 "
    "for noise and radii, so take the ranges that you want to compare columns by, with all values "
    "in them; step says that a column has only the values low, low + step, ..."
)
_INDEX = ("", "unnamed: 0", "__index_level_0__")
"""What pandas calls a column of row numbers, in lower case."""


@dataclass(frozen=True)
class _Seen:
    """What the cells of a column show: its different numbers, and how many cells are missing."""

    name: str
    numbers: Sequence[Fraction]
    missing: int
    others: int

    @staticmethod
    def of(name: str, cells: Sequence[Any]) -> "_Seen":
        missing = [cell for cell in cells if is_missing(cell)]
        texts = {str(cell): cell for cell in cells if not is_missing(cell)}
        found = [number(cell) for cell in texts.values()]
        others = sum(one is None for one in found)
        return _Seen(name, sorted({one for one in found if one is not None}), len(missing), others)

    @property
    def is_feature(self) -> bool:
        return bool(self.numbers) and not self.others and self.name.lower() not in _INDEX

    @property
    def step(self) -> Fraction | None:
        """The largest step that leads from the lowest to all others, if it is not too fine."""
        low, high = self.numbers[0], self.numbers[-1]
        step = reduce(_common, (one - low for one in self.numbers[1:]), Fraction(0))
        return step if step and high - low <= FINEST * step else None

    def line(self) -> str:
        low, high = self.numbers[0], self.numbers[-1]
        found = {"name": self.name, "low": _plain(low), "high": _plain(high)}
        if low == high:
            found["high"] = None
        elif self.step:
            found["step"] = _plain(self.step)
        return json.dumps(found)


def refusal(table: Table) -> InvalidInput:
    """The error for a table without a columns file, with the one to check and save.

    Raises:
        InvalidInput: its column of labels is not certain.
    """
    path = table.path
    own, common = places(path)
    where = f"{path} needs a file that says what its columns are: {own.name}"
    named = {name.strip().lower(): name for name in table.cells}
    label = label_column([named[name] for name in LABELS if name in named], path)
    seen = [_Seen.of(name, cells) for name, cells in table.cells.items() if name != label]
    features = [one for one in seen if one.is_feature]
    if not 0 < len(features) <= MOST_COLUMNS:
        raise InvalidInput(
            f"{where}. It has {len(features)} columns of numbers besides the label, and 1 to "
            f"{MOST_COLUMNS} can be inputs; its columns are {some(table.cells)}. For images, give "
            "the folder that they are in."
        )
    ends = [f' "label": {json.dumps(label)}'] if label else []
    if label and (classes := _classes(table.cells[label])):
        ends.append(f' "classes": {json.dumps(classes)}')
    inside = ",\n".join(f"  {one.line()}" for one in features)
    text = ",\n".join([f'{{"features": [\n{inside}]', *ends]) + "}"
    return InvalidInput(
        f"{where} beside it, or {common.name} for all tables of the folder. Its "
        f"{table.count} rows speak for this one:\n{text}\n{' '.join(_advice(seen, bool(label)))}"
    )


def _advice(seen: Sequence[_Seen], labelled: bool) -> list[str]:
    told = [_MEANING]
    if labelled:
        told.append("classes are the label's values in the order of the model's classes.")
    if left := [one.name for one in seen if not one.is_feature]:
        told.append(f"Left out, as they are no numbers, or of rows: {some(map(repr, left))}.")
    if constant := [one.name for one in seen if one.is_feature and len(one.numbers) == 1]:
        told.append(f"One value in all rows, so say the high yourself: {some(constant)}.")
    if gaps := [one.name for one in seen if one.is_feature and one.missing]:
        told.append(f"Values are missing, to be filled in or left out: {some(gaps)}.")
    return told


def _classes(cells: Sequence[Any]) -> Sequence[str | int]:
    """Labels in sorted order, as scikit-learn has them; empty if they are numbers from 0."""
    found = {str(cell).strip() for cell in cells if not is_missing(cell)}
    numbers = [number(one) for one in found]
    if not found or len(found) > _MOST_CLASSES:
        return []
    if any(one is None or one.denominator > 1 for one in numbers):
        return sorted(found)
    whole = sorted({int(one) for one in numbers if one is not None})
    return [] if whole == [*range(len(whole))] or len(whole) < 2 else whole


def _common(one: Fraction, other: Fraction) -> Fraction:
    """The largest number of which both are whole multiples."""
    under = one.denominator * other.denominator
    return Fraction(gcd(int(one * under), int(other * under)), under)


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(shown(value))
