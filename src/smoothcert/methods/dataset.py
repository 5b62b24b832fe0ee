"""Dataset certificates: what a few replayed draws per input prove about a model's accuracy.

Cached draws of every eligible input are replayed: winners, or in the form `runner-up` draws of all
kinds. Flips, pooled over groups of inputs, bound each group's mean flip rate, and an adversary
places the flips where they hurt most. At radii named in advance, it also matters which inputs
flipped. Everything here is a pure function of counts, so `recheck` repeats it (docs/theory.md,
section 10).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds import adversary
from smoothcert.methods.screening import Pool, Screening, Verdict
from smoothcert.methods.targets import MeanRadius, Target

# The guess of an input's flip rate against which its later draws are tested. Any rule is valid
# that looks only at the cache and at earlier rounds; these constants make it a good one.
_FIRST_RATE = 0.03  # at a vote share of 1/2, before anything is known about the model
_STRENGTH = 50  # how many of the input's own draws weigh as much as its group


@dataclass(frozen=True)
class Group:
    """One group's pooled flips and the upper limit of its mean flip rate."""

    inputs: int
    flips: int
    draws: int
    limit: float


@dataclass(frozen=True)
class Named:
    """What is proven at a radius named in advance: how many inputs are robust there."""

    radius: float
    robust: int


@dataclass(frozen=True)
class DatasetCertificate:
    """What is proven about one model on a labelled data set, with the counts that prove it.

    All statements of all certificates of one screening hold together with probability
    1 - alpha. Certified accuracy is the share of inputs whose smoothed class is the label, at
    every input on the data's grid closer than the radius; the mean radius counts the others as 0.

    Attributes:
        name, fingerprint: the model's name and hash.
        screening, pool: the settings, and what the cache says.
        flips: flips away from the class, and in the form `runner-up` to another class,
            (rounds, eligible), not cumulative.
        groups: pooled flips and limits.
        named: robust inputs at the named radii, by the better of both bounds.
        acr: lower bound of the average certified radius over the data set.
        verdict: whether all targets are proven, if there are any; `verdicts` has each.
    """

    name: str
    fingerprint: str
    screening: Screening
    pool: Pool = field(repr=False)
    flips: tuple[tuple[int, ...], ...] = field(repr=False)
    groups: tuple[Group, ...]
    named: tuple[Named, ...]
    acr: float
    verdict: Verdict | None

    @property
    def verdict_name(self) -> str:
        """The name of the verdict; empty without targets."""
        return "" if self.verdict is None else self.verdict.name

    @property
    def decided(self) -> bool:
        """Whether its targets are decided, so that no more draws are needed."""
        return self.verdict in (Verdict.ACCEPTED, Verdict.UNREACHABLE)

    @property
    def begun(self) -> bool:
        """Whether anything is known of it: a round, or that none could prove its targets."""
        return bool(self.flips) or self.decided

    @property
    def finished(self) -> bool:
        """Whether its targets are decided, or it has all rounds; else the time was over before."""
        return self.decided or len(self.flips) == len(self.screening.rounds)

    @property
    def evaluations(self) -> int:
        """Forward passes of the model that the certificate cost."""
        return sum(group.draws for group in self.groups)

    @property
    def alpha(self) -> float:
        """The total error probability over all candidates together."""
        return self.screening.alpha

    def robust(self, radii: ArrayLike) -> NDArray[np.int64]:
        """Proven number of inputs with the right class and a certified radius above each radius.

        Args:
            radii: any shape, >= 0; the statements hold for all radii together.

        Returns:
            Counts of the same shape.
        """
        radii = np.asarray(radii, float)
        count = _pooled(self.pool, self.screening, self.groups, radii)
        for named in self.named:
            count = np.where(radii <= named.radius, np.maximum(count, named.robust), count)
        return count

    def certified_accuracy(self, radii: ArrayLike) -> NDArray[np.float64]:
        """`robust` at these radii as a share of the data set."""
        return self.robust(radii) / self.pool.inputs

    def to_json(self) -> dict[str, Any]:
        """Plain values: the statements, the budget, and the counts they follow from.

        Of a candidate that was not begun there are no figures.
        """
        grid = np.linspace(0, 4, 33) * self.pool.sigma if self.begun else np.empty(0)
        rounds = {"rounds": len(self.flips), "finished": self.finished}
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "inputs": self.pool.inputs,
            "eligible": self.pool.eligible,
            "evaluations": self.evaluations,
            **(rounds if self.screening.timed or not self.finished else {}),
            "acr": self.acr if self.begun else None,
            "certified_accuracy": [
                {"radius": n.radius, "robust": n.robust, "accuracy": n.robust / self.pool.inputs}
                for n in self.named
                if self.begun
            ],
            "curve": np.stack([grid, self.certified_accuracy(grid)], axis=1).tolist(),
            "verdict": self.verdict_name or None,
            "alpha": self.alpha,
            "budget": dict(self.screening.budget),
            "groups": [asdict(group) for group in self.groups],
            "screening": _without_defaults(self.screening, ("form", "further", "timed")),
            "pool": _without_defaults(self.pool, ("off_grid", "form", "others")),
            "flips": [list(row) for row in self.flips],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "DatasetCertificate":
        """Read back a row that `to_json` made; the curve is recomputed, not read."""
        pool: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in row["pool"].items()
        }
        screening = screening_of(row["screening"])
        flips = tuple(tuple(flips) for flips in row["flips"])
        facts = (row["name"], row["fingerprint"], screening, Pool(**pool), flips)
        if row["acr"] is None:  # it was not begun, and states nothing
            return certificate(*facts)
        return cls(
            *facts,
            tuple(Group(**group) for group in row["groups"]),
            tuple(Named(n["radius"], n["robust"]) for n in row["certified_accuracy"]),
            row["acr"],
            row["verdict"] and Verdict[row["verdict"]],
        )


