"""Runs on disk: the verbs over blocks of inputs, any of which can be lost and redone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import InvalidInput, Mismatch, StoreError
from smoothcert.methods import Decision, Irs, Method, Reuse, sequential
from smoothcert.runs import ledger, memory, plans
from smoothcert.runs.manifest import Identity, Manifest
from smoothcert.runs.signals import deferred
from smoothcert.runs.store import Run, require_unused
from smoothcert.runs.untrusted import MOST_DRAWS
from smoothcert.runs.work import Executor, Task, alone, device_kind
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.inputs import Inputs
from smoothcert.sampling.probe import probe
from smoothcert.sampling.tuning import Arrangement, arranged, first_size, in_layout, layout_of
from smoothcert.verbs import planned
from smoothcert.verbs.recertify import check_base, check_classes

# Draws per block: some seconds of work, and a few megabytes of labels in memory.
_BLOCK_DRAWS = 2**21
_MOST_INPUTS = 256


_Facts = Mapping[str, Any]


@dataclass(frozen=True)
class How:
    """How to run, none of which changes a byte of the result but the batch and block sizes.

    Attributes:
        batch_size: rows per forward pass, or None to choose.
        block_inputs: inputs per block, or None to choose.
        resume: continue a run that is already there.
        progress: called with evaluations as they finish.
        executor: who computes the blocks; this process by default.
        origin: references to record in run.json, so that later commands find model and data.
        files: to keep in a new run's directory, contents by name.
    """

    batch_size: int | None = None
    block_inputs: int | None = None
    resume: bool = False
    progress: Progress | None = None
    executor: Executor = alone
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def run_certify(
    directory: Path | str, classifier: Classifier, inputs: Inputs, settings: Settings, how: How
) -> Run:
    """Certify from scratch into a run directory; see `certify`."""
    draws = settings.n0 + settings.n
    classifier, identity, facts = _begin(
        directory, classifier, inputs, settings, None, draws, "", how
    )
    inputs.check_labels(identity.num_classes)
    run = _open(directory, identity, facts, inputs, how)
    return _run_blocks(Task(run, None, classifier, inputs, how.progress), how)


def run_decide(
    directory: Path | str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    decision: Decision,
    how: How,
) -> Run:
    """Decide one radius for every input, into a run directory; see `decide`."""
    sequential.thresholds(decision, settings, inputs.shape)  # a radius out of reach, before work
    # Rounds fill batches only if many inputs are watched together, most of them briefly.
    classifier, identity, facts = _begin(
        directory, classifier, inputs, settings, decision, 1, "", how
    )
    inputs.check_labels(identity.num_classes)
    run = _open(directory, identity, facts, inputs, how)
    return _run_blocks(Task(run, None, classifier, inputs, how.progress), how)


def run_recertify(
    directory: Path | str,
    base: Run,
    classifier: Classifier,
    inputs: Inputs,
    method: Irs | Reuse,
    how: How,
) -> Run:
    """Recertify a base run's inputs with a new classifier into a run directory; see `recertify`."""
    base.require_complete()
    check_base(base.identity.method)
    check_same_inputs(base, inputs)
    settings = base.identity.settings
    draws = method.per_input if isinstance(method, Irs) else settings.n // 10 + 1
    classifier, identity, facts = _begin(
        directory, classifier, inputs, settings, method, draws, base.identity.hash, how
    )
    check_classes(identity.num_classes, base.identity.num_classes)
    inputs.check_labels(identity.num_classes)
    if isinstance(method, Irs):
        run = _open(directory, identity, facts, inputs, how)
    else:
        run = _resumed(directory, identity, how)
        if run is None:
            run = _create_planned(directory, base, classifier, inputs, method, identity, facts, how)
    run = _run_blocks(Task(run, base, classifier, inputs, how.progress), how)
    ledger.enter(base, run, classifier)
    return run


def _create_planned(
    directory: Path | str,
    base: Run,
    classifier: Classifier,
    inputs: Inputs,
    reuse: Reuse,
    identity: Identity,
    facts: _Facts,
    how: How,
) -> Run:
    """Run the pilot, make the plan, and store it with the run: a resumed one must not replan."""
    require_unused(directory)
    with memory.explaining(identity.batch_size):
        prospects = explore(base, classifier, inputs, reuse, identity.batch_size)
    spent = prospects.pilot.evaluations
    origin = {**how.origin, **facts, "pilot_evaluations": spent}
    extra = {plans.NAME: plans.plan_bytes(prospects.plan().shares, identity.indices)}
    manifest = Manifest(identity, origin)
    return _created(directory, manifest, inputs, how, extra)


def explore(
    base: Run, classifier: Classifier, inputs: Inputs, reuse: Reuse, batch_size: int
) -> planned.Prospects:
    """Run the pilot against a base run; its certificates are read without their votes."""
    stored = (base.certificates, base.stored_records, base.identity.settings)
    return planned.explore(classifier, inputs, *stored, reuse, batch_size)


