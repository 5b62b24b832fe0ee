"""What the columns of a table mean: a JSON file that serves the data and the model's preprocessing.

A value v of a column is (v - low) / (high - low) for noise and radii, and a model that takes the
table's own numbers gets v back: `classifiers.ranges`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import lcm
from pathlib import Path
from typing import Any

from smoothcert.errors import InvalidInput, did_you_mean
from smoothcert.files import read_regular
from smoothcert.noise.law import grid_levels

MOST_COLUMNS = 4096
FINEST = 4096
"""Grid steps in 1 unless `--grid` says otherwise: sigma may be up to 1 on it."""

_MOST_BYTES = 2**24
_KEYS, _FEATURE = ("features", "label", "classes"), ("name", "low", "high", "step", "mean", "std")
_LARGEST = 2**24  # whole numbers that float32 holds
_NARROWEST = 2**12  # the largest value over the range; float32 then resolves 1/4096 of it
_HUGE = 1e300
_SHOWN, _RECORDED = 3, 64
_EXAMPLE = '{"features": [{"name": "age", "low": 0, "high": 100, "step": 1}], "label": "label"}'


@dataclass(frozen=True)
class Column:
    """A column that a model gets.

    Attributes:
        name: its heading.
        low: the value that is 0 for noise and radii.
        high: the value that is 1.
        step: the column has only the values low, low + step, ...; None if it has any.
        mean: what the model wants subtracted from the column's own numbers.
        std: what it wants the difference divided by.

    Raises:
        InvalidInput: numbers that do not fit together.
    """

    name: str
    low: Fraction
    high: Fraction
    step: Fraction | None = None
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, and what float32 does not hold."""
        if not self.low < self.high:
            raise InvalidInput(
                f"The column {self.name!r} needs low < high; got {shown(self.low)} and "
                f"{shown(self.high)}."
            )
        if not self.std > 0:
            raise InvalidInput(f"The column {self.name!r} needs std > 0; got {self.std:g}.")
        largest = max(abs(self.low), abs(self.high))
        if largest > _NARROWEST * self.span or (self.step and largest > _LARGEST * self.step):
            raise InvalidInput(
                f"The column {self.name!r} has values up to {shown(largest)} in a range of "
                f"{shown(self.span)}: models get float32, which does not tell such values apart. "
                "Subtract a constant from it in the table, as in the data that the model is "
                "trained on; a number that only names the row is no input."
            )
        if self.step is None:
            return
        if self.step <= 0:
            raise InvalidInput(
                f"The column {self.name!r} needs a step > 0; got {shown(self.step)}. Leave it out "
                "if the column has any values."
            )
        if (self.span / self.step).denominator != 1:
            least = self.low + (self.span // self.step + 1) * self.step
            raise InvalidInput(
                f"The column {self.name!r} goes from {shown(self.low)} to {shown(self.high)}, "
                f"which is no whole number of steps of {shown(self.step)}. Give a high of "
                f"{shown(least)}, or another step."
            )

    @cached_property
    def span(self) -> Fraction:
        """From low to high: what 1 is, of noise and radii, in the column's own unit."""
        return self.high - self.low

    @property
    def steps(self) -> int:
        """Its own steps from low to high; 1 if it has none."""
        return int(self.span / self.step) if self.step else 1


@dataclass(frozen=True)
class Columns:
    """What a columns file says.

    Attributes:
        file: where it is.
        features: the model's inputs, in its order.
        label: the column of true classes; None for no labels.
        classes: the column's values in the order of the model's classes; empty for 0, 1, ...
    """

    file: Path
    features: tuple[Column, ...]
    label: str | None = None
    classes: tuple[str | int, ...] = ()

    @staticmethod
    def read(file: Path) -> "Columns":
        """Read a columns file.

        Raises:
            InvalidInput: it is not one, or says something that cannot be meant.
        """
        try:
            content = json.loads(read_regular(file, _MOST_BYTES, InvalidInput))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"{file} is not JSON: {error}") from error
        if not is_columns(content):
            raise InvalidInput(f"{file} must say what a table's columns are, as {_EXAMPLE}")
        return Columns.of(content, file)

    @staticmethod
    def of(content: Mapping[str, Any], file: Path) -> "Columns":
        """The same from what such a file holds."""
        _require_known(content, _KEYS, file)
        given = content["features"]
        if not isinstance(given, list) or not 0 < len(given) <= MOST_COLUMNS:
            raise InvalidInput(
                f"The features of {file} must be a list of 1 to {MOST_COLUMNS} columns, as "
                f"{_EXAMPLE}"
            )
        features = tuple(_column(one, file) for one in given)
        label = content.get("label")
        names = [*(one.name for one in features), *([label] if label is not None else [])]
        if label is not None and (not isinstance(label, str) or not label.strip()):
            raise InvalidInput(f"The label of {file} must be a column's name; got {label!r:.60}")
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise InvalidInput(
                f"{file} has the column {twice[0]!r} twice, among features and label. A column is "
                "one input, or the label, which the model must not get."
            )
        return Columns(file, features, label, _classes(content.get("classes", []), label, file))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that the model gets, in its order."""
        return tuple(one.name for one in self.features)

    @cached_property
    def common(self) -> int:
        """The fewest grid steps in 1 with which every column's own steps are on the grid."""
        return lcm(*(one.steps for one in self.features))

    def levels(self, grid: float | Fraction | None) -> int:
        """Grid steps in 1: those of `grid`, else the most up to `FINEST` with all steps on it.

        If there are no such, `FINEST`: inputs are then off the grid, and it is measured how far.

        Raises:
            InvalidInput: a column has more own steps than the grid.
        """
        if grid is not None:
            levels = grid_levels(grid)
        else:
            levels = FINEST // self.common * self.common or FINEST
        for one in self.features:
            if one.steps > levels:
                raise InvalidInput(
                    f"The column {one.name!r} has {one.steps} steps of {shown(one.step or 0)} from "
                    f"{shown(one.low)} to {shown(one.high)}, more than the grid 1/{levels}. Leave "
                    f"its step out of {self.file} (values are then taken to the nearest grid point "
                    f"and the distance is subtracted from radii), or give --grid 1/{one.steps}, on "
                    f"which sigma is at most {FINEST / one.steps:.3g}."
                )
        return levels

    @property
    def ranges(self) -> str:
        """What 0 and 1 are in the first columns, for a record."""
        some = [f"{shown(one.low)} and {shown(one.high)} of {one.name}" for one in self.features]
        more = f" and {len(some) - _RECORDED} more" if len(some) > _RECORDED else ""
        return ", ".join(some[:_RECORDED]) + more

    def unit(self) -> str:
        """What a radius of 0.1 is in the first columns' own units, in a sentence."""
        some = [f"{shown(one.span / 10)} of {one.name}" for one in self.features[:_SHOWN]]
        more = " and so on" if len(self.features) > _SHOWN else ""
        alone = " alone" if len(self.features) > 1 else ""
        return f"A radius of 0.1 is a change of {' or '.join(some)}{more}{alone}."


