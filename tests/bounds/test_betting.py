"""Betting limits against exact arithmetic, and the exact probability of ever being wrong."""

from fractions import Fraction
from math import comb, log, prod

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from smoothcert.bounds import betting, binomial
from smoothcert.errors import InvalidInput

mpmath.mp.dps = 60


def mixture(hits: int, draws: int) -> Fraction:
    """Q in closed form, B(H + 1/2, T - H + 1/2) / B(1/2, 1/2), exactly."""
    half = Fraction(1, 2)
    rising = [prod((half + i for i in range(m)), start=Fraction(1)) for m in (hits, draws - hits)]
    return rising[0] * rising[1] / prod(range(1, draws + 1))


def evidence(hits: int, draws: int, p: float) -> mpmath.mpf:
    """The logarithm of the evidence to some 40 digits, for 0 < p < 1."""
    half, p = mpmath.mpf("0.5"), mpmath.mpf(p)
    misses = draws - hits
    log_q = mpmath.loggamma(hits + half) + mpmath.loggamma(misses + half)
    log_q -= mpmath.loggamma(draws + 1) + mpmath.log(mpmath.pi)
    return log_q - hits * mpmath.log(p) - misses * mpmath.log(1 - p)


def exceeds(hits: int, draws: int, p: float, alpha: float) -> bool:
    return evidence(hits, draws, p) > -mpmath.log(mpmath.mpf(alpha))


def test_the_closed_form_is_the_product_of_the_bets():
    """Whatever the order of the hits, in exact fractions; it sums to 1 over all outcomes."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        product, hits = Fraction(1), 0
        wins = rng.random(int(rng.integers(1, 40))) < rng.random()
        for draws, win in enumerate(wins.tolist()):
            bet = (hits + Fraction(1, 2)) / (draws + 1)
            product *= bet if win else 1 - bet
            hits += win
        assert product == mixture(hits, len(wins))
    assert sum(comb(25, h) * mixture(h, 25) for h in range(26)) == 1


def test_log_evidence_is_that_of_exact_fractions():
    for draws in (1, 2, 7, 40):
        for hits in range(draws + 1):
            for p in (0.001, 0.3, 0.5, 0.9772):
                seen = Fraction(p) ** hits * (1 - Fraction(p)) ** (draws - hits)
                exact = mixture(hits, draws) / seen
                expected = log(exact.numerator) - log(exact.denominator)
                found = float(betting.log_evidence(hits, draws, p))
                assert found == pytest.approx(expected, abs=1e-11)


@st.composite
def counts(draw, largest: int):
    n = draw(st.one_of(st.integers(1, largest), st.integers(largest // 2, largest)))
    k = draw(st.one_of(st.just(0), st.just(n), st.just(n - 1), st.integers(0, n)))
    alpha = draw(st.one_of(st.sampled_from([1e-9, 0.001, 0.05, 0.9]), st.floats(1e-12, 0.999)))
    return k, n, alpha


@given(counts(10**12), st.floats(1e-9, 1 - 1e-9))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_the_error_of_floats_is_a_tenth_of_what_is_allowed(case, p):
    hits, draws, _ = case
    exact = evidence(hits, draws, p)
    allowed = betting._ERROR * ((draws + 1) * np.log(draws + 2) + abs(float(exact)))
    assert abs(betting.log_evidence(hits, draws, p) - exact) < allowed / 10


@pytest.mark.parametrize(("largest", "examples"), [(2000, 150), (10**6, 40)])
def test_limits_are_safe_and_close(largest, examples):
    @given(counts(largest))
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    def check(case):
        k, n, alpha = case
        low, high = float(betting.lower(k, n, alpha)), float(betting.upper(k, n, alpha))
        assert 0 <= low <= k / n <= high <= 1
        assert low == 0 or exceeds(k, n, low, alpha)
        assert k == 0 or not exceeds(k, n, min(low + 1e-9, k / n), alpha)
        assert high == 1 or exceeds(k, n, high, alpha)
        assert k == n or not exceeds(k, n, max(high - 1e-9, k / n), alpha)

    check()


@pytest.mark.parametrize("alpha", [1e-9, 0.0005, 0.05, 0.5, 0.999])
@pytest.mark.parametrize("draws", [1, 2, 3, 10, 100, 10**4, 10**7])
def test_the_fast_limit_is_near(alpha, draws):
    ends = np.arange(min(draws, 200) + 1)
    hits = np.concatenate([ends, draws - ends, np.linspace(0, draws, 300).astype(int)])
    near, limit = betting.lower_near(hits, draws, alpha), betting.lower(hits, draws, alpha)
    assert np.abs(near - limit).max() < 1e-9
    assert (near[hits == 0] == 0).all()
    assert (betting.lower_near(hits, draws, 0) == 0).all()
    assert betting.lower_near(0, 0, alpha) == 0


def test_the_check_catches_a_limit_rounded_to_nearest():
    """The negative control: a root of the evidence in floats is unsafe in a good part of cases."""
    rng = np.random.default_rng(1)
    unsafe = 0
    for _ in range(60):
        n = int(rng.integers(50, 5000))
        k = int(rng.integers(n // 2, n))
        root = optimize.brentq(
            lambda p, k=k, n=n: float(betting.log_evidence(k, n, p)) - log(1000),
            1e-9,
            k / n,
            xtol=1e-15,
        )
        unsafe += not exceeds(k, n, root, 0.001)
    assert unsafe > 5


def ever(p: float, draws: int, rejected) -> float:
    """The probability that `rejected(hits, t)` holds at some t up to `draws`, by enumeration."""
    alive, total = np.ones(1), 0.0
    for t in range(1, draws + 1):
        alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
        out = rejected(np.arange(t + 1), t)
        total += float(alive[out].sum())
        alive[out] = 0
    return total


GRID = (0.01, 0.05, 0.3, 0.5, 0.8, 0.9, 0.99)


@pytest.mark.parametrize("p", GRID)
def test_the_truth_is_ever_rejected_with_at_most_alpha(p):
    error = ever(p, 300, lambda hits, t: betting.rejects(hits, t, p, 0.05))
    assert 0.01 < error <= 0.05


def test_limits_exclude_the_truth_when_it_is_rejected():
    """The same enumeration through the limits: one of them is past the truth."""

    def outside(hits, t):
        return (betting.lower(hits, t, 0.05) > 0.3) | (betting.upper(hits, t, 0.05) < 0.3)

    by_limits = ever(0.3, 60, outside)
    by_test = ever(0.3, 60, lambda hits, t: betting.rejects(hits, t, 0.3, 0.05))
    assert by_limits == pytest.approx(by_test, abs=1e-12)


def test_the_enumeration_catches_twice_alpha_and_peeking():
    """The negative controls: the published code's 2 alpha, and a fixed-n limit at every draw."""
    double = max(ever(p, 300, lambda hits, t, p=p: betting.rejects(hits, t, p, 0.1)) for p in GRID)
    assert double > 0.05

    def peeking(hits, t):
        return (binomial.lower(hits, t, 0.025) > 0.5) | (binomial.upper(hits, t, 0.025) < 0.5)

    assert ever(0.5, 300, peeking) > 0.15


