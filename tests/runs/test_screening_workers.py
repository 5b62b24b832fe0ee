"""Screening by several workers: the certificates of one, whatever becomes of the others."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from smoothcert.api.screen import screen
from smoothcert.errors import Mismatch, ModelError
from smoothcert.execution.processes import Processes
from smoothcert.execution.runner import run_certify
from smoothcert.execution.scheduler import Work, run_serially, thread_safe
from smoothcert.execution.screening_tasks import (
    ScreeningTask,
    ScreeningTaskSpec,
    make_screener,
    pool_of,
    problems_of,
)
from smoothcert.methods.screening import Screening
from smoothcert.methods.standings import Model, Standings, unfinished
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from support.executors import SETTINGS, SMALL, backwards, threads
from support.worker_faults import LoadPixelSum, thirty_inputs

pytestmark = pytest.mark.slow

THRESHOLDS = (28, 29, 27, 30, 28)
EACH = 48  # draws per input


@dataclass(frozen=True)
class Loading:
    """What a worker loads: candidates by number, and data."""

    value: int = 8
    fault: str = ""
    once: Path | None = None

    def __call__(self, worker: int):
        return partial(candidate, self.fault, self.once), thirty_inputs(self.value)


def candidate(fault: str, once: Path | None, number: int):
    return LoadPixelSum(THRESHOLDS[number], fault=fault, once=once).classifier()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return run_certify(
        folder / "r", LoadPixelSum(28).classifier(), thirty_inputs(), SETTINGS, SMALL
    )


@pytest.fixture(scope="module")
def expected(base):
    models = [candidate("none", None, number) for number in range(len(THRESHOLDS))]
    return [
        c.to_json()
        for c in screen(
            base.certification(), models, thirty_inputs(), per_input=EACH, batch_size=16
        )
    ]


def screened(base, executor, load, told=None):
    screening = Screening(EACH, candidates=len(THRESHOLDS))
    spec = ScreeningTaskSpec(str(base.path), screening, 16)
    progress = told.append if told is not None else lambda _: None
    screener, candidate_of = make_screener(base, thirty_inputs(), screening, 16), load(0)[0]
    begin = partial(spec.begin, base)
    here = ScreeningTask(
        screener, lambda number: screener.prepared(candidate_of(number)), progress, begin
    )
    models = [Model(f"model {number}", "") for number in range(len(THRESHOLDS))]
    standings = Standings.of(screening, screener.pool, models)
    executor(Work(spec, standings.blocks, progress, here, then=standings.add), lambda: 0)
    return [c.to_json() for c in standings.certificates]


EXECUTORS = {
    "serial": lambda load: run_serially,
    "backwards": lambda load: backwards,
    "threads": lambda load: threads,
    "two processes": lambda load: Processes(load, 2),
}


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
def test_the_same_certificates(executor, base, expected):
    told = []
    load = Loading(fault="none")
    assert screened(base, executor(load), load, told) == expected
    assert sum(told) == sum(c["evaluations"] for c in expected)


class Clock:
    """Moved by evaluations, wherever they are made."""

    now = 0.0

    def __call__(self):
        return self.now

    def tick(self, count):
        self.now += count


def timed(base, executor, load, minutes, before=(), known=True):
    """What was screened until a clock had counted 60 evaluations per minute."""
    screening = Screening(EACH, candidates=len(THRESHOLDS), timed=True)
    spec, clock = ScreeningTaskSpec(str(base.path), screening, 16), Clock()
    limit = TimeLimit(minutes, clock)
    progress = thread_safe(limit.watched(clock.tick))
    screener, candidate_of = make_screener(base, thirty_inputs(), screening, 16), load(0)[0]
    prepared = [screener.prepared(candidate_of(number)) for number in range(len(THRESHOLDS))]
    begin = partial(spec.begin, base)
    here = ScreeningTask(screener, prepared.__getitem__, progress, begin)
    names = [p.classifier.fingerprint if known else "" for p in prepared]
    models = [Model(f"model {number}", name) for number, name in enumerate(names)]
    pool = screener.pool if known else replace(pool_of(base, screening), off_grid=0.5)
    standings = Standings.of(screening, before[0].pool if before else pool, models, before)
    work = Work(spec, standings.blocks, progress, here, then=standings.add)
    with suppress(TimeIsUp):
        executor(work, lambda: limit.over)
    return standings.certificates


@pytest.mark.parametrize("known", [True, False], ids=["here", "elsewhere"])
@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
def test_time_ends_it_and_it_goes_on_to_the_same(executor, known, base):
    load = Loading(fault="none")
    whole = timed(base, run_serially, load, 1e6)
    assert not unfinished(whole)
    total = sum(c.evaluations for c in whole)
    some = timed(base, executor(load), load, total / 60 / 3, known=known)
    assert unfinished(some)
    assert 0 < sum(c.evaluations for c in some) < total
    assert list(problems_of(some, base)) == []
    again = timed(base, executor(load), load, 1e6, some, known)
    assert [replace(c, name="") for c in again] == [replace(c, name="") for c in whole]


def test_workers_that_load_another_model_are_refused(base):
    load = Loading(fault="none")
    some = timed(base, run_serially, load, 40.0, known=False)
    assert some[0].flips
    other = [replace(c, fingerprint=c.fingerprint and "other") for c in some]
    with pytest.raises(Mismatch, match="same models in the same order"):
        timed(base, run_serially, load, 1e6, other, known=False)


def test_a_lost_worker_costs_its_candidate(base, expected, tmp_path):
    load = Loading(fault="dies", once=tmp_path / "once")
    assert screened(base, Processes(load, 2), load) == expected
    assert (tmp_path / "once").exists()


def test_what_goes_wrong_elsewhere_is_raised_here(base):
    load = Loading(fault="refuses")
    with pytest.raises(ModelError, match="the model says no"):
        screened(base, Processes(load, 2), load)
    other = Processes(Loading(value=9, fault="none"), 2)
    with pytest.raises(Mismatch, match="30 of 30 inputs have different content"):
        screened(base, other, Loading(fault="slow"))
