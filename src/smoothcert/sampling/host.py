"""Batches on the CPU: noise and forward passes in threads, one core each."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.protocol import Classifier, Parallel
from smoothcert.sampling.answers import answers_of
from smoothcert.sampling.batches import Batch
from smoothcert.sampling.compiled import NoisyImages
from smoothcert.sampling.noise import RoundedGaussian


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

    def submit(self, batch: Batch) -> Future[NDArray]:
        """Start on a batch; the future's result has an answer for each row."""
        return self.pool.submit(self._answers, batch)

    def _answers(self, batch: Batch) -> NDArray:
        images = self._images(batch)
        self.noisy(batch.addresses, batch.pixels, batch.item, images)
        worker = self.workers.get()
        try:
            logits = worker.logits(images)
        finally:
            self.workers.put(worker)
        return answers_of(logits, self.answer)

    def _images(self, batch: Batch) -> NDArray[np.float32]:
        """This thread's room for a batch: fresh memory would cost more than the noise in it."""
        shape = (len(batch.item), *batch.pixels.shape[1:])
        if getattr(self._space, "images", None) is None or self._space.images.shape != shape:
            self._space.images = np.empty(shape, dtype=np.float32)
        return self._space.images


@contextmanager
def on_host(
    classifier: Classifier, noise: RoundedGaussian, seed: int, answer: np.dtype
) -> Iterator[HostLabels]:
    """Threads for a run, gone at its end with what they had not begun."""
    with ExitStack() as stack:
        workers: SimpleQueue[Classifier] = SimpleQueue()
        parallel = isinstance(classifier, Parallel)
        for worker in stack.enter_context(classifier.workers()) if parallel else [classifier]:
            workers.put(worker)
        threads = max(2, workers.qsize())
        pool = ThreadPoolExecutor(threads, thread_name_prefix="smoothcert")
        stack.callback(pool.shutdown, cancel_futures=True)
        yield HostLabels(workers, pool, 2 * threads, NoisyImages(noise, seed), answer)
