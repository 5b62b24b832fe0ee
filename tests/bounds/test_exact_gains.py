"""The exact test with gains: by enumeration nearly all of alpha and never more."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import special, stats

from smoothcert.bounds import exact, exact_gains, stratified
from smoothcert.errors import InvalidInput

ALPHAS = (0.3, 0.05, 0.01, 0.001)


def limits_of(n, winners, losers, alpha):
    """Limits at every (k, x, y)."""
    shape = np.ogrid[0 : n + 1, 0 : winners + 1, 0 : losers + 1]
    return exact_gains.lower(shape[0], n, shape[1], winners, shape[2], losers, alpha)


def share(a, b, theta):
    """p, u and v at P[f = c = f'] = a, P[f = c != f'] = b and p' = theta."""
    p = a + b
    return p, b / np.maximum(p, 1e-300), np.minimum((theta - a) / np.maximum(1 - p, 1e-300), 1)


def largest_error(limits, points=40):
    """(P[limit > p'], a, b, theta) where it is largest on grids that close in on it."""
    n, winners, losers = (size - 1 for size in limits.shape)
    worst = (0.0, 0.0, 0.0, 0.0)
    for limit in np.unique(limits[limits > 0]):
        theta, inside = limit * (1 - 1e-9), limits > limit * (1 - 1e-9)
        low, high = np.zeros(2), np.array([theta, 1 - theta])
        for _ in range(3):
            a = np.linspace(low[0], high[0], points)[:, None] + np.zeros((1, points))
            b = np.linspace(low[1], high[1], points)[None, :] + np.zeros((points, 1))
            p, u, v = share(a, b, theta)
            k = stats.binom.pmf(np.arange(n + 1), n, p[..., None])
            x = stats.binom.pmf(np.arange(winners + 1), winners, u[..., None])
            y = stats.binom.pmf(np.arange(losers + 1), losers, v[..., None])
            chance = np.einsum("ijk,ijx,ijy,kxy->ij", k, x, y, inside.astype(float), optimize=True)
            i, j = np.unravel_index(chance.argmax(), chance.shape)
            worst = max(worst, (float(chance[i, j]), float(a[i, j]), float(b[i, j]), theta))
            width = (high - low) / points
            centre = np.array([a[i, j], b[i, j]])
            low, high = np.maximum(low, centre - width), np.minimum(high, centre + width)
    return worst


def exact_error(limits, a, b, theta):
    """The same at one law, in rational numbers."""
    n, winners, losers = (size - 1 for size in limits.shape)
    a, b, theta = Fraction(a), Fraction(b), Fraction(theta)
    p = a + b
    u, v = b / p if p else Fraction(0), (theta - a) / (1 - p) if p < 1 else Fraction(0)

    def pmf(count, of, chance):
        return comb(of, count) * chance**count * (1 - chance) ** (of - count)

    places = np.argwhere(limits > float(theta))
    return sum(
        pmf(int(k), n, p) * pmf(int(x), winners, u) * pmf(int(y), losers, v) for k, x, y in places
    )


def check(n, winners, losers, alpha):
    limits = limits_of(n, winners, losers, alpha)
    error, a, b, theta = largest_error(limits)
    assert exact_error(limits, a, b, theta) <= Fraction(alpha)
    return error / alpha


@pytest.mark.parametrize("alpha", [0.3, 0.01])
def test_the_error_is_alpha_and_never_more(alpha):
    assert 0.9 < check(14, 4, 3, alpha) <= 1


@pytest.mark.full
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("sizes", [(16, 6, 3), (20, 5, 2), (24, 8, 4)])
def test_the_error_is_alpha_and_never_more_at_full_size(sizes, alpha):
    assert 0.9 < check(*sizes, alpha) <= 1


