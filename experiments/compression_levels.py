"""How far a network can be changed: flips by bit width and pruned share, and what predicts them.

python experiments/compression_levels.py DATA --out FOLDER

DATA is a folder with CIFAR-10 (JPEG), as `load_inputs` reads it. Flips are counted on the same
draws for all networks. From the logits of both networks on other draws they are predicted: the
label of a draw changes if the change of its gap (the original's largest logit less its largest
other one) exceeds the gap. Rows are kept in FOLDER, so a rerun computes only what is missing.
"""

import argparse
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import figures
import numpy as np
from cached_rows import cached
from markdown import put
from networks import Source, file_name, made
from numpy.typing import NDArray
from tables import DOCS, HERE, write_csv

import smoothcert
from smoothcert.data.inputs import to_float

ORIGINAL = "onnx"  # the same network, run like the others


@dataclass(frozen=True)
class Plan:
    """compression_levels.toml."""

    model: str
    seed: int
    sigmas: list[float]
    every: int
    n: int
    probed: int
    nearest: float
    window: float
    training_images: int
    batch_size: int
    series: dict[str, list[str]]

    @property
    def sizes(self) -> dict:
        """All that a row depends on beside its sigma and level."""
        return {k: v for k, v in asdict(self).items() if k not in ("sigmas", "series")}


