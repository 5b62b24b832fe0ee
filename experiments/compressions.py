"""What each compression does to a certified network: a row per target, for its page.

python experiments/compressions.py DATA --out FOLDER

DATA is a folder with CIFAR-10 (JPEG), as `load_inputs` reads it. Models and rows are kept in
FOLDER, so that a rerun makes only what is missing; sizes and targets are in compressions.toml.
"""

import argparse
import os
import textwrap
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from cached_rows import cached
from markdown import percent, put, table
from networks import Source, file_name, made

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.classifiers.reference import ModelReference
from smoothcert.methods.margins import shares
from smoothcert.text import ceil_to

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "compressions-measured.md"
MARK = "tables by experiments/compressions.py"
ORIGINAL, CONTROL = "original", "onnx"
NEAR = 0.05
ENOUGH = 5.0  # seconds of timing
RADII = (0.25, 0.5)
FLIPS = [
    *("target", "draws per image", "labels differ %", "upper limit %", "harmful %", "gains %"),
    *("flips", "flips near %", "harmful near %"),
]
COSTS = [
    *("target", "weights changed %", "file kB", "evaluations/s per core", "smoothed %"),
    *(f"certified {radius:g} %" for radius in RADII),
]


@dataclass(frozen=True)
class Plan:
    """compressions.toml."""

    model: str
    sigma: float
    seed: int
    n0: int
    n: int
    alpha: float
    every: int
    training_images: int
    batch_size: int
    timed_evaluations: int
    targets: list[str]
    fewer: dict[str, int]

    def draws(self, target: str) -> int:
        """Estimation draws per image: the first of those of the others where it is slow."""
        return self.fewer.get(target, self.n)

    def sizes(self, target: str) -> dict:
        """All that a row depends on beside its target."""
        kept = {key: v for key, v in vars(self).items() if key not in ("targets", "fewer")}
        return kept | {"n": self.draws(target)}


@dataclass(frozen=True)
class Made:
    """A model, the file or reference that is run in its place, and the batches it is run in."""

    file: Path
    run: str | Path
    fraction_changed: float | None
    batch_size: int


def votes_of(
    model: str | Path, batch_size: int, n: int, plan: Plan, images: smoothcert.Inputs
) -> smoothcert.Certification:
    """Certify from scratch; the same seed means the same draws for every model.

    With fewer draws only flips are read, which need no selection.
    """
    return smoothcert.certify(
        model,
        images,
        plan.sigma,
        n0=plan.n0 if n == plan.n else 1,
        n=n,
        alpha=plan.alpha,
        seed=plan.seed,
        keep_margins=True,
        batch_size=batch_size,
    )


def flips(original: smoothcert.Certification, changed: smoothcert.Certification) -> dict:
    """Compare two networks draw by draw; c is the original's class of an image."""
    n = changed.settings.n
    f, g, margins = (
        np.stack([getattr(record.votes, part)[:n] for record in result.records])
        for result, part in (
            (original, "estimation"),
            (changed, "estimation"),
            (original, "margins"),
        )
    )
    c = np.array([[certificate.candidate] for certificate in original.certificates])
    flipped, lost, gained = f != g, (f == c) & (g != c), (f != c) & (g == c)
    near = shares(margins) < NEAR
    zeta = binomial.upper(flipped.sum(axis=1), n, original.settings.alpha)
    return {
        "disparity": float(flipped.mean()),
        "zeta": float(zeta.mean()),
        "lost": float(lost.mean()),
        "gained": float(gained.mean()),
        "flips": int(flipped.sum()),
        "near": _share(near, flipped),
        "near_lost": _share(near, lost),
        "near_all": float(near.mean()),
    }


def _share(near: np.ndarray, among: np.ndarray) -> float | None:
    return float(near[among].mean()) if among.any() else None


def accuracies(result: smoothcert.Certification, images: smoothcert.Inputs) -> dict:
    """Of the smoothed classifier: as estimated, and as certified at the radii."""
    assert images.labels is not None
    votes = [np.bincount(r.votes.estimation + 1)[1:] for r in result.records]  # -1 is no class
    right = [count.argmax() == label for count, label in zip(votes, images.labels, strict=True)]
    certified = smoothcert.summarize(result.certificates, images.labels, RADII).accuracy
    return {"smoothed": float(np.mean(right)), "certified": [share for _, share in certified]}


