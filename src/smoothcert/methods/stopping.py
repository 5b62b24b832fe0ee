"""After which draw a radius is proven or excluded, by form (docs/theory.md, section 9).

A test looks at the counts after every draw and at nothing else, so that it does not matter in how
many rounds the draws are evaluated.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds import betting, normal
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput
from smoothcert.methods import scratch
from smoothcert.noise.law import RoundedGaussian
from smoothcert.sampling.answers import NO_CLASS
from smoothcert.vocabulary import EXACT_FORMS

# Relative steps by which Phi(r/sigma) is moved until its quantile is seen to be past r/sigma.
_STEPS = (1e-15, 1e-14, 1e-13, 1e-12)
# Draws whose limits are far from deciding are passed over: by this much, in quantiles.
_FAR = 1e-6
_FORESEEN = 500  # numbers of draws at which a form is tried on what is expected
_AT_ONCE = 32  # draws whose limits are computed together; the first of them mostly decides


@dataclass(frozen=True)
class Tally:
    """The votes after each of some draws; integer arrays of one shape.

    Attributes:
        hits: votes for the class.
        others: votes for the class with most votes but it.
        rival: votes for the one other class that the selection draws name.
        draws: how many draws.
    """

    hits: NDArray[np.int64]
    others: NDArray[np.int64]
    rival: NDArray[np.int64]
    draws: NDArray[np.int64]

    @staticmethod
    def of(labels: NDArray[np.int32], chosen: int, rival: int | None) -> "Tally":
        """After each of the draws with these labels; without a rival, the class's alone."""
        hits, draws = np.cumsum(labels == chosen), np.arange(1, len(labels) + 1)
        if rival is None:
            return Tally(hits, np.zeros_like(hits), np.zeros_like(hits), draws)
        own = np.where((labels == chosen) | (labels == NO_CLASS), 0, _occurrence(labels))
        return Tally(hits, np.maximum.accumulate(own), np.cumsum(labels == rival), draws)

    def __getitem__(self, which: "int | slice | NDArray[np.int64]") -> "Tally":
        """Those of some draws, or of one."""
        some = (self.hits, self.others, self.rival, self.draws)
        return Tally(*(counts[which] for counts in some))


