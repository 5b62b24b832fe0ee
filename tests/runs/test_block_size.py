"""The default size of blocks: what wastes least, where the speed of a run is known."""

import time
from dataclasses import replace

import numpy as np
import pytest
from worker_simulator import Fleet, forecast

from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.execution import describe
from smoothcert.execution.scheduler import best_block_seconds
from smoothcert.execution.start import RunOptions, RunRequest
from smoothcert.methods import SCRATCH, Decision
from smoothcert.sampling import tuning
from smoothcert.storage.opening import open_storage
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=100, n=900)


def size(speed, inputs=10_000, settings=SETTINGS, **changes):
    method = changes.pop("method", SCRATCH)
    request = RunRequest(
        open_storage("r"), settings, method, options=replace(RunOptions(), **changes)
    )
    asked = request.options.block_inputs
    return describe.block_inputs(settings, request.draws, inputs, speed, asked)


def test_a_short_run_has_the_size_that_needs_no_speed():
    assert size(0.0) == 256
    assert size(0.0, settings=replace(SETTINGS, n=99_900)) == 2**21 // 100_000


@pytest.mark.parametrize("speed", [200.0, 2_000.0, 20_000.0])
def test_a_block_takes_the_seconds_that_waste_least(speed):
    work = 10_000 * 1_000 / speed
    best = best_block_seconds(work, 0.02, 1 / 20)
    seconds = size(speed) * 1_000 / speed
    assert best / 2 <= seconds <= best or size(speed) in (1, 256)


def test_it_is_never_less_than_an_input_nor_more_than_without_a_speed():
    assert size(0.01) == 1
    assert size(1e12) == 256
    assert size(1e12, method=Decision(0.1)) == 256


def test_what_was_asked_for_counts():
    assert size(2_000.0, block_inputs=77) == 77


@pytest.mark.slow
def test_it_is_near_the_simulated_best():
    """A day of work for one preemptible worker."""
    fleet = Fleet(1, 1_000.0, 0, block_overhead=0.02, failures_per_hour=1 / 20, away_seconds=0)
    evaluations, each = 86.4e6, 1_000
    ours = size(1_000.0, inputs=86_400)
    lost = {}
    for inputs in (1, ours, 2_000):
        blocks = round(evaluations / (inputs * each))
        runs = [forecast(fleet, blocks, inputs * each, seed).seconds for seed in range(5)]
        lost[inputs] = np.mean(runs) - evaluations / fleet.speed
    assert lost[ours] < min(lost[1], lost[2_000])


class Steady(PixelSum):
    """Takes a tenth of a millisecond for each row."""

    def logits(self, images):
        time.sleep(len(images) * 1e-4)
        return super().logits(images)


@pytest.mark.slow
def test_a_long_run_measures_and_a_resumed_one_keeps_its_choice(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "_TRIAL", 0.05)
    data = Inputs.from_arrays(np.full((2_000, 1, 2, 2), 0.5), grid=1 / 16)
    request = RunRequest(open_storage(tmp_path / "r"), SETTINGS)
    run = request.open(Steady(28), data)
    assert 8 <= run.identity.block_inputs <= 128  # 7 s would be best for these three minutes
    monkeypatch.setattr(describe, "best_block_seconds", lambda *_: 1.0)
    resumed = replace(request, options=RunOptions(resume=True))
    again = resumed.open(Steady(28), data)
    assert again.identity == run.identity