def evaluations_per_second(
    model: str | Path, batch_size: int, plan: Plan, images: smoothcert.Inputs
) -> float:
    """Forward passes alone on one core, by the processor time of the median batch.

    Unlike the time that passes, it hardly depends on what else the machine does.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    classifier = smoothcert.load_classifier(model, threads=1)
    pixels = np.resize([item.pixels for item in images], (batch_size, *images.shape)) / 255
    noise = np.random.default_rng(plan.seed).normal(0, plan.sigma, pixels.shape)
    batch, seconds = (pixels + noise).astype(np.float32), []
    classifier.logits(batch)
    while len(seconds) * batch_size < plan.timed_evaluations and sum(seconds) < ENOUGH:
        start = time.process_time()
        classifier.logits(batch)
        seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return batch_size / float(np.median(seconds))


@dataclass(frozen=True, eq=False)
class Bench:
    """Where targets are made and measured; what is finished is read back."""

    plan: Plan
    images: smoothcert.Inputs
    training: smoothcert.Inputs
    out: Path

    def folder(self, target: str) -> Path:
        """The place of a target's model and figures."""
        return self.out / file_name(target)

    def made(self, target: str) -> Made:
        """The compressed model, or the original itself."""
        plan = self.plan
        if target != ORIGINAL:
            source = Source(plan.model, self.training, plan.sigma, plan.seed)
            network = made(source, target, self.folder(target))
            size = 1 if network.batch_dependent else plan.batch_size
            return Made(network.file, network.run, network.fraction_changed, size)
        file = ModelReference.parse(plan.model).path
        assert file is not None
        return Made(file, plan.model, None, plan.batch_size)

    @cache  # noqa: B019 - lives as long as the script
    def votes(self, target: str) -> smoothcert.Certification:
        """Of the original, its twin (the control's), or any target."""
        here = self.made(target)
        return votes_of(here.run, here.batch_size, self.plan.draws(target), self.plan, self.images)

    def row(self, target: str) -> dict:
        """Flips, accuracies and what the record of the compression says."""
        here, row = self.made(target), {}
        if target != ORIGINAL:
            reference = ORIGINAL if target == CONTROL else CONTROL
            row = flips(self.votes(reference), self.votes(target))
        if self.plan.draws(target) == self.plan.n:
            row |= accuracies(self.votes(target), self.images)
        return row | {"fraction_changed": here.fraction_changed, "bytes": here.file.stat().st_size}

    def speed(self, target: str) -> dict:
        """Evaluations per second on one core, and the batch size."""
        here = self.made(target)
        speed = evaluations_per_second(here.run, here.batch_size, self.plan, self.images)
        return {"speed": speed, "batch_size": here.batch_size}

    def finished(self, target: str, part: Callable[[str], dict]) -> dict:
        """The figures of a part, read back if they were found with these sizes."""
        place, sizes = self.folder(target) / f"{part.__name__}.json", self.plan.sizes(target)
        found = cached(place, sizes, f"{target}: {part.__name__}", lambda: part(target))
        return {"target": target, "sizes": sizes} | found


def flip_lines(rows: list[dict]) -> list[list[str]]:
    """The table of flips."""
    shares_of = ("near", "near_lost")
    return [
        [
            f"`{row['target']}`",
            f"{row['sizes']['n']}",
            percent(row["disparity"], 2),
            ceil_to(100 * row["zeta"], 2),
            percent(row["lost"], 2),
            percent(row["gained"], 2),
            f"{row['flips']:,}",
            *(percent(row[key], 0) for key in shares_of),
        ]
        for row in rows
        if "flips" in row
    ]


def cost_lines(rows: list[dict]) -> list[list[str]]:
    """The table of size, speed and accuracy."""
    return [
        [
            f"`{row['target']}`" if row["target"] != ORIGINAL else ORIGINAL,
            percent(row["fraction_changed"]),
            f"{row['bytes'] / 1000:,.0f}",
            speed_of(row),
            *(percent(share, 0) for share in accuracy(row)),
        ]
        for row in rows
    ]


def speed_of(row: dict) -> str:
    """Evaluations per second."""
    return f"{row['speed']:,.0f}" + (" (batch 1)" if row["batch_size"] == 1 else "")


def accuracy(row: dict) -> tuple[float | None, ...]:
    """Smoothed and certified, or nothing where the draws were too few."""
    return (row["smoothed"], *row["certified"]) if "smoothed" in row else (None, None, None)


def text(plan: Plan, rows: list[dict]) -> str:
    """What stands between the marks."""
    near = next((row["near_all"] for row in rows if row["target"] == CONTROL), None)
    there = {row["target"] for row in rows}
    missing = ", ".join(f"`{target}`" for target in plan.targets if target not in there)
    facts = textwrap.fill(
        f"`python experiments/compressions.py DATA --out FOLDER` made these tables on "
        f"{len(os.sched_getaffinity(0))} CPU cores, with torch {torch.__version__.split('+')[0]} "
        f"and ONNX Runtime {onnxruntime.__version__}: `{plan.model}`, CIFAR-10 (JPEG), every "
        f"{plan.every}th test image ({len(range(0, 10_000, plan.every))} of them), sigma "
        f"{plan.sigma:g}, seed {plan.seed}, {plan.n0} selection and {plan.n} estimation draws per "
        f"image where no other number is given, alpha {plan.alpha:g}, batches of "
        f"{plan.batch_size}." + (f" Not measured yet: {missing}." if missing else ""),
        118,
        break_on_hyphens=False,
    )
    return f"""
{facts}

{table(FLIPS, flip_lines(rows))}

Of all draws, {percent(near)} % are near.

{table(COSTS, cost_lines(rows))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder with CIFAR-10 (JPEG)")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and rows")
    parser.add_argument("--plan", type=Path, default=HERE / "compressions.toml")
    parser.add_argument("--page", type=Path, default=PAGE, help="file with the marked block")
    given = parser.parse_args()
    plan = Plan(**tomllib.loads(given.plan.read_text()))
    images = smoothcert.load_inputs(given.data, "test", every=plan.every)
    training = smoothcert.load_inputs(given.data, "train", limit=plan.training_images)
    bench = Bench(plan, images, training, given.out)
    rows = []
    for target in (ORIGINAL, *plan.targets):
        rows.append(bench.finished(target, bench.row) | bench.finished(target, bench.speed))
        put(given.page, MARK, text(plan, rows))


if __name__ == "__main__":
    main()
