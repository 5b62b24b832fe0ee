"""Every bound at the ends of its range: 10^9 draws, error levels of 1e-300, sigma from 1e-3 to 10.

A warning is an error in these tests, so an overflow or a NaN on the way would be one too.
"""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from mpmath import mpf

from smoothcert.bounds import adversary, betting, binomial, hypergeometric, joint, stratified
from smoothcert.bounds.budget import Budget
from smoothcert.errors import InvalidInput
from support.known_truth import hypergeometric_tail, log_tail, tail

NAN, INF = float("nan"), float("inf")
ALPHAS = (1e-300, 1e-199, 1e-50, 1e-9, 1e-3, 0.3, 0.9, 1 - 1e-9, 1 - 2**-53)


def shares(n: int) -> list[int]:
    found = {0, 1, 2, n // 1000, n // 2, n // 2 + 1, n * 9 // 10, n - 2, n - 1, n}
    return sorted(k for k in found if 0 <= k <= n)


def is_safe(k: int, n: int, p: float | mpf, alpha: float) -> bool:
    return p <= 0 or log_tail(k, n, p) <= mpmath.log(mpf(alpha))


def test_the_oracle_agrees_with_fractions():
    for k, n, p in [(3, 10, 0.3), (900, 1000, 0.85), (500, 1000, 0.6), (1, 40, 0.01), (9, 9, 0.9)]:
        low, high = tail(k, n, p)
        for bound in (low, high):
            exact = mpmath.log(mpf(bound.numerator) / bound.denominator)
            assert abs(log_tail(k, n, p) - exact) < mpf(10) ** -13 * (1 + abs(exact))


@pytest.mark.slow
@pytest.mark.parametrize(
    "n",
    [1, 2, 10, 1000, 10**6, pytest.param(10**8, marks=pytest.mark.full), 10**9],
)
def test_binomial_limits(n):
    for k in shares(n):
        for alpha in ALPHAS:
            low, high = float(binomial.lower(k, n, alpha)), float(binomial.upper(k, n, alpha))
            assert 0 <= low <= 1 and 0 <= high <= 1
            assert is_safe(k, n, low, alpha), (k, n, alpha)
            with mpmath.workdps(40):
                assert high == 1 or is_safe(n - k, n, 1 - mpf(high), alpha), (k, n, alpha)
            if k and binomial.LEAST_ALPHA <= alpha <= 0.999 and low + 1e-9 < 1:
                assert not is_safe(k, n, low + 1e-9, alpha), (k, n, alpha)


@pytest.mark.parametrize(
    ("k", "n", "alpha"),
    [
        (2669, 2706, 1.0764445387860368e-298),  # SciPy: e^114 times alpha
        (1563, 1600, 1e-281),
        (8142, 8166, 1.8237821712204424e-292),
        (3199, 3237, 8.04098114248995e-249),
        (5, 10, 1e-310),
        (1, 1, 5e-324),
    ],
)
def test_levels_at_which_scipys_tail_is_wrong(k, n, alpha):
    assert is_safe(k, n, float(binomial.lower(k, n, alpha)), alpha)
    with mpmath.workdps(40):
        high = mpf(float(binomial.upper(n - k, n, alpha)))
        assert is_safe(k, n, 1 - high, alpha)


def random_limits(count: int, least: float) -> int:
    """How many random cases have a limit on the unsafe side; counts near both ends among them."""
    rng = np.random.default_rng(count)
    unsafe = 0
    for _ in range(count):
        n = int(10 ** rng.uniform(0, 9))
        near = n - int(45 * rng.random())
        k = int(rng.choice([1, near, int(n * rng.random()), int(n * rng.random() ** 0.1)]))
        k, alpha = min(n, max(1, k)), float(10 ** rng.uniform(least, 0))
        unsafe += not is_safe(k, n, float(binomial.lower(k, n, alpha)), alpha)
    return unsafe


def test_random_binomial_limits_down_to_the_smallest_floats():
    assert random_limits(1500, -323) == 0


@pytest.mark.full
def test_many_random_binomial_limits():
    assert random_limits(20_000, -323) == 0
    assert random_limits(20_001, -210) == 0


def evidence(hits: int, draws: int, p: float) -> mpf:
    half, p, misses = mpf("0.5"), mpf(p), draws - hits
    log_q = mpmath.loggamma(hits + half) + mpmath.loggamma(misses + half)
    log_q -= mpmath.loggamma(draws + 1) + mpmath.log(mpmath.pi)
    hit = hits * mpmath.log(p) if hits else 0
    return log_q - hit - (misses * mpmath.log1p(-p) if misses else 0)


@pytest.mark.slow
@pytest.mark.parametrize("draws", [1, 10, 1000, 10**6, 10**9, 10**12, 2**53 - 1])
def test_betting_limits(draws):
    with mpmath.workdps(60):
        for hits in shares(draws):
            for alpha in (*ALPHAS, 5e-324):
                low = float(betting.lower(hits, draws, alpha))
                high = float(betting.upper(hits, draws, alpha))
                needed = -mpmath.log(mpf(alpha))
                assert 0 <= low <= hits / draws <= high <= 1
                assert low == 0 or evidence(hits, draws, low) > needed
                assert high == 1 or evidence(hits, draws, high) > needed


@pytest.mark.parametrize(
    ("hits", "sampled", "size", "alpha"),
    [
        (900, 1000, 10**9, 1e-3),
        (900, 1000, 10**9, 1e-190),
        (99_990, 10**5, 10**9, 1e-9),
        (999_999_995, 999_999_997, 10**9, 1e-190),
        (5, 10, 10**10, 0.01),
        (700_000, 10**6, 4 * 10**9, 1e-100),
    ],
)
def test_hypergeometric_limits(hits, sampled, size, alpha):
    found = int(hypergeometric.lower(hits, sampled, size, alpha))
    assert hits <= found <= size - (sampled - hits)
    if found > hits:
        assert hypergeometric_tail(hits, sampled, size, found - 1) <= alpha
    further = found + 1 + (found - hits) // 10**5
    if further < size - (sampled - hits):
        assert hypergeometric_tail(hits, sampled, size, further) > 0.99 * alpha


def test_products_beyond_64_bits():
    """Hits times size is one; it decides from which side of the mean the tail is summed."""
    hits, sampled, size = 9_999_000, 10**7, 10**12
    found = int(hypergeometric.lower(hits, sampled, size, 1e-60))
    assert hypergeometric_tail(hits, sampled, size, found - 1) <= 1e-60
    assert found > 0.999 * size


@pytest.mark.parametrize("alpha", [0.0, 5e-324, 1e-300, 1e-201])
def test_where_nothing_is_allowed_to_err_only_the_hits_are_certain(alpha):
    """A tail of 0 by underflow is no proof: 500,000 members used to be claimed at alpha = 0."""
    assert hypergeometric.lower(7000, 10**4, 10**6, alpha) == 7000
    assert stratified.lower([7000], [10**4], [10**6], 10**6, Budget(0.5, cells=8)) > 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 5, 10, NAN), "alpha must be error probabilities"),
        ((3, 5, 10, 1.5), "alpha must be error probabilities"),
        ((3, 5, 10, -0.1), "alpha must be error probabilities"),
        ((3.5, 5, 10, 0.1), "whole numbers 0 <= hits <= sampled <= size"),
        ((3, 5.5, 10, 0.1), "whole numbers"),
        ((NAN, 5, 10, 0.1), "whole numbers"),
        ((3, 5, INF, 0.1), "whole numbers"),
        ((3, 5, 2.0**60, 0.1), "whole numbers"),
    ],
)
def test_hypergeometric_refuses(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        hypergeometric.lower(*arguments)


@pytest.mark.parametrize("alpha", [1e-300, 1e-196, 1e-50, 0.002, 1 - 1e-9])
@pytest.mark.parametrize(
    ("k", "n", "flips", "m"),
    [
        (10**9 - 1, 10**9, 3, 10**6),
        (10**9, 10**9, 0, 10**9),
        (800_000_000, 10**9, 10**5, 10**8),
        (900, 1000, 0, 100),
        (1, 1, 1, 1),
        (0, 10**9, 0, 0),
    ],
)
def test_joint_limits(k, n, flips, m, alpha):
    """The least product over the steps in exact fractions, and both factors proven."""
    budget = Budget(alpha)
    assert budget.integral <= Fraction(alpha)
    p = binomial.lower(k, n, budget.edges)
    u = binomial.upper(flips, m, budget.values)
    found = float(joint.lower(k, n, flips, m, alpha))
    exact = min(
        Fraction(a) * (1 - Fraction(b)) for a, b in zip(p.tolist(), u.tolist(), strict=True)
    )
    assert 0 <= found <= exact
    assert found >= float(exact) * (1 - 1e-12) - 1e-300
    for i in (0, 30, 64):
        assert is_safe(k, n, p[i], budget.edges[i])


@pytest.mark.parametrize("alpha", [1e-300, 1e-150, 0.002])
def test_stratified_limits_at_a_billion(alpha):
    """What everything replayed would give is above it, and at usual alphas not by much."""
    hits, replayed, sizes = [990, 30, 3], [1000, 100, 100], [8 * 10**8, 10**8, 10**8]
    found = float(stratified.lower(hits, replayed, sizes, 10**9, alpha))
    assert 0 <= found < 0.99 * 0.8 + 0.3 * 0.1 + 0.03 * 0.1
    if alpha > 0.001:
        assert found > 0.77


SIGMAS = (1e-3, 0.25, 10.0)
LIMITS = (float(np.nextafter(0.5, 1)), 0.5 + 1e-9, 0.75, 1 - 1e-9, 1 - 2**-53)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_breaking_rates(sigma):
    radii = [0.0, 5e-324, 1e-12, *(sigma * np.array([1e-3, 1, 5, 8.2, 40])), INF]
    found = adversary.breaking_rates(LIMITS, sigma, radii)
    assert np.isfinite(found).all()
    with mpmath.workdps(60):
        for row, radius in zip(found, radii, strict=True):
            for rate, limit in zip(row, LIMITS, strict=True):
                exact = 1 - mpmath.ncdf(mpf(radius) / mpf(sigma)) / mpf(limit)
                assert exact - mpf(10) ** -11 < rate < exact


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-300, 1e-12, 1e-3, 0.3, 1.0])
def test_radius_sums_of_one_input(sigma, rate):
    """The adversary has no choice: the radius at that rate itself."""
    for limit in LIMITS:
        found = adversary.radius_sum([limit], rate, sigma)
        with mpmath.workdps(60):
            left = max(mpf("0.5"), mpf(limit) * (1 - mpf(rate)))
            exact = mpf(sigma) * mpmath.sqrt(2) * mpmath.erfinv(2 * left - 1)
        assert 0 <= found <= exact
        if limit < 1 - 1e-12:  # nearer to 1 a price is 10^15, and its float error is allowed for
            assert found >= exact - 1e-3 * sigma


