"""Deciding one radius, stopping as soon as it is proven or excluded (Voracek, NeurIPS 2024).

Confidence sequences of the class's probability, and in the form `runner-up` of other classes' too,
are checked after every draw until they leave what the radius takes on one side (arXiv 2406.17830;
docs/theory.md, section 9). Their bets start from the selection votes. The tests are in `stopping`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Certificate, Outcome, Record, Settings, Votes, check_count
from smoothcert.data.inputs import Item
from smoothcert.errors import InvalidInput
from smoothcert.methods import scratch, stopping
from smoothcert.methods.base import Case, Method, Stored
from smoothcert.noise.law import Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler
from smoothcert.scalars import settle
from smoothcert.vocabulary import PRIORS


@dataclass(frozen=True)
class Decision(Method):
    """Settings of the method, in addition to `Settings`, which has the maximum n and alpha.

    Args:
        radius: the l2 radius to decide, on the [0, 1] scale; 0 decides only the class.
        first: estimation draws evaluated in the first round, 1..10^9.
        growth: the total number of draws grows by this factor (above 1) while undecided. The test
            looks at every draw, so `first` and `growth` do not change a decision, only how many
            evaluations come after it.
        prior: what the bets start from, one of `vocabulary.PRIORS`: the selection votes, or `none`,
            as in runs that do not say.
    """

    kind: ClassVar[str] = "sequential"
    verb: ClassVar[str] = "decide"
    results: ClassVar[tuple[str, ...]] = ("sequential",)
    vote_kinds: ClassVar[tuple[str, ...]] = ("selection", "estimation", "margins")
    added: ClassVar[Mapping[str, object]] = {"prior": "none"}

    radius: float
    first: int = 32
    growth: float = 1.25
    prior: str = "selection"

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
        if self.prior not in PRIORS:
            raise InvalidInput(f"prior must be {' or '.join(PRIORS)}; got {self.prior!r:.60}")

    def look(self, draws: int, n: int) -> int:
        """The total number of draws, at most n, to evaluate next, after `draws`."""
        return min(n, max(self.first, draws + 1, ceil(draws * self.growth)))

    def check(self, settings: Settings, shape: tuple[int, ...]) -> None:
        """See `stopping.check`."""
        stopping.check(self.radius, settings, shape, self.prior)

    def describe(self, settings: Settings) -> str:
        """See `Method`."""
        form = "" if settings.form == "binary" else f", form {settings.form}"
        return f"radius {self.radius:g}, n {settings.n}, alpha {settings.alpha:g}{form}"

    def made(self, settings: Settings) -> str:
        """See `Method`."""
        form = "" if settings.form == "binary" else f", form {settings.form}"
        return f"decided at radius {self.radius:g} with at most {settings.n} draws{form}"

    def draws(self, settings: Settings) -> int:
        """See `Method`: rounds fill batches only if many inputs are in progress at once."""
        return 1

    def form_of(self, settings: Settings) -> str:
        """See `Method`."""
        return settings.form

    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """See `Method`: in rounds over all undecided inputs.

        All inputs are kept until the last is decided: pass them in blocks.
        """
        settings, items = sampler.settings, [case.item for case in cases]
        first = sampler.labels(r for item in items for r in requests(item, self, settings))
        watched = []
        for (asked, selection), (_, estimation) in zip(first, first, strict=True):
            facts = (self, settings, asked.item.pixels.shape, sampler.num_classes)
            watched.append(_Watched(asked.item, _contest(selection, *facts), selection))
            watched[-1].watch(estimation)
        while open_ := [w for w in watched if not w.stopped and w.draws < settings.n]:
            more = (request(w.item, w.draws, self, settings) for w in open_)
            for w, (_, estimation) in zip(open_, sampler.labels(more), strict=True):
                w.watch(estimation)
        for w in watched:
            facts = (w.votes, self, settings, w.item.pixels.shape, sampler.num_classes)
            yield Record(certificate(w.item.index, w.item.content, *facts), w.votes)

    def recheck(self, stored: Stored) -> Certificate:
        """See `Method`."""
        old, votes = stored.record.certificate, stored.record.votes
        facts = (self, stored.settings, stored.shape, stored.num_classes)
        return certificate(old.index, old.content, votes, *facts)

    def wrongly_counted(self, stored: Stored) -> Iterator[str]:
        """See `Method`: numbers of draws, and the stop."""
        votes, settings = stored.record.votes, stored.settings
        yield from scratch.wrong_selection(votes, settings)
        # Whether the form is the one that the rule gives the input is seen by `recheck`.
        form = "binary" if len(stored.record.certificate.budget) == 1 else "runner-up"
        facts = (settings, stored.shape, self.prior)
        contest = stopping.contest(votes.selection, self.radius, form, *facts)
        due = contest.stop(votes.estimation) or settings.n
        if (drawn := len(votes.estimation)) != due:
            yield f"its draws should stop after {due}, where they decide, but {drawn} are stored"


@dataclass
class _Watched:
    """An input and its labels so far."""

    item: Item
    contest: stopping.Contest
    selection: NDArray[np.int32]
    estimation: NDArray[np.int32] = field(default_factory=partial(np.empty, 0, np.int32))
    stopped: bool = False

    @property
    def draws(self) -> int:
        return len(self.estimation)

    def watch(self, labels: NDArray[np.int32]) -> None:
        """Add labels, up to the first that decides."""
        labels, before = np.append(self.estimation, labels), self.draws
        stop = self.contest.stop(labels, before)
        self.stopped = stop is not None
        self.estimation = labels[:stop]

    @property
    def votes(self) -> Votes:
        return Votes(selection=self.selection, estimation=self.estimation)


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
    num_classes: int,
) -> Certificate:
    """The certificate that these votes prove, the estimation votes up to the first that decides.

    Its radius is the requested one, or 0; q and the runner-up's limit are those of the confidence
    sequences there.
    """
    contest = _contest(votes.selection, decision, settings, shape, num_classes)
    labels = votes.estimation[: settings.n]
    n = contest.stop(labels) or len(labels)
    counts = contest.total(labels[:n])
    proven, excluded = (bool(c) for c in contest.test.crossings(counts))
    q, runner_up = contest.test.limits(counts)
    undecided = Outcome.EXCLUDED if excluded else Outcome.UNDECIDED
    return Certificate(
        index=index,
        content=content,
        method="sequential",
        candidate=contest.candidate,
        outcome=Outcome.CERTIFIED if proven else undecided,
        radius=float(decision.radius) if proven else 0.0,
        q=q,
        runner_up=runner_up,
        k=int(counts.hits),
        n=n,
        budget=contest.test.budget,
        evaluations=len(votes.selection) + _evaluated(n, decision, settings.n),
    )


def _contest(
    selection: NDArray[np.int32],
    decision: Decision,
    settings: Settings,
    shape: tuple[int, ...],
    num_classes: int,
) -> stopping.Contest:
    """What the selection draws of an input fix."""
    radius, prior = decision.radius, decision.prior
    form = stopping.form_of(selection, radius, settings, shape, num_classes, prior)
    return stopping.contest(selection, radius, form, settings, shape, prior)


def _evaluated(stopped: int, decision: Decision, n: int) -> int:
    """The draws evaluated up to the round in which the test stopped."""
    drawn = 0
    while drawn < stopped:
        drawn = decision.look(drawn, n)
    return drawn
