"""Two looks at all of alpha (docs/theory.md, section 2), and the bounds on what they can save."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from two_looks import ALPHA, Looks, taking

from smoothcert.bounds import binomial


def worst(first: int, second: int, goes_on, alpha: float) -> Fraction:
    """The largest chance that the limit at the draws made is above p, by exact enumeration.

    Between two limits it rises with p or falls, but p that lie just below a limit, and a grid, are
    close to its largest.
    """
    limits = {
        m: [Fraction(float(binomial.lower(k, m, alpha))) for k in range(m + 1)]
        for m in (first, second)
    }
    below = [q - Fraction(1, 10**12) for m in limits for q in limits[m] if q > 0]
    found = Fraction(0)
    for p in [*below, *(Fraction(i, 50) for i in range(1, 50))]:
        wrong = Fraction(0)
        for k in range(first + 1):
            before = comb(first, k) * p**k * (1 - p) ** (first - k)
            if not goes_on(k):
                wrong += before * (limits[first][k] > p)
                continue
            rest = second - first
            wrong += before * sum(
                comb(rest, j) * p**j * (1 - p) ** (rest - j)
                for j in range(rest + 1)
                if limits[second][k + j] > p
            )
        found = max(found, wrong)
    return found


@pytest.mark.parametrize("alpha", [0.3, 0.05, 0.01])
def test_going_on_where_the_first_look_is_good_keeps_all_of_alpha(alpha):
    for first, second in ((3, 8), (6, 9), (5, 14)):
        for least in range(first + 2):
            assert worst(first, second, lambda k, least=least: k >= least, alpha) <= Fraction(alpha)


def test_going_on_where_it_is_bad_does_not():
    """Whoever draws on until a limit is good is wrong more often."""
    found = [worst(5, 14, lambda k, most=most: k <= most, 0.05) for most in range(5)]
    assert max(found) > Fraction(0.06)


def test_a_plan_may_mix_two_prices():
    found = [(0.0, 100.0), (0.5, 200.0), (0.6, 400.0), (1.0, 500.0)]
    assert taking(found, 0.75) == pytest.approx(350)
    assert taking(found, 0.25) == pytest.approx(150)
    with pytest.raises(SystemExit, match="not 1.1"):
        taking(found, 1.1)


def test_a_plan_of_two_looks_is_the_best_by_enumeration():
    """Of one type with two possible p: first size, second size and rule at every price."""
    p, sizes = np.array([0.8, 0.999]), np.array([0, 40, 200])
    looks, weights = Looks(sizes, p, ALPHA), np.array([[0.3, 0.7]])
    value = {}
    _, chances, gains = looks.gains[1, 2]
    for most in range(-1, 9):
        chance = sum((_law(p, 40, missed) for missed in range(most + 1)), np.zeros(2))
        assert chances[:, : most + 1].sum(axis=1) == pytest.approx(chance)
        value[most] = looks.once[:, 1] + gains[:, : most + 1].sum(axis=1), 40 + 160 * chance
    twice = 0
    for price in (1e-4, 1e-3, 2e-3, 3e-3, 4e-3, 1e-2):
        first, second, most = (int(x[0]) for x in looks.plan(weights, 2)(price))
        mine = {m: float(weights[0] @ (r - price * n)) for m, (r, n) in value.items()}
        once = (weights[0] @ looks.once - price * sizes).max()
        twice += second > first
        if second > first:
            assert most == max(mine, key=lambda m: mine[m]) and mine[most] > once
        else:
            assert once >= max(mine.values()) - 1e-9
    assert twice >= 2


def _law(p, n, missed):
    return comb(n, missed) * (1 - p) ** missed * p ** (n - missed)
