"""Betting limits against exact arithmetic, and the exact probability of ever being wrong."""

from fractions import Fraction
from itertools import product
from math import comb, log, prod

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from smoothcert.bounds import betting, binomial
from smoothcert.errors import InvalidInput

mpmath.mp.dps = 60


def mixture(hits: int, draws: int, seen_hits: int = 0, seen: int = 0) -> Fraction:
    """Q in closed form, exactly: that of all draws over that of those seen before."""
    half = Fraction(1, 2)
    first = half + seen_hits, half + seen - seen_hits
    rising = [
        prod((start + i for i in range(m)), start=Fraction(1))
        for start, m in zip(first, (hits, draws - hits), strict=True)
    ]
    return rising[0] * rising[1] / prod(range(seen + 1, seen + draws + 1))


def evidence(hits: int, draws: int, p: float, seen_hits: int = 0, seen: int = 0) -> mpmath.mpf:
    """The logarithm of the evidence to some 40 digits, for 0 < p < 1."""
    half, p = mpmath.mpf("0.5"), mpmath.mpf(p)
    misses, seen_misses = draws - hits, seen - seen_hits

    def log_beta(hits, misses):
        log_gammas = mpmath.loggamma(hits + half) + mpmath.loggamma(misses + half)
        return log_gammas - mpmath.loggamma(hits + misses + 1)

    log_q = log_beta(seen_hits + hits, seen_misses + misses) - log_beta(seen_hits, seen_misses)
    return log_q - hits * mpmath.log(p) - misses * mpmath.log(1 - p)


def exceeds(hits: int, draws: int, p: float, alpha: float, *seen: int) -> bool:
    return evidence(hits, draws, p, *seen) > -mpmath.log(mpmath.mpf(alpha))


def test_the_closed_form_is_the_product_of_the_bets():
    """Whatever the order of the hits, in exact fractions; it sums to 1 over all outcomes."""
    rng = np.random.default_rng(0)
    for number in range(60):
        product, hits = Fraction(1), 0
        seen = int(rng.integers(1, 30)) if number % 2 else 0
        seen_hits = int(rng.integers(0, seen + 1))
        wins = rng.random(int(rng.integers(1, 40))) < rng.random()
        for draws, win in enumerate(wins.tolist()):
            bet = (seen_hits + hits + Fraction(1, 2)) / (seen + draws + 1)
            product *= bet if win else 1 - bet
            hits += win
        assert product == mixture(hits, len(wins), seen_hits, seen)
    for seen in ((0, 0), (3, 4), (0, 7)):
        assert sum(comb(25, h) * mixture(h, 25, *seen) for h in range(26)) == 1


def test_log_evidence_is_that_of_exact_fractions():
    for draws, seen in product((1, 2, 7, 40), ((0, 0), (2, 3), (0, 10), (90, 100))):
        for hits in range(draws + 1):
            for p in (0.001, 0.3, 0.5, 0.9772):
                likelihood = Fraction(p) ** hits * (1 - Fraction(p)) ** (draws - hits)
                exact = mixture(hits, draws, *seen) / likelihood
                expected = log(exact.numerator) - log(exact.denominator)
                found = float(betting.log_evidence(hits, draws, p, *seen))
                assert found == pytest.approx(expected, abs=1e-11)


