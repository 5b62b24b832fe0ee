"""Frozen values that flow between the layers: settings, votes, certificates, outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from fractions import Fraction
from math import inf
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.noise.law import RoundedGaussian
from smoothcert.scalars import settle
from smoothcert.text import ceil_to, floor_to, level, visible
from smoothcert.tries import Tries
from smoothcert.vocabulary import FORMS, RESULTS

ABSTAIN = -1
"""The predicted class of a certificate that abstains."""

_PROVEN = (
    ", so its probability is at least {q} and the radius at sigma {sigma} is {radius}, wrong with "
    "probability at most {alpha} ({budget}; docs/theory.md, section "
)


class Outcome(Enum):
    """How a certification ended, as a sentence."""

    CERTIFIED = (
        "The smoothed classifier's class is proven at every input on the data's grid that is "
        "closer than the radius."
    )
    UNDECIDED = (
        "Abstained: these votes do not prove the class more likely than all others. Unless the "
        "classifier is truly undecided here, more draws may prove it: with another seed, or by "
        "extend, which sets an error aside for that; with this seed anew it would be a second try."
    )
    UNSPENT = (
        "Abstained: the plan spent nothing here. Another budget or policy is "
        "a second try, which needs draws of its own: a fresh seed, or a certification from "
        "scratch with another seed."
    )
    ORIGINAL_ABSTAINED = (
        "Abstained without evaluations: the original's votes do not prove its class, so there "
        "is nothing to carry over; certify the new model from scratch, with another seed."
    )
    EXCLUDED = (
        "Excluded at this radius: the votes prove the class less likely than the radius requires, "
        "so more samples will not certify it there; this does not prove that an attack exists."
    )

    def __repr__(self) -> str:
        """The name alone."""
        return f"Outcome.{self.name}"


def check_alpha(alpha: float, name: str = "alpha") -> None:
    """Raise InvalidInput unless alpha is an error probability strictly between 0 and 1."""
    if not 0 < alpha < 1:
        raise InvalidInput(
            f"{name} is an error probability between 0 and 1 (0.001 is usual); got {alpha}"
        )


def check_count(value: int, name: str) -> None:
    """Raise InvalidInput unless value is a whole number of draws within the noise's range."""
    if not isinstance(value, int) or not 1 <= value <= 10**9:
        raise InvalidInput(f"{name} must be a whole number from 1 to 10^9; got {value}")


@dataclass(frozen=True)
class Settings:
    """What a certification from scratch claims and how it samples.

    Args:
        sigma: noise standard deviation on the [0, 1] scale.
        levels: grid steps in 1 (255 for 8-bit images); comes from the inputs.
        n0: selection draws, which choose the class.
        n: estimation draws, which prove it; independent of the selection draws.
        alpha: probability of a wrong certificate, per input (docs/theory.md, section 2).
        seed: noise seed, 0..2^64 - 1.
        keep_margins: also keep, in one byte per estimation draw, how close its label was to
            changing, so that a recertification by `stratified` can look there first.
        form: `binary` bounds every other class by 1 - q, with all of alpha on q. `runner-up` spends
            half of alpha on the class and half on the other classes: the bound is that of the one
            with most votes. `auto` takes for each input the one of these two that its selection
            votes let expect the larger radius. `multiclass` is as `runner-up`, but divides the
            second half among the classes, which is not needed.
        off_grid: the largest l2 distance, >= 0, of an input as given from its grid point;
            subtracted from every radius; comes from the inputs, 0 for 8-bit images.

    Raises:
        InvalidInput: a value out of range, or sigma too small or too large for the grid.
    """

    sigma: float
    levels: int = 255
    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    seed: int = 0
    form: str = "binary"
    keep_margins: bool = False
    off_grid: float = 0.0

    def __post_init__(self) -> None:
        """Check every field; sigma is checked against the grid."""
        settle(self, ("levels", "n0", "n", "seed"), ("sigma", "alpha", "off_grid"))
        check_count(self.n0, "n0")
        check_count(self.n, "n")
        check_alpha(self.alpha)
        if not 0 <= self.seed < 2**64:
            raise InvalidInput(f"seed must be a whole number in 0..2^64 - 1; got {self.seed}")
        require_one_of("form", self.form, FORMS)
        if not 0 <= self.off_grid < inf:
            raise InvalidInput(
                "off_grid is the l2 distance from the inputs to their grid, a number >= 0; got "
                f"{self.off_grid}"
            )
        _ = self.noise

    @property
    def noise(self) -> RoundedGaussian:
        """The noise law on the inputs' grid."""
        return RoundedGaussian(self.sigma, Fraction(1, self.levels))

    @property
    def reused_form(self) -> str:
        """The form in which its votes bound a changed model by default, of `EXACT_FORMS`."""
        return "runner-up" if self.form == "multiclass" else self.form

    def radius(self, q: ArrayLike, runner_up: ArrayLike | None = None) -> NDArray[np.float64]:
        """The certified l2 radius around an input as given, rounded down.

        Args:
            q: lower limits of the class's probability, any shape.
            runner_up: upper limits of every other class's probability; 1 - q by default.

        Returns:
            `RoundedGaussian.radius`, which is around the grid point, minus `off_grid`; 0 where
            that is not positive, which means abstain.

        Raises:
            InvalidInput: a limit that is not a probability.
        """
        around_grid_point = self.noise.radius(q, runner_up)
        if not self.off_grid:
            return around_grid_point
        return np.maximum(0.0, np.nextafter(around_grid_point - self.off_grid, -inf))

    def from_grid_point(self, radius: float) -> float:
        """The radius around the grid point that `radius` around the input takes, rounded up."""
        return float(np.nextafter(radius + self.off_grid, inf)) if self.off_grid else radius


