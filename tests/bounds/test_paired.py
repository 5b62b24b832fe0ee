"""McNemar's exact test and what it can find, against exact arithmetic."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.bounds.paired import detectable, mcnemar
from smoothcert.errors import InvalidInput


def tail(changes: int, most: int) -> Fraction:
    """P[Bin(changes, 1/2) <= most], exactly."""
    return Fraction(sum(comb(changes, j) for j in range(most + 1)), 2**changes)


@given(st.integers(0, 80), st.integers(0, 80))
def test_the_p_value_is_exact_and_rounded_up(lost, gained):
    exact = min(Fraction(1), 2 * tail(lost + gained, min(lost, gained)))
    found = mcnemar(lost, gained)
    assert exact <= Fraction(found) <= exact * (1 + Fraction(1, 2**51))
    assert found == mcnemar(gained, lost)


def test_p_values_by_hand():
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    assert mcnemar(6, 0) == 2 / 64
    assert mcnemar(1, 9) == 22 / 1024
    assert mcnemar(5000, 4600) == pytest.approx(4.66e-5, rel=0.01)
    assert 0 < mcnemar(2000, 0) < 1e-300  # never 0


def exceeded(p_value, level: Fraction, changes: int) -> Fraction:
    """The probability of a p-value of at most `level` if losing and gaining are equally likely."""
    rejected = [x for x in range(changes + 1) if Fraction(p_value(x, changes - x)) <= level]
    return Fraction(sum(comb(changes, x) for x in rejected), 2**changes)


def one_sided(lost: int, gained: int) -> float:
    """The wrong variant: the smaller tail alone."""
    return float(tail(lost + gained, min(lost, gained)))


@pytest.mark.parametrize("level", [Fraction(1, 20), Fraction(1, 5)])
def test_its_error_is_at_most_its_level(level):
    assert all(exceeded(mcnemar, level, changes) <= level for changes in range(60))
    assert max(exceeded(mcnemar, level, changes) for changes in range(60)) > level * Fraction(3, 4)
    assert any(exceeded(one_sided, level, changes) > level for changes in range(60))


def power(inputs: int, lost: Fraction, gained: Fraction, level: Fraction) -> Fraction:
    """The chance that the test finds a difference, over all numbers of losses and gains."""
    total, same = Fraction(0), 1 - lost - gained
    for changes in range(inputs + 1):
        ways = comb(inputs, changes) * same ** (inputs - changes)
        for x in range(changes + 1):
            if 2 * tail(changes, min(x, changes - x)) <= level:
                total += ways * comb(changes, x) * lost**x * gained ** (changes - x)
    return total


@settings(max_examples=25, deadline=None)
@given(
    st.integers(6, 22),
    st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    st.sampled_from([0.05, 0.25, 0.4]),  # 1/4 is a p-value
    st.sampled_from([0.3, 0.5, 0.8]),
)
def test_what_it_can_find_is_found_and_less_is_not(inputs, changed, level, wanted):
    def found(difference: float) -> Fraction:
        share, part = Fraction(changed), Fraction(difference)
        return power(inputs, (share + part) / 2, (share - part) / 2, Fraction(level))

    least = detectable(inputs, changed, level, wanted)
    if least is None:
        assert found(changed) < Fraction(wanted) + Fraction(1, 10**8)
        return
    assert 0 < least <= changed
    assert found(least) >= Fraction(wanted)
    if least > 1e-3:
        assert found(least - 1e-3) < Fraction(wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.sampled_from([0.05, 0.01, 0.125]), st.sampled_from([0.5, 0.8, 0.95]))
def test_losses_alone(inputs, level, wanted):
    least = detectable(inputs, None, level, wanted)
    if least is None:
        assert power(inputs, Fraction(1), Fraction(0), Fraction(level)) == 0
        return
    assert power(inputs, Fraction(least), Fraction(0), Fraction(level)) >= Fraction(wanted)
    less = Fraction(least) - Fraction(1, 10**6)
    assert power(inputs, less, Fraction(0), Fraction(level)) < Fraction(wanted)
    # The sum over losses and gains says the same where all changes are losses.
    assert detectable(inputs, least, level, wanted - 1e-6) == pytest.approx(least, abs=1e-5)


def test_large_numbers():
    """The figures of docs/theory.md, section 15."""
    table = {100: (0.078, None, 0.089), 500: (0.016, 0.018, 0.041), 1000: (0.008, 0.013, 0.029)}
    table |= {10_000: (0.0008, 0.0041, 0.009)}
    for inputs, stated in table.items():
        for changed, up_to in zip((None, 0.02, 0.1), stated, strict=True):
            found = detectable(inputs, changed)
            assert (found is None) == (up_to is None)
            assert found is None or 0.9 * up_to < found <= up_to
    assert detectable(50_000, 0.1) < detectable(10_000, 0.1)


@pytest.mark.parametrize(
    "given",
    [(0,), (2.5,), (10, 1.5), (10, -0.1), (10, None, 0), (10, None, 0.05, 1), (10, float("nan"))],
)
def test_what_is_refused(given):
    with pytest.raises(InvalidInput, match="at least one input|whole numbers"):
        detectable(*given)


def test_counts_that_are_none():
    for lost, gained in ((-1, 3), (2.5, 1)):
        with pytest.raises(InvalidInput, match="whole numbers"):
            mcnemar(lost, gained)
