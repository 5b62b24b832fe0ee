"""Whether a run's certificates reach a target, counted exactly, and what that means."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from smoothcert.certificate import Outcome
from smoothcert.errors import InvalidInput
from smoothcert.methods import alpha_of
from smoothcert.methods.screening import Target
from smoothcert.report.claims import all_together
from smoothcert.runs.store import Run
from smoothcert.text import floor_to, level, many


@dataclass(frozen=True)
class MeanRadius:
    """A target for the average certified radius.

    Args:
        least: on the [0, 1] scale, > 0.
    """

    least: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not (np.isfinite(self.least) and self.least > 0):
            raise InvalidInput(f"the target's average radius must be above 0; got {self.least}")


def parse_target(text: str) -> Target | MeanRadius:
    """`ca@RADIUS>=ACCURACY`, or `acr>=RADIUS`.

    Raises:
        InvalidInput: another form, or a value out of range.
    """
    name, _, least = text.replace(" ", "").partition(">=")
    if name != "acr":
        return Target.parse(text)
    try:
        return MeanRadius(float(least))
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"an average radius reads like 'acr>=0.3'; got {text!r}") from None


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
    """

    accepted: bool
    found: str
    alpha: float
    inputs: int

    @property
    def text(self) -> str:
        """One paragraph that says what was compared and what it claims."""
        return (
            f"{'accepted' if self.accepted else 'not accepted'}: {self.found}. This counts "
            f"certificates, each wrong with probability at most {level(self.alpha)} on its own; "
            f"{all_together(self.inputs, self.alpha)}."
        )


def judge(run: Run, target: Target | MeanRadius) -> Judgement:
    """Compare a finished run's certificates of the right class with a target.

    Nothing is rounded: 29 of 100 reaches the decimal 0.29, and a radius reaches a target only if
    it is at least as large. A target's radius is read as a float, as in all summaries, so that an
    input decided at 0.3 counts at 0.3.

    Raises:
        StoreError: the run is unfinished or damaged.
        InvalidInput: it has no labels.
    """
    run.require_complete()
    check_labels(run.labels, str(run.storage))
    radii = [
        Fraction(c.radius)
        for c, label in zip(run.certificates, run.labels, strict=True)
        if c.outcome is Outcome.CERTIFIED and c.candidate == label
    ]
    alpha, inputs = alpha_of(run.identity.settings, run.identity.method), len(run.labels)
    if isinstance(target, MeanRadius):
        mean = sum(radii, Fraction(0)) / inputs
        found = (
            f"the average certified radius of {many(inputs, 'input')} is {floor_to(mean, 6)}, "
            f"where one without a certificate of its label counts 0; the target is {target.least:g}"
        )
        return Judgement(mean >= Fraction(target.least), found, alpha, inputs)
    needed = ceil(target.needed(inputs))
    robust = sum(radius >= target.radius for radius in radii)
    found = (
        f"{robust} of {many(inputs, 'input')} have a certificate of their label at radius "
        f"{target.radius:g}; the target is {needed} ({target.accuracy:g})"
    )
    return Judgement(robust >= needed, found, alpha, inputs)
