"""Deciding one radius, stopping as soon as it is proven or excluded (Voracek, NeurIPS 2024).

The certified radius is at least r exactly if the class's probability is at least Phi(r/sigma).
A confidence sequence is checked after every draw until it leaves that threshold on one side
(arXiv 2406.17830; docs/theory.md, section 9).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds import betting, normal
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import Certificate, Outcome, Record, Settings, Votes, check_count
from smoothcert.data.inputs import Item
from smoothcert.errors import InvalidInput
from smoothcert.methods import scratch
from smoothcert.methods.base import Allocation, Case, Method
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler
from smoothcert.scalars import settle

# Relative steps by which Phi(r/sigma) is moved until its quantile is seen to be past r/sigma.
_STEPS = (1e-15, 1e-14, 1e-13, 1e-12)


@dataclass(frozen=True)
class Decision(Method):
    """Settings of the method, in addition to `Settings`, which has the maximum n and alpha.

    Args:
        radius: the l2 radius to decide, on the [0, 1] scale; 0 decides only the class.
        first: estimation draws evaluated in the first round, 1..10^9.
        growth: the total number of draws grows by this factor (above 1) while undecided. The test
            looks at every draw, so `first` and `growth` do not change a decision, only how many
            evaluations come after it.
    """

    kind: ClassVar[str] = "sequential"
    verb: ClassVar[str] = "decide"
    results: ClassVar[tuple[str, ...]] = ("sequential",)
    vote_kinds: ClassVar[tuple[str, ...]] = ("selection", "estimation", "margins")

    radius: float
    first: int = 32
    growth: float = 1.25

    def __post_init__(self) -> None:
        """Check every field."""
        settle(self, ("first",), ("radius", "growth"))
        if not 0 <= self.radius < inf:
            raise InvalidInput(
                f"radius must be a finite l2 radius >= 0 on the [0, 1] scale; got {self.radius}"
            )
        check_count(self.first, "first")
        if not 1 < self.growth < inf:
            raise InvalidInput(f"growth must be a finite factor above 1; got {self.growth}")

    def look(self, draws: int, n: int) -> int:
        """The total number of draws, at most n, to evaluate next, after `draws`."""
        return min(n, max(self.first, draws + 1, ceil(draws * self.growth)))

    def check(self, settings: Settings, shape: tuple[int, ...]) -> None:
        """See `thresholds`."""
        thresholds(self, settings, shape)

    def describe(self, settings: Settings) -> str:
        """See `Method`."""
        return f"radius {self.radius:g}, n {settings.n}, alpha {settings.alpha:g}"

    def made(self, settings: Settings) -> str:
        """See `Method`."""
        return f"decided at radius {self.radius:g} with at most {settings.n} draws"

    def draws(self, settings: Settings) -> int:
        """See `Method`: rounds fill batches only if many inputs are in progress at once."""
        return 1

    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """See `Method`: in rounds over all undecided inputs.

        All inputs are kept until the last is decided: pass them in blocks.
        """
        settings, items = sampler.settings, [case.item for case in cases]
        first = sampler.labels(r for item in items for r in requests(item, self, settings))
        watched = []
        for (asked, selection), (_, estimation) in zip(first, first, strict=True):
            item = asked.item
            tested = thresholds(self, settings, item.pixels.shape)
            watched.append(_Watched(item, tested, selection))
            watched[-1].watch(estimation)
        while open_ := [w for w in watched if not w.stopped and w.draws < settings.n]:
            more = (request(w.item, w.draws, self, settings) for w in open_)
            for w, (_, estimation) in zip(open_, sampler.labels(more), strict=True):
                w.watch(estimation)
        for w in watched:
            facts = (w.votes, self, settings, w.item.pixels.shape)
            yield Record(certificate(w.item.index, w.item.content, *facts), w.votes)

    def recheck(
        self, record: Record, settings: Settings, shape: tuple[int, ...], num_classes: int
    ) -> Certificate:
        """See `Method`."""
        old = record.certificate
        return certificate(old.index, old.content, record.votes, self, settings, shape)

    def wrongly_counted(
        self,
        record: Record,
        cached: Record | None,
        allocation: Allocation | None,
        settings: Settings,
        shape: tuple[int, ...],
    ) -> Iterator[str]:
        """See `Method`: numbers of draws, and the stop."""
        votes = record.votes
        yield from scratch.wrong_selection(votes, settings)
        wins = votes.estimation == scratch.candidate(votes.selection)
        due = thresholds(self, settings, shape).stop(wins) or settings.n
        if (drawn := len(votes.estimation)) != due:
            yield f"its draws should stop after {due}, where they decide, but {drawn} are stored"


@dataclass(frozen=True)
class Thresholds:
    """The thresholds that the draws of one input are tested against.

    Attributes:
        proves: rejecting this probability of a vote from below proves the radius.
        excludes: rejecting this one from above excludes it.
        alpha: error probability of both together.
    """

    proves: float
    excludes: float
    alpha: float

    def crossings(
        self, hits: NDArray[np.int64], draws: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """At each pair of counts, whether the radius is proven, and whether it is excluded."""
        proven = betting.rejects(hits, draws, self.proves, self.alpha)
        excluded = betting.rejects(hits, draws, self.excludes, self.alpha)
        return proven & (hits > draws * self.proves), excluded & (hits < draws * self.excludes)

    def stop(self, wins: NDArray[np.bool_], hits: int = 0, draws: int = 0) -> int | None:
        """How many of these draws decide, after `hits` among `draws`; None if they do not."""
        counts = hits + np.cumsum(wins), draws + np.arange(1, len(wins) + 1)
        decided = np.logical_or(*self.crossings(*counts))
        return int(decided.argmax()) + 1 if decided.any() else None


@dataclass
class _Watched:
    """An input and its labels so far."""

    item: Item
    thresholds: Thresholds
    selection: NDArray[np.int32]
    estimation: list[NDArray[np.int32]] = field(default_factory=list)
    candidate: int = field(init=False)
    hits: int = 0
    draws: int = 0
    stopped: bool = False

    def __post_init__(self) -> None:
        self.candidate = scratch.candidate(self.selection)

    def watch(self, labels: NDArray[np.int32]) -> None:
        """Add labels, up to the first that decides."""
        wins = labels == self.candidate
        stop = self.thresholds.stop(wins, self.hits, self.draws)
        self.stopped = stop is not None
        self.estimation.append(labels[:stop])
        self.hits += int(wins[:stop].sum())
        self.draws += len(labels[:stop])

    @property
    def votes(self) -> Votes:
        return Votes(selection=self.selection, estimation=np.concatenate(self.estimation))


@lru_cache(maxsize=16)
def thresholds(decision: Decision, settings: Settings, shape: tuple[int, ...]) -> Thresholds:
    """The radius as probabilities of a vote, rounded outward and moved by the noise's slack.

    Raises:
        InvalidInput: the form is not binary, or even n votes for one class would not prove
            the radius.
    """
    if settings.form != "binary":
        raise InvalidInput(
            f"Deciding a radius needs the form binary, without a runner-up; got {settings.form!r}"
        )
    noise, n = settings.noise, settings.n
    slack, radius = noise.slack(shape), settings.from_grid_point(decision.radius)
    proves = sum_above(_probability_above(noise, radius), slack)
    if not betting.rejects(n, n, proves, settings.alpha):
        most = float(betting.lower(n, n, settings.alpha))
        reach = float(settings.radius(difference_below(most, slack)))
        raise InvalidInput(
            f"radius {decision.radius:g} is out of reach at sigma {noise.sigma:g}: even {n} votes "
            f"for one class in n = {n} draws prove only {reach:.4g}. Ask for a smaller radius, or "
            "raise n or sigma."
        )
    excludes = difference_below(_probability_below(noise, radius), slack)
    return Thresholds(proves, excludes, settings.alpha)


def requests(item: Item, decision: Decision, settings: Settings) -> tuple[Request, Request]:
    """Selection draws and, separately, the first estimation draws."""
    selection, _ = scratch.requests(item, settings)
    return selection, request(item, 0, decision, settings)


def request(item: Item, drawn: int, decision: Decision, settings: Settings) -> Request:
    """The next estimation draws of an input that `drawn` did not decide."""
    return Request(item, Stream.ESTIMATION, range(drawn, decision.look(drawn, settings.n)))


def certificate(
    index: int,
    content: str,
    votes: Votes,
    decision: Decision,
    settings: Settings,
    shape: tuple[int, ...],
) -> Certificate:
    """The certificate that these votes prove, the estimation votes up to the first that decides.

    Its radius is the requested one, or 0; q is the confidence sequence's lower limit there.
    """
    chosen = scratch.candidate(votes.selection)
    tested = thresholds(decision, settings, shape)
    wins = votes.estimation[: settings.n] == chosen
    n = tested.stop(wins) or len(wins)
    k = int(wins[:n].sum())
    proven, excluded = (bool(c) for c in tested.crossings(np.array(k), np.array(n)))
    limit = float(betting.lower(k, n, settings.alpha))
    q = difference_below(limit, settings.noise.slack(shape))
    if proven:  # what was tested may be above the limit by less than the bisection's last step
        radius = settings.from_grid_point(decision.radius)
        q = max(q, _probability_above(settings.noise, radius))
    undecided = Outcome.EXCLUDED if excluded else Outcome.UNDECIDED
    return Certificate(
        index=index,
        content=content,
        method="sequential",
        candidate=chosen,
        outcome=Outcome.CERTIFIED if proven else undecided,
        radius=float(decision.radius) if proven else 0.0,
        q=q,
        runner_up=sum_above(1.0, -q),
        k=k,
        n=n,
        budget=(("sequential", settings.alpha),),
        evaluations=len(votes.selection) + _evaluated(n, decision, settings.n),
    )


def _evaluated(stopped: int, decision: Decision, n: int) -> int:
    """The draws evaluated up to the round in which the test stopped."""
    drawn = 0
    while drawn < stopped:
        drawn = decision.look(drawn, n)
    return drawn


def _probability_above(noise: RoundedGaussian, radius: float) -> float:
    """A float not below Phi(radius / sigma); 1 if none below 1 can be shown to be."""
    for step in _STEPS:
        p = min(1.0, float(special.ndtr(radius / noise.sigma)) * (1 + step))
        if noise.radius(p) >= radius:  # rounded down itself
            return p
    return 1.0


def _probability_below(noise: RoundedGaussian, radius: float) -> float:
    """A float not above Phi(radius / sigma); 1/2 if none above it can be shown to be."""
    for step in _STEPS:
        p = float(special.ndtr(radius / noise.sigma)) * (1 - step)
        if np.nextafter(noise.sigma * normal.quantile_above(p), inf) <= radius:
            return p
    return 0.5
