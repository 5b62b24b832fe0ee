"""Time as a budget (`minutes:M`) and as a stop (`--minutes`): what is decided, with a fake clock.

How long anything takes is asserted nowhere; benchmarks/NOTES.md has what was measured.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput
from smoothcert.execution.block_tasks import Shard
from smoothcert.execution.runner import RunOptions, execute, run_certify, run_recertify
from smoothcert.execution.start import RunRequest
from smoothcert.methods import SCRATCH, Exact, Reuse, Sized
from smoothcert.planning import Policy, timed
from smoothcert.planning.timed import Timing, counted
from smoothcert.runs import pilots
from smoothcert.runs.plan_file import read_plan
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, evaluate_again, still_unchecked, verify
from smoothcert.sampling.pace import Pace
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.storage.opening import open_storage
from support.executors import threads
from support.known_truth import PixelSum
from support.run_files import bytes_of

SETTINGS = Settings(0.25, 16, n0=20, n=2000)
SMALL = RunOptions(batch_size=16, block_inputs=7)
COUNT = 9000


class Clock:
    """Stands still until somebody works."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def fits(monkeypatch):
    """Every time is enough for COUNT evaluations."""
    monkeypatch.setattr(Timing, "fits", lambda self, per_second, done=0: COUNT)
    monkeypatch.setattr(Timing, "selecting", lambda self, pace, total: pace)


def certify(out, inputs, policy="minutes:0.01", **how):
    request = RunRequest(open_storage(out), SETTINGS, Sized(policy), options=replace(SMALL, **how))
    return execute(request, PixelSum(28), inputs)


@pytest.fixture
def run(tmp_path, tiny_inputs, fits):
    return certify(tmp_path / "run", tiny_inputs)


def test_the_pace_is_that_after_the_first_tenth():
    clock, seen = Clock(), []
    pace = Pace(seen.append, clock)
    assert pace.speed == 0
    for seconds in (50.0, *[1.0] * 19):
        clock.now += seconds
        pace(10)
    assert (pace.done, pace.seconds, pace.speed) == (200, 69.0, 10.0)
    assert seen == [10] * 20


def test_of_a_single_batch_the_pace_is_that_from_the_start():
    clock = Clock()
    pace = Pace(None, clock)
    clock.now += 2
    pace(10)
    assert pace.speed == 5


def test_what_fits_counts_from_the_start_and_by_workers():
    clock = Clock()
    timing = Timing(10, clock.now, clock=clock)
    clock.now += 82
    assert timing.left == 10 * 60 * timed._USED - 82 == 500
    assert timing.fits(100) == 50_000
    assert timing.fits(100, done=7) == 50_007
    two = replace(timing, workers=2, loading=100)
    assert two.fits(100) == 50_000 + int(timed._OTHERS * 40_000)
    assert replace(two, loading=1e4).fits(100) == 50_000  # never fewer than alone
    some = replace(timing, blocks=250)
    assert some.fits(100) == int(100 * (500 - 250 * timed._BLOCK))
    assert replace(some, workers=2).left == 500 - 125 * timed._BLOCK
    clock.now += 1000
    assert replace(two, loading=0).fits(100, done=7) == 7


