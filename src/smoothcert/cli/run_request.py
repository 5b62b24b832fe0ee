"""What a command asks of a run: where to write, how to compute, which targets; and its summary."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import typer

from smoothcert.api import sanity
from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.cli import console, verbosity
from smoothcert.cli.data_source import DataSource
from smoothcert.cli.resources import Compute, ModelLoader, WorkerInputs
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, StoreError
from smoothcert.execution.block_tasks import ALL, Shard
from smoothcert.execution.runner import RunOptions, carry_out, execute
from smoothcert.execution.start import RunRequest
from smoothcert.methods import Method
from smoothcert.methods.targets import Goal, Relative, in_numbers, read
from smoothcert.planning.timed import LATEST, minutes_of
from smoothcert.report.acceptance import check_labels, in_words, judge, no_base
from smoothcert.report.claims import of_alphas, tried
from smoothcert.report.naming import facts
from smoothcert.report.spending import nothing_spent, without_evaluations
from smoothcert.report.tables import summarize_run, summary_table
from smoothcert.runs import seed_use
from smoothcert.runs.plan_file import read_plan
from smoothcert.runs.replaying import Moved
from smoothcert.runs.store import Run
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.storage.base import Storage
from smoothcert.storage.opening import open_storage
from smoothcert.summary import correct_radii
from smoothcert.text import many, visible
from smoothcert.tries import Seed, Tries, number_of
from smoothcert.watchers.base import Watcher
from smoothcert.watchers.loggers import logger

NOT_ACCEPTED = 3
"""The exit code of a model that does not reach --accept."""

DEFAULT_RADII = (0.0, 0.25, 0.5)


@dataclass(frozen=True)
class RunArguments:
    """Where a run is written, how it is computed, and what is asked of it.

    Attributes:
        out: the run directory.
        resume: continue an existing run.
        compute: what computes.
        batch_size: rows per forward pass, if it is given.
        block_inputs: inputs per block, if it is given.
        shard: the part of the blocks to compute, as `1/8`.
        json: print the result as JSON.
        accept: targets that the certificates must reach.
        log: loggers.
        minutes: when to stop, from the start of sampling.
        allowed: the minutes of a policy, which makes a new run stop a little after them.
        started: when the command was, on the clock of `time.monotonic`.
    """

    out: str
    resume: bool = False
    compute: Compute = field(default_factory=Compute)
    batch_size: int | None = None
    block_inputs: int | None = None
    shard: str | None = None
    json: bool = False
    accept: Sequence[str] = ()
    log: Sequence[str] = ()
    minutes: float | None = None
    allowed: float | None = None
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Refuse impossible values before any work."""
        sizes = {"batch-size": self.batch_size, "block-inputs": self.block_inputs}
        _ = self.part, self.targets, self.watchers
        if self.minutes is not None:
            TimeLimit(self.minutes)
        if self.accept and self.shard:
            raise InvalidInput(
                "--accept judges a whole run, but a shard is only a part. When all shards are "
                "finished, repeat the command with --resume and --accept, without --shard."
            )
        for name, value in sizes.items():
            if value is not None and value < 1:
                raise InvalidInput(f"--{name} must be at least 1; got {value}")

    @property
    def storage(self) -> Storage:
        """Of the run."""
        return open_storage(self.out)

    @property
    def part(self) -> Shard:
        """The blocks to compute."""
        return Shard.parse(self.shard) if self.shard else ALL

    @cached_property
    def watchers(self) -> tuple[Watcher, ...]:
        """The loggers that were asked for."""
        return tuple(logger(text) for text in self.log)

    def allowing(self, method: Method) -> "RunArguments":
        """With the minutes of the method's policy, if it says minutes and is still to be planned.

        A plan that exists is finished, however long that takes: nothing is measured again.
        """
        minutes = minutes_of(method)
        if minutes is None or self.resumed() is None:
            return replace(self, allowed=minutes)
        until = "" if self.minutes is None else f", for {self.minutes:g} minutes"
        console.say(
            f"The plan for {minutes:g} minutes was made when this run was begun, and is gone on "
            f"with{until}."
        )
        return self

    @cached_property
    def limit(self) -> TimeLimit | None:
        """When to stop; the time begins when this is first asked for."""
        given = [self.minutes] if self.minutes is not None else []
        given += [LATEST * self.allowed] if self.allowed is not None else []
        return TimeLimit(min(given)) if given else None

    @property
    def targets(self) -> tuple[Goal, ...]:
        """What the certificates must reach: all of it."""
        return read(self.accept)

    def check_targets(
        self, labels: Sequence[int | None] | None, name: str, base: Run | None = None
    ) -> None:
        """Refuse targets that nothing can be judged by, before any work."""
        if not self.targets:
            return
        check_labels(labels, name)
        relative = [goal for goal in self.targets if isinstance(goal, Relative)]
        if relative and base is None:
            raise InvalidInput(no_base(relative[0]))
        if relative and base is not None:
            base.require_complete()
            in_numbers(relative, correct_radii(base.certificates, labels))

    def look(
        self, classifier: Classifier, inputs: Inputs, settings: Settings, evaluations: int
    ) -> None:
        """Say how a classifier does on a few inputs, unless part of the run exists already."""
        if verbosity.is_quiet() or self.shard or self.storage.occupied:
            return
        console.note(sanity.of_pair(classifier, inputs, settings.sigma))
        with console.waiting("Checking a few inputs"):
            try:
                found = sanity.look(classifier, inputs, settings, evaluations)
            except Exception:  # noqa: BLE001 - the model's own: the run says it
                return
        if found is not None:
            console.note(sanity.of_count(inputs, found.classes))
            wrong, seen = sanity.said(found, settings.sigma)
            console.note(wrong)
            if not wrong:
                console.say(f"A first look: {seen}.")

    def load(self, model: str) -> Classifier:
        """The classifier of the first of several processes."""
        return self.compute.process_device.load(model)

    def resumed(self) -> Run | None:
        """The existing run, if it is to be continued."""
        there = (self.resume or self.shard) and self.storage.exists("run.json")
        return Run.open(self.storage) if there else None

    def seed(self, wanted: Seed, kept: Callable[[Run], int | None]) -> int | None:
        """The number of a seed; a random one is drawn once for a run, and `kept` reads it there."""
        if wanted != "random":
            return wanted
        before = self.resumed()
        if before is None and self.shard:
            raise InvalidInput(
                "Each shard would draw another random seed. Draw one number up to 2^64 - 1, and "
                "give it to all shards."
            )
        found = number_of(wanted) if before is None else kept(before)
        console.say(f"Noise seed {found}")
        return found

    def require_unused(self) -> None:
        """Refuse a new run in a place that is in use, before anything is loaded."""
        if not (self.resume or self.shard):
            self.storage.require_unused()

    def remaining(self, evaluations: int) -> int:
        """About how many of a whole run's evaluations are still to be made."""
        run = self.resumed()
        left = evaluations * len(run.missing) // len(run.blocks) if run else evaluations
        return left // self.part.count

    def options(
        self,
        tick: console.Tick,
        source: DataSource,
        origin: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
    ) -> RunOptions:
        """The runner's settings, with what another process loads to take part."""
        asked = {"accept": list(self.accept)} if self.accept else {}
        options = RunOptions(
            self.batch_size,
            self.block_inputs,
            self.resume,
            self.limit.watched(tick) if self.limit else tick,
            origin={**origin, "data": source.to_json(), **asked},
            files=files or {},
            shard=self.part,
            watchers=self.watchers,
            near=seed_use.runs_beside(self.storage),
            limit=self.limit,
            workers=None if self.compute.cluster is not None else self.compute.processes,
            loading=time.monotonic() - self.started,
        )
        if self.compute.cluster is not None:
            return options
        load = WorkerInputs(ModelLoader(origin["model"], self.compute.process_device), source)
        return replace(options, executor=self.compute.executor(load))

    @contextmanager
    def until_time_is_up(self) -> Iterator[None]:
        """Say what is left out, and how to go on, where --minutes stops the run.

        Raises:
            TimeIsUp: with that as its text.
        """
        before = self.resumed()
        known = len(before.finished) if before else 0
        try:
            yield
        except TimeIsUp:
            raise TimeIsUp(self._left_out(known)) from None

    def _left_out(self, known: int) -> str:
        """What is said when the time is over; `known` blocks were finished before."""
        assert self.limit is not None
        by_option = self.limit.minutes == self.minutes
        said = f"The {self.minutes if by_option else self.allowed:g} minutes are over"
        if not self.storage.exists("run.json"):
            return (
                f"{said} before the draws that the plan is made from were evaluated, so nothing is "
                "kept. Allow more minutes."
            )
        run = Run.open(self.storage)
        if self.json:
            show_run(run, as_json=True)
        inputs = sum(len(run.blocks[block]) for block in run.finished)
        state = f"{said}: {inputs:,} of {many(len(run.identity.indices), 'input')} are done"
        if not by_option:
            return (
                f"{state}, as the machine became slower than when the plan was made. Repeat the "
                "command with --resume to do the rest of the plan, or with --resume --minutes M to "
                "do what fits into M more minutes."
            )
        if len(run.finished) == known:
            size = many(run.identity.block_inputs, "input")
            return (
                f"{state}, none of them in this time, as a block of {size} takes longer. Repeat "
                "the command with --resume and more minutes."
            )
        return f"{state}. Repeat the command with --resume --minutes {self.minutes:g} to go on."


