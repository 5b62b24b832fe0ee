"""Watchers see every certificate once, from any worker, and neither change nor lose one."""

import multiprocessing

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Outcome, Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import StoreError
from smoothcert.execution.processes import Processes
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Reuse
from smoothcert.report.tables import summarize_run
from smoothcert.runs.store import Run
from smoothcert.watchers import base
from smoothcert.watchers.base import RADII, WatcherFailed
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=5, n=40)


def inputs() -> Inputs:
    """Nine inputs, one of them wrongly labelled."""
    return Inputs.from_arrays(np.full((9, 1, 2, 2), 0.5), [1] * 8 + [0], 1 / 16)


def load(worker: int):
    return PixelSum(28), inputs()


class Noting:
    """Keeps what it is called with."""

    def __init__(self):
        self.starts, self.states, self.ends = [], [], []

    def started(self, start):
        self.starts.append(start)

    def certified(self, so_far):
        self.states.append(so_far)

    def finished(self, summary):
        self.ends.append(summary)

    @property
    def certificates(self):
        found = [c for state in self.states for c in state.certificates]
        return sorted(found, key=lambda c: c.index)

    @property
    def labels(self):
        pairs = [
            (c.index, label)
            for state in self.states
            for c, label in zip(state.certificates, state.labels, strict=True)
        ]
        return [label for _, label in sorted(pairs)]


class Reading(Noting):
    """Looks into the run while it goes."""

    def __init__(self, path):
        super().__init__()
        self.path, self.stored = path, []

    def certified(self, so_far):
        super().certified(so_far)
        self.stored.append(len(Run.open(self.path).certificates))


@pytest.fixture
def at_once(monkeypatch):
    """Every certificate is passed on as it comes."""
    monkeypatch.setattr(base, "_MIN_INTERVAL", 0.0)


def test_each_certificate_of_a_call_is_seen_and_none_is_changed(at_once):
    seen, also = Noting(), Noting()
    watched = smoothcert.certify(PixelSum(28), inputs(), 0.25, n0=5, n=40, watchers=[seen, also])
    alone = smoothcert.certify(PixelSum(28), inputs(), 0.25, n0=5, n=40)
    assert watched.certificates == alone.certificates == tuple(seen.certificates)
    assert seen.labels == [1] * 8 + [0]
    assert [s.inputs for s in seen.states] == list(range(1, 10))
    (start,), (summary,) = seen.starts, seen.ends
    assert (start.name, start.inputs, start.method) == (alone.model, 9, None)
    assert start.facts["sigma"] == 0.25
    assert start.facts["fingerprint"] == alone.fingerprint
    expected = smoothcert.summarize(alone.certificates, inputs().labels, RADII)
    assert (summary.acr, summary.accuracy) == (expected.acr, expected.accuracy)
    assert also.ends == seen.ends


def test_the_running_figures_are_those_of_a_summary_so_far(at_once):
    seen = Noting()
    found = smoothcert.certify(PixelSum(28), inputs(), 0.25, n0=5, n=40, watchers=[seen])
    for count, state in enumerate(seen.states, start=1):
        expected = smoothcert.summarize(found.certificates[:count], inputs().labels[:count])
        assert state.acr == pytest.approx(expected.acr)
        assert (state.certified, state.evaluations) == (expected.certified, expected.evaluations)
        assert state.metrics["certified"] + state.metrics["abstained"] == pytest.approx(1)
        assert state.speed > 0
    last = seen.states[-1]
    proven = sum(c.outcome is Outcome.CERTIFIED for c in found.certificates)
    assert (last.certified, last.evaluations) == (proven, 9 * 45)


def test_calls_are_few_and_nothing_is_left_out():
    seen = Noting()
    found = smoothcert.certify(PixelSum(28), inputs(), 0.25, n0=5, n=40, watchers=[seen])
    assert tuple(seen.certificates) == found.certificates
    assert len(seen.states) < 9


def test_recertify_and_decide_are_followed():
    seen = Noting()
    base = smoothcert.certify(PixelSum(28), inputs(), 0.25, n0=5, n=40, watchers=[seen])
    new = smoothcert.recertify(base, PixelSum(27), inputs(), per_input=10, watchers=[seen])
    array = np.full((3, 1, 2, 2), 128 / 255)
    decided = smoothcert.decide(PixelSum(28), array, 0.25, 0.01, n0=5, n=99, watchers=[seen])
    assert [s.inputs for s in seen.starts] == [9, 9, 3]
    assert seen.starts[1].facts["exact.policy"] == "uniform:10"
    assert seen.starts[2].facts["decision.radius"] == 0.01
    assert seen.ends[1].evaluations == new.evaluations
    assert (seen.ends[2].labelled, seen.ends[2].evaluations) == (False, decided.evaluations)


@pytest.mark.slow
def test_a_run_is_followed_block_by_block_and_ends_with_the_same_bytes(at_once, tmp_path):
    seen = Noting()
    run = run_certify(
        tmp_path / "a", PixelSum(28), inputs(), SETTINGS, RunOptions(8, 2, watchers=[seen])
    )
    plain = run_certify(tmp_path / "b", PixelSum(28), inputs(), SETTINGS, RunOptions(8, 2))
    assert [s.inputs for s in seen.states] == [2, 4, 6, 8, 9]
    assert tuple(seen.certificates) == run.certificates == plain.certificates
    for block in range(5):
        name = f"certificates/{block:05d}.parquet"
        assert (run.path / name).read_bytes() == (plain.path / name).read_bytes()
    assert seen.ends == [summarize_run(run, RADII)]
    assert seen.starts[0].name == "a"
    to = RunOptions(8, 2, watchers=[seen])
    new = run_recertify(tmp_path / "c", run, PixelSum(27), inputs(), Reuse("uniform:9"), to)
    assert seen.ends[1] == summarize_run(new, RADII)
    assert seen.ends[1].evaluations == new.pilot_evaluations + sum(
        c.evaluations for c in new.certificates
    )


