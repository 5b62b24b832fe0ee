"""Classifier and inputs in, certificates out: randomized smoothing from scratch."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.api.result import CertificationResult
from smoothcert.certificate import Certification, Record, Settings
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.given import as_inputs
from smoothcert.data.inputs import Inputs, fingerprint_of
from smoothcert.execution.describe import Choices, block_inputs, described, planned_files
from smoothcert.methods import Allocation, Case, Method, Sized, stated
from smoothcert.planning import sized, timed
from smoothcert.runs.manifest import Manifest
from smoothcert.runs.pilots import StoredPilot
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import prepare
from smoothcert.tries import Seed, number_of, warn_if_used
from smoothcert.watchers.bars import shown
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
    progress: Progress | bool | None = None,
    watchers: Sequence[Watcher] = (),
) -> CertificationResult:
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
        progress: called with the number of evaluations after every batch; or True for a bar in a
            notebook or on a terminal.
        watchers: called with certificates as they are finished; see `watchers.base.Watcher`.

    Returns:
        Certificates and votes, in the order of the inputs; see `Certificate` for what they claim,
        and `CertificationResult` for what can be done with them.

    Raises:
        InvalidInput: a setting or the inputs are out of range.
        ModelError: not a usable classifier, or its rows depend on each other.

    Source: Cohen, Rosenfeld & Kolter, ICML 2019; docs/theory.md, sections 1, 2 and 5.

    Examples:
        >>> base = smoothcert.certify("model.onnx", "images/", sigma=0.25, n=10_000)
        >>> run = base.save("runs/base")
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
    progress: Progress | bool | None,
    watchers: Sequence[Watcher],
) -> CertificationResult:
    """Certify by a method that needs no base; see `certify`."""
    method.check(settings, inputs.shape)  # before any evaluation
    sized.check_budget(method, settings, len(inputs))
    loaded = load_classifier(model)  # type: ignore[arg-type]
    timing = timed.Timing.of(method)
    evaluations = timed.tuned_for(method, len(inputs) * method.draws(settings))
    ready = prepare(loaded, inputs.item(0), settings, evaluations, batch_size)
    warn_if_used(method.question(loaded.fingerprint, settings), depth=4)
    work = Work(Choices(loaded, ready, settings, method), inputs, model)
    cases = map(Case, inputs)
    if isinstance(method, Sized):
        total = len(inputs) * settings.n0
        with shown(progress, "Selecting", total) as tick:
            votes = sized.select(ready.sampler(settings, tick), inputs, timing)
        plan = sized.allocations(votes, settings, method, ready.probe.num_classes)
        work = replace(work, pilot=StoredPilot(votes), plan=plan)
        cases = map(Case, inputs, repeat(None), plan, votes.labels)
    return certified(work, cases, progress, watchers)


@dataclass(frozen=True, eq=False)
class Work:
    """A certification that is about to be computed.

    Attributes:
        choices: what certifies, and how.
        inputs: to be certified.
        model: as it was given; recorded if it is a text or path.
        base: the original's certification, or None.
        pilot, plan: from which each input's draws follow, if the method has a plan.
        pilot_evaluations: spent on planning, in addition to those of the certificates.
    """

    choices: Choices
    inputs: Inputs
    model: object
    base: Certification | None = None
    pilot: StoredPilot | None = None
    plan: Sequence[Allocation] = ()
    pilot_evaluations: int = 0

    @property
    def evaluations(self) -> int:
        """About how many there will be, without the pilot's."""
        if self.plan:
            return sum(one.evaluations for one in self.plan)
        return len(self.inputs) * self.choices.method.draws(self.choices.settings)

    @property
    def base_hash(self) -> str:
        """What names the original's run, or empty if that is not known."""
        known = self.base.manifest if isinstance(self.base, CertificationResult) else None
        return "" if known is None else known.identity.hash

    def manifest(self, records: Sequence[Record]) -> Manifest:
        """What run.json would say of it."""
        choices, inputs = self.choices, self.inputs
        contents = [record.certificate.content for record in records]
        data = fingerprint_of(inputs.shape, inputs.levels, inputs.indices, contents)
        settings, speed = choices.settings, choices.ready.speed
        draws = max(1, choices.method.draws(settings))
        block = block_inputs(settings, draws, len(inputs), speed)
        found = described(choices, inputs, data, block, self.base_hash)
        origin = {**found.origin, "name": choices.classifier.name}
        if isinstance(self.model, str | Path):
            origin["model"] = str(self.model)
        if inputs.source is not None:
            origin["data"] = inputs.source.to_json()
        if self.pilot_evaluations:
            origin["pilot_evaluations"] = self.pilot_evaluations
        return replace(found, origin=origin)


def certified(
    work: Work,
    cases: Iterable[Case],
    progress: Progress | bool | None,
    watchers: Sequence[Watcher],
) -> CertificationResult:
    """Sample, and call the watchers with what is finished; see `certify`."""
    choices, inputs, spent = work.choices, work.inputs, work.pilot_evaluations
    settings, method = choices.settings, stated(choices.method)
    name, fingerprint = choices.classifier.name, choices.classifier.fingerprint
    began = time.perf_counter()
    with shown(progress, "Certifying", work.evaluations) as tick:
        records = choices.method.records(choices.ready.sampler(settings, tick), cases)
        start = Start(name, fingerprint, len(inputs), settings, method)
        found = collected(records, watchers, start, inputs.labels, spent)
    seconds = time.perf_counter() - began
    manifest, planned = work.manifest(found), {}
    if work.pilot is not None:
        planned = planned_files(work.pilot, work.plan, manifest.identity)
    return CertificationResult(
        settings,
        method,
        name,
        fingerprint,
        choices.ready.probe.num_classes,
        inputs.shape,
        found,
        spent,
        labels=inputs.labels,
        manifest=manifest,
        planned=planned,
        seconds=seconds,
        base=work.base,
    )
