"""Recertification by the exact test: a plan from independent draws, then all of alpha.

The plan of an input is a function of its number of cached votes, fixed by selection draws alone, so
that nothing it decides depends on a draw that is counted. Then the limits of docs/theory.md,
section 13, hold with all of alpha.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import Certificate, Outcome, Record, Settings, Votes, check_alpha
from smoothcert.cores import cores
from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.methods.base import (
    NOT_OF_THE_BASE,
    Bound,
    Cached,
    Case,
    Method,
    PlannedMethod,
    RecertifyOptions,
    Stored,
    blank,
    differences,
)
from smoothcert.methods.exact_draws import Replay, answered, replays, request, second_look, votes_of
from smoothcert.methods.replay import spared
from smoothcert.methods.scratch import drawn
from smoothcert.methods.steps import Step, Steps, goes_on, looks_of
from smoothcert.sampling.answers import NO_CLASS
from smoothcert.sampling.sampler import Sampler
from smoothcert.scalars import settle
from smoothcert.vocabulary import AIMED_POLICIES, EXACT_FORMS, EXACT_METHODS


@dataclass(frozen=True)
class Exact(PlannedMethod):
    """Settings of a recertification by the exact test.

    Args:
        policy: how much to spend where, see `planning.Policy`.
        alpha: total error probability per input (docs/theory.md, section 13).
        form: how the other classes are bounded, as in `Settings`.
        pilot: the most inputs on which the pilot is run.
        stages: looks at an input's replays, 1 or 2: the second where the first leaves open whether
            the radius that the policy aims at is proven.
        share: the part of alpha that is spent, where the base's total or the model was chosen when
            certificates had been seen: other totals, or the other words of a search, have the rest.
    """

    kind: ClassVar[str] = "exact"
    verb: ClassVar[str] = "recertify"
    results: ClassVar[tuple[str, ...]] = (Bound.EXACT, Bound.EXACT_FRESH, Bound.NOTHING)
    vote_kinds: ClassVar[tuple[str, ...]] = (
        *("estimation", "original", "fresh", "roles"),
        *("plan", "cached"),
    )
    needs_base: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = EXACT_METHODS
    plan_columns: ClassVar[tuple[str, ...]] = ("winners", "others", "fresh", "steps")
    added: ClassVar[Mapping[str, object]] = {"stages": 1, "share": 1.0}

    policy: str
    alpha: float = 0.002
    form: str = "binary"
    pilot: int = 64
    stages: int = 1
    share: float = 1.0

    @classmethod
    def of(cls, options: RecertifyOptions) -> Self:
        """See `Method`."""
        stages = options.stages or cls.usual_stages(options.policy)
        return cls(options.policy, options.alpha, options.form, stages=stages)

    @staticmethod
    def usual_stages(policy: str) -> int:
        """Two where there is a radius to reach; elsewhere a second look hardly pays."""
        return 2 if policy.startswith(AIMED_POLICIES) else 1

    def __post_init__(self) -> None:
        """Check the fields; the policy's text is checked where it is parsed."""
        settle(self, ("pilot", "stages"), ("alpha", "share"))
        check_alpha(self.alpha)
        if not 0 < self.share <= 1:
            raise InvalidInput(f"share must be in (0, 1]; got {self.share}")
        require_one_of("form", self.form, EXACT_FORMS)
        if not 1 <= self.pilot <= 10**6:
            raise InvalidInput(f"pilot must be from 1 to 10^6 inputs; got {self.pilot}")
        if self.stages not in (1, 2):
            raise InvalidInput(f"stages must be 1 or 2; got {self.stages}")
        if self.stages == 2 and not self.policy.startswith(AIMED_POLICIES):
            raise InvalidInput(
                "Two stages need a policy with a radius to reach, such as retain:0.95 or "
                f"radius:0.25; got {self.policy!r}. Leave stages out, or choose such a policy."
            )

    @property
    def spent(self) -> float:
        """The error probability of each certificate at its base's own total."""
        return self.alpha * self.share

    def reusing(self, base: Method) -> Self:
        """See `Method`."""
        return replace(self, share=base.reuse_share)

    def describe(self, settings: Settings) -> str:
        """See `Method`."""
        stages = "" if self.stages == 1 else ", two stages"
        return f"exact, {self.form}, {self.policy}{stages}, alpha {self.alpha:g}"

    def made(self, settings: Settings) -> str:
        """See `Method`."""
        form = "" if self.form == "binary" else f", form {self.form}"
        return f"recertified (exact, {self.policy}{form}) from an original with {drawn(settings)}"

    def form_of(self, settings: Settings) -> str:
        """See `Method`."""
        return self.form

    def check(self, settings: Settings, shape: tuple[int, ...]) -> None:
        """See `Method`: regions have an entry for each number of cached votes."""
        from smoothcert.bounds.buehler import cached_draws  # loads a compiler, as below

        cached_draws(settings.n)

    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """See `Method`; limits take milliseconds, so all cores find them while draws go on."""
        settings, classes = sampler.settings, sampler.num_classes
        waiting: deque[Future[Record]] = deque()

        def record(asked: Replay, labels: NDArray[np.int32]) -> Record:
            found = votes_of(labels, asked.original, asked.replayed, asked.allocation, classes)
            facts = (self, settings, asked.item.pixels.shape)
            return Record(certificate(asked.cached, found, *facts), found)

        with ThreadPoolExecutor(cores()) as pool:
            for asked, labels in answered(sampler, map(request, cases), self.stages):
                waiting.append(pool.submit(record, asked, labels))
                if len(waiting) > 4 * cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def recheck(self, stored: Stored) -> Certificate:
        """See `Method`."""
        facts = (self, stored.settings, stored.shape)
        return certificate(stored.cached, stored.record.votes, *facts)

    def wrongly_counted(self, stored: Stored) -> Iterator[str]:
        """See `Method`: the plan, and the cached draws that it replays."""
        base, allocation, record = stored.base, stored.allocation, stored.record
        if base is None or allocation is None:
            return
        known, votes = Cached.counted(base.certificate), base.votes
        if stored.cached != known:
            yield NOT_OF_THE_BASE
            return
        if more := second_look(known, allocation, record.votes.estimation):
            allocation = replace(allocation, winners=allocation.winners + more)
        replayed = replays(votes, known.candidate, allocation)
        labels = blank(allocation.fresh or len(np.flatnonzero(replayed)))
        due = votes_of(labels, votes, replayed, allocation, len(record.votes.cached))
        if not np.array_equal(record.votes.plan, due.plan):
            yield "its plan is not the one that was made for it"
        if not np.array_equal(record.votes.cached, due.cached):
            yield "the original's votes for the other classes are not those of the base run"
        yield from differences(record.votes, due)


