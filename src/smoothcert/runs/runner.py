"""Runs on disk: the verbs over blocks of inputs, any of which can be lost and redone."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from smoothcert.certificate import Record, Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import Mismatch
from smoothcert.methods import Decision, Irs, Method, Reuse, sequential
from smoothcert.runs import ledger
from smoothcert.runs.manifest import Identity, Manifest
from smoothcert.runs.plans import plan_bytes, read_plan
from smoothcert.runs.store import Run, StoredRecords, require_unused
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.inputs import Inputs
from smoothcert.sampling.probe import probe
from smoothcert.sampling.tuning import arranged, in_layout, layout_of
from smoothcert.verbs import planned
from smoothcert.verbs.certify import certify_items
from smoothcert.verbs.decide import decide_items
from smoothcert.verbs.recertify import check_base, check_classes, recertify_items

# Draws per block: some seconds of work, and a few megabytes of labels in memory.
_BLOCK_DRAWS = 2**21
_MOST_INPUTS = 256


class Map(Protocol):
    """An executor: the built-in `map`, `ThreadPoolExecutor.map`, ... The order is free."""

    def __call__(self, function: Callable[[int], None], blocks: Iterable[int], /) -> Iterable[None]:
        """Apply the function to every block."""
        ...


@dataclass(frozen=True)
class How:
    """How to run, none of which changes a byte of the result but the batch and block sizes.

    Attributes:
        batch_size: rows per forward pass, or None to choose.
        block_inputs: inputs per block, or None to choose.
        resume: continue a run that is already there.
        progress: called with evaluations as they finish.
        map: the executor.
        origin: references to record in run.json, so that later commands find model and data.
        files: to keep in a new run's directory, contents by name.
    """

    batch_size: int | None = None
    block_inputs: int | None = None
    resume: bool = False
    progress: Progress | None = None
    map: Map = map
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def run_certify(
    directory: Path | str, classifier: Classifier, inputs: Inputs, settings: Settings, how: How
) -> Run:
    """Certify from scratch into a run directory; see `certify`."""
    draws = settings.n0 + settings.n
    classifier, size = _arrangement(directory, classifier, inputs, settings, draws, how)
    identity, row_exact = _identity(classifier, inputs, settings, None, draws, "", how, size)
    inputs.check_labels(identity.num_classes)
    run = _open(directory, identity, row_exact, inputs, how)

    def work(positions: range) -> Iterable[Record]:
        items = map(inputs.item, positions)
        return certify_items(
            classifier, items, settings, identity.num_classes, identity.batch_size, how.progress
        )

    return _run_blocks(run, work, how)


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
    classifier, size = _arrangement(directory, classifier, inputs, settings, settings.n // 10, how)
    identity, row_exact = _identity(classifier, inputs, settings, decision, 1, "", how, size)
    inputs.check_labels(identity.num_classes)
    run = _open(directory, identity, row_exact, inputs, how)

    def work(positions: range) -> Iterable[Record]:
        items = map(inputs.item, positions)
        size = identity.batch_size
        return decide_items(classifier, items, settings, decision, size, how.progress)

    return _run_blocks(run, work, how)


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
    classifier, size = _arrangement(directory, classifier, inputs, settings, draws, how)
    identity, row_exact = _identity(
        classifier, inputs, settings, method, draws, base.identity.hash, how, size
    )
    check_classes(identity.num_classes, base.identity.num_classes)
    inputs.check_labels(identity.num_classes)
    if isinstance(method, Irs):
        run = _open(directory, identity, row_exact, inputs, how)
        work = _irs_work(base, classifier, inputs, method, identity, how)
    else:
        run = _resumed(directory, identity, how)
        if run is None:
            run = _create_planned(
                directory, base, classifier, inputs, method, identity, row_exact, how
            )
        work = _planned_work(run, base, classifier, inputs, method, how)
    run = _run_blocks(run, work, how)
    ledger.enter(base, run, classifier)
    return run


_Work = Callable[[range], Iterable[Record]]


def _irs_work(
    base: Run, classifier: Classifier, inputs: Inputs, irs: Irs, identity: Identity, how: How
) -> _Work:
    def work(positions: range) -> Iterable[Record]:
        pairs = zip(map(inputs.item, positions), base.records(positions), strict=True)
        size = identity.batch_size
        return recertify_items(classifier, pairs, identity.settings, irs, size, how.progress)

    return work


def _planned_work(
    run: Run, base: Run, classifier: Classifier, inputs: Inputs, reuse: Reuse, how: How
) -> _Work:
    shares = read_plan(run.path)

    def work(positions: range) -> Iterable[Record]:
        items, records = map(inputs.item, positions), base.records(positions)
        triples = zip(items, records, (shares[p] for p in positions), strict=True)
        facts = (run.identity.settings, reuse, run.identity.batch_size)
        return planned.replay_items(classifier, triples, *facts, how.progress)

    return work


def _create_planned(
    directory: Path | str,
    base: Run,
    classifier: Classifier,
    inputs: Inputs,
    reuse: Reuse,
    identity: Identity,
    row_exact: bool,
    how: How,
) -> Run:
    """Run the pilot, make the plan, and store it with the run: a resumed one must not replan."""
    require_unused(directory)
    prospects = explore(base, classifier, inputs, reuse, identity.batch_size)
    spent = prospects.pilot.evaluations
    origin = {**how.origin, "row_exact": row_exact, "pilot_evaluations": spent}
    extra = {**how.files, "plan.parquet": plan_bytes(prospects.plan().shares, identity.indices)}
    manifest = Manifest(identity, origin)
    return Run.create(directory, manifest, inputs.contents, inputs.labels, extra)


def explore(
    base: Run, classifier: Classifier, inputs: Inputs, reuse: Reuse, batch_size: int
) -> planned.Prospects:
    """Run the pilot against a base run; its certificates are read without their votes."""
    stored = (base.certificates, StoredRecords(base), base.identity.settings)
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


def _arrangement(
    directory: Path | str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    draws: int,
    how: How,
) -> tuple[Classifier, int]:
    """Memory layout and batch size: a resumed run's own, else given, else found."""
    if how.resume and (Path(directory) / "run.json").exists():
        stored = Run.open(directory).identity
        return in_layout(classifier, stored.layout), how.batch_size or stored.batch_size
    evaluations = len(inputs) * draws
    item = inputs.item(0)
    chosen = arranged(classifier, item, settings.noise, evaluations, how.batch_size)
    return chosen.classifier, chosen.batch_size