def gaps(logits: NDArray, classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Logit of the class less the largest other one, per row."""
    rows, rest = np.arange(len(logits)), logits.astype(np.float64)
    own = rest[rows, classes].copy()
    rest[rows, classes] = -np.inf
    return own - rest.max(axis=1)


def predictions(
    gap: NDArray[np.float64], change: NDArray[np.float64], nearest: float, window: float
) -> dict[str, float]:
    """Predicted shares of labels that change, without looking at the labels.

    Args:
        gap: of the original, >= 0, shape (draws,).
        change: of that gap, same shape.
        nearest: the share of the draws that tells the density of gaps at 0.
        window: the share of the draws among which gap and change are taken as independent.

    Returns:
        `density` of gaps at 0; `fall`, the mean fall of a gap (a rise counts as 0);
        `first order`, their product; `shuffled`, the share of gaps that are exceeded by the fall
        of any other draw; `nearby`, by that of a draw with a gap like it.
    """
    order = np.argsort(gap)
    gap, fall = gap[order], np.maximum(-change[order], 0)
    few = max(1, round(nearest * len(gap)))
    density = nearest / float(gap[few - 1])
    width = max(2, round(window * len(gap)))
    parts = range(0, len(gap), width)
    nearby = [_exceeded(gap[i : i + width], fall[i : i + width]) for i in parts]
    return {
        "density": density,
        "fall": float(fall.mean()),
        "first order": density * float(fall.mean()),
        "shuffled": _exceeded(gap, fall) / len(gap),
        "nearby": sum(nearby) / len(gap),
    }


def _exceeded(gap: NDArray[np.float64], fall: NDArray[np.float64]) -> float:
    """Expected number of gaps below a fall drawn at random; gaps in ascending order."""
    return float(np.searchsorted(gap, fall, side="left").sum()) / len(fall)


@dataclass(frozen=True, eq=False)
class Bench:
    """Where networks are made and compared."""

    plan: Plan
    images: smoothcert.Inputs
    training: smoothcert.Inputs
    out: Path

    def folder(self, sigma: float, target: str) -> Path:
        """The place of a network and its row."""
        return self.out / f"{sigma:.2f}" / file_name(target)

    def network(self, sigma: float, target: str) -> Path:
        """The file to run."""
        model = self.plan.model.format(sigma=sigma)
        source = Source(model, self.training, sigma, self.plan.seed)
        return made(source, target, self.folder(sigma, target)).run

    @cache  # noqa: B019 - lives as long as the script
    def labels(self, sigma: float, target: str) -> NDArray[np.int32]:
        """Shape (images, n); equal seeds give equal noise."""
        found = smoothcert.certify(
            self.network(sigma, target),
            self.images,
            sigma,
            n0=1,
            n=self.plan.n,
            seed=self.plan.seed,
            batch_size=self.plan.batch_size,
        )
        return np.stack([record.votes.estimation for record in found.records])

    @cache  # noqa: B019
    def logits(self, sigma: float, target: str) -> NDArray[np.float32]:
        """Of draws of their own, shape (images * probed, classes)."""
        classifier = smoothcert.load_classifier(self.network(sigma, target))
        rng, found = np.random.default_rng(self.plan.seed + 1), []
        for item in self.images:
            clean = to_float(item.pixels, self.images.levels)
            noise = rng.standard_normal((self.plan.probed, *clean.shape), np.float32)
            found.append(classifier.logits(clean + np.float32(sigma) * noise))
        return np.concatenate(found)

    def row(self, sigma: float, target: str) -> dict:
        """Measured and predicted."""
        plan, before = self.plan, self.logits(sigma, ORIGINAL)
        top = before.argmax(axis=1)
        gap, after = gaps(before, top), gaps(self.logits(sigma, target), top)
        flips = self.labels(sigma, ORIGINAL) != self.labels(sigma, target)
        by_image = flips.mean(axis=1)
        found = {"differ": float(flips.mean())}
        found["error"] = float(by_image.std(ddof=1) / np.sqrt(len(by_image)))
        return found | predictions(gap, after - gap, plan.nearest, plan.window)

    def finished(self, sigma: float, series: str, target: str) -> dict:
        """The row, read back if it was found with these sizes."""
        place, title = self.folder(sigma, target) / "row.json", f"sigma {sigma:g} {target}"
        row = cached(place, self.plan.sizes, title, lambda: self.row(sigma, target))
        return {"sigma": sigma, "series": series, "target": target} | row


def exponent(rows: list[dict], below: float) -> float:
    """By least squares on logarithms, how flips grow with the level: 2^-bits, or the share."""
    some = [row for row in rows if 0 < row["differ"] <= below]
    x, y = (np.log([f(row) for row in some]) for f in (level, lambda row: row["differ"]))
    return float(np.polyfit(x, y, 1)[0])


def level(row: dict) -> float:
    """The step of the weights in units of the largest (but for a factor), or the pruned share."""
    if row["series"] == "bits":
        return 1 / (2 ** (int(row["target"][3]) - 1) - 1)
    return float(row["target"].partition(":")[2])


def text(rows: list[dict], plan: Plan) -> str:
    """What stands between the marks; the figure and the CSV file have the rows."""
    fits = []
    for series, words in (("bits", "the step of the weights"), ("pruned", "the pruned share")):
        found = [
            f"{exponent([r for r in rows if (r['series'], r['sigma']) == (series, s)], 0.05):.2f}"
            for s in sorted(plan.sigmas)
        ]
        fits.append(f"{words} to the power of {', '.join(found)}")
    sigmas = ", ".join(f"{s:g}" for s in sorted(plan.sigmas))
    return (
        f"`{plan.model.partition('@')[0]}`, {len(range(0, 10_000, plan.every))} CIFAR-10 test "
        f"images, {plan.n} draws per image compared by label (± one standard error over images), "
        f"{plan.probed} others by logits: experiments/results/compression_levels.csv. "
        f"Fitted where at most 5 % of the labels differ, at σ = {sigmas}: they differ as "
        f"{' and as '.join(fits)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder with CIFAR-10 (JPEG)")
    parser.add_argument("--out", type=Path, required=True, help="folder for networks and rows")
    parser.add_argument("--plan", type=Path, default=HERE / "compression_levels.toml")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of CSV")
    parser.add_argument("--docs", type=Path, default=DOCS, help="with questions.md; takes a figure")
    given = parser.parse_args()
    plan = Plan(**tomllib.loads(given.plan.read_text()))
    images = smoothcert.load_inputs(given.data, "test", every=plan.every)
    training = smoothcert.load_inputs(given.data, "train", limit=plan.training_images)
    bench = Bench(plan, images, training, given.out)
    rows = []
    for sigma in plan.sigmas:
        for series, targets in plan.series.items():
            rows += [bench.finished(sigma, series, target) for target in targets]
    rows.sort(key=lambda row: (row["series"], row["sigma"]))
    write_csv(given.results, "compression_levels", rows)
    figures.write_levels(given.docs, rows)
    put(given.docs / "questions.md", "levels", text(rows, plan))


if __name__ == "__main__":
    main()
