"""Screening by several workers: the certificates of one, whatever becomes of the others."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from smoothcert.api.screen import screen
from smoothcert.errors import Mismatch, ModelError
from smoothcert.execution.processes import Processes
from smoothcert.execution.runner import run_certify
from smoothcert.execution.scheduler import Work, run_serially
from smoothcert.execution.screening_tasks import ScreeningTask, ScreeningTaskSpec, make_screener
from smoothcert.methods.screening import Screening
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
    work = Work(spec, tuple(range(len(THRESHOLDS))), progress, here)
    found = executor(work, lambda: 0)
    return [found[number].to_json() for number in range(len(THRESHOLDS))]


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