def test_minutes_are_a_budget_of_the_count_that_fits(run, tmp_path, tiny_inputs):
    by_count = certify(tmp_path / "count", tiny_inputs, f"budget:{COUNT}")
    assert read_plan(run) == read_plan(by_count)
    assert run.certificates == by_count.certificates
    assert run.identity.method == Sized("minutes:0.01")
    assert pilots.read_pilot(run).votes.budget == COUNT
    assert verify(run).problems == ()
    assert evaluate_again(run, PixelSum(28), tiny_inputs, 0.1).problems == ()
    again = smoothcert.certify(
        PixelSum(28), tiny_inputs, 0.25, n0=20, n=2000, policy="minutes:0.01"
    )
    assert again.certificates == run.certificates


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        Exact("minutes:0.02"),
        Reuse("minutes:0.02", "joint"),
        Reuse("minutes:0.02", "fresh", fresh_seed=7),
    ],
    ids=["exact", "joint", "fresh"],
)
@pytest.mark.filterwarnings("ignore::smoothcert.tries.SeedReused")
def test_of_a_recertification_too(method, tmp_path, tiny_inputs, fits):
    base = run_certify(tmp_path / "base", PixelSum(28), tiny_inputs, SETTINGS, SMALL)
    new = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, method, SMALL)
    policy = f"budget:{COUNT}"
    other = replace(method, policy=policy)
    by_count = run_recertify(tmp_path / "count", base, PixelSum(29), tiny_inputs, other, SMALL)
    assert read_plan(new) == read_plan(by_count)
    assert new.certificates == by_count.certificates
    assert verify(new, base).problems == ()
    assert evaluate_again(new, PixelSum(29), tiny_inputs, 0.2, base=base).problems == ()
    how = {}
    if isinstance(method, Reuse):
        how = {"method": method.method, "fresh_seed": method.fresh_seed}
    again = smoothcert.recertify(
        base.certification(), PixelSum(29), tiny_inputs, policy="minutes:0.02", **how
    )
    assert again.certificates == new.certificates


def test_a_resumed_run_keeps_the_count(run, tiny_inputs, monkeypatch):
    before = bytes_of(run.path)
    (run.path / "certificates" / "00002.parquet").unlink()
    monkeypatch.setattr(Timing, "fits", lambda *_: 1 / 0)  # nobody measures again
    certify(run.path, tiny_inputs, resume=True)
    assert bytes_of(run.path) == before


@pytest.mark.parametrize("budget", [None, COUNT + 3000])
def test_another_count_is_found_out(budget, run):
    """A plan that follows from more evaluations than the pilot says, or from none at all."""
    votes = replace(pilots.read_pilot(run).votes, budget=budget)
    data = pilots.pilot_bytes(pilots.StoredPilot(votes), run.identity.indices)
    run.write(pilots.NAME, data)
    (problem, *_) = verify(Run.open(run.storage)).problems
    assert ("its plan gives" if budget else "cannot be recomputed") in problem


def test_a_count_that_no_policy_asks_for_is_found_out(tmp_path, tiny_inputs):
    run = certify(tmp_path / "run", tiny_inputs, "retain:0.9")
    votes = replace(pilots.read_pilot(run).votes, budget=COUNT)
    run.write(pilots.NAME, pilots.pilot_bytes(pilots.StoredPilot(votes), run.identity.indices))
    assert any("cannot be recomputed" in problem for problem in verify(run).problems)
    with pytest.raises(ValueError, match="with the number of evaluations 9000"):
        counted(Exact("budget:0.1"), COUNT)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, -5, 1.5, True, "9000"])
def test_a_count_that_is_none_is_damage(budget, run):
    votes = replace(pilots.read_pilot(run).votes, budget=budget)
    run.write(pilots.NAME, pilots.pilot_bytes(pilots.StoredPilot(votes), run.identity.indices))
    assert any("budget must be a whole number" in problem for problem in verify(run).problems)


def test_without_time_for_the_selection_draws_nothing_is_written(
    tmp_path, tiny_inputs, monkeypatch
):
    """A clock that runs out in the first batches; the advice names what takes the time."""
    clock, counts = Clock(), []

    def slow(count):
        clock.now += 2.0
        counts.append(count)

    timing = Timing(1, clock.now, clock=clock)
    count = timing.selecting(Pace(slow, clock), 600)
    with pytest.raises(InvalidInput, match=r"1 minutes here, but the selection draws of all inp"):
        for _ in range(600):
            count(1)
    assert 3 <= len(counts) < 10  # not after a minute
    monkeypatch.setattr(Timing, "left", -1.0)
    with pytest.raises(InvalidInput, match="Allow more minutes, or take fewer inputs"):
        certify(tmp_path / "run", tiny_inputs)
    assert not (tmp_path / "run").exists()


def test_a_recertification_without_time_for_its_pilot(tmp_path, tiny_inputs, monkeypatch):
    base = run_certify(tmp_path / "base", PixelSum(28), tiny_inputs, SETTINGS, SMALL)
    monkeypatch.setattr(Timing, "fits", lambda self, per_second, done=0: 9)
    with pytest.raises(InvalidInput, match="pilot, from which the plan is made, alone take"):
        smoothcert.recertify(base.certification(), PixelSum(29), tiny_inputs, policy="minutes:0.02")


