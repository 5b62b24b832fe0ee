"""Recertification beyond the paper: replayed winners and losers of the cache, or fresh draws.

Each input gets a `Share`: which draws to evaluate, decided from the cache (and a pilot on other
draws) before any of them is seen. All shares of a method use one conditional error budget, so
they can be chosen input by input at no cost in confidence (docs/theory.md, sections 7 and 8).
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial, joint, stratified
from smoothcert.bounds.budget import Budget
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import Certificate, Outcome, Settings, Votes, check_alpha
from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.methods.irs import Cached
from smoothcert.noise.law import Stream, words
from smoothcert.scalars import settle

FLOOR = 0.65
"""The budget's floor over alpha. A higher one helps where p is near 1, a lower one at small m and
p near 0.8: see docs/theory.md, section 7."""

SAMPLED, WHOLE = 1, 2
"""Roles of a replayed draw: of a stratum's sample, or of a stratum replayed whole."""


class How(StrEnum):
    """What is evaluated for one input."""

    NOTHING = "nothing"
    JOINT = "joint"
    STRATIFIED = "stratified"
    FRESH = "fresh"


METHODS = ("auto", "joint", "stratified", "fresh")


@dataclass(frozen=True)
class Share:
    """The draws that one input gets.

    Attributes:
        how: the bound that they will go into.
        winners: a sample of the cached draws that the original gave the class.
        losers: a sample of those that it did not.
        fresh: draws of the fresh stream.
        near_winners: winners by smallest margin, replayed whole.
        near_losers: losers by smallest distance to the class, replayed whole.
        seen_winners: the last winners, which a pilot has seen; replayed whole.
        seen_losers: likewise losers.
    """

    how: How
    winners: int = 0
    losers: int = 0
    fresh: int = 0
    near_winners: int = 0
    near_losers: int = 0
    seen_winners: int = 0
    seen_losers: int = 0

    @property
    def evaluations(self) -> int:
        """Forward passes of the new classifier."""
        near, seen = self.near_winners + self.near_losers, self.seen_winners + self.seen_losers
        return self.winners + self.losers + self.fresh + near + seen


@dataclass(frozen=True)
class Reuse:
    """Settings of a planned recertification.

    Args:
        policy: how much to spend where, see `planning.Policy`.
        method: `joint` (winners alone in the joint bound, or fresh draws, chosen per input),
            `stratified` (samples of strata), `auto` (as `joint`, but from a tenth of the cached
            draws on strata or fresh draws) or `fresh` (nothing is replayed: for a model that
            was chosen by its result on this cache).
        alpha: total error probability per input (docs/theory.md, sections 7 and 8).
        pilot: inputs on which the pilot is run.
        fresh_seed: of `fresh`, a noise seed that nothing was drawn from before.
    """

    policy: str
    method: str = "auto"
    alpha: float = 0.002
    pilot: int = 64
    fresh_seed: int | None = None

    def __post_init__(self) -> None:
        """Check the fields; the policy's text is checked where it is parsed."""
        settle(self, ("pilot",), ("alpha",))
        if self.fresh_seed is not None:
            settle(self, ("fresh_seed",))
        check_alpha(self.alpha)
        require_one_of("method", self.method, METHODS)
        if not 1 <= self.pilot <= 10**6:
            raise InvalidInput(f"pilot must be from 1 to 10^6 inputs; got {self.pilot}")
        if (self.fresh_seed is None) == (self.method == "fresh"):
            raise InvalidInput(
                "The method 'fresh' needs a fresh_seed, and no other method takes one; got "
                f"method {self.method!r} and fresh_seed {self.fresh_seed}"
            )

    @cached_property
    def budget(self) -> Budget:
        """The error budget that every share draws on."""
        return Budget(self.alpha, floor=FLOOR * self.alpha, cells=32)

    @property
    def fresh_alpha(self) -> float:
        """The error of fresh draws: all of alpha if nothing else could have been chosen."""
        return self.alpha if self.method == "fresh" else self.budget.lowest

    def seed(self, settings: Settings) -> int:
        """The noise seed of everything evaluated after the pilot."""
        return settings.seed if self.fresh_seed is None else self.fresh_seed


def roles(votes: Votes, candidate: int, share: Share, seed: int, index: int) -> NDArray[np.int32]:
    """What part each cached draw has in a share: 0, SAMPLED or WHOLE.

    A sample is the first draws by index, which are as good as random ones as long as its
    stratum is defined by the labels alone. Beside strata by margin, whose ties are broken by
    index, it is a random one, from words of a stream of its own.

    Args:
        votes: of the original; with margins, if the share asks for near draws.
        candidate: the class.
        share: how many of each.
        seed: the run's seed.
        index: of the input.

    Returns:
        int32 array, as long as the cache.

    Raises:
        InvalidInput: the cache does not have so many.
    """
    chosen = np.zeros(len(votes.estimation), dtype=np.int32)
    won = votes.estimation == candidate
    for side, sampled, near, seen in (
        (won, share.winners, share.near_winners, share.seen_winners),
        (~won, share.losers, share.near_losers, share.seen_losers),
    ):
        places = np.flatnonzero(side)
        if len(places) < sampled + near + seen or (near and not len(votes.margins)):
            raise InvalidInput(
                f"The cache has {won.sum()} winners, {(~won).sum()} losers and "
                f"{len(votes.margins)} margins, which is less than is to be replayed: {share}"
            )
        places, last = places[: len(places) - seen], places[len(places) - seen :]
        chosen[last] = WHOLE
        if near:
            places = places[np.argsort(votes.margins[places], kind="stable")]
            chosen[places[:near]] = WHOLE
            places = places[near:]
            shuffle = words(seed, index, Stream.SUBSET, int(side is won), len(places))
            places = places[np.argsort(shuffle, kind="stable")]
        chosen[places[:sampled]] = SAMPLED
    return chosen