def _occurrence(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """For each draw, how many up to it have its label; without an array of draws by classes."""
    order = np.argsort(labels, kind="stable")
    grouped = labels[order]
    first = np.flatnonzero(np.append(True, grouped[1:] != grouped[:-1])[: len(labels)])
    sizes = np.diff(np.append(first, len(labels)))
    found = np.empty(len(labels), np.int64)
    found[order] = np.arange(len(labels)) - np.repeat(first, sizes) + 1
    return found


@dataclass(frozen=True)
class Seen:
    """The selection votes from which the bets start; none are counted.

    Attributes:
        hits: votes for the class.
        rival: votes for the other class with most of them.
        draws: how many draws.
    """

    hits: int = 0
    rival: int = 0
    draws: int = 0


@dataclass(frozen=True)
class Binary:
    """The class's probability against what the radius takes where all the rest is one class.

    Attributes:
        proves: rejecting this probability of a vote from below proves the radius.
        excludes: rejecting this one from above excludes it.
        alpha: error probability of both together.
        slack: of the noise, see `RoundedGaussian.slack`.
        needed: a float not below the exact probability under exact noise.
        seen: what the bets start from.
    """

    proves: float
    excludes: float
    alpha: float
    slack: float
    needed: float
    seen: Seen = Seen()

    @property
    def budget(self) -> tuple[tuple[str, float], ...]:
        """What could make a decision wrong, as `Certificate.budget`."""
        return (("sequential", self.alpha),)

    def crossings(self, tally: Tally) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """After each of these draws, whether the radius is proven, and whether it is excluded."""
        hits, draws = tally.hits, tally.draws
        seen = self.seen.hits, self.seen.draws
        proven = betting.rejects(hits, draws, self.proves, self.alpha, *seen)
        excluded = betting.rejects(hits, draws, self.excludes, self.alpha, *seen)
        return proven & (hits > draws * self.proves), excluded & (hits < draws * self.excludes)

    def first(self, tally: Tally) -> int | None:
        """The position of the first of these draws that decides; None if none does."""
        decided = np.logical_or(*self.crossings(tally))
        return int(decided.argmax()) if decided.any() else None

    def limits(self, tally: Tally) -> tuple[float, float]:
        """After one draw: the class's lower limit, and the upper limit of every other class."""
        seen = self.seen.hits, self.seen.draws
        limit = float(betting.lower(tally.hits, tally.draws, self.alpha, *seen))
        q = difference_below(limit, self.slack)
        if self.crossings(tally)[0]:
            # What was tested may be above the limit by less than the bisection's last step.
            q = max(q, self.needed)
        return q, sum_above(1.0, -q)


@dataclass(frozen=True)
class RunnerUp:
    """The class and another one, at half of alpha each.

    The radius is proven by the largest upper limit of the other classes, which is at least that of
    the true runner-up; it is excluded by the lower limit of one class, which does not depend on
    the draws.

    Attributes:
        noise: the noise's law.
        slack: of the noise, see `RoundedGaussian.slack`.
        radius: around the grid point, rounded up, which is to be proven.
        below: the same rounded down; excluded is what lies below it.
        alpha: error probability of each of the two decisions.
        seen: what the bets start from: on the class, and alike on every other class as on the one
            that the selection draws name.
    """

    noise: RoundedGaussian
    slack: float
    radius: float
    below: float
    alpha: float
    seen: Seen = Seen()

    @property
    def budget(self) -> tuple[tuple[str, float], ...]:
        """See `Binary`."""
        return (("candidate", self.alpha / 2), ("other classes", self.alpha / 2))

    def lowest(self, tally: Tally) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Limits that prove: of the class from below, of the others from above."""
        seen, half = self.seen, self.alpha / 2
        q = betting.lower(tally.hits, tally.draws, half, seen.hits, seen.draws)
        q = np.maximum(0, np.nextafter(q - self.slack, -inf))
        other = betting.upper(tally.others, tally.draws, half, seen.rival, seen.draws)
        other = np.maximum(other, self._falls_from(tally))
        other = np.nextafter(other + self.slack, inf)
        return q, np.minimum(other, np.minimum(1, np.nextafter(1 - q, inf)))

    def _falls_from(self, tally: Tally) -> NDArray[np.float64]:
        """Above this probability fewer votes for a class are more evidence against it.

        So what the most votes of another class reject, those of every other class do.
        """
        peak = (self.seen.rival + tally.others - 0.5) / np.maximum(1, self.seen.draws + tally.draws)
        return np.minimum(1, np.nextafter(np.maximum(0, peak), inf))

    def highest(self, tally: Tally) -> NDArray[np.float64]:
        """The largest radius, rounded up, that the class can have beside its rival."""
        seen, half = self.seen, self.alpha / 2
        most = betting.upper(tally.hits, tally.draws, half, seen.hits, seen.draws)
        most = np.minimum(1, np.nextafter(most + self.slack, inf))
        rival = betting.lower(tally.rival, tally.draws, half, seen.rival, seen.draws)
        rival = np.maximum(0, np.nextafter(rival - self.slack, -inf))
        apart = normal.quantile_above(most) - normal.quantile_below(rival)
        return np.nextafter(self.noise.sigma * np.nextafter(apart, inf) / 2, inf)

    def crossings(self, tally: Tally) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """See `Binary`."""
        around = self.noise.radius(*self.lowest(tally))
        return (around > 0) & (around >= self.radius), self.highest(tally) < self.below

    def foreseen(self, tally: Tally, margin: float = 0.0) -> tuple[NDArray[np.bool_], ...]:
        """About `crossings`, for less work; with a margin in quantiles, more of them."""
        needed = 2 * self.radius / self.noise.sigma
        counts = (tally.hits, tally.draws - tally.others, tally.draws - tally.hits, tally.rival)
        hits, rival, draws = self.seen.hits, self.seen.rival, self.seen.draws
        seen = np.array([[hits], [draws - rival], [draws - hits], [rival]])
        limits = betting.lower_near(np.stack(counts), tally.draws, self.alpha / 2, seen, draws)
        limits[1] = np.minimum(limits[1], 1 - self._falls_from(tally))
        q, rest, misses, rival = np.maximum(0, limits - self.slack)
        low = special.ndtri(q) - special.ndtri(np.minimum(1 - rest, 1 - q))
        high = special.ndtri(1 - misses) - special.ndtri(rival)
        return low >= needed - margin, high <= needed + margin

    def first(self, tally: Tally) -> int | None:
        """See `Binary`: the limits are computed only where they may decide."""
        maybe = np.flatnonzero(np.logical_or(*self.foreseen(tally, _FAR)))
        for start in range(0, len(maybe), _AT_ONCE):
            some = maybe[start : start + _AT_ONCE]
            decided = np.logical_or(*self.crossings(tally[some]))
            if decided.any():
                return int(some[decided.argmax()])
        return None

    def limits(self, tally: Tally) -> tuple[float, float]:
        """See `Binary`."""
        q, other = self.lowest(tally)
        return float(q), float(other)


Test = Binary | RunnerUp


@dataclass(frozen=True)
class Contest:
    """What the draws of one input decide: fixed by its selection draws.

    Attributes:
        candidate: the class.
        rival: the other class with most selection votes; None where the form asks for none.
        test: of the form.
    """

    candidate: int
    rival: int | None
    test: Test

    def after(self, labels: NDArray[np.int32]) -> Tally:
        """The votes after each of the draws with these labels."""
        return Tally.of(labels, self.candidate, self.rival)

    def total(self, labels: NDArray[np.int32]) -> Tally:
        """The votes after all of these draws."""
        return self.after(labels)[-1] if len(labels) else Tally(*[np.array(0)] * 4)

    def stop(self, labels: NDArray[np.int32], undecided: int = 0) -> int | None:
        """How many of these draws decide, if it is known that the first ones do not."""
        found = self.test.first(self.after(labels)[undecided:])
        return None if found is None else undecided + found + 1


def contest(
    selection: NDArray[np.int32],
    radius: float,
    form: str,
    settings: Settings,
    shape: tuple[int, ...],
    prior: str,
) -> Contest:
    """The contest of an input with these selection votes, in the form binary or runner-up.

    `prior` is what the bets start from, one of `vocabulary.PRIORS`.
    """
    chosen = scratch.candidate(selection)
    rival = _rival(selection, chosen)
    seen = Seen()
    if prior == "selection":
        hits, others = (int((selection == label).sum()) for label in (chosen, rival))
        seen = Seen(hits, others, len(selection))
    if form == "binary":
        return Contest(chosen, None, replace(binary(radius, settings, shape), seen=seen))
    return Contest(chosen, rival, replace(runner_up(radius, settings, shape), seen=seen))


def form_of(
    selection: NDArray[np.int32],
    radius: float,
    settings: Settings,
    shape: tuple[int, ...],
    num_classes: int,
    prior: str,
) -> str:
    """The settings' form, where `auto` is the one that is expected to prove the radius first.

    That is if the draws vote as the selection draws did, with half a vote more for the other
    classes together. Where neither is expected to prove it, it is the runner-up form, in which the
    radius is never smaller, unless n draws cannot prove it in that form.
    """
    if settings.form != "auto" and num_classes > 1:
        return settings.form
    if num_classes < 3:
        return "binary"
    chosen = scratch.candidate(selection)
    votes = scratch.padded(selection, chosen, num_classes)
    shares = votes / max(votes.sum(), len(selection))
    draws = np.unique(np.geomspace(1, settings.n, _FORESEEN).astype(np.int64))
    hits, others = (np.rint(draws * p) for p in (shares[chosen], np.delete(shares, chosen).max()))
    tally = Tally(hits, others, others, draws)
    facts = (settings, shape, prior)
    one, two = (contest(selection, radius, form, *facts).test for form in ("binary", "runner-up"))
    assert isinstance(two, RunnerUp)
    first = one.crossings(tally)[0], two.foreseen(tally)[0]
    when = [int(proven.argmax()) if proven.any() else len(draws) for proven in first]
    sooner = when[0] < len(draws) and when[0] <= when[1]
    return "binary" if sooner or not _provable(two, settings.n) else "runner-up"


def _rival(selection: NDArray[np.int32], chosen: int) -> int:
    """The other class with most votes; of several, the lowest."""
    others = selection[(selection != NO_CLASS) & (selection != chosen)]
    return int(np.bincount(others).argmax()) if len(others) else int(chosen == 0)


def check(radius: float, settings: Settings, shape: tuple[int, ...], prior: str) -> None:
    """Refuse a form without a test, and a radius that n draws cannot prove.

    Not even if all selection votes are for the class too, where the bets start from them.

    Raises:
        InvalidInput: either of these.
    """
    if settings.form not in EXACT_FORMS:
        raise InvalidInput(
            f"Deciding a radius takes the form {', '.join(EXACT_FORMS[:-1])} or {EXACT_FORMS[-1]}; "
            f"got {settings.form!r}. The form runner-up bounds the other classes without dividing "
            "alpha among them."
        )
    test = (runner_up if settings.form == "runner-up" else binary)(radius, settings, shape)
    n, n0 = settings.n, settings.n0
    if prior == "selection":
        test = replace(test, seen=Seen(n0, 0, n0))
    if not _provable(test, n):
        reach = float(settings.radius(*test.limits(_unanimous(n))))
        raise InvalidInput(
            f"radius {radius:g} is out of reach at sigma {settings.sigma:g}: even {n} votes "
            f"for one class in n = {n} draws prove only {reach:.4g}. Ask for a smaller radius, or "
            "raise n or sigma."
        )


@lru_cache(maxsize=16)
def _provable(test: Test, n: int) -> bool:
    """Whether n votes for the class would prove the radius."""
    return bool(test.crossings(_unanimous(n))[0])


def _unanimous(n: int) -> Tally:
    return Tally(*(np.array(count) for count in (n, 0, 0, n)))


@lru_cache(maxsize=16)
def binary(radius: float, settings: Settings, shape: tuple[int, ...]) -> Binary:
    """The radius as probabilities of a vote, rounded outward and moved by the noise's slack."""
    noise = settings.noise
    slack, around = noise.slack(shape), settings.from_grid_point(radius)
    needed = _probability_above(noise, around)
    proves = sum_above(needed, slack)
    excludes = difference_below(_probability_below(noise, around), slack)
    return Binary(proves, excludes, settings.alpha, slack, needed)


@lru_cache(maxsize=16)
def runner_up(radius: float, settings: Settings, shape: tuple[int, ...]) -> RunnerUp:
    """The radius from both sides of what it is around the grid point."""
    noise, off = settings.noise, settings.off_grid
    around = settings.from_grid_point(radius)
    below = float(np.nextafter(radius + off, -inf)) if off else radius
    return RunnerUp(noise, noise.slack(shape), around, below, settings.alpha)


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