def certificate(
    cached: Cached, votes: Votes, method: Exact, settings: Settings, shape: tuple[int, ...]
) -> Certificate:
    """The certificate that cache and votes prove.

    Raises:
        InvalidInput: the votes are not those of the plan in them.
    """
    slack, bound = settings.noise.slack(shape), _bound(votes)
    q, runner_up = 0.0, 1.0
    plan = Steps.of(votes.plan.tolist()) if len(votes.plan) else None
    if plan is not None:
        q, runner_up = (_replayed if bound is Bound.EXACT else _fresh)(plan, cached, votes, method)
    several = plan is not None and plan.steps[0].others > 0
    q = difference_below(q, slack)
    rest = sum_above(1.0, -q)
    runner_up = min(rest, sum_above(runner_up, slack)) if several else rest
    radius = float(settings.radius(q, runner_up) if several else settings.radius(q))
    undecided = spared(cached, method.spent) if bound is Bound.NOTHING else Outcome.UNDECIDED
    labels = votes.fresh if bound is Bound.EXACT_FRESH else votes.estimation
    won = votes.original[votes.roles > 0] == cached.candidate
    kept = votes.estimation == cached.candidate
    share = method.spent / 2
    one = (("cache and replay", method.spent),)
    budget = (("candidate", share), ("other classes", share)) if several else one
    if method.share < 1:
        budget = (*budget, ("set aside for others", method.alpha - method.spent))
    return cached.certificate(
        *(labels, radius, undecided),
        method=bound.value,
        q=q,
        runner_up=runner_up,
        flips=int((won & ~kept).sum()),
        losers=int((~won).sum()),
        budget=budget,
    )


