"""Classifier and inputs in, certificates out: randomized smoothing from scratch."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.certificate import Certification, Settings
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.given import as_inputs
from smoothcert.data.inputs import Inputs
from smoothcert.methods import Case, Method, Sized, stated
from smoothcert.planning import sized, timed
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared, prepare
from smoothcert.tries import Seed, number_of, warn_if_used
from smoothcert.watchers.base import Start, Watcher, collected


def certify(
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object,
    sigma: float,
    *,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    seed: Seed = 0,
    form: str = "binary",
    policy: str | None = None,
    keep_margins: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
    watchers: Sequence[Watcher] = (),
) -> Certification:
    """Certify every input by randomized smoothing.

    Args:
        classifier: a `Classifier`, or anything `load_classifier` takes.
        inputs: `Inputs`; an array or tensor as for `Inputs.from_arrays` (8-bit grid); a list of
            images of one size; or what `load_inputs` takes. Only watchers see the labels.
        sigma: noise standard deviation on the [0, 1] scale.
        n0: selection draws.
        n: estimation draws; with a policy, the most that an input gets.
        alpha: probability of a wrong certificate, for each input on its own.
        seed: noise seed, or `random`, for a model that was chosen by results. A seed with which
            this process has recertified or screened the model raises a warning (`SeedReused`).
        form: `binary`, `runner-up`, `auto` or `multiclass`, see `Settings`.
        policy: how many estimation draws each input gets, by all inputs' selection draws:
            `budget:B` evaluations in all (a count, or a fraction of n0 + n for every input),
            `minutes:M`, as many as fit into M minutes at the speed of the selection draws,
            `retain:R`, the fewest that are expected to keep the share R of the average radius,
            `loss:L`, of each input's radius, or `radius:R`, what it takes to prove that radius.
        keep_margins: keep one more byte per draw, for recertification by `stratified`.
        batch_size: rows per forward pass; by default what the input size suggests, or the
            fastest found where the run is long.
        progress: called with the number of evaluations after every batch.
        watchers: called with certificates as they are finished; see `watchers.base.Watcher`.

    Returns:
        Certificates and votes, in the order of the inputs; see `Certificate` for what they claim.

    Raises:
        InvalidInput: a setting or the inputs are out of range.
        ModelError: not a usable classifier, or its rows depend on each other.

    Source: Cohen, Rosenfeld & Kolter, ICML 2019; docs/theory.md, sections 1, 2 and 5.
    """
    inputs = as_inputs(inputs)
    draws = (n0, n, alpha, number_of(seed))
    settings = Settings(sigma, inputs.levels, *draws, form, keep_margins, inputs.off_grid)
    method = sized.by_policy(policy)
    return from_scratch(method, classifier, inputs, settings, batch_size, progress, watchers)


def from_scratch(
    method: Method,
    model: Classifier | object,
    inputs: Inputs,
    settings: Settings,
    batch_size: int | None,
    progress: Progress | None,
    watchers: Sequence[Watcher],
) -> Certification:
    """Certify by a method that needs no base; see `certify`."""
    method.check(settings, inputs.shape)  # before any evaluation
    sized.check_budget(method, settings, len(inputs))
    loaded = load_classifier(model)  # type: ignore[arg-type]
    timing = timed.Timing.of(method)
    evaluations = timed.tuned_for(method, len(inputs) * method.draws(settings))
    ready = prepare(loaded, inputs.item(0), settings, evaluations, batch_size)
    warn_if_used(method.question(loaded.fingerprint, settings), depth=4)
    cases = map(Case, inputs)
    if isinstance(method, Sized):
        votes = sized.select(ready.sampler(settings, progress), inputs, timing)
        plan = sized.allocations(votes, settings, method, ready.probe.num_classes)
        cases = map(Case, inputs, repeat(None), plan, votes.labels)
    return certified(method, ready, inputs, settings, cases, progress, watchers)


def certified(
    method: Method,
    ready: Prepared,
    inputs: Inputs,
    settings: Settings,
    cases: Iterable[Case],
    progress: Progress | None,
    watchers: Sequence[Watcher],
    pilot_evaluations: int = 0,
) -> Certification:
    """Sample, and call the watchers with what is finished; see `certify`."""
    name, fingerprint = ready.classifier.name, ready.classifier.fingerprint
    records = method.records(ready.sampler(settings, progress), cases)
    start = Start(name, fingerprint, len(inputs), settings, stated(method))
    return Certification(
        settings,
        stated(method),
        name,
        fingerprint,
        ready.probe.num_classes,
        inputs.shape,
        collected(records, watchers, start, inputs.labels, pilot_evaluations),
        pilot_evaluations,
    )
