"""One contract for all executors: the same bytes, whatever happens to their workers."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import psutil
import pytest

from smoothcert.errors import InvalidInput, Mismatch, ModelError, WorkerError
from smoothcert.execution import scheduler
from smoothcert.execution.processes import Processes
from smoothcert.execution.runner import run_certify, run_decide, run_recertify
from smoothcert.execution.scheduler import BlockQueue, WorkerLost, run_workers
from smoothcert.methods import Irs, Reuse
from smoothcert.methods.sequential import Decision
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.executors import SETTINGS, SMALL, backwards, threads
from support.run_files import bytes_of
from support.worker_faults import LoadPixelSum, missing_weights, thirty_inputs

pytestmark = pytest.mark.slow

EXECUTORS = {
    "backwards": lambda load: backwards,
    "threads": lambda load: threads,
    "one process": lambda load: Processes(load, 1),
    "two processes": lambda load: Processes(load, 2),
    "four processes": lambda load: Processes(load, 4),
}
executors = pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """Runs of every method that nothing happened to."""
    folder, inputs = tmp_path_factory.mktemp("calm"), thirty_inputs()
    old, new = LoadPixelSum(28).classifier(), LoadPixelSum(29).classifier()
    base = run_certify(folder / "certify", old, inputs, SETTINGS, SMALL)
    run_decide(folder / "decide", old, inputs, SETTINGS, Decision(0.1), SMALL)
    run_recertify(folder / "irs", base, new, inputs, Irs(100), SMALL)
    run_recertify(folder / "reuse", base, new, inputs, Reuse("budget:0.2"), SMALL)
    return folder


@executors
def test_the_same_bytes(executor, calm, tmp_path):
    inputs, how = thirty_inputs(), replace(SMALL, executor=executor(LoadPixelSum(28)))
    base = run_certify(tmp_path / "certify", LoadPixelSum(28).classifier(), inputs, SETTINGS, how)
    assert bytes_of(base.path) == bytes_of(calm / "certify")
    assert verify(base).problems == ()
    names = ("run.json", "certificates", "events", "inputs.parquet", "votes")
    assert sorted(path.name for path in base.path.iterdir()) == sorted(names)


@pytest.mark.parametrize("method", [Irs(100), Reuse("budget:0.2")], ids=["irs", "reuse"])
def test_recertifying(method, calm, tmp_path):
    base, how = Run.open(calm / "certify"), replace(SMALL, executor=Processes(LoadPixelSum(29), 2))
    new = LoadPixelSum(29).classifier()
    run = run_recertify(tmp_path / "r", base, new, thirty_inputs(), method, how)
    name = "irs" if isinstance(method, Irs) else "reuse"
    assert bytes_of(run.path) == bytes_of(calm / name)


def test_deciding(calm, tmp_path):
    how = replace(SMALL, executor=Processes(LoadPixelSum(28), 2))
    old = LoadPixelSum(28).classifier()
    run = run_decide(tmp_path / "r", old, thirty_inputs(), SETTINGS, Decision(0.1), how)
    assert bytes_of(run.path) == bytes_of(calm / "decide")


def test_all_progress_is_told(tmp_path):
    told = []
    how = replace(
        SMALL, executor=Processes(LoadPixelSum(28, fault="none"), 3), progress=told.append
    )
    classifier = LoadPixelSum(28, fault="none").classifier()
    run_certify(tmp_path / "r", classifier, thirty_inputs(), SETTINGS, how)
    assert sum(told) == 30 * 620


@pytest.mark.parametrize("fault", ["dies", "terminated", "hangs"])
def test_a_lost_worker_costs_its_block(fault, calm, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "STRAGGLER_FACTOR", 1e9)  # no other worker computes its block
    load = LoadPixelSum(28, fault=fault, once=tmp_path / "once")
    how = replace(SMALL, executor=Processes(load, 2, heartbeat_timeout=8))
    run = run_certify(tmp_path / "r", load.classifier(), thirty_inputs(), SETTINGS, how)
    assert (tmp_path / "once").exists()
    assert bytes_of(run.path) == bytes_of(calm / "certify")
    assert verify(run).problems == ()


def test_what_a_hanging_worker_had_is_done_by_an_idle_one(calm, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "STRAGGLER_GRACE", 3.0)
    load = LoadPixelSum(28, fault="hangs", once=tmp_path / "once")
    how = replace(SMALL, executor=Processes(load, 2, heartbeat_timeout=1e6))
    run = run_certify(tmp_path / "r", load.classifier(), thirty_inputs(), SETTINGS, how)
    assert (tmp_path / "once").exists()
    assert bytes_of(run.path) == bytes_of(calm / "certify")
    assert not active_children()


def test_a_block_at_which_every_worker_is_lost_ends_the_run():
    ended = []

    class Doomed:
        def compute(self, block, wanted):
            raise WorkerLost("it ran out of memory")

        def close(self):
            ended.append(1)

    blocks = BlockQueue([5], lambda: 0)
    with pytest.raises(WorkerError, match="3 workers were lost at block 5, the last because it r"):
        run_workers([Doomed], blocks)
    assert len(ended) == 3


def test_workers_that_are_lost_as_they_start_are_replaced_for_a_while(monkeypatch):
    """A node that is gone may be given workers until the cluster has seen it."""
    monkeypatch.setattr(scheduler, "RESTART_BACKOFF", (0.1, 0.1, 0.1))
    tries, done = [], []

    def lost_at_first():
        tries.append(1)
        if len(tries) <= 3:
            raise WorkerLost("its node is gone")
        return Clock({}, done)

    run_workers([lost_at_first], BlockQueue(range(5), lambda: 0))
    assert [block for _, block in done] == list(range(5))
    tries.clear()
    monkeypatch.setattr(scheduler, "RESTART_BACKOFF", (0.1, 0.1))
    with pytest.raises(WorkerError, match="as they started, the last because its node is gone"):
        run_workers([lost_at_first], BlockQueue(range(5), lambda: 0))


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("refuses", ModelError, "the model says no"),
        ("raises", WorkerError, "Unpicklable: 1 and 2"),
    ],
)
def test_what_a_worker_raises_is_raised_here(fault, kind, message, calm, tmp_path):
    load = LoadPixelSum(28, fault=fault)
    how = replace(SMALL, executor=Processes(load, 2))
    with pytest.raises(kind, match=message):
        run_certify(tmp_path / "r", load.classifier(), thirty_inputs(), SETTINGS, how)
    how = replace(SMALL, resume=True)
    run = run_certify(tmp_path / "r", LoadPixelSum(28).classifier(), thirty_inputs(), SETTINGS, how)
    assert bytes_of(run.path) == bytes_of(calm / "certify")


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (LoadPixelSum(29), "another model than"),
        (LoadPixelSum(28, value=9), "Input 0 of array is not the one that"),
    ],
)
def test_workers_with_another_model_or_data_are_refused(load, message, tmp_path):
    how = replace(SMALL, executor=Processes(load, 2))
    classifier = LoadPixelSum(28, fault="none").classifier()
    load = replace(load, fault="none")
    how = replace(SMALL, executor=Processes(load, 2))
    with pytest.raises(Mismatch, match=message):
        run_certify(tmp_path / "r", classifier, thirty_inputs(), SETTINGS, how)


def test_a_worker_that_cannot_load(tmp_path):
    how = replace(SMALL, executor=Processes(missing_weights, 2))
    classifier = LoadPixelSum(28, fault="none").classifier()
    message = "A worker failed: FileNotFoundError: the weights are on another machine"
    with pytest.raises(WorkerError, match=message):
        run_certify(tmp_path / "r", classifier, thirty_inputs(), SETTINGS, how)


def test_bad_executors():
    with pytest.raises(InvalidInput, match="--workers must be at least 1; got 0"):
        Processes(LoadPixelSum(28), 0)
    with pytest.raises(InvalidInput, match="cannot be sent to other processes"):
        Processes(lambda worker: None, 2)


SCRIPT = """
import sys
from dataclasses import replace
from support.worker_faults import LoadPixelSum, thirty_inputs
from smoothcert.certificate import Settings
from smoothcert.execution.processes import Processes
from smoothcert.execution.runner import RunOptions, run_certify

