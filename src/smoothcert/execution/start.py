"""The start of a run: what it will be, its directory, and its plan; or finding it started."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import InvalidInput, Mismatch, StoreError
from smoothcert.execution.block_tasks import device_kind
from smoothcert.execution.scheduler import best_block_seconds
from smoothcert.methods import SCRATCH, Method, Reuse, planned
from smoothcert.runs import pilots, plans, reach
from smoothcert.runs.manifest import NAME, Identity, Manifest
from smoothcert.runs.store import Run
from smoothcert.runs.validation import MOST_DRAWS
from smoothcert.sampling.inputs import Inputs
from smoothcert.sampling.prepare import Prepared, prepare
from smoothcert.sampling.tuning import in_layout, layout_of
from smoothcert.storage.base import Place, require_unused
from smoothcert.verbs import planned as planning
from smoothcert.verbs.pilot import PilotVotes
from smoothcert.verbs.recertify import check_base, check_classes

_LOG = logging.getLogger(__name__)

# Draws per block: at most a few megabytes of labels in memory.
_BLOCK_DRAWS = 2**21
_MOST_INPUTS = 256
# What the length of a block follows from, where the speed is known: seconds to hand one out and to
# store it, and how often a preemptible worker goes.
_OVERHEAD = 0.02
_FAILURES_PER_HOUR = 1 / 20


@dataclass(frozen=True)
class Opening:
    """What a run is to be; with model and data, which may be elsewhere, it can be opened.

    Attributes:
        place: of the run.
        settings: of the certification from scratch; `off_grid` is that of the inputs it is opened
            with, whatever stands here.
        method: its settings.
        base: the run to reuse, or None.
        batch_size: rows per forward pass, or None to choose.
        block_inputs: inputs per block, or None to choose.
        resume: continue a run that is already there.
        origin: references to record in run.json, so that later commands find model and data.
        files: to keep in a new run's directory, contents by name.
        near: runs whose seeds it is compared with; see `reach.begin`.
    """

    place: Place
    settings: Settings
    method: Method = SCRATCH
    base: Run | None = None
    batch_size: int | None = None
    block_inputs: int | None = None
    resume: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    near: Sequence[Run] = ()

    def open(self, classifier: Classifier, inputs: Inputs) -> Run:
        """Start the run, with its pilot and plan if it has one, or find it started.

        Raises:
            Mismatch: model, data, settings and what is there do not belong together.
            StoreError: the directory is in use, unfinished in its base, or cannot be written.
        """
        settings = replace(self.settings, off_grid=inputs.off_grid)
        if settings != self.settings:  # those of a base, or given without the inputs
            return replace(self, settings=settings).open(classifier, inputs)
        self._check(inputs)
        ready, identity, facts = _begin(self, classifier, inputs)
        if self.base is not None:
            check_classes(identity.num_classes, self.base.identity.num_classes)
        inputs.check_labels(identity.num_classes)
        if run := _resumed(self, identity, facts["probe_answers"]):
            self.begin(identity, classifier.name)
            return run
        try:
            require_unused(self.place)
            self.begin(identity, classifier.name)
            return self._created(identity, facts, ready, inputs)
        except StoreError:
            if _there(self) is None:
                raise
            return self.open(classifier, inputs)  # another process was first: as it chose

    def begin(self, identity: Identity, name: str) -> None:
        """What a run does before its first evaluation; see `reach.begin`."""
        reach.begin(identity, name, self.place, self.base, self.near)

    def _created(
        self, identity: Identity, facts: Mapping[str, Any], ready: Prepared, inputs: Inputs
    ) -> Run:
        extra = {}
        if reuse := planned(self.method):
            assert self.base is not None
            votes = run_pilot(self.base, ready, inputs, reuse)
            facts = {**facts, "pilot_evaluations": votes.evaluations}
            # Kept: a resumed run must not plan again, and whoever verifies it plans it again.
            pilot = pilots.StoredPilot(votes, pilots.shown(self.base))
            plan = planner(self.base, pilot, self.settings, reuse).plan()
            extra[pilots.NAME] = pilots.pilot_bytes(pilot, identity.indices)
            extra[plans.NAME] = plans.plan_bytes(plan.allocations, identity.indices)
        manifest = Manifest(identity, {**self.origin, **facts})
        facts_of_inputs = (inputs.contents, inputs.labels)
        return Run.create(self.place, manifest, *facts_of_inputs, extra, self.files)

    def _check(self, inputs: Inputs) -> None:
        """What can be refused before any work."""
        self.method.check(self.settings, inputs.shape)
        if self.base is not None:
            self.base.require_complete()
            check_base(self.base.identity.method)
            check_same_inputs(self.base, inputs)
            check_same_labels(self.base, inputs)
        if self.base is not None and self.method.prefix:
            pilots.require_unseen(self.base, self.method.prefix)

    @property
    def draws(self) -> int:
        """About how many each input gets."""
        return self.method.draws(self.settings)


def cache_of(base: Run, settings: Settings) -> planning.Cache:
    """What a base run left behind; its certificates are read without their votes."""
    return planning.Cache(base.certificates, base.stored_records, settings)


def explore(base: Run, ready: Prepared, inputs: Inputs, reuse: Reuse) -> planning.Planner:
    """Run a pilot against a base run and keep it there, since its outcome is about to be shown.

    Raises:
        StoreError: the base run cannot be written to, so that no later recertification would know
            which draws to set aside.
    """
    votes = run_pilot(base, ready, inputs, reuse)
    pilots.keep(base, ready.classifier.fingerprint, reuse, votes)
    settings = replace(base.identity.settings, off_grid=inputs.off_grid)
    return planner(base, pilots.StoredPilot(votes, pilots.shown(base)), settings, reuse)


def run_pilot(base: Run, ready: Prepared, inputs: Inputs, reuse: Reuse) -> PilotVotes:
    """Run the pilot against a base run."""
    cache = cache_of(base, base.identity.settings)
    return planning.pilot(ready.sampler(cache.settings), inputs, cache, reuse)


def planner(
    base: Run, pilot: pilots.StoredPilot, settings: Settings, reuse: Reuse
) -> planning.Planner:
    """What a plan can be made from: a pilot, and the base run with the pilots shown of it before.

    Args:
        base: the base run.
        pilot: of the new classifier.
        settings: of the new run.
        reuse: of the method.

    Raises:
        Damaged: a pilot that is named is not there, or was changed.
        ValueError: the pilot is not of this base run.
    """
    shown = pilots.positions_of(base, pilot.shown)
    return cache_of(base, settings).planner(pilot.votes, reuse, shown)


def check_same_inputs(base: Run, inputs: Inputs) -> None:
    """Raise Mismatch unless these are the inputs, in content and order, of the base run."""
    stored = base.identity
    if (inputs.levels, inputs.shape) != (stored.settings.levels, stored.shape):
        raise Mismatch(
            f"{base.place} was made on inputs of shape {stored.shape} on the grid "
            f"1/{stored.settings.levels}; these have {inputs.shape} on 1/{inputs.levels}. "
            "Use the data of the base run."
        )
    if inputs.indices != stored.indices:
        raise Mismatch(
            f"{base.place} was made on {len(stored.indices)} inputs, and {len(inputs)} inputs "
            "with other indices were given. Use the same --data, --split, --limit and --every."
        )
    if inputs.fingerprint != stored.data:
        changed = [
            index
            for index, now, then in zip(inputs.indices, inputs.contents, base.contents, strict=True)
            if now != then
        ]
        raise Mismatch(
            f"The data is not what {base.place} was made on: {len(changed)} of {len(inputs)} "
            f"inputs have other content, the first at index {(changed or ['?'])[0]}. Use the data "
            "of the base run."
        )


def check_same_labels(base: Run, inputs: Inputs) -> None:
    """Raise Mismatch if an input has another true class than in the base run."""
    pairs = list(zip(inputs.indices, inputs.labels or (), base.labels, strict=False))
    moved = [index for index, now, then in pairs if then is not None and now != then]
    if moved:
        raise Mismatch(
            f"{len(moved)} of {len(inputs)} inputs have another true class than in {base.place}, "
            f"the first at index {moved[0]}: the order of classes, or the labels, changed. Give "
            "the data its labels of then, or certify the original again."
        )


def _begin(
    opening: Opening, classifier: Classifier, inputs: Inputs
) -> tuple[Prepared, Identity, Mapping[str, Any]]:
    """The classifier as it will run, what the run will be, and what to record of how that came.

    What a resumed run has chosen stays; another machine might choose otherwise.
    """
    if before := _there(opening):
        was = before.identity
        classifier = in_layout(classifier, was.layout)
        opening = replace(
            opening,
            batch_size=opening.batch_size or was.batch_size,
            block_inputs=opening.block_inputs or was.block_inputs,
        )
    evaluations = len(inputs) * opening.draws
    facts_of_run = (opening.settings, evaluations, opening.batch_size)
    ready = prepare(classifier, inputs.item(0), *facts_of_run)
    identity = Identity(
        settings=opening.settings,
        method=opening.method,
        model=classifier.fingerprint,
        data=inputs.fingerprint,
        indices=inputs.indices,
        shape=inputs.shape,
        num_classes=ready.probe.num_classes,
        batch_size=ready.batch_size,
        block_inputs=_block_inputs(opening, len(inputs), ready.speed),
        device=device_kind(classifier),
        noise_hash=ready.probe.noise_hash,
        base=opening.base.identity.hash if opening.base else "",
        layout=layout_of(ready.classifier),
    )
    _note(identity, ready)
    facts: dict[str, Any] = {"batches_too_large": list(ready.too_large)} if ready.too_large else {}
    if opening.files:
        facts["files"] = {name: sha256(data).hexdigest() for name, data in opening.files.items()}
    facts |= {"row_exact": ready.probe.row_exact, "probe_answers": ready.probe.answers}
    return ready, identity, facts


def _note(identity: Identity, ready: Prepared) -> None:
    """Log what was decided."""
    speed, too_large = ready.speed, ready.too_large
    measured = f", {speed:,.0f} evaluations/s when tried" if speed else ""
    layout = f" in the memory layout {identity.layout}" if identity.layout else ""
    _LOG.info(
        "Device %s, batches of %d%s%s", identity.device, identity.batch_size, layout, measured
    )
    if too_large:
        _LOG.info("Batches that did not fit into memory: %s", ", ".join(map(str, too_large)))
    exact = "are the same bits" if ready.probe.row_exact else "differ in their last bits"
    _LOG.info(
        "The model has %d classes; a row's logits %s wherever it stands in a batch",
        identity.num_classes,
        exact,
    )
    inputs, block = len(identity.indices), identity.block_inputs
    _LOG.info("%d inputs in blocks of %d", inputs, min(block, inputs))


def _block_inputs(opening: Opening, inputs: int, speed: float) -> int:
    """Inputs of a block: as asked for, or what wastes least; never more than can be read."""
    each = opening.settings.n0 + opening.settings.n
    usual = min(_MOST_INPUTS, _BLOCK_DRAWS // opening.draws, MOST_DRAWS // each)
    if speed > 0:
        work = inputs * opening.draws / speed
        seconds = best_block_seconds(work, _OVERHEAD, _FAILURES_PER_HOUR)
        # A power of two, so that a speed that wavers seldom makes another run of the same command.
        usual = min(usual, 2 ** int(math.log2(max(1.0, seconds * speed / opening.draws))))
    found = opening.block_inputs or max(1, usual)
    if min(found, inputs) * each > MOST_DRAWS:
        raise InvalidInput(
            f"A block of {min(found, inputs)} inputs with {each} draws each has more than the "
            f"{MOST_DRAWS} draws that a block may have. Use a smaller --block-inputs, or a "
            "smaller n."
        )
    return found


def _there(opening: Opening) -> Run | None:
    """The run that is there, if it is to be continued."""
    place = opening.place
    if not opening.resume or not place.used:
        return None
    if not place.has(NAME):
        raise StoreError(
            f"{place} already exists and is not empty, but has no run.json to resume from: it is "
            "no run, or was copied incompletely. Copy it again, or choose another --out."
        )
    return Run.open(place)


def _resumed(opening: Opening, identity: Identity, answers: str) -> Run | None:
    """The run that is there, if it is to be continued and is the same; damaged blocks are redone.

    What cannot be redone is read now, so that its damage shows before any work.
    """
    run = _there(opening)
    if run is None:
        return None
    run.identity.require(identity, str(opening.place))
    run.require_answers(answers)
    _ = run.contents
    if pilots.keeps_pilot(run):
        pilots.read_pilot(run)
    if damaged := run.mend():
        _LOG.info("Damaged blocks, to be done again: %s", ", ".join(map(str, damaged)))
    _LOG.info("Resuming: %d of %d blocks are there", len(run.finished), len(run.blocks))
    return run
