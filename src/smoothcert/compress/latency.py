"""How long models take on this machine, in turns, so that its other work favours none."""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier, ThreadReplicable
from smoothcert.data.inputs import Inputs, to_float
from smoothcert.errors import InvalidInput
from smoothcert.scalars import real, whole

if TYPE_CHECKING:
    import torch

_LEAST = 0.005
"""Seconds that a sample takes at least: a small network's batch is over in 50 microseconds."""

_FEWEST = 9
"""Samples of each model, however slow it is."""


@dataclass(frozen=True)
class Latency:
    """Seconds that a model takes for a row.

    Attributes:
        samples: seconds per row of each sample. Samples of the same number were taken one after the
            other for all models of a call, so that they can be compared in pairs.
        batch_size: rows per forward pass.
        threads: batches computed at once, one core each.
    """

    samples: tuple[float, ...]
    batch_size: int
    threads: int

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the third quartile."""
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    def describe(self) -> str:
        """A readable phrase."""
        low, high = (1e3 * some for some in self.spread)
        return (
            f"{1e3 * self.seconds:.3g} ms per row (half of {len(self.samples)} samples within "
            f"{low:.3g} to {high:.3g}; batches of {self.batch_size}, {self.threads} at once)"
        )


def measure_latency(
    models: "Sequence[str | Path | torch.nn.Module | Classifier]",
    inputs: Inputs,
    *,
    batch_size: int = 1,
    threads: int = 1,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Latency, ...]:
    """Time the forward passes of models on the CPU, as they would run for a certificate.

    An ONNX file is run by ONNX Runtime, any other model by its own framework. After a warm-up the
    models take turns, each round in another order; a sample is one or more batches, 5 ms at least.

    Args:
        models: references, as `load_classifier` takes; a compressed model's is its file.
        inputs: example inputs; the first are used, repeated to fill a batch.
        batch_size: rows per forward pass; one is what an answer to a single input waits for.
        threads: batches computed at once, one core each. With several, seconds per row are those of
            all cores together.
        seconds: time to measure each model for, its loading and warm-up not counted; at least nine
            samples are taken.
        clock: gives seconds.

    Returns:
        A latency for each model, in their order.

    Raises:
        InvalidInput: no model, no inputs, or a number that is not positive.
        ModelError: a model cannot be loaded, or does not take these inputs.
    """
    size, count, budget = whole(batch_size, "batch_size"), whole(threads, "threads"), seconds
    for name, value in (("batch_size", size), ("threads", count), ("seconds", real(budget, "s"))):
        if not value > 0:
            raise InvalidInput(f"{name} must be positive; got {value}")
    if not models or not len(inputs):
        raise InvalidInput("There is nothing to measure: give a model and an input at least.")
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(count))
        batch = _batch(inputs, size)
        timed = []
        for model in models:
            classifier = load_classifier(model, threads=count)
            workers = [classifier]
            if isinstance(classifier, ThreadReplicable):
                workers = stack.enter_context(classifier.workers())[:count]
            timed.append(_Timed(workers, batch, pool, clock))
        calls = [one.calls() for one in timed]
        samples: list[list[float]] = [[] for _ in timed]
        start = clock()
        while len(samples[0]) < _FEWEST or clock() - start < budget * len(timed):
            first = len(samples[0]) % len(timed)
            for place in [*range(first, len(timed)), *range(first)]:
                samples[place].append(timed[place].sample(calls[place]))
    return tuple(
        Latency(tuple(some), size, len(one.workers))
        for some, one in zip(samples, timed, strict=True)
    )


@dataclass(frozen=True)
class _Timed:
    """Equal classifiers that run one batch each, at once."""

    workers: Sequence[Classifier]
    batch: NDArray[np.float32]
    pool: ThreadPoolExecutor
    clock: Callable[[], float]

    def calls(self) -> int:
        """Batches per sample, found after a first one that loads and compiles."""
        self.sample(1)
        calls = 1
        while self.sample(calls) * calls * len(self.workers) * len(self.batch) < _LEAST:
            calls *= 2
        return calls

    def sample(self, calls: int) -> float:
        """Seconds per row."""

        def run(worker: Classifier) -> None:
            for _ in range(calls):
                worker.logits(self.batch)

        start = self.clock()
        if len(self.workers) == 1:
            run(self.workers[0])  # another thread would take longer to wake up than a small model
        else:
            list(self.pool.map(run, self.workers))
        return (self.clock() - start) / (calls * len(self.workers) * len(self.batch))


def _batch(inputs: Inputs, size: int) -> NDArray[np.float32]:
    pixels = np.stack([inputs.item(place).pixels for place in range(min(size, len(inputs)))])
    return to_float(np.resize(pixels, (size, *inputs.shape)), inputs.levels)
