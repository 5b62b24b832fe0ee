"""The blocks of a run as tasks, for this process or any other that can load model and data."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.hardware import device_kind, products_of
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs, Item
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.scheduler import Work
from smoothcert.methods import Allocation, Case, Sized
from smoothcert.runs import pilots, plan_file
from smoothcert.runs.manifest import library_versions
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.probe import probe
from smoothcert.sampling.sampler import Sampler
from smoothcert.sampling.tuning import in_layout


@dataclass(frozen=True)
class Shard:
    """One of several parts of a run's blocks: those with `block % count == number - 1`.

    Attributes:
        number: from 1.
        count: of shards.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        """Refuse what is not a shard."""
        if not 1 <= self.number <= self.count:
            raise InvalidInput(
                f"A shard must be I/N with I from 1 to N, such as 1/8; got "
                f"{self.number}/{self.count}"
            )

    @staticmethod
    def parse(text: str) -> "Shard":
        """`2/8`."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not found:
            raise InvalidInput(f"A shard must be I/N with I from 1 to N, such as 1/8; got {text!r}")
        return Shard(int(found[1]), int(found[2]))


ALL = Shard(1, 1)
"""All blocks."""


@dataclass(frozen=True, eq=False)
class Job:
    """The blocks of a run that are to be computed.

    Attributes:
        run: opened.
        base: the run that it reuses, or None.
        shard: which blocks.
        progress: called with evaluations as they finish; thread-safe.
    """

    run: Run
    base: Run | None
    shard: Shard
    progress: Progress

    @property
    def missing(self) -> tuple[int, ...]:
        """The missing blocks of the shard."""
        number, count = self.shard.number, self.shard.count
        return tuple(block for block in self.run.missing if block % count == number - 1)

    def work(self, local: "RunTask | None", on_finished: Callable[[int], None]) -> Work:
        """What an executor is given."""
        spec = RunTaskSpec(str(self.run.storage), str(self.base.storage) if self.base else None)
        return Work(spec, self.missing, self.progress, local, on_finished)


@dataclass(frozen=True, eq=False)
class RunTask:
    """A job with model and data, to compute its blocks in this process.

    Attributes:
        job: its run names the method.
        classifier: in the run's memory layout.
        inputs: of the run.
    """

    job: Job
    classifier: Classifier
    inputs: Inputs

    def compute(self, block: int) -> None:
        """Compute and store a block, unless it is stored already."""
        run = self.job.run
        if run.has(block):  # by another worker, meanwhile
            return
        start = time.perf_counter()
        identity = run.identity
        sampler = Sampler(
            self.classifier,
            identity.settings,
            identity.num_classes,
            identity.batch_size,
            self.job.progress,
        )
        records = tuple(identity.method.records(sampler, self._cases(run.blocks[block])))
        seconds = time.perf_counter() - start
        if not run.has(block):  # what is finished stays
            run.write_block(block, records, seconds)

    def _cases(self, positions: range) -> Iterator[Case]:
        """The inputs of a block, with their cached records and planned allocations."""
        base = self.job.base
        cached = base.records(positions) if base else repeat(None)
        plan, selected = self._plan
        for position, record in zip(positions, cached, strict=False):
            allocation = plan[position] if plan else None
            labels = selected[position] if selected else None
            yield Case(self.item(position), record, allocation, labels)

    @cached_property
    def _plan(self) -> tuple[Sequence[Allocation], Sequence[NDArray[np.int32]]]:
        """The allocations of a planned run; and the selection labels that sized a run's inputs."""
        run, method = self.job.run, self.job.run.identity.method
        plan = plan_file.read_plan(run) if method.has_plan else ()
        return plan, pilots.read_pilot(run).votes.labels if isinstance(method, Sized) else ()

    def item(self, position: int) -> Item:
        """Read an input; another machine's copy of the data may differ from that of the run."""
        item, run = self.inputs.item(position), self.job.run
        if item.content != run.contents[position]:
            raise Mismatch(
                f"Input {item.index} of {self.inputs.name} is not the one that {run.storage} "
                "was started with. Give every worker the same data."
            )
        return item


@dataclass(frozen=True)
class RunTaskSpec:
    """A job as it is sent to another process, which loads model and data itself.

    Attributes:
        run: where its directory is.
        base: where the run is that it reuses, or None.
    """

    run: str
    base: str | None

    def start(self, classifier: Classifier, inputs: Inputs, progress: Progress) -> RunTask:
        """The task with this process's model and data.

        Raises:
            Mismatch: they are not those of the run, or this machine's noise or libraries differ.
        """
        run = Run.open(self.run)
        identity = run.identity
        classifier = in_layout(classifier, identity.layout)
        noise, seed = identity.settings.noise, identity.settings.seed
        found = probe(classifier, inputs.item(0), noise, seed, identity.batch_size)
        pairs = {
            "model": (identity.model, classifier.fingerprint),
            "kind of device": (identity.device, device_kind(classifier)),
            "selection of inputs": (identity.indices, inputs.indices),
            "noise": (identity.noise_hash, found.noise_hash),
            "arithmetic of 8-bit integers": (identity.products, products_for(run, classifier)),
            "library versions": (dict(identity.versions), library_versions()),
        }
        wrong = [name for name, (stored, here) in pairs.items() if stored != here]
        if wrong:
            raise Mismatch(
                f"A worker of {self.run} has another {', '.join(wrong)} than the run was started "
                "with. Give every worker the same model, data and packages."
            )
        base = Run.open(self.base) if self.base else None
        task = RunTask(Job(run, base, ALL, progress), classifier, inputs)
        task.item(0)  # other data is another reason for other answers
        run.require_answers(found.answers)
        return task


def products_for(run: Run | None, classifier: Classifier) -> str:
    """What the identity of a run says of integers here; one from before that was said goes on."""
    if run is not None and "machine" not in run.manifest.origin:
        return run.identity.products
    return products_of(classifier)
