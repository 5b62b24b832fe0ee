"""Targets: what is read, what is refused and with which advice, and that nothing is rounded."""

import math
from fractions import Fraction

import numpy as np
import pytest

from smoothcert.errors import InvalidInput
from smoothcert.methods.screening import Screening
from smoothcert.methods.targets import (
    MeanRadius,
    Relative,
    Target,
    in_numbers,
    parse_target,
    read,
)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (" ca@0.5 >= 0.4 ", Target(0.5, 0.4)),
        ("CA@0.5>=40%", Target(0.5, 0.4)),
        ("ca@0.25 ≥ 29.3 %", Target(0.25, 0.293)),
        ("acr>=0.3", MeanRadius(0.3)),
        ("ACR ≥ .3", MeanRadius(0.3)),
    ],
)
def test_targets_in_numbers(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("least", "factor", "change"),
    [
        ("base", 1, 0),
        ("base-0.02", 1, Fraction(-2, 100)),
        ("base−0.02", 1, Fraction(-2, 100)),
        ("base + 1%", 1, Fraction(1, 100)),
        ("base-2%", 1, Fraction(-2, 100)),
        ("0.9*base", Fraction(9, 10), 0),
        ("90%*base", Fraction(9, 10), 0),
        ("90% × base", Fraction(9, 10), 0),
        ("base*.9", Fraction(9, 10), 0),
        ("0.9*base-1%", Fraction(9, 10), Fraction(-1, 100)),
    ],
)
def test_targets_relative_to_the_original(least, factor, change):
    text = f"ca@0.25>={least}"
    assert parse_target(text) == Relative(text, 0.25, Fraction(factor), Fraction(change))
    assert parse_target(text).asked == least.replace("−", "-").replace("×", "*")
    if not (change and "%" in least):
        found = parse_target(f"acr>={least}")
        assert (found.radius, found.factor, found.change) == (None, factor, change)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acr>=x", "a target reads like"),
        ("acr", "a target reads like"),
        ("acr>=", "a target reads like"),
        ("acc>=0.3", "a target reads like"),
        ("ca@0.5>0.4", "a target reads like 'ca@0.5>=0.40' or 'ca@0.5>=40%'"),
        ("ca@0.5=>0.4", "a target reads like"),
        ("ca@x>=base", "a target reads like"),
        ("ca@0.5>=0.9base", "a target reads like"),
        ("ca@0.5>=base-", "a target reads like"),
        ("ca@0.5>=base/2", "a target reads like"),
        ("ca@0.5>=2-base", "a target reads like"),
        ("ca@0.5>=0.9*base*0.9", "got two factors in"),
        ("acr>=0", "must be above 0; got"),
        ("acr>=nan", "must be above 0; got"),
        ("acr>=inf", "must be above 0; got"),
        ("acr>=-1", "must be above 0; got"),
        ("ca@0.5>=40", r"in \(0, 1\]; got 40.0; for percent write 40%"),
        ("ca@0.5>=140%", r"in \(0, 1\]; got 1.4"),
        ("ca@0.5>=0%", r"in \(0, 1\]; got 0.0"),
        ("ca@-1>=base", "radius must be a number >= 0; got -1"),
        ("ca@nan>=base-2%", "radius must be a number >= 0; got nan"),
        ("ca@0.5>=base-2", "changes the certified accuracy by -2, .* write base-2%"),
        ("ca@0.5>=base-100%", "by -100%, but it is at most 100%"),
        ("acr>=40%", "says nothing; .* Write a radius, as 'acr>=0.3', or '40%\\*base'"),
        ("acr>=base-2%", "2% of what.* write 'acr>=98%\\*base'; .* 'acr>=base-0.02'"),
        ("acr>=base+2.5%", "2.5% of what.* write 'acr>=102.5%\\*base'"),
    ],
)
def test_what_is_refused_says_what_to_write(text, said):
    with pytest.raises(InvalidInput, match=said):
        parse_target(text)