def test_edges():
    assert betting.log_evidence(0, 0, 0.3) == 0
    assert betting.lower(0, 0, 0.05) == 0
    assert betting.upper(0, 0, 0.05) == 1
    assert betting.lower(0, 50, 0.05) == 0
    assert betting.upper(50, 50, 0.05) == 1
    assert betting.lower(40, 50, 0) == 0
    assert betting.upper(40, 50, 0) == 1
    assert betting.log_evidence(1, 2, 0) == betting.log_evidence(1, 2, 1) == np.inf
    assert betting.rejects(1, 2, 0, 0.001)
    assert not betting.rejects(50, 50, 1, 0.001)
    assert not betting.rejects(0, 0, 0.5, 0.999)


def test_broadcasts():
    assert betting.lower([[1], [2]], 10, [0.1, 0.01, 0.001]).shape == (2, 3)
    assert betting.rejects(5, 10, [0.1, 0.9], [[0.1], [0.2], [0.3]]).shape == (3, 2)
    assert betting.upper(5, 10, 0.1).shape == ()


@pytest.mark.parametrize(
    ("hits", "draws", "p", "alpha", "message"),
    [
        (11, 10, 0.5, 0.1, r"whole numbers 0 <= hits <= draws < 2\^53; got hits = 11, draws = 10"),
        (-1, 10, 0.5, 0.1, "got hits ="),
        (1.5, 10, 0.5, 0.1, "got hits ="),
        (float("nan"), 10, 0.5, 0.1, "got hits ="),
        (1, -1, 0.5, 0.1, "got hits = 1, draws = -1"),
        (1, 2.0**60, 0.5, 0.1, r"hits <= draws < 2\^53"),
        (1, 10, 1.5, 0.1, r"p must be probabilities in \[0, 1\]; got 1.5"),
        (1, 10, 0.5, -0.1, r"alpha must be error probabilities in \[0, 1\]; got -0.1"),
        (1, 10, 0.5, float("nan"), "alpha must be"),
    ],
)
def test_bad_arguments(hits, draws, p, alpha, message):
    with pytest.raises(InvalidInput, match=message):
        betting.rejects(hits, draws, p, alpha)