def _bound(votes: Votes) -> Bound:
    """What an input's draws went into."""
    if not len(votes.plan):
        return Bound.NOTHING
    return Bound.EXACT_FRESH if len(votes.fresh) else Bound.EXACT


def _replayed(plan: Steps, cached: Cached, votes: Votes, method: Exact) -> tuple[float, float]:
    """Limits of the class's probability from below, and of every other's from above."""
    step, k, n = plan.at(cached.k), cached.k, cached.n
    old, new = votes.original[votes.roles > 0], votes.estimation
    if not step.others:
        looks = looks_of(plan.flat, n)
        sides = old == cached.candidate, new != cached.candidate
        lost = _lost(*sides, k, int(looks.first[k]))
        again = goes_on(looks, k, lost)
        if again:
            lost = _lost(*sides, k, int(looks.first[k] + looks.more[k]))
        return _limit(k, n, lost, plan.flat, method.spent, again), 1.0
    share, counts = method.spent / 2, votes.cached
    classes = max(cached.candidate, int(new.max(initial=NO_CLASS)))
    if counts.sum() > n or len(counts) <= classes or counts[cached.candidate] != k:
        raise InvalidInput(f"The cached votes are {counts!r:.80}, of {n}, with {k} for the class")
    lost = _lost(old == cached.candidate, new != cached.candidate, k, step.winners)
    q = _limit(k, n, lost, Steps((Step(0, step.winners),)).flat, share)
    there = {*np.flatnonzero(counts).tolist(), *new.tolist(), NO_CLASS, cached.candidate}
    absent = (other for other in range(len(counts)) if other not in there)  # one is as another
    pairs = set()
    for other in {*there, next(absent, NO_CLASS)} - {NO_CLASS, cached.candidate}:
        kept = n - int(counts[other])
        pairs.add((kept, _lost(old != other, new == other, kept, step.others)))
    # The limit rises with the first and falls with the second: what is worse in neither is.
    worst = [a for a in pairs if not any(b[0] <= a[0] and b[1] >= a[1] and a != b for b in pairs)]
    others = Steps((Step(0, step.others),)).flat
    return q, sum_above(1.0, -min(_limit(kept, n, x, others, share) for kept, x in worst))


def _lost(won: NDArray[np.bool_], changed: NDArray[np.bool_], cached: int, replayed: int) -> int:
    """How many of the first draws of a kind have changed, where that many were evaluated."""
    first = np.flatnonzero(won)[:replayed]
    if len(first) != min(cached, replayed):
        raise InvalidInput(
            f"{len(first)} cached draws were replayed where the plan has {min(cached, replayed)}"
        )
    return int(changed[first].sum())


def _fresh(plan: Steps, cached: Cached, votes: Votes, method: Exact) -> tuple[float, float]:
    """The same from fresh draws."""
    step, labels = plan.at(cached.k), votes.fresh
    if len(labels) != step.fresh:
        raise InvalidInput(f"{len(labels)} fresh draws where the plan has {step.fresh}")
    hits, share = int((labels == cached.candidate).sum()), method.spent / 2
    if not step.others:
        return _limit(cached.k, cached.n, hits, plan.flat, method.spent), 1.0
    most = np.bincount(labels[(labels != cached.candidate) & (labels != NO_CLASS)], minlength=1)
    q = float(binomial.lower(hits, len(labels), share))
    return q, float(binomial.upper(most.max(), len(labels), share))


@lru_cache(maxsize=4096)
def _limit(
    k: int, n: int, seen: int, plan: tuple[int, ...], alpha: float, again: bool = False
) -> float:
    """The limit of section 13; many inputs share counts and plan."""
    from smoothcert.bounds import exact_stages  # loads a compiler

    return float(exact_stages.lower(k, seen, again, looks_of(plan, n), alpha))