@pytest.mark.parametrize("how", [{"shard": Shard(1, 2)}, {"workers": None}])
def test_shards_and_clusters_are_told_that_time_is_one_machines(how, tmp_path, tiny_inputs):
    with pytest.raises(InvalidInput, match=r"shards and clusters are several\. Give budget:B"):
        certify(tmp_path / "run", tiny_inputs, **how)
    assert not (tmp_path / "run").exists()


def test_a_shard_of_a_run_that_was_planned_goes_on(run, tiny_inputs):
    (run.path / "certificates" / "00001.parquet").unlink()
    certify(run.path, tiny_inputs, shard=Shard(2, 2))
    assert verify(Run.open(run.storage)).problems == ()


@pytest.mark.parametrize("policy", ["minutes:0", "minutes:-1", "minutes:", "minutes:nan"])
def test_no_time_is_no_policy(policy):
    for scratch in (True, False):
        with pytest.raises(InvalidInput, match="minutes:M"):
            Policy.parse(policy, scratch)


def test_planners_do_not_guess_what_fits():
    rule = Policy.parse("minutes:2")
    for ask in (lambda: rule.total(3, 5), lambda: rule.in_sigmas(SETTINGS)):
        with pytest.raises(InvalidInput, match="give budget:B"):
            ask()


@pytest.mark.slow
def test_blocks_of_minutes_do_not_depend_on_a_speed(tmp_path, tiny_inputs, fits):
    found = certify(tmp_path / "run", tiny_inputs, "minutes:2", block_inputs=None)
    assert found.identity.block_inputs == 1
    assert verify(found).problems == ()


@pytest.mark.slow
def test_the_time_that_blocks_take_is_set_aside(tmp_path, tiny_inputs, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Timing, "fits", lambda self, per_second, done=0: seen.append(self.blocks) or COUNT
    )
    certify(tmp_path / "run", tiny_inputs, "minutes:2")
    assert set(seen) == {5}  # 30 inputs, 7 in a block


# Time as a stop.


def stopping(clock, minutes, seconds):
    """Options of a run whose every batch takes some seconds on the clock."""
    limit = TimeLimit(minutes, clock)

    def tick(count):
        clock.now += seconds

    return replace(SMALL, block_inputs=2, limit=limit, progress=limit.watched(tick))


@pytest.mark.slow
@pytest.mark.parametrize("executor", [None, threads], ids=["serial", "several"])
@pytest.mark.parametrize("method", [SCRATCH, Sized("retain:0.9")])
def test_what_is_finished_is_kept_and_resumes_to_the_same_bytes(
    executor, method, tmp_path, tiny_inputs
):
    def made(out, options):
        given = {} if executor is None else {"executor": executor}
        request = RunRequest(open_storage(out), SETTINGS, method, options=replace(options, **given))
        return execute(request, PixelSum(28), tiny_inputs)

    calm, out = made(tmp_path / "calm", replace(SMALL, block_inputs=2)), tmp_path / "run"
    batches = sum(c.evaluations for c in calm.certificates) / 16
    with pytest.raises(TimeIsUp):
        made(out, stopping(Clock(), batches / 2 / 60, 1.0))
    stopped = Run.open(out)
    assert 0 < len(stopped.finished) < len(stopped.blocks)
    assert not list(out.rglob("*.tmp"))
    tries = 0
    while Run.open(out).missing:
        tries += 1
        assert tries < 10
        try:
            made(out, replace(stopping(Clock(), batches / 2 / 60, 1.0), resume=True))
        except TimeIsUp:
            continue
    assert bytes_of(out) == bytes_of(calm.path)
    assert verify(Run.open(out)).problems == ()


def test_before_the_plan_nothing_is_kept(tmp_path, tiny_inputs):
    options = stopping(Clock(), 1 / 60, 1.0)
    request = RunRequest(
        open_storage(tmp_path / "run"), SETTINGS, Sized("retain:0.9"), options=options
    )
    with pytest.raises(TimeIsUp):
        execute(request, PixelSum(28), tiny_inputs)
    assert not (tmp_path / "run").exists()