def check_same_inputs(base: Run, inputs: Inputs) -> None:
    """Raise Mismatch unless these are the inputs, in content and order, of the base run."""
    stored = base.identity
    if (inputs.levels, inputs.shape) != (stored.settings.levels, stored.shape):
        raise Mismatch(
            f"{base.path} was made on inputs of shape {stored.shape} on the grid "
            f"1/{stored.settings.levels}; these have {inputs.shape} on 1/{inputs.levels}. "
            "Use the data of the base run."
        )
    if inputs.indices != stored.indices:
        raise Mismatch(
            f"{base.path} was made on {len(stored.indices)} inputs, and {len(inputs)} inputs "
            "with other indices were given. Use the same --data, --split, --limit and --every."
        )
    if inputs.fingerprint != stored.data:
        changed = [
            index
            for index, now, then in zip(inputs.indices, inputs.contents, base.contents, strict=True)
            if now != then
        ]
        raise Mismatch(
            f"The data is not what {base.path} was made on: {len(changed)} of {len(inputs)} "
            f"inputs have other content, the first at index {(changed or ['?'])[0]}. Use the data "
            "of the base run."
        )


def _begin(
    directory: Path | str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    method: Method | None,
    draws: int,
    base: str,
    how: How,
) -> tuple[Classifier, Identity, _Facts]:
    """The classifier as it will run, what the run will be, and what to record of how that came.

    What a resumed run has chosen stays; another machine might choose otherwise.
    """
    item, noise = inputs.item(0), settings.noise
    if before := _there(directory, how):
        was = before.identity
        classifier = in_layout(classifier, was.layout)
        how = replace(
            how,
            batch_size=how.batch_size or was.batch_size,
            block_inputs=how.block_inputs or was.block_inputs,
        )
    asked = how.batch_size or classifier.fixed_batch
    found, size, too_large = memory.fitting(
        lambda rows: probe(classifier, item, noise, settings.seed, rows),
        asked or first_size(classifier, inputs.shape),
        free=not asked,
    )
    first = start = Arrangement(classifier, size)
    if how.batch_size is None:
        start = arranged(first, item, noise, len(inputs) * draws)
    if start is not first:
        found = probe(start.classifier, item, noise, settings.seed, start.batch_size)
    identity = Identity(
        settings=settings,
        method=method,
        model=classifier.fingerprint,
        data=inputs.fingerprint,
        indices=inputs.indices,
        shape=inputs.shape,
        num_classes=found.num_classes,
        batch_size=start.batch_size,
        block_inputs=_block_inputs(how, draws, settings, len(inputs)),
        device=device_kind(classifier),
        noise_hash=found.noise_hash,
        base=base,
        layout=layout_of(start.classifier),
    )
    facts: dict[str, Any] = {"batches_too_large": list(too_large)} if too_large else {}
    if how.files:
        facts["files"] = {name: sha256(data).hexdigest() for name, data in how.files.items()}
    return start.classifier, identity, {"row_exact": found.row_exact, **facts}


def _block_inputs(how: How, draws: int, settings: Settings, inputs: int) -> int:
    """Inputs of a block: as asked for, or some seconds of work; never more than can be read."""
    each = settings.n0 + settings.n
    found = how.block_inputs or max(1, min(_MOST_INPUTS, _BLOCK_DRAWS // draws, MOST_DRAWS // each))
    if min(found, inputs) * each > MOST_DRAWS:
        raise InvalidInput(
            f"A block of {min(found, inputs)} inputs with {each} draws each has more than the "
            f"{MOST_DRAWS} draws that a block may have. Use a smaller --block-inputs, or a "
            "smaller n."
        )
    return found


def _open(
    directory: Path | str, identity: Identity, facts: _Facts, inputs: Inputs, how: How
) -> Run:
    if run := _resumed(directory, identity, how):
        return run
    manifest = Manifest(identity, {**how.origin, **facts})
    return _created(directory, manifest, inputs, how)


def _created(
    directory: Path | str,
    manifest: Manifest,
    inputs: Inputs,
    how: How,
    extra: Mapping[str, bytes] | None = None,
) -> Run:
    """The new run, or the same one if another process has just started it and it may be resumed."""
    try:
        return Run.create(directory, manifest, inputs.contents, inputs.labels, extra, how.files)
    except StoreError:
        if run := _resumed(directory, manifest.identity, how):
            return run
        raise


def _there(directory: Path | str, how: How) -> Run | None:
    """The run that is there, if it is to be continued."""
    path = Path(directory)
    if not how.resume or not path.is_dir() or not any(path.iterdir()):
        return None
    if not (path / "run.json").exists():
        raise StoreError(
            f"{path} already exists and is not empty, but has no run.json to resume from: it is "
            "no run, or was copied incompletely. Copy it again, or choose another --out."
        )
    return Run.open(path)


def _resumed(directory: Path | str, identity: Identity, how: How) -> Run | None:
    """The run that is there, if it is to be continued and is the same; damaged blocks are redone.

    What cannot be redone is read now, so that its damage shows before any work.
    """
    run = _there(directory, how)
    if run is None:
        return None
    run.identity.require(identity, str(directory))
    _ = run.contents
    run.mend()
    return run


def _run_blocks(task: Task, how: How) -> Run:
    run = task.run
    with deferred() as asked:
        how.executor(task, asked)
    if run.missing and asked():
        raise KeyboardInterrupt(asked())
    run.sweep()
    return Run(run.path, run.manifest)
