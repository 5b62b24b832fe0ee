"""A base run and what is made from it: its cache, pilots on it, and whether data matches it."""

from dataclasses import replace

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Mismatch
from smoothcert.methods import Exact, Planned
from smoothcert.planning import planned as planning
from smoothcert.planning.pilot import PilotVotes
from smoothcert.planning.timed import Timing
from smoothcert.planning.wanted import check_classes
from smoothcert.runs import pilots, seed_use
from smoothcert.runs.manifest import Identity
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared, prepare


def cache_of(base: Run, settings: Settings) -> planning.Cache:
    """What a base run has stored; its certificates are read without their votes."""
    return planning.Cache(base.certificates, base.stored_records, settings)


def explore(
    base: Run,
    classifier: Classifier,
    inputs: Inputs,
    reuse: Planned,
    batch_size: int | None = None,
) -> planning.Planner:
    """Prepare a classifier, and what `explored` does; arguments as of `recertify`."""
    return explored(base, prepared(base, classifier, inputs, batch_size), inputs, reuse)


def prepared(
    base: Run, classifier: Classifier, inputs: Inputs, batch_size: int | None = None
) -> Prepared:
    """Prepare a classifier for the draws of a base run, whose classes it must have.

    Raises:
        Mismatch: its number of classes is different.
        ModelError: see `prepare`.
    """
    ready = prepare(classifier, inputs.item(0), base.identity.settings, 0, batch_size)
    check_classes(ready.probe.num_classes, base.identity.num_classes)
    return ready


def explored(base: Run, ready: Prepared, inputs: Inputs, reuse: Planned) -> planning.Planner:
    """Run a pilot against a base run and store it there, since its outcome will be shown.

    The plan is entered in the base's ledger before the pilot's first evaluation. Neither is needed
    for the exact test, whose pilot sees no draw that is ever counted.

    Raises:
        StoreError: the base run cannot be written to, so later recertifications would not know
            which draws to set aside.
    """
    counted = not isinstance(reuse, Exact)
    if counted:
        seed_use.register_plan(base, ready.classifier.fingerprint, ready.classifier.name, reuse)
    cache = cache_of(base, replace(base.identity.settings, off_grid=inputs.off_grid))
    votes = run_pilot(cache, ready, inputs, reuse)
    if counted:
        pilots.keep(base, ready.classifier.fingerprint, reuse, votes)
    return planner(cache, base, pilots.of_method(base, reuse, votes), reuse)


def run_pilot(
    cache: planning.Cache,
    ready: Prepared,
    inputs: Inputs,
    reuse: Planned,
    progress: Progress | None = None,
    timing: Timing | None = None,
) -> PilotVotes:
    """Run the pilot against the cache of a base run."""
    return planning.pilot(ready.sampler(cache.settings, progress), inputs, cache, reuse, timing)


def planner(
    cache: planning.Cache, base: Run, pilot: pilots.StoredPilot, reuse: Planned
) -> planning.Planner:
    """What a plan can be made from: a pilot, and the base run with its earlier shown pilots.

    Raises:
        Damaged: a named pilot is missing, or was changed.
        ValueError: the pilot is not of this base run, or see `timed.counted`.
    """
    shown = pilots.positions_of(base, pilot.shown)
    return cache.planner(pilot.votes, reuse, shown)


def check_continued(base: Run, new: Identity, answers: str) -> None:
    """Raise Mismatch unless a run can go on with the draws of a base."""
    old, due = base.identity, new.method.of_base(new.settings)
    pairs = {
        "settings": (replace(old.settings, off_grid=0.0), replace(due, off_grid=0.0)),
        "model": (old.model, new.model),
        "kind of device": (old.device, new.device),
        "arithmetic of 8-bit integers": (old.products, new.products),
        "noise": (old.noise_hash, new.noise_hash),
        "batch size": (old.batch_size, new.batch_size),
    }
    if wrong := [name for name, (then, now) in pairs.items() if then != now]:
        raise Mismatch(
            f"{base.storage} was made with another {', '.join(wrong)}, and an extension goes on "
            "with its draws. Give the same; a changed model is recertified instead."
        )
    base.require_answers(answers)


def check_same_inputs(base: Run, inputs: Inputs) -> None:
    """Raise Mismatch unless these are the inputs, in content and order, of the base run."""
    stored = base.identity
    if (inputs.levels, inputs.shape) != (stored.settings.levels, stored.shape):
        raise Mismatch(
            f"{base.storage} was made on inputs of shape {stored.shape} on the grid "
            f"1/{stored.settings.levels}; these have {inputs.shape} on 1/{inputs.levels}. "
            "Use the data of the base run."
        )
    if inputs.indices != stored.indices:
        raise Mismatch(
            f"{base.storage} was made on {len(stored.indices)} inputs, and {len(inputs)} inputs "
            "with other indices were given. Use the same --data, --split, --limit and --every."
        )
    if inputs.fingerprint != stored.data:
        changed = [
            index
            for index, now, then in zip(inputs.indices, inputs.contents, base.contents, strict=True)
            if now != then
        ]
        raise Mismatch(
            f"The data is not what {base.storage} was made on: {len(changed)} of {len(inputs)} "
            f"inputs have different content, the first at index {(changed or ['?'])[0]}. Use the "
            "data of the base run."
        )


def check_same_labels(base: Run, inputs: Inputs) -> None:
    """Raise Mismatch if an input's true class differs from the base run's."""
    pairs = list(zip(inputs.indices, inputs.labels or (), base.labels, strict=False))
    moved = [index for index, now, then in pairs if then is not None and now != then]
    if moved:
        raise Mismatch(
            f"{len(moved)} of {len(inputs)} inputs have a different true class than in "
            f"{base.storage}, the first at index {moved[0]}: the order of classes, or the labels, "
            "changed. Restore the original labels, or certify the original again."
        )
