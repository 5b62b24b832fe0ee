"""The original's certification and a new classifier in, the new classifier's certificates out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.api import planned, timed
from smoothcert.api.certify import certified
from smoothcert.api.given import Kept, as_base, as_inputs
from smoothcert.certificate import Certification, Settings, check_count
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch, require_one_of
from smoothcert.methods import (
    BY_NAME,
    Allocation,
    Case,
    Exact,
    Method,
    RecertifyOptions,
    Reuse,
    method_of,
)
from smoothcert.methods import planned as planned_method
from smoothcert.planning import Policy
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import prepare
from smoothcert.sampling.sampler import Sampler
from smoothcert.scalars import real, whole
from smoothcert.tries import Seed, Try, number_of, warn_if_used
from smoothcert.vocabulary import METHODS
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


@dataclass(frozen=True)
class Wanted:
    """How to recertify, as `recertify` takes it; None where it follows from the original."""

    per_input: int | None = None
    policy: str | None = None
    method: str = "auto"
    alpha: float | None = None
    gamma: float = 0.99
    variant: str = "budget-exact"
    form: str | None = None
    stages: int | None = None
    fresh_seed: Seed | None = None


def method_settings(settings: Settings, base: Method | None, wanted: Wanted) -> Method:
    """The settings of the requested method, for an original with these settings and method.

    Raises:
        InvalidInput: a setting out of range, or a policy that the method does not take.
        Mismatch: see `check_base`.
    """
    found = _asked_for(settings, wanted).reusing(method_of(base))
    check_base(base, found)
    return found


def _asked_for(settings: Settings, wanted: Wanted) -> Method:
    """The requested method, for an original from scratch."""
    method, per_input = wanted.method, wanted.per_input
    require_one_of("method", method, METHODS)
    if per_input is not None and wanted.policy is not None:
        raise InvalidInput("Give per_input or a policy, not both.")
    if per_input is not None:
        per_input = whole(per_input, "per_input")
        check_count(per_input, "per_input")
    text = wanted.policy or f"uniform:{per_input or max(1, settings.n // 10)}"
    rule, total = Policy.parse(text), default_alpha(settings, wanted.alpha)
    if rule.kind == "uniform" and rule.value > settings.n:
        raise InvalidInput(
            f"The original was certified with n = {settings.n} draws, of which {rule.value:g} "
            "cannot be replayed. Ask for at most the original's n per input, or certify the "
            "original with a larger n."
        )
    if wanted.fresh_seed is not None:
        return _fresh(settings, text, method, total, number_of(wanted.fresh_seed))
    options = RecertifyOptions(
        method,
        text,
        int(rule.value) if rule.kind == "uniform" else None,
        total,
        wanted.gamma,
        wanted.variant,
        wanted.form or settings.reused_form,
        wanted.stages,
    )
    return BY_NAME[method].of(options)


def _fresh(settings: Settings, policy: str, method: str, alpha: float, seed: int) -> Reuse:
    if method not in ("auto", "fresh"):
        raise InvalidInput(
            f"With a fresh seed nothing is replayed, so the method cannot be {method!r}. Leave the "
            "method or the fresh seed out."
        )
    if not isinstance(seed, int) or not 0 <= seed < 2**64 or seed == settings.seed:
        raise InvalidInput(
            f"The fresh seed must be in 0..2^64 - 1 and differ from the base's; got {seed}, and "
            f"the base has {settings.seed}. Use one that nothing has been certified with."
        )
    return Reuse(policy, "fresh", alpha, fresh_seed=seed)


def check_base(base: Method | None, method: Method) -> None:
    """Refuse a base whose votes a method cannot reuse.

    Args:
        base: the method of the base.
        method: the one that is to reuse it.

    Raises:
        Mismatch: the base was not certified from scratch, or stopped by its votes.
        InvalidInput: it was certified by plan, and the method takes as many draws of every input;
            or it was extended, which the method leaves no error for.
    """
    made, counts = method_of(base), not (isinstance(method, Exact) or method.is_fresh)
    if not made.reusable:
        raise Mismatch(
            "The base was itself recertified, or decided at one radius; only a certification "
            "from scratch leaves votes that can be reused. Certify the original without --radius."
        )
    if method.continues:
        return
    if made.has_plan and counts:
        raise InvalidInput(
            "The base was certified by plan, with its own number of draws for each input, which "
            "only the exact test replays. Use the method auto, or certify the original without a "
            "policy."
        )
    if made.continues and counts:
        raise InvalidInput(
            "The base was extended when its certificates had been seen, and only the exact test "
            "leaves a part of alpha for that. Use the method auto, or the run that was extended."
        )
    if isinstance(method, Exact) and method.share > made.reuse_share:
        raise InvalidInput(
            f"The base leaves {made.reuse_share:g} of alpha to what reuses it; got a share of "
            f"{method.share:g}. Take the method from `method.reusing(base)`."
        )


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


def default_alpha(settings: Settings, alpha: float | None) -> float:
    """The total error probability: twice the original's, so that its limit is used unchanged."""
    return 2 * settings.alpha if alpha is None else real(alpha, "alpha")


def check_classes(found: int, expected: int) -> None:
    """Raise Mismatch unless the new classifier has the original's number of classes."""
    if found != expected:
        raise Mismatch(
            f"The original has {expected} classes and the new classifier {found}. A certificate "
            "can only be carried over between classifiers with the same classes."
        )