def _identity(
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    method: Method | None,
    draws: int,
    base: str,
    how: How,
    size: int,
) -> tuple[Identity, bool]:
    """What the run will be, and whether the probe saw rows independent to the last bit."""
    found = probe(classifier, inputs.item(0), settings.noise, settings.seed, size)
    identity = Identity(
        settings=settings,
        method=method,
        model=classifier.fingerprint,
        data=inputs.fingerprint,
        indices=inputs.indices,
        shape=inputs.shape,
        num_classes=found.num_classes,
        batch_size=size,
        block_inputs=how.block_inputs or max(1, min(_MOST_INPUTS, _BLOCK_DRAWS // draws)),
        device=classifier.device,
        noise_hash=found.noise_hash,
        base=base,
        layout=layout_of(classifier),
    )
    return identity, found.row_exact


def _open(
    directory: Path | str, identity: Identity, row_exact: bool, inputs: Inputs, how: How
) -> Run:
    if run := _resumed(directory, identity, how):
        return run
    manifest = Manifest(identity, {**how.origin, "row_exact": row_exact})
    return Run.create(directory, manifest, inputs.contents, inputs.labels, how.files)


def _resumed(directory: Path | str, identity: Identity, how: How) -> Run | None:
    """The run that is there, if it is to be continued and is the same."""
    if not (how.resume and (Path(directory) / "run.json").exists()):
        return None
    run = Run.open(directory)
    run.identity.require(identity, str(directory))
    return run


def _run_blocks(run: Run, work: _Work, how: How) -> Run:
    def one(block: int) -> None:
        start = time.perf_counter()
        records = tuple(work(run.blocks[block]))
        run.write_block(block, records, time.perf_counter() - start)

    for _ in how.map(one, run.missing):
        pass
    return Run(run.path, run.manifest)
