"""The adversary's bounds against brute force, exact enumeration and exact arithmetic."""

from fractions import Fraction
from itertools import combinations, product

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from smoothcert.bounds import adversary, binomial
from smoothcert.errors import InvalidInput

SIGMA = 0.5


def poisson_binomial(rates) -> np.ndarray:
    """The law of the number of successes of independent, non-identical trials."""
    law = np.ones(1)
    for rate in rates:
        law = np.convolve(law, [1 - rate, rate])
    return law


def misses(limit, rates, draws: int) -> float:
    """P[limit(flips) < mean rate], exactly; each input's rate applies to all its draws."""
    law = poisson_binomial(np.repeat(rates, draws))
    mean = float(np.mean(rates))
    return sum(weight for flips, weight in enumerate(law) if limit(flips) < mean - 1e-12)


def pooled(inputs: int, draws: int, alpha: float):
    """The limit as a function of the pooled flips."""

    def limit(flips: int) -> float:
        spread = np.full(inputs, flips // inputs)
        spread[: flips % inputs] += 1
        return adversary.mean_flip_limit(spread, draws, alpha)

    known = [limit(flips) for flips in range(inputs * draws + 1)]
    return known.__getitem__


def rate_vectors(inputs: int, extra: list[float]):
    """Random rates, and the extreme points: some 1, some 0, one or all of the rest between."""
    rng = np.random.default_rng(inputs)
    yield from rng.random((40, inputs))
    yield from rng.random((40, inputs)) ** 4
    for ones in range(inputs + 1):
        for between in (*np.linspace(0, 1, 21), *extra):
            rates = np.zeros(inputs)
            rates[:ones] = 1
            yield np.concatenate([rates[:ones], np.full(inputs - ones, between)])
            if ones < inputs:
                rates[ones] = between
                yield rates.copy()


@pytest.mark.parametrize("alpha", [0.002, 0.05, 0.3])
@pytest.mark.parametrize(("inputs", "draws"), [(1, 1), (2, 1), (3, 1), (5, 1), (2, 3), (5, 4)])
def test_the_mean_limit_covers_all_rates(inputs, draws, alpha):
    limit = pooled(inputs, draws, alpha)
    # The rates at which an error is nearest: the mean just above one of the limits.
    limits = [limit(flips) for flips in range(inputs * draws + 1)]
    edges = [b for u in limits for o in range(inputs) if 0 < (b := u * inputs - o + 1e-9) <= 1]
    worst = max(misses(limit, rates, draws) for rates in rate_vectors(inputs, edges))
    assert worst <= alpha * (1 + 1e-6)
    if inputs * draws >= 5 and alpha < 0.3:
        assert worst > alpha / 2  # the enumeration does reach it


def test_the_plain_binomial_limit_does_not():
    """Hoeffding's range matters: two trials, one of them certain to flip."""
    alpha = 0.05
    top = float(binomial.upper(1, 2, alpha))
    rates = [1, 2 * top - 1 + 1e-6]
    plain = misses(lambda flips: float(binomial.upper(flips, 2, alpha)), rates, 1)
    assert plain > alpha
    assert misses(pooled(2, 1, alpha), rates, 1) <= alpha
    assert adversary.mean_flip_limit([1, 0], 1, alpha) == 1


def test_the_enumeration_catches_twice_alpha():
    limit = pooled(5, 4, 0.1)
    worst = max(misses(limit, rates, 4) for rates in rate_vectors(5, [0.1388, 0.2]))
    assert worst > 0.05


def test_the_mean_limit_is_the_binomial_one_elsewhere():
    """At every alpha up to 1/4, for all counts but n - 1 (checked here, not proven)."""
    for total in (2, 3, 10, 57, 300):
        for alpha in (0.25, 0.05, 0.001):
            for flips in {0, total // 3, total - 2}:
                found = adversary.mean_flip_limit([flips], total, alpha)
                assert found == binomial.upper(flips, total, alpha)


def test_unequal_draws_are_refused_and_would_be_wrong():
    with pytest.raises(InvalidInput, match="draws must be the same for every input"):
        adversary.mean_flip_limit([0, 5], [90, 10], 0.05)
    # Rates 0 and 1 have mean 1/2, but 90 and 10 draws of them have 10 flips in 100.
    assert float(binomial.upper(10, 100, 0.05)) < 0.2


def test_no_draws_prove_nothing_and_too_many_flips_are_refused():
    assert adversary.mean_flip_limit([0, 0], 0, 0.05) == 1
    assert adversary.mean_flip_limit([], 5, 0.05) == 1
    with pytest.raises(InvalidInput, match="whole numbers 0 <= flips <= draws"):
        adversary.mean_flip_limit([0, 6], 5, 0.05)


def robust(limit: float, rate: float, radius: float) -> bool:
    return limit * (1 - rate) > stats.norm.cdf(radius / SIGMA)


def most_lost(limits, mean_rate: float, radius: float) -> int:
    """Over all subsets: the adversary pays for each in it and nothing for the others."""
    needed, budget = stats.norm.cdf(radius / SIGMA), len(limits) * mean_rate
    costs = [max(0.0, 1 - needed / limit) for limit in limits]
    for size in range(len(limits), 0, -1):
        if any(sum(subset) <= budget for subset in combinations(costs, size)):
            return size
    return 0


@pytest.mark.slow
@given(
    st.lists(st.floats(0.5001, 0.99999), min_size=1, max_size=7),
    st.floats(0, 0.6),
    st.floats(0, 1.5),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_lost_inputs_are_those_of_the_best_subset(limits, mean_rate, radius):
    found = int(adversary.lost_inputs(limits, mean_rate, SIGMA, radius))
    assert found >= most_lost(limits, mean_rate, radius)
    assert found <= most_lost(limits, mean_rate + 1e-9, radius)


def test_no_rates_on_a_grid_lose_more():
    limits, mean_rate, radii = np.array([0.6, 0.75, 0.9, 0.99]), 0.12, np.linspace(0, 1.2, 25)
    bound = adversary.lost_inputs(limits, mean_rate, SIGMA, radii)
    seen = np.zeros_like(bound)
    for rates in product(np.linspace(0, 0.48, 25), repeat=4):
        if sum(rates) <= 4 * mean_rate:
            kept = limits * (1 - np.array(rates))
            lost = (kept[:, None] <= stats.norm.cdf(radii / SIGMA)).sum(axis=0)
            seen = np.maximum(seen, lost)
    assert (seen <= bound).all()
    assert (bound - seen <= 1).all()
    assert (bound == seen).mean() > 0.8


def test_exactly_spent_budgets_count_as_lost():
    """A rate of exactly 1 - 1/2/limit leaves p' = 1/2, which is not certified."""
    assert adversary.lost_inputs([0.75], 1 / 3, SIGMA, 0.0) == 1
    assert adversary.lost_inputs([0.75], 0.333333, SIGMA, 0.0) == 0
    assert adversary.lost_inputs([0.75] * 4, 0.0, SIGMA, [0.0, 5.0]).tolist() == [0, 4]


def radii(limits, rates) -> np.ndarray:
    return SIGMA * np.maximum(0, stats.norm.ppf(np.maximum(0.5, limits * (1 - rates))))


def simplex(parts: int, steps: int):
    """All ways to divide `steps` units over `parts`."""
    for bars in combinations(range(steps + parts - 1), parts - 1):
        edges = np.array([-1, *bars, steps + parts - 1])
        yield np.diff(edges) - 1


SHARES = np.array(list(simplex(4, 36))) / 36


@pytest.mark.parametrize("mean_rate", [0.0005, 0.01, 0.06, 0.15, 0.3, 0.45])
@pytest.mark.parametrize(
    "limits", [[0.6, 0.75, 0.9, 0.99], [0.51, 0.52, 0.53, 0.9999], [0.9, 0.9, 0.9, 0.9]]
)
def test_no_division_of_the_flips_gives_a_smaller_sum(limits, mean_rate):
    limits = np.array(limits)
    bound = adversary.radius_sum(limits, mean_rate, SIGMA)
    rates = np.minimum(1, SHARES * 4 * mean_rate)
    found = radii(limits, rates).sum(axis=1).min()
    assert found >= bound
    assert found <= bound + 0.04 * radii(limits, np.zeros(4)).max()


@pytest.mark.slow
@given(
    st.lists(st.floats(0.5001, 0.999999), min_size=1, max_size=40),
    st.floats(1e-6, 0.6),
    st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_minimum_is_reached(limits, mean_rate, seed):
    """The rates at the best price spend the budget and give the bound itself: no gap."""
    limits = np.array(limits)
    bound = adversary.radius_sum(limits, mean_rate, SIGMA)
    budget = len(limits) * mean_rate
    rng = np.random.default_rng(seed)
    spread = rng.dirichlet(np.full(len(limits), 0.3), 50) * budget
    assert radii(limits, np.minimum(1, spread)).sum(axis=1).min() >= bound
    tops = stats.norm.ppf(limits)
    low, high = 0.0, 1e12  # the price by bisection on spending, as a check on its own
    for _ in range(200):
        price = (low + high) / 2 if high < 1 else np.sqrt(max(low, 1e-6) * high)
        depth = stats.norm.pdf(0) * price / limits
        z = np.minimum(tops, np.sqrt(2 * np.log(np.maximum(1, depth))))
        rates = 1 - stats.norm.cdf(z) / limits
        low, high = (price, high) if rates.sum() > budget else (low, price)
    reached = (SIGMA * z).sum()
    # At a price where an input stands at abstention it may be paid for in part.
    assert bound <= reached + 1e-6
    if rates.sum() >= budget - 1e-6:
        assert bound >= reached - 1e-6 * (1 + high)


@pytest.mark.parametrize("limit", [0.501, 0.6, 0.9, 0.9999])
def test_one_input_alone(limit):
    for rate in (0.0, 1e-5, 0.001, 0.0019, 0.01, 0.1, 0.3):
        bound = adversary.radius_sum([limit], rate, SIGMA)
        exact = radii(np.array([limit]), rate)[0]
        assert exact - 1e-7 <= bound <= exact


def test_the_radius_is_convex_through_abstention():
    """What makes the best price global: midpoints never lie above chords, kink included."""
    for limit in (0.51, 0.6, 0.9, 0.999999):
        rates = np.linspace(0, 1, 4001)
        r = radii(np.full(4001, limit), rates)
        assert (r[:-2] + r[2:] - 2 * r[1:-1] >= -1e-12).all()


@pytest.mark.parametrize("wrong", ["even", "cheapest first"])
def test_other_ways_to_spend_are_beaten(wrong):
    """The control: a bound that assumes another adversary is above what some rates reach."""
    limits, mean_rate = np.array([0.6, 0.75, 0.9, 0.99]), 0.06
    rates = np.full(4, mean_rate) if wrong == "even" else np.array([1 / 6, 0.24 - 1 / 6, 0, 0])
    claimed = radii(limits, rates).sum()
    found = radii(limits, SHARES * 4 * mean_rate).sum(axis=1).min()
    assert found < claimed - 0.01


def test_an_empty_group_and_bad_limits():
    assert adversary.radius_sum([], 0.1, SIGMA) == 0
    assert adversary.radius_sum([0.9, 0.8], 1.0, SIGMA) == 0
    for limits in ([0.5], [1.0], [float("nan")]):
        with pytest.raises(InvalidInput, match="limits must be probabilities"):
            adversary.radius_sum(limits, 0.1, SIGMA)
    with pytest.raises(InvalidInput, match="radii must be numbers >= 0; got -1"):
        adversary.lost_inputs([0.9], 0.1, SIGMA, [0.5, -1])


def exact_log(flips: int, draws: int, guess: float, breaking: float):
    with mpmath.workdps(60):
        v, t = mpmath.mpf(guess), mpmath.mpf(breaking)
        return flips * mpmath.log(v / t) + (draws - flips) * mpmath.log((1 - v) / (1 - t))


@given(
    st.integers(0, 10**5),
    st.floats(0, 1),
    st.floats(1e-6, 0.999),
    st.one_of(st.floats(1e-6, 0.999), st.floats(0, 1e-9)),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_evidence_is_never_above_its_exact_value(draws, share, breaking, nearness):
    flips = round(share * draws)
    guess = breaking * (1 - nearness) if nearness < 1e-8 else min(nearness, breaking)
    found = float(adversary.log_evidence(flips, draws, guess, breaking))
    exact = exact_log(flips, draws, guess, breaking) if guess < breaking else 0
    assert found <= exact
    assert found >= exact - 1e-10 * (1 + draws * 15)


@pytest.mark.parametrize("guess", [0.001, 0.1, 0.29, 0.5])
def test_evidence_is_an_e_value(guess):
    """Expectation at most 1 wherever the hypothesis holds, above 1 where the guess is right."""
    flips, breaking = np.arange(9), 0.3
    values = np.exp(adversary.log_evidence(flips, 8, guess, breaking))
    for rate in np.linspace(breaking, 1, 30):
        assert (stats.binom.pmf(flips, 8, rate) * values).sum() <= 1 + 1e-9
    if guess < breaking:
        assert (stats.binom.pmf(flips, 8, guess) * values).sum() > 1


@given(st.lists(st.floats(-9, 9), max_size=9), st.floats(0.001, 0.5))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_lost_at_most_is_the_largest_set_not_ruled_out(evidence, alpha):
    possible = 0
    for size in range(len(evidence) + 1):
        least = min(sum(s) for s in combinations(evidence, size))
        if least < np.log(1 / alpha):
            possible = size
    assert adversary.lost_at_most(evidence, alpha) == possible


def test_breaking_rates_are_never_above_the_exact_ones():
    for limit in (0.5001, 0.75, 0.9999):
        for radius in (0.0, 0.3, 1.0):
            with mpmath.workdps(40):
                needed = mpmath.ncdf(mpmath.mpf(radius) / mpmath.mpf(SIGMA))
                exact = 1 - needed / mpmath.mpf(limit)
            found = float(adversary.breaking_rates([limit], SIGMA, radius)[0])
            assert found < exact < found + 1e-11
            assert Fraction(found) < 1


def evidence_misses(rates, breaking, draws: int, alpha: float, guess) -> float:
    """P[more inputs are lost than the bound says], over every outcome of all inputs."""
    rates, breaking = np.array(rates), np.array(breaking)
    lost = int((rates >= breaking).sum())
    laws = [stats.binom.pmf(np.arange(draws + 1), draws, rate) for rate in rates]
    total = 0.0
    for flips in product(range(draws + 1), repeat=len(rates)):
        weight = np.prod([law[x] for law, x in zip(laws, flips, strict=True)])
        if weight > 1e-9:
            evidence = adversary.log_evidence(flips, draws, guess(np.array(flips)), breaking)
            total += weight * (adversary.lost_at_most(evidence, alpha) < lost)
    return total


WORLDS = [
    ([0.3, 0.3, 0.3, 0.3], [0.3, 0.3, 0.3, 0.3]),
    ([0.4, 0.3, 0.05, 0.05], [0.4, 0.2, 0.2, 0.2]),
    ([0.2, 0.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.3]),
    ([0.5, 0.5, 0.1, 0.0], [0.5, 0.45, 0.4, 0.4]),
]


@pytest.mark.parametrize(("rates", "breaking"), WORLDS)
def test_evidence_covers_by_enumeration(rates, breaking):
    alpha = 0.1
    for guess in (0.02, 0.1):
        assert evidence_misses(rates, breaking, 5, alpha, lambda _, g=guess: g) <= alpha


def test_guesses_that_look_at_the_counts_they_test_are_caught():
    """The control: the most likely rate as its own alternative is no e-value."""
    wrong = evidence_misses(*WORLDS[0], 5, 0.1, lambda flips: np.clip(flips / 5, 0.01, 0.99))
    assert wrong > 0.1
