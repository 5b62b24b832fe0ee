"""The normal quantile's stated sides, against mpmath at 40 digits."""

import mpmath
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.bounds import normal
from smoothcert.bounds.rounding import difference_below, sum_above


def exact(q: float) -> mpmath.mpf:
    with mpmath.workdps(40):
        return mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(q) - 1)


@given(st.one_of(st.floats(1e-12, 1 - 1e-12), st.floats(0.5, 0.5001)))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_below_is_below_and_above_is_above(q):
    below, above = float(normal.quantile_below(q)), float(normal.quantile_above(q))
    z = exact(q)
    assert below <= z <= above
    assert above - below <= 1e-12 * (1 + abs(below))


def test_ends():
    assert normal.quantile_below(0) == -np.inf
    assert normal.quantile_below(1) == np.inf
    assert normal.quantile_below(0.5) <= 0 <= normal.quantile_above(0.5)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(derandomize=True)
def test_float_sums_err_to_the_stated_side(a, b):
    from fractions import Fraction

    assert Fraction(difference_below(a, b)) <= max(Fraction(0), Fraction(a) - Fraction(b))
    assert Fraction(sum_above(a, b)) >= min(Fraction(1), Fraction(a) + Fraction(b))
