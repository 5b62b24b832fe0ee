"""Every bound refuses what is no count, and takes what is one in any shape and type."""

import inspect
from fractions import Fraction
from pkgutil import iter_modules

import numpy as np
import pytest

import smoothcert.bounds
from smoothcert.bounds import (
    adversary,
    betting,
    binomial,
    buehler,
    exact,
    exact_gains,
    exact_stages,
    hypergeometric,
    joint,
    paired,
    stratified,
    together,
)
from smoothcert.bounds.counts import rising
from smoothcert.errors import InvalidInput

A = 0.05
RADII = np.array([0.1, 0.2, 0.3])

LOOKS = exact_stages.looks(np.minimum(np.arange(11), 6), np.arange(11), 2, 3)

# Each bound as a function of its counts, in their order from the smallest, with counts it takes.
CALLS = {
    "binomial.lower": (lambda k, n: binomial.lower(k, n, A), (3, 10)),
    "binomial.upper": (lambda k, n: binomial.upper(k, n, A), (3, 10)),
    "buehler.cached_draws": (buehler.cached_draws, (10,)),
    "exact.lower": (lambda x, k, n: exact.lower(k, n, x, 6, A), (1, 8, 10)),
    "exact.lower_planned": (
        lambda x, k: exact.lower_planned(k, x, np.minimum(np.arange(11), 6), np.zeros(11), A),
        (1, 8),
    ),
    "exact_gains.lower": (lambda y, k, n: exact_gains.lower(k, n, 0, 4, y, 2, A), (1, 6, 10)),
    "exact_stages.looks": (
        lambda first, second: exact_stages.looks(first, second, 0, 1, 0),
        (0, 0),
    ),
    "exact_stages.lower": (lambda x, k: exact_stages.lower(k, x, False, LOOKS, A), (1, 8)),
    "exact_gains.lower_planned": (
        lambda y, k: exact_gains.lower_planned(
            k, 0, y, np.minimum(np.arange(11), 4), np.minimum(10 - np.arange(11), 3), A
        ),
        (1, 7),
    ),
    "joint.lower": (lambda x, m, k, n: joint.lower(k, n, x, m, A), (1, 6, 8, 10)),
    "stratified.lower": (
        lambda hits, m, size, n: stratified.lower([2, hits], [2, m], [2, size], n, A),
        (3, 5, 6, 10),
    ),
    "hypergeometric.lower": (lambda y, m, n: hypergeometric.lower(y, m, n, A), (3, 5, 10)),
    "betting.log_evidence": (lambda h, t: betting.log_evidence(h, t, 0.5), (3, 10)),
    "betting.rejects": (lambda h, t: betting.rejects(h, t, 0.5, A), (3, 10)),
    "betting.lower": (lambda h, t: betting.lower(h, t, A), (3, 10)),
    "betting.lower_near": (lambda h, t: betting.lower_near(h, t, A), (3, 10)),
    "betting.upper": (lambda h, t: betting.upper(h, t, A), (3, 10)),
    "adversary.mean_flip_limit": (
        lambda x, m: adversary.mean_flip_limit([0, x], m, A),
        (3, 10),
    ),
    "adversary.log_evidence": (lambda x, m: adversary.log_evidence(x, m, 0.1, 0.2), (3, 10)),
    "together.wrong_at_most": (lambda count: together.wrong_at_most(count, A, A), (10,)),
    "together.new_inputs_above": (lambda r, n: together.new_inputs_above(r, n, A, A), (3, 10)),
    "paired.mcnemar": (lambda lost: paired.mcnemar(lost, 5), (3,)),
    "paired.detectable": (paired.detectable, (100,)),
    "together.mean_above": (lambda wrong: together.mean_above(RADII, wrong), (2,)),
}
NO_COUNTS = {"budget", "normal", "rounding", "counts"}
NONE_IN = {
    *(f"adversary.{name}" for name in ("breaking_rates", "lost_inputs", "radius_sum")),
    *(f"adversary.{name}" for name in ("lost_at_most", "affordable", "total_rate")),
    "together.new_mean_above",
    *("runner_up.breaking_rates", "runner_up.radius_sum", "buehler.limits"),
}
NAN, INF = float("nan"), float("inf")
BAD = (2.5, NAN, INF, -INF, -1, -1.0, 2.0**53, 2**70, "3", None, 3 + 0j, Fraction(5, 2))


