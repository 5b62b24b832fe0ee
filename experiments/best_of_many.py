"""Models chosen, or made, by their results on a cache.

All candidates are equally good in truth: the class has the same probability. Their labels on a
cached draw are a matter of luck, and a replay shows them.

*The best of many.* The candidate with the largest radius is shown.

*The majority of the better half.* The candidates that lost the fewest replayed winners vote: the
label is that of most of them. Each was chosen because it lost few of these draws. So on each of
these draws slightly less than the usual share of them is wrong and, since they are close to half
and half, the majority is wrong much less often than usual. On draws that were not replayed nothing
was chosen. With the numbers of misuse.py the majority loses 13 % of the replayed winners and 37 %
in truth. It did not exist when the draws were made, so no bound holds for it on them, whatever the
error level and whatever number of models it is divided by.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from dataset_overclaims import remembered
from known_law import PROBABILITY, SIGMA, Law, Patchwork, World, patchwork, split, truth
from numpy.typing import NDArray
from overclaims import too_much

import smoothcert
from smoothcert.certificate import Certificate, Certification
from smoothcert.methods import Case
from smoothcert.methods.replay import Allocation, Bound, Reuse
from smoothcert.sampling.sampler import Sampler

ALPHA = 0.05
REPLAYED = 40
BATCH = 256


def replays(winners: int) -> Allocation:
    """So many cached winners, or as many as there are."""
    return Allocation(Bound.JOINT, winners)


def fresh(draws: int) -> Allocation:
    """So many fresh draws."""
    return Allocation(Bound.FRESH, fresh=draws)


def replayed(alpha: float) -> Reuse:
    """The joint bound, or fresh draws of the base's seed, at this alpha."""
    return Reuse(f"uniform:{REPLAYED}", "joint", alpha)


def afresh(seed: int) -> Reuse:
    """Draws from this seed, and nothing replayed."""
    return Reuse(f"uniform:{REPLAYED}", "fresh", ALPHA, fresh_seed=seed)


@dataclass(frozen=True, eq=False)
class Field:
    """An original and its candidates, of one input; every cache is of this input.

    Attributes:
        world: the original (and itself as its change).
        candidates: each loses winners of its own, the same share of them.
        changed: every candidate's probabilities, shape (candidates, 2).
    """

    world: World
    candidates: tuple[Patchwork, ...]
    changed: NDArray[np.float64]

    @staticmethod
    def of(count: int, p: float, lost: float) -> "Field":
        """The same field every time.

        Args:
            count: candidates.
            p: of the original's class.
            lost: share of the original's winners that a candidate loses.
        """
        world, some = World.of([Law.of_class(p)]), []
        labels = labels_of(world.original)
        winners = np.flatnonzero(labels)
        for seed in range(count):
            rng = np.random.default_rng([1, seed])
            new = labels.copy()
            new[winners] = split(PROBABILITY[winners], [p * lost, p * (1 - lost)], rng)
            some.append(new)
        return Field(world, tuple(map(answering, some)), truth(np.stack(some), 1, 2)[:, 0])

    def base(self, caches: int, draws: int) -> Certification:
        """So many independent caches of the default seed."""
        return self.certified(self.world.original, range(caches), draws, seed=0)

    def certified(
        self, model: Patchwork, where: Sequence[int], draws: int, seed: int
    ) -> Certification:
        """A model from scratch, on the inputs of some caches."""
        inputs = self.world.inputs(max(where) + 1).select(where)
        facts = model, inputs, SIGMA
        return smoothcert.certify(*facts, n0=50, n=draws, alpha=ALPHA, seed=seed, batch_size=BATCH)

    def recertified(
        self,
        base: Certification,
        model: Patchwork,
        reuse: Reuse,
        share: Allocation,
        where: Sequence[int] | None = None,
    ) -> list[Certificate]:
        """A model on some caches, by default all, with the same share of each.

        It is given, in the place of the plan that the method's policy would make.
        """
        inputs = self.world.inputs(len(base.records))
        cases = (
            Case(inputs.item(i), base.records[i], _within(share, base.certificates[i].k))
            for i in (range(len(inputs)) if where is None else where)
        )
        new = reuse.records(Sampler(model, base.settings, base.num_classes, BATCH), cases)
        return [record.certificate for record in new]


