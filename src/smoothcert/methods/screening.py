"""The settings of a dataset certificate, and what the cache contributes to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from math import fsum
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds import binomial
from smoothcert.certificate import Certification, check_alpha, check_count
from smoothcert.errors import InvalidInput
from smoothcert.scalars import settle

_FIRST_ROUND = 1 / 16  # of the draws; each later round doubles what has been seen
_FEWEST = 25  # inputs of the smallest group


class Verdict(Enum):
    """Whether a target is proven, as a sentence."""

    ACCEPTED = "Proven: the certified accuracy at the target's radius is at least the target."
    UNREACHABLE = (
        "Stopped early: even without any further flip these settings would not prove the target. "
        "This does not prove that the model misses it."
    )
    UNDECIDED = (
        "Not proven with these evaluations. Unless the model misses the target, more evaluations "
        "per input may prove it, against an original certified with another seed: with this one "
        "it would be a second try."
    )


@dataclass(frozen=True)
class Target:
    """A certified accuracy to be proven at a radius.

    Args:
        radius: l2 radius on the [0, 1] scale, >= 0.
        accuracy: in (0, 1].
    """

    radius: float
    accuracy: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (np.isfinite(self.radius) and self.radius >= 0):
            raise InvalidInput(f"the target's radius must be a number >= 0; got {self.radius}")
        if not 0 < self.accuracy <= 1:
            raise InvalidInput(f"the target's accuracy must be in (0, 1]; got {self.accuracy}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ca@RADIUS>=ACCURACY`.

        Raises:
            InvalidInput: the text has another form, or a value is out of range.
        """
        name, _, rest = text.replace(" ", "").partition("@")
        radius, _, accuracy = rest.partition(">=")
        try:
            values = float(radius), float(accuracy)
        except ValueError:
            values = None
        if name != "ca" or values is None:
            raise InvalidInput(
                f"a target reads like 'ca@0.5>=0.40' (certified accuracy at radius 0.5 of at "
                f"least 0.40); got {text!r}"
            )
        return cls(*values)

    def needed(self, inputs: int) -> Fraction:
        """The number of inputs that must be proven robust, as an exact fraction."""
        return Fraction(repr(self.accuracy)) * inputs


