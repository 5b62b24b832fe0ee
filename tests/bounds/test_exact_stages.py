"""The exact test in two stages: by enumeration nearly all of alpha and never more."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from smoothcert.bounds import exact, exact_stages
from smoothcert.errors import InvalidInput

ALPHAS = (0.3, 0.05, 0.01, 0.001)


def outcomes(plan):
    """Every (k, seen, again)."""
    found = []
    for k, (first, fresh, more, least, most) in enumerate(zip(*plan, strict=True)):
        stops = range(first + 1) if first else range(fresh + 1)
        found += [(k, x, 0) for x in stops if not least <= x <= most]
        if least <= most:
            found += [(k, x, 1) for x in range(least, most + more + 1)]
    return np.array(found)


def limits_of(plan, alpha):
    """{(k, seen, again): limit}."""
    all_ = outcomes(plan)
    found = exact_stages.lower(all_[:, 0], all_[:, 1], all_[:, 2], plan, alpha)
    return {tuple(one): limit for one, limit in zip(all_.tolist(), found, strict=True)}


def pmf(x, of, chance):
    return comb(int(of), int(x)) * chance ** int(x) * (1 - chance) ** int(of - x)


def chance_of(outcome, plan, p, u, theta):
    """Of an outcome."""
    k, seen, again = outcome
    first, fresh, more, least, most = (part[k] for part in plan)
    votes = pmf(k, len(plan.first) - 1, p)
    if again:
        splits = range(max(least, seen - more), min(most, seen) + 1)
        return votes * sum(pmf(x, first, u) * pmf(seen - x, more, u) for x in splits)
    return votes * (pmf(seen, first, u) if first else pmf(seen, fresh, theta))


def errors(limits, plan, p, u, theta):
    """P[limit > theta] at laws (p, u) with p' = theta."""
    wrong = [one for one, limit in limits.items() if limit > theta]
    return sum(chance_of(one, plan, p, u, theta) for one in wrong)


def largest_error(limits, plan, points=250):
    """(P[limit > p'], p, theta) where it is largest over the laws with p (1 - u) = theta or less.

    The error only changes where theta passes a limit, and is largest just below it.
    """
    worst = (0.0, 0.0, 0.0)
    for limit in sorted({limit for limit in limits.values() if limit > 0}):
        theta = limit * (1 - 1e-9)
        p = np.append(np.linspace(0, theta, 20)[:-1], np.linspace(theta, 1, points))
        found = errors(limits, plan, p, np.maximum(0, 1 - theta / np.maximum(p, 1e-300)), theta)
        worst = max(worst, (found.max(), p[found.argmax()], theta))
    return worst


def exact_error(limits, plan, p, theta):
    """The same at one law, in rational numbers."""
    p, theta = Fraction(p), Fraction(theta)
    return errors(limits, plan, p, max(Fraction(0), 1 - theta / p) if p else Fraction(0), theta)


def fixed(n, first, second, least, most):
    votes = np.arange(n + 1)
    return exact_stages.looks(np.minimum(votes, first), np.minimum(votes, second), least, most)


def ragged(n, seed):
    """Any sizes and any rule for each k, as an enemy would choose them."""
    rng, votes = np.random.default_rng(seed), np.arange(n + 1)
    second = rng.integers(0, votes + 1)
    first = rng.integers(0, second + 1)
    least, most = rng.integers(0, 3, n + 1), rng.integers(0, 6, n + 1)
    return exact_stages.looks(first, second, least, most, rng.integers(0, 12, n + 1))


RULES = [(16, 4, 10, 1, 2), (12, 3, 12, 0, 1), (14, 5, 9, 1, 5)]


@pytest.mark.slow
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("rule", RULES)
def test_the_error_is_alpha_and_never_more(rule, alpha):
    plan = fixed(*rule)
    limits = limits_of(plan, alpha)
    error, p, theta = largest_error(limits, plan)
    assert exact_error(limits, plan, p, theta) <= Fraction(alpha)
    assert 0.9 * alpha < error <= alpha


@pytest.mark.full
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("rule", [(30, 6, 20, 1, 3), (30, 10, 15, 2, 6), (24, 8, 24, 0, 2)])
def test_the_error_is_alpha_and_never_more_at_full_size(rule, alpha):
    test_the_error_is_alpha_and_never_more(rule, alpha)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.3, 0.01])
@pytest.mark.parametrize("seed", range(3))
def test_any_rule_for_each_number_of_votes(seed, alpha):
    """Ragged plans with fresh draws among them; laws off the curve are no worse."""
    plan = ragged(14, seed)
    limits = limits_of(plan, alpha)
    assert max(limits.values()) > 0
    _, p, theta = largest_error(limits, plan)
    assert exact_error(limits, plan, p, theta) <= Fraction(alpha)
    rng = np.random.default_rng(seed)
    for theta in rng.choice(sorted({one for one in limits.values() if one > 0}), 8):
        p = rng.uniform(0, 1, 200)
        fewest = np.maximum(0, 1 - theta / p)
        u = fewest + (1 - fewest) * rng.uniform(0, 1, 200)
        assert errors(limits, plan, p, u, theta * (1 - 1e-9)).max() <= alpha


@pytest.mark.full
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(3, 15))
def test_any_rule_for_each_number_of_votes_at_full_size(seed, alpha):
    plan = ragged(14, seed)
    limits = limits_of(plan, alpha)
    error, p, theta = largest_error(limits, plan)
    assert error == 0 or exact_error(limits, plan, p, theta) <= Fraction(alpha)


def test_two_looks_tested_as_if_each_were_the_only_one_are_caught():
    """The control: the size that was stopped at, tested as if fixed beforehand."""
    n, alpha = 20, 0.05
    plan = fixed(n, 5, 20, 1, 5)
    limits = {}
    for k, x, again in outcomes(plan).tolist():
        size = plan.first[k] + plan.more[k] * again
        limits[k, x, again] = float(exact.lower(k, n, x, int(size), alpha)) if size else 0.0
    assert largest_error(limits, plan)[0] > 1.05 * alpha


def test_without_a_second_look_it_is_the_test_of_one():
    k, x = np.arange(500, 1000, 50)[:, None], np.arange(0, 40, 4)
    found = exact_stages.lower(k, x, False, fixed(1000, 100, 300, 1, 0), 0.01)
    assert (found == exact.lower(k, 1000, x, 100, 0.01)).all()


def test_an_outcome_counts_no_less_than_those_with_more_lost():
    plan = fixed(1000, 100, 300, 1, 4)
    first = exact_stages.lower(800, 0, False, plan, 0.01)
    second = exact_stages.lower(800, np.arange(1, 60), True, plan, 0.01)
    late = exact_stages.lower(800, np.arange(5, 20), False, plan, 0.01)
    assert first >= second[0]
    assert (np.diff(second) <= 0).all()
    assert (np.diff(late) <= 0).all()
    assert second[-1] >= late[0] > 0


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ((9, 1, False), "second look"),
        ((9, 0, True), "second look"),
        ((9, 9, True), "seen <= evaluated"),
        ((9, 0.5, False), "whole"),
        ((21, 0, False), "k"),
    ],
)
def test_bad_counts(outcome, message):
    with pytest.raises(InvalidInput, match=message):
        exact_stages.lower(*outcome, fixed(20, 4, 8, 1, 2), 0.05)


def test_a_plan_cannot_replay_more_votes_than_there_are():
    with pytest.raises(InvalidInput, match="second <= votes"):
        exact_stages.looks([0, 1, 2], [0, 1, 3], 0, 1)
