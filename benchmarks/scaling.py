"""What certification costs as it grows: draws per input, inputs, classes.

python benchmarks/scaling.py

A small network, so that whatever is not the forward pass shows. Prints evaluations per second and
the peak of resident memory (each case in a process of its own), and the ratio to the first case.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CASES = {
    "draws per input": [(20, n, 10) for n in (1_000, 10_000, 100_000)],
    "inputs": [(inputs, 1_000, 10) for inputs in (20, 200, 2_000)],
    "classes": [(20, 10_000, classes) for classes in (10, 100, 1_000)],
}
ROUNDS = 3


def resident() -> float:
    """The peak of this process alone, in MB (ru_maxrss starts with the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def case(inputs: int, n: int, classes: int) -> dict[str, float]:
    """Certify once, after a first small run."""
    import torch

    import smoothcert

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(512, classes),
    )
    images = np.random.default_rng(0).integers(0, 256, (inputs, 1, 8, 8)) / 255
    smoothcert.certify(module, images[:2], 0.5, n0=10, n=1_000, batch_size=256)
    start = time.perf_counter()
    smoothcert.certify(module, images, 0.5, n0=10, n=n, batch_size=256)
    seconds = time.perf_counter() - start
    peak = resident()
    return {"speed": inputs * (n + 10) / seconds, "megabytes": peak}


def main() -> None:
    """Run every case some times, in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(case(*chosen.case)))
        return
    for name, cases in CASES.items():
        print(name)
        first = None
        for numbers in cases:
            command = [sys.executable, __file__, "--case", *map(str, numbers)]
            found = [
                json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                for _ in range(ROUNDS)
            ]
            speed = float(np.median([f["speed"] for f in found]))
            memory = float(np.median([f["megabytes"] for f in found]))
            first = first or speed
            inputs, n, classes = numbers
            print(
                f"  {inputs:,} inputs x {n:,} draws, {classes:,} classes: {speed:,.0f} "
                f"evaluations/s ({speed / first:.2f} of the first), peak {memory:,.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
