"""The votes behind docs/results*.md: every network's label of every draw, each evaluated once.

python experiments/collect.py DATA --size SIZE --out FOLDER

DATA is a folder with CIFAR-10 (JPEG), as `load_inputs` reads it. Every network labels the same
draws of the same images under one seed: selection, estimation and fresh draws, as `certify` and
`recertify` number them. So its labels are what every method would have seen at any number of
draws, and tables.py runs no network again. A rerun skips what is there.
"""

import argparse
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from collected_votes import ORIGINAL, SEED, Labels, Place
from networks import Source, made

from smoothcert import Inputs, Settings, load_classifier, load_inputs
from smoothcert.noise.law import Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Sizes:
    """collect.toml: what is common to all sizes, and the table of one of them."""

    n0: int
    batch_size: int
    mode: str
    training_images: int
    targets: dict[str, str]
    device: str
    every: int
    n: int
    fresh: int
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

    @property
    def streams(self) -> dict[Stream, int]:
        """How many draws of each stream, in the order of the stored labels."""
        sizes = (self.n0, self.n, self.fresh)
        return dict(zip((Stream.SELECTION, Stream.ESTIMATION, Stream.FRESH), sizes, strict=True))


def places(sizes: Sizes, out: Path) -> Iterator[Place]:
    """Everything to be collected, in order: a stage at all sigmas before the next stage."""
    for stage in sizes.stages:
        for architecture in sizes.models:
            for sigma in sizes.sigmas:
                yield from (Place(architecture, sigma, network, out) for network in stage)


@dataclass(frozen=True)
class Collection:
    """Images, sizes, and where the models come from and are made."""

    sizes: Sizes
    images: Inputs
    training: Inputs
    weights: str
    models: Path

    @staticmethod
    def of(sizes: Sizes, data: str, weights: str, models: Path) -> "Collection":
        """Open the data."""
        images = load_inputs(data, "test", every=sizes.every)
        training = load_inputs(data, "train", limit=sizes.training_images)
        return Collection(sizes, images, training, weights, models)

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
        source = Source(original, self.training, place.sigma, SEED, twins=cpu)
        folder = self.models / place.folder.name / place.network
        run = made(source, sizes.targets[place.network], folder).run
        return f"{place.architecture}@{run}" if run.suffix == ".safetensors" else str(run)

    def collect(self, place: Place) -> Labels:
        """Label every draw."""
        sizes, images = self.sizes, self.images
        classifier = load_classifier(self.model(place), sizes.device)
        noise = Settings(place.sigma, images.levels).noise
        ticker = Ticker(place.title)
        wanted = (
            Request(images.item(position), stream, range(draws))
            for position in range(len(images))
            for stream, draws in sizes.streams.items()
        )
        found = list(sample(classifier, wanted, noise, SEED, sizes.batch_size, ticker))
        step = len(sizes.streams)
        rows = np.stack([np.concatenate(found[i : i + step]) for i in range(0, len(found), step)])
        facts = (np.array(images.indices), np.array(images.labels), sizes.n0, sizes.n)
        return Labels(rows, *facts, ticker.speed, classifier.device)


class Ticker:
    """A line every half minute."""

    def __init__(self, title: str) -> None:
        self.title, self.done = title, 0
        self.start = self.said = time.perf_counter()

    def __call__(self, evaluations: int) -> None:
        """Count them."""
        self.done += evaluations
        now = time.perf_counter()
        if now - self.said > 30:
            self.said = now
            print(f"  {self.title}: {self.done:,} evaluations, {self.speed:,.0f}/s", flush=True)

    @property
    def speed(self) -> float:
        """Evaluations per second so far."""
        return self.done / (time.perf_counter() - self.start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", required=True, help="the table of collect.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of votes")
    parser.add_argument("--sizes", type=Path, default=HERE / "collect.toml")
    parser.add_argument("data", help="folder with CIFAR-10 (JPEG)")
    parser.add_argument("--weights", default="", help="folder with weights that the package lacks")
    parser.add_argument("--models", type=Path, help="folder of the models made; OUT/models")
    given = parser.parse_args()
    sizes = Sizes.read(given.sizes, given.size)
    models = given.models or given.out / "models"
    collection = Collection.of(sizes, given.data, given.weights, models)
    for place in places(sizes, given.out):
        if place.file.exists():
            continue
        start = time.perf_counter()
        labels = collection.collect(place)
        labels.write(place)
        spent = time.perf_counter() - start
        print(f"{place.title}: {spent:.0f} s, {labels.speed:,.0f} evaluations/s", flush=True)


if __name__ == "__main__":
    main()