@dataclass(frozen=True)
class Screening:
    """Settings of a dataset certificate.

    Args:
        per_input: replayed draws per eligible input.
        alpha: probability that any statement about any candidate is wrong. Half is for the cached
            limits; the rest is divided over the candidates (docs/theory.md, section 10).
        radii: radii at which certified accuracy is also bounded by evidence per input; they share
            half of a candidate's alpha.
        groups: number of groups of inputs of similar vote share, fewer if they would be tiny.
        target: stop as soon as it is proven, or can no longer be.
        candidates: how many models share the cache.
    """

    per_input: int
    alpha: float = 0.002
    radii: tuple[float, ...] = ()
    groups: int = 4
    target: Target | None = None
    candidates: int = 1

    def __post_init__(self) -> None:
        """Check every field."""
        settle(self, ("per_input", "groups", "candidates"), ("alpha",))
        check_count(self.per_input, "per_input")
        check_count(self.groups, "groups")
        check_count(self.candidates, "candidates")
        check_alpha(self.alpha)
        if not all(np.isfinite(r) and r >= 0 for r in self.radii):
            raise InvalidInput(f"radii must be numbers >= 0; got {self.radii}")

    @property
    def named(self) -> tuple[float, ...]:
        """The radii named in advance, the target's among them, ascending."""
        extra = () if self.target is None else (self.target.radius,)
        return tuple(sorted({float(r) for r in (*self.radii, *extra)}))

    @property
    def rounds(self) -> tuple[int, ...]:
        """Total draws per input after each round; one round if nothing is decided in between."""
        if not self.named:
            return (self.per_input,)
        seen = [self.per_input]
        while seen[-1] > 1 and seen[-1] > _FIRST_ROUND * self.per_input:
            seen.append(seen[-1] // 2)
        return tuple(reversed(seen))

    @property
    def looks(self) -> int:
        """How often the pooled limits may be looked at: after each round if there is a target."""
        return len(self.rounds) if self.target else 1

    @property
    def alpha_cache(self) -> float:
        """The share for the cached limits, common to all candidates."""
        return self.alpha / 2

    @property
    def alpha_curve(self) -> float:
        """One candidate's share for the pooled limits, over all groups and looks."""
        mine = (self.alpha - self.alpha_cache) / self.candidates
        return mine / 2 if self.named else mine

    @property
    def alpha_radius(self) -> float:
        """One candidate's share for each named radius, over all looks."""
        return self.alpha_curve / len(self.named)

    @property
    def budget(self) -> tuple[tuple[str, float], ...]:
        """Each event that could make a statement wrong, with its probability."""
        radii = tuple((f"radius {r:g}", self.alpha_radius) for r in self.named)
        mine = (("cache", self.alpha_cache), ("pooled flips", self.alpha_curve), *radii)
        others = self.alpha - fsum(share for _, share in mine)
        return mine if self.candidates == 1 else (*mine, ("other candidates", others))


@dataclass(frozen=True)
class Pool:
    """What the cache says about the inputs, common to all candidates.

    Attributes:
        sigma, slack: of the noise; see `RoundedGaussian`.
        inputs: size of the data set.
        matching: inputs whose candidate class is their label, chosen on selection draws; the
            cached limits of all of them hold together.
        indices: the eligible inputs: matching, and proven above 1/2.
        k, n: their cached votes.
        off_grid: see `Settings`.
    """

    sigma: float
    slack: float
    inputs: int
    matching: int
    indices: tuple[int, ...]
    k: tuple[int, ...]
    n: tuple[int, ...]
    off_grid: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that would make bounds larger."""
        if not (0 <= self.slack < np.inf and 0 <= self.off_grid < np.inf):
            raise InvalidInput(
                f"slack and off_grid must be numbers >= 0; got {self.slack} and {self.off_grid}"
            )

    @property
    def eligible(self) -> int:
        """The number of inputs that can be proven robust at all."""
        return len(self.indices)

    @classmethod
    def of(cls, base: Certification, labels: Sequence[int], alpha: float) -> Self:
        """Collect the eligible inputs.

        Args:
            base: a certification from scratch.
            labels: the true classes, in its order.
            alpha: error probability of all cached limits together.
        """
        settings = base.settings
        slack = settings.noise.slack(base.shape)
        found = [
            (c.index, c.k, c.n)
            for c, label in zip(base.certificates, labels, strict=True)
            if c.candidate == label
        ]
        facts = (settings.sigma, slack, len(labels), len(found))
        everything = cls(*facts, *_columns(found), off_grid=settings.off_grid)
        kept = [
            row for row, good in zip(found, everything.limits(alpha) > 0.5, strict=True) if good
        ]
        indices, k, n = _columns(kept)
        return replace(everything, indices=indices, k=k, n=n)

    def from_grid_points(self, radii: ArrayLike) -> NDArray[np.float64]:
        """The radii around grid points that these radii around the inputs require, rounded up."""
        radii = np.asarray(radii, float)
        return np.nextafter(radii + self.off_grid, np.inf) if self.off_grid else radii

    def limits(self, alpha: float) -> NDArray[np.float64]:
        """Lower limits l with p' >= l(1 - u) under exact noise wherever l(1 - u) > 1/2."""
        share = alpha / max(1, self.matching)
        # p' >= L(1 - u) - slack, and 1 - u > 1/2 there, so twice the slack may come off L.
        return np.nextafter(binomial.lower(self.k, self.n, share) - 2 * self.slack, 0)

    def blocks(self, groups: int) -> list[NDArray[np.intp]]:
        """Positions of the eligible inputs, in groups of about equal size by vote share."""
        share = np.array(self.k, float) / np.array(self.n, float)
        count = min(groups, max(1, self.eligible // _FEWEST)) if self.eligible else 0
        order = np.argsort(share, kind="stable")
        return np.array_split(order, count) if count else []


def _columns(rows: list[tuple[int, int, int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row[i] for row in rows) for i in range(3))
