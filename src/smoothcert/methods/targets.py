"""What certificates must reach: a certified accuracy at a radius, or an average radius; as numbers,
or relative to the original's own certificates. `docs/ci.md` has the grammar."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, nextafter

import numpy as np
from numpy.typing import ArrayLike

from smoothcert.errors import InvalidInput

_TARGET = re.compile(r"(?:ca@(?P<radius>[^>=]+)|acr)>=(?P<least>.+)")
_NUMBER = r"(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})"
_PERCENT = re.compile(rf"({_NUMBER})%")
_RELATIVE = re.compile(
    rf"(?:(?P<before>{_NUMBER}%?)\*)?base(?:\*(?P<after>{_NUMBER}%?))?"
    rf"(?P<change>[+-]{_NUMBER}%?)?"
)
_AS_TYPED = str.maketrans({"≥": ">=", "−": "-", "–": "-", "×": "*", "·": "*"})
_FORM = (
    "a target reads like 'ca@0.5>=0.40' or 'ca@0.5>=40%' (certified accuracy at radius 0.5), "
    "'acr>=0.3' (average certified radius), or, against the original, 'ca@0.5>=base-2%' or "
    "'acr>=0.9*base'"
)


@dataclass(frozen=True)
class Target:
    """A certified accuracy to be reached at a radius.

    Args:
        radius: l2 radius on the [0, 1] scale, >= 0.
        accuracy: in (0, 1].
    """

    radius: float
    accuracy: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (np.isfinite(self.radius) and self.radius >= 0):
            raise InvalidInput(f"the target's radius must be a number >= 0; got {self.radius}")
        if not 0 < self.accuracy <= 1:
            percent = f"; for percent write {self.accuracy:g}%" if 1 < self.accuracy <= 100 else ""
            raise InvalidInput(
                f"the target's accuracy must be in (0, 1]; got {self.accuracy}{percent}"
            )

    def needed(self, inputs: int) -> Fraction:
        """The number of inputs that must be robust, as an exact fraction."""
        return Fraction(repr(self.accuracy)) * inputs

    def __str__(self) -> str:
        """As in tables."""
        return f"CA@{self.radius:g} ≥ {self.accuracy:g}"


@dataclass(frozen=True)
class MeanRadius:
    """An average certified radius to be reached.

    Args:
        least: on the [0, 1] scale, > 0; a fraction where it follows from other radii.
    """

    least: float | Fraction

    def __post_init__(self) -> None:
        """Check the range."""
        if not (np.isfinite(float(self.least)) and self.least > 0):
            raise InvalidInput(f"the target's average radius must be above 0; got {self.least}")

    def as_float(self) -> "MeanRadius":
        """That which a float reaches exactly if it reaches this one."""
        near = float(self.least)
        return MeanRadius(near if near >= self.least else nextafter(near, np.inf))

    def __str__(self) -> str:
        """As in tables."""
        return f"ACR ≥ {float(self.least):g}"


@dataclass(frozen=True)
class Relative:
    """A target in terms of the original's certificates of the same inputs: factor * base + change.

    Attributes:
        text: as it was asked for.
        radius: that of a certified accuracy; None for an average radius.
        factor, change: exact; a change of a certified accuracy is a share of the inputs.
    """

    text: str
    radius: float | None
    factor: Fraction
    change: Fraction

    def of(self, radii: ArrayLike) -> Target | MeanRadius:
        """The target in numbers.

        Args:
            radii: of the original's certificates, -1 where one has another class than the label
                or none (`correct_radii`); of exactly the inputs that are to be judged.

        Raises:
            InvalidInput: it asks for nothing, which every model reaches, or for more than all.
        """
        given = np.asarray(radii, float)
        least = self.factor * self._base(given) + self.change
        if least <= 0:
            raise InvalidInput(
                f"{self.text!r} asks for nothing, as {self.found(given)}: every model would "
                "be accepted. Ask at a smaller radius, or give a number above 0."
            )
        if self.radius is None:
            return MeanRadius(least)
        if least > 1:
            raise InvalidInput(
                f"{self.text!r} asks for more than all inputs, as {self.found(given)}: no model "
                "could be accepted. Ask for less."
            )
        return Target(self.radius, _share(ceil(least * len(given)), len(given)))

    @property
    def asked(self) -> str:
        """What stands behind the `>=`."""
        return self.text.translate(_AS_TYPED).partition(">=")[2].strip()

    def found(self, radii: ArrayLike) -> str:
        """What the original has, in words."""
        given = np.asarray(radii, float)
        if self.radius is None:
            return f"the original's own is about {float(self._base(given)):.6g}"
        return f"the original has {int((given >= self.radius).sum())} of {len(given)} there"

    def _base(self, radii: ArrayLike) -> Fraction:
        """The original's own figure."""
        given = np.asarray(radii, float)
        if self.radius is not None:
            return Fraction(int((given >= self.radius).sum()), len(given))
        return sum((Fraction(r) for r in given[given > 0].tolist()), Fraction(0)) / len(given)