def test_lost_inputs_at_the_ends():
    limits = np.repeat(LIMITS, 1000)
    for sigma in SIGMAS:
        lost = adversary.lost_inputs(limits, 1e-6, sigma, sigma * np.array([0, 1e-9, 1, 5, 50]))
        assert (np.diff(lost) >= 0).all()
        assert lost[0] >= 1000
        assert lost[-1] == 5000
        assert adversary.lost_inputs(limits, 1.0, sigma, 0.0) == 5000


def test_mean_flip_limits_at_a_billion_draws():
    n = 10**9
    for flips in ([3, 4], [n, n], [n, n - 1], [0, 0], [n // 2, n]):
        for alpha in (1e-300, 1e-9, 0.05):
            found = adversary.mean_flip_limit(flips, n, alpha)
            assert sum(flips) / (2 * n) <= found <= 1
            with mpmath.workdps(40):
                assert found == 1 or is_safe(2 * n - sum(flips), 2 * n, 1 - mpf(found), alpha)


@pytest.mark.parametrize("flips", [0, 1, 10**5, 10**9])
def test_adversary_evidence_at_a_billion_draws(flips):
    for guess, breaking in [(1e-300, 1e-299), (1e-9, 1e-3), (0.1, 0.1 + 1e-15), (1e-3, 1 - 2**-53)]:
        found = float(adversary.log_evidence(flips, 10**9, guess, breaking))
        with mpmath.workdps(60):
            v, t = mpf(guess), mpf(breaking)
            exact = flips * mpmath.log(v / t)
            exact += (10**9 - flips) * (mpmath.log1p(-v) - mpmath.log1p(-t))
            assert np.isfinite(found)
            assert found <= exact


@pytest.mark.parametrize(
    "call",
    [
        lambda: adversary.lost_inputs([0.9, 0.8], NAN, 0.5, 0.1),
        lambda: adversary.lost_inputs([0.9, 0.8], -0.1, 0.5, 0.1),
        lambda: adversary.lost_inputs([0.9, NAN], 0.1, 0.5, 0.1),
        lambda: adversary.lost_inputs([0.9, 1.5], 0.1, 0.5, 0.1),
        lambda: adversary.lost_inputs([0.9, 0.0], 0.1, 0.5, 0.1),
        lambda: adversary.lost_inputs([0.9], 0.1, NAN, 0.1),
        lambda: adversary.lost_inputs([0.9], 0.1, -0.5, 0.1),
        lambda: adversary.lost_inputs([0.9], 0.1, 0.0, 0.1),
        lambda: adversary.lost_inputs([0.9], 0.1, 0.5, NAN),
        lambda: adversary.radius_sum([0.9], NAN, 0.5),
        lambda: adversary.mean_flip_limit([-1, 4], 10, 0.1),
        lambda: adversary.mean_flip_limit([1.5, 4], 10, 0.1),
        lambda: adversary.mean_flip_limit([NAN, 4], 10, 0.1),
        lambda: adversary.log_evidence(5, 3, 0.1, 0.2),
        lambda: adversary.log_evidence(NAN, 3, 0.1, 0.2),
        lambda: adversary.log_evidence(1, 3, NAN, 0.2),
        lambda: adversary.log_evidence(1, 3, 0.0, 0.2),
        lambda: adversary.log_evidence(1, 3, 0.1, NAN),
        lambda: adversary.lost_at_most([NAN, 9.0], 0.1),
        lambda: adversary.lost_at_most([INF, 9.0], 0.1),
        lambda: adversary.lost_at_most([9.0], NAN),
        lambda: adversary.lost_at_most([9.0], 0.0),
        lambda: binomial.lower(INF, INF, 0.1),
        lambda: joint.lower(3, 4, 1, 2, NAN),
    ],
)
def test_what_is_no_number_is_refused(call):
    """A NaN compares as False, which counted inputs as kept and evidence as enough."""
    with pytest.raises(InvalidInput):
        call()
