"""What each compression does to a certified network: a row per target, for docs/compressions.md.

python experiments/compressions.py DATA --out FOLDER

DATA is a folder with CIFAR-10 (JPEG), as `load_inputs` reads it. Models and rows are kept in
FOLDER, so that a rerun makes only what is missing; sizes and targets are in compressions.toml.
"""

import argparse
import json
import os
import re
import time
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.classifiers.loading import file_of
from smoothcert.compress.compress import compress
from smoothcert.methods.margins import shares
from smoothcert.report.tables import ceil_to

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "compressions.md"
START, END = "<!-- made by experiments/compressions.py -->", "<!-- end -->"
ORIGINAL, CONTROL = "original", "onnx"
NEAR = 0.05
RADII = (0.25, 0.5)
SUFFIXES = {
    ".onnx": ("int8", "int8-dynamic", "lowrank", "onnx"),
    ".pt2": ("bf16", "fp16", "int8-pt2e"),
}
FLIPS = [
    *("target", "draws per image", "labels differ %", "upper limit %", "harmful %", "gains %"),
    *("flips", "flips near %", "harmful near %"),
]
COSTS = [
    *("target", "weights changed %", "file kB", "evaluations/s", "smoothed %"),
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
    """A compressed model: its file, what was done, and the file that is run in its place.

    Weights are run by ONNX Runtime, as their ONNX twin, which is faster than torch here and
    leaves no difference to the original but that of the weights.
    """

    file: Path
    run: Path
    fraction_changed: float
    batch_size: int


def made(target: str, plan: Plan, folder: Path, training: smoothcert.Inputs) -> Made:
    """Make the model, or find it made."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, note = target.partition(":")[0], folder / "change.json"
    suffix = next((s for s, kinds in SUFFIXES.items() if kind in kinds), ".safetensors")
    file = folder / f"model{suffix}"
    run = file.with_suffix(".onnx") if suffix == ".safetensors" else file
    if not note.exists():
        change = compress(
            plan.model, target, file, inputs=training, sigma=plan.sigma, seed=plan.seed
        )
        if run != file:
            compress(str(file), "onnx", run, inputs=training)
        size = 1 if change.batch_dependent else plan.batch_size
        note.write_text(json.dumps([change.fraction_changed, size]))
    return Made(file, run, *json.loads(note.read_text()))


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
    """Forward passes alone, by the median batch."""
    classifier = smoothcert.load_classifier(model)
    pixels = np.resize([item.pixels for item in images], (batch_size, *images.shape)) / 255
    noise = np.random.default_rng(plan.seed).normal(0, plan.sigma, pixels.shape)
    batch, seconds = (pixels + noise).astype(np.float32), []
    classifier.logits(batch)
    for _ in range(max(3, plan.timed_evaluations // batch_size)):
        start = time.perf_counter()
        classifier.logits(batch)
        seconds.append(time.perf_counter() - start)
    return batch_size / float(np.median(seconds))


def measured(plan: Plan, data: str, out: Path) -> list[dict]:
    """Every row; those that are not there, or were made with other sizes, are made."""
    images = smoothcert.load_inputs(data, "test", every=plan.every)
    training = smoothcert.load_inputs(data, "train", limit=plan.training_images)
    twin = made("onnx", plan, out / "onnx", training)

    @cache
    def votes(model: str | Path, batch_size: int, n: int) -> smoothcert.Certification:
        return votes_of(model, batch_size, n, plan, images)

    def row_of(target: str, folder: Path) -> dict:
        n = plan.draws(target)
        if target == ORIGINAL:
            found = file_of(plan.model)
            assert found is not None
            file, run, size, row = found[1], plan.model, plan.batch_size, {}
        else:
            here = made(target, plan, folder, training)
            file, run, size = here.file, here.run, here.batch_size
            reference = plan.model if target == CONTROL else twin.run
            row = flips(votes(reference, plan.batch_size, plan.n), votes(run, size, n))
            row["fraction_changed"] = here.fraction_changed
        if n == plan.n:
            row |= accuracies(votes(run, size, n), images)
        speed = evaluations_per_second(run, size, plan, images)
        return row | {"bytes": file.stat().st_size, "speed": speed, "batch_size": size}

    rows = []
    for target in (ORIGINAL, *plan.targets):
        folder = out / re.sub(r"[^\w.-]+", "-", target)
        place, start = folder / "row.json", time.perf_counter()
        row = json.loads(place.read_text()) if place.exists() else {}
        if row.get("sizes") != plan.sizes(target):
            folder.mkdir(parents=True, exist_ok=True)
            row = {"target": target, "sizes": plan.sizes(target)} | row_of(target, folder)
            place.write_text(json.dumps(row))
        print(f"{target}: {time.perf_counter() - start:.0f} s", flush=True)
        rows.append(row)
    return rows


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, rounded to nearest; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def table(head: list[str], lines: list[list[str]]) -> str:
    """Markdown, the first column to the left."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


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
            percent(row.get("fraction_changed")),
            f"{row['bytes'] / 1000:,.0f}",
            f"{row['speed']:,.0f}" + (" (batch 1)" if row["batch_size"] == 1 else ""),
            *(percent(share, 0) for share in accuracy(row)),
        ]
        for row in rows
    ]


def accuracy(row: dict) -> tuple[float | None, ...]:
    """Smoothed and certified, or nothing where the draws were too few."""
    return (row["smoothed"], *row["certified"]) if "smoothed" in row else (None, None, None)


def text(plan: Plan, rows: list[dict]) -> str:
    """What stands between the marks."""
    count = len(range(0, 10_000, plan.every))
    near = next(row["near_all"] for row in rows if row["target"] == CONTROL)
    command = "python experiments/compressions.py DATA --out FOLDER"
    return f"""
`{command}` made these tables on {len(os.sched_getaffinity(0))} CPU cores, with
torch {torch.__version__.partition("+")[0]} and ONNX Runtime {onnxruntime.__version__}: \
`{plan.model}`, CIFAR-10 (JPEG), every {plan.every}th test image ({count} of them), sigma
{plan.sigma:g}, seed {plan.seed}, {plan.n0} selection and {plan.n} estimation draws per image, alpha
{plan.alpha:g}, batches of {plan.batch_size}.

{table(FLIPS, flip_lines(rows))}

Draws near a change of sides are {percent(near)} % of all draws.

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
    before, _, rest = given.page.read_text().partition(START)
    _, _, after = rest.partition(END)
    block = text(plan, measured(plan, given.data, given.out))
    given.page.write_text(f"{before}{START}\n{block}\n{END}{after}")


if __name__ == "__main__":
    main()
