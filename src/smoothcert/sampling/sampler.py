"""A classifier under the noise of a certification: requests in, labels out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.sampling import memory
from smoothcert.sampling.answers import LABEL
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import Progress, answered

_Asked = TypeVar("_Asked", bound=Request)


@dataclass(frozen=True, eq=False)
class Sampler:
    """A probed classifier, and everything that its labels under noise depend on.

    Attributes:
        classifier: in the memory layout of the run.
        settings: of the certification from scratch: the noise law and its seed.
        num_classes: number of the classifier's classes.
        batch_size: rows per forward pass.
        progress: called with the number of evaluations after every batch.
    """

    classifier: Classifier
    settings: Settings
    num_classes: int
    batch_size: int
    progress: Progress | None = None

    def labels(
        self, requests: Iterable[_Asked], seed: int | None = None, answer: np.dtype = LABEL
    ) -> Iterator[tuple[_Asked, NDArray[Any]]]:
        """Label every requested draw, all draws in common batches; see `engine.sample`.

        Args:
            requests: consumed as the batches need them.
            seed: noise seed; by default the settings' seed.
            answer: `LABEL`, or `CONTEST` for the runner-up too.

        Yields:
            Each request, in order, with its answers: an array of that dtype over its draws.

        Raises:
            ModelError: a batch ran out of memory, or the classifier failed.
        """
        settings = self.settings
        facts = (settings.noise, settings.seed if seed is None else seed, self.batch_size)
        with memory.explaining(self.batch_size):
            yield from answered(self.classifier, requests, *facts, self.progress, answer)
