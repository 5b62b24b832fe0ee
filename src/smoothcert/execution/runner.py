"""Runs on disk: the verbs over blocks of inputs, any of which can be lost and redone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.execution.block_tasks import ALL, Job, Shard, Task
from smoothcert.execution.following import following
from smoothcert.execution.scheduler import Executor, alone, one_at_a_time
from smoothcert.execution.signals import deferred
from smoothcert.execution.start import Opening
from smoothcert.methods import Decision, Method
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.inputs import Inputs
from smoothcert.sampling.tuning import in_layout
from smoothcert.storage.base import place
from smoothcert.watching import Watcher


@dataclass(frozen=True)
class How:
    """How to run, none of which changes a byte of the result but the batch and block sizes.

    Attributes:
        batch_size: rows per forward pass, or None to choose.
        block_inputs: inputs per block, or None to choose.
        resume: continue a run that is already there.
        progress: called with evaluations as they finish, by one thread at a time.
        executor: who computes the blocks; this process by default.
        origin: references to record in run.json, so that later commands find model and data.
        files: to keep in a new run's directory, contents by name.
        shard: the part of the blocks to compute; several shards may share a directory.
        watchers: told of certificates as blocks are finished, by whatever process, and stored.
        near: runs whose seeds a new one is compared with; see `reach.begin`.
    """

    batch_size: int | None = None
    block_inputs: int | None = None
    resume: bool = False
    progress: Progress | None = None
    executor: Executor = alone
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    shard: Shard = ALL
    watchers: Sequence[Watcher] = ()
    near: Sequence[Run] = ()

    def opening(self, directory: Path | str, settings: Settings) -> Opening:
        """A run from scratch in a folder or at a URI; `replace` makes others of it."""
        return Opening(
            place(directory),
            settings,
            batch_size=self.batch_size,
            block_inputs=self.block_inputs,
            resume=self.resume or self.shard != ALL,
            origin=self.origin,
            files=self.files,
            near=self.near,
        )


def run_certify(
    directory: Path | str, classifier: Classifier, inputs: Inputs, settings: Settings, how: How
) -> Run:
    """Certify from scratch into a run directory; see `certify`."""
    return run_here(how.opening(directory, settings), classifier, inputs, how)


def run_decide(
    directory: Path | str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    decision: Decision,
    how: How,
) -> Run:
    """Decide one radius for every input, into a run directory; see `decide`."""
    opening = replace(how.opening(directory, settings), method=decision)
    return run_here(opening, classifier, inputs, how)


def run_recertify(
    directory: Path | str,
    base: Run,
    classifier: Classifier,
    inputs: Inputs,
    method: Method,
    how: How,
) -> Run:
    """Recertify a base run's inputs with a new classifier into a run directory; see `recertify`."""
    opening = how.opening(directory, base.identity.settings)
    return run_here(replace(opening, method=method, base=base), classifier, inputs, how)


def run_here(opening: Opening, classifier: Classifier, inputs: Inputs, how: How) -> Run:
    """Open a run with this process's model and data, and compute its blocks."""
    run = opening.open(classifier, inputs)
    job = Job(run, opening.base, how.shard, one_at_a_time(how.progress))
    here = Task(job, in_layout(classifier, run.identity.layout), inputs)
    return finish(job, here, how.executor, how.watchers)


def finish(
    job: Job, here: Task | None, executor: Executor, watchers: Sequence[Watcher] = ()
) -> Run:
    """Compute the blocks of an opened run.

    Args:
        job: the run and which blocks of it.
        here: computes blocks in this process, if it has model and data.
        executor: who computes.
        watchers: see `How`.

    Raises:
        KeyboardInterrupt: blocks are missing because Ctrl-C or SIGTERM asked for it.
    """
    with following(job.run, watchers) as finished:
        with deferred() as asked:
            executor(job.work(here, finished), asked)
        if job.missing and asked():
            raise KeyboardInterrupt(asked())
    if not job.run.missing:
        job.run.place.sweep()
    found = Run.open(job.run.place)
    found.identity.require(job.run.identity, str(found.place))
    return found