def is_columns(content: Any) -> bool:
    """Whether the content of a JSON file is that of a columns file."""
    return isinstance(content, dict) and "features" in content


def places(table: Path) -> tuple[Path, Path]:
    """Where a table's columns file may be: its own, and one for all tables of the folder."""
    return table.with_name(f"{table.stem}.columns.json"), table.with_name("columns.json")


def beside(table: Path) -> Columns | None:
    """The columns file of a table; None if there is none."""
    file = next((place for place in places(table) if place.is_file()), None)
    return None if file is None else Columns.read(file)


def shown(value: Fraction | float) -> str:
    """A number as a person writes it."""
    exact = Fraction(value)
    return str(exact.numerator) if exact.denominator == 1 else f"{float(exact):.12g}"


def _require_known(content: Mapping[str, Any], known: Sequence[str], where: object) -> None:
    for key in content:
        if key not in known:
            raise InvalidInput(
                f"{where} has {key!r}, which is not known. It may have {', '.join(known)}"
                f"{did_you_mean(key, known) or '.'}"
            )


def _column(given: Any, file: Path) -> Column:
    if not isinstance(given, dict) or not {"name", "low", "high"} <= given.keys():
        raise InvalidInput(
            f"Each of the features of {file} must have name, low and high, as {_EXAMPLE}; got "
            f"{json.dumps(given):.100}"
        )
    name = given["name"]
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput(f"A column's name must be a text; {file} has {name!r:.60}")
    name = name.strip()
    _require_known(given, _FEATURE, f"The column {name!r} of {file}")
    step = given.get("step")
    return Column(
        name,
        _exact(given["low"], "low", name, file),
        _exact(given["high"], "high", name, file),
        None if step is None else _exact(step, "step", name, file),
        float(_exact(given.get("mean", 0), "mean", name, file)),
        float(_exact(given.get("std", 1), "std", name, file)),
    )


def _exact(value: Any, which: str, name: str, file: Path) -> Fraction:
    """A number of JSON as it is written: 0.1 is one tenth."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not abs(value) < _HUGE:
        raise InvalidInput(
            f"{file}: the {which} of {name!r} must be a number; got {json.dumps(value):.60}"
            + (". A column with one value does not show its range: say what is possible."
               if value is None else "")
        )  # fmt: skip
    return Fraction(repr(value))


def _classes(given: Any, label: str | None, file: Path) -> tuple[str | int, ...]:
    kinds = {type(one) for one in given} if isinstance(given, list) else {None}
    if kinds - {str} and kinds - {int}:
        raise InvalidInput(
            f"The classes of {file} must be a list of texts, or of whole numbers, as they stand in "
            f"the column of labels, in the order of the model's classes; got {given!r:.100}"
        )
    found = tuple(one.strip() if isinstance(one, str) else one for one in given)
    if found and label is None:
        raise InvalidInput(f"{file} has classes, but no label: name the column that has them.")
    if len(found) == 1 or len(set(found)) < len(found):
        raise InvalidInput(f"{file} must name at least two classes, each once; got {given!r:.100}")
    return found
