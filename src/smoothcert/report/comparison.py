"""Two models compared on the same inputs: the original and a changed one, or any two."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import paired
from smoothcert.certificate import Certification
from smoothcert.errors import Mismatch
from smoothcert.methods import by_input, method_of
from smoothcert.report.export import Result, labelled, name_of
from smoothcert.runs.manifest import Identity
from smoothcert.runs.store import Run
from smoothcert.scalars import real
from smoothcert.summary import Summary, correct_radii
from smoothcert.text import p_value, visible

_SEEDS = ("fresh_seed",)
"""Fields of methods that say where draws come from, and not what they are for."""


@dataclass(frozen=True)
class Pair:
    """A changed model's run with that of its original, and their summaries."""

    original: Run
    run: Run
    base: Summary
    changed: Summary

    @property
    def form(self) -> str:
        """The original's bound on the other classes, see `Settings`, if the changed model's is
        `binary`; else `binary`, as there is nothing to say."""
        settings = self.run.identity.settings
        plain = self.run.identity.method.form_of(settings) == "binary"
        return settings.form if plain else "binary"


def pairs(runs: Sequence[Run], summaries: Sequence[Summary]) -> tuple[Pair, ...]:
    """Every run whose base is among the runs, paired with its base."""
    both = list(zip(runs, summaries, strict=True))
    known = {run.identity.hash: (run, summary) for run, summary in both}
    based = [(known.get(run.identity.base), run, summary) for run, summary in both]
    return tuple(Pair(b[0], run, b[1], summary) for b, run, summary in based if b)


@dataclass(frozen=True)
class Change:
    """What becomes of certificates at one radius, from the first model to the second.

    Attributes:
        radius: l2 radius on the [0, 1] scale.
        kept: inputs certified of their label at this radius by both.
        lost, gained: by the first alone, by the second alone.
        neither: by none of the two.
        p_value: of McNemar's exact two-sided test; see `Comparison`.
        detectable: the smallest difference of certified accuracy that this many inputs show, with
            the probability `power`, if the share of inputs that change is the one seen here (an
            estimate); None if they show none.
    """

    radius: float
    kept: int
    lost: int
    gained: int
    neither: int
    p_value: float
    detectable: float | None


@dataclass(frozen=True)
class Comparison:
    """Two models on the same inputs.

    The test asks whether both certify the same share of a population that the inputs are a random
    sample of, as they were certified here: with these models, methods, n and alpha. It is one test,
    of a radius and two models that were fixed before the results were seen. Certificates hold with
    their own alpha, whatever it says (docs/theory.md, section 15).

    Attributes:
        first, second: names of the two.
        inputs: their number.
        changes: by radius.
        level, power: at which `detectable` and `detectable_if_lost` are given.
        detectable_if_lost: the smallest loss of certified accuracy that this many inputs show if
            nothing is gained; None if they show none.
        alike: whether both were certified with the same sigma, n0, n, alpha, form and method. If
            not, p-values compare these as well as the models, and no report shows them.
        exact: whether the p-values are those of the theorem. A plan shares out evaluations among
            the inputs, which are then not independent: the p-values are approximate.
    """

    first: str
    second: str
    inputs: int
    changes: tuple[Change, ...]
    level: float
    power: float
    detectable_if_lost: float | None
    alike: bool
    exact: bool


def family(compared: Sequence[Comparison]) -> int:
    """How many tests some comparisons are: one at each radius, of models certified alike."""
    return sum(len(one.changes) for one in compared if one.alike)


def p_of(found: Comparison, change: Change, several: int) -> str:
    """A p-value as reports show it: with a star where it counts, a dash where it says nothing."""
    if not found.alike:
        return "–"
    significant = Fraction(change.p_value) * several <= Fraction(repr(found.level))  # Bonferroni
    return p_value(change.p_value, found.exact) + ("*" if significant else "")


def partners(runs: Sequence[Run]) -> tuple[tuple[Run, Run], ...]:
    """Every run behind its original, or else the first run, if on the same inputs."""
    known = {run.identity.hash: number for number, run in enumerate(runs)}
    found: dict[frozenset[int], tuple[Run, Run]] = {}
    for number, run in enumerate(runs):
        other = known.get(run.identity.base, 0)
        both = frozenset((other, number))
        if len(both) == 2 and both not in found and _inputs(runs[other]) == _inputs(run):
            found[both] = runs[other], run
    return tuple(found.values())


