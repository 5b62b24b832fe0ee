"""Train a network of the zoo on CIFAR-10 at several sigmas, side by side on one device.

python experiments/gpu/train.py DATA OUT [--sigmas 0.5,1.0] [--minutes 3] [--device cuda] [--tiny]

Writes OUT/ARCHITECTURE-SIGMA.safetensors and OUT/train.jsonl, a line for each network. The number
of epochs is what fits the minutes, by the time that a small part of the data takes first; a
network that is there is not trained again.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch

import smoothcert
from smoothcert.classifiers.pytorch import save_weights
from smoothcert.data.inputs import Inputs
from smoothcert.training.gaussian import accuracy, train
from smoothcert.training.recipe import Recipe, recipe

RECIPE = recipe("short", 0.0, architecture="cifar_resnet110", batch=512, rate=0.3)
TINY = replace(RECIPE, architecture="cifar_resnet8", batch=32)
SAMPLE, MOST_EPOCHS = 8192, 60


def part(data: Inputs, count: int) -> Inputs:
    """The first inputs, with their labels."""
    return data.select(range(min(count, len(data))))


def epochs_in(chosen: Recipe, data: Inputs, device: str, seconds: float) -> int:
    """How many epochs fit, by the second of two over a part of the data."""
    times = []
    some = part(data, SAMPLE)
    train(replace(chosen, epochs=2), some, device, lambda *_: times.append(time.perf_counter()))
    epoch = (times[1] - times[0]) * len(data) / len(some)
    return max(1, min(MOST_EPOCHS, int(seconds / epoch)))


@dataclass(frozen=True)
class Job:
    """One network to train, and where its weights go."""

    recipe: Recipe
    data: str
    limit: int | None
    device: str
    seconds: float
    out: Path


def network(job: Job) -> dict[str, object]:
    """Train one and write its weights; what there is to say of it."""
    device, seconds = job.device, job.seconds
    data = smoothcert.load_inputs(job.data, "train", limit=job.limit)
    test = smoothcert.load_inputs(job.data, "test", limit=1000)
    start = time.perf_counter()
    chosen = replace(job.recipe, epochs=epochs_in(job.recipe, data, device, seconds))

    def told(epoch: int, loss: float) -> None:
        spent = time.perf_counter() - start
        print(f"sigma {chosen.sigma}: epoch {epoch}/{chosen.epochs}, {loss:.3f}, {spent:.0f} s")
        sys.stdout.flush()

    module = train(chosen, data, device, told)
    seconds_spent = time.perf_counter() - start
    save_weights(module, chosen.architecture, job.out)
    return {
        "architecture": chosen.architecture,
        "sigma": chosen.sigma,
        "epochs": chosen.epochs,
        "seconds": round(seconds_spent, 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "accuracy under noise, 1,000 test images": accuracy(module, test, chosen.sigma),
    }


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--sigmas", default="0.5,1.0")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal of seconds on a CPU")
    chosen = parser.parse_args()
    base, limit, device = (TINY, 128, "cpu") if chosen.tiny else (RECIPE, None, chosen.device)
    seconds = 1.0 if chosen.tiny else 60 * chosen.minutes
    chosen.out.mkdir(parents=True, exist_ok=True)
    jobs = []
    for sigma in map(float, chosen.sigmas.split(",")):
        out = chosen.out / f"{base.architecture}-{sigma:.2f}.safetensors"
        if not out.exists():
            recipe_there = replace(base, sigma=sigma)
            jobs.append(Job(recipe_there, chosen.data, limit, device, seconds, out))
    with ProcessPoolExecutor(max(1, len(jobs)), get_context("spawn")) as pool:
        for found in pool.map(network, jobs):
            print(json.dumps(found), flush=True)
            with (chosen.out / "train.jsonl").open("a") as file:
                file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