@st.composite
def counts(draw, largest: int):
    n = draw(st.one_of(st.integers(1, largest), st.integers(largest // 2, largest)))
    k = draw(st.one_of(st.just(0), st.just(n), st.just(n - 1), st.integers(0, n)))
    alpha = draw(st.one_of(st.sampled_from([1e-9, 0.001, 0.05, 0.9]), st.floats(1e-12, 0.999)))
    return k, n, alpha


@st.composite
def before(draw, largest: int):
    """Draws seen before: none, few or many."""
    seen = draw(st.one_of(st.just(0), st.integers(1, 1000), st.integers(1, largest)))
    return draw(st.one_of(st.just(seen), st.just(0), st.integers(0, seen))), seen


@pytest.mark.slow
@given(counts(10**12), st.floats(1e-9, 1 - 1e-9), before(10**12))
@settings(max_examples=600, deadline=None, derandomize=True, database=None)
def test_the_error_of_floats_is_a_tenth_of_what_is_allowed(case, p, seen):
    hits, draws, _ = case
    exact, most = evidence(hits, draws, p, *seen), draws + seen[1]
    allowed = betting._ERROR * ((most + 1) * np.log(most + 2) + abs(float(exact)))
    assert abs(betting.log_evidence(hits, draws, p, *seen) - exact) < allowed / 10


@pytest.mark.slow
@pytest.mark.parametrize(("largest", "examples"), [(2000, 300), (10**6, 80)])
def test_limits_are_safe_and_close(largest, examples):
    @given(counts(largest), before(1000))
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    def check(case, seen):
        k, n, alpha = case
        low, high = (float(f(k, n, alpha, *seen)) for f in (betting.lower, betting.upper))
        assert 0 <= low <= k / n <= high <= 1
        assert low == 0 or exceeds(k, n, low, alpha, *seen)
        assert k == 0 or not exceeds(k, n, min(low + 1e-9, k / n), alpha, *seen)
        assert high == 1 or exceeds(k, n, high, alpha, *seen)
        assert k == n or not exceeds(k, n, max(high - 1e-9, k / n), alpha, *seen)

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


@pytest.mark.parametrize("alpha", [1e-9, 0.0005, 0.05, 0.5])
@pytest.mark.parametrize("seen", [1, 10, 100, 1000, 10**5])
def test_the_fast_limit_is_near_whatever_was_seen(alpha, seen):
    """Also where the earlier draws mislead. It may lie above, so nothing that decides is missed."""
    for draws, share in product((1, 3, 10, 100, 10**4, 10**7), (0, 0.1, 0.5, 0.9, 1)):
        start = int(share * seen), seen
        hits = np.linspace(0, draws, 100).astype(int)
        apart = betting.lower_near(hits, draws, alpha, *start)
        apart -= betting.lower(hits, draws, alpha, *start)
        assert apart.min() > -1e-9
        assert apart.max() < (1e-9 if seen < 10**5 else 1e-7)


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


def ever_by_start(p: float, seen: int, draws: int, alpha: float) -> np.ndarray:
    """P[p, the truth, is ever rejected from below, from above], given each outcome of `seen`."""
    start = np.arange(seen + 1)[:, None]
    alive, wrong = np.ones((seen + 1, 1)), np.zeros((2, seen + 1))
    for t in range(1, draws + 1):
        alive = np.pad(alive * (1 - p), ((0, 0), (0, 1))) + np.pad(alive * p, ((0, 0), (1, 0)))
        hits = np.arange(t + 1)
        out = betting.rejects(hits, t, p, alpha, start, seen)
        for side, which in enumerate((hits > t * p, hits < t * p)):
            wrong[side] += np.where(out & which, alive, 0).sum(axis=1)
        alive[out] = 0
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.05, 0.001])
@pytest.mark.parametrize("seen", [1, 10, 100])
def test_whatever_was_seen_the_truth_is_ever_rejected_with_at_most_alpha(seen, alpha):
    """Given each outcome of the earlier draws, hence on average too; -s prints what is spent."""
    given, average = [], []
    for p in np.linspace(0.5, 0.999, 24):
        wrong = ever_by_start(p, seen, 150, alpha) / alpha
        given.append(wrong.sum(axis=0).max())
        average.append(wrong @ stats.binom.pmf(np.arange(seen + 1), seen, p))
    one = np.max(average)
    print(f"{seen} seen, alpha {alpha}: a decision {one:.3f}, the interval", end=" ")
    print(f"{np.sum(average, axis=1).max():.3f}, given some votes {max(given):.3f} of alpha")
    assert 0 < one < max(given) <= 1
    assert max(given) > 0.7


def wrong_decisions(p: Fraction, earlier: int, draws: int, alpha: Fraction, start) -> Fraction:
    """The exact probability that p, the truth, is ever rejected, over all outcomes.

    Earlier draws, of which none counts, then `draws` of which all do; `start` says what the bets
    start from, given the earlier draws and those counted so far.
    """
    total = Fraction(0)
    for seen in range(earlier + 1):
        alive = {0: comb(earlier, seen) * p**seen * (1 - p) ** (earlier - seen)}
        for t in range(1, draws + 1):
            after: dict[int, Fraction] = {}
            for hits, weight in alive.items():
                after[hits] = after.get(hits, Fraction(0)) + weight * (1 - p)
                after[hits + 1] = after.get(hits + 1, Fraction(0)) + weight * p
            alive = {}
            for hits, weight in after.items():
                likelihood = p**hits * (1 - p) ** (t - hits)
                if mixture(hits, t, *start(seen, earlier, hits, t)) > likelihood / alpha:
                    total += weight
                else:
                    alive[hits] = weight
    return total


TRUTHS = [Fraction(*p) for p in ((1, 20), (3, 10), (1, 2), (4, 5), (19, 20))]


def from_the_earlier(seen: int, earlier: int, hits: int, t: int) -> tuple[int, int]:
    """What is proven: the draws that do not count."""
    return seen, earlier


def from_those_that_count(seen: int, earlier: int, hits: int, t: int) -> tuple[int, int]:
    """Wrong: a bettor that has seen the draws it bets on."""
    return hits, t


@pytest.mark.parametrize("earlier", [1, 4, 9])
def test_the_earlier_draws_keep_the_error_in_exact_fractions(earlier):
    """Over all outcomes of the earlier draws and of those that count; and floats agree."""
    alpha = Fraction(1, 5)
    errors = [wrong_decisions(p, earlier, 20, alpha, from_the_earlier) for p in TRUTHS]
    assert Fraction(1, 20) < max(errors) <= alpha
    for p, exact in zip(TRUTHS, errors, strict=True):
        found = sum(
            comb(earlier, s)
            * float(p) ** s
            * float(1 - p) ** (earlier - s)
            * ever(float(p), 20, lambda h, t, s=s, p=p: _rejected(h, t, float(p), s, earlier))
            for s in range(earlier + 1)
        )
        assert found == pytest.approx(float(exact), abs=1e-9)


def _rejected(hits, t, p, seen, earlier):
    return betting.rejects(hits, t, p, 0.2, seen, earlier)


def test_bets_that_start_from_the_draws_they_are_on_are_caught():
    """The negative control: the same votes as a prior and as evidence."""
    alpha = Fraction(1, 5)
    errors = [wrong_decisions(p, 1, 20, alpha, from_those_that_count) for p in TRUTHS]
    assert max(errors) > 1.5 * alpha


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
    assert betting.lower(5, 10, 0.1, [[1], [2]], [4, 5, 6]).shape == (2, 3)
    assert betting.upper([5, 6], 10, 0.1, [[1], [2]], 4).shape == (2, 2)
    assert betting.log_evidence(5, 10, 0.3, [0, 4], 4).shape == (2,)
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


@pytest.mark.parametrize("seen", [(5, 4), (-1, 4), (0.5, 4), (1, float("inf"))])
def test_bad_earlier_counts(seen):
    for function in (betting.log_evidence, betting.lower, betting.upper, betting.lower_near):
        with pytest.raises(InvalidInput, match="0 <= seen_hits <= seen_draws < 2"):
            function(3, 10, 0.5, *seen)
    with pytest.raises(InvalidInput, match="got seen_hits ="):
        betting.rejects(3, 10, 0.5, 0.1, *seen)
