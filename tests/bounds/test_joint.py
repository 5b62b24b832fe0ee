"""The joint bound's pieces: its budget, its tightness against Buehler's exact limit, its speed."""

import time
from fractions import Fraction

import numpy as np
import pytest
from scipy import optimize, stats

from smoothcert.bounds import binomial, hypergeometric, joint, stratified
from smoothcert.bounds.budget import Budget
from smoothcert.errors import InvalidInput


@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.002, 1e-6])
@pytest.mark.parametrize("cells", [8, 16, 64])
def test_budgets_integrate_to_alpha_and_never_more(alpha, cells):
    budget = Budget(alpha, cells=cells)
    assert Fraction(alpha) * (1 - Fraction(1, 10**9)) <= budget.integral <= Fraction(alpha)
    assert (np.diff(budget.values) <= 0).all()
    assert (np.diff(budget.edges) > 0).all()
    assert budget.edges[-1] < 1


@pytest.mark.slow
def test_the_continuous_budget_of_the_theory_is_the_limit():
    assert Budget(0.002, cells=10**5).edges[0] == pytest.approx(1.4476e-4, rel=1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        *({"alpha": alpha} for alpha in (0, 1, float("nan"))),
        *({"alpha": 0.1, "floor": floor} for floor in (0.2, -0.1, float("nan"))),
        *({"alpha": 0.1, "cells": cells} for cells in (7, 8.5, float("nan"))),
    ],
)
def test_bad_budgets(bad):
    with pytest.raises(InvalidInput, match="A budget needs 0 <= floor < alpha < 1"):
        Budget(**bad)


@pytest.mark.parametrize("alpha", [5e-324, 1e-320, 1e-310, 1e-306])
@pytest.mark.parametrize("floor", [0.0, 0.65])
def test_budgets_too_small_for_floats_are_refused(alpha, floor):
    """5e-324 divided by zero; at 1e-310 the falling part was lost."""
    with pytest.raises(InvalidInput, match="A budget"):
        Budget(alpha, floor * alpha)
    with pytest.raises(InvalidInput):
        joint.lower(9, 10, 0, 5, alpha)


@pytest.mark.parametrize("floor", [0.0, 0.65])
def test_what_the_refusal_advises_works(floor):
    budget = Budget(1e-300, floor * 1e-300)
    assert Fraction(1e-300) * (1 - Fraction(1, 10**9)) <= budget.integral <= Fraction(1e-300)
    with pytest.raises(InvalidInput, match="use an alpha and a floor of 1e-300 or more"):
        Budget(0.05, 1e-310)
    assert Budget(0.05, 1e-300).integral <= Fraction(0.05)


def test_limits_are_the_minimum_over_every_p():
    """Against a dense minimization of p (1 - upper(x, m, g(P1(p)))) itself."""
    budget = Budget(0.002)

    def g(s):
        cell = np.searchsorted(budget.edges, s, side="left") - 1
        return np.where(cell < 0, 1.0, budget.values[np.maximum(cell, 0)])

    for k, n, x, m in [(800, 1000, 1, 200), (95, 100, 0, 50), (9990, 10000, 3, 2000)]:
        p = np.linspace(k / n - 0.2, 1, 20001)[1:]
        evidence = stats.binom.sf(k - 1, n, p)
        dense = np.where(g(evidence) < 1, p * (1 - binomial.upper(x, m, g(evidence))), np.inf)
        found = float(joint.lower(k, n, x, m, budget))
        assert found <= dense.min() + 1e-12
        assert found >= dense.min() - 2e-4


def buehler(k: int, n: int, x: int, m: int, alpha: float) -> float:
    """Buehler's exact limit for p r, r = 1 - u, with the ordering of the theory (a yardstick)."""
    z = 4

    def score(a, b):
        p, e = a / n, (b + 1) / (m + 2)
        r = 1 - e
        spread = np.sqrt(r**2 * p * (1 - p) / n + p**2 * e * (1 - e) / m)
        return p * (1 - b / m) - z * spread

    observed = score(k, x)
    a = np.arange(n + 1)
    b = np.arange(min(m, x + 400) + 1)
    reached = score(a[:, None], b[None, :]) >= observed - 1e-12
    first = np.where(reached.any(0), reached.argmax(0), n + 1)  # least a, for each b

    def probability(p, r):
        return float((stats.binom.pmf(b, m, 1 - r) * stats.binom.sf(first - 1, n, p)).sum())

    def supremum(psi):
        grid = np.linspace(psi, 1, 241)[:-1]
        values = [probability(p, psi / p) for p in grid]
        best = int(np.argmax(values))
        around = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 25)
        return max(probability(p, min(1.0, psi / p)) for p in around)

    return float(optimize.brentq(lambda psi: supremum(psi) - alpha, 0.6, k / n, xtol=2e-5))