def test_gains_that_cost_nothing_are_caught():
    """The control: the limit without gains, and the observed share of gains added to it."""
    n, winners, losers, alpha = 14, 4, 3, 0.05
    k, x, y = np.ogrid[0 : n + 1, 0 : winners + 1, 0 : losers + 1]
    few = np.minimum(x, np.minimum(winners, k))
    without = exact.lower(k + 0 * y, n, few + 0 * y, winners, alpha)
    wrong = np.where((k >= winners) & (n - k >= losers), without + (1 - k / n) * y / losers, 0)
    assert largest_error(np.minimum(wrong, 0.999))[0] > 1.2 * alpha


def test_cells_bound_what_happens_inside_them():
    rng, n, winners, losers = np.random.default_rng(0), 60, 12, 8
    least = exact_gains._region(0.5, n, winners, losers, 2.0)
    for _ in range(200):
        theta = rng.uniform(0.3, 0.9)
        a, b = np.sort(rng.uniform(0, theta, 2)), np.sort(rng.uniform(0, 1 - theta, 2))
        a[1] = a[0] + (a[1] - a[0]) * 10.0 ** -rng.uniform(0, 3)
        b[1] = b[0] + (b[1] - b[0]) * 10.0 ** -rng.uniform(0, 3)
        bound = exact_gains._on_cell(least, n, theta, np.array([*a, *b]), 1.0)
        for c in np.linspace(*a, 4):
            for d in np.linspace(*b, 4):
                assert exact_gains._at(least, n, theta, c, d) <= bound * (1 + 1e-9)


@pytest.mark.full
@pytest.mark.parametrize(
    ("p", "u", "m", "radius"),
    [
        (0.6, 0.0484, 300, 0.1272),
        (0.6, 0.0484, 1000, 0.1836),
        (0.8, 0.0263, 300, 0.6965),
        (0.8, 0.0263, 1000, 0.7639),
        (0.95, 0.0082, 1000, 1.519),
    ],
)
def test_radii_of_the_prototype_are_reached(p, u, m, radius):
    """Three replays in ten are losers; as many gains as flips. On 200 draws of the counts."""
    rng, n = np.random.default_rng(0), 10_000
    losers = round(0.3 * m)
    k = rng.binomial(n, p, 200)
    x, y = rng.binomial(m - losers, u, 200), rng.binomial(losers, p * u / (1 - p), 200)
    found = exact_gains.lower(k, n, x, m - losers, y, losers, 0.002)
    radii = np.maximum(special.ndtri(np.maximum(found, 0.4)), 0)
    assert radii.mean() > radius - 2 * radii.std() / np.sqrt(200) - 0.0025


def test_limits_move_with_the_counts_and_pass_the_stratified_ones():
    n, k, x, y = 1000, np.array([650, 700, 750]), np.array([0, 4, 8]), np.array([0, 2, 4])
    found = exact_gains.lower(k[:, None, None], n, x[:, None], 100, y, 40, 0.01)
    assert (np.diff(found, axis=0) > 0).all()
    assert (np.diff(found, axis=1) < 0).all()
    assert (np.diff(found, axis=2) >= 0).all()
    strata = np.array([100 - 4, 2]), np.array([100, 40]), np.array([700, 300])
    assert found[1, 1, 1] > stratified.lower(*strata, n, 0.01)


def test_too_few_winners_or_losers_prove_nothing():
    assert exact_gains.lower([3, 9], 10, 0, 4, 1, 2, 0.05).tolist() == [0, 0]
    assert exact_gains.lower(9, 12, 0, 4, 1, 2, 1e-13) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((5, 10, 5, 4, 0, 2, 0.05), "flips"),
        ((5, 10, 0, 4, 3, 2, 0.05), "gains"),
        ((5, 10, 0, 0, 0, 2, 0.05), "one <= winners"),
        ((5, 10, 0, 4, 0, 2, 1.0), "alpha"),
        ((5, 10**10, 0, 4, 0, 2, 0.05), "at most 10000000 cached draws"),
    ],
)
def test_bad_counts(given, message):
    with pytest.raises(InvalidInput, match=message):
        exact_gains.lower(*given)
