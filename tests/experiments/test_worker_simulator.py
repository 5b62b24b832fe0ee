"""The simulator of many workers against what can be said without it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from worker_simulator import Fleet, best_block_seconds, forecast

from smoothcert.errors import InvalidInput

CALM = Fleet(8, 1000.0, start_seconds=0, block_overhead=0, spread=0)


def test_without_trouble_work_is_divided():
    found = forecast(CALM, 80, 5000)
    assert found.seconds == pytest.approx(50)
    assert (found.lost, found.failures) == (0, 0)
    assert found.efficiency == pytest.approx(1)


def test_the_last_round_may_be_partly_empty():
    found = forecast(CALM, 81, 5000)
    assert found.seconds == pytest.approx(55)
    assert found.efficiency == pytest.approx(81 / 88)


def test_start_and_overhead_count():
    fleet = replace(CALM, start_seconds=30, block_overhead=1)
    assert forecast(fleet, 80, 5000).seconds == pytest.approx(30 + 10 * 6)


def test_price_is_for_workers_that_are_there():
    fleet = replace(CALM, price=3.6)
    assert forecast(fleet, 80, 5000).cost == pytest.approx(8 * 50 * 3.6 / 3600)


def test_failures_lose_half_a_block_each_on_average():
    fleet = replace(CALM, failures_per_hour=2.0, away_seconds=0)
    found = [forecast(fleet, 4000, 60_000, seed) for seed in range(5)]
    lost = np.mean([f.lost for f in found])
    rate, block = 2 / 3600, 60.0
    # Lost per block of B seconds: the mean of min(T, B) over failures before it succeeds.
    exact = (math.exp(rate * block) - 1) / (rate * block) - 1
    assert lost == pytest.approx(exact, rel=0.1)
    assert np.mean([f.failures for f in found]) == pytest.approx(
        4000 * (math.exp(rate * block) - 1), rel=0.1
    )


def test_a_late_block_is_done_by_an_idle_worker():
    """One failure at the very end costs a block's time, not the time that its worker is away."""
    fleet = Fleet(4, 1000, 0, 0, failures_per_hour=20, away_seconds=1e5, spread=0)
    done = [forecast(fleet, 8, 5000, seed) for seed in range(200)]
    some = [f for f in done if 0 < f.failures < 4]
    assert some
    assert max(f.seconds for f in some) < 60


def test_the_best_block_is_near_the_simulated_best():
    fleet = Fleet(50, 10_000, 0, block_overhead=0.5, failures_per_hour=1.0, away_seconds=0)
    evaluations = 2e9
    seconds = {}
    best = best_block_seconds(fleet, evaluations)
    for factor in (0.1, 1.0, 10.0):
        each = best * factor * fleet.speed
        runs = [forecast(fleet, round(evaluations / each), each, s).seconds for s in range(6)]
        seconds[factor] = np.mean(runs)
    assert seconds[1.0] < min(seconds[0.1], seconds[10.0])


@pytest.mark.parametrize(
    "change", [{"workers": 0}, {"speed": 0.0}, {"speed": math.nan}, {"spread": -1.0}]
)
def test_fleets_that_there_are_not(change):
    with pytest.raises(InvalidInput, match="A fleet has workers"):
        replace(CALM, **change)


def test_runs_that_never_end_are_refused():
    with pytest.raises(InvalidInput, match="hardly one is ever finished"):
        forecast(replace(CALM, failures_per_hour=60.0), 10, 1e6)
    with pytest.raises(InvalidInput, match="A run has blocks"):
        forecast(CALM, 0, 100)
