"""The original's certification and a new classifier in, the new classifier's certificates out."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.api.certify import certified
from smoothcert.api.given import Kept, as_base
from smoothcert.certificate import Certification
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.given import as_inputs
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Mismatch
from smoothcert.methods import Allocation, Case, Method
from smoothcert.methods import planned as planned_method
from smoothcert.planning import planned, timed
from smoothcert.planning.wanted import Wanted, check_classes, method_settings
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import prepare
from smoothcert.sampling.sampler import Sampler
from smoothcert.tries import Seed, Try, warn_if_used
from smoothcert.watchers.base import Watcher


def recertify(
    base: Certification | Kept,
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object,
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
    progress: Progress | None = None,
    watchers: Sequence[Watcher] = (),
) -> Certification:
    """Certify a changed classifier by replaying part of the noise the original was certified on.

    Each call is a try on the base's draws, in `base.tries`. A result that is chosen among several
    does not hold at alpha; certify what was chosen with a fresh seed.

    Args:
        base: the original's certification, from `certify`, or its run, from `Run.open`.
        classifier: the new one, of any kind, made without looking at the cached noise.
        inputs: the same inputs as the original's.
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
    """
    base = matched(as_base(base), inputs := as_inputs(inputs))
    how = (per_input, policy, method, alpha, gamma, variant, form, stages, fresh_seed)
    settings, chosen = base.settings, method_settings(base.settings, base.method, Wanted(*how))
    loaded, timing = load_classifier(classifier), timed.Timing.of(chosen)  # type: ignore[arg-type]
    most = timed.tuned_for(chosen, len(inputs) * chosen.draws(settings))
    ready = prepare(loaded, inputs.item(0), settings, most, batch_size)
    check_classes(ready.probe.num_classes, base.num_classes)
    base.tries.add(_warned(chosen.question(loaded.fingerprint, settings), base))
    allocations, spent = _allocations(ready.sampler(settings), inputs, base, chosen, timing)
    cases = map(Case, inputs, base.records, allocations)
    return certified(chosen, ready, inputs, settings, cases, progress, watchers, spent)


def _warned(new: Try, base: Certification) -> Try:
    """The same, after a warning if a fresh seed is asked for that was used before."""
    if new.seed != base.settings.seed:
        warn_if_used(new, base.tries.asked, depth=4)
    return new


def _allocations(
    sampler: Sampler,
    inputs: Inputs,
    base: Certification,
    method: Method,
    timing: timed.Timing | None,
) -> tuple[Iterable[Allocation | None], int]:
    """The plan's allocation for each input, if the method has a plan, and its pilot's cost."""
    chosen = planned_method(method)
    if chosen is None:
        return repeat(None, len(inputs)), 0
    cache = planned.Cache(base.certificates, base.records, base.settings)
    votes = planned.pilot(sampler, inputs, cache, chosen, timing)
    return cache.planner(votes, chosen).plan().allocations, votes.evaluations


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
            "given. Recertify on the same inputs, in the same order."
        )
    return replace(base, settings=replace(base.settings, off_grid=inputs.off_grid))