def _within(share: Allocation, k: int) -> Allocation:
    return replace(share, winners=min(share.winners, k))


def labels_of(model: Patchwork) -> NDArray[np.int64]:
    """At every grid point within reach of the input."""
    return model.table[: len(PROBABILITY)].argmax(axis=1)


def answering(labels: NDArray[np.int64]) -> Patchwork:
    """The model with these labels there."""
    return patchwork(labels, np.ones(len(labels)), 2)


@dataclass(frozen=True, eq=False)
class Tried:
    """What became of all candidates on all caches; arrays of shape (candidates, caches).

    Attributes:
        field: the candidates.
        base: the caches.
        radii: certified.
        flips: replayed winners that were lost.
        wrong: whether the certificate claims too much.
    """

    field: Field
    base: Certification
    radii: NDArray[np.float64]
    flips: NDArray[np.int64]
    wrong: NDArray[np.bool_]

    @staticmethod
    def of(field: Field, base: Certification, reuse: Reuse, share: Allocation) -> "Tried":
        """Recertify every candidate on every cache."""
        with remembered():
            found = [field.recertified(base, c, reuse, share) for c in field.candidates]
        radii = np.array([[c.radius for c in some] for some in found])
        flips = np.array([[c.flips for c in some] for some in found])
        facts = zip(found, field.changed, strict=True)
        wrong = np.stack([too_much(some, t[None]) for some, t in facts])
        return Tried(field, base, radii, flips, wrong)

    def best(self) -> "Picked":
        """Of each cache the candidate with the largest radius."""
        models = tuple(self.field.candidates[c] for c in self._chosen.tolist())
        return Picked(self.field, models, self.field.changed[self._chosen])

    def best_wrong(self) -> NDArray[np.bool_]:
        """Whether its certificate claims too much, shape (caches,)."""
        return self.wrong[self._chosen, np.arange(len(self._chosen))]

    @cached_property
    def _chosen(self) -> NDArray[np.int64]:
        return self.radii.argmax(axis=0)

    def majority(self) -> "Picked":
        """Of each cache the majority of the better half of the candidates; a tie is the class."""
        votes = np.stack([labels_of(candidate) for candidate in self.field.candidates])
        better = np.argsort(self.flips, axis=0, kind="stable")[: len(votes) // 2]
        labels = [(votes[half].mean(axis=0) >= 0.5).astype(np.int64) for half in better.T]
        models = tuple(map(answering, labels))
        return Picked(self.field, models, truth(np.stack(labels), 1, 2)[:, 0])


@dataclass(frozen=True, eq=False)
class Picked:
    """A model for every cache.

    Attributes:
        field: where it comes from.
        models: in the order of the caches.
        truth: probabilities of each, shape (caches, 2).
    """

    field: Field
    models: tuple[Patchwork, ...]
    truth: NDArray[np.float64]

    def recertified(
        self, base: Certification, reuse: Reuse, share: Allocation
    ) -> list[Certificate]:
        """Each on its cache."""
        with remembered():
            return [
                self.field.recertified(base, model, reuse, share, [i])[0]
                for i, model in enumerate(self.models)
            ]

    def certified(self, draws: int, seed: int) -> list[Certificate]:
        """Each from scratch."""
        return [
            self.field.certified(model, [i], draws, seed).certificates[0]
            for i, model in enumerate(self.models)
        ]

    def wrong(self, certificates: Sequence[Certificate]) -> NDArray[np.bool_]:
        """Which of their certificates claim too much."""
        return too_much(certificates, self.truth)
