"""Where a run is written, how it is computed, and who is told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from smoothcert.classifiers.protocol import Classifier
from smoothcert.cli import display
from smoothcert.cli.machines import Compute, Loading, ModelLoader
from smoothcert.cli.sources import DataSource
from smoothcert.errors import InvalidInput
from smoothcert.execution.block_tasks import ALL, Shard
from smoothcert.execution.runner import RunOptions
from smoothcert.methods.screening import Target
from smoothcert.report.acceptance import MeanRadius, check_labels, parse_target
from smoothcert.runs import seed_use
from smoothcert.runs.store import Run
from smoothcert.storage.base import Storage
from smoothcert.storage.opening import open_storage
from smoothcert.tries import Seed, number_of
from smoothcert.watchers.base import Watcher
from smoothcert.watchers.loggers import logger


@dataclass(frozen=True)
class RunArguments:
    """Where a run is written, how it is computed, and who is told what became of it."""

    out: str
    resume: bool = False
    machines: Compute = field(default_factory=Compute)
    batch_size: int | None = None
    block_inputs: int | None = None
    shard: str | None = None
    json: bool = False
    accept: Sequence[str] = ()
    log: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be, before any work."""
        sizes = {"batch-size": self.batch_size, "block-inputs": self.block_inputs}
        _ = self.part, self.targets, self.watchers
        if self.accept and self.shard:
            raise InvalidInput(
                "--accept judges a whole run, and a shard is a part of one. When all shards are "
                "there, repeat the command with --resume and --accept, without --shard."
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

    @property
    def targets(self) -> tuple[Target | MeanRadius, ...]:
        """What the certificates must reach: all of it."""
        return tuple(map(parse_target, self.accept))

    def check_labels(self, labels: Sequence[int | None] | None, name: str) -> None:
        """Refuse a target for data without labels."""
        if self.targets:
            check_labels(labels, name)

    def load(self, model: str) -> Classifier:
        """The classifier of the first of several processes."""
        return self.machines.shared.load(model)

    def resumed(self) -> Run | None:
        """The run that is to be continued, if one is there."""
        there = (self.resume or self.shard) and self.storage.exists("run.json")
        return Run.open(self.storage) if there else None

    def seed(self, wanted: Seed, kept: Callable[[Run], int | None]) -> int | None:
        """The number of a seed; a random one is drawn once for a run, and `kept` reads it there."""
        if wanted != "random":
            return wanted
        before = self.resumed()
        if before is None and self.shard:
            raise InvalidInput(
                "Every shard would draw another random seed. Draw one number up to 2^64 - 1, and "
                "give it to all of them."
            )
        found = number_of(wanted) if before is None else kept(before)
        display.say(f"Noise seed {found}")
        return found

    def require_unused(self) -> None:
        """Refuse a new run where something is, before anything is loaded."""
        if not (self.resume or self.shard):
            self.storage.require_unused()

    def remaining(self, evaluations: int) -> int:
        """About how many of a whole run's evaluations are still to be made."""
        run = self.resumed()
        left = evaluations * len(run.missing) // len(run.blocks) if run else evaluations
        return left // self.part.count

    def options(
        self,
        tick: display.Tick,
        source: DataSource,
        origin: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
    ) -> RunOptions:
        """The runner's settings, with what another process loads to take part."""
        options = RunOptions(
            self.batch_size,
            self.block_inputs,
            self.resume,
            tick,
            origin={**origin, "data": source.to_json()},
            files=files or {},
            shard=self.part,
            watchers=self.watchers,
            near=seed_use.runs_beside(self.storage),
        )
        if self.machines.cluster is not None:
            return options
        loading = Loading(ModelLoader(origin["model"], self.machines.shared), source)
        return replace(options, executor=self.machines.executor(loading))
