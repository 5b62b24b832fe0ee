"""How right the time left is that a run shows: predictions at each tenth against what it took.

PYTHONPATH=benchmarks python benchmarks/time_left.py [--images 30] [--n 2000] [--steady]
    [--block-inputs 1]

A ResNet-20 on random images, so that nothing is downloaded: alone, with two workers, and with two
workers and every other block there already (resumed). The clock runs to the end of the command's
work, so that the last block's files count. With --steady a device is stood in for that takes a
fixed time for each row, whatever else the machine does: what is left then is the estimate's own
error, and what the run adds. Without --block-inputs blocks are as large as a run makes them.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from smoothcert.certificate import Settings
from smoothcert.cli.data_source import DataSource
from smoothcert.cli.eta import Eta
from smoothcert.cli.resources import Compute, Device
from smoothcert.cli.run_request import RunArguments
from smoothcert.execution.runner import run_certify

MODELS = {False: "cifar_resnet20@pretrained-0.50", True: "time_left:Steady"}
TENTHS = [tenth / 10 for tenth in range(1, 10)]
TWO = Compute(Device("cpu"), 2)
CASES = {"alone": Compute(Device("cpu")), "two workers": TWO, "two, resumed": TWO}


@dataclass(frozen=True)
class Steady:
    """A classifier that waits as a device would."""

    name: str = "steady"
    fingerprint: str = "steady-1"
    device: str = "cpu"
    fixed_batch: int | None = None

    def logits(self, images: np.ndarray) -> np.ndarray:
        time.sleep(len(images) / 1000)
        mean = images.mean(axis=(1, 2, 3))
        return np.stack([0.5 - mean, mean - 0.5], axis=1)


def estimates(
    model: str, source: DataSource, settings: Settings, arguments: RunArguments
) -> list[tuple[float, float, float]]:
    """(share, seconds, seconds left) at every count of a run, and (1, its end, 0)."""
    inputs, classifier = source.load(), arguments.load(model)
    total = arguments.remaining(len(inputs) * (settings.n0 + settings.n))
    start = time.monotonic()
    eta, seen = Eta(total, start), []

    def tick(count: int) -> None:
        now = time.monotonic()
        eta.update(count, now)
        seen.append((eta.share, now - start, eta.seconds_left(now) or 0.0))

    options = arguments.options(tick, source, {"model": model})
    run_certify(arguments.out, classifier, inputs, settings, options)
    return [*seen, (1.0, time.monotonic() - start, 0.0)]


def errors(seen: list[tuple[float, float, float]]) -> tuple[list[float], float]:
    """The relative error at each tenth, and the largest at any count between 10 and 95 %."""
    end = seen[-1][1]
    relative = [(share, left / (end - now) - 1) for share, now, left in seen[:-1] if now < end]
    at = [
        found
        for tenth in TENTHS
        for (before, _), (share, found) in pairwise([(0.0, 0.0), *relative])
        if before < tenth <= share
    ]
    return at, max((abs(e) for share, e in relative if 0.1 <= share <= 0.95), default=0.0)


def halved(out: Path) -> None:
    """Take every other block of a finished run away."""
    for file in sorted(out.glob("certificates/*.parquet"))[::2]:
        file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block-inputs", type=int)
    parser.add_argument("--steady", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    images = np.random.default_rng(0).integers(0, 256, (options.images, 3, 32, 32)) / 255
    np.savez(folder / "x.npz", x=images)
    source = DataSource(str(folder / "x.npz"), "test", None, None, 1)
    settings = Settings(0.5, source.load().levels, 100, options.n)
    print("case          seconds", *(f"{tenth:>5.0%}" for tenth in TENTHS), "  worst")
    try:
        for number in range(options.rounds):
            for case, compute in CASES.items():
                out = folder / f"run-{number}-{compute.processes}"
                if resumed := "resumed" in case:
                    halved(out)
                arguments = RunArguments(
                    str(out), resumed, compute, block_inputs=options.block_inputs
                )
                seen = estimates(MODELS[options.steady], source, settings, arguments)
                at, worst = errors(seen)
                shown = " ".join(f"{error:>+5.0%}" for error in at)
                print(f"{case:<13} {seen[-1][1]:>7.1f} {shown}  {worst:>6.0%}", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