def test_time_that_is_over_when_all_is_done_stops_nothing(tmp_path, tiny_inputs):
    clock = Clock()
    limit = TimeLimit(1, clock)
    options = replace(SMALL, limit=limit)  # nobody looks at it while blocks are computed
    clock.now += 59
    run = run_certify(tmp_path / "run", PixelSum(28), tiny_inputs, SETTINGS, options)
    clock.now += 10
    again = replace(options, resume=True)
    assert run_certify(run.path, PixelSum(28), tiny_inputs, SETTINGS, again).missing == ()


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_a_limit_needs_a_time(minutes):
    with pytest.raises(InvalidInput, match="must be above 0"):
        TimeLimit(minutes)


# Time for a replay.


def test_a_replay_takes_the_part_that_fits(tmp_path, tiny_inputs, monkeypatch):
    run = run_certify(tmp_path / "run", PixelSum(28), tiny_inputs, SETTINGS, SMALL)
    monkeypatch.setattr("smoothcert.runs.replaying.speed", lambda *_: 100.0)
    found = evaluate_again(run, PixelSum(28), tiny_inputs, 1.0, left=lambda: 60.0)
    assert found.share == pytest.approx(0.9 * 6000 / (30 * 2020))
    assert found.replayed == 30 * (round(found.share * 20) + round(found.share * 2000))
    assert (found.inputs, found.problems) == (30, ())
    asked = evaluate_again(run, PixelSum(28), tiny_inputs, 0.01, left=lambda: 60.0)
    assert asked.share == 0.01


def test_a_replay_that_becomes_slower_says_how_far_it_came(tmp_path, tiny_inputs, monkeypatch):
    run = run_certify(tmp_path / "run", PixelSum(28), tiny_inputs, SETTINGS, SMALL)
    monkeypatch.setattr("smoothcert.runs.replaying.speed", lambda *_: 1e9)
    times = iter([60.0] * 4 + [0.0] * 100)
    found = evaluate_again(run, PixelSum(28), tiny_inputs, 1.0, left=lambda: next(times))
    assert 0 < found.inputs < 30
    assert found.replayed == found.inputs * 2020
    before = (Unchecked.LABELS, Unchecked.PILOT)
    assert still_unchecked(before, 0.0, pilot=False) == before
    assert still_unchecked(before, 1.0) == ()


def test_other_labels_are_found_in_the_part_that_fits(tmp_path, tiny_inputs, monkeypatch):
    """The deliberately wrong variant: labels that the model did not give."""
    run = run_certify(tmp_path / "run", PixelSum(28), tiny_inputs, SETTINGS, SMALL)
    monkeypatch.setattr("smoothcert.runs.replaying.speed", lambda *_: 100.0)
    monkeypatch.setattr(PixelSum, "fingerprint", run.identity.model)
    found = evaluate_again(run, PixelSum(35), tiny_inputs, 1.0, left=lambda: 60.0)
    assert found.differing > 0
    assert any("replayed draws have a different label" in problem for problem in found.problems)


@pytest.mark.slow
def test_a_pilot_that_does_not_fit_stays_unchecked(tmp_path, tiny_inputs, monkeypatch):
    base = run_certify(tmp_path / "base", PixelSum(28), tiny_inputs, SETTINGS, SMALL)
    exact = Exact("budget:0.1")
    run = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, exact, SMALL)
    for speed, fits in ((1.0, False), (1e4, True)):
        monkeypatch.setattr("smoothcert.runs.replaying.speed", lambda *_, speed=speed: speed)
        args = (run, PixelSum(29), tiny_inputs, 0.5)
        found = evaluate_again(*args, base=base, left=lambda: 60.0)
        assert (found.pilot, found.problems) == (fits, ())


def test_the_count_is_text_that_every_reader_of_parquet_finds(run):
    from pyarrow import parquet

    notes = parquet.read_metadata(run.path / pilots.NAME).metadata
    assert json.loads(notes[b"budget"]) == COUNT
    assert np.isfinite(json.loads(notes[b"budget"]))
