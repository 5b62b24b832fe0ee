"""What voids a certificate, how often it is then wrong, and whether the remedies hold.

python experiments/misuse.py [--caches 2000]

A certificate errs with probability at most alpha if model, budget and seed are fixed before the
noise is looked at (docs/theory.md, sections 7 and 10). Each misuse looks, and then chooses what to
make or to show; best_of_many.py says how models are chosen and made. Each remedy that the
documents recommend meets the same adversary. A trial is a cache of its own, so that trials are
independent: a row is refuted if an exact binomial test gives so many wrong ones a probability
below ERROR at the error stated. Certificates come from the package's own functions, the truth from
the tables of known_law.py.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from best_of_many import ALPHA, REPLAYED, Field, Picked, Tried, afresh, fresh, replayed, replays
from dataset_overclaims import remembered, says_something_false
from known_law import SIGMA
from markdown import put, table
from numpy.typing import NDArray
from overclaims import ERROR, HERE, Row, detects, p_value, too_much
from reliability import write
from scipy import stats
from worst_case import FRESH_SEED

from smoothcert.certificate import Certification
from smoothcert.methods import dataset as pooled
from smoothcert.methods.replay import Allocation, Reuse
from smoothcert.methods.screening import Pool, Screening

COUNT = 2000
DRAWS = 1000

MANY, FEW = 50, replays(REPLAYED)
"""Good models, and what is replayed of each."""
WHOLE = 100
"""Draws of a small cache, of which all winners are replayed, or draws from scratch."""

PAGE = HERE.parent / "docs" / "misuse.md"
CROWD, SOME = 100, replays(50)
"""Models nearly like a coin, to make a majority of, and what is replayed of each."""
DIVIDED = replayed(ALPHA / (CROWD + 1))
"""An error that is enough for all of them and one more."""

LONE = 5
"""Caches of one model alone for each of the others: it errs less often."""
BUDGETS = tuple(map(replays, (10, 43, 160))) + tuple(map(fresh, (103, 329, 941)))
"""Replays, and fresh draws, as plans choose between them. Sizes far apart have little to do with
each other, and at these the certificates err about as often as they may."""
SEEDS, DRAWN = 6, fresh(115)

ANEW = FRESH_SEED + SEEDS
"""A seed that nothing was drawn from."""

Wrong = NDArray[np.bool_]
"""Which certificates claim too much, shape (caches,) or (results, caches)."""


@dataclass(frozen=True, eq=False)
class Study:
    """What is tried on so many caches."""

    caches: int

    @cached_property
    def many(self) -> Tried:
        """Models that lose a tenth, each at alpha."""
        field = Field.of(MANY, p=0.97, lost=0.093)
        return Tried.of(field, field.base(self.caches, DRAWS), replayed(ALPHA), FEW)

    @cached_property
    def best(self) -> Picked:
        """The best of them."""
        return self.many.best()

    @cached_property
    def best_of_whole(self) -> Picked:
        """The best by all winners of a small cache."""
        field = self.many.field
        base = field.base(self.caches, WHOLE)
        return Tried.of(field, base, replayed(ALPHA), replays(WHOLE)).best()

    @cached_property
    def crowd(self) -> Tried:
        """Models that lose nearly half, each at a small share of alpha."""
        field = Field.of(CROWD, p=0.99, lost=0.48)
        return Tried.of(field, field.base(self.caches, DRAWS), DIVIDED, SOME)

    @cached_property
    def majority(self) -> Picked:
        """Made from their results."""
        return self.crowd.majority()

    @cached_property
    def lone(self) -> Tried:
        """One model alone."""
        field = Field.of(1, p=0.999, lost=0.3)
        return Tried.of(field, field.base(LONE * self.caches, DRAWS), replayed(ALPHA), FEW)

    def best_by_seed(self) -> Wrong:
        """The best of many with fresh draws, shown as found."""
        field, base = self.many.field, self.many.base
        return Tried.of(field, base, afresh(FRESH_SEED), fresh(REPLAYED)).best_wrong()

    def best_afresh(self) -> Wrong:
        """The best of many by replays, with fresh draws."""
        return _afresh(self.best, self.many.base)

    def best_anew(self, seed: int) -> Wrong:
        """The best on small caches, from scratch."""
        return self.best_of_whole.wrong(self.best_of_whole.certified(WHOLE, seed))

    def made(self) -> Wrong:
        """The majority, by replays like its members."""
        return self.majority.wrong(self.majority.recertified(self.crowd.base, DIVIDED, SOME))

    def made_afresh(self) -> Wrong:
        """The majority, with fresh draws."""
        return _afresh(self.majority, self.crowd.base)

    def made_anew(self, seed: int) -> Wrong:
        """The majority, from scratch."""
        return self.majority.wrong(self.majority.certified(WHOLE, seed))

    def made_screened(self) -> Wrong:
        """The majority, screened as if it had been one candidate more."""
        found = self.majority.recertified(self.crowd.base, DIVIDED, SOME)
        flips = np.array([c.flips for c in found])
        return self.screened(flips, self.majority.truth[:, 1], CROWD + 1)

    def crowd_screened(self) -> Wrong:
        """Each of the crowd, in one screening."""
        return self.screened(self.crowd.flips, self.crowd.field.changed[:, 1:], CROWD)

    def screened(
        self, flips: NDArray[np.int64], truth: NDArray[np.float64], candidates: int
    ) -> Wrong:
        """Which dataset certificates say anything false, each of one cache's input.

        A screening replays the first winners, as `replays` does: its evaluations are known.

        Args:
            flips: of models on the caches, shape (..., caches).
            truth: probability of the class; broadcasts with flips.
            candidates: so many share alpha.
        """
        base, screening = self.crowd.base, Screening(SOME.winners, ALPHA, candidates=candidates)
        k = np.array([c.k for c in base.certificates])
        facts = np.stack([part.ravel() for part in np.broadcast_arrays(k, flips, truth)])
        cases, first, where = np.unique(facts, axis=1, return_index=True, return_inverse=True)
        wrong = []
        with remembered():
            for (_, lost, p), i in zip(cases.T, (first % len(k)).tolist(), strict=True):
                cached = replace(base, records=base.records[i : i + 1])
                pool = Pool.of(cached, (1,), screening.alpha_cache)
                found = pooled.certificate("", "", screening, pool, [[int(lost)] * pool.eligible])
                radius = SIGMA * np.maximum(0, stats.norm.ppf([p]))
                wrong.append(says_something_false(found, radius, None))
        return np.array(wrong)[where.reshape(flips.shape)]

    def budgets(self, alpha: float) -> Wrong:
        """The one model with each of BUDGETS."""
        with remembered():
            return np.stack([self._alone(replayed(alpha), share) for share in BUDGETS])

    def seeds(self) -> Wrong:
        """The one model with each of several fresh seeds."""
        seeds = range(FRESH_SEED, FRESH_SEED + SEEDS)
        return np.stack([self._alone(afresh(seed), DRAWN) for seed in seeds])

    def _alone(self, reuse: Reuse, share: Allocation) -> Wrong:
        field, base = self.lone.field, self.lone.base
        return too_much(field.recertified(base, field.candidates[0], reuse, share), field.changed)


def _afresh(picked: Picked, base: Certification) -> Wrong:
    return picked.wrong(picked.recertified(base, afresh(FRESH_SEED), fresh(REPLAYED)))


BEST = f"the best of {MANY} models on one cache"
MAJORITY = f"the majority of the better half of {CROWD} models on one cache"
ALONE = f"one model, {len(BUDGETS)} budgets on one cache"

MISUSES: dict[str, Callable[[Study], Wrong]] = {
    f"{BEST}, each at α": lambda study: study.many.best_wrong(),
    f"the best of {MANY} models with one fresh seed, each at α": Study.best_by_seed,
    f"{BEST}, certified from scratch with its seed": lambda study: study.best_anew(0),
    f"{MAJORITY}, recertified on it as they were, at α/{CROWD + 1}": Study.made,
    f"{MAJORITY}, screened on it as one candidate more": Study.made_screened,
    f"{MAJORITY}, certified from scratch with its seed": lambda study: study.made_anew(0),
    f"{ALONE}, each at α, the best shown": lambda study: study.budgets(ALPHA),
    f"one model, {SEEDS} fresh seeds, each at α, the best shown": Study.seeds,
}
"""What no theorem covers: each must be refuted."""

REMEDIES: dict[str, Callable[[Study], Wrong]] = {
    "one model fixed beforehand, at α": lambda study: study.lone.wrong,
    f"{CROWD} models fixed beforehand, each at α/{CROWD + 1}, any wrong": (
        lambda study: study.crowd.wrong
    ),
    f"{CROWD} models fixed beforehand, screened at once at α, anything false": Study.crowd_screened,
    f"{ALONE}, fixed beforehand, each at α/{len(BUDGETS)}, any wrong": (
        lambda study: study.budgets(ALPHA / len(BUDGETS))
    ),
    f"{BEST}, then one fresh seed": Study.best_afresh,
    f"{BEST}, certified from scratch with another seed": lambda study: study.best_anew(ANEW),
    f"{MAJORITY}, then one fresh seed": Study.made_afresh,
    f"{MAJORITY}, certified from scratch with another seed": lambda study: study.made_anew(ANEW),
}
"""What theorems cover, whoever picks what is shown: none may be refuted."""


def row(name: str, study: Study) -> Row:
    """Count the caches of which one of MISUSES or REMEDIES shows anything wrong."""
    start = time.process_time()
    wrong = np.atleast_2d((MISUSES | REMEDIES)[name](study)).max(axis=0)
    count, many = len(wrong), int(wrong.sum())
    p, least = p_value(many, count, ALPHA), detects(count, ALPHA)
    seconds = round(time.process_time() - start, 1)
    return Row(name, f"alpha={ALPHA}", count, many, ALPHA, float("nan"), p, least, seconds)


def tell(rows: list[Row], page: Path) -> None:
    """Into docs/misuse.md."""
    heads = ["what was done", "stated", "measured", "trials", "p-value", ""]
    cells = [
        [
            *(r.method, f"{r.allowed:g}", f"{r.rate:.4f}", f"{r.certifications:,}"),
            *(f"{r.p_value:.1g}" if r.p_value > 1e-300 else "< 1e-300",),
            "refuted" if r.p_value < ERROR else "held",
        ]
        for r in rows
    ]
    put(page, "misuse", table(heads, cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--caches", type=int, default=COUNT)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "statistics")
    parser.add_argument("--page", type=Path, default=PAGE, help="with the table, at full size")
    given = parser.parse_args()
    study, rows = Study(given.caches), []
    for name in MISUSES | REMEDIES:
        rows.append(row(name, study))
        print(f"{name}: {rows[-1].rate:.4f}, p {rows[-1].p_value:.2g}", flush=True)
    write(given.out / "misuse.csv", rows)
    if given.caches == COUNT:
        tell(rows, given.page)


if __name__ == "__main__":
    main()
