"""Peak memory of certifying does not grow with the number of draws."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
COMMAND = """
import sys, tempfile
import numpy as np
from support.known_truth import PixelSum
from smoothcert.certificate import Settings
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.data.inputs import Inputs

count, n = map(int, sys.argv[1:])
data = Inputs.from_arrays(np.full((count, 1, 2, 2), 0.5), grid=1 / 16)
with tempfile.TemporaryDirectory() as folder:
    run_certify(folder + "/run", PixelSum(28), data, Settings(0.25, 16, n=n), RunOptions())
# Not ru_maxrss: that begins at the peak of the process that started this one.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""


def peak_megabytes(count: int, n: int, before: str = "") -> float:
    arguments = [sys.executable, "-c", before + COMMAND, str(count), str(n)]
    result = subprocess.run(arguments, cwd=TESTS, capture_output=True, text=True, check=True)
    return float(result.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("count", "small", "large"),
    [(200, 100, 5_000), pytest.param(200, 1_000, 100_000, marks=pytest.mark.full)],
)
def test_memory_does_not_grow_with_n(count, small, large):
    few, many = peak_megabytes(count, small), peak_megabytes(count, large)
    print(f"{count} inputs: {few:.0f} MB at n = {small}, {many:.0f} MB at n = {large}")
    assert many - few < 50


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_measurement_sees_memory():
    """The control: a hundred megabytes held on purpose are noticed."""
    hold = "hoard = bytearray(100 * 2**20); hoard[::4096] = b'x' * len(hoard[::4096])\n"
    plain, hoarding = peak_megabytes(5, 10), peak_megabytes(5, 10, before=hold)
    assert hoarding - plain > 50
