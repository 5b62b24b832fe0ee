"""A look at a classifier before any draw is spent on it: is it one, and is it row by row?"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.protocol import Classifier, Exported
from smoothcert.errors import ModelError
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
    """

    num_classes: int
    noise_hash: str
    row_exact: bool


def probe(
    classifier: Classifier, item: Item, noise: RoundedGaussian, seed: int, batch_size: int
) -> Probe:
    """Evaluate a few batches of one noisy input and judge the logits.

    Raises:
        ModelError: logits of the wrong shape, all NaN or constant, fewer than two classes,
            a fixed batch size other than `batch_size`, or rows that depend on chance or on
            their batch.
    """
    if classifier.fixed_batch not in (None, batch_size):
        raise ModelError(
            f"{classifier.name} only takes batches of {classifier.fixed_batch}; the batch size "
            f"is {batch_size}. Pass --batch-size {classifier.fixed_batch}, or export the model "
            "again with a dynamic batch dimension; no command here can change that afterwards."
        )
    shape = item.pixels.shape
    steps = noise.draws(seed, item.index, Stream.PROBE, np.arange(batch_size), shape)
    images = to_float(item.pixels + steps, noise.levels)
    logits = _checked(classifier, images)
    _require_repeatable(classifier, images, logits)
    return Probe(
        logits.shape[1],
        sha256(steps.astype("<i4").tobytes()).hexdigest()[:16],
        _row_exact(classifier, images, logits),
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


def _require_repeatable(
    classifier: Classifier, images: NDArray[np.float32], logits: NDArray[np.floating]
) -> None:
    """Refuse a forward pass that draws at random: the same batch again gives other logits."""
    difference = _change(
        logits.astype(np.float64), np.asarray(classifier.logits(images), np.float64)
    )
    if float(difference.max(initial=0.0)) > _allowed(logits):
        eval_ = "Leave dropout (Monte-Carlo dropout too) and noise of its own out of its forward."
        raise ModelError(
            f"{classifier.name} is random (or keeps a state): the same batch gave other logits the "
            f"second time (by {difference.max():.2g}), so no run could be resumed, "
            f"verified or recertified. {_of_training(classifier) or eval_}"
        )


def _allowed(logits: NDArray[np.floating]) -> float:
    """The change of a logit that rounding explains."""
    finite = np.abs(logits[np.isfinite(logits)].astype(np.float64))
    return _TOLERANCE * float(finite.max(initial=1e-30))


def _of_training(classifier: Classifier) -> str:
    """The sentence about a graph that was exported in training mode, if it was."""
    if isinstance(classifier, Exported) and classifier.in_training:
        return (
            f"It was exported in training mode ({classifier.in_training}): export it again after "
            "model.eval()."
        )
    return ""


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
    if difference > _allowed(before):
        static = "Use static quantization or per-row scales, or pass --batch-size 1."
        raise ModelError(
            f"{classifier.name} is batch-dependent: the same row's logits changed by "
            f"{difference:.2g} when its neighbours did, so draws are not independent and no "
            f"certificate would hold. {_of_training(classifier) or static}"
        )
    return difference == 0.0


def _change(before: NDArray[np.float64], again: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much logits changed; infinitely if only one of the two is a number."""
    same = (before == again) | (np.isnan(before) & np.isnan(again))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(again - before), nan=np.inf))