@pytest.mark.slow
@pytest.mark.skipif(
    "spawn" not in multiprocessing.get_all_start_methods(), reason="needs processes"
)
def test_blocks_of_other_processes_are_seen(at_once, tmp_path):
    seen = Reading(tmp_path / "a")
    how = RunOptions(8, 1, executor=Processes(load, 2), watchers=[seen])
    run = run_certify(tmp_path / "a", PixelSum(28), inputs(), SETTINGS, how)
    assert tuple(seen.certificates) == run.certificates
    assert len(seen.states) == 9
    assert seen.stored[0] < 9  # while it goes, not when all is over
    assert seen.ends == [summarize_run(run, RADII)]


def test_an_executor_that_says_nothing_makes_watchers_wait_for_the_end(at_once, tmp_path):
    def silent(work, stop):
        return {block: work.local.compute(block) for block in work.blocks}

    seen = Noting()
    how = RunOptions(8, 2, executor=silent, watchers=[seen])
    run = run_certify(tmp_path / "a", PixelSum(28), inputs(), SETTINGS, how)
    assert tuple(seen.certificates) == run.certificates


def test_a_block_that_cannot_be_read_at_once_is_read_at_the_end(at_once, tmp_path, monkeypatch):
    read, failed = Run.read_certificates, []

    def sometimes(run, block):
        if block == 1 and not failed:
            failed.append(block)
            raise StoreError("the store is busy")
        return read(run, block)

    monkeypatch.setattr(Run, "read_certificates", sometimes)
    seen = Noting()
    how = RunOptions(8, 2, watchers=[seen])
    run = run_certify(tmp_path / "a", PixelSum(28), inputs(), SETTINGS, how)
    assert failed == [1]
    assert [s.certificates[0].index for s in seen.states] == [0, 4, 6, 8, 2]
    assert tuple(seen.certificates) == run.certificates


class Stop(PixelSum):
    """Is interrupted in the third block."""

    calls = 0

    def logits(self, images):
        Stop.calls += 1
        if Stop.calls == 40:
            raise KeyboardInterrupt
        return super().logits(images)


def test_a_run_that_breaks_off_is_said_to_and_a_resumed_one_begins_with_what_is_there(tmp_path):
    seen = Noting()
    how = RunOptions(8, 2, resume=True, watchers=[seen])
    with pytest.raises(KeyboardInterrupt):
        run_certify(tmp_path / "a", Stop(28), inputs(), SETTINGS, how)
    there = Run.open(tmp_path / "a")
    assert 0 < len(there.finished) < 5
    assert seen.ends == [None]
    again = Noting()
    run = run_certify(
        tmp_path / "a",
        PixelSum(28),
        inputs(),
        SETTINGS,
        RunOptions(8, 2, resume=True, watchers=[again]),
    )
    assert tuple(again.certificates) == run.certificates
    assert again.ends == [summarize_run(run, RADII)]
    assert again.states[-1].evaluations == 9 * 45
    whole = Noting()
    run_certify(
        tmp_path / "a",
        PixelSum(28),
        inputs(),
        SETTINGS,
        RunOptions(8, 2, resume=True, watchers=[whole]),
    )
    assert whole.states[-1].speed == 0  # what was there before says nothing of the speed


class Failing(Noting):
    """Its network is away."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def started(self, start):
        super().started(start)
        self._maybe("started")

    def certified(self, so_far):
        super().certified(so_far)
        self._maybe("certified")

    def finished(self, summary):
        super().finished(summary)
        self._maybe("finished")

    def _maybe(self, where):
        if where == self.where:
            raise ConnectionError("the server is away")


@pytest.mark.parametrize("where", ["started", "certified", "finished"])
def test_one_that_fails_is_not_called_again_and_loses_nothing(where, at_once, tmp_path):
    bad, good = Failing(where), Noting()
    message = (
        "Failing failed and is no longer called for a: ConnectionError: the server is away. "
        "Certificates are not affected."
    )
    with pytest.warns(WatcherFailed, match=message) as said:
        run = run_certify(
            tmp_path / "a", PixelSum(28), inputs(), SETTINGS, RunOptions(8, 2, watchers=[bad, good])
        )
    assert len(said) == 1
    assert not run.missing
    assert good.ends == [summarize_run(run, RADII)]
    counts = {"started": (1, 0, 0), "certified": (1, 1, 0), "finished": (1, 5, 1)}[where]
    assert (len(bad.starts), len(bad.states), len(bad.ends)) == counts


def test_what_is_seen_is_stored(at_once, tmp_path):
    seen = Reading(tmp_path / "a")
    run_certify(tmp_path / "a", PixelSum(28), inputs(), SETTINGS, RunOptions(8, 2, watchers=[seen]))
    assert seen.stored == [s.inputs for s in seen.states] == [2, 4, 6, 8, 9]


def test_a_part_of_a_run_has_the_summary_of_a_part(tmp_path):
    from smoothcert.execution.block_tasks import Shard

    for number in (1, 2):
        seen = Noting()
        how = RunOptions(8, 2, shard=Shard(number, 2), watchers=[seen])
        run = run_certify(tmp_path / "a", PixelSum(28), inputs(), SETTINGS, how)
        if number == 1:
            labels = [run.labels[c.index] for c in seen.certificates]
            facts = (labels, RADII, "a", run.seconds, 0, SETTINGS.sigma)
            part = smoothcert.summarize(seen.certificates, *facts)
            assert (seen.ends, part.inputs) == ([part], 5)
    assert seen.ends == [summarize_run(run, RADII)]
