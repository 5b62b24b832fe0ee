"""The exact test with gains: by enumeration nearly all of alpha and never more."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import special, stats

from smoothcert.bounds import exact, exact_gains, gains_supremum, stratified
from smoothcert.errors import InvalidInput

ALPHAS = (0.3, 0.05, 0.01, 0.001)


def fixed(n, winners, losers):
    """A plan of fixed sizes, and nothing where there are fewer."""
    votes = np.arange(n + 1)
    enough = (votes >= winners) & (n - votes >= losers)
    return np.where(enough, winners, 0), np.where(enough, losers, 0)


def ragged(n, seed):
    """Any function of k: winners, losers, both or nothing, as an enemy would choose them."""
    rng, votes = np.random.default_rng(seed), np.arange(n + 1)
    winners = rng.integers(0, np.minimum(votes, 7) + 1)
    losers = rng.integers(0, np.minimum(n - votes, 5) + 1)
    winners[rng.random(n + 1) < 0.1] = 0
    losers[rng.random(n + 1) < 0.3] = 0
    return winners, losers


def limits_of(winners, losers, alpha):
    """Limits at every (x, y), an array for each number of votes."""
    places = [
        np.indices((x + 1, y + 1)).reshape(2, -1) for x, y in zip(winners, losers, strict=True)
    ]
    k = np.repeat(np.arange(len(winners)), [place.shape[1] for place in places])
    x, y = np.hstack(places)
    found = exact_gains.lower_planned(k, x, y, winners, losers, alpha)
    return [
        found[k == votes].reshape(winners[votes] + 1, losers[votes] + 1)
        for votes in range(len(winners))
    ]


def share(a, b, theta):
    """p, u and v at P[f = c = f'] = a, P[f = c != f'] = b and p' = theta."""
    p = a + b
    return p, b / np.maximum(p, 1e-300), np.minimum((theta - a) / np.maximum(1 - p, 1e-300), 1)


def chances(inside, a, b, theta):
    """P[inside] at laws, by scipy."""
    p, u, v = share(a, b, theta)
    total, n = np.zeros(p.shape), len(inside) - 1
    for k, of_k in enumerate(inside):
        if of_k.any():
            x, y = (np.arange(size) for size in of_k.shape)
            x = stats.binom.pmf(x, len(x) - 1, u[..., None])
            y = stats.binom.pmf(y, len(y) - 1, v[..., None])
            total += stats.binom.pmf(k, n, p) * ((x @ of_k.astype(float)) * y).sum(-1)
    return total


def largest_error(limits, points=40):
    """(P[limit > p'], a, b, theta) where it is largest on grids that close in on it."""
    worst = (0.0, 0.0, 0.0, 0.0)
    values = np.concatenate([of_k.ravel() for of_k in limits])
    for limit in np.unique(values[values > 0]):
        theta, inside = limit * (1 - 1e-9), [of_k > limit * (1 - 1e-9) for of_k in limits]
        low, high = np.zeros(2), np.array([theta, 1 - theta])
        for _ in range(3):
            a = np.linspace(low[0], high[0], points)[:, None] + np.zeros((1, points))
            b = np.linspace(low[1], high[1], points)[None, :] + np.zeros((points, 1))
            chance = chances(inside, a, b, theta)
            i, j = np.unravel_index(chance.argmax(), chance.shape)
            worst = max(worst, (float(chance[i, j]), float(a[i, j]), float(b[i, j]), theta))
            width = (high - low) / points
            centre = np.array([a[i, j], b[i, j]])
            low, high = np.maximum(low, centre - width), np.minimum(high, centre + width)
    return worst


