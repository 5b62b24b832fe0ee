"""Runs on disk: the functions of `api` in blocks of inputs, any of which can be made again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import StoreError
from smoothcert.execution.block_tasks import Job, RunTask
from smoothcert.execution.scheduler import Executor, thread_safe
from smoothcert.execution.signals import deferred_signals
from smoothcert.execution.start import DEFAULTS, RunOptions, RunRequest
from smoothcert.methods import SCRATCH, Decision, Method, stated
from smoothcert.runs.store import Run
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.sampling.tuning import in_layout
from smoothcert.storage.opening import open_storage
from smoothcert.text import visible
from smoothcert.watchers.base import Start, Watcher, notifying


def run_certify(
    directory: Path | str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    options: RunOptions = DEFAULTS,
    method: Method = SCRATCH,
) -> Run:
    """Certify from scratch into a run directory, by a method without a base; see `certify`."""
    request = RunRequest(open_storage(directory), settings, method, options=options)
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
    return run_certify(directory, classifier, inputs, settings, options, decision)


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
    return carry_out(request, request.open(classifier, inputs), classifier, inputs)


def carry_out(request: RunRequest, run: Run, classifier: Classifier, inputs: Inputs) -> Run:
    """Compute the blocks of a run that a request has opened, with the same model and data."""
    options = request.options
    job = Job(run, request.base, options.shard, thread_safe(options.progress))
    local = RunTask(job, in_layout(classifier, run.identity.layout), inputs)
    return finish(job, local, options.executor, options.watchers, options.limit)


def finish(
    job: Job,
    local: RunTask | None,
    executor: Executor,
    watchers: Sequence[Watcher] = (),
    limit: TimeLimit | None = None,
) -> Run:
    """Compute the blocks of an opened run.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM was received, and blocks are missing.
        TimeIsUp: the time is over, and blocks are missing.
    """

    def over() -> bool:
        return limit is not None and limit.over

    with _notifying_of_blocks(job.run, watchers) as on_finished:
        with deferred_signals() as received, suppress(TimeIsUp):
            executor(job.work(local, on_finished), lambda: received() or over())
        if job.missing and received():
            raise KeyboardInterrupt(received())
        if job.missing and over():
            raise TimeIsUp
    if not job.run.missing:
        job.run.storage.remove_temporary()
    found = Run.open(job.run.storage)
    found.identity.require(job.run.identity, str(found.storage))
    return found


@contextmanager
def _notifying_of_blocks(run: Run, watchers: Sequence[Watcher]) -> Iterator[Callable[[int], None]]:
    """Notify watchers of blocks: of the earlier ones first, then of what is finished inside.

    Certificates are read from the run, so what a watcher sees is stored.

    Yields:
        A callback for each finished block. An executor that does not call it makes the watchers
        wait for the end.
    """
    if not watchers:
        yield lambda block: None
        return
    identity, reported = run.identity, set()
    inputs, method = len(identity.indices), stated(identity.method)
    start = Start(visible(run.name), identity.model, inputs, identity.settings, method)
    with notifying(watchers, start, run.pilot_evaluations) as notifier:

        def report(block: int, earlier: bool = False) -> None:
            positions = run.blocks[block]
            labels = run.labels[positions.start : positions.stop]
            notifier.add(run.read_certificates(block), labels, earlier)
            reported.add(block)

        def on_finished(block: int) -> None:
            with suppress(StoreError):  # read once more at the end: no work is lost for it
                report(block)

        for block in run.finished:
            report(block, earlier=True)
        yield on_finished
        for block in set(run.finished) - reported:
            report(block)
        notifier.finish(run.seconds)
