"""Classifier, inputs and a radius in; for each input, whether it is certified at that radius."""

from collections.abc import Sequence
from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.api.certify import from_scratch
from smoothcert.api.result import CertificationResult
from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.given import as_inputs
from smoothcert.data.inputs import Inputs
from smoothcert.methods import Decision
from smoothcert.sampling.engine import Progress
from smoothcert.tries import Seed, number_of
from smoothcert.watchers.base import Watcher


def decide(
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object,
    sigma: float,
    radius: float,
    *,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    seed: Seed = 0,
    form: str = "binary",
    batch_size: int | None = None,
    progress: Progress | bool | None = None,
    watchers: Sequence[Watcher] = (),
) -> CertificationResult:
    """Decide for every input whether it is certified at a radius, with as few draws as needed.

    The bets on an input start from its selection votes, so more of them (n0) leave less to draw.

    Args:
        classifier: a `Classifier`, or anything `load_classifier` takes.
        inputs: as for `certify`.
        sigma: noise standard deviation on the [0, 1] scale.
        radius: the l2 radius to decide, on the [0, 1] scale.
        n0: selection draws.
        n: maximum estimation draws; inputs still undecided abstain.
        alpha: probability of a wrong decision, whether proven or excluded, for each input.
        seed: as for `certify`; the estimation draws are the same.
        form: `binary`, `runner-up` or `auto`, see `Settings`; `auto` takes for each input the one
            of the two that its selection votes let expect to prove the radius first.
        batch_size: rows per forward pass; chosen from the input size by default.
        progress: called with the number of evaluations after every batch.
        watchers: called with certificates as they are finished; see `watchers.base.Watcher`.

    Returns:
        Certificates and votes, in the order of the inputs: CERTIFIED with this radius, EXCLUDED
        (the chosen class is proven too unlikely for it), or UNDECIDED.

    Raises:
        InvalidInput: a setting or the inputs are out of range, the form is another, or n draws
            cannot prove the radius.
        ModelError: not a usable classifier, or its rows depend on each other.

    Source: Voracek, NeurIPS 2024; docs/theory.md, section 9.
    """
    inputs = as_inputs(inputs)
    draws = (n0, n, alpha, number_of(seed))
    settings = Settings(sigma, inputs.levels, *draws, form, off_grid=inputs.off_grid)
    method = Decision(radius)
    return from_scratch(method, classifier, inputs, settings, batch_size, progress, watchers)
