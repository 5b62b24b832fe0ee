"""The finite population's limit against exact tails, at every size it is used at."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcert.bounds import hypergeometric
from smoothcert.errors import InvalidInput
from support.known_truth import hypergeometric_tail


def exact_tail(hits: int, sampled: int, size: int, members: int) -> Fraction:
    """P[Hypergeometric >= hits] in rational arithmetic."""
    ways = sum(
        comb(members, j) * comb(size - members, sampled - j)
        for j in range(hits, min(sampled, members) + 1)
    )
    return Fraction(ways, comb(size, sampled))


@given(st.data())
def test_small_populations_exactly(data):
    size = data.draw(st.integers(1, 40))
    sampled = data.draw(st.integers(0, size))
    hits = data.draw(st.integers(0, sampled))
    alpha = data.draw(st.floats(1e-9, 0.99))
    found = int(hypergeometric.lower(hits, sampled, size, alpha))
    tails = [exact_tail(hits, sampled, size, m) for m in range(hits, size - sampled + hits + 1)]
    limit = hits + next(i for i, tail in enumerate(tails) if tail > Fraction(alpha))
    assert limit - 1 <= found <= limit
    if abs(float(tails[found - hits]) / alpha - 1) > 1e-5:
        assert found == limit


@pytest.mark.parametrize("size", [1000, 10**5, 10**6])
def test_large_populations_are_safe_and_tight(size):
    """At 10^5 the tail used to be summed from a term that had underflowed, and six limits in
    two hundred came out above the truth by up to half of the population."""
    rng = np.random.default_rng(1)
    sampled = rng.integers(1, size + 1, 25)
    hits = (sampled * rng.random(25) ** rng.choice([0.1, 1, 3], 25)).astype(int)
    alpha = 10.0 ** rng.uniform(-8, -0.05, 25)
    found = hypergeometric.lower(hits, sampled, size, alpha)
    for k, m, a, limit in zip(
        hits.tolist(), sampled.tolist(), alpha.tolist(), found.tolist(), strict=True
    ):
        if limit > k:
            assert hypergeometric_tail(k, m, size, limit - 1) <= a
        if limit < size - (m - k):
            assert hypergeometric_tail(k, m, size, limit + 1) > a


def test_known_points():
    assert hypergeometric.lower(7, 10, 10, 0.001) == 7
    assert hypergeometric.lower(0, 5, 100, 0.5) == 0
    assert hypergeometric.lower(3, 5, 100, 0.0) == 3
    assert hypergeometric.lower([[5], [4]], 5, [10, 100], 0.05).shape == (2, 2)
    with pytest.raises(InvalidInput, match="0 <= hits <= sampled <= size"):
        hypergeometric.lower(6, 5, 10, 0.05)
