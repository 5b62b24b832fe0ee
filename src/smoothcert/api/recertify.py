"""The original's certification and a new classifier in, the new classifier's certificates out."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.api.certify import Work, certified
from smoothcert.api.given import Kept, as_base, ask, inputs_of, run_of
from smoothcert.api.result import CertificationResult
from smoothcert.certificate import Certification
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Mismatch
from smoothcert.execution.describe import Choices
from smoothcert.methods import Case
from smoothcert.methods import planned as planned_method
from smoothcert.planning import planned, timed
from smoothcert.planning.wanted import Wanted, check_classes, method_settings
from smoothcert.runs import pilots
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import prepare
from smoothcert.tries import Seed, Try, warn_if_used
from smoothcert.watchers import bars
from smoothcert.watchers.base import Watcher


def recertify(
    base: Certification | Kept | str | Path,
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object | None = None,
    *,
    per_input: int | None = None,
    policy: str | None = None,
    method: str = "auto",
    alpha: float | None = None,
    gamma: float = 0.99,
    variant: str = "budget-exact",
    form: str | None = None,
    stages: int | None = None,
    fresh_seed: Seed | None = None,
    batch_size: int | None = None,
    progress: Progress | bool | None = None,
    watchers: Sequence[Watcher] = (),
) -> CertificationResult:
    """Certify a changed classifier by replaying part of the noise the original was certified on.

    Each call is a try on the base's draws, in `base.tries`. A result that is chosen among several
    does not hold at alpha; certify what was chosen with a fresh seed.

    Args:
        base: the original's certification, from `certify`; its run, from `Run.open`; or the path of
            that. A run enters the try in its ledger.
        classifier: the new one, of any kind, made without looking at the cached noise.
        inputs: the same inputs as the original's; loaded again if left out, where the base says
            from where.
        per_input: evaluations per input, short for the policy `uniform:per_input`.
        policy: how much to spend where, see `planning.Policy`; `uniform:n/10` by default. For the
            exact test, chosen without looking at the base's certificates (`joint` allows that).
        method: `auto` (the exact test), `joint`, `stratified`, `fresh` or `irs`.
        alpha: total error probability per input; twice the original's by default. For `irs` as
            published, up to twice this is proven, and stated (docs/theory.md, section 3).
        gamma, variant: for `irs`, see `Irs`.
        form, stages: for the exact test, see `Exact`; the original's form and usual stages if None.
        fresh_seed: for a model chosen by results on this base: nothing is replayed, and draws use
            this seed, or a `random` one. A seed used before gives a warning, `SeedReused`.
        batch_size, progress, watchers: see `certify`.

    Returns:
        Certificates and votes, in order; inputs whose cached votes prove nothing cost nothing.

    Raises:
        Mismatch: other inputs, another grid, or other classes than the original's.
        InvalidInput: a setting out of range, or more draws than were cached.
        ModelError: not a usable classifier, or its rows depend on each other.

    Source: Ugare et al., ICLR 2024; docs/theory.md, sections 3, 7, 8 and 13.

    Examples:
        >>> changed = smoothcert.recertify("runs/base", "model-int8.onnx", policy="budget:0.1")
        >>> run = changed.save("runs/int8")
    """
    base = as_base(base)
    how = Wanted(per_input, policy, method, alpha, gamma, variant, form, stages, fresh_seed)
    data = inputs_of(base, inputs)
    return _recertified(base, classifier, data, how, batch_size, progress, watchers)


def _recertified(
    base: Certification,
    classifier: Classifier | object,
    inputs: Inputs,
    wanted: Wanted,
    batch_size: int | None,
    progress: Progress | bool | None,
    watchers: Sequence[Watcher],
) -> CertificationResult:
    base = matched(base, inputs)
    settings, chosen = base.settings, method_settings(base.settings, base.method, wanted)
    if chosen.prefix and (run := run_of(base)) is not None:
        pilots.require_unseen(run, chosen.prefix)
    loaded, timing = load_classifier(classifier), timed.Timing.of(chosen)  # type: ignore[arg-type]
    most = timed.tuned_for(chosen, len(inputs) * chosen.draws(settings))
    ready = prepare(loaded, inputs.item(0), settings, most, batch_size)
    check_classes(ready.probe.num_classes, base.num_classes)
    ask(base, _warned(chosen.question(loaded.fingerprint, settings), base), loaded.name)
    work = Work(Choices(loaded, ready, settings, chosen), inputs, classifier, base)
    work = _with_plan(work, timing, progress)
    cases = map(Case, inputs, base.records, work.plan or repeat(None, len(inputs)))
    return certified(work, cases, progress, watchers)


def _warned(new: Try, base: Certification) -> Try:
    """The same, after a warning if a fresh seed is asked for that was used before."""
    if new.seed != base.settings.seed:
        warn_if_used(new, base.tries.asked, depth=5)
    return new


def _with_plan(work: Work, timing: timed.Timing | None, progress: Progress | bool | None) -> Work:
    """With the plan's allocation for each input, and its pilot, if the method has a plan."""
    choices, base = work.choices, work.base
    chosen = planned_method(choices.method)
    if chosen is None or base is None:
        return work
    cache = planned.Cache(base.certificates, base.records, base.settings)
    with bars.shown(progress, "Pilot", planned.pilot_evaluations(chosen)) as tick:
        sampler = choices.ready.sampler(choices.settings, tick)
        votes = planned.pilot(sampler, work.inputs, cache, chosen, timing)
    run, pilot = run_of(base), pilots.StoredPilot(votes)
    if run is not None:
        pilot = pilots.of_method(run, chosen, votes)
    shown = pilots.positions_of(run, pilot.shown) if run is not None else ()
    plan = cache.planner(votes, chosen, shown).plan().allocations
    return replace(work, pilot=pilot, plan=plan, pilot_evaluations=votes.evaluations)


def matched(base: Certification, inputs: Inputs) -> Certification:
    """The base, once its inputs are checked, with the distance to the grid that they have now."""
    if inputs.levels != base.settings.levels:
        raise Mismatch(
            f"The original was certified on the grid 1/{base.settings.levels}; the inputs are on "
            f"1/{inputs.levels}. Recertify on the data the original was certified on."
        )
    if len(inputs) != len(base.records):
        raise Mismatch(
            f"The original was certified on {len(base.records)} inputs, and {len(inputs)} were "
            "given. Recertify on the same inputs, in the same order; leave them out (give None), "
            "and those that the run names are loaded again."
        )
    return replace(base, settings=replace(base.settings, off_grid=inputs.off_grid))
