"""How often limits for new inputs are too high, by enumeration and from whole certifications.

In the first enumeration every input that is not robust is certified with probability alpha, the
most that a sound certificate may be wrong. A sound limit of a simulation is rejected with
probability at most ERROR (seeds are fixed); one that forgets alpha must be.
"""

from collections.abc import Callable
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.bounds.together import new_inputs_above, new_mean_above, wrong_at_most
from smoothcert.data.inputs import Inputs
from support.coverage_trials import ERROR, SIGMA
from support.known_truth import LEVELS, PixelSum, probability_above

BETA = 0.05
INPUTS = 40
RADII = np.array([0.0, 0.5, 1.0])
FEW = 12


def too_high(limits: np.ndarray, share: Fraction, alpha: Fraction) -> Fraction:
    """P[limit > share] over the number of certified inputs, exactly; a limit for each number."""
    count = len(limits) - 1
    a = share + (1 - share) * alpha
    return sum(
        (
            comb(count, k) * a**k * (1 - a) ** (count - k)
            for k in range(count + 1)
            if Fraction(float(limits[k])) > share
        ),
        Fraction(0),
    )


@pytest.mark.parametrize("alpha", [0.2, 0.02])
def test_by_enumeration(alpha):
    certified, exact = np.arange(INPUTS + 1), Fraction(alpha)
    shares = [Fraction(i, 60) for i in range(60)]
    sound = new_inputs_above(certified, INPUTS, alpha, BETA)
    worst = max(too_high(sound, share, exact) for share in shares)
    assert BETA * Fraction(7, 10) < worst <= Fraction(BETA)
    # By the union bound: sound, and it proves less.
    fewer = np.maximum(0, certified - wrong_at_most(INPUTS, alpha, BETA / 2))
    united = binomial.lower(fewer, INPUTS, BETA / 2)
    assert max(too_high(united, share, exact) for share in shares) <= Fraction(BETA)
    assert (united <= sound + 1e-12).all()
    # All of beta for the sampling, and nothing for wrong certificates.
    forgetful = binomial.lower(certified, INPUTS, BETA)
    assert max(too_high(forgetful, share, exact) for share in shares) > Fraction(BETA)


@pytest.mark.slow
def test_from_certifications_of_a_population():
    """Nothing, or half, is robust; the rest has a radius just below the one that is asked for."""
    runs, alpha = 60, 0.05
    shares = np.repeat([0.0, 0.5], runs)
    robust = np.random.default_rng(5).random((2 * runs, INPUTS)) < shares[:, None]
    grid = np.where(robust, 12, 8).reshape(-1, 1, 1, 1) * np.ones((1, 1, 2, 2))
    data = Inputs.from_arrays(grid / LEVELS, grid=1 / LEVELS)
    found = smoothcert.certify(PixelSum(27), data, SIGMA, n0=10, n=150, alpha=alpha, seed=11)
    p = probability_above(27, np.full(4, 8), SIGMA)
    radius = np.nextafter(SIGMA * stats.norm.ppf(p), 1)
    certified = np.array([c.predicted == 1 and c.radius >= radius for c in found.certificates])
    assert certified[robust.ravel()].mean() > 0.99
    assert alpha / 2 < certified[~robust.ravel()].mean() < 2 * alpha  # what is wrong
    counts = certified.reshape(2 * runs, INPUTS).sum(axis=1)

    def rejected(limits: np.ndarray) -> bool:
        high = int((limits > shares).sum())
        return stats.binom.sf(high - 1, 2 * runs, BETA) < ERROR

    assert not rejected(new_inputs_above(counts, INPUTS, alpha, BETA))
    assert rejected(binomial.lower(counts, INPUTS, BETA))  # nothing for wrong certificates


def mean_too_high(limit: Callable[[np.ndarray], float], alpha: float) -> float:
    """The largest P[limit > mean radius] over laws of three radii, as an opponent may have it.

    Input after input, and knowing those before, the opponent certifies the true radius, none, or
    with probability alpha the largest, as plans may that share draws out (docs/theory.md, 13).
    """
    laws = np.array([(20 - i - j, i, j) for i in range(21) for j in range(21 - i)]) / 20
    means = laws @ RADII
    value = {
        (FEW - i - j, i, j): limit(np.repeat(RADII, (FEW - i - j, i, j))) > means + 1e-12
        for i in range(FEW + 1)
        for j in range(FEW + 1 - i)
    }
    for seen in reversed(range(FEW)):
        before = {}
        for i in range(seen + 1):
            for j in range(seen + 1 - i):
                none, half, whole = (
                    value[a, b, c]
                    for a, b, c in np.add((seen - i - j, i, j), np.eye(3, dtype=int)).tolist()
                )
                wrong = [alpha * whole + (1 - alpha) * right for right in (none, half)]
                either = np.max([none, half, wrong[0], wrong[1]], axis=0)
                best = [np.maximum(none, wrong[0]), either, np.maximum(either, whole)]
                before[seen - i - j, i, j] = sum(
                    share * chance for share, chance in zip(laws.T, best, strict=True)
                )
        value = before
    return float(value[0, 0, 0].max())


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.2, 0.02])
def test_the_mean_by_enumeration(alpha):
    beta = 0.1

    def forgetful(radii: np.ndarray) -> float:  # nothing for wrong certificates
        return new_mean_above(radii, 1, 1e-9, beta)

    def normal(radii: np.ndarray) -> float:  # as if the normal law held of so few
        mean = radii.mean() - stats.norm.isf(beta) * radii.std(ddof=1) / FEW**0.5
        return (mean - alpha) / (1 - alpha)

    assert beta / 4 < mean_too_high(lambda r: new_mean_above(r, 1, alpha, beta), alpha) <= beta
    assert mean_too_high(forgetful, alpha) > 2 * beta
    assert mean_too_high(normal, alpha) > 2 * beta


@pytest.mark.slow
def test_the_mean_from_certifications_of_a_population():
    """Nothing is robust: the label has a probability just below 1/2."""
    runs, alpha, n = 60, 0.05, 5
    grid = np.tile(np.array([7, 7, 7, 6]).reshape(1, 1, 2, 2), (runs * INPUTS, 1, 1, 1))
    data = Inputs.from_arrays(grid / LEVELS, grid=1 / LEVELS)
    found = smoothcert.certify(PixelSum(27), data, SIGMA, n0=3, n=n, alpha=alpha, seed=12)
    radii = [c.radius if c.predicted == 1 else 0.0 for c in found.certificates]
    most = float(found.settings.radius(binomial.lower(n, n, alpha)))
    assert 0.45 < probability_above(27, grid[0].ravel(), SIGMA) < 0.5
    assert 0 < np.mean(np.array(radii) > 0) < alpha  # what is wrong

    def rejected(alpha: float) -> bool:
        each = np.reshape(radii, (runs, INPUTS))
        high = sum(new_mean_above(some, most, alpha, BETA) > 0 for some in each)
        return stats.binom.sf(high - 1, runs, BETA) < ERROR

    assert not rejected(alpha)
    assert rejected(1e-9)  # nothing for wrong certificates
