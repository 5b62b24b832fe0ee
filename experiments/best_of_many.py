"""The misuse that a certificate cannot see: fifty candidates on one cache, the best one shown.

python experiments/best_of_many.py [--caches 2000]

Every candidate is as good as the next in truth: its class has the same probability. Each is
recertified against the same cache, and the one with the largest radius is shown. Each certificate
errs with probability alpha; the one shown errs much more often. Two remedies: alpha divided by the
number of models, if that is fixed beforehand and none is made from the results of another; and
certifying the one shown again with a fresh seed, which replays nothing that the choice has looked
at (docs/theory.md, section 6).
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data_sets import remembered
from known_law import PROBABILITY, SIGMA, Law, Patchwork, World, patchwork, split, truth
from numpy.typing import NDArray
from overclaims import BATCH, HERE, Row, detects, p_value, too_much
from worst_case import FRESH_SEED

import smoothcert
from smoothcert.certificate import Certificate, Certification
from smoothcert.methods.reuse import How, Reuse, Share
from smoothcert.verbs import planned

ALPHA = 0.05
CANDIDATES = 50
P, LOST = 0.97, 0.093
"""Of the original's class, and of the cached winners that each candidate loses."""
DRAWS, REPLAYED = 1000, 40
CASE = f"alpha={ALPHA} p={P} u={LOST} n={DRAWS} m={REPLAYED}"


@dataclass(frozen=True, eq=False)
class Field:
    """An original and its candidates, of one input.

    Attributes:
        world: the original (and itself as its change).
        candidates: each loses winners of its own, the same share of them.
        changed: every candidate's probabilities, shape (candidates, 2).
    """

    world: World
    candidates: tuple[Patchwork, ...]
    changed: NDArray[np.float64]

    @staticmethod
    def of(count: int = CANDIDATES) -> "Field":
        """The same field every time."""
        world, width = World.of([Law.of_class(P)]), len(PROBABILITY)
        labels = world.original.table.argmax(axis=1)
        winners, some = np.flatnonzero(labels[:width]), []
        for seed in range(count):
            rng = np.random.default_rng([1, seed])
            kept = split(PROBABILITY[winners], [P * LOST, P * (1 - LOST)], rng)
            new = labels.copy()
            new[winners] = kept
            some.append(new)
        gaps = np.ones(len(labels))
        made = tuple(patchwork(new, gaps, 2) for new in some)
        return Field(world, made, truth(np.stack(some), 1, 2)[:, 0])

    def base(self, caches: int, seed: int = 0) -> Certification:
        """So many independent caches: an input each."""
        return smoothcert.certify(
            self.world.original,
            self.world.inputs(caches),
            SIGMA,
            n0=50,
            n=DRAWS,
            alpha=ALPHA,
            seed=seed,
            batch_size=BATCH,
        )

    def recertified(
        self,
        base: Certification,
        candidate: int,
        reuse: Reuse,
        where: NDArray[np.int64] | None = None,
    ) -> list[Certificate]:
        """One candidate on some caches, with as many draws on each; that takes no plan."""
        fresh = reuse.method == "fresh"
        share = Share(How.FRESH, fresh=REPLAYED) if fresh else Share(How.JOINT, REPLAYED)
        inputs, positions = self.world.inputs(len(base.records)), range(len(base.records))
        triples = (
            (inputs.item(i), base.records[i], share)
            for i in (positions if where is None else where.tolist())
        )
        new = planned.replay_items(self.candidates[candidate], triples, base.settings, reuse, BATCH)
        return [record.certificate for record in new]


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of every cache.

    Attributes:
        candidate: the one with the largest radius, shape (caches,).
        wrong: whether its certificate claims too much.
        each: of all candidates, how often a certificate does, shape (candidates,).
    """

    candidate: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    each: NDArray[np.float64]


def replayed(alpha: float) -> Reuse:
    """The joint bound at this alpha."""
    return Reuse(f"uniform:{REPLAYED}", "joint", alpha)


def afresh(seed: int) -> Reuse:
    """Draws from this seed, and nothing replayed."""
    return Reuse(f"uniform:{REPLAYED}", "fresh", ALPHA, fresh_seed=seed)


def best(field: Field, base: Certification, reuse: Reuse) -> Shown:
    """Recertify every candidate on every cache, and show the best of each."""
    with remembered():
        found = [field.recertified(base, c, reuse) for c in range(len(field.candidates))]
    radii = np.array([[c.radius for c in some] for some in found])
    wrong = np.stack(
        [too_much(some, t[None]) for some, t in zip(found, field.changed, strict=True)]
    )
    chosen = radii.argmax(axis=0)
    return Shown(chosen, wrong[chosen, np.arange(len(chosen))], wrong.mean(axis=1))


def anew(
    field: Field, base: Certification, chosen: NDArray[np.int64], seed: int = FRESH_SEED
) -> NDArray[np.bool_]:
    """The chosen ones certified with a fresh seed at all of alpha: which claim too much."""
    wrong = np.zeros(len(chosen), dtype=bool)
    for candidate in np.unique(chosen).tolist():
        mine = np.flatnonzero(chosen == candidate)
        new = field.recertified(base, candidate, afresh(seed), mine)
        wrong[mine] = too_much(new, field.changed[candidate][None])
    return wrong


def study(caches: int, served: int = CANDIDATES) -> list[Row]:
    """One candidate, the best of all, and both remedies.

    Args:
        caches: independent inputs, each with a cache of its own.
        served: by how many models, fixed beforehand, alpha is divided.
    """
    field = Field.of()
    base = field.base(caches)
    plain, divided = (best(field, base, replayed(a)) for a in (ALPHA, ALPHA / served))
    names = ("the first candidate", f"best of {CANDIDATES}", "alpha divided", "fresh seed")
    first = field.recertified(base, 0, replayed(ALPHA))
    wrong = (
        too_much(first, field.changed[:1]),
        plain.wrong,
        divided.wrong,
        anew(field, base, plain.candidate),
    )
    return [_row(name, some) for name, some in zip(names, wrong, strict=True)]


def _row(name: str, wrong: NDArray[np.bool_]) -> Row:
    count, many = len(wrong), int(wrong.sum())
    p, least = p_value(many, count, ALPHA), detects(count, ALPHA)
    return Row(name, CASE, count, many, ALPHA, float("nan"), p, least, 0.0)


def main() -> None:
    from reliability import write

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--caches", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "statistics")
    given = parser.parse_args()
    start = time.perf_counter()
    rows = study(given.caches)
    write(given.out / "best_of_many.csv", rows)
    for row in rows:
        print(f"{row.method}: {row.rate:.4f} (allowed {row.allowed}), p {row.p_value:.2g}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
