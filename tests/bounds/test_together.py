"""All certificates of a run together, against exact arithmetic."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcert.bounds import binomial
from smoothcert.bounds.together import (
    mean_above,
    new_inputs_above,
    new_mean_above,
    wrong_at_most,
)
from smoothcert.errors import InvalidInput


def tail(count: int, alpha: float, more_than: int) -> Fraction:
    """P[Bin(count, alpha) > more_than] for the float alpha, exactly."""
    p = Fraction(alpha)
    below = (comb(count, j) * p**j * (1 - p) ** (count - j) for j in range(more_than + 1))
    return 1 - sum(below, Fraction(0))


@given(st.integers(1, 60), st.floats(1e-5, 0.5), st.floats(1e-9, 0.5))
def test_the_tail_is_below_beta_and_one_less_is_not(count, alpha, beta):
    wrong = wrong_at_most(count, alpha, beta)
    assert tail(count, alpha, wrong) <= Fraction(beta)
    if wrong:
        # Sharp, up to the outward rounding of the limits.
        assert tail(count, alpha, wrong - 1) > Fraction(beta) * (1 - Fraction(1, 10**6))


def test_a_count_by_hand():
    """P[Bin(500, 0.001) > 3] = 0.0017 and P[... > 4] = 0.0002."""
    assert wrong_at_most(500, 0.001, 0.001) == 4
    assert wrong_at_most(1, 0.001, 0.01) == 0
    assert wrong_at_most(1, 0.5, 0.01) == 1
    assert wrong_at_most(50_000, 0.001, 0.001) == 73


def test_the_mean_drops_the_largest():
    radii = np.array([0.5, -1.0, 0.25, 1.0])
    assert mean_above(radii, 0) == pytest.approx(1.75 / 4, abs=1e-12)
    assert mean_above(radii, 1) == pytest.approx(0.75 / 4, abs=1e-12)
    assert mean_above(radii, 9) == 0


@given(st.lists(st.floats(0, 5), min_size=1, max_size=30), st.integers(0, 5))
def test_the_mean_is_rounded_down(radii, wrong):
    exact = sum(map(Fraction, sorted(radii)[: max(0, len(radii) - wrong)]), Fraction(0))
    assert Fraction(mean_above(np.array(radii), wrong)) <= exact / len(radii)


@pytest.mark.parametrize(("count", "alpha", "beta"), [(0, 0.1, 0.1), (5, 0, 0.1), (5, 0.1, 1)])
def test_what_is_refused(count, alpha, beta):
    with pytest.raises(InvalidInput, match="needs at least one of them"):
        wrong_at_most(count, alpha, beta)


@given(st.integers(1, 300), st.data(), st.floats(1e-6, 0.4), st.floats(1e-4, 0.5))
def test_the_limit_for_new_inputs_is_rounded_down(count, data, alpha, beta):
    certified = data.draw(st.integers(0, count))
    share = Fraction(float(binomial.lower(certified, count, beta)))
    exact = (share - Fraction(alpha)) / (1 - Fraction(alpha))
    found = float(new_inputs_above(certified, count, alpha, beta))
    assert Fraction(found) <= max(exact, Fraction(0))
    assert found >= exact - Fraction(1, 10**14)


@pytest.mark.parametrize(
    "given", [(1, 0, 0.1, 0.1), (1, 5, 0, 0.1), (1, 5, 0.1, 1), (6, 5, 0.1, 0.1)]
)
def test_new_inputs_refused(given):
    with pytest.raises(InvalidInput):
        new_inputs_above(*given)


LEVELS = st.lists(st.integers(0, 64), min_size=1, max_size=40)


@given(LEVELS, st.floats(1e-6, 0.4), st.floats(1e-4, 0.5), st.data())
def test_the_limit_of_the_mean_radius_is_where_the_bets_reach_one_over_beta(
    levels, alpha, beta, data
):
    radii = np.array(levels) / 32
    found = new_mean_above(radii, 2, alpha, beta)
    bets = np.minimum(0.95, np.sqrt(-2 * np.log(beta) / len(radii)) / [0.5, 1, 2])

    def capital(mean: float) -> float:
        mean = mean * (1 - alpha) + alpha * 2  # of what is certified
        return float(np.mean([np.prod(1 - bet + bet * radii / mean) for bet in bets]))

    if found > 0:
        assert capital(found) >= 1 / beta
        assert capital(found + 1e-6) < 1 / beta
    else:
        assert capital(1e-6) < 1 / beta
    # Of wrong certificates those count that raise a radius: the limit must not fall with any.
    place = data.draw(st.integers(0, len(radii) - 1))
    assert new_mean_above(radii + 0.25 * np.eye(len(radii))[place], 2, alpha, beta) >= found
    assert new_mean_above(np.where(radii < 2, radii, 9.0), 2, alpha, beta) == found
    assert new_mean_above(np.where(radii > 0, radii, -1.0), 2, alpha, beta) == found


@pytest.mark.parametrize("radii", [[0.0] * 5, [1e-320] * 5, [1.0] + [0.0] * 99])
def test_what_proves_nothing_of_the_mean(radii):
    assert new_mean_above(radii, 1, 0.05, 0.05) == 0


@pytest.mark.parametrize(
    "given",
    [
        *(([], 1, 0.1, 0.1), ([[0.5]], 1, 0.1, 0.1), ([np.nan], 1, 0.1, 0.1)),
        *(([0.5], -1, 0.1, 0.1), ([0.5], np.inf, 0.1, 0.1)),
        *(([0.5], 1, 0, 0.1), ([0.5], 1, 0.1, 1)),
    ],
)
def test_the_mean_of_new_inputs_refused(given):
    with pytest.raises(InvalidInput, match="needs one radius or more"):
        new_mean_above(*given)