def _none() -> NDArray[np.int32]:
    return np.empty(0, dtype=np.int32)


@dataclass(frozen=True, eq=False, repr=False)
class Votes:
    """Labels by draw, int32, in order of draw index from 0; -1 is a vote for no class.

    Attributes:
        selection: the classifier's labels on the selection stream.
        estimation: its labels on the estimation stream.
        original: the original classifier's labels on the estimation draws that were replayed.
        fresh: the classifier's labels on the fresh stream.
        margins: of the estimation draws, where they were kept: 0 (the label is about to change)
            to 254, see `methods.margins.ranked`.
        roles: of the draws in `original`: 0 where the classifier was not evaluated, else their
            role in the bound, see `methods.replay`. Empty means that all were evaluated.
        plan: of the method `exact`, what was to be evaluated at every number of cached votes, see
            `methods.exact.Steps`.
        cached: of the method `exact`, the original's votes for each class among all its
            estimation draws, where a bound needs them.
    """

    selection: NDArray[np.int32] = field(default_factory=_none)
    estimation: NDArray[np.int32] = field(default_factory=_none)
    original: NDArray[np.int32] = field(default_factory=_none)
    fresh: NDArray[np.int32] = field(default_factory=_none)
    margins: NDArray[np.int32] = field(default_factory=_none)
    roles: NDArray[np.int32] = field(default_factory=_none)
    plan: NDArray[np.int32] = field(default_factory=_none)
    cached: NDArray[np.int32] = field(default_factory=_none)

    def __eq__(self, other: object) -> bool:
        """Compare label by label."""
        return isinstance(other, Votes) and all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """How many labels there are of each kind."""
        counts = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        return (
            f"Votes({', '.join(f'{name}: {count:,}' for name, count in counts.items() if count)})"
        )


