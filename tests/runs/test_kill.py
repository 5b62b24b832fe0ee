"""Killed at random moments and at every file operation, then resumed: the same bytes."""

import os
import random
import signal
import time

import pytest

from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.killable_process import KillableProcesses, undisturbed
from support.run_files import bytes_of

pytestmark = pytest.mark.slow

LONG = {"model": "slow", "inputs": 40, "n": 1500}


@pytest.mark.parametrize("wanted", [10, pytest.param(200, marks=pytest.mark.full)])
def test_killed_runs_resume_to_the_same_bytes(tmp_path, wanted):
    rng = random.Random(0)
    kills = 0
    with KillableProcesses() as children:
        calm = undisturbed(children, tmp_path, **LONG)
        begun = time.monotonic()
        assert children.run(tmp_path / "again", **LONG) == 0
        whole = time.monotonic() - begun
        assert len(calm) == 1 + 20 * 2
        while kills < wanted:
            out = tmp_path / f"killed{kills}"
            pid = children.start(out, **LONG)
            time.sleep(rng.uniform(0, 0.95) * whole)
            os.kill(pid, signal.SIGKILL)
            if children.wait(pid) == 0:
                whole *= 0.9  # it was faster this time; aim earlier
                continue
            kills += 1
            assert children.run(out, **LONG) == 0
            assert bytes_of(out) == calm
            assert not list(out.rglob("*.tmp"))
            assert not list(tmp_path.glob(f".{out.name}.*"))


def test_killed_at_every_file_operation(tmp_path):
    with KillableProcesses() as children:
        calm = undisturbed(children, tmp_path)
        for at in range(1, 1000):
            out = tmp_path / f"killed{at}"
            code = children.run(out, at=at, send=signal.SIGKILL)
            if code == 0:
                break
            assert code == -signal.SIGKILL
            assert children.run(out) == 0, (tmp_path / f"killed{at}.err").read_text()
            assert bytes_of(out) == calm
            assert verify(Run.open(out)).problems == ()
            left = [*out.rglob("*.tmp"), *tmp_path.glob(f".{out.name}.*")]
            assert not left, at
    assert at > 30  # a run has that many operations


def test_a_worker_that_hangs_holds_up_nobody(tmp_path):
    """Stopped before every file operation; another finishes; woken up, it does no harm."""
    with KillableProcesses() as children:
        calm = undisturbed(children, tmp_path)
        for at in range(1, 1000):
            out = tmp_path / f"hung{at}"
            pid = children.start(out, at=at, send=signal.SIGSTOP)
            code = children.wait(pid)
            if code == 0:
                break
            assert code == -signal.SIGSTOP
            out_err = tmp_path / f"hung{at}.err"
            assert children.run(out) == 0, out_err.read_text()
            assert bytes_of(out) == calm
            os.kill(pid, signal.SIGCONT)
            assert children.wait(pid) == 0, (at, out_err.read_text())
            assert bytes_of(out) == calm
            assert verify(Run.open(out)).problems == ()
            assert not [*out.rglob("*.tmp"), *tmp_path.glob(f".{out.name}.*")], at
    assert at > 30