def screening_of(row: Mapping[str, Any]) -> Screening:
    """Settings as they were written."""
    settings = dict(row)
    target = settings.pop("target")
    further = (
        MeanRadius(**goal) if "least" in goal else Target(**goal)
        for goal in settings.pop("further", ())
    )
    settings["radii"] = tuple(settings["radii"])
    return Screening(**settings, target=target and Target(**target), further=tuple(further))


def _without_defaults(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a dataclass, of these only what earlier versions would not have said."""
    plain = {field.name: field.default for field in fields(value) if field.name in names}
    return {k: v for k, v in asdict(value).items() if k not in plain or v != plain[k]}


def certificate(
    name: str,
    fingerprint: str,
    screening: Screening,
    pool: Pool,
    flips: Sequence[Sequence[int]],
) -> DatasetCertificate:
    """The certificate that these counts prove (docs/theory.md, section 10).

    Args:
        name, fingerprint: the model's name and hash.
        screening, pool: the settings, and what the cache says.
        flips: counts of each finished round, (rounds, eligible).
    """
    counts = np.array(flips, dtype=np.int64).reshape(len(flips), pool.eligible)
    proven = _proven(screening, pool, counts)
    return DatasetCertificate(
        name,
        fingerprint,
        screening,
        pool,
        tuple(tuple(row) for row in counts.tolist()),
        proven.groups,
        proven.named,
        proven.acr,
        _together([verdict for _, verdict in _verdicts(screening, pool, counts, proven)]),
    )


def verdicts(found: DatasetCertificate) -> tuple[tuple[Target | MeanRadius, Verdict], ...]:
    """Each target of a certificate, and whether it is proven."""
    counts = np.array(found.flips, dtype=np.int64).reshape(len(found.flips), found.pool.eligible)
    proven = _Proven(found.groups, found.named, found.acr)
    return _verdicts(found.screening, found.pool, counts, proven)


def recheck(old: DatasetCertificate) -> DatasetCertificate:
    """Recompute a certificate from its counts."""
    return certificate(old.name, old.fingerprint, old.screening, old.pool, old.flips)


def stops_when_due(found: DatasetCertificate) -> bool:
    """Whether it has the rounds that the rule requires: up to the first that decides, or all.

    Fewer only if its settings say that the time may be over after any.
    """
    facts = (found.name, found.fingerprint, found.screening, found.pool)
    for rounds in range(len(found.flips)):
        if certificate(*facts, found.flips[:rounds]).decided:
            return False
    return found.finished or found.screening.timed


def screenings(
    certificates: Iterable[DatasetCertificate],
) -> tuple[tuple[DatasetCertificate, ...], ...]:
    """The certificates of each screening, which hold together at its alpha, without duplicates.

    A screening is identified by its settings, the cached votes of its inputs, and the number of
    candidates that share its alpha. Its certificates hold with probability 1 - alpha, and those of
    several screenings with one minus the sum (docs/theory.md, sections 10 and 11).
    """
    alike: dict[tuple[Screening, Pool], list[DatasetCertificate]] = {}
    for c in dict.fromkeys(certificates):
        alike.setdefault((c.screening, c.pool), []).append(c)
    return tuple(
        tuple(some[first : first + screening.candidates])
        for (screening, _), some in alike.items()
        for first in range(0, len(some), screening.candidates)
    )


def ranked(
    certificates: Iterable[DatasetCertificate], radius: float | None = None
) -> list[DatasetCertificate]:
    """Sort by proven certified accuracy at a radius, or by average radius; the best first."""
    key = (lambda c: c.acr) if radius is None else (lambda c: (int(c.robust(radius)), c.acr))
    return sorted(certificates, key=key, reverse=True)


def _groups(screening: Screening, pool: Pool, counts: NDArray[np.int64]) -> tuple[Group, ...]:
    blocks, total = pool.blocks(screening.groups), counts.sum(axis=0)
    draws = screening.rounds[len(counts) - 1] if len(counts) else 0
    share = screening.alpha_curve / (max(1, len(blocks)) * screening.looks)
    return tuple(
        Group(
            len(block),
            int(total[block].sum()),
            draws * len(block),
            adversary.mean_flip_limit(total[block], draws, share),
        )
        for block in blocks
    )


def _pooled(
    pool: Pool, screening: Screening, groups: tuple[Group, ...], radii: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Robust inputs at each radius by the pooled limits alone."""
    limits, blocks = pool.bounds(screening.alpha_cache), pool.blocks(screening.groups)
    robust, needed = np.full(radii.shape, pool.eligible), pool.from_grid_points(radii)
    for block, group in zip(blocks, groups, strict=True):
        breaking = limits.of(block).breaking_rates(needed)
        robust = robust - adversary.affordable(breaking, group.limit)
    return robust


def _evident(screening: Screening, pool: Pool, counts: NDArray[np.int64]) -> list[int]:
    """Robust inputs at each named radius by the evidence of every input."""
    limits = pool.bounds(screening.alpha_cache)
    breaking = limits.breaking_rates(pool.from_grid_points(screening.named))
    evidence, past, seen = np.zeros(breaking.shape), np.zeros(pool.eligible), 0
    for row, until in zip(counts, screening.rounds, strict=False):
        guesses = _guesses(limits.density, pool.blocks(screening.groups), past, seen)
        evidence += adversary.log_evidence(row, until - seen, guesses, breaking)
        past, seen = past + row, until
    share = screening.alpha_radius if screening.named else 1.0
    return [pool.eligible - adversary.lost_at_most(row, share) for row in evidence]


def _guesses(
    shape: NDArray[Any], blocks: list[NDArray[np.intp]], past: NDArray[Any], seen: int
) -> NDArray[np.float64]:
    """Guess each input's flip rate from the cache and earlier rounds.

    Flips are in proportion to the density of noise at the decision boundary, scaled to the group's
    flips so far and pulled towards the input's own. The guess grows with every flip, so no flips at
    all are the best that can still happen.
    """
    rate = np.empty(len(shape))
    for block in blocks:
        expected = seen * shape[block].sum() + 0.5 / _FIRST_RATE
        rate[block] = (past[block].sum() + 0.5) / expected * shape[block]
    return np.clip((_STRENGTH * rate + past) / (_STRENGTH + seen), 1e-6, 1 - 1e-6)


@dataclass(frozen=True)
class _Proven:
    """What counts prove; see `DatasetCertificate`."""

    groups: tuple[Group, ...]
    named: tuple[Named, ...]
    acr: float

    def reaches(self, target: Target | MeanRadius, inputs: int) -> bool:
        """Whether a target is among it."""
        if isinstance(target, MeanRadius):
            return self.acr >= target.least
        (robust,) = (n.robust for n in self.named if n.radius == target.radius)
        return robust >= target.needed(inputs)


def _proven(screening: Screening, pool: Pool, counts: NDArray[np.int64]) -> _Proven:
    groups = _groups(screening, pool, counts)
    limits, blocks = pool.bounds(screening.alpha_cache), pool.blocks(screening.groups)
    sums = [
        limits.of(block).radius_sum(group.limit)
        for block, group in zip(blocks, groups, strict=True)
    ]
    off_grid = np.nextafter(pool.eligible * pool.off_grid, np.inf) if pool.off_grid else 0.0
    acr = max(0.0, float(np.nextafter(fsum([*sums, -off_grid]) / pool.inputs, 0) * (1 - 1e-15)))
    curve = _pooled(pool, screening, groups, np.array(screening.named))
    evident = _evident(screening, pool, counts)
    pairs = zip(screening.named, curve, evident, strict=True)
    return _Proven(groups, tuple(Named(r, int(max(pair))) for r, *pair in pairs), acr)


def _verdicts(
    screening: Screening, pool: Pool, counts: NDArray[np.int64], proven: _Proven
) -> tuple[tuple[Target | MeanRadius, Verdict], ...]:
    """Each target, and whether it is proven or can still be, if no more flips were to come."""
    open_ = [t for t in screening.targets if not proven.reaches(t, pool.inputs)]
    left, best = len(screening.rounds) - len(counts), proven
    if open_ and left:
        none = np.zeros((left, pool.eligible), np.int64)
        best = _proven(screening, pool, np.concatenate([counts, none]))
    hopeless = [t for t in open_ if left and not best.reaches(t, pool.inputs)]
    rest = Verdict.UNDECIDED
    if left:
        rest = Verdict.STOPPED if hopeless else Verdict.UNFINISHED
    found = dict.fromkeys(screening.targets, Verdict.ACCEPTED) | dict.fromkeys(open_, rest)
    return tuple((found | dict.fromkeys(hopeless, Verdict.UNREACHABLE)).items())


def _together(found: Sequence[Verdict]) -> Verdict | None:
    """Whether all targets are proven; one that cannot be ends it."""
    order = (Verdict.UNREACHABLE, Verdict.UNFINISHED, Verdict.UNDECIDED, Verdict.ACCEPTED)
    return next((verdict for verdict in order if verdict in found), None)
