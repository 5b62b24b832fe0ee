"""Collect the fresh draws that the methods ask for.

python experiments/collect_fresh.py --size cpu --out FOLDER DATA

Run this after collect.py and before tables.py. IRS and the planner evaluate a new network on fresh
draws where the original is almost certain. The images and the numbers of draws follow from the
votes collected so far, so the methods are run once on those, and what they ask for but is missing
is then evaluated. A rerun evaluates only what is still missing.
"""

import time
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from collect import HERE, ORIGINAL, Collection, Place, Sizes, finished, options, places
from collected_votes import Recorded, write_fresh
from methods_compared import Comparison, Plan

from smoothcert import load_classifier
from smoothcert.cli.resources import Compute, Device
from smoothcert.noise.law import Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample

SPAN = 500_000  # draws between two times that the file is written


def asked(original: Recorded, new: Recorded, plan: Plan) -> dict[int, int]:
    """Fresh draws of the new network that some method needs, by index of the image."""
    needs: dict[int, int] = {}
    for n in plan.caches:
        if n <= original.certification.settings.n:
            for _ in Comparison.of(original, new, n, plan, needs).reusing():
                pass
    return needs


def collect(collection: Collection, place: Place, new: Recorded, needs: dict[int, int]) -> int:
    """Evaluate what is missing, and return how many draws those were."""
    sizes, settings = collection.sizes, new.certification.settings
    classifier = load_classifier(collection.model(place), sizes.device)
    position = {index: p for p, index in enumerate(collection.images.indices)}
    labels, done, kept = dict(new.fresh), 0, 0
    wanted = []
    for index, needed in sorted(needs.items()):
        have = len(labels.get(index, ()))
        draws = range(have, needed)
        wanted.append(Request(collection.images.item(position[index]), Stream.FRESH, draws))
    facts = (settings.noise, settings.seed, sizes.batch_size)
    for request, found in zip(wanted, sample(classifier, wanted, *facts), strict=True):
        index = request.item.index
        labels[index] = np.append(labels.get(index, np.empty(0, np.int32)), found)
        done += len(found)
        if done - kept >= SPAN:
            write_fresh(place.folder, labels)
            kept = done
    write_fresh(place.folder, labels)
    return done


def _key(original: Recorded, new: Recorded, plan: Plan) -> str:
    """What a finished collection of fresh draws was made for."""
    return f"{asdict(plan)} {original.identity} {new.identity}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("data", help="folder with CIFAR-10 (JPEG)")
    parser.add_argument("--weights", default="", help="folder with weights that the package lacks")
    parser.add_argument("--plan", type=Path, default=HERE / "tables.toml")
    given = parser.parse_args()
    sizes = Sizes.read(given.sizes, given.size)
    plan = Plan(**tomllib.loads(given.plan.read_text()))
    compute = Compute(Device(sizes.device))
    collection = Collection.of(sizes, given.data, given.weights, compute)
    for place in places(sizes, given.out):
        original = replace(place, network=ORIGINAL)
        if place.network == ORIGINAL or not (finished(place) and finished(original)):
            continue
        new, start = Recorded.read(place.folder), time.perf_counter()
        base, note = Recorded.read(original.folder), place.folder / "fresh.txt"
        if note.exists() and note.read_text() == _key(base, new, plan):
            continue
        needs = asked(base, new, plan)
        done = collect(collection, place, new, needs) if needs else 0
        note.write_text(_key(base, Recorded.read(place.folder), plan))
        spent = time.perf_counter() - start
        print(f"{place.title}: {done:,} fresh draws, {spent:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
