"""Everything that needs a GPU, the most valuable first, in one call that goes on where it stopped.

python experiments/gpu/session.py DATA OUT [--minutes 9] [--only STEP,...] [--tiny]

DATA is a folder with CIFAR-10 (JPEG). Each step is a command whose output goes to OUT/STEP.log,
and one that succeeded is not run again; OUT/session.csv has a row for each try. A step begins
only if what it is expected to take is left, and ends with the minutes. --tiny rehearses all of it
on a CPU: its figures mean nothing.
"""

import argparse
import csv
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COLUMNS = ("step", "tiny", "exit", "seconds", "device", "torch")


@dataclass(frozen=True)
class Step:
    """A command and the seconds that it is expected to take on an H100."""

    name: str
    seconds: float
    arguments: tuple[str, ...]


def steps(data: str, out: Path, tiny: bool) -> list[Step]:
    """All of them, in order."""
    small = ("--tiny",) if tiny else ()
    commands = ("experiments/gpu/commands.py", data)
    million = (*(small or ("--images", "100", "--n", "1000000")), "--only", "original,exact,auto")
    votes = ("--size", "tiny" if tiny else "headline-fresh", "--out", str(out / "votes"))
    weights = ("--weights", str(ROOT / "experiments/results/gpu"))
    return [
        Step("tests", 130, ("-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "tests")),
        Step("commands", 170, (*commands, str(out / "commands"), *small)),
        speed("cifar_resnet20", "fast", 75, tiny),
        speed("cifar_resnet110", "fast", 110, tiny),
        speed("resnet50", "fast", 160, tiny),
        speed("cifar_resnet20", "eager", 45, tiny),
        speed("cifar_resnet20", "eager", 60, tiny, "onnx"),
        Step("million", 300, (*commands, str(out / "million"), *million)),
        Step("votes", 300, ("experiments/collect.py", data, *votes, *weights)),
        Step("train", 200, ("experiments/gpu/train.py", data, str(out / "train"), *small)),
    ]


def speed(network: str, mode: str, seconds: float, tiny: bool, engine: str = "torch") -> Step:
    """Throughput against the bare forward pass, the loop of 2019, and noise from the CPU."""
    of = ("--device", "cuda", "--network", network, "--mode", mode, "--engine", engine)
    arguments = ("benchmarks/throughput.py", *(("--tiny",) if tiny else (*of, "--seconds", "1.5")))
    name = f"speed-{network}-{mode if engine == 'torch' else engine}"
    return Step(name, seconds, arguments)


def run(step: Step, out: Path, limit: float) -> int:
    """Run a step, its output in a file; the exit code, 124 where it took too long."""
    command = [sys.executable, *step.arguments]
    with (out / f"{step.name}.log").open("a") as log:
        try:
            done = subprocess.run(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return 124
    return done.returncode


def device(tiny: bool) -> tuple[str, str]:
    """The device's name and torch's version."""
    import torch

    return ("cpu" if tiny else torch.cuda.get_device_name(), torch.__version__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", default="", help="steps, separated by commas")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a CPU")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    out, wanted = given.out.resolve(), given.only.split(",") if given.only else []
    out.mkdir(parents=True, exist_ok=True)
    file = out / "session.csv"
    rows = list(csv.DictReader(file.read_text().splitlines())) if file.exists() else []
    found = [s.name for s in steps(given.data, out, given.tiny)]
    if unknown := sorted(set(wanted) - set(found)):
        parser.error(f"no step is called {', '.join(unknown)}; there are {', '.join(found)}")
    done = {r["step"] for r in rows if r["exit"] == "0" and r["tiny"] == str(given.tiny)}
    if not file.exists():
        file.write_text(",".join(COLUMNS) + "\n")
    for step in steps(given.data, out, given.tiny):
        left = end - time.monotonic()
        if step.name in done or (wanted and step.name not in wanted):
            continue
        if left < (1 if given.tiny else step.seconds):
            print(f"{step.name}: {left:.0f} s are left, and it takes {step.seconds:.0f}")
            continue
        start = time.monotonic()
        code = run(step, out, left)
        seconds = round(time.monotonic() - start, 1)
        print(f"{step.name}: exit {code} after {seconds} s", flush=True)
        with file.open("a") as table:
            values = (step.name, given.tiny, code, seconds, *device(given.tiny))
            csv.writer(table).writerow(values)


if __name__ == "__main__":
    main()