def executed(
    request: Callable[[console.Tick], RunRequest],
    classifier: Classifier,
    inputs: Inputs,
    arguments: RunArguments,
    bars: tuple[str, str],
    totals: tuple[int, int],
) -> Run:
    """Compute a run here.

    Args:
        request: of the run, by what is told of its progress.
        classifier: of the run.
        inputs: of the run.
        arguments: of the run.
        bars: titles: of what its plan is made from, and of the rest.
        totals: evaluations of the first, which has a bar of its own if there are any; and of all.
    """
    with arguments.until_time_is_up():
        if not totals[0]:
            with console.bar(bars[1], totals[1]) as tick:
                return execute(request(tick), classifier, inputs)
        with console.bar(bars[0], totals[0]) as tick:
            run = request(tick).open(classifier, inputs)
        planned = sum(one.evaluations for one in read_plan(run))
        with console.bar(bars[1], arguments.remaining(planned)) as tick:
            return carry_out(request(tick), run, classifier, inputs)


def show_run(
    run: Run,
    as_json: bool,
    targets: Sequence[Goal] = (),
    base: Run | None = None,
    moved: Moved | None = None,
) -> None:
    """Print the summary of a run, or its progress if other shards are missing.

    For a recertified run also how often the cache of its base was used, if the base is available;
    for a transferred one how many votes moved. Exits with 3 if the run does not reach all targets.
    """
    if run.missing:
        done, blocks = len(run.finished), len(run.blocks)
        if as_json:
            console.show_json({"run": str(run.storage), "blocks": blocks, "finished": done})
            return
        console.say(f"Written to {run.storage}: {done} of {many(blocks, 'block')} finished.")
        return
    summary = summarize_run(run, DEFAULT_RADII)
    judged = [judge(run, target, base) for target in targets]
    accepted = all(one.accepted for one in judged)
    model, tries = run.identity.model, _cache_use(run, base)
    nothing = without_evaluations(run.certificates)
    if as_json:
        verdict = {"accepted": accepted, "why": in_words(judged)} if judged else {}
        cache = {"cache": tries.to_json(model)} if tries else {}
        cache |= {"without_evaluations": nothing} if run.identity.method.has_plan else {}
        votes = {"votes": asdict(moved)} if moved else {}
        found = {"run": str(run.storage), **facts(run), **asdict(summary)}
        console.show_json({**found, **cache, **votes, **verdict})
    else:
        console.show_table(*summary_table([summary]))
        if said := nothing_spent(nothing):
            console.say(said)
        identity = run.identity
        if said := of_alphas(identity.settings, identity.method, run.certificates):
            console.say(said)
        if moved:
            console.show(f"On this machine {moved}.")
        console.say(f"Written to {run.storage}")
        if base is not None:
            console.note(sanity.of_recertified(base.certificates, run.certificates))
        console.note(sanity.of_result(run.certificates, run.labels, identity.num_classes))
        if said := tried(tries, model, identity.method):
            console.say(said)
        for line in in_words(judged).splitlines():
            console.show(visible(line))
    if not accepted:
        raise typer.Exit(NOT_ACCEPTED)


def _cache_use(run: Run, base: Run | None) -> Tries | None:
    """How the cache of a recertified run was used; if that is unreadable, the run stays valid."""
    try:
        return seed_use.tries_of_run(run, base) if run.identity.base else None
    except StoreError as error:
        console.say(f"How often the cache was used is not known: {error}")
        return None
