"""Recertification beyond the paper: replayed winners and losers of the cache, or fresh draws.

Each input gets an `Allocation`: which draws to evaluate, decided from the cache (and a pilot on
other draws) before any of them is seen. All allocations of a method use one conditional error
budget, so they can be chosen input by input without loss of confidence (docs/theory.md, sections 7
and 8).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial, joint, stratified
from smoothcert.bounds.budget import Budget
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import Certificate, Outcome, Record, Settings, Votes, check_alpha
from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.methods.base import (
    NOT_OF_THE_BASE,
    Allocation,
    Bound,
    Cached,
    Case,
    PlannedMethod,
    RecertifyOptions,
    Stored,
    blank,
    differences,
)
from smoothcert.methods.scratch import drawn
from smoothcert.noise.law import Stream, words
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler
from smoothcert.scalars import settle
from smoothcert.vocabulary import REPLAY_METHODS

FLOOR = 0.65
"""The ratio of the budget's floor to alpha. A higher floor helps where p is near 1, a lower one at
small m and p near 0.8: see docs/theory.md, section 7."""

_STORED = ("auto", *REPLAY_METHODS)  # `auto` chose among these before the exact test

SAMPLED, WHOLE = 1, 2
"""Roles of a replayed draw: of a stratum's sample, or of a stratum replayed whole."""


@dataclass(frozen=True)
class Reuse(PlannedMethod):
    """Settings of a planned recertification.

    Args:
        policy: how much to spend where, see `planning.Policy`.
        method: `joint` (only winners in the joint bound, or fresh draws, chosen per input),
            `stratified` (samples of strata), `auto` (as `joint`, but from a tenth of the cached
            draws on strata or fresh draws) or `fresh` (nothing is replayed: for a model that
            was chosen by its result on this cache).
        alpha: total error probability per input (docs/theory.md, sections 7 and 8).
        pilot: number of inputs on which the pilot is run.
        fresh_seed: for `fresh`, a noise seed that nothing was drawn from before.
    """

    kind: ClassVar[str] = "reuse"
    verb: ClassVar[str] = "recertify"
    results: ClassVar[tuple[str, ...]] = (
        *(Bound.NOTHING, Bound.JOINT, Bound.STRATIFIED, Bound.FRESH),
    )
    vote_kinds: ClassVar[tuple[str, ...]] = ("estimation", "original", "fresh", "roles")
    needs_base: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = REPLAY_METHODS
    plan_columns: ClassVar[tuple[str, ...]] = (
        *("winners", "losers", "fresh", "near_winners", "near_losers"),
        *("seen_winners", "seen_losers"),
    )

    policy: str
    method: str = "auto"
    alpha: float = 0.002
    pilot: int = 64
    fresh_seed: int | None = None

    @classmethod
    def of(cls, options: RecertifyOptions) -> Self:
        """See `Method`."""
        return cls(options.policy, options.method, options.alpha)

    def __post_init__(self) -> None:
        """Check the fields; the policy's text is checked where it is parsed."""
        settle(self, ("pilot",), ("alpha",))
        if self.fresh_seed is not None:
            settle(self, ("fresh_seed",))
        check_alpha(self.alpha)
        require_one_of("method", self.method, _STORED)
        if not 1 <= self.pilot <= 10**6:
            raise InvalidInput(f"pilot must be from 1 to 10^6 inputs; got {self.pilot}")
        if (self.fresh_seed is None) == (self.method == "fresh"):
            raise InvalidInput(
                "The method 'fresh' needs a fresh_seed, and no other method takes one; got "
                f"method {self.method!r} and fresh_seed {self.fresh_seed}"
            )

    @cached_property
    def budget(self) -> Budget:
        """The error budget that all allocations share."""
        return Budget(self.alpha, floor=FLOOR * self.alpha, cells=32)

    @property
    def fresh_alpha(self) -> float:
        """The error of fresh draws: the whole alpha if nothing else could have been chosen."""
        return self.alpha if self.method == "fresh" else self.budget.lowest

    def seed(self, settings: Settings) -> int:
        """The noise seed of everything evaluated after the pilot."""
        return settings.seed if self.fresh_seed is None else self.fresh_seed

    @property
    def is_fresh(self) -> bool:
        """See `Method`."""
        return self.fresh_seed is not None

    def describe(self, settings: Settings) -> str:
        """See `Method`."""
        fresh = "" if self.fresh_seed is None else f" seed {self.fresh_seed}"
        return f"{self.method}{fresh}, {self.policy}, alpha {self.alpha:g}"

    def made(self, settings: Settings) -> str:
        """See `Method`."""
        how = f"{self.method}, {self.policy}"
        return f"recertified ({how}) from an original with {drawn(settings)}"

    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """See `Method`."""
        settings = sampler.settings
        requests = (_request(case, settings) for case in cases)
        for asked, labels in sampler.labels(requests, self.seed(settings)):
            found = votes_of(labels, asked.parts, asked.original, asked.allocation)
            facts = (asked.allocation.bound, self, settings, asked.item.pixels.shape)
            yield Record(certificate(asked.cached, found, *facts), found)

    def recheck(self, stored: Stored) -> Certificate:
        """See `Method`."""
        votes, bound = stored.record.votes, Bound(stored.record.certificate.method)
        return certificate(stored.cached, votes, bound, self, stored.settings, stored.shape)

    def wrongly_counted(self, stored: Stored) -> Iterator[str]:
        """See `Method`: the bound and the roles of cached draws, by the plan."""
        base, allocation, record = stored.base, stored.allocation, stored.record
        if base is None or allocation is None:
            return
        known, votes = Cached.counted(base.certificate), base.votes
        if stored.cached != known:
            yield NOT_OF_THE_BASE
            return
        try:
            parts = roles(votes, known.candidate, allocation, stored.settings.seed, known.index)
        except InvalidInput as error:
            yield f"its draws cannot be those of a plan: {error}"
            return
        if (method := record.certificate.method) != allocation.bound:
            yield f"its method is {method}, but the plan says {allocation.bound}"
        size = len(evaluated(parts)) if allocation.bound is not Bound.FRESH else allocation.fresh
        yield from differences(record.votes, votes_of(blank(size), parts, votes, allocation))


