"""Clopper-Pearson limits against rigorous rational arithmetic: never unsafe, never far."""

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from smoothcert.bounds import binomial
from smoothcert.errors import InvalidInput
from support.known_truth import tail

TOLERANCE = Fraction(1, 10**9)


@st.composite
def counts(draw, largest: int):
    n = draw(st.one_of(st.integers(1, largest), st.integers(largest // 2, largest)))
    share = draw(st.floats(0.001, 0.999))
    k = draw(st.one_of(st.just(0), st.just(n), st.integers(0, n), st.just(round(share * n))))
    alpha = draw(
        st.one_of(st.sampled_from([1e-9, 0.0005, 0.001, 0.05, 0.5, 0.9]), st.floats(1e-12, 0.999))
    )
    return k, n, alpha


def is_safe_lower(p: float, k: int, n: int, alpha: float) -> bool:
    """Whether P[Bin(n, p) >= k] <= alpha, proven."""
    return p <= 0 or (k > 0 and tail(k, n, p)[1] <= Fraction(alpha))


def is_close_lower(p: float, k: int, n: int, alpha: float) -> bool:
    """Whether p + 1e-9 is already too large, proven."""
    further = float(Fraction(p) + TOLERANCE)
    return k == 0 or further >= 1 or tail(k, n, further)[0] > Fraction(alpha)


@pytest.mark.parametrize(("largest", "examples"), [(2000, 300), (10**6, 40)])
def test_lower_is_safe_and_close(largest, examples):
    @given(counts(largest))
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    def check(case):
        k, n, alpha = case
        p = float(binomial.lower(k, n, alpha))
        assert is_safe_lower(p, k, n, alpha)
        assert is_close_lower(p, k, n, alpha)

    check()


@given(counts(10**6))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_upper_is_safe_and_close_up_to_a_million(case):
    k, n, alpha = case
    q = float(binomial.upper(k, n, alpha))
    # P[Bin(n, q) <= k] = 1 - P[Bin(n, q) >= k + 1].
    assert q >= 1 or 1 - tail(k + 1, n, q)[0] <= Fraction(alpha)
    nearer = float(Fraction(q) - TOLERANCE)
    assert k == n or nearer <= 0 or 1 - tail(k + 1, n, nearer)[1] > Fraction(alpha)


@pytest.mark.parametrize("n", [1, 2, 100, 10**6])
@pytest.mark.parametrize("alpha", [0.0005, 0.001, 0.05])
def test_all_and_none(n, alpha):
    assert binomial.lower(0, n, alpha) == 0
    assert binomial.upper(n, n, alpha) == 1
    all_ = float(binomial.lower(n, n, alpha))
    assert is_safe_lower(all_, n, n, alpha)
    assert all_ == pytest.approx(alpha ** (1 / n), abs=1e-9)
    assert float(binomial.upper(0, n, alpha)) == pytest.approx(1 - alpha ** (1 / n), abs=1e-9)


def test_the_check_catches_a_limit_rounded_to_nearest():
    """The negative control: SciPy's own quantile is proven unsafe in a good part of the cases."""
    rng = np.random.default_rng(1)
    unsafe = 0
    for _ in range(60):
        n = int(rng.integers(2, 300))
        k = int(rng.integers(1, n + 1))
        unsafe += not is_safe_lower(float(stats.beta.ppf(0.001, k, n - k + 1)), k, n, 0.001)
    assert unsafe > 5


def test_the_tail_oracle_agrees_with_plain_fractions():
    from math import comb

    for k, n, p in [(3, 10, 0.3), (10, 10, 0.9), (1, 40, 0.01), (17, 25, 0.5)]:
        exact = sum(
            comb(n, i) * Fraction(p) ** i * (1 - Fraction(p)) ** (n - i) for i in range(k, n + 1)
        )
        low, high = tail(k, n, p)
        assert low <= exact <= high
        assert high - low < Fraction(1, 10**30)


def test_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    n = rng.integers(1, 10**5, 2000)
    k = (rng.random(2000) * (n + 1)).astype(int)
    low, high = proportion_confint(k, n, alpha=0.002, method="beta")
    assert np.abs(binomial.lower(k, n, 0.001) - low).max() < 1e-9
    assert np.abs(binomial.upper(k, n, 0.001) - high).max() < 1e-9


def test_edges_of_alpha_and_no_draws():
    assert binomial.lower(3, 10, 0) == 0
    assert binomial.upper(3, 10, 0) == 1
    assert binomial.lower(3, 10, 1) == 1
    assert binomial.upper(3, 10, 1) == 0
    assert binomial.lower(0, 0, 0.05) == 0
    assert binomial.upper(0, 0, 0.05) == 1


def test_broadcasts():
    assert binomial.lower([[1], [2]], 10, [0.1, 0.01, 0.001]).shape == (2, 3)
    assert binomial.upper(5, 10, 0.1).shape == ()


@pytest.mark.parametrize(
    ("k", "n", "alpha", "message"),
    [
        (11, 10, 0.1, r"whole numbers 0 <= k <= n < 2\^53; got k = 11, n = 10"),
        (-1, 10, 0.1, "got k ="),
        (1.5, 10, 0.1, "got k ="),
        (float("nan"), 10, 0.1, "got k ="),
        (1, -1, 0.1, "got k = 1, n = -1"),
        (1, 10, 1.5, r"alpha must be error probabilities in \[0, 1\]; got 1.5"),
        (1, 10, float("nan"), "alpha must be"),
    ],
)
def test_bad_arguments(k, n, alpha, message):
    with pytest.raises(InvalidInput, match=message):
        binomial.lower(k, n, alpha)


def test_bisection_gives_the_same_limit():
    """The way out for arguments where the quantile routine fails."""
    k, n, alpha = np.array([5.0, 5e5]), np.array([10.0, 1e6]), np.array([0.001, 0.001])
    assert np.abs(binomial._bisect(k, n, alpha) - binomial.lower(k, n, alpha)).max() < 1e-9


def test_many_limits_take_a_moment():
    """Not a speed test (benchmarks/limits.py measures): only that it is vectorized at all."""
    rng = np.random.default_rng(0)
    n = rng.integers(1, 10**6, 10**5)
    k = (rng.random(10**5) * (n + 1)).astype(int)
    start = time.perf_counter()
    assert binomial.lower(k, n, 0.001).shape == (10**5,)
    assert time.perf_counter() - start < 60


@pytest.mark.slow
def test_safe_and_close_on_random_large_counts():
    rng = np.random.default_rng(2)
    for _ in range(40):
        n = int(rng.integers(10**5, 10**6))
        k, alpha = int(rng.random() * (n + 1)), float(10 ** rng.uniform(-9, -0.1))
        p = float(binomial.lower(k, n, alpha))
        assert is_safe_lower(p, k, n, alpha), (k, n, alpha)
        assert is_close_lower(p, k, n, alpha), (k, n, alpha)