def test_no_bound_is_left_out():
    found = set()
    for module in {m.name for m in iter_modules(smoothcert.bounds.__path__)} - NO_COUNTS:
        members = vars(__import__(f"smoothcert.bounds.{module}", fromlist=["x"]))
        found |= {
            f"{module}.{name}"
            for name, value in members.items()
            if inspect.isfunction(value)
            and not name.startswith("_")
            and value.__module__.endswith(module)
        }
    assert found - NONE_IN == set(CALLS)


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_count_is_refused(name, bad):
    """2.5 flips were truncated to 2, or taken for 2.5; NaN compares as False."""
    call, good = CALLS[name]
    for place in range(len(good)):
        counts = [*good[:place], bad, *good[place + 1 :]]
        with pytest.raises(InvalidInput, match="must be whole numbers 0 <= "):
            call(*counts)


@pytest.mark.parametrize("name", [name for name, (_, good) in CALLS.items() if len(good) > 1])
def test_counts_out_of_order_are_refused(name):
    """More hits than draws, more winners replayed than the cache has, strata beyond the cache."""
    call, good = CALLS[name]
    for place in range(len(good) - 1):
        counts = [*good[:place], good[place + 1] + 1, *good[place + 1 :]]
        with pytest.raises(InvalidInput, match=r"must be whole numbers 0 <= .*; got .* = "):
            call(*counts)


@pytest.mark.parametrize("name", CALLS)
def test_whole_numbers_of_any_type_are_counts(name):
    call, good = CALLS[name]
    expected = call(*good)
    for kind in (np.float64, np.int64, np.uint8, np.float32):
        assert np.all(call(*np.array(good, kind)) == expected)


def test_strata_of_more_draws_than_there_are_are_refused():
    """Each stratum fits, their sum does not: 12 of 10 draws were taken for 10 votes in 10."""
    assert stratified.lower([5, 5], [5, 5], [5, 5], 10, A) < 1
    with pytest.raises(InvalidInput, match="0 <= sizes <= n < .*; got sizes = 12, n = 10"):
        stratified.lower([5, 5], [5, 5], [6, 6], 10, A)


def test_shapes_broadcast_as_before():
    assert binomial.lower([[1], [2]], 10, [0.1, 0.01, 0.001]).shape == (2, 3)
    assert joint.lower([[8], [9]], 10, 0, [3, 4, 5], A).shape == (2, 3)
    assert stratified.lower(np.zeros((4, 1, 2)), [3, 1], [[8, 2]] * 3, 10, A).shape == (4, 3)
    assert hypergeometric.lower([[1], [2]], 4, [6, 7, 8], [[[A]]] * 5).shape == (5, 2, 3)
    assert adversary.log_evidence([[0], [1]], 10, [0.1, 0.2, 0.3], 0.5).shape == (2, 3)
    assert betting.lower([], 10, A).shape == (0,)
    assert adversary.mean_flip_limit([], 10, A) == 1


def test_the_first_bad_count_of_an_array_is_named():
    with pytest.raises(InvalidInput, match=r"0 <= k <= n < 2\^53; got k = 11, n = 10$"):
        binomial.lower([[1, 2, 3], [4, 11, 12]], [10, 10, 10], A)
    with pytest.raises(InvalidInput, match=r"got a = 2.5, b = 9007199254740991$"):
        rising(a=2.5, b=2**53 - 1)


def test_counts_are_held_exactly():
    found = rising(a=[True, False], b=2**53 - 1)
    assert [values.tolist() for values in found] == [[1.0, 0.0], [2.0**53 - 1] * 2]
    with pytest.raises(InvalidInput):
        rising(b=2**53 + 1)  # as a float it is 2^53
