"""The settings of a dataset certificate, and what the cache contributes to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from math import fsum
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.bounds import adversary, binomial, runner_up
from smoothcert.certificate import Certification, Record, check_alpha, check_count
from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.methods import scratch
from smoothcert.methods.targets import MeanRadius, Target
from smoothcert.scalars import settle
from smoothcert.vocabulary import EXACT_FORMS

_FIRST_ROUND = 1 / 16  # of the draws; each later round doubles what has been seen
_MOST_CANDIDATES = 2**900  # of a search, 2^length of a code word
_FEWEST = 25  # inputs of the smallest group


class Verdict(Enum):
    """Whether a target is proven, as a sentence; only `ACCEPTED` is true."""

    ACCEPTED = "Proven: the inputs of this data set reach the target."
    UNREACHABLE = (
        "Stopped early: even without any further flip these settings would not prove the target. "
        "This does not prove that the model misses it."
    )
    STOPPED = (
        "Not decided: another target cannot be proven, so the screening stopped. Leave that one "
        "out, against an original certified with another seed: with this one it would be a second "
        "try."
    )
    UNFINISHED = (
        "Not decided when the time was over. The rest of this screening's evaluations may decide "
        "it (`screen --resume`), and are no second try."
    )
    UNDECIDED = (
        "Not proven with these evaluations. Unless the model misses the target, more evaluations "
        "per input may prove it, against an original certified with another seed: with this one "
        "it would be a second try."
    )

    def __bool__(self) -> bool:
        """Whether the target is proven."""
        return self is Verdict.ACCEPTED


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
        further: targets that must be proven too.
        candidates: how many models share the cache.
        form: how the other classes are bounded. `binary` replays draws that voted for the class,
            and bounds each other class by 1 minus the class; `runner-up` replays draws of all kinds
            and bounds the other classes by themselves; `auto` is the one of these two that the
            original's selection votes let expect the larger sum of radii. With two classes all
            are `binary`.
        timed: the time may be over after any round, and what is stated then must hold. So there
            are rounds and looks as with a target, whether or not there is one.
    """

    per_input: int
    alpha: float = 0.002
    radii: tuple[float, ...] = ()
    groups: int = 4
    target: Target | None = None
    candidates: int = 1
    form: str = field(default="binary", repr=False)  # in no `Try` of before, as the next
    further: tuple[Target | MeanRadius, ...] = field(default=(), repr=False)
    timed: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        """Check every field."""
        require_one_of("form", self.form, EXACT_FORMS)
        settle(self, ("per_input", "groups", "candidates"), ("alpha",))
        plain = (t.as_float() if isinstance(t, MeanRadius) else t for t in self.further)
        object.__setattr__(self, "further", tuple(plain))
        check_count(self.per_input, "per_input")
        check_count(self.groups, "groups")
        if not 1 <= self.candidates <= _MOST_CANDIDATES:
            raise InvalidInput(
                f"candidates must be from 1 to 2^900; got {self.candidates!r:.40}. A code word of "
                "more bits leaves no error that can be computed with."
            )
        check_alpha(self.alpha)
        if not isinstance(self.timed, bool):
            raise InvalidInput(f"timed must be true or false; got {self.timed!r}")
        if not all(np.isfinite(r) and r >= 0 for r in self.radii):
            raise InvalidInput(f"radii must be numbers >= 0; got {self.radii}")

    @property
    def targets(self) -> tuple[Target | MeanRadius, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((*((self.target,) if self.target else ()), *self.further)))

    def asking(self, targets: Sequence[Target | MeanRadius]) -> Self:
        """With these targets, all of which must be proven."""
        first = next((target for target in targets if isinstance(target, Target)), None)
        further = tuple(target for target in targets if target is not first)
        return replace(self, target=first, further=further)

    @property
    def named(self) -> tuple[float, ...]:
        """The radii named in advance, the target's among them, ascending."""
        extra = (target.radius for target in self.targets if isinstance(target, Target))
        return tuple(sorted({float(r) for r in (*self.radii, *extra)}))

    @property
    def rounds(self) -> tuple[int, ...]:
        """Total draws per input after each round; one round if nothing is decided in between."""
        if not (self.named or self.targets or self.timed):
            return (self.per_input,)
        seen = [self.per_input]
        while seen[-1] > 1 and seen[-1] > _FIRST_ROUND * self.per_input:
            seen.append(seen[-1] // 2)
        return tuple(reversed(seen))

    @property
    def looks(self) -> int:
        """How often the pooled limits may be looked at: after each round if that may be the last.

        A target may end it there, or the time.
        """
        return len(self.rounds) if self.targets or self.timed else 1

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


@dataclass(frozen=True, eq=False)
class Limits:
    """What is proven of inputs under the original, and what flips of a changed model cost there.

    Attributes:
        sigma: noise standard deviation.
        lower: lower limits of the class's probability, less what the noise's slack may cost.
        upper: upper limits of every other class's, with the slack; None in the form `binary`.
    """

    sigma: float
    lower: NDArray[np.float64]
    upper: NDArray[np.float64] | None = None

    def of(self, block: NDArray[np.intp]) -> "Limits":
        """Those of the inputs at these positions."""
        upper = None if self.upper is None else self.upper[block]
        return Limits(self.sigma, self.lower[block], upper)

    @property
    def density(self) -> NDArray[np.float64]:
        """Of noise where the class ends, in proportion: about where labels change."""
        density = np.exp(-(special.ndtri(self.lower) ** 2) / 2)
        if self.upper is None:
            return density
        return (density + np.exp(-(special.ndtri(self.upper) ** 2) / 2)) / 2

    def breaking_rates(self, radii: ArrayLike) -> NDArray[np.float64]:
        """The least flip rates at which inputs may be lost: (*radii.shape, inputs)."""
        if self.upper is None:
            return adversary.breaking_rates(self.lower, self.sigma, radii)
        return runner_up.breaking_rates(self.lower, self.upper, self.sigma, radii)

    def radius_sum(self, mean_rate: float) -> float:
        """The least sum of radii at a mean flip rate."""
        if self.upper is None:
            return adversary.radius_sum(self.lower, mean_rate, self.sigma)
        return runner_up.radius_sum(self.lower, self.upper, mean_rate, self.sigma)


@dataclass(frozen=True)
class Pool:
    """What the cache says about the inputs, common to all candidates.

    Attributes:
        sigma, slack: of the noise; see `RoundedGaussian`.
        inputs: size of the data set.
        matching: inputs whose candidate class is their label, chosen on selection draws; the
            cached limits of all of them hold together.
        indices: the eligible inputs: matching, and proven above 1/2.
        k, n: their cached votes: for the class, and of all; in the form `runner-up` without the
            draws to be replayed.
        off_grid: see `Settings`.
        form: `binary` or `runner-up`.
        others: votes for the other class with most of them, in the form `runner-up`.
    """

    sigma: float
    slack: float
    inputs: int
    matching: int
    indices: tuple[int, ...]
    k: tuple[int, ...]
    n: tuple[int, ...]
    off_grid: float = 0.0
    form: str = "binary"
    others: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that would make bounds larger."""
        if not (0 <= self.slack < np.inf and 0 <= self.off_grid < np.inf):
            raise InvalidInput(
                f"slack and off_grid must be numbers >= 0; got {self.slack} and {self.off_grid}"
            )
        require_one_of("form", self.form, ("binary", "runner-up"))
        if len(self.others) != (len(self.k) if self.form == "runner-up" else 0):
            raise InvalidInput(
                f"the form {self.form} of {len(self.k)} inputs has counts of other classes for "
                f"{len(self.others)}"
            )
        if any(k + x > n for k, x, n in zip(self.k, self.others, self.n, strict=False)):
            raise InvalidInput("an input has more votes for two classes than votes in all")

    @property
    def eligible(self) -> int:
        """The number of inputs that can be proven robust at all."""
        return len(self.indices)

    @classmethod
    def of(
        cls,
        base: Certification,
        labels: Sequence[int],
        alpha: float,
        form: str = "binary",
        per_input: int = 0,
    ) -> Self:
        """Collect the eligible inputs.

        Args:
            base: a certification from scratch.
            labels: the true classes, in its order.
            alpha: error probability of all cached limits together.
            form: see `Screening`.
            per_input: draws to be replayed: of all kinds, the first, which count for no limit in
                the form `runner-up`. What is replayed must not have chosen the inputs and groups.

        Raises:
            InvalidInput: in the form `runner-up`, no draws are left for the limits.
        """
        settings = base.settings
        # Of a base by plan, inputs with few draws are left out, as the plan did not look at them.
        planned = any(c.n < settings.n for c in base.certificates)
        least = 2 * per_input if planned else 0
        found = [
            record
            for record, label in zip(base.records, labels, strict=True)
            if record.certificate.candidate == label and record.certificate.n >= least
        ]
        slack = settings.noise.slack(base.shape)
        facts = (settings.sigma, slack, len(labels), len(found))
        nothing = cls(*facts, (), (), (), off_grid=settings.off_grid)
        if form == "auto" or base.num_classes < 3:
            form = nothing._better_form(found, base, alpha)
        if form == "binary":
            rows = [(c.index, c.k, c.n, 0) for c in (record.certificate for record in found)]
        elif per_input >= settings.n:
            raise InvalidInput(
                f"The form runner-up replays the first {per_input} cached draws of an input, and "
                f"its limits are of the others; the original has {settings.n} in all. Ask for "
                "fewer per input, or for the form binary."
            )
        else:
            rows = [_row(r, r.votes.estimation[per_input:], base.num_classes) for r in found]
        return nothing._filled(rows, form, alpha)

    def _better_form(self, found: list[Record], base: Certification, alpha: float) -> str:
        """The form with the larger sum of radii at the votes that the selection lets expect."""
        n, classes = base.settings.n, base.num_classes
        if classes < 3:
            return "binary"
        rows = []
        for record in found:
            chosen, selection = record.certificate.candidate, record.votes.selection
            counts = scratch.expected(selection, chosen, n, classes)
            others = int(np.delete(counts, chosen).max())
            rows.append((record.certificate.index, int(counts[chosen]), n, others))
        sums = {
            form: self._filled(rows, form, alpha).bounds(alpha).radius_sum(0.0)
            for form in ("binary", "runner-up")
        }
        return "runner-up" if sums["runner-up"] > sums["binary"] else "binary"

    def _filled(self, rows: list[tuple[int, int, int, int]], form: str, alpha: float) -> Self:
        """With those of these inputs (index, k, n, others) whose class is proven."""
        everything = self._of_rows(rows, form)
        limits = everything.bounds(alpha)
        proven = limits.lower > (0.5 if limits.upper is None else limits.upper)
        return self._of_rows([row for row, good in zip(rows, proven, strict=True) if good], form)

    def _of_rows(self, rows: list[tuple[int, int, int, int]], form: str) -> Self:
        indices, k, n, others = (tuple(row[i] for row in rows) for i in range(4))
        others = others if form == "runner-up" else ()
        return replace(self, indices=indices, k=k, n=n, form=form, others=others)

    def from_grid_points(self, radii: ArrayLike) -> NDArray[np.float64]:
        """The radii around grid points that these radii around the inputs require, rounded up."""
        radii = np.asarray(radii, float)
        return np.nextafter(radii + self.off_grid, np.inf) if self.off_grid else radii

    def bounds(self, alpha: float) -> Limits:
        """What is proven of all eligible inputs under exact noise, together, at alpha."""
        return Limits(self.sigma, self.limits(alpha), self._upper(alpha))

    def limits(self, alpha: float) -> NDArray[np.float64]:
        """Lower limits l under exact noise.

        In the form `binary` p' >= l(1 - u) wherever that is above 1/2, where u is the flip rate;
        in the form `runner-up` p' >= l - w.
        """
        # Binary: p' >= L(1 - u) - slack, and 1 - u > 1/2 there: twice the slack may come off L.
        share, slack = self._share(alpha), (2 if self.form == "binary" else 1) * self.slack
        return np.nextafter(binomial.lower(self.k, self.n, share) - slack, 0)

    def _upper(self, alpha: float) -> NDArray[np.float64] | None:
        """Upper limits b with p'_j <= b + w for every other class, or None."""
        if self.form == "binary":
            return None
        share = self._share(alpha)
        rest = np.nextafter(1 - binomial.lower(self.k, self.n, share), np.inf)
        other = np.minimum(binomial.upper(self.others, self.n, share), rest)
        return np.nextafter(other + self.slack, np.inf)

    def _share(self, alpha: float) -> float:
        """Of each limit: one for each input, or one for its class and one for the others."""
        return alpha / ((1 if self.form == "binary" else 2) * max(1, self.matching))

    def blocks(self, groups: int) -> list[NDArray[np.intp]]:
        """Positions of the eligible inputs, in groups of about equal size by vote share.

        In the form `runner-up` by the difference of the shares.
        """
        ahead = np.array(self.k, float) - np.array(self.others or 0, float)
        count = min(groups, max(1, self.eligible // _FEWEST)) if self.eligible else 0
        order = np.argsort(ahead / np.array(self.n, float), kind="stable")
        return np.array_split(order, count) if count else []


def _row(record: Record, kept: NDArray[np.int32], num_classes: int) -> tuple[int, int, int, int]:
    """Index, votes for the class, draws, and most votes for another class."""
    counts, chosen = scratch.counted(kept, num_classes), record.certificate.candidate
    others = int(np.delete(counts, chosen).max())
    return record.certificate.index, int(counts[chosen]), len(kept), others
