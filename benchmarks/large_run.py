"""A run of as many inputs as ImageNet's validation set: how long opening, checking, reporting take.

python benchmarks/large_run.py [--inputs 50000] [--n 1000] [--keep FOLDER]

Votes are synthetic: of a classifier with ten classes that costs next to nothing. Each command
runs in a process of its own; prints its seconds and the peak of its resident memory.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from smoothcert import Inputs, Settings
from smoothcert.execution.runner import RunOptions, run_certify

OPENING = "import sys; from smoothcert import Run; print(len(Run.open(sys.argv[1]).certificates))"


class Decimal:
    """Classes 0 to 9 by how bright an image is."""

    name = fingerprint = "decimal"
    device, fixed_batch = "cpu", None

    def logits(self, images):
        """Ten columns, the nearest tenth highest."""
        mean = images.mean(axis=(1, 2, 3))
        return -np.abs(mean[:, None] - np.arange(0.05, 1, 0.1, dtype=np.float32))


def made(out: Path, inputs: int, n: int) -> None:
    """Certify, for a run to look at."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 17, (inputs, 1, 4, 4)) / 16
    data = Inputs.from_arrays(images, rng.integers(0, 10, inputs), grid=1 / 16)
    how = RunOptions(4096, resume=True)
    run_certify(out, Decimal(), data, Settings(0.25, 16, n0=100, n=n), how)


def measured(arguments: list[str]) -> tuple[float, float]:
    """Seconds and megabytes of a command, which must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments} ended with {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Make the run, unless it is kept, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=50_000)
    parser.add_argument("--n", type=int, default=1_000, help="estimation draws per input")
    parser.add_argument("--keep", type=Path, help="folder for the run")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        out = (given.keep or Path(folder)) / "large"
        start = time.perf_counter()
        made(out, given.inputs, given.n)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 2**20
        print(
            f"{given.inputs:,} inputs, n = {given.n:,}: {size:,.0f} MB on disk, made in "
            f"{time.perf_counter() - start:.0f} s"
        )
        command = [sys.executable, "-m", "smoothcert"]
        for name, arguments in {
            "open, read certificates": [sys.executable, "-c", OPENING, str(out)],
            "verify": [*command, "verify", str(out)],
            "report": [*command, "report", str(out), "--out", str(Path(folder) / "report")],
        }.items():
            seconds, megabytes = measured(arguments)
            print(f"{name:24} {seconds:6.1f} s {megabytes:6.0f} MB", flush=True)
        page = Path(folder) / "report" / "index.html"
        print(f"the page has {page.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
