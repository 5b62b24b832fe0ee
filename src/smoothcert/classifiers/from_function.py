"""Any function of arrays as a classifier: from scikit-learn, JAX, Keras, ART, or your own."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.blame import THEIRS, reason
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.quiet import prints_to_stderr
from smoothcert.errors import InvalidInput, ModelError, SmoothcertError

Scores = Callable[[NDArray[np.float32]], Any]
"""From a batch (B, *shape), in [0, 1] plus noise, to scores (B, K): the largest is the class."""


@dataclass(frozen=True)
class FunctionClassifier:
    """See `from_function`."""

    scores: Scores
    name: str
    version: str

    @property
    def fingerprint(self) -> str:
        """A hash of what the caller says the function is."""
        return sha256(f"function\0{self.name}\0{self.version}".encode()).hexdigest()[:32]

    @property
    def device(self) -> str:
        """Wherever the function runs, batches come from the CPU."""
        return "cpu"

    @property
    def fixed_batch(self) -> int | None:
        """It takes any size."""
        return None

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Its scores, checked: (B, K)."""
        try:
            with prints_to_stderr:
                found = np.asarray(self.scores(images.copy()))  # a copy: it may change it in place
        except (MemoryError, SmoothcertError):
            raise
        except THEIRS as error:
            raise ModelError(
                f"The function of {self.name} failed on a batch of shape {images.shape}: "
                f"{reason(error)}"
            ) from error
        if found.ndim != 2 or len(found) != len(images) or found.shape[1] < 2:
            raise ModelError(
                f"The function of {self.name} must return scores of shape ({len(images)}, classes) "
                f"for {len(images)} inputs; got {found.shape}"
            )
        if found.dtype.kind not in "fiu":
            raise ModelError(f"The function of {self.name} must return numbers; got {found.dtype}")
        return found


@dataclass(frozen=True)
class _After:
    """A function of what preprocessing makes of a batch."""

    wanted: Preprocessing
    scores: Scores

    def __call__(self, images: NDArray[np.float32]) -> Any:
        return self.scores(self.wanted.apply(images))


def behind(wanted: Preprocessing, classifier: FunctionClassifier, file: Path) -> FunctionClassifier:
    """The classifier with this in front, hence with another name and fingerprint."""
    said = json.dumps(wanted.record(), sort_keys=True)
    return replace(
        classifier,
        scores=_After(wanted, classifier.scores),
        name=f"{classifier.name}+{file.name}",
        version=f"{classifier.version}\0{said}",
    )


def from_function(scores: Scores, name: str, version: str) -> FunctionClassifier:
    """A classifier from a function, called by one thread at a time.

    Args:
        scores: takes float32 batches (B, *shape) and returns (B, K), an array or something NumPy
            converts to one. Scores may be logits or probabilities; a row's scores must not depend
            on other rows. A tie at the top votes for no class, so rounded probabilities lose
            certificates.
        name: the name to show.
        version: a text that changes whenever the function does: a version, or a hash of its
            weights. With the name it is the fingerprint, which must be the same to resume a run.

    Returns:
        A `Classifier`.

    Raises:
        InvalidInput: not a function, or a name or version that is not text or is empty.
    """
    if not callable(scores):
        raise InvalidInput(f"scores must be a function of a batch; got {type(scores).__name__}")
    for what, text in (("name", name), ("version", version)):
        if not isinstance(text, str) or not text:
            raise InvalidInput(f"{what} must be a nonempty text; got {text!r}")
    return FunctionClassifier(scores, name, version)
