"""Recertification beyond the paper: replayed winners and losers of the cache, or fresh draws.

Each input gets a `Share`: which draws to evaluate, decided from the cache (and a pilot on other
draws) before any of them is seen. All shares use one conditional error budget, so they can be
chosen input by input at no cost in confidence (docs/theory.md, sections 7 and 8).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial, joint, stratified
from smoothcert.bounds.budget import Budget
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import Certificate, Outcome, Settings, Votes, check_alpha
from smoothcert.errors import InvalidInput
from smoothcert.methods.irs import Cached
from smoothcert.sampling.engine import Request
from smoothcert.sampling.inputs import Item
from smoothcert.sampling.noise import Stream


class How(StrEnum):
    """What is evaluated for one input."""

    NOTHING = "nothing"
    JOINT = "joint"
    STRATIFIED = "stratified"
    FRESH = "fresh"


METHODS = ("auto", "joint", "stratified")


@dataclass(frozen=True)
class Share:
    """The draws that one input gets.

    Attributes:
        how: the bound that they will go into.
        winners: cached draws to replay that the original gave the class, first by index.
        losers: cached draws to replay that it did not, first by index.
        fresh: draws of the fresh stream.
    """

    how: How
    winners: int = 0
    losers: int = 0
    fresh: int = 0

    @property
    def evaluations(self) -> int:
        """Forward passes of the new classifier."""
        return self.winners + self.losers + self.fresh


@dataclass(frozen=True)
class Reuse:
    """Settings of a planned recertification.

    Args:
        policy: how much to spend where, see `plan.Policy`.
        method: `auto` (chosen per input), `joint` or `stratified`.
        alpha: total error probability per input.
        pilot: inputs on which the pilot is run.
    """

    policy: str
    method: str = "auto"
    alpha: float = 0.002
    pilot: int = 64

    def __post_init__(self) -> None:
        """Check the fields; the policy's text is checked where it is parsed."""
        check_alpha(self.alpha)
        if self.method not in METHODS:
            raise InvalidInput(f"method must be one of {', '.join(METHODS)}; got {self.method!r}")
        if not 1 <= self.pilot <= 10**6:
            raise InvalidInput(f"pilot must be from 1 to 10^6 inputs; got {self.pilot}")

    @property
    def budget(self) -> Budget:
        """The error budget that every share draws on."""
        return Budget(self.alpha, cells=32)


def draws(original: NDArray[np.int32], candidate: int, share: Share) -> NDArray[np.int64]:
    """The cached draws that a share replays: winners, then losers, each by increasing index.

    Raises:
        InvalidInput: the cache does not have so many.
    """
    winners = np.flatnonzero(original == candidate)[: share.winners]
    losers = np.flatnonzero(original != candidate)[: share.losers]
    if len(winners) < share.winners or len(losers) < share.losers:
        raise InvalidInput(
            f"The cache has {len(winners)} winners and {len(losers)} losers; the share asks for "
            f"{share.winners} and {share.losers}."
        )
    return np.concatenate([winners, losers]).astype(np.int64)


def request(item: Item, cached: Cached, original: NDArray[np.int32], share: Share) -> Request:
    """What to evaluate for one input."""
    if share.how is How.FRESH:
        return Request(item, Stream.FRESH, range(share.fresh))
    return Request(item, Stream.ESTIMATION, draws(original, cached.candidate, share))


def votes_of(
    labels: NDArray[np.int32], original: NDArray[np.int32], candidate: int, share: Share
) -> Votes:
    """The record of an input's evaluations, with as much of the cache as tells which they were."""
    if share.how is How.FRESH:
        return Votes(fresh=labels)
    replayed = draws(original, candidate, share)
    last = int(replayed.max()) + 1 if len(replayed) else 0
    return Votes(original=original[:last], estimation=labels)


def certificate(
    cached: Cached, votes: Votes, share: Share, reuse: Reuse, settings: Settings, shape: tuple
) -> Certificate:
    """The certificate that cache and votes prove."""
    budget = reuse.budget
    kept = int((votes.estimation[: share.winners] == cached.candidate).sum())
    gained = int((votes.estimation[share.winners :] == cached.candidate).sum())
    hits, spent = kept + gained, (("cache and replay", reuse.alpha),)
    limit = 0.0
    if share.how is How.JOINT:
        flips = share.winners - kept
        limit = float(joint.lower(cached.k, cached.n, flips, share.winners, budget))
    elif share.how is How.STRATIFIED:
        sizes = (cached.k, cached.n - cached.k)
        replayed = (share.winners, share.losers)
        limit = float(stratified.lower((kept, gained), replayed, sizes, cached.n, budget))
    elif share.how is How.FRESH:
        hits = int((votes.fresh == cached.candidate).sum())
        # Chosen from the cache: its conditional error may be whatever the budget always allows.
        limit = float(binomial.lower(hits, share.fresh, budget.lowest))
    q = difference_below(limit, settings.noise.slack(shape))
    radius = float(settings.noise.radius(q))
    undecided = _spared(cached, reuse) if share.how is How.NOTHING else Outcome.UNDECIDED
    return Certificate(
        index=cached.index,
        content=cached.content,
        method=share.how.value,
        candidate=cached.candidate,
        outcome=Outcome.CERTIFIED if radius > 0 else undecided,
        radius=radius,
        q=q,
        runner_up=sum_above(1.0, -q),
        k=hits,
        n=share.evaluations,
        cached_k=cached.k,
        cached_n=cached.n,
        flips=share.winners - kept,
        losers=share.losers,
        budget=spent,
        evaluations=share.evaluations,
    )


def _spared(cached: Cached, reuse: Reuse) -> Outcome:
    """Why an input got nothing."""
    proven = float(binomial.lower(cached.k, cached.n, reuse.alpha)) > 0.5
    return Outcome.UNSPENT if proven else Outcome.ORIGINAL_ABSTAINED


def share_of(certificate_: Certificate) -> Share:
    """The share that a stored certificate was made with."""
    how = How(certificate_.method)
    if how is How.FRESH:
        return Share(how, fresh=certificate_.n)
    return Share(how, certificate_.n - certificate_.losers, certificate_.losers)
