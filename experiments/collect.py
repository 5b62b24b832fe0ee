"""The votes behind docs/results.md: every network's label of every draw, each evaluated once.

python experiments/collect.py DATA --size cpu --out FOLDER

DATA is a folder with CIFAR-10 (JPEG), as `load_inputs` reads it. All networks are certified from
scratch with one seed on the same images, and equal seeds give equal noise: two networks' labels,
draw by draw, are what every method would have seen at any number of replayed draws, so tables.py
runs no network again. A rerun continues where the last one stopped, and reports its speed.
"""

import argparse
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from networks import Source, made

from smoothcert import Inputs, Run, Settings, load_inputs
from smoothcert.cli.data_source import DataSource
from smoothcert.cli.resources import Compute, Device, ModelLoader, WorkerInputs, cluster_for_run
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.execution.scheduler import Executor

HERE = Path(__file__).parent
ORIGINAL = "original"


@dataclass(frozen=True)
class Sizes:
    """collect.toml: what is common to all sizes, and the table of one of them."""

    seed: int
    n0: int
    alpha: float
    batch_size: int
    mode: str
    training_images: int
    targets: dict[str, str]
    device: str
    every: int
    n: int
    block_inputs: int
    sigmas: list[float]
    stages: list[list[str]]
    models: dict[str, str]

    @staticmethod
    def read(file: Path, size: str) -> "Sizes":
        """Leave out the tables of the other sizes."""
        found = tomllib.loads(file.read_text())
        common = {key: found[key] for key in Sizes.__dataclass_fields__ if key in found}
        return Sizes(**{**common, **found[size]})

    @property
    def networks(self) -> list[str]:
        """All of them, in the order of work."""
        return [network for stage in self.stages for network in stage]


@dataclass(frozen=True)
class Place:
    """One network of one architecture at one sigma, and its folder."""

    architecture: str
    sigma: float
    network: str
    out: Path

    @property
    def folder(self) -> Path:
        """Where its model and its votes are."""
        return self.out / self.architecture / f"{self.sigma:.2f}" / self.network

    @property
    def run(self) -> Path:
        """Its run directory."""
        return self.folder / "run"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.architecture} sigma {self.sigma:g} {self.network}"


def places(sizes: Sizes, out: Path) -> Iterator[Place]:
    """Everything to be collected, in order: a stage at all sigmas before the next stage."""
    for stage in sizes.stages:
        for architecture in sizes.models:
            for sigma in sizes.sigmas:
                yield from (Place(architecture, sigma, network, out) for network in stage)


@dataclass(frozen=True)
class Collection:
    """Images, sizes, where the models come from, and what computes."""

    sizes: Sizes
    images: Inputs
    source: DataSource
    training: Inputs
    weights: str
    compute: Compute

    @staticmethod
    def of(sizes: Sizes, data: str, weights: str, compute: Compute) -> "Collection":
        """Open the data."""
        source = DataSource(data, "test", None, None, sizes.every)
        training = load_inputs(data, "train", limit=sizes.training_images)
        return Collection(sizes, source.load(), source, training, weights, compute)

    def model(self, place: Place) -> str:
        """The reference of the network to run: made, found made, or as it came.

        On a CPU weights are run as their ONNX twins; on a GPU, and in its other modes, torch runs
        everything.
        """
        mode = self.sizes.mode
        return f"{mode}:{self._made(place)}" if mode != "eager" else self._made(place)

    def _made(self, place: Place) -> str:
        sizes = self.sizes
        cpu = sizes.device == "cpu" and sizes.mode == "eager"
        original = sizes.models[place.architecture].format(sigma=place.sigma, weights=self.weights)
        if place.network == ORIGINAL and not cpu:
            return original
        source = Source(original, self.training, place.sigma, sizes.seed, twins=cpu)
        run = made(source, sizes.targets[place.network], place.folder).run
        return f"{place.architecture}@{run}" if run.suffix == ".safetensors" else str(run)

    def collect(self, place: Place) -> Run:
        """Certify from scratch into the place's run directory, or continue it."""
        sizes = self.sizes
        settings = Settings(
            place.sigma,
            self.images.levels,
            sizes.n0,
            sizes.n,
            sizes.alpha,
            sizes.seed,
            keep_margins=place.network == ORIGINAL,
        )
        model = self.model(place)
        classifier = self.compute.process_device.load(model)
        ticker = Ticker(place.title, len(self.images) * (sizes.n0 + sizes.n))
        how = RunOptions(
            sizes.batch_size,
            sizes.block_inputs,
            resume=True,
            progress=ticker,
            executor=self.executor(model),
        )
        return run_certify(place.run, classifier, self.images, settings, how)

    def executor(self, model: str) -> Executor:
        """Who computes the blocks of a network."""
        compute = self.compute
        if compute.cluster is not None:
            return cluster_for_run(model, self.source, compute)
        return compute.executor(
            WorkerInputs(ModelLoader(model, compute.process_device), self.source)
        )


class Ticker:
    """A line every half minute."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self.start = self.said = time.perf_counter()

    def __call__(self, evaluations: int) -> None:
        """Count them."""
        self.done += evaluations
        now = time.perf_counter()
        if now - self.said > 30:
            self.said, speed = now, self.done / (now - self.start)
            print(f"  {self.title}: {self.done:,} evaluations, {speed:,.0f}/s", flush=True)


def finished(place: Place) -> bool:
    """Whether all its blocks are there."""
    return (place.run / "run.json").exists() and not Run.open(place.run).missing


def options(description: str | None) -> argparse.ArgumentParser:
    """What the scripts on one collection are given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", required=True, help="the table of collect.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of models and votes")
    parser.add_argument("--sizes", type=Path, default=HERE / "collect.toml")
    return parser


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("data", help="folder with CIFAR-10 (JPEG)")
    parser.add_argument("--weights", default="", help="folder with weights that the package lacks")
    parser.add_argument("--workers", type=int, help="processes, or actors of a cluster")
    parser.add_argument("--cluster", help="as of the commands: ray, ray:HOST:PORT, ...")
    given = parser.parse_args()
    sizes = Sizes.read(given.sizes, given.size)
    compute = Compute(Device(sizes.device), given.workers, given.cluster)
    collection = Collection.of(sizes, given.data, given.weights, compute)
    for place in places(sizes, given.out):
        if finished(place):
            continue
        start = time.perf_counter()
        run = collection.collect(place)
        speed = sum(c.evaluations for c in run.certificates) / max(run.seconds, 1e-9)
        spent = time.perf_counter() - start
        print(f"{place.title}: {spent:.0f} s, {speed:,.0f} evaluations/s", flush=True)


if __name__ == "__main__":
    main()
