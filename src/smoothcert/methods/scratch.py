"""Randomized smoothing from scratch (Cohen, Rosenfeld & Kolter, ICML 2019, algorithm CERTIFY)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import Certificate, Outcome, Record, Settings, Votes
from smoothcert.data.inputs import Item
from smoothcert.methods.base import Case, Method, Stored
from smoothcert.methods.margins import ranked
from smoothcert.noise.law import Stream
from smoothcert.sampling.answers import CONTEST, LABEL, NO_CLASS
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler


class FromScratch(Method):
    """A method whose selection draws choose the class, and whose estimation draws prove it."""

    verb: ClassVar[str] = "certify"
    results: ClassVar[tuple[str, ...]] = ("rs",)
    vote_kinds: ClassVar[tuple[str, ...]] = ("selection", "estimation")
    reusable: ClassVar[bool] = True

    def draws(self, settings: Settings) -> int:
        """See `Method`."""
        return settings.n0 + settings.n

    def form_of(self, settings: Settings) -> str:
        """See `Method`."""
        return settings.form

    def recheck(self, stored: Stored) -> Certificate:
        """See `Method`."""
        old, votes = stored.record.certificate, stored.record.votes
        facts = (stored.settings, stored.shape, stored.num_classes)
        return certificate(old.index, old.content, votes, *facts)


@dataclass(frozen=True)
class Scratch(FromScratch):
    """n estimation draws of every input."""

    kind: ClassVar[str] = ""
    vote_kinds: ClassVar[tuple[str, ...]] = ("selection", "estimation", "margins")

    def describe(self, settings: Settings) -> str:
        """See `Method`."""
        return f"n {settings.n}, alpha {settings.alpha:g}"

    def made(self, settings: Settings) -> str:
        """See `Method`."""
        return f"certified from scratch with {drawn(settings)}"

    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """See `Method`."""
        settings = sampler.settings
        asked = (request for case in cases for request in requests(case.item, settings))
        answers = sampler.labels(asked, answer=CONTEST if settings.keep_margins else LABEL)
        for (request, selection), (_, estimation) in zip(answers, answers, strict=True):
            item, found = request.item, votes(selection, estimation)
            facts = (settings, item.pixels.shape, sampler.num_classes)
            yield Record(certificate(item.index, item.content, found, *facts), found)

    def wrongly_counted(self, stored: Stored) -> Iterator[str]:
        """See `Method`: numbers of draws."""
        votes, settings = stored.record.votes, stored.settings
        yield from wrong_selection(votes, settings)
        drawn = len(votes.estimation)
        if drawn != settings.n:
            yield f"{drawn} estimation draws are stored instead of {settings.n}"
        if (len(votes.margins) > 0) != settings.keep_margins:
            yield "whether its margins are stored contradicts the run's settings"


def drawn(settings: Settings) -> str:
    """How many draws a certification from scratch takes, in words."""
    return f"{settings.n0} selection and {settings.n} estimation draws"


def wrong_selection(votes: Votes, settings: Settings) -> Iterator[str]:
    """A message if the number of selection draws is not that of the settings."""
    if len(votes.selection) != settings.n0:
        yield f"{len(votes.selection)} selection draws are stored instead of {settings.n0}"


def requests(item: Item, settings: Settings) -> tuple[Request, Request]:
    """Selection draws and, separately, estimation draws."""
    return (
        Request(item, Stream.SELECTION, range(settings.n0)),
        Request(item, Stream.ESTIMATION, range(settings.n)),
    )


def candidate(selection: NDArray[np.int32]) -> int:
    """The top class of the selection votes; of several, the lowest.

    If no draw voted for any class, it is class 0, which the estimation votes then do not prove.
    """
    return int(np.bincount(selection[selection != NO_CLASS], minlength=1).argmax())


def votes(selection: NDArray[Any], estimation: NDArray[Any]) -> Votes:
    """The record of an input's answers; with margins, if the runners-up were kept."""
    if selection.dtype.names is None:
        return Votes(selection=selection, estimation=estimation)
    chosen = selection["label"].copy()
    margins = ranked(estimation, candidate(chosen))
    return Votes(selection=chosen, estimation=estimation["label"].copy(), margins=margins)


def certificate(
    index: int,
    content: str,
    votes: Votes,
    settings: Settings,
    shape: tuple[int, ...],
    num_classes: int,
) -> Certificate:
    """The certificate that these votes prove (docs/theory.md, section 2)."""
    chosen, n = candidate(votes.selection), len(votes.estimation)
    counts = counted(votes.estimation, num_classes)
    form = _form(votes.selection, n, chosen, settings, shape, num_classes)
    q, runner_up = _limits(counts, n, chosen, form, settings, shape)
    radius = _radius(q, runner_up, form, settings)
    undecided = Outcome.UNDECIDED if n else Outcome.UNSPENT
    share = settings.alpha / 2
    budget = (("candidate", share), ("other classes", share))
    return Certificate(
        index=index,
        content=content,
        method="rs",
        candidate=chosen,
        outcome=Outcome.CERTIFIED if radius > 0 else undecided,
        radius=radius,
        q=q,
        runner_up=runner_up,
        k=int(counts[chosen]),
        n=n,
        budget=(("estimation", settings.alpha),) if form == "binary" else budget,
        evaluations=len(votes.selection) + n,
    )


