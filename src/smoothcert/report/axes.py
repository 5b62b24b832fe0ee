"""The geometry of a chart: axes with round ticks, paths of step curves, places of labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np

from smoothcert.report.curves import Curve

SERIES = 8
"""How many colours and signs there are."""

_TICKS = 6  # about
_SIGNS = 5  # on a curve
_MOST_LABELS = 12
_LABEL_HEIGHT, _LABEL_AWAY, _LETTER = 75.0, 20.0, 12.0  # of a chart of 1000 by 1000
_LABEL_SHIFTS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6)  # up or down, in heights


@dataclass(frozen=True)
class Axis:
    """A range of values and the pixels it is drawn on.

    Attributes:
        label: what is measured.
        low, high: the values at its ends.
        start, end: their pixels.
        log: whether the scale is logarithmic.
    """

    label: str
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (log10(v) if self.log else v for v in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 2)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """(pixel, text) of round values."""
        return tuple((self.at(v), f"{v:,.10g}") for v in self.round_values)

    @property
    def round_values(self) -> Sequence[float]:
        """Values with few digits, evenly over the axis."""
        if self.log:
            powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            dense = self.high / self.low < 200
            values = [f * 10.0**p for p in powers for f in ((1, 2, 5) if dense else (1,))]
        else:
            step = _round_step((self.high - self.low) / _TICKS)
            first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
            values = [round(i * step, 12) for i in range(first, last + 1)]
        return [v for v in values if self.low <= v <= self.high * (1 + 1e-9)]


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** floor(log10(least))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= least * (1 - 1e-9))


@dataclass(frozen=True)
class Line:
    """A curve on a chart.

    Attributes:
        name: its name in the legend.
        series: number of its colour and its sign.
        dashed: whether it is dashed.
        path: what is drawn.
        x, y: the values shown at the pointer.
        kind: `alone` for a curve of certificates each on its own, `together` for the lower edge of
            its band, `screened` for a dataset certificate, `published` for a log of somebody
            else; empty for others.
        area: the band between the curve and its lower edge, as a path; may be empty.
        signs: where its sign is repeated, so that it is told from others without colour.
    """

    name: str
    series: int
    dashed: bool
    path: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    kind: str = ""
    area: str = ""
    signs: tuple[tuple[float, float], ...] = ()

    @property
    def curve(self) -> Curve:
        """Its values as a step curve."""
        return Curve(self.name, np.array(self.x), np.array(self.y))


@dataclass(frozen=True)
class Mark:
    """A point on a chart, by its values.

    Attributes:
        name: of what it is of.
        series: number of its colour and its sign.
        x, y: its values.
        text: what it says, with its name.
    """

    name: str
    series: int
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Label:
    """A mark's name beside it, moved so that names do not lie on each other.

    Attributes:
        mark: the mark.
        x, y: where its text starts, or ends if it is to the left.
        left: whether it is to the left of the mark.
    """

    mark: Mark
    x: float
    y: float
    left: bool

    @property
    def span(self) -> tuple[float, float]:
        """About from where to where its text goes."""
        width = len(self.mark.name) * _LETTER
        return (self.x - width, self.x) if self.left else (self.x, self.x + width)

    def meets(self, other: "Label") -> bool:
        """Whether the two texts would lie on each other."""
        apart = abs(self.y - other.y) >= 0.99 * _LABEL_HEIGHT
        return not (apart or self.span[1] < other.span[0] or other.span[1] < self.span[0])


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn.

    Attributes:
        key: its id in the page.
        title: what it shows, also for screen readers.
        x, y: the axes.
        lines, marks: the curves and points.
        note: what is to be said below it; may be empty.
    """

    key: str
    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    note: str = ""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Names of the marks where they lie on no other; none where there are too many marks."""
        if len(self.marks) > _MOST_LABELS:
            return ()
        placed: list[Label] = []
        for mark in sorted(self.marks, key=lambda mark: self.y.at(mark.y)):
            free = (label for label in self._beside(mark) if not any(map(label.meets, placed)))
            placed.append(next(free, next(self._beside(mark))))
        return tuple(placed)

    def _beside(self, mark: Mark) -> Iterator[Label]:
        """Places for a mark's name, the nearest first, first on the side with more room."""
        x, y = self.x.at(mark.x), self.y.at(mark.y)
        leftwards = x > (self.x.start + self.x.end) / 2
        low, high = sorted((self.y.start, self.y.end))
        for shift in _LABEL_SHIFTS:
            place = y + shift * _LABEL_HEIGHT
            for left in (leftwards, not leftwards):
                label = Label(mark, x - _LABEL_AWAY if left else x + _LABEL_AWAY, place, left)
                if low <= place <= high and label.span[0] >= 0 and label.span[1] <= self.x.end:
                    yield label
        yield Label(mark, x, y, leftwards)


def step_line(
    curve: Curve, series: int, dashed: bool, x: Axis, y: Axis, kind: str = "", area: str = ""
) -> Line:
    """A step curve whose value at a radius holds down to the previous radius."""
    path = f"M{_steps(curve, x, y)}V{y.start}"
    # Rounded down, as all figures are: a radius of 0.4999 is not shown as 0.5.
    down_x, down_y = (
        tuple(floor(v * 1e6) / 1e6 for v in values.tolist()) for values in (curve.x, curve.y)
    )
    signs = _signs(curve, series, x, y)
    return Line(curve.name, series, dashed, path, down_x, down_y, kind, area, signs)


def band(curve: Curve, below: Curve, x: Axis, y: Axis) -> str:
    """The path of the area between two step curves from radius 0."""
    return f"M{_steps(curve, x, y)}V{y.start}H{x.start}ZM{_steps(below, x, y)}V{y.start}H{x.start}Z"


def _steps(curve: Curve, x: Axis, y: Axis) -> str:
    places = [(x.at(a), y.at(b)) for a, b in zip(curve.x.tolist(), curve.y.tolist(), strict=True)]
    return f"{places[0][0]} {places[0][1]}" + "".join(f"V{b}H{a}" for a, b in places[1:])


def _signs(curve: Curve, series: int, x: Axis, y: Axis) -> tuple[tuple[float, float], ...]:
    """Evenly along the curve, and of no two series at the same radius."""
    last, found = float(curve.x[-1]), []
    for number in range(_SIGNS):
        at = last * (number + (series % SERIES + 0.5) / SERIES) / _SIGNS
        place = min(int(np.searchsorted(curve.x, at, side="left")), len(curve.x) - 1)
        found.append((x.at(at), y.at(float(curve.y[place]))))
    return tuple(found)
