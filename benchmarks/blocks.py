"""What a block costs beside its evaluations, for every executor.

python benchmarks/blocks.py

A classifier that costs next to nothing, so that a run is what surrounds it. Each executor
certifies the same inputs in one block for each worker and in many; the difference, over the blocks,
is what handing one out, storing it and hearing of it takes. The same for writing the three files
of a block alone, which is most of it. Prints milliseconds a block, medians of some rounds.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from smoothcert import Inputs, Run, Settings
from smoothcert.errors import MissingExtra
from smoothcert.execution.block_tasks import ALL, Job
from smoothcert.execution.processes import Processes
from smoothcert.execution.runner import RunOptions, finish, run_certify
from smoothcert.execution.scheduler import Executor, run_serially
from smoothcert.execution.start import RunRequest
from smoothcert.storage.opening import open_storage

INPUTS, ROUNDS = 400, 5
SETTINGS = Settings(0.25, 16, n0=10, n=100)


class Bright:
    """Class 1 where an image is bright."""

    name = fingerprint = "bright"
    device, fixed_batch = "cpu", None

    def logits(self, images):
        """Two columns."""
        mean = images.mean(axis=(1, 2, 3))
        return np.stack([0.5 - mean, mean - 0.5], axis=1)


def load(_worker: int) -> tuple[Bright, Inputs]:
    """The model and the data, in any process."""
    images = np.random.default_rng(0).integers(0, 17, (INPUTS, 1, 4, 4)) / 16
    return Bright(), Inputs.from_arrays(images, grid=1 / 16)


def here(executor: Executor, out: Path, block_inputs: int) -> None:
    """A run led by this process."""
    classifier, inputs = load(0)
    options = RunOptions(128, block_inputs, executor=executor)
    run_certify(out, classifier, inputs, SETTINGS, options)


def cluster(out: Path, block_inputs: int) -> None:
    """A run on Ray, with two actors."""
    from smoothcert.execution.ray_cluster import Cluster

    there = Cluster(load, workers=2)
    run = there.open(RunRequest(open_storage(out), SETTINGS, options=RunOptions(128, block_inputs)))
    finish(Job(run, None, ALL, lambda _: None), None, there)


def timed(certify: Callable[[Path, int], None], workers: int) -> list[float]:
    """Milliseconds a block, in every round."""
    found = []
    with TemporaryDirectory() as folder:
        certify(Path(folder) / "warm", INPUTS // workers)
        for number in range(ROUNDS):
            seconds = []
            for name, size in (("many", 1), ("few", INPUTS // workers)):
                start = time.perf_counter()
                certify(Path(folder) / f"{name}{number}", size)
                seconds.append(time.perf_counter() - start)
            # Workers do their blocks side by side, so that each one's share is what counts.
            found.append(1000 * (seconds[0] - seconds[1]) / (INPUTS / workers - 1))
    return found


def writing() -> list[float]:
    """Milliseconds to store a block of one input, in every round."""
    found = []
    with TemporaryDirectory() as folder:
        here(run_serially, Path(folder) / "a", 1)
        done = Run.open(Path(folder) / "a")
        records = [done.read_block(block) for block in range(INPUTS)]
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for block, some in enumerate(records):
                done.write_block(block, some, 1.0)
            found.append(1000 * (time.perf_counter() - start) / INPUTS)
    return found


def main() -> None:
    """Print a line each."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows = {
        "writing its files": writing,
        "one process": partial(timed, partial(here, run_serially), 1),
        "two processes": partial(timed, partial(here, Processes(load, 2)), 2),
        "two Ray actors": partial(timed, cluster, 2),
    }
    print(f"{INPUTS} blocks of one input; ms a block and worker, median of {ROUNDS} (least, most)")
    for name, measure in rows.items():
        try:
            found = measure()
        except MissingExtra as error:
            print(f"{name:20} {error}")
            continue
        print(f"{name:20} {median(found):6.1f} ({min(found):.1f}, {max(found):.1f})", flush=True)


if __name__ == "__main__":
    main()
