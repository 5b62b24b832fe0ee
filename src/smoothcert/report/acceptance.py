"""Whether a run's certificates reach a target, counted exactly, and what that means."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds.together import mean_above, wrong_at_most
from smoothcert.certificate import Certificate, Certification, Outcome
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.methods import alpha_of
from smoothcert.methods.targets import Goal, MeanRadius, Relative, Target, read
from smoothcert.report.claims import all_together
from smoothcert.report.export import Result
from smoothcert.runs.store import Run
from smoothcert.summary import correct_radii, unanimous
from smoothcert.text import ceil_to, floor_to, level, many
from smoothcert.vocabulary import RESULTS

_AGAINST = (
    "A target relative to the original comes from its certificates of the same inputs, each with "
    "its own α. So certificates are compared with certificates: that the accuracy itself fell by "
    "no more is not proven."
)


def check_labels(labels: Sequence[int | None] | None, name: str) -> None:
    """Raise InvalidInput if true classes are unknown: nothing can be called right then."""
    if labels is None or None in labels:
        raise InvalidInput(
            f"{name} has no labels, so no certificate can be called right and nothing can be "
            "accepted. Use data with labels, or leave --accept out."
        )


@dataclass(frozen=True)
class Judgement:
    """Whether a target was reached.

    Attributes:
        accepted: whether it is reached, without any rounding.
        found: what was counted, in words.
        alpha: probability that a single certificate is wrong.
        inputs: how many the run has.
        relative: whether the target is taken of the original's certificates.
        limits: how far the draws, and not the model, keep the target from being reached.
    """

    accepted: bool
    found: str
    alpha: float
    inputs: int
    relative: bool = False
    limits: str = ""

    def __bool__(self) -> bool:
        """Whether the target was reached."""
        return self.accepted

    @property
    def line(self) -> str:
        """The verdict and what was counted; `claims` says what that means."""
        said = "accepted" if self else "not accepted"
        return f"{said}: {self.found}. {self.limits}".strip()

    @property
    def text(self) -> str:
        """What was compared, and what it claims."""
        return in_words([self])


def in_words(judged: Sequence[Judgement]) -> str:
    """A line for each target of a run, and once what they claim; empty without targets."""
    return "\n".join([*(one.line for one in judged), claims(judged)]) if judged else ""


def claims(judged: Sequence[Judgement]) -> str:
    """What judgements about one run claim; empty without any."""
    if not judged:
        return ""
    one = judged[0]
    means = (
        f"Each certificate is wrong with probability at most {level(one.alpha)} on its own. Over "
        f"all inputs and radii, {all_together(one.inputs, one.alpha)}."
    )
    return " ".join([means, *([_AGAINST] if any(one.relative for one in judged) else [])])


def recorded(run: Run, runs: Sequence[Run]) -> tuple[Judgement, ...]:
    """Whether a run reaches the targets that it was begun with.

    Args:
        run: a finished run.
        runs: others; a target that is relative to the original is left out if it is not there.
    """
    base = next((one for one in runs if one.identity.hash == run.identity.base), None)
    asked = run.manifest.origin.get("accept")
    found = []
    for text in asked if isinstance(asked, list) else ():
        with suppress(InvalidInput, Mismatch):
            found += [judge(run, goal, base) for goal in read([text])]
    return tuple(found)


def judge(run: Result, goal: Goal, base: Result | None = None) -> Judgement:
    """Compare a finished run's certificates of the right class with a target.

    Nothing is rounded: 29 of 100 reaches the decimal 0.29, and a radius reaches a target only if
    it is at least as large. A target's radius is read as a float, as in all summaries, so that an
    input decided at 0.3 counts at 0.3.

    Args:
        run: a finished run with labels, or a certification in memory.
        goal: the target.
        base: the original's run, for a target that is relative to it: only its certificates of
            the inputs of `run` count.

    Raises:
        StoreError: the run is unfinished or damaged.
        InvalidInput: it has no labels, or the target is relative and cannot be put in numbers.
        Mismatch: the original has no certificate of one of its inputs.
    """
    name, labels, alpha = _facts(run)
    check_labels(labels, name)
    before = _original(goal, run, base)
    if isinstance(goal, Relative):
        radii = correct_radii(before, labels)
        target, said = goal.of(radii), f"{goal.asked}; {goal.found(radii)}"
    else:
        target, said = goal, ""
    right = correct_radii(run.certificates, labels)
    wrong = wrong_at_most(len(right), alpha, alpha)
    if isinstance(target, MeanRadius):
        accepted, found, left = _mean(target, said, right, wrong)
    else:
        accepted, found, left = _share(target, said, right, wrong)
    if wrong:
        are = "is" if wrong == 1 else "are"
        found += f". At worst {wrong} of them {are} wrong, which leaves {left}"
    limits = "" if accepted else _limits(run.certificates, labels or (), target, before)
    return Judgement(accepted, found, alpha, len(right), isinstance(goal, Relative), limits)


def _facts(run: Result) -> tuple[str, Sequence[int | None] | None, float]:
    """Its name, its labels, and the probability that a certificate of it is wrong."""
    if isinstance(run, Certification):
        return run.model, run.labels, alpha_of(run.settings, run.method)
    run.require_complete()
    return str(run.storage), run.labels, run.identity.alpha


def _share(
    target: Target, said: str, right: NDArray[np.float64], wrong: int
) -> tuple[bool, str, str]:
    """Whether a certified accuracy is reached, what was counted, and what is left of it.

    Args:
        target: the target in numbers.
        said: where it comes from if it was relative.
        right: radii of the certificates, -1 without one of the label.
        wrong: how many of all certificates may be wrong.
    """
    needed, robust = ceil(target.needed(len(right))), int((right >= target.radius).sum())
    found = (
        f"{robust} of {many(len(right), 'input')} have a certificate of their label at radius "
        f"{target.radius:g}; the target is {needed} ({said or f'{target.accuracy:g}'})"
    )
    return robust >= needed, found, str(max(0, robust - wrong))


def _mean(
    target: MeanRadius, said: str, right: NDArray[np.float64], wrong: int
) -> tuple[bool, str, str]:
    """Whether an average radius is reached, what it is, and what is left; as `_share`."""
    mean = sum(map(Fraction, right[right > 0].tolist()), Fraction(0)) / len(right)
    least = f"{ceil_to(target.least, 6)} ({said})" if said else f"{float(target.least):g}"
    found = (
        f"the average certified radius of {many(len(right), 'input')} is {floor_to(mean, 6)}, "
        f"where one without a certificate of its label counts 0; the target is {least}"
    )
    return mean >= Fraction(target.least), found, floor_to(mean_above(right, wrong), 6)


def _limits(
    certificates: Sequence[Certificate],
    labels: Sequence[int | None],
    target: Target | MeanRadius,
    before: Sequence[Certificate],
) -> str:
    """How far draws, and not the model, keep a target from being reached; empty if unknown."""
    if isinstance(target, MeanRadius):
        took, original = (sum(c.evaluations for c in some) for some in (certificates, before))
        if took > 0.9 * original:
            return ""
        return (
            f"It took {ceil_to(100 * Fraction(took, original), 1)} % of the original's "
            "evaluations; with so few the unchanged model proves less, too."
        )
    r = target.radius
    pairs = list(zip(certificates, labels, strict=True))
    full = np.array([_lost_none(c) and c.candidate == label for c, label in pairs])
    short = correct_radii(certificates, labels) < r
    if not before:
        few = int((full & short).sum())
        return f"On {few} more all draws agree, and are too few for this radius." if few else ""
    missed = short & (correct_radii(before, labels) >= r)
    unsaid = missed & ~full & np.array([RESULTS[c.method].fresh for c in certificates])
    counts = {
        "{} for want of draws, as it lost none": missed & full,
        "{} where it lost draws": missed & ~full & ~unsaid,
        "{} by fresh draws, which do not tell why": unsaid,
    }
    parts = [text.format(where.sum()) for text, where in counts.items() if where.any()]
    if not parts:
        return ""
    return f"It misses {missed.sum()} that the original has there: {', '.join(parts)}."


def _lost_none(c: Certificate) -> bool:
    """Whether all draws are for the class, or none that was replayed left it, if any was."""
    kept = RESULTS[c.method].replays and c.n > 0 and not c.flips
    return kept or unanimous(c) or c.outcome is Outcome.UNSPENT


def _original(goal: Goal, run: Result, base: Result | None) -> list[Certificate]:
    """The original's certificates of a run's inputs; none if it is not needed and not there.

    Raises:
        StoreError: the original's run is unfinished.
        InvalidInput: there is no original.
        Mismatch: it lacks one of the inputs.
    """
    relative = isinstance(goal, Relative)
    if base is None:
        if relative:
            raise InvalidInput(no_base(goal))
        return []
    name, *_ = _facts(base)
    at = {(c.index, c.content): c for c in base.certificates}
    wanted = [(c.index, c.content) for c in run.certificates]
    missing = [index for index, content in wanted if (index, content) not in at]
    if missing and relative:
        raise Mismatch(
            f"{goal.text!r} compares with the original's certificates of the same inputs, "
            f"but {name} has none of {len(missing)} of {many(len(wanted), 'input')}, the "
            f"first at index {missing[0]}. Give the run of the original on the same data."
        )
    return [] if missing else [at[key] for key in wanted]


def no_base(goal: Relative) -> str:
    """Why a target cannot be judged where there is no original."""
    return (
        f"{goal.text!r} compares with the original, which a certification from scratch "
        "does not have. Give a number, such as 'ca@0.5>=40%', or recertify with --base."
    )
