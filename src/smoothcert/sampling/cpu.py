"""Batches on the CPU: noise and forward passes in threads, one core each."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.protocol import Classifier, ThreadReplicable
from smoothcert.noise.law import RoundedGaussian
from smoothcert.noise.numba_kernel import NoisyImages
from smoothcert.sampling.answers import answers_of
from smoothcert.sampling.batches import Batch


@dataclass(frozen=True)
class HostLabels:
    """Answers to batches, several at a time.

    A thread makes a batch's noise by itself, and then takes one of the equal classifiers for
    the forward pass; so noise is made while forward passes run, also where there is only one.
    """

    workers: "SimpleQueue[Classifier]"
    pool: ThreadPoolExecutor
    ahead: int
    noisy: NoisyImages
    answer: np.dtype
    _space: threading.local = field(default_factory=threading.local)

    def submit(self, batch: Batch) -> Future[NDArray[Any]]:
        """Start on a batch; the future's result has an answer for each row."""
        return self.pool.submit(self._answers, batch)

    def _answers(self, batch: Batch) -> NDArray[Any]:
        images = self._images(batch)
        self.noisy(batch.addresses, batch.pixels, batch.item, images)
        return answers_of(_logits(self.workers, images), self.answer)

    def _images(self, batch: Batch) -> NDArray[np.float32]:
        """This thread's buffer for a batch: fresh memory would cost more than the noise in it."""
        shape = (len(batch.item), *batch.pixels.shape[1:])
        if getattr(self._space, "images", None) is None or self._space.images.shape != shape:
            self._space.images = np.empty(shape, dtype=np.float32)
        return self._space.images


@contextmanager
def on_host(
    classifier: Classifier, noise: RoundedGaussian, seed: int, answer: np.dtype
) -> Iterator[HostLabels]:
    """Threads for a run, stopped at its end without starting what is left."""
    with _threads(classifier) as (workers, pool, count):
        yield HostLabels(workers, pool, 2 * count, NoisyImages(noise, seed), answer)


def logits_of(
    classifier: Classifier, batches: Iterable[NDArray[np.float32]]
) -> Iterator[NDArray[np.floating]]:
    """Logits (B, K) of each batch (B, *shape) in order, several at a time.

    The batches are consumed a few ahead of the logits, so memory does not grow with their number.
    """
    with _threads(classifier) as (workers, pool, count):
        flying: deque[Future[NDArray[Any]]] = deque()
        for batch in batches:
            flying.append(pool.submit(_logits, workers, batch))
            if len(flying) == 2 * count:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()


@contextmanager
def _threads(
    classifier: Classifier,
) -> Iterator[tuple["SimpleQueue[Classifier]", ThreadPoolExecutor, int]]:
    """Equal classifiers, and enough threads to keep them busy, with their number."""
    with ExitStack() as stack:
        workers: SimpleQueue[Classifier] = SimpleQueue()
        equal = [classifier]
        if classifier.device == "cpu" and isinstance(classifier, ThreadReplicable):
            equal = stack.enter_context(classifier.workers())
        for worker in equal:
            workers.put(worker)
        count = max(2, workers.qsize())
        pool = ThreadPoolExecutor(count, thread_name_prefix="smoothcert")
        stack.callback(pool.shutdown, cancel_futures=True)
        yield workers, pool, count


def _logits(workers: "SimpleQueue[Classifier]", images: NDArray[np.float32]) -> NDArray[Any]:
    """Wait for a free classifier, and run it."""
    worker = workers.get()
    try:
        return worker.logits(images)
    finally:
        workers.put(worker)
