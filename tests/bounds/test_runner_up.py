"""What flips cost against the runner-up: exact arithmetic, brute force and direct minimization."""

from itertools import combinations, product

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from smoothcert.bounds import adversary, runner_up
from smoothcert.errors import InvalidInput

SIGMA = 0.5


@st.composite
def pairs(draw, most: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Limits of some inputs, with sums up to 1 and near it."""
    found = []
    for _ in range(draw(st.integers(1, most))):
        lower = draw(st.floats(0.02, 0.9999))
        top = min(lower * 0.9999, 1 - lower)
        found.append((lower, top * draw(st.floats(1e-4, 1))))
    lower, upper = np.array(found).T
    return lower, upper


def radii(lower, upper, rates) -> np.ndarray:
    """Of inputs that lose rates to their runner-up: what the certified radius can come to."""
    most = (lower - upper) / 2
    rates = np.minimum(rates, most)
    z, y = stats.norm.ppf(lower - rates), stats.norm.ppf(upper + rates)
    return SIGMA / 2 * np.maximum(0, z - y)


@pytest.mark.slow
@given(pairs(1), st.one_of(st.just(0.0), st.floats(0, 1.5)))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_breaking_rates_are_never_above_the_exact_ones(limits, radius):
    lower, upper = limits
    found = float(runner_up.breaking_rates(lower, upper, SIGMA, radius)[0])
    with mpmath.workdps(40):
        top, bottom = mpmath.mpf(lower[0]), mpmath.mpf(upper[0])
        needed = 2 * mpmath.mpf(radius) / SIGMA

        def quantile(p):
            return -mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * p)

        low, high = mpmath.mpf(0), (top - bottom) / 2
        if quantile(top) - quantile(bottom) <= needed:
            assert found == 0
            return
        for _ in range(70):
            middle = (low + high) / 2
            above = quantile(top - middle) - quantile(bottom + middle) > needed
            low, high = (middle, high) if above else (low, middle)
        assert found <= low
        assert found >= high - 1e-11


@pytest.mark.parametrize("lower", [0.51, 0.8, 0.999])
def test_two_classes_cost_what_the_binary_form_says(lower):
    for radius in (0.0, 0.01, 0.2):
        binary = adversary.breaking_rates([lower], SIGMA, radius)
        found = runner_up.breaking_rates([lower], [1 - lower], SIGMA, radius)
        assert found == pytest.approx(np.maximum(0, binary * lower), abs=1e-10)


def test_a_runner_up_below_the_rest_costs_more():
    binary = adversary.breaking_rates([0.6], SIGMA, 0.05) * 0.6
    assert runner_up.breaking_rates([0.6], [0.2], SIGMA, 0.05) > 2 * binary
    assert runner_up.breaking_rates([0.4], [0.2], SIGMA, 0.0) == pytest.approx(0.1, abs=1e-10)


NONE = 3  # no class


def flips(old, new) -> int:
    """Of draws whose class is 0; `Source.flips` is held to this in tests/methods."""
    return sum(g != 0 and (f == 0 or g not in (f, NONE)) for f, g in zip(old, new, strict=True))


def losers_ignored(old, new) -> int:
    return sum(f == 0 and g != 0 for f, g in zip(old, new, strict=True))


def breaks_the_lemma(count) -> bool:
    """Whether some labels of three draws lose more, or give more to one class, than is counted."""
    for old, new in product(product(range(4), repeat=3), repeat=2):
        moved = count(old, new)
        fewer = old.count(0) - new.count(0)
        more = max(new.count(j) - old.count(j) for j in (1, 2))
        if max(fewer, more) > moved:
            return True
    return False


def test_every_law_of_old_and_new_labels_keeps_within_the_flip_rate():
    """All 4096 pairs: what is true of counts is true of the probabilities that they stand for."""
    assert not breaks_the_lemma(flips)


def test_counting_winners_alone_is_caught():
    assert breaks_the_lemma(losers_ignored)


def most_lost(lower, upper, mean_rate: float, radius: float) -> int:
    """Over all subsets: the adversary pays for each in it and nothing for the others."""
    costs = []
    for top, bottom in zip(lower, upper, strict=True):

        def excess(w, top=top, bottom=bottom):
            return stats.norm.ppf(top - w) - stats.norm.ppf(bottom + w) - 2 * radius / SIGMA

        costs.append(0.0 if excess(0) <= 0 else optimize.brentq(excess, 0, (top - bottom) / 2))
    budget = len(costs) * mean_rate
    for size in range(len(costs), 0, -1):
        if any(sum(subset) <= budget for subset in combinations(costs, size)):
            return size
    return 0


@given(pairs(), st.floats(0, 0.4), st.floats(0.001, 1.2))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_lost_inputs_are_those_of_the_best_subset(limits, mean_rate, radius):
    breaking = runner_up.breaking_rates(*limits, SIGMA, radius)
    found = int(adversary.affordable(breaking, mean_rate))
    assert found >= most_lost(*limits, max(0, mean_rate - 1e-9), radius)
    assert found <= most_lost(*limits, mean_rate + 1e-9, radius)


def test_the_cheapest_at_one_radius_are_not_at_all():
    """Why the order is made at each radius: at 0 the first input is dearer, at 0.5 cheaper."""
    first, second = runner_up.breaking_rates([0.86, 0.6], [0.14, 0.01], SIGMA, [0.0, 0.5]).T
    assert first[0] > second[0]
    assert first[1] < second[1]


LOWER, UPPER = np.array([0.45, 0.6, 0.8, 0.99]), np.array([0.3, 0.05, 0.2, 0.005])


def grid(budget: float):
    """All divisions of the budget into 24 units over four inputs."""
    for bars in combinations(range(24 + 3), 3):
        edges = np.array([-1, *bars, 24 + 3])
        yield (np.diff(edges) - 1) * budget / 24


def test_no_placement_on_a_grid_loses_more():
    mean_rate, at = 0.07, np.linspace(0, 1.2, 25)
    breaking = runner_up.breaking_rates(LOWER, UPPER, SIGMA, at)
    bound = adversary.affordable(breaking, mean_rate)
    rates = np.array(list(grid(4 * mean_rate)))
    lost = (radii(LOWER, UPPER, rates)[:, :, None] <= at).sum(axis=1).max(axis=0)
    assert (lost <= bound).all()
    assert (bound - lost <= 1).all()
    assert (bound == lost).mean() > 0.6


@pytest.mark.parametrize("mean_rate", [0.0005, 0.005, 0.02, 0.06, 0.15])
def test_no_placement_on_a_grid_gives_a_smaller_sum(mean_rate):
    bound = runner_up.radius_sum(LOWER, UPPER, mean_rate, SIGMA)
    found = radii(LOWER, UPPER, np.array(list(grid(4 * mean_rate)))).sum(axis=1).min()
    assert bound <= found <= bound + 0.05 * radii(LOWER, UPPER, 0).max()


def at_the_price(lower, upper, price: float) -> np.ndarray:
    """Where the slope of each radius is the price, by a root finder."""
    rates = []
    for top, bottom in zip(lower, upper, strict=True):

        def steeper(w, top=top, bottom=bottom):
            z, y = stats.norm.ppf([top - w, bottom + w])
            return (1 / stats.norm.pdf(z) + 1 / stats.norm.pdf(y)) / 2 - price

        most = (top - bottom) / 2
        if steeper(0.0) <= 0:
            rates.append(0.0)
        else:
            rates.append(most if steeper(most) >= 0 else optimize.brentq(steeper, 0, most))
    return np.array(rates)


@pytest.mark.slow
@given(pairs(6), st.floats(1e-5, 0.3))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_sum_is_what_direct_minimization_reaches(limits, mean_rate):
    """No start of SciPy's minimizer gets below the bound, and the best price reaches it."""
    lower, upper = limits
    bound, most = runner_up.radius_sum(lower, upper, mean_rate, SIGMA), (lower - upper) / 2
    budget = len(lower) * mean_rate
    assert bound <= radii(lower, upper, np.zeros(len(lower))).sum()
    if most.sum() <= budget:
        assert bound == 0
        return
    for seed in range(3):
        start = np.random.default_rng(seed).dirichlet(np.ones(len(lower))) * budget
        found = optimize.minimize(
            lambda w: radii(lower, upper, np.clip(w, 0, most)).sum(),
            np.minimum(start, most),
            bounds=[(0, m) for m in most],
            constraints={"type": "ineq", "fun": lambda w: budget - w.sum()},
            method="SLSQP",
        )
        rates = np.clip(found.x, 0, most)
        rates *= min(1, budget / max(rates.sum(), 1e-300))
        assert radii(lower, upper, rates).sum() >= bound
    low, high = 0.0, np.log(1e9)
    for _ in range(60):
        price = (low + high) / 2
        spends = at_the_price(lower, upper, np.exp(price)).sum() > budget
        low, high = (price, high) if spends else (low, price)
    reached = radii(lower, upper, at_the_price(lower, upper, np.exp(high))).sum()
    assert bound <= reached <= bound + 1e-5


@pytest.mark.parametrize(
    ("lower", "upper"), [(0.3, 0.1), (0.51, 0.49), (0.9, 1e-4), (0.9999, 1e-5)]
)
def test_one_input_alone(lower, upper):
    for rate in (0.0, 1e-6, 0.001, 0.01, 0.09, 0.3):
        bound = runner_up.radius_sum([lower], [upper], rate, SIGMA)
        exact = float(radii(np.array(lower), np.array(upper), rate))
        assert exact - 1e-6 <= bound <= exact


@given(pairs(1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_radius_is_convex_until_it_is_zero_and_beyond(limits):
    lower, upper = (float(one[0]) for one in limits)
    rates = np.linspace(0, min(1.0, lower), 4001)
    r = radii(np.full(4001, lower), np.full(4001, upper), rates)
    assert (r[:-2] + r[2:] - 2 * r[1:-1] >= -1e-11).all()
    assert (np.diff(r) <= 1e-12).all()


@pytest.mark.parametrize("wrong", ["runner-up stays", "even", "cheapest first"])
def test_other_adversaries_are_beaten(wrong):
    """The control: a bound that assumes another adversary is above what some placement reaches."""
    mean_rate = 0.03
    claimed = {
        "runner-up stays": radii(LOWER, UPPER - 0.03, np.full(4, mean_rate)).sum(),
        "even": radii(LOWER, UPPER, np.full(4, mean_rate)).sum(),
        "cheapest first": radii(LOWER, UPPER, np.array([0.075, 0.045, 0, 0])).sum(),
    }[wrong]
    found = radii(LOWER, UPPER, np.array(list(grid(4 * mean_rate)))).sum(axis=1).min()
    assert found < claimed - 0.005


def test_the_ends_of_the_range():
    assert runner_up.radius_sum([], [], 0.1, SIGMA) == 0
    assert runner_up.radius_sum([0.9, 0.8], [0.1, 0.1], 1.0, SIGMA) == 0
    for upper in (5e-324, 1e-300, 1e-31):  # taken for a larger one
        assert 0 < runner_up.radius_sum([0.9], [upper], 0.01, SIGMA) < 1
        assert 0.44 < runner_up.breaking_rates([0.9], [upper], SIGMA, 0.0)[0] < 0.45
    top = float(np.nextafter(1, 0))
    assert 0 < runner_up.radius_sum([top] * 3, [1e-9] * 3, 0.01, SIGMA) < 8
    assert runner_up.breaking_rates([0.9] * 2, [0.1] * 2, SIGMA, [[0.0], [50.0]]).shape == (2, 1, 2)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ([0.5], [0.5]),
        ([0.4], [0.5]),
        ([1.0], [0.1]),
        ([0.5], [0.0]),
        ([0.5], []),
        ([np.nan], [0.1]),
    ],
)
def test_bad_limits_are_refused(lower, upper):
    with pytest.raises(InvalidInput, match="as many of each, with 0 < upper < lower < 1"):
        runner_up.radius_sum(lower, upper, 0.1, SIGMA)
    with pytest.raises(InvalidInput, match="as many of each, with 0 < upper < lower < 1"):
        runner_up.breaking_rates(lower, upper, SIGMA, 0.1)


def test_other_bad_arguments_are_refused():
    with pytest.raises(InvalidInput, match="mean_rate must be a flip rate in"):
        runner_up.radius_sum([0.9], [0.1], 1.1, SIGMA)
    with pytest.raises(InvalidInput, match="radii must be numbers >= 0; got -1"):
        runner_up.breaking_rates([0.9], [0.1], SIGMA, [0.5, -1])
    with pytest.raises(InvalidInput, match="sigma must be a positive number; got nan"):
        runner_up.breaking_rates([0.9], [0.1], float("nan"), 0.5)
