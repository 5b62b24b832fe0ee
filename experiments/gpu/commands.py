"""Whole commands, timed: what a user waits for on this device.

python experiments/gpu/commands.py DATA OUT [--device cuda] [--images 500] [--n 10000]
    [--only original,exact] [--tiny]

One ResNet-20 of the package at sigma 1, and the same with weights on 255 levels. Writes a row for
each command to OUT/commands.csv; its runs go to OUT/runs. A rerun times what has no row.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

NAMES = ("command", "images", "n", "device", "seconds", "evaluations", "acr")
NETWORK, SIGMA = "cifar_resnet20", 1.0


@dataclass(frozen=True)
class Sizes:
    """What is timed, and where."""

    data: str
    out: Path
    device: str
    some: tuple[str, ...]
    n: int

    @property
    def model(self) -> str:
        """The original; on a GPU in the fastest mode."""
        return self._fast(f"{NETWORK}@pretrained-{SIGMA:.2f}")

    @property
    def changed(self) -> str:
        """The changed network, once `make` wrote it."""
        return self._fast(f"{NETWORK}@{self.out / 'changed.safetensors'}")

    def _fast(self, reference: str) -> str:
        return reference if self.device == "cpu" else f"fast:{reference}"

    def run(self, name: str) -> str:
        """The folder of one run."""
        return str(self.out / "runs" / name)

    def commands(self) -> dict[str, list[str]]:
        """The commands by name, in order.

        original and scratch: from scratch, n draws an image, the original and the changed network;
        plan: the original by plan; exact, auto, joint: the changed one recertified, by the exact
        test (form binary, or the better of two) and from joint limits; screened: its dataset
        certificate; verified: 1 % of the original's draws again; extended: ten times the draws.
        """
        base = self.run("original")
        where = ["--device", self.device, "--resume"]
        scratch = ["--data", self.data, *self.some, "--sigma", str(SIGMA)]
        scratch += ["--n", str(self.n), *where]
        again = ["recertify", self.changed, "--base", base, "--policy", "budget:0.02", *where]
        planned = ["--policy", "retain:0.95"]
        longer = ["--n", str(10 * self.n), *where]
        check = ["--device", self.device]
        return {
            "original": ["certify", self.model, *scratch, "--out", base],
            "scratch": ["certify", self.changed, *scratch, "--out", self.run("new")],
            "plan": ["certify", self.model, *scratch, *planned, "--out", self.run("p")],
            "exact": [*again, "--out", self.run("exact")],
            "auto": [*again, "--form", "auto", "--out", self.run("auto")],
            "joint": [*again, "--method", "joint", "--out", self.run("joint")],
            "screened": ["screen", self.changed, "--base", base, "--per-input", "200", *check],
            "verified": ["verify", base, "--replay", "1%", *check],
            "extended": ["extend", self.model, "--base", base, *longer, "--out", self.run("more")],
        }


def make(sizes: Sizes) -> None:
    """The changed network: the original's weights, rounded."""
    out = sizes.out / "changed.safetensors"
    if not out.exists():
        source = f"{NETWORK}@pretrained-{SIGMA:.2f}"
        smoothcert(["compress", source, "--to", "int8-weights", "--out", str(out)])


def smoothcert(arguments: list[str]) -> str:
    """What a command prints; its lines of progress go to the terminal."""
    asked = [sys.executable, "-m", "smoothcert", *arguments]
    done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


def timed(name: str, arguments: list[str], sizes: Sizes, images: int) -> dict[str, object]:
    """Run one, and make its row."""
    start = time.perf_counter()
    said = json.loads(smoothcert([*arguments, "--json"]))
    seconds = time.perf_counter() - start
    figures = said if isinstance(said, dict) else {}
    found = (figures.get("evaluations", ""), figures.get("acr", ""))
    values = (name, images, sizes.n, sizes.device, round(seconds, 1), *found)
    return dict(zip(NAMES, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=500, help="of 10,000")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a CPU")
    parser.add_argument("--only", default="", help="commands, separated by commas")
    given = parser.parse_args()
    images, n, device = (4, 200, "cpu") if given.tiny else (given.images, given.n, given.device)
    some = ("--limit", str(images)) if given.tiny else ("--every", str(10_000 // images))
    sizes = Sizes(given.data, given.out, device, some, n)
    sizes.out.mkdir(parents=True, exist_ok=True)
    make(sizes)
    file = sizes.out / "commands.csv"
    rows = list(csv.DictReader(file.read_text().splitlines())) if file.exists() else []
    for name, arguments in sizes.commands().items():
        skipped = given.only and name not in given.only.split(",")
        if skipped or any(row["command"] == name and row["n"] == str(n) for row in rows):
            continue
        row = timed(name, arguments, sizes, images)
        print(row, flush=True)
        with file.open("a") as out:
            writer = csv.DictWriter(out, NAMES)
            if not out.tell():
                writer.writeheader()
            writer.writerow(row)


if __name__ == "__main__":
    main()
