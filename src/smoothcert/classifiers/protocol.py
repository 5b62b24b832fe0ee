"""What the engine asks of a classifier, and nothing more."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Classifier(Protocol):
    """A function from float32 batches in [0, 1] (plus noise) to logits, evaluated row by row.

    Normalization happens inside. A row's logits must not depend on the other rows.
    """

    @property
    def name(self) -> str:
        """How to refer to it in messages and tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides its output: structure, weights, arithmetic."""
        ...

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda`, `cuda:1`, ..."""
        ...

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size it accepts, or None."""
        ...

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Logits (B, K) of a float32 batch (B, *shape)."""
        ...