def largest_radius(settings: Settings, shape: tuple[int, ...], num_classes: int) -> float:
    """What n draws prove if all of them agree: no input gets more."""
    counts = np.bincount([0], minlength=num_classes) * settings.n
    facts = (settings, shape)
    form = _form(np.zeros(settings.n0, np.int32), settings.n, 0, *facts, num_classes)
    return _radius(*_limits(counts, settings.n, 0, form, *facts), form, settings)


def radii_of_first(
    votes: Votes,
    counts: NDArray[np.int64],
    settings: Settings,
    shape: tuple[int, ...],
    num_classes: int,
) -> NDArray[np.float64]:
    """The radii that the first estimation draws prove, for several numbers of them.

    The first n draws of a run are a run of n draws, so each radius is that of `certificate` with
    these votes, and holds at the settings' alpha for an n that was fixed beforehand; not for one
    that is chosen by the radii (docs/theory.md, section 15).

    Args:
        votes: of an input that was certified from scratch.
        counts: ascending numbers of estimation draws, shape (m,), from 1 to those there are.
        settings: alpha, sigma, form and grid to certify with.
        shape: shape of one input.
        num_classes: number of classes.

    Returns:
        l2 radii, shape (m,), 0 where these draws do not prove the class. They are those of
        `certificate` up to last bits, and rounded down alike.
    """
    chosen, slack = candidate(votes.selection), settings.noise.slack(shape)
    parts = np.split(votes.estimation[: counts[-1]], counts[:-1])
    so_far = np.cumsum([counted(part, num_classes) for part in parts], axis=0)
    given = (settings, shape, num_classes)
    forms = [_form(votes.selection, int(n), chosen, *given) for n in counts]
    binary = np.array([form == "binary" for form in forms])
    share = np.where(binary, settings.alpha, settings.alpha / 2)
    q = binomial.lower(so_far[:, chosen], counts, share)
    q = np.maximum(0.0, np.nextafter(q - slack, -np.inf))
    if binary.all():
        return settings.radius(q)
    others = np.delete(so_far, chosen, axis=1).max(axis=1)
    share = share / (num_classes - 1 if settings.form == "multiclass" else 1)
    limit = np.minimum(1.0, np.nextafter(binomial.upper(others, counts, share) + slack, np.inf))
    rest = np.minimum(1.0, np.nextafter(1.0 - q, np.inf))
    return np.where(binary, settings.radius(q), settings.radius(q, np.minimum(limit, rest)))


def _radius(q: float, runner_up: float, form: str, settings: Settings) -> float:
    return float(settings.radius(q) if form == "binary" else settings.radius(q, runner_up))


def counted(labels: NDArray[np.int32], num_classes: int) -> NDArray[np.int64]:
    """Votes for each class."""
    return np.bincount(labels[labels != NO_CLASS], minlength=num_classes)


def expected(
    selection: NDArray[np.int32], chosen: int, n: int, num_classes: int
) -> NDArray[np.int64]:
    """The votes for each class that n draws would have by the selection's shares."""
    votes = padded(selection, chosen, num_classes)
    return np.floor(votes * (n / max(votes.sum(), len(selection)))).astype(np.int64)


def padded(selection: NDArray[np.int32], chosen: int, num_classes: int) -> NDArray[np.float64]:
    """Selection votes, and half a vote more for the other classes together.

    So none of them is thought to have none.
    """
    more = np.full(num_classes, 0.5 / (num_classes - 1))
    more[chosen] = 0
    return more + counted(selection, num_classes).astype(float)


def _limits(
    counts: NDArray[np.int64],
    n: int,
    chosen: int,
    form: str,
    settings: Settings,
    shape: tuple[int, ...],
) -> tuple[float, float]:
    """The lower limit of the class, and the upper limit of every other one.

    The largest of the other classes' limits is at least that of the true runner-up, whichever
    class that is, so it fails no more often: there is nothing to divide among the classes. (The
    form `multiclass` divides, as it always did.) docs/theory.md, section 2.
    """
    slack, k, others = settings.noise.slack(shape), int(counts[chosen]), np.delete(counts, chosen)
    if form == "binary":
        q = difference_below(float(binomial.lower(k, n, settings.alpha)), slack)
        return q, sum_above(1.0, -q)
    share = settings.alpha / 2
    q = difference_below(float(binomial.lower(k, n, share)), slack)
    parts = len(others) if form == "multiclass" else 1
    limit = sum_above(float(binomial.upper(others.max(), n, share / parts)), slack)
    return q, min(limit, sum_above(1.0, -q))


def _form(
    selection: NDArray[np.int32],
    n: int,
    chosen: int,
    settings: Settings,
    shape: tuple[int, ...],
    num_classes: int,
) -> str:
    """The settings' form, where `auto` is the one that the selection draws let expect more of."""
    if settings.form != "auto" and num_classes > 1:
        return settings.form
    if num_classes < 3:
        return "binary"
    given = (expected(selection, chosen, n, num_classes), n, chosen)
    binary, other = (_limits(*given, form, settings, shape) for form in ("binary", "runner-up"))
    return "runner-up" if settings.radius(*other) > settings.radius(binary[0]) else "binary"
