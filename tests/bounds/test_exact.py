"""The exact test: by enumeration nearly all of alpha and never more; wrong ones are caught."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import special, stats

from smoothcert.bounds import exact, joint, ordering
from smoothcert.errors import InvalidInput

ALPHAS = (0.3, 0.05, 0.01, 0.001)


def outcomes(replays, fresh):
    """Every (k, seen)."""
    evaluated = np.where(replays > 0, replays, fresh)
    return np.array([(k, seen) for k, most in enumerate(evaluated) for seen in range(most + 1)])


def limits_of(replays, fresh, alpha):
    """{(k, seen): limit}."""
    all_ = outcomes(replays, fresh)
    found = exact.lower_planned(all_[:, 0], all_[:, 1], replays, fresh, alpha)
    return {tuple(pair): limit for pair, limit in zip(all_.tolist(), found, strict=True)}


def largest_error(limits, replays, fresh, points=600):
    """(P[limit > p'], p, theta) where it is largest, over the laws with p (1 - u) = theta or less.

    The error only changes where theta passes a limit, and is largest just below it.
    """
    n, worst = len(replays) - 1, (0.0, 0.0, 0.0)
    for limit in sorted({limit for limit in limits.values() if limit > 0}):
        theta = limit * (1 - 1e-9)
        p = np.append(np.linspace(0, theta, 50)[:-1], np.linspace(theta, 1, points))
        u = np.maximum(0, 1 - theta / np.maximum(p, 1e-300))
        chance = np.zeros(len(p))
        for (k, seen), found in limits.items():
            if found > theta:
                part = stats.binom.pmf(k, n, p)
                if replays[k]:
                    chance += part * stats.binom.pmf(seen, replays[k], u)
                else:
                    chance += part * stats.binom.pmf(seen, fresh[k], theta)
        worst = max(worst, (chance.max(), p[chance.argmax()], theta))
    return worst


def exact_error(limits, replays, fresh, p, theta):
    """The same at one law, in rational numbers."""
    p, theta = Fraction(p), Fraction(theta)
    u, n = max(Fraction(0), 1 - theta / p) if p else Fraction(0), len(replays) - 1

    def pmf(x, of, chance):
        return comb(of, x) * chance**x * (1 - chance) ** (of - x)

    return sum(
        pmf(k, n, p)
        * (pmf(seen, int(replays[k]), u) if replays[k] else pmf(seen, int(fresh[k]), theta))
        for (k, seen), limit in limits.items()
        if Fraction(limit) > theta
    )


def fixed(n, m):
    return np.minimum(np.arange(n + 1), m), np.zeros(n + 1, int)


def ragged(n, seed):
    """Any function of k: replays, fresh draws or nothing, as an enemy would choose them."""
    rng = np.random.default_rng(seed)
    replays = rng.integers(0, np.arange(n + 1) + 1)
    replays[rng.random(n + 1) < 0.4] = 0
    return replays, np.where(replays == 0, rng.integers(0, 12, n + 1), 0)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("n", "m"), [(20, 5), (12, 12)])
def test_the_error_is_alpha_and_never_more(n, m, alpha):
    plan = fixed(n, m)
    limits = limits_of(*plan, alpha)
    error, p, theta = largest_error(limits, *plan)
    assert exact_error(limits, *plan, p, theta) <= Fraction(alpha)
    assert 0.97 * alpha < error <= alpha


@pytest.mark.full
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("n", "m"), [(40, 8), (40, 20), (30, 10), (25, 25)])
def test_the_error_is_alpha_and_never_more_at_full_size(n, m, alpha):
    test_the_error_is_alpha_and_never_more(n, m, alpha)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.3, 0.01])
@pytest.mark.parametrize("seed", range(3))
def test_any_function_of_the_votes_may_choose(seed, alpha):
    """Ragged plans with fresh draws among them, whose regions are not monotone."""
    plan = ragged(14, seed)
    limits = limits_of(*plan, alpha)
    if max(limits.values()) == 0:  # few draws at a small alpha
        return
    error, p, theta = largest_error(limits, *plan)
    assert exact_error(limits, *plan, p, theta) <= Fraction(alpha)
    assert error > 0.8 * alpha


@pytest.mark.full
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(3, 23))
def test_any_function_of_the_votes_may_choose_at_full_size(seed, alpha):
    test_any_function_of_the_votes_may_choose(seed, alpha)


def test_planners_that_change_sizes_after_the_count_are_caught():
    """The control: an input's own votes choose m, and the test of that m is done as if fixed."""
    n, alpha = 20, 0.05
    replays = np.where(np.arange(n + 1) < 13, np.minimum(np.arange(n + 1), 2), 12)
    limits = {}
    for m in (2, 12):
        of_m = limits_of(*fixed(n, m), alpha)
        limits |= {(k, x): limit for (k, x), limit in of_m.items() if replays[k] == min(m, k)}
    assert largest_error(limits, replays, np.zeros(n + 1, int))[0] > 1.05 * alpha


def region_of(level, replays, fresh, z):
    """What is ordered as high as a level."""
    none = np.zeros(len(replays), int)
    return ordering.region_of(level, ordering.Looks(replays, fresh, none, none, none - 1), z)


@pytest.mark.slow
def test_a_supremum_read_off_a_grid_is_caught():
    """The control: the same search, with the supremum over five values of p and no cells."""

    def holds(edge, replays, fresh, theta, alpha):
        grid = [theta + share * (1 - theta) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
        return max(chance_at(edge, replays, theta, p) for p in grid) <= alpha

    plan, alpha = fixed(20, 5), 0.05
    limits = limits_of(*plan, alpha)
    wrong = {}
    z = max(0.0, float(-special.ndtri(alpha))) + 0.4
    for (k, x), limit in limits.items():
        theta = limit
        if limit > 0:
            level = ordering._replayed_statistic(k, 20, x, plan[0][k], z)
            edge = region_of(level, *plan, z).edge
            while theta < 0.999 and holds(edge, *plan, theta + 0.001, alpha):
                theta += 0.001
        wrong[k, x] = theta
    assert largest_error(wrong, *plan)[0] > 1.02 * alpha


def chance_at(edge, replays, theta, p):
    """What is in a region, by scipy."""
    n, u = len(replays) - 1, max(0.0, 1 - theta / p)
    return sum(
        stats.binom.pmf(k, n, p) * stats.binom.cdf(edge[k], replays[k], u)
        for k in range(n + 1)
        if edge[k] >= 0
    )


@pytest.mark.slow
def test_cells_bound_what_happens_inside_them():
    """The tangent's bound against the chance itself, at widths from tiny to half of all."""
    rng, (replays, fresh) = np.random.default_rng(0), ragged(60, 1)
    z = 3.0
    region = region_of(0.4, replays, fresh, z)
    for _ in range(300):
        theta = rng.uniform(0.3, 0.9)
        below = rng.random() < 0.3
        ends = np.sort(rng.uniform(0, theta, 2) if below else rng.uniform(theta, 1, 2))
        ends[1] = ends[0] + (ends[1] - ends[0]) * 10.0 ** -rng.uniform(0, 4)
        bound = exact._on_cell(region, theta, *ends)
        inside = [exact._on_curve(region, theta, p) for p in np.linspace(*ends, 9) if p > 0]
        assert max(inside) <= bound * (1 + 1e-9)


@pytest.mark.slow
def test_narrow_cells_cost_little():
    """The bound is not merely true: it nears the chance with the square of the width."""
    replays, fresh = fixed(1000, 100)
    region = region_of(0.55, replays, fresh, 3.2)
    centre, theta = 0.66, 0.6
    chance = exact._on_curve(region, theta, centre)
    for width, allowed in ((2e-3, 0.5), (2e-4, 5e-3)):
        ends = centre - width / 2, centre + width / 2
        here = max(exact._on_curve(region, theta, p) for p in ends)
        assert exact._on_cell(region, theta, *ends) < (1 + allowed) * max(here, chance)


# Mean radius / sigma at alpha = 0.002, n = 10^4, of a prototype whose supremum was over a grid.
TABLE = [
    (0.6, 0.0048, 100, 0.1523),
    (0.6, 0.0048, 300, 0.1959),
    (0.8, 0.0026, 100, 0.6800),
    (0.8, 0.0026, 300, 0.7646),
    (0.8, 0.0263, 100, 0.5751),
    (0.6, 0.0484, 100, 0.0477),
    (0.95, 0.0082, 100, 1.181),
    (0.95, 0.0082, 300, 1.387),
    (0.99, 0.0020, 100, 1.464),
    (0.99, 0.0020, 300, 1.836),
]


@pytest.mark.full
@pytest.mark.parametrize(("p", "u", "m", "radius"), TABLE)
def test_radii_of_the_prototype_are_reached(p, u, m, radius):
    """Within 0.002 sigma, and above the joint bound's, on 24 quantiles of the votes."""
    k = stats.binom.ppf((np.arange(24) + 0.5) / 24, 10_000, p).astype(int)[:, None]
    x = np.arange(m + 1)
    weights = stats.binom.pmf(x, m, u)
    x, weights = x[weights > 1e-5], weights[weights > 1e-5] / weights[weights > 1e-5].sum()

    def mean(limits):
        return (np.maximum(special.ndtri(np.maximum(limits, 0.4)), 0) @ weights).mean()

    found = mean(exact.lower(k, 10_000, x, m, 0.002))
    assert found > radius - 0.002
    assert found > mean(joint.lower(k, 10_000, x, np.full(1, m), 0.002)) + 0.005


def test_limits_fall_with_flips_and_rise_with_votes():
    k, x = np.arange(500, 1000, 50)[:, None], np.arange(0, 40, 4)
    found = exact.lower(k, 1000, x, 100, 0.01)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (np.diff(found, axis=1) <= 0).all()
    assert (found > joint.lower(k, 1000, x, np.full(1, 100), 0.01)).all()


def test_what_proves_nothing_gives_zero():
    replays, fresh = np.array([0, 0, 0, 2]), np.array([0, 3, 0, 0])
    assert exact.lower_planned([0, 1, 2, 3], [0, 0, 0, 2], replays, fresh, 0.05).tolist() == [0] * 4
    assert exact.lower(9, 10, 0, 5, 1e-13) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((5, 10, 6, 5, 0.05), "flips|seen"),
        ((11, 10, 0, 5, 0.05), "k"),
        ((5, 10, 0.5, 5, 0.05), "whole"),
        ((5, 10, 0, 5, 0.0), "alpha"),
        ((5, 10, 0, 5, float("nan")), "alpha"),
    ],
)
def test_bad_counts(given, message):
    with pytest.raises(InvalidInput, match=message):
        exact.lower(*given)


def test_more_draws_than_regions_have_entries_are_refused():
    with pytest.raises(InvalidInput, match="at most 10000000 cached draws"):
        exact.lower(9, 10**8, 0, 5, 0.05)


def test_a_plan_cannot_replay_more_votes_than_there_are():
    with pytest.raises(InvalidInput, match="replays <= votes"):
        exact.lower_planned(1, 0, np.array([0, 2]), np.zeros(2), 0.05)