def comparisons(runs: Sequence[Run], radii: Sequence[float]) -> tuple[Comparison, ...]:
    """Comparisons of the partners among the runs."""
    return tuple(compare(first, second, radii) for first, second in partners(runs))


def compare(
    first: Result,
    second: Result,
    radii: Sequence[float] = (0.0, 0.25, 0.5),
    *,
    labels: Sequence[int | None] | None = None,
    power: float = paired.POWER,
    level: float = paired.LEVEL,
) -> Comparison:
    """Compare two models on the same inputs: certificates kept, lost and gained, with a p-value.

    Args:
        first, second: finished runs, or what `certify` or `recertify` returned, on the same inputs.
        radii: l2 radii at which to compare, >= 0.
        labels: true classes of the inputs, for results in memory; runs have theirs. None (or a
            None among them) for unknown: then any certificate counts.
        power, level: with which a difference shall be found, and of the test; both in (0, 1).

    Returns:
        The comparison.

    Raises:
        Mismatch: other inputs, or the same in another order.
        StoreError: a run is unfinished or damaged.
        InvalidInput: labels that do not match, or a number out of range.

    Source: docs/theory.md, section 15.

    Examples:
        >>> found = smoothcert.compare(smoothcert.load("runs/base"), smoothcert.load("runs/int8"))
        >>> kept = [change.kept for change in found.changes]
    """
    both = [labelled(result, labels) for result in (first, second)]
    inputs = [[(c.index, c.content) for c, _ in pairs] for pairs in both]
    if inputs[0] != inputs[1]:
        shared = len(set(inputs[0]) & set(inputs[1]))
        raise Mismatch(
            "Models are compared on the same inputs, in the same order; got "
            f"{len(inputs[0])} and {len(inputs[1])} inputs, of which {shared} are the same. "
            "Certify both on the same data, with the same --split, --limit and --every."
        )
    known = _known(*([label for _, label in pairs] for pairs in both))
    before, after = (correct_radii([c for c, _ in pairs], known) for pairs in both)
    least = paired.detectable(len(known), None, level, power)
    at = [float(real(radius, "a radius")) for radius in radii]
    changes = [_change(r, before >= r, after >= r, level, power) for r in at]
    return Comparison(
        *(visible(name_of(result)) for result in (first, second)),
        inputs=len(known),
        changes=tuple(changes),
        level=level,
        power=power,
        detectable_if_lost=least,
        alike=_terms(first) == _terms(second),
        exact=all(by_input(_made(result).method) for result in (first, second)),
    )


def _change(
    radius: float, before: NDArray[np.bool_], after: NDArray[np.bool_], level: float, power: float
) -> Change:
    """What became of certificates, from where they are before and after."""
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    found = paired.detectable(len(before), (lost + gained) / len(before), level, power)
    counts = int((before & after).sum()), lost, gained, int((~before & ~after).sum())
    return Change(radius, *counts, paired.mcnemar(lost, gained), found)


def _inputs(run: Run) -> tuple[object, ...]:
    """What two runs on the same inputs have in common."""
    return run.identity.indices, run.contents, run.labels


def _made(result: Result) -> Identity | Certification:
    """What has the settings and the method of a result."""
    return result.identity if isinstance(result, Run) else result


def _terms(result: Result) -> tuple[object, ...]:
    """How a model was certified, whatever the noise: fields of its settings and of its method."""
    s, method = _made(result).settings, method_of(_made(result).method)
    own = [(f.name, getattr(method, f.name)) for f in fields(method) if f.name not in _SEEDS]
    return s.sigma, s.n0, s.n, s.alpha, s.form, type(method), method.is_fresh, own


def _known(first: Sequence[int | None], second: Sequence[int | None]) -> list[int | None]:
    """The true classes that either knows."""
    pairs = list(zip(first, second, strict=True))
    differ = sum(None not in pair and pair[0] != pair[1] for pair in pairs)
    if differ:
        raise Mismatch(
            f"{differ} of {len(pairs)} inputs have another true class in the second result than in "
            "the first. Certify both on the same data, with the same labels."
        )
    return [one if one is not None else two for one, two in pairs]
