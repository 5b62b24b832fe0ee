"""Runs on many workers: real ones on this machine against the simulator, then what it predicts.

python experiments/worker_scaling.py [--inputs 24] [--n 2000] [--workers 1 2 4]

A ResNet-20 on random pictures, one core for each worker, one input for each block. The simulator
gets the speed and the overhead of one worker, and the workers' time to start; it must then predict
how long 2 and 4 workers take. Four workers on two cores have half the speed each. Writes the
tables of docs/scaling.md.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from markdown import put, table
from worker_simulator import Fleet, Forecast, best_block_seconds, forecast

from smoothcert import Inputs, Settings, load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.cores import cores
from smoothcert.execution.processes import Processes
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.runs.store import Run

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
MODEL = "cifar_resnet20@pretrained-0.50"
SEEDS = range(10)
# A larger run: ImageNet's validation set, and a speed that is assumed, not measured.
LARGE, SPEED, PRICE = 50_000 * 100_100, 3000.0, 2.0


@dataclass(frozen=True)
class Load:
    """The same model and pictures in every worker."""

    inputs: int

    def __call__(self, worker: int) -> tuple[Classifier, Inputs]:
        """See `processes.Load`."""
        pictures = np.random.default_rng(0).integers(0, 256, (self.inputs, 3, 32, 32)) / 255
        return load_classifier(MODEL, threads=1), Inputs.from_arrays(pictures)


@dataclass(frozen=True)
class Measured:
    """A real run: wall time, and the time that its workers computed."""

    workers: int
    seconds: float
    busy: float
    blocks: int
    evaluations: int


def measure(workers: int, load: Load, n: int) -> Measured:
    """Certify in so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        classifier, inputs = load(0)
        executor = Processes(load, workers)
        how = RunOptions(batch_size=32, block_inputs=1, executor=executor)
        start = time.perf_counter()
        run: Run = run_certify(
            Path(folder) / "r", classifier, inputs, Settings(0.5, 255, 100, n), how
        )
        seconds = time.perf_counter() - start
        return Measured(workers, seconds, run.seconds, len(run.blocks), len(inputs) * (100 + n))


def starting(load: Load) -> float:
    """Seconds that a worker takes until its first block: with nothing to do but one input."""
    small = Load(2)
    one, two = measure(1, small, 100).seconds, measure(2, small, 100).seconds
    return max(0.0, two - one / 2)


def mean(fleet: Fleet, blocks: int, each: float) -> Forecast:
    """The mean of several simulations."""
    found = [forecast(fleet, blocks, each, seed) for seed in SEEDS]
    fields = ("seconds", "cost", "lost", "efficiency")
    means = [float(np.mean([getattr(f, name) for f in found])) for name in fields]
    return Forecast(*means, failures=round(float(np.mean([f.failures for f in found]))))


def checked(load: Load, n: int, counts: list[int]) -> str:
    """Real runs beside what is predicted from the first of them."""
    runs = [measure(count, load, n) for count in counts]
    first, begin = runs[0], starting(load)
    overhead = (first.seconds - first.busy) / first.blocks
    alone = Fleet(1, first.evaluations / first.busy, 0.0, overhead)
    rows = []
    for run in runs:
        # The first worker starts at once, the others when they have loaded what they need.
        share = min(1.0, cores() / run.workers)
        fleet = replace(alone, workers=run.workers, speed=alone.speed * share)
        late = begin * (run.workers - 1) / run.workers
        said = mean(fleet, run.blocks, run.evaluations / run.blocks).seconds + late
        ideal = first.seconds / min(run.workers, cores())
        rows.append(
            [
                *(str(run.workers), f"{run.seconds:.1f}", f"{said:.1f}"),
                *(f"{100 * (said / run.seconds - 1):+.0f} %", f"{ideal / run.seconds:.2f}"),
            ]
        )
    heads = ["workers", "measured s", "predicted s", "difference", "of linear"]
    facts = (
        f"{first.evaluations:,} evaluations in {first.blocks} blocks; {cores()} cores; beside its "
        f"evaluations a block took {1000 * overhead:.0f} ms; a worker starts in {begin:.1f} s."
    )
    return f"{facts}\n\n{table(heads, rows)}"


def predicted() -> str:
    """What a large run would take."""
    rows = []
    for rate, kind in ((0.0, "none"), (0.05, "1 in 20 h"), (0.5, "1 in 2 h")):
        for workers in (1, 64, 1000):
            fleet = Fleet(workers, SPEED, failures_per_hour=rate, price=PRICE)
            best = best_block_seconds(fleet, LARGE)
            each = max(100_100.0, best * SPEED)  # no less than one input
            found = mean(fleet, round(LARGE / each), each)
            rows.append(
                [
                    *(kind, f"{workers:,}", f"{each / SPEED:.0f}", f"{found.seconds / 3600:,.1f}"),
                    *(f"{found.cost:,.0f}", f"{100 * found.lost:.2f}", f"{found.efficiency:.3f}"),
                ]
            )
    heads = ["failures of a worker", "workers", "block s", "hours", "cost", "lost %", "efficiency"]
    return table(heads, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=24)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="1 comes first")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    put(given.page, "measured runs", checked(Load(given.inputs), given.n, given.workers))
    put(given.page, "predicted runs", predicted())


if __name__ == "__main__":
    main()