@pytest.mark.parametrize(
    "text",
    [
        *("ca@0.5>=0.40", "ca@0.5>=40%", "acr>=0.3", "ca@0.5>=base-2%", "acr>=98%*base"),
        *("acr>=base-0.02", "acr>=40%*base", "acr>=0.9*base"),
    ],
)
def test_the_advice_works(text):
    parse_target(text)


@pytest.mark.parametrize("inputs", [1, 3, 6, 7, 12, 30, 97])
@pytest.mark.parametrize(
    "text", ["base", "base-2%", "base-0.02", "0.9*base", "90%*base-1%", "base+1%", "base-33%"]
)
def test_a_share_of_the_original_is_counted_exactly(inputs, text):
    """Against whole numbers: in floats 5 of 6 inputs would at times need 6."""
    goal = parse_target(f"ca@0.5>={text}")
    for count in range(inputs + 1):
        radii = np.where(np.arange(inputs) < count, 0.5, -1.0)
        exact = goal.factor * count + goal.change * inputs
        if not 0 < exact <= inputs:
            with pytest.raises(InvalidInput, match=r"asks for (nothing|more than all inputs)"):
                goal.of(radii)
            continue
        target = goal.of(radii)
        assert target.radius == 0.5
        assert math.ceil(target.needed(inputs)) == math.ceil(exact)


def test_the_check_sees_a_float_that_asks_for_one_more():
    """The control: the nearest float to 5/6 needs 6 of 12 times 5/6, by its digits."""
    wrong = [n for n in range(1, 100) for k in range(1, n) if _plain(k, n) > k]
    assert 6 in wrong
    assert math.ceil(parse_target("ca@0>=base").of([0.1] * 5 + [-1]).needed(6)) == 5


def _plain(count: int, inputs: int) -> int:
    return math.ceil(Target(0.0, count / inputs).needed(inputs))


def test_only_radii_of_the_label_and_large_enough_count():
    radii = [-1.0, 0.24, 0.25, 0.3]
    assert parse_target("ca@0.25>=base").of(radii).needed(4) == 2
    assert parse_target("acr>=base").of(radii).least == sum(map(Fraction, radii[1:])) / 4
    assert parse_target("acr>=0.9*base-0.01").of(radii).least == (
        Fraction(9, 10) * sum(map(Fraction, radii[1:])) / 4 - Fraction(1, 100)
    )


def test_a_mean_in_floats_is_reached_by_the_same_floats():
    """A dataset certificate's radius is a float, and the original's mean mostly is none."""
    third = MeanRadius(Fraction(1, 3))
    near = third.as_float().least
    assert near >= Fraction(1, 3)
    assert math.nextafter(near, 0) < Fraction(1, 3)
    assert MeanRadius(0.3).as_float() == MeanRadius(0.3)
    assert Screening(9, further=(third,)).further == (MeanRadius(near),)


def test_one_or_several_as_text_or_not():
    assert read(None) == read(()) == ()
    assert read("acr>=0.3") == read(["acr>=0.3"]) == read(MeanRadius(0.3)) == (MeanRadius(0.3),)
    goals = read(["ca@0.1>=base", Target(0.5, 0.4)])
    assert in_numbers(goals, [0.1, -1.0]) == (Target(0.1, 0.5), Target(0.5, 0.4))


def test_targets_of_a_screening():
    asked = Screening(100).asking([MeanRadius(0.1), Target(0.5, 0.4), Target(0.2, 0.4)])
    assert asked.target == Target(0.5, 0.4)
    assert asked.targets == (Target(0.5, 0.4), MeanRadius(0.1), Target(0.2, 0.4))
    assert asked.named == (0.2, 0.5)
    assert asked.looks == 5
    assert Screening(100).asking([MeanRadius(0.1)]).looks == 5
    assert Screening(100).asking([]) == Screening(100)