def evaluated(parts: NDArray[np.int32]) -> NDArray[np.int64]:
    """The cached draws that roles ask to replay, in order."""
    return np.flatnonzero(parts).astype(np.int64)


def votes_of(
    labels: NDArray[np.int32], parts: NDArray[np.int32], original: Votes, share: Share
) -> Votes:
    """The record of an input's evaluations, with as much of the cache as tells which they were."""
    if share.how is How.FRESH:
        return Votes(fresh=labels)
    replayed = evaluated(parts)
    last = int(replayed[-1]) + 1 if len(replayed) else 0
    return Votes(original=original.estimation[:last], roles=parts[:last], estimation=labels)


@dataclass(frozen=True)
class Tally:
    """Counts by role (SAMPLED, WHOLE) and side (winners, losers): each of shape (2, 2).

    Attributes:
        hits: replayed draws to which the new classifier gives the class.
        replayed: replayed draws.
    """

    hits: NDArray[np.int64]
    replayed: NDArray[np.int64]

    @staticmethod
    def of(votes: Votes, candidate: int) -> "Tally":
        """Count an input's votes."""
        part = votes.roles[votes.roles > 0]
        won = votes.original[votes.roles > 0] == candidate
        hit = votes.estimation == candidate
        cells = [[(part == r) & (won == w) for w in (True, False)] for r in (SAMPLED, WHOLE)]
        hits = np.array([[(cell & hit).sum() for cell in row] for row in cells])
        return Tally(hits, np.array([[cell.sum() for cell in row] for row in cells]))


def _limit(cached: Cached, votes: Votes, how: How, reuse: Reuse, tally: Tally) -> float:
    """The lower limit of the class's probability under the sampled noise."""
    if how is How.FRESH:
        hits = int((votes.fresh == cached.candidate).sum())
        return float(binomial.lower(hits, len(votes.fresh), reuse.fresh_alpha))
    if how is How.JOINT:
        m = int(tally.replayed[0, 0])
        flips = m - int(tally.hits[0, 0])
        return float(joint.lower(cached.k, cached.n, flips, m, reuse.budget))
    if how is How.STRATIFIED:
        strata = strata_of(tally, np.array([cached.k, cached.n - cached.k]))
        return float(stratified.lower(*strata, cached.n, reuse.budget))
    return 0.0


def strata_of(
    tally: Tally, sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(hits, replayed, sizes) of the sampled winners, the sampled losers and all replayed whole.

    Args:
        tally: counts of shape (2, 2), or (2, 2, ...) over many inputs.
        sizes: cached winners and losers, shape (2,) or (2, ...).

    Returns:
        Three arrays whose last axis has the three strata.
    """
    (sampled, whole), (hits, certain) = tally.replayed, tally.hits
    three = (
        np.stack([part[0], part[1], rest.sum(axis=0)], axis=-1)
        for part, rest in ((hits, certain), (sampled, whole), (sizes - whole, whole))
    )
    return next(three), next(three), next(three)


def certificate(
    cached: Cached, votes: Votes, how: How, reuse: Reuse, settings: Settings, shape: tuple[int, ...]
) -> Certificate:
    """The certificate that cache and votes prove."""
    tally = Tally.of(votes, cached.candidate)
    limit = _limit(cached, votes, how, reuse, tally)
    q = difference_below(limit, settings.noise.slack(shape))
    radius = float(settings.radius(q))
    undecided = _spared(cached, reuse) if how is How.NOTHING else Outcome.UNDECIDED
    labels = votes.fresh if how is How.FRESH else votes.estimation
    winners, losers = tally.replayed.sum(axis=0)
    return Certificate(
        index=cached.index,
        content=cached.content,
        method=how.value,
        candidate=cached.candidate,
        outcome=Outcome.CERTIFIED if radius > 0 else undecided,
        radius=radius,
        q=q,
        runner_up=sum_above(1.0, -q),
        k=int((labels == cached.candidate).sum()),
        n=len(labels),
        cached_k=cached.k,
        cached_n=cached.n,
        flips=int(winners - tally.hits[:, 0].sum()),
        losers=int(losers),
        budget=((("fresh draws" if reuse.method == "fresh" else "cache and replay"), reuse.alpha),),
        evaluations=len(labels),
    )


def _spared(cached: Cached, reuse: Reuse) -> Outcome:
    """Why an input got nothing."""
    proven = float(binomial.lower(cached.k, cached.n, reuse.alpha)) > 0.5
    return Outcome.UNSPENT if proven else Outcome.ORIGINAL_ABSTAINED
