"""Certification by plan: the selection draws of all inputs, and the numbers that follow."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.methods import SCRATCH, Allocation, Bound, Method, Sized, scratch
from smoothcert.noise.law import Stream
from smoothcert.planning import Policy, Sizes
from smoothcert.planning.pilot import PilotVotes
from smoothcert.planning.selection import votes_for
from smoothcert.planning.timed import Timing, counted
from smoothcert.sampling.batches import Request
from smoothcert.sampling.pace import Pace
from smoothcert.sampling.sampler import Sampler


def by_policy(policy: str | None) -> Method:
    """The method that a policy asks for: n draws for every input if there is none.

    Raises:
        InvalidInput: not a policy of a certification from scratch.
    """
    if policy is None:
        return SCRATCH
    Policy.parse(policy, scratch=True)
    return Sized(policy)


def check_budget(method: Method, settings: Settings, inputs: int) -> None:
    """Raise InvalidInput if the selection draws alone would exceed a budget."""
    rule = Policy.parse(method.policy, scratch=True) if isinstance(method, Sized) else None
    if rule is None or rule.kind != "budget":
        return
    total, selection = rule.total(inputs, settings.n0 + settings.n), inputs * settings.n0
    if total <= selection:
        raise InvalidInput(
            f"The budget allows {total:,.0f} evaluations in all, but the selection draws of "
            f"{inputs} inputs alone take {selection:,}. Allow more, or take a smaller n0."
        )


def select(sampler: Sampler, inputs: Inputs, timing: Timing | None = None) -> PilotVotes:
    """Evaluate the selection draws of all inputs; with a timing, also what fits into it.

    Raises:
        InvalidInput: there is too little time for them.
    """
    pace, draws = Pace(sampler.progress), range(sampler.settings.n0)
    total = len(inputs) * len(draws)
    progress = pace if timing is None else timing.selecting(pace, total)
    requests = (Request(item, Stream.SELECTION, draws) for item in inputs)
    labels = tuple(labels for _, labels in replace(sampler, progress=progress).labels(requests))
    budget = None
    if timing is not None:
        long = pace.seconds >= timing.measured
        budget = timing.fits(pace.speed if long else timing.trial(sampler, inputs), total)
        timing.require(budget, total, "selection draws of all inputs")
    return PilotVotes(np.arange(len(inputs)), labels, budget)


def allocations(
    votes: PilotVotes, settings: Settings, method: Sized, num_classes: int
) -> Sequence[Allocation]:
    """The estimation draws of each input.

    Raises:
        ValueError: see `timed.counted`.
    """
    sizes = Sizes(settings, selected(votes), num_classes)
    policy = counted(method, votes.budget).policy
    draws = sizes.plan(Policy.parse(policy, scratch=True)).tolist()
    return tuple(Allocation(Bound.SCRATCH, estimation=n) for n in draws)


def selected(votes: PilotVotes) -> NDArray[np.int64]:
    """Selection votes for the class and for the best other one, shape (inputs, 2)."""
    return np.array([votes_for(labels, scratch.candidate(labels)) for labels in votes.labels])