def exact_error(limits, a, b, theta):
    """The same at one law, in rational numbers."""
    a, b, theta = Fraction(a), Fraction(b), Fraction(theta)
    p = a + b
    u, v = b / p if p else Fraction(0), (theta - a) / (1 - p) if p < 1 else Fraction(0)

    def pmf(count, of, chance):
        return comb(of, int(count)) * chance ** int(count) * (1 - chance) ** int(of - count)

    return sum(
        pmf(k, len(limits) - 1, p)
        * sum(
            pmf(x, of_k.shape[0] - 1, u) * pmf(y, of_k.shape[1] - 1, v)
            for x, y in np.argwhere(of_k > float(theta))
        )
        for k, of_k in enumerate(limits)
    )


def check(plan, alpha):
    """The largest error over alpha, which is checked not to be more in rational numbers."""
    winners, losers = plan
    limits = limits_of(winners, losers, alpha)
    if max(of_k.max() for of_k in limits) == 0:  # few draws at a small alpha
        return 1.0
    error, a, b, theta = largest_error(limits)
    assert exact_error(limits, a, b, theta) <= Fraction(alpha)
    return error / alpha


@pytest.mark.parametrize("alpha", [0.3, 0.01])
def test_the_error_is_alpha_and_never_more(alpha):
    assert 0.9 < check(fixed(14, 4, 3), alpha) <= 1


@pytest.mark.full
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("sizes", [(16, 6, 3), (20, 5, 2), (24, 8, 4)])
def test_the_error_is_alpha_and_never_more_at_full_size(sizes, alpha):
    assert 0.9 < check(fixed(*sizes), alpha) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.3, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_any_function_of_the_votes_may_choose(seed, alpha):
    """Ragged plans, some votes without losers or without any replay: regions are not monotone.

    So few outcomes can be much less likely than alpha, or than the next of them.
    """
    assert 0.5 < check(ragged(12, seed), alpha) <= 1


@pytest.mark.full
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(3, 15))
def test_any_function_of_the_votes_may_choose_at_full_size(seed, alpha):
    test_any_function_of_the_votes_may_choose(seed, alpha)


@pytest.mark.slow
def test_planners_that_change_sizes_after_the_count_are_caught():
    """The control: an input's own votes choose the sizes, each tested as if it were fixed."""
    n, alpha = 16, 0.05
    menu = [limits_of(*fixed(n, *sizes), alpha) for sizes in ((2, 0), (5, 4), (9, 3), (12, 1))]
    wrong = [max(of_k, key=np.max) for of_k in zip(*menu, strict=True)]
    assert largest_error(wrong)[0] > 1.5 * alpha
    plan = [np.array([of_k.shape[i] - 1 for of_k in wrong]) for i in (0, 1)]
    assert check(plan, alpha) <= 1


@pytest.mark.slow
def test_gains_that_cost_nothing_are_caught():
    """The control: the limit without gains, and the observed share of gains added to it."""
    n, winners, losers, alpha = 14, 4, 3, 0.05
    wrong = []
    for k, (m, of_losers) in enumerate(zip(*fixed(n, winners, losers), strict=True)):
        x, y = np.ogrid[0 : m + 1, 0 : of_losers + 1]
        without = (
            exact.lower(k, n, np.minimum(x, k) + 0 * y, winners, alpha) if m else 0 * x + 0.0 * y
        )
        wrong.append(np.minimum(without + (1 - k / n) * y / losers, 0.999) * (m > 0))
    assert largest_error(wrong)[0] > 1.2 * alpha


