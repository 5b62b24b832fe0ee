"""Which draws the exact test evaluates, in one look or two, and the votes that they become."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Votes
from smoothcert.methods.base import Allocation, Cached, Case
from smoothcert.methods.scratch import counted
from smoothcert.methods.steps import goes_on, looks_of
from smoothcert.noise.law import Stream
from smoothcert.sampling.answers import NO_CLASS
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler

_TOGETHER = 512  # inputs whose second looks are evaluated together


@dataclass(frozen=True)
class Replay(Request):
    """The draws of one input, with what its certificate needs from cache and plan."""

    cached: Cached
    original: Votes
    replayed: NDArray[np.bool_]
    allocation: Allocation


def request(case: Case) -> Replay:
    """The request for the draws that a plan gives an input, those of the first look."""
    assert case.cached is not None and case.allocation is not None
    item, votes, allocation = case.item, case.cached.votes, case.allocation
    cached = Cached.of(item, case.cached)
    replayed = replays(votes, cached.candidate, allocation)
    wanted = (Stream.ESTIMATION, np.flatnonzero(replayed))
    if allocation.fresh:
        wanted = (Stream.FRESH, range(allocation.fresh))
    return Replay(item, *wanted, cached, votes, replayed, allocation)


def answered(
    sampler: Sampler, requests: Iterator[Replay], stages: int
) -> Iterator[tuple[Replay, NDArray[np.int32]]]:
    """Each request with its labels; where there was a second look, both looks as one."""
    if stages == 1:
        yield from sampler.labels(requests)
        return
    while first := list(sampler.labels(islice(requests, _TOGETHER))):
        wholes = [_both_looks(asked, labels) for asked, labels in first]
        more = sampler.labels(
            replace(whole, draws=whole.draws[len(labels) :])
            for whole, (_, labels) in zip(wholes, first, strict=True)
            if whole is not None
        )
        for whole, (asked, labels) in zip(wholes, first, strict=True):
            if whole is None:
                yield asked, labels
            else:
                yield whole, np.concatenate([labels, next(more)[1]])


def _both_looks(asked: Replay, labels: NDArray[np.int32]) -> Replay | None:
    """The request for both looks, if the labels of the first ask for a second."""
    more = second_look(asked.cached, asked.allocation, labels)
    if not more:
        return None
    allocation = replace(asked.allocation, winners=asked.allocation.winners + more)
    replayed = replays(asked.original, asked.cached.candidate, allocation)
    return replace(asked, draws=np.flatnonzero(replayed), replayed=replayed, allocation=allocation)


def second_look(cached: Cached, allocation: Allocation, labels: NDArray[np.int32]) -> int:
    """How many more votes are replayed after the labels of a first look; 0 for no second."""
    if not allocation.steps or allocation.others or allocation.fresh:
        return 0
    plan = looks_of(allocation.steps, cached.n)
    first = int(plan.first[cached.k])
    lost = int((labels[:first] != cached.candidate).sum())
    return int(plan.more[cached.k]) if goes_on(plan, cached.k, lost) else 0


def replays(votes: Votes, candidate: int, allocation: Allocation) -> NDArray[np.bool_]:
    """Which cached draws an allocation replays: of each kind the first ones.

    The first ones by index are as good as random ones, since the labels alone define a kind.

    Returns:
        Array as long as the cache.
    """
    labels = votes.estimation
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.flatnonzero(labels == candidate)[: allocation.winners]] = True
    if allocation.others:
        # For a class without a vote among the first draws, these are its first draws.
        chosen[: allocation.others] = True
        for other in set(labels[: allocation.others].tolist()) - {candidate, NO_CLASS}:
            chosen[np.flatnonzero(labels != other)[: allocation.others]] = True
    return chosen


def votes_of(
    labels: NDArray[np.int32],
    original: Votes,
    replayed: NDArray[np.bool_],
    allocation: Allocation,
    num_classes: int,
) -> Votes:
    """The record of an input's evaluations, with enough of the cache to identify the draws."""
    plan = np.array(allocation.steps, dtype=np.int32)
    if allocation.fresh:
        return Votes(fresh=labels, plan=plan)
    if not len(labels):
        return Votes()
    last = int(np.flatnonzero(replayed)[-1]) + 1
    cached = np.empty(0, dtype=np.int32)
    if allocation.others:
        cached = counted(original.estimation, num_classes).astype(np.int32)
    return Votes(
        original=original.estimation[:last],
        roles=replayed[:last].astype(np.int32),
        estimation=labels,
        plan=plan,
        cached=cached,
    )