@pytest.mark.slow
@pytest.mark.parametrize(("h", "published"), [(0.0003, 0.7870), (0.002, 0.7848), (0.007, 0.7774)])
def test_within_0004_of_the_exact_limit(h, published):
    """THEORY's cases: alpha = 0.001, N = 10^4, m = 1000 winners, p = 0.8, h = P[a=1, b=0]."""
    k, n, m = 8000, 10_000, 1000
    x = round(m * h / 0.8)
    exact, ours = buehler(k, n, x, m, 0.001), float(joint.lower(k, n, x, m, 0.001))
    print(f"h = {h}: exact {exact:.4f} (stated {published}), joint {ours:.4f}")
    assert exact == pytest.approx(published, abs=6e-4)
    assert exact - 0.004 < ours < exact


def test_hypergeometric_limits_by_search():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(1, 150))
        m = int(rng.integers(0, n + 1))
        y = int(rng.integers(0, m + 1))
        alpha = float(10 ** rng.uniform(-4, -0.05))
        fits = range(y, n - (m - y) + 1)
        exact = next(t for t in fits if stats.hypergeom.sf(y - 1, n, t, m) > alpha)
        assert hypergeometric.lower(y, m, n, alpha) == exact


def test_hypergeometric_edges():
    assert hypergeometric.lower(7, 10, 10, 0.001) == 7
    assert hypergeometric.lower(0, 0, 10, 0.001) == 0
    assert hypergeometric.lower(3, 5, 10, 0.0) == 3
    with pytest.raises(InvalidInput, match="0 <= hits <= sampled <= size"):
        hypergeometric.lower(5, 4, 10, 0.1)


def test_stratified_with_everything_replayed_is_from_scratch_where_the_budget_begins():
    """Not at all of alpha: the cache may have chosen to replay everything."""
    found = stratified.lower([7900, 150], [8000, 2000], [8000, 2000], 10_000, 0.002)
    budget = Budget(0.002, cells=stratified.CELLS)
    assert found == binomial.lower(8050, 10_000, budget.edges[0])
    assert budget.edges[0] < 0.002 / 8


def test_stratified_follows_gains_upward():
    """u = 0.01, v = 0.12, p = 0.8: 1,000 evaluations are worth 2,000 from scratch and more."""
    n, k, u, v = 10_000, 8000, 0.01, 0.12
    rng = np.random.default_rng(0)
    mw, ml = 600, 400
    hits = np.stack([mw - rng.binomial(mw, u, 400), rng.binomial(ml, v, 400)], axis=1)
    ours = stratified.lower(hits, [mw, ml], [k, n - k], np.full(400, n), 0.002)
    changed = 0.8 * (1 - u) + 0.2 * v
    scratch = binomial.lower(rng.binomial(2000, changed, 400), 2000, 0.002)
    print(f"mean limit {ours.mean():.4f}, from scratch on 2,000 draws {scratch.mean():.4f}")
    assert ours.mean() >= scratch.mean()


@pytest.mark.slow
def test_ten_thousand_inputs_take_seconds():
    """Measured in benchmarks; here only that it is vectorized."""
    rng = np.random.default_rng(0)
    k = rng.integers(5000, 10**5, 10**4)
    start = time.perf_counter()
    limits = joint.lower(k, 10**5, rng.poisson(5, 10**4), rng.integers(10, 5000, 10**4), 0.002)
    assert limits.shape == (10**4,)
    assert time.perf_counter() - start < 60


@pytest.mark.parametrize(("alpha", "floor"), [(0.1, 0.01), (0.82, 0.41), (0.99, 0.0)])
def test_a_large_budget_ends_at_one(alpha, floor):
    budget = Budget(alpha, floor=floor, cells=8)
    assert budget.edges.max() <= 1
    assert (np.diff(budget.edges) >= 0).all()
    assert (np.diff(budget.values) <= 0).all()
    assert Fraction(alpha) * Fraction(1, 2) < budget.integral <= Fraction(alpha)
