"""SIGKILL at random moments, then resume: the same bytes as an undisturbed run."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_runner import bytes_of

TESTS = Path(__file__).parents[1]

COMMAND = """
import sys, time
from known_truth import PixelSum
import numpy as np
from smoothcert.certificate import Settings
from smoothcert.runs.runner import How, run_certify
from smoothcert.sampling.inputs import Inputs

class Slow(PixelSum):
    def logits(self, images):
        time.sleep(0.001)
        return super().logits(images)

data = Inputs.from_arrays(np.full((40, 1, 2, 2), 0.5), grid=1 / 16)
how = How(batch_size=64, block_inputs=2, resume=True)
run_certify(sys.argv[1], Slow(28), data, Settings(0.25, 16, n0=20, n=1500), how)
"""


def start(out):
    return subprocess.Popen([sys.executable, "-c", COMMAND, str(out)], cwd=TESTS)


@pytest.mark.parametrize("wanted", [10, pytest.param(50, marks=pytest.mark.full)])
def test_killed_runs_resume_to_the_same_bytes(tmp_path, wanted):
    begun = time.monotonic()
    assert start(tmp_path / "calm").wait() == 0
    whole = time.monotonic() - begun
    calm = bytes_of(tmp_path / "calm")
    rng = random.Random(0)
    kills = 0
    while kills < wanted:
        out = tmp_path / f"killed{kills}"
        process = start(out)
        time.sleep(rng.uniform(0.2, 0.95) * whole)
        if process.poll() is not None:
            whole *= 0.9  # it was faster this time; aim earlier
            continue
        process.kill()
        process.wait()
        kills += 1
        assert start(out).wait() == 0
        assert bytes_of(out) == calm
        assert not list(out.rglob("*.tmp"))
