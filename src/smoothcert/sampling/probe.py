"""A look at a classifier before any draw is spent on it: is it one, and is it row by row?"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import ModelError
from smoothcert.sampling import known_answers
from smoothcert.sampling.inputs import Item, to_float
from smoothcert.sampling.noise import RoundedGaussian, Stream

# Relative to the largest logit: float kernels differ by 1e-6 between row positions, dynamic
# per-tensor quantization by 1e-2.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Probe:
    """What was found out.

    Attributes:
        num_classes: columns of the logits.
        noise_hash: hash of the first noise of the run; equal on every machine.
        row_exact: whether a row's logits were bit-identical wherever it stood in the batch.
        answers: the first logits, see `known_answers`.
    """

    num_classes: int
    noise_hash: str
    row_exact: bool
    answers: str


def probe(
    classifier: Classifier, item: Item, noise: RoundedGaussian, seed: int, batch_size: int
) -> Probe:
    """Evaluate a few batches of one noisy input and judge the logits.

    Raises:
        ModelError: logits of the wrong shape, all NaN or constant, fewer than two classes,
            a fixed batch size other than `batch_size`, or rows that depend on their batch.
    """
    if classifier.fixed_batch not in (None, batch_size):
        raise ModelError(
            f"{classifier.name} only takes batches of {classifier.fixed_batch}; the batch size "
            f"is {batch_size}. Pass --batch-size {classifier.fixed_batch}, or export the model "
            "with a dynamic batch dimension."
        )
    shape = item.pixels.shape
    steps = noise.draws(seed, item.index, Stream.PROBE, np.arange(batch_size), shape)
    images = to_float(item.pixels + steps, noise.levels)
    logits = _checked(classifier, images)
    return Probe(
        logits.shape[1],
        sha256(steps.astype("<i4").tobytes()).hexdigest()[:16],
        _row_exact(classifier, images, logits),
        known_answers.kept(logits),
    )


def _checked(classifier: Classifier, images: NDArray[np.float32]) -> NDArray[np.floating]:
    logits = np.asarray(classifier.logits(images))
    if logits.ndim != 2 or len(logits) != len(images) or logits.shape[1] < 2:
        raise ModelError(
            f"{classifier.name} returns shape {logits.shape} for a batch of {len(images)}; a "
            f"classifier returns logits of shape ({len(images)}, classes), two classes or more."
        )
    if logits.dtype.kind not in "fiu":
        raise ModelError(
            f"{classifier.name} returns values of type {logits.dtype}; logits are real numbers."
        )
    if np.isnan(logits).any(axis=1).all():
        raise ModelError(
            f"{classifier.name} returns NaN for every noisy input. Check the weights, and that "
            "the model takes values in [0, 1] with the normalization inside."
        )
    if len(logits) > 1 and (logits == logits[:1]).all():
        raise ModelError(
            f"{classifier.name} returns the same logits for different inputs: they are constant. "
            "Check that trained weights were loaded and that the model uses its input."
        )
    return logits


def _row_exact(
    classifier: Classifier, images: NDArray[np.float32], logits: NDArray[np.floating]
) -> bool:
    """Whether rows keep their logits among other neighbours; refuse if they change truly.

    The second batch holds the same rows in reverse, half of them amplified, as one outlier is
    what a scale taken over the whole batch cannot hide.
    """
    rows = len(images)
    if rows == 1:
        return True
    neighbours = images[::-1].copy()
    loud = np.arange(rows) % 2 == 1
    neighbours[loud] = 4 * neighbours[loud]
    kept = ~loud
    again = np.asarray(classifier.logits(neighbours), np.float64)[kept]
    before = logits[::-1][kept].astype(np.float64)
    difference = float(_change(before, again).max(initial=0.0))
    scale = float(np.abs(before[np.isfinite(before)]).max(initial=1e-30))
    if difference > _TOLERANCE * scale:
        raise ModelError(
            f"{classifier.name} is batch-dependent: the same row's logits changed by "
            f"{difference:.2g} when its neighbours did, so draws are not independent and no "
            "certificate would hold. Use static quantization or per-row scales, or pass "
            "--batch-size 1."
        )
    return difference == 0.0


def _change(before: NDArray[np.float64], again: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much logits changed; infinitely if only one of the two is a number."""
    same = (before == again) | (np.isnan(before) & np.isnan(again))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(again - before), nan=np.inf))
