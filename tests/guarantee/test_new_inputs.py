"""How often the limit for new inputs is too high, by enumeration and from whole certifications.

In the enumeration every input that is not robust is certified with probability alpha, the most that
a sound certificate may be wrong. A sound limit of the simulation is rejected with probability at
most ERROR (seeds are fixed); one that forgets alpha must be.
"""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.bounds.together import new_inputs_above, wrong_at_most
from smoothcert.data.inputs import Inputs
from support.coverage_trials import ERROR, SIGMA
from support.known_truth import LEVELS, PixelSum, probability_above

BETA = 0.05
INPUTS = 40


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
