"""Runs on disk: the verbs over blocks of inputs, any of which can be lost and redone."""

from collections.abc import Sequence
from pathlib import Path

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.execution.block_tasks import Job, Task
from smoothcert.execution.following import following
from smoothcert.execution.scheduler import Executor, one_at_a_time
from smoothcert.execution.signals import deferred
from smoothcert.execution.start import DEFAULTS, RunOptions, RunRequest
from smoothcert.methods import Decision, Method
from smoothcert.runs.store import Run
from smoothcert.sampling.tuning import in_layout
from smoothcert.storage.base import open_storage
from smoothcert.watchers.base import Watcher


def run_certify(
    directory: Path | str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    options: RunOptions = DEFAULTS,
) -> Run:
    """Certify from scratch into a run directory; see `certify`."""
    request = RunRequest(open_storage(directory), settings, options=options)
    return execute(request, classifier, inputs)


def run_decide(
    directory: Path | str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    decision: Decision,
    options: RunOptions = DEFAULTS,
) -> Run:
    """Decide one radius for every input, into a run directory; see `decide`."""
    request = RunRequest(open_storage(directory), settings, decision, options=options)
    return execute(request, classifier, inputs)


def run_recertify(
    directory: Path | str,
    base: Run,
    classifier: Classifier,
    inputs: Inputs,
    method: Method,
    options: RunOptions = DEFAULTS,
) -> Run:
    """Recertify a base run's inputs with a new classifier into a run directory; see `recertify`."""
    storage, settings = open_storage(directory), base.identity.settings
    return execute(RunRequest(storage, settings, method, base, options), classifier, inputs)


def execute(request: RunRequest, classifier: Classifier, inputs: Inputs) -> Run:
    """Open a run with this process's model and data, and compute its blocks."""
    options, run = request.options, request.open(classifier, inputs)
    job = Job(run, request.base, options.shard, one_at_a_time(options.progress))
    here = Task(job, in_layout(classifier, run.identity.layout), inputs)
    return finish(job, here, options.executor, options.watchers)


def finish(
    job: Job, here: Task | None, executor: Executor, watchers: Sequence[Watcher] = ()
) -> Run:
    """Compute the blocks of an opened run.

    Args:
        job: the run and which blocks of it.
        here: computes blocks in this process, if it has model and data.
        executor: who computes.
        watchers: see `RunOptions`.

    Raises:
        KeyboardInterrupt: blocks are missing because Ctrl-C or SIGTERM asked for it.
    """
    with following(job.run, watchers) as finished:
        with deferred() as asked:
            executor(job.work(here, finished), asked)
        if job.missing and asked():
            raise KeyboardInterrupt(asked())
    if not job.run.missing:
        job.run.storage.remove_temporary()
    found = Run.open(job.run.storage)
    found.identity.require(job.run.identity, str(found.storage))
    return found
