"""Starting a run: the request, its directory and its plan; or resuming an existing one."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, StoreError
from smoothcert.execution.block_tasks import ALL, Shard, products_for
from smoothcert.execution.describe import Choices, block_inputs, described, planned_files
from smoothcert.execution.scheduler import Executor, run_serially
from smoothcert.methods import SCRATCH, Method, Sized, planned
from smoothcert.planning import sized, timed
from smoothcert.planning.wanted import check_base, check_classes
from smoothcert.runs import pilots, seed_use
from smoothcert.runs.bases import (
    cache_of,
    check_continued,
    check_same_inputs,
    check_same_labels,
    planner,
    run_pilot,
)
from smoothcert.runs.manifest import NAME, Identity, Manifest
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared, prepare
from smoothcert.sampling.time_limit import TimeLimit
from smoothcert.sampling.tuning import BatchConfig, in_layout, speed
from smoothcert.storage.base import Storage
from smoothcert.watchers.base import Watcher

_LOG = logging.getLogger(__name__)

_MOST_LOST = 0.05  # of the time of --minutes, by a block that it cuts off


@dataclass(frozen=True)
class RunOptions:
    """How to run; none of it changes a byte of the result but the batch and block sizes.

    Attributes:
        batch_size: rows per forward pass, or None to choose.
        block_inputs: inputs per block, or None to choose.
        resume: continue an existing run.
        progress: called with evaluations as they finish, by one thread at a time.
        executor: computes the blocks; by default this process does.
        origin: references to record in run.json, so that later commands find model and data.
        files: to keep in a new run's directory, contents by name.
        shard: the part of the blocks to compute; several shards may share a directory.
        watchers: called with certificates once a block is finished and stored, by any process.
        near: runs whose seeds a new one is compared with; see `seed_use.register`.
        limit: when to stop, or None.
        workers: processes of this machine that compute; None for those of a cluster.
        loading: seconds that this process took to load model and data, as the others will.
    """

    batch_size: int | None = None
    block_inputs: int | None = None
    resume: bool = False
    progress: Progress | None = None
    executor: Executor = run_serially
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    shard: Shard = ALL
    watchers: Sequence[Watcher] = ()
    near: Sequence[Run] = ()
    limit: TimeLimit | None = None
    workers: int | None = 1
    loading: float = 0.0

    @property
    def resumes(self) -> bool:
        """Whether an existing run is continued; another shard may have started it."""
        return self.resume or self.shard != ALL

    @property
    def picklable(self) -> "RunOptions":
        """The options as they are sent to another process: without callbacks and executor."""
        return replace(self, progress=None, executor=run_serially, watchers=(), limit=None)


DEFAULTS = RunOptions()


@dataclass(frozen=True)
class RunRequest:
    """A request for a run; it is opened with model and data, which may be on another machine.

    Attributes:
        storage: of the run.
        settings: of the certification from scratch; `off_grid` is that of the inputs it is opened
            with, not the value given here.
        method: settings of the method; None from scratch.
        base: the run to reuse, or None.
        options: how to run.
    """

    storage: Storage
    settings: Settings
    method: Method = SCRATCH
    base: Run | None = None
    options: RunOptions = DEFAULTS

    def open(self, classifier: Classifier, inputs: Inputs) -> Run:
        """Start the run, with its pilot and plan if it has one, or open it if it has started.

        Raises:
            Mismatch: model, data, settings and the existing run do not belong together.
            StoreError: the directory is in use, unfinished in its base, or cannot be written.
        """
        settings = replace(self.settings, off_grid=inputs.off_grid)
        if settings != self.settings:  # those of a base, or given without the inputs
            return replace(self, settings=settings).open(classifier, inputs)
        self._check(inputs)
        timing = timed.Timing.of(self.method, self.options.workers or 1, self.options.loading)
        ready, identity, origin = _prepare(self, classifier, inputs)
        if self.base is not None:
            check_classes(identity.num_classes, self.base.identity.num_classes)
            if self.method.continues:
                check_continued(self.base, identity, origin["probe_answers"])
        inputs.check_labels(identity.num_classes)
        if run := _resumed(self, identity, origin["probe_answers"]):
            self.register(identity, classifier.name)
            return run
        if timing is not None:
            timing = replace(timing, blocks=-(-len(inputs) // identity.block_inputs))
        try:
            self.storage.require_unused()
            self.register(identity, classifier.name)
            return self._created(identity, origin, ready, inputs, timing)
        except StoreError:
            if _existing(self) is None:
                raise
            return self.open(classifier, inputs)  # another process was first: as it chose

    def register(self, identity: Identity, name: str) -> None:
        """Register the run before its first evaluation; see `seed_use.register`."""
        seed_use.register(identity, name, self.storage, self.base, self.options.near)

    def _created(
        self,
        identity: Identity,
        origin: Mapping[str, Any],
        ready: Prepared,
        inputs: Inputs,
        timing: timed.Timing | None,
    ) -> Run:
        extra, progress = {}, self.options.progress
        if isinstance(self.method, Sized):
            votes = sized.select(ready.sampler(self.settings, progress), inputs, timing)
            plan = sized.allocations(votes, self.settings, self.method, identity.num_classes)
            extra = planned_files(pilots.StoredPilot(votes), plan, identity)
        if reuse := planned(self.method):
            assert self.base is not None
            cache = cache_of(self.base, self.settings)
            votes = run_pilot(cache, ready, inputs, reuse, progress, timing)
            origin = {**origin, "pilot_evaluations": votes.evaluations}
            # Kept: a resumed run must not plan again, and to verify it is to plan it again.
            pilot = pilots.of_method(self.base, reuse, votes)
            plan = planner(cache, self.base, pilot, reuse).plan()
            extra = planned_files(pilot, plan.allocations, identity)
        manifest = Manifest(identity, {**self.options.origin, **origin})
        return Run.create(
            self.storage, manifest, inputs.contents, inputs.labels, extra, self.options.files
        )

    def _check(self, inputs: Inputs) -> None:
        """Refuse what can be refused before any work."""
        self.method.check(self.settings, inputs.shape)
        sized.check_budget(self.method, self.settings, len(inputs))
        self._check_minutes()
        if self.base is not None:
            self.base.require_complete()
            check_base(self.base.identity.method, self.method)
            check_same_inputs(self.base, inputs)
            check_same_labels(self.base, inputs)
        if self.base is not None and self.method.prefix:
            pilots.require_unseen(self.base, self.method.prefix)

    def _check_minutes(self) -> None:
        """Refuse to plan by time what several machines compute."""
        several = self.options.shard != ALL or self.options.workers is None
        if several and timed.minutes_of(self.method) is not None and _existing(self) is None:
            raise InvalidInput(
                "A policy of minutes is measured on the machine that computes the run, and "
                "shards and clusters are several. Give budget:B, a count of evaluations, or "
                "stop with --minutes."
            )

    @property
    def draws(self) -> int:
        """About how many draws each input gets."""
        return max(1, self.method.draws(self.settings))


def _prepare(
    request: RunRequest, classifier: Classifier, inputs: Inputs
) -> tuple[Prepared, Identity, Mapping[str, Any]]:
    """The classifier as it will run, what the run will be, and what to record of these choices.

    What a resumed run has chosen stays; another machine might choose otherwise. A run that goes on
    with the draws of its base must compute them as these were.
    """
    before = _existing(request)
    if same := before or (request.base if request.method.continues else None):
        was, size, block = same.identity, request.options.batch_size, request.options.block_inputs
        classifier = in_layout(classifier, was.layout)
        block = block or (was.block_inputs if before else None)
        options = replace(request.options, batch_size=size or was.batch_size, block_inputs=block)
        request = replace(request, options=options)
    evaluations = timed.tuned_for(request.method, len(inputs) * request.draws)
    if request.options.limit and request.options.limit.minutes < timed.TUNED:
        evaluations = 0
    ready = prepare(
        classifier, inputs.item(0), request.settings, evaluations, request.options.batch_size
    )
    manifest = described(
        Choices(classifier, ready, request.settings, request.method),
        inputs,
        inputs.fingerprint,
        _block_inputs(request, len(inputs), _speed(request, ready, inputs)),
        request.base.identity.hash if request.base else "",
        products_for(same, classifier),
    )
    _log_choices(manifest.identity, ready)
    origin = dict(manifest.origin)
    if request.options.files:
        origin["files"] = {
            name: sha256(data).hexdigest() for name, data in request.options.files.items()
        }
    return ready, manifest.identity, origin


def _log_choices(identity: Identity, ready: Prepared) -> None:
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


def _speed(request: RunRequest, ready: Prepared, inputs: Inputs) -> float:
    """Evaluations per second, 0 if nobody needs to know: a time limit needs short blocks."""
    options, minutes = request.options, timed.minutes_of(request.method)
    if ready.speed or options.limit is None or options.block_inputs or minutes is not None:
        return ready.speed
    config = BatchConfig(ready.classifier, ready.batch_size)
    return speed(config, inputs.item(0), request.settings.noise)


def _block_inputs(request: RunRequest, inputs: int, speed: float) -> int:
    """Inputs of a block of a run; see `block_inputs`."""
    options, draws = request.options, request.draws
    if minutes := timed.minutes_of(request.method):
        speed = inputs * draws / (60 * minutes * (options.workers or 1))
    # What is unfinished when the time is over is lost.
    most = 60 * options.limit.minutes * _MOST_LOST if options.limit else math.inf
    return block_inputs(request.settings, draws, inputs, speed, options.block_inputs, most)


def _existing(request: RunRequest) -> Run | None:
    """The existing run, if it is to be continued."""
    storage = request.storage
    if not request.options.resumes or not storage.occupied:
        return None
    if not storage.exists(NAME):
        raise StoreError(
            f"{storage} already exists and is not empty, but has no run.json to resume from: it is "
            "not a run, or was copied incompletely. Copy it again, or choose another --out."
        )
    return Run.open(storage)


def _resumed(request: RunRequest, identity: Identity, answers: str) -> Run | None:
    """The existing run, if it is to be continued and is the same; damaged blocks are
    computed again.

    What cannot be computed again is read now, so that its damage shows before any work.
    """
    run = _existing(request)
    if run is None:
        return None
    run.identity.require(identity, str(request.storage))
    run.require_answers(answers)
    _ = run.contents
    if pilots.keeps_pilot(run):
        pilots.read_pilot(run)
    if damaged := run.drop_damaged():
        _LOG.info("Damaged blocks, to be computed again: %s", ", ".join(map(str, damaged)))
    _LOG.info("Resuming: %d of %d blocks are finished", len(run.finished), len(run.blocks))
    return run
