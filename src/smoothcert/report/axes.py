"""The geometry of a chart: axes with round ticks, and the paths of step curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from smoothcert.report.curves import Curve

_TICKS = 6  # about


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
    """A curve on a chart: name, colour number, whether dashed, its path and its points.

    `x` and `y` are the values shown at the pointer.
    """

    name: str
    series: int
    dashed: bool
    path: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """A point on a chart, by its values."""

    name: str
    series: int
    x: float
    y: float
    text: str


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


def step_line(curve: Curve, series: int, dashed: bool, x: Axis, y: Axis) -> Line:
    """A step curve whose value at a radius holds down to the previous radius."""
    places = [(x.at(a), y.at(b)) for a, b in zip(curve.x.tolist(), curve.y.tolist(), strict=True)]
    path = f"M{places[0][0]} {places[0][1]}" + "".join(f"V{b}H{a}" for a, b in places[1:])
    # Rounded down, as all figures are: a radius of 0.4999 is not shown as 0.5.
    down = [tuple(floor(v * 1e6) / 1e6 for v in values.tolist()) for values in (curve.x, curve.y)]
    return Line(curve.name, series, dashed, f"{path}V{y.start}", *down)