@dataclass(frozen=True)
class _Replay(Request):
    """The draws of one input, with what its certificate needs from cache and plan."""

    cached: Cached
    original: Votes
    allocation: Allocation
    parts: NDArray[np.int32]


def _request(case: Case, settings: Settings) -> _Replay:
    """The request for the draws that a plan gives an input."""
    assert case.cached is not None and case.allocation is not None
    item, votes, allocation = case.item, case.cached.votes, case.allocation
    cached = Cached.of(item, case.cached)
    parts = roles(votes, cached.candidate, allocation, settings.seed, item.index)
    wanted = (Stream.ESTIMATION, evaluated(parts))
    if allocation.bound is Bound.FRESH:
        wanted = (Stream.FRESH, range(allocation.fresh))
    return _Replay(item, *wanted, cached, votes, allocation, parts)


def roles(
    votes: Votes, candidate: int, allocation: Allocation, seed: int, index: int
) -> NDArray[np.int32]:
    """The role of each cached draw in an allocation: 0, SAMPLED or WHOLE.

    A sample is the first draws by index, which are as good as random ones as long as the stratum
    is defined by the labels alone. Next to strata by margin, whose ties are broken by index, the
    sample is random, from words of a separate stream.

    Returns:
        int32 array, as long as the cache.

    Raises:
        InvalidInput: the cache has fewer draws than that.
    """
    chosen = np.zeros(len(votes.estimation), dtype=np.int32)
    won = votes.estimation == candidate
    for side, sampled, near, seen in (
        (won, allocation.winners, allocation.near_winners, allocation.seen_winners),
        (~won, allocation.losers, allocation.near_losers, allocation.seen_losers),
    ):
        places = np.flatnonzero(side)
        if len(places) < sampled + near + seen or (near and not len(votes.margins)):
            raise InvalidInput(
                f"The cache has {won.sum()} winners, {(~won).sum()} losers and "
                f"{len(votes.margins)} margins, fewer than are to be replayed: {allocation}"
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
    """The cached draws to replay by their roles, in order."""
    return np.flatnonzero(parts).astype(np.int64)


def votes_of(
    labels: NDArray[np.int32], parts: NDArray[np.int32], original: Votes, allocation: Allocation
) -> Votes:
    """The record of an input's evaluations, with enough of the cache to identify the draws."""
    if allocation.bound is Bound.FRESH:
        return Votes(fresh=labels)
    replayed = evaluated(parts)
    last = int(replayed[-1]) + 1 if len(replayed) else 0
    return Votes(original=original.estimation[:last], roles=parts[:last], estimation=labels)


@dataclass(frozen=True)
class ReplayCounts:
    """Counts by role (SAMPLED, WHOLE) and side (winners, losers): each of shape (2, 2).

    Attributes:
        hits: replayed draws to which the new classifier gives the class.
        replayed: replayed draws.
    """

    hits: NDArray[np.int64]
    replayed: NDArray[np.int64]

    @staticmethod
    def of(votes: Votes, candidate: int) -> "ReplayCounts":
        """Count an input's votes."""
        part = votes.roles[votes.roles > 0]
        won = votes.original[votes.roles > 0] == candidate
        hit = votes.estimation == candidate
        cells = [[(part == r) & (won == w) for w in (True, False)] for r in (SAMPLED, WHOLE)]
        hits = np.array([[(cell & hit).sum() for cell in row] for row in cells])
        return ReplayCounts(hits, np.array([[cell.sum() for cell in row] for row in cells]))


def _limit(cached: Cached, votes: Votes, bound: Bound, reuse: Reuse, tally: ReplayCounts) -> float:
    """The lower limit of the class's probability under the sampled noise."""
    if bound is Bound.FRESH:
        hits = int((votes.fresh == cached.candidate).sum())
        return float(binomial.lower(hits, len(votes.fresh), reuse.fresh_alpha))
    if bound is Bound.JOINT:
        m = int(tally.replayed[0, 0])
        flips = m - int(tally.hits[0, 0])
        return float(joint.lower(cached.k, cached.n, flips, m, reuse.budget))
    if bound is Bound.STRATIFIED:
        strata = strata_of(tally, np.array([cached.k, cached.n - cached.k]))
        return float(stratified.lower(*strata, cached.n, reuse.budget))
    return 0.0


def strata_of(
    tally: ReplayCounts, sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(hits, replayed, sizes) of sampled winners, sampled losers and all draws replayed whole.

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
    cached: Cached,
    votes: Votes,
    bound: Bound,
    reuse: Reuse,
    settings: Settings,
    shape: tuple[int, ...],
) -> Certificate:
    """The certificate that cache and votes prove."""
    tally = ReplayCounts.of(votes, cached.candidate)
    limit = _limit(cached, votes, bound, reuse, tally)
    q = difference_below(limit, settings.noise.slack(shape))
    radius = float(settings.radius(q))
    undecided = spared(cached, reuse.alpha) if bound is Bound.NOTHING else Outcome.UNDECIDED
    labels = votes.fresh if bound is Bound.FRESH else votes.estimation
    winners, losers = tally.replayed.sum(axis=0)
    return cached.certificate(
        *(labels, radius, undecided),
        method=bound.value,
        q=q,
        runner_up=sum_above(1.0, -q),
        flips=int(winners - tally.hits[:, 0].sum()),
        losers=int(losers),
        budget=((("fresh draws" if reuse.method == "fresh" else "cache and replay"), reuse.alpha),),
    )


def spared(cached: Cached, alpha: float) -> Outcome:
    """Why an input got no evaluations."""
    proven = float(binomial.lower(cached.k, cached.n, alpha)) > 0.5
    return Outcome.UNSPENT if proven else Outcome.ORIGINAL_ABSTAINED