Goal = Target | MeanRadius | Relative


def _share(count: int, inputs: int) -> float:
    """A float of which exactly so many inputs are needed: see `Target.needed`."""
    near = count / inputs
    return near if Fraction(repr(near)) * inputs <= count else nextafter(near, 0)


def parse_target(text: str) -> Goal:
    """`ca@RADIUS>=X` or `acr>=X`; X is a number, for ca also a percentage, or refers to `base`.

    Raises:
        InvalidInput: another form, or a value out of range.
    """
    found = _TARGET.fullmatch("".join(text.split()).translate(_AS_TYPED).lower())
    if found is None:
        raise InvalidInput(f"{_FORM}; got {text!r}")
    least, of_accuracy = found["least"], found["radius"] is not None
    try:
        radius = float(found["radius"]) if of_accuracy else None
        if relative := _RELATIVE.fullmatch(least):
            return _relative(text, radius, relative)
        percent = _PERCENT.fullmatch(least)
        if percent and not of_accuracy:
            raise InvalidInput(
                f"an average radius is no share, so {least} of it says nothing; got {text!r}. "
                f"Write a radius, as 'acr>=0.3', or '{least}*base' for a part of the original's."
            )
        value = float(Fraction(percent[1]) / 100) if percent else float(least)
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{_FORM}; got {text!r}") from None
    return MeanRadius(value) if radius is None else Target(radius, value)


def _relative(text: str, radius: float | None, found: re.Match[str]) -> Relative:
    """What refers to the original, whose figure is a share (with a radius) or a radius."""
    if found["before"] and found["after"]:
        raise InvalidInput(f"{_FORM}; got two factors in {text!r}")
    change = found["change"] or "+0"
    if radius is None and change.endswith("%"):
        less = Fraction(100) + Fraction(change[:-1])
        raise InvalidInput(
            f"{change[1:]} of what, in {text!r}? For a part of the original's average radius write "
            f"'acr>={float(less):g}%*base'; for a radius that differs by 0.02, 'acr>=base-0.02'."
        )
    exact = Relative(text, radius, _exact(found["before"] or found["after"] or "1"), _exact(change))
    if radius is not None:
        Target(radius, 1.0)  # checks the radius
        if abs(exact.change) >= 1:
            raise InvalidInput(
                f"{text!r} changes the certified accuracy by {change}, but it is at most 1. For "
                f"percentage points write base{change}%."
                if not change.endswith("%")
                else f"{text!r} changes the certified accuracy by {change}, but it is at most 100%."
            )
    return exact


def _exact(number: str) -> Fraction:
    return Fraction(number[:-1]) / 100 if number.endswith("%") else Fraction(number)


def read(asked: str | Goal | Iterable[str | Goal] | None) -> tuple[Goal, ...]:
    """One target or several, as text or not.

    Raises:
        InvalidInput: one of them is neither, or a text of another form.
    """
    several = [asked] if isinstance(asked, str | Goal) else list(asked or ())
    if other := [one for one in several if not isinstance(one, str | Goal)]:
        raise InvalidInput(f"{_FORM}; got {other[0]!r}. Give each target by itself.")
    return tuple(parse_target(one) if isinstance(one, str) else one for one in several)


def in_numbers(goals: Iterable[Goal], radii: ArrayLike) -> tuple[Target | MeanRadius, ...]:
    """Targets with what is relative taken of the original's radii; see `Relative.of`."""
    return tuple(goal.of(radii) if isinstance(goal, Relative) else goal for goal in goals)