@dataclass(frozen=True)
class Certificate:
    """What is proven of one input, with the counts that prove it.

    A certificate says that the smoothed classifier gives the certified class to every input on the
    data's grid (for image files: every 8-bit image) that is closer than the radius in ℓ₂ norm. A
    closer input between grid values gets this class, too, if noise is added before anything is
    rounded to the grid; rounding it first can move it beyond the radius. The certificate is wrong
    with probability at most α, for each input on its own.

    Attributes:
        index: the input's index in its data set.
        content: hash of the input's content.
        method: `rs` (from scratch), `irs` (replayed) or `irs-fresh` (resampled); `joint`,
            `stratified`, `fresh` or `nothing`; `exact` or `exact-fresh`; `sequential`.
        candidate: the class chosen on selection draws (the original's, where there is one).
        outcome: how the certification of this input ended.
        radius: l2 radius on the [0, 1] scale around the input as given, rounded down; 0 when
            abstaining.
        q: lower limit of the candidate's probability under exact noise.
        runner_up: upper limit of every other class's probability.
        k: votes for the candidate among n.
        n: estimation (or fresh) draws of this classifier.
        cached_k: the original's votes for the candidate among cached_n.
        cached_n: the original's estimation draws; 0 when certified from scratch.
        flips: for `irs`, replayed draws on which the two labels differ; for the other methods,
            those that the original gave the candidate and this classifier does not.
        zeta: upper limit of the disparity, the probability of such a draw; 0 if unused.
        losers: replayed draws that the original had not given the candidate.
        budget: each event that could make the certificate wrong, with its probability
            (docs/theory.md: sections 2, 3, 7 to 9 and 13, by the method).
        evaluations: forward passes of this classifier that the certificate cost.
    """

    index: int
    content: str
    method: str
    candidate: int
    outcome: Outcome
    radius: float
    q: float
    runner_up: float
    k: int
    n: int
    cached_k: int = 0
    cached_n: int = 0
    flips: int = 0
    zeta: float = 0.0
    losers: int = 0
    budget: tuple[tuple[str, float], ...] = ()
    evaluations: int = 0

    @property
    def predicted(self) -> int:
        """The certified class, or ABSTAIN."""
        return self.candidate if self.outcome is Outcome.CERTIFIED else ABSTAIN

    @property
    def alpha(self) -> float:
        """The proven upper bound on the probability that it is wrong: the sum of the budget."""
        return sum(share for _, share in self.budget)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the outcome by name, the budget as an object."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        return row | {"outcome": self.outcome.name, "budget": dict(self.budget)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read back a row that `to_json` made."""
        values = dict(row)
        values["outcome"] = Outcome[values["outcome"]]
        values["budget"] = tuple(values["budget"].items())
        return cls(**values)

    @property
    def argument(self) -> str:
        """The certificate's own argument in words, with the names of `figures` in braces."""
        if self.outcome in (Outcome.ORIGINAL_ABSTAINED, Outcome.UNSPENT):
            return self.outcome.value
        by = RESULTS[self.method]
        return f"{self.outcome.value} {by.counts}{_PROVEN}{by.section})."

    def figures(self, sigma: float) -> dict[str, str]:
        """Values for `argument`: counts, sigma, and limits and errors rounded to the safe side."""
        counts = ("candidate", "k", "n", "cached_k", "cached_n", "flips")
        return {name: str(getattr(self, name)) for name in counts} | {
            "zeta": ceil_to(self.zeta, 6),
            "q": floor_to(self.q, 6),
            "sigma": f"{sigma:g}",
            "radius": floor_to(self.radius, 6),
            "alpha": level(self.alpha),
            "budget": ", ".join(f"{name} {level(share)}" for name, share in self.budget),
        }

    def explain(self, sigma: float) -> str:
        """The certificate's own argument, in words, with the sigma it was made at."""
        return self.argument.format(**self.figures(sigma))

    def agrees(self, other: "Certificate") -> bool:
        """Whether the other is equal up to last bits, which may differ between SciPy versions."""
        limits = ("radius", "q", "runner_up", "zeta")
        close = all(abs(getattr(self, f) - getattr(other, f)) <= 1e-9 for f in limits)
        return close and self == replace(other, **{f: getattr(self, f) for f in limits})


@dataclass(frozen=True)
class Record:
    """A certificate with the votes behind it."""

    certificate: Certificate
    votes: Votes


@dataclass(frozen=True, eq=False, repr=False)
class Certification:
    """Certificates and votes of one classifier on some inputs; `certify` returns one that can more.

    Attributes:
        settings: of the certification from scratch (of the original, for a recertified model).
        method: None from scratch, else the settings of the method that reused the original.
        model: name of the classifier.
        fingerprint: hash of the classifier.
        num_classes: number of classes.
        shape: shape of one input.
        records: one per input, in the order given.
        pilot_evaluations: spent on planning, in addition to those of the records.
        tries: what `recertify` and `screen` asked of these draws; they add to it, and a run's
            certification starts from the run's ledger. A result chosen among several is not
            covered by its alpha: docs/theory.md, section 6.
        labels: true classes in the order of the records, None where unknown; None if all are.
    """

    settings: Settings
    method: "Any | None"
    model: str
    fingerprint: str
    num_classes: int
    shape: tuple[int, ...]
    records: Sequence[Record]
    pilot_evaluations: int = 0
    tries: Tries = field(default_factory=Tries)
    labels: tuple[int | None, ...] | None = None

    def __repr__(self) -> str:
        """What it is of, and how many inputs are certified; no votes."""
        certified = sum(c.outcome is Outcome.CERTIFIED for c in self.certificates)
        settings, name = self.settings, f"{type(self).__name__}({visible(self.model)}"
        # With a method, n is the original's, or a limit.
        draws = "" if self.method else f", n = {settings.n:,}"
        return (
            f"{name}: {certified:,} of {len(self.records):,} inputs certified at sigma "
            f"{settings.sigma:g}{draws}; {self.evaluations:,} evaluations)"
        )

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates alone."""
        alone = getattr(self.records, "certificates", None)  # those of a run, without its votes
        return tuple(r.certificate for r in self.records) if alone is None else alone

    @property
    def evaluations(self) -> int:
        """Total forward passes, the pilot's included."""
        return self.pilot_evaluations + sum(c.evaluations for c in self.certificates)
