"""The original's certification and new classifiers in, dataset certificates out."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from smoothcert.api.given import Kept, as_base, ask, inputs_of
from smoothcert.certificate import Certification
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, SmoothcertWarning
from smoothcert.execution.screener import Screener, original_radii
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Screening
from smoothcert.methods.standings import unfinished
from smoothcert.methods.targets import Goal, in_numbers, read
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared
from smoothcert.scalars import real
from smoothcert.watchers.bars import shown


class Unfinished(SmoothcertWarning):
    """The time was over before all candidates of a screening were finished."""


def screen(
    base: Certification | Kept | str | Path,
    classifiers: Sequence[Classifier | object],
    inputs: Inputs | str | Path | None = None,
    *,
    per_input: int = 100,
    alpha: float = 0.002,
    radii: Sequence[float] = (),
    groups: int = 4,
    accept: str | Goal | Sequence[str | Goal] | None = None,
    form: str | None = None,
    minutes: float | None = None,
    resume: Sequence[DatasetCertificate] = (),
    batch_size: int | None = None,
    progress: Progress | bool | None = None,
) -> tuple[DatasetCertificate, ...]:
    """Bound the certified accuracy and mean radius of changed classifiers on a data set.

    Candidates of one call may be compared and one of them chosen, since alpha covers them all. Each
    counts as a try on the base's draws, in `base.tries`, for later questions about them.

    Args:
        base, inputs: the original's certification, and its inputs with labels, as of `recertify`.
        classifiers: the candidates, made without looking at the cached noise.
        per_input: evaluations of each candidate per input that the original certifies rightly.
        alpha: probability that any statement about any of the candidates is wrong.
        radii, groups: where a tighter bound is wanted; number of groups of similar vote share.
        accept: targets such as `ca@0.5>=0.40` or `acr>=0.9*base` (`base`: the original's own
            certificates); a candidate stops once all are proven, or one cannot be.
        form: how the other classes are bounded, see `Screening`; by default as the original.
        minutes: when to stop, from the start of sampling. Candidates get rounds in turn, and prove
            what those prove that were finished; `Unfinished` warns of those that lack some.
        resume: what an equal call with `minutes` returned, to go on from.
        batch_size, progress: see `certify`.

    Returns:
        A certificate for each candidate, in the given order; `methods.dataset.ranked` sorts them.

    Raises:
        Mismatch: other inputs, grid or classes, a base not from scratch, or another `resume`.
        InvalidInput: a setting out of range, no labels, or an input with fewer cached draws of its
            class, or in the form `runner-up` of all, than are replayed.
        ModelError: a candidate is not a usable classifier, or its rows depend on each other.

    Source: docs/theory.md, section 10.

    Examples:
        >>> (one,) = smoothcert.screen("runs/base", ["model-int8.onnx"], accept="acr>=0.5*base")
    """
    several, goals = _several(classifiers), read(accept)
    data = inputs_of(original := as_base(base), inputs)
    timed = resume[0].screening.timed if resume else minutes is not None
    form = form or original.settings.reused_form
    chosen = (per_input, alpha, _real(radii), groups, None, len(several), form)
    targets = in_numbers(goals, original_radii(original, data))
    screening = Screening(*chosen, timed=timed).asking(targets)
    screener = Screener.of(original, data, screening, batch_size)
    loaded = _counted(original, screener, [load_classifier(c) for c in several])
    with shown(progress, "Screening", len(loaded) * per_input * len(screener.sources)) as tick:
        return _with_warning(screener.screen(loaded, tick, minutes, resume))


def _real(radii: Sequence[float]) -> tuple[float, ...]:
    return tuple(real(radius, "a radius") for radius in radii)


def _counted(
    base: Certification, screener: Screener, candidates: Sequence[Classifier]
) -> list[Prepared]:
    """The candidates, prepared and each counted as a try on the base's draws."""
    loaded = [screener.prepared(classifier) for classifier in candidates]
    for classifier in candidates:
        ask(base, screener.asked(classifier.fingerprint), classifier.name)
    return loaded


def _with_warning(found: tuple[DatasetCertificate, ...]) -> tuple[DatasetCertificate, ...]:
    """The same, with a warning where the time was over."""
    if left := unfinished(found):
        said = f"The time was over: {left}. Give what is returned as resume= to go on."
        warnings.warn(Unfinished(said), stacklevel=3)
    return found


def _several(classifiers: Sequence[Any]) -> list[Any]:
    """As a list; a single one need not be in one."""
    if isinstance(classifiers, str) or not isinstance(classifiers, Iterable):
        return [classifiers]
    if not (found := list(classifiers)):
        raise InvalidInput("There is nothing to screen: give at least one classifier.")
    return found