def test_without_losers_it_is_the_test_of_two_counts():
    """At one size, as sizes are ordered otherwise here, from half of the votes on.

    It may leave 6.5 % of alpha.
    """
    n, rng = 400, np.random.default_rng(0)
    winners = np.where(np.arange(n + 1) < 200, 0, 50)
    k = np.arange(240, 400, 7)
    x = rng.integers(0, winners[k] // 3)
    two = exact.lower_planned(k, x, winners, np.zeros(n + 1), 0.01)
    three = exact_gains.lower_planned(k, x, 0, winners, np.zeros(n + 1), 0.01)
    assert (two > 0).sum() > 10
    assert (three <= two + 3e-4).all()
    assert (three >= two - 2e-3).all()


def plans(n):
    """Fixed, in steps, without losers from some votes on, and another at every number of votes."""
    votes, rng = np.arange(n + 1), np.random.default_rng(1)
    clear = votes > 0.8 * n
    yield fixed(n, 12, 8)
    yield np.where(clear, 5, np.minimum(12, votes)), np.where(clear, 0, np.minimum(8, n - votes))
    yield rng.integers(0, np.minimum(votes, 14) + 1), rng.integers(0, np.minimum(n - votes, 9) + 1)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("z", [0.0, 1.5, 3.0])
def test_regions_hold_what_is_ordered_as_high(z, level):
    """By trying every outcome: these, those with fewer flips and more gains, and no others."""
    n = 60
    for winners, losers in plans(n):
        _, blocks, full, start, least = exact_gains._region(level, winners, losers, z)
        sizes = {}
        for first, last, mw, ml, row in blocks:
            for k in range(first, last + 1):
                held = np.zeros((mw + 1, ml + 1), bool)
                for y in range(ml + 1):
                    r = row + y
                    from_votes = least[start[r] : start[r + 1]]
                    held[: full[r] + (from_votes <= k).sum(), y] = True
                sizes[k] = held
        for k in range(n + 1):
            x, y = np.indices((winners[k] + 1, losers[k] + 1))
            value = np.vectorize(exact_gains._statistic)(k, n, x, winners[k], y, losers[k], z)
            wanted = np.maximum.accumulate((value >= level)[::-1], axis=0)[::-1]
            wanted = np.maximum.accumulate(wanted, axis=1)
            assert (sizes.get(k, np.zeros_like(wanted)) == wanted).all()


@pytest.mark.slow
@pytest.mark.parametrize("place", range(3))
def test_cells_bound_what_happens_inside_them(place):
    rng, n, alpha = np.random.default_rng(0), 60, 0.05
    winners, losers = list(plans(n))[place]
    region = exact_gains._region(0.5, winners, losers, 2.0)
    useful = 0
    for _ in range(200):
        theta = rng.uniform(0.3, 0.9)
        a, b = np.sort(rng.uniform(0, theta, 2)), np.sort(rng.uniform(0, 1 - theta, 2))
        if rng.random() < 0.2:  # at an edge
            a[rng.integers(2)] = rng.choice([0, theta])
            b[rng.integers(2)] = rng.choice([0, 1 - theta])
            a, b = np.sort(a), np.sort(b)
        else:
            a[1] = a[0] + (a[1] - a[0]) * 10.0 ** -rng.uniform(0, 3)
            b[1] = b[0] + (b[1] - b[0]) * 10.0 ** -rng.uniform(0, 3)
        if not (a[0] < a[1] and b[0] < b[1]):
            continue
        cell, inside = np.array([*a, *b]), 0.0
        for c in np.linspace(a[0], a[1], 4):
            for d in np.linspace(b[0], b[1], 4):
                inside = max(inside, gains_supremum._at(region, theta, c, d, 0.0))
        for bound in (gains_supremum._on_cell, gains_supremum._on_edge):
            found = bound(region, theta, cell, alpha)
            assert (
                inside <= found * (1 + 1e-9) + 1e-14 or found > alpha
            )  # it may have stopped there
            useful += found <= alpha
    assert useful > 50


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
    nothing = np.zeros(11, int)
    assert exact_gains.lower_planned(10, 0, 0, nothing, nothing, 0.05) == 0


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


@pytest.mark.parametrize(
    ("winners", "losers", "message"),
    [([0, 2], [0, 0], "winners <= votes"), ([0, 1], [0, 1], "losers <= others")],
)
def test_a_plan_cannot_replay_more_than_there_are(winners, losers, message):
    with pytest.raises(InvalidInput, match=message):
        exact_gains.lower_planned(1, 0, 0, winners, losers, 0.05)
