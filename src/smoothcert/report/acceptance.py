"""Whether a run's certificates reach a target, counted exactly, and what that means."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Certification, Outcome
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.methods import alpha_of
from smoothcert.methods.targets import Goal, MeanRadius, Relative, Target
from smoothcert.report.claims import all_together
from smoothcert.report.export import Result
from smoothcert.summary import correct_radii
from smoothcert.text import ceil_to, floor_to, level, many

_AGAINST = (
    " The target comes from the original's certificates of the same inputs, each with its own α. "
    "So certificates are compared with certificates: that the accuracy itself fell by no more is "
    "not proven."
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
        against: what a comparison with the original does not say; empty where there is none.
    """

    accepted: bool
    found: str
    alpha: float
    inputs: int
    against: str = ""

    def __bool__(self) -> bool:
        """Whether the target was reached."""
        return self.accepted

    @property
    def text(self) -> str:
        """One paragraph that says what was compared and what it claims."""
        return (
            f"{'accepted' if self.accepted else 'not accepted'}: {self.found}. Each certificate is "
            f"wrong with probability at most {level(self.alpha)} on its own. Over all inputs, "
            f"{all_together(self.inputs, self.alpha)}.{self.against}"
        )


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
    target, said, against = _numbers(goal, run, base)
    radii = [
        Fraction(c.radius)
        for c, label in zip(run.certificates, labels or (), strict=True)
        if c.outcome is Outcome.CERTIFIED and c.candidate == label
    ]
    inputs = len(run.certificates)
    if isinstance(target, MeanRadius):
        mean = sum(radii, Fraction(0)) / inputs
        least = f"{ceil_to(target.least, 6)} ({said})" if said else f"{float(target.least):g}"
        found = (
            f"the average certified radius of {many(inputs, 'input')} is {floor_to(mean, 6)}, "
            f"where one without a certificate of its label counts 0; the target is {least}"
        )
        return Judgement(mean >= Fraction(target.least), found, alpha, inputs, against)
    needed = ceil(target.needed(inputs))
    robust = sum(radius >= target.radius for radius in radii)
    found = (
        f"{robust} of {many(inputs, 'input')} have a certificate of their label at radius "
        f"{target.radius:g}; the target is {needed} ({said or f'{target.accuracy:g}'})"
    )
    return Judgement(robust >= needed, found, alpha, inputs, against)


def _facts(run: Result) -> tuple[str, Sequence[int | None] | None, float]:
    """Its name, its labels, and the probability that a certificate of it is wrong."""
    if isinstance(run, Certification):
        return run.model, run.labels, alpha_of(run.settings, run.method)
    run.require_complete()
    method = run.identity.alpha
    return str(run.storage), run.labels, method


def _numbers(goal: Goal, run: Result, base: Result | None) -> tuple[Target | MeanRadius, str, str]:
    """A target in numbers, where it comes from if it was relative, and what that does not say."""
    if not isinstance(goal, Relative):
        return goal, "", ""
    before = _original_radii(goal, run, base)
    return goal.of(before), f"{goal.asked}; {goal.found(before)}", _AGAINST


def _original_radii(goal: Relative, run: Result, base: Result | None) -> NDArray[np.float64]:
    """Radii of the original's certificates of a run's inputs, -1 without one of the label.

    Raises:
        StoreError: the original's run is unfinished.
        InvalidInput: there is no original.
        Mismatch: it lacks one of the inputs.
    """
    if base is None:
        raise InvalidInput(no_base(goal))
    name, *_ = _facts(base)
    at = {(c.index, c.content): c for c in base.certificates}
    wanted = [(c.index, c.content) for c in run.certificates]
    if missing := [index for index, content in wanted if (index, content) not in at]:
        raise Mismatch(
            f"{goal.text!r} compares with the original's certificates of the same inputs, "
            f"but {name} has none of {len(missing)} of {many(len(wanted), 'input')}, the "
            f"first at index {missing[0]}. Give the run of the original on the same data."
        )
    return correct_radii([at[key] for key in wanted], run.labels)


def no_base(goal: Relative) -> str:
    """Why a target cannot be judged where there is no original."""
    return (
        f"{goal.text!r} compares with the original, which a certification from scratch "
        "does not have. Give a number, such as 'ca@0.5>=40%', or recertify with --base."
    )