if __name__ == "__main__":
    load = LoadPixelSum(28, fault="none")
    how = RunOptions(16, 3, resume=True, executor=Processes(load, 3))
    run_certify(sys.argv[1], load.classifier(), thirty_inputs(), Settings(0.25, 16, 20, 2000), how)
"""


def workers_in_the_middle(tmp_path: Path) -> subprocess.Popen:
    """A run of three processes, after its first finished block."""
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", "r"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("r/certificates/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def test_workers_end_with_the_first_process(tmp_path):
    process = workers_in_the_middle(tmp_path)
    others = psutil.Process(process.pid).children(recursive=True)
    assert len(others) >= 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(others, timeout=30)
    assert not alive
    assert Run.open(tmp_path / "r").missing


def test_ctrl_c_finishes_the_blocks_under_way(tmp_path):
    process = workers_in_the_middle(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, said
    assert "Stopping after the current block" in said
    assert "Traceback" not in said.replace("Traceback", "", 1)  # that of the first process only
    run = Run.open(tmp_path / "r")
    assert 0 < len(run.finished) < len(run.blocks)
    assert not list(run.path.rglob("*.tmp"))


class Clock:
    """A worker that takes so many seconds for some blocks, and notes what it did."""

    def __init__(self, seconds, done):
        self.seconds, self.done = seconds, done

    def compute(self, block, wanted):
        end = time.monotonic() + self.seconds.get(block, 0.0)
        while time.monotonic() < end:
            if not wanted():
                raise WorkerLost("not wanted")
            time.sleep(0.005)
        self.done.append((threading.current_thread().name, block))

    def close(self):
        pass


def test_a_straggler_is_done_twice_and_given_up(monkeypatch):
    monkeypatch.setattr(scheduler, "STRAGGLER_GRACE", 0.2)
    done, slow, quick = [], {0: 30.0}, {}
    begun = time.monotonic()
    run_workers(
        [lambda: Clock(slow, done), lambda: Clock(quick, done)], BlockQueue(range(20), lambda: 0)
    )
    assert time.monotonic() - begun < 10
    assert sorted({block for _, block in done}) == list(range(20))


def test_blocks_that_take_their_usual_time_are_done_once(monkeypatch):
    monkeypatch.setattr(scheduler, "STRAGGLER_GRACE", 0.2)
    done, even = [], dict.fromkeys(range(9), 0.3)
    run_workers([lambda: Clock(even, done)] * 4, BlockQueue(range(9), lambda: 0))
    assert sorted(block for _, block in done) == list(range(9))


def test_after_a_stop_no_block_is_begun():
    done, stop = [], []

    class Stopping(Clock):
        def compute(self, block, wanted):
            super().compute(block, wanted)
            stop.append(1)

    run_workers([lambda: Stopping({}, done)] * 2, BlockQueue(range(50), lambda: len(stop)))
    assert 1 <= len(done) <= 2


def test_workers_end_side_by_side():
    """Each takes a moment to end."""
    begun, ending = threading.Barrier(3, timeout=30), threading.Barrier(3, timeout=30)

    class Together(Clock):
        def compute(self, block, wanted):
            begun.wait()

        def close(self):
            ending.wait()

    run_workers([lambda: Together({}, [])] * 3, BlockQueue(range(3), lambda: 0))
    assert not ending.broken
