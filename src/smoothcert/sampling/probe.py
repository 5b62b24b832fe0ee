"""Check a classifier before any draw is spent on it: is it one, and are its rows independent?"""

import random
import sys
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.blame import THEIRS, reason
from smoothcert.classifiers.protocol import Advised, Classifier, Exported
from smoothcert.data.inputs import Item, to_float
from smoothcert.errors import ModelError, SmoothcertError
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling import known_answers

# Relative to the largest logit: float kernels differ by 1e-6 between row positions, dynamic
# per-tensor quantization by 1e-2.
_TOLERANCE = 1e-4

_REPEATS = 16  # of a batch, if random numbers are drawn

_INPUTS = 64  # inputs far apart, before a model is said to ignore its input


@dataclass(frozen=True)
class Probe:
    """What the probe found.

    Attributes:
        num_classes: columns of the logits.
        noise_hash: hash of the first noise of the run; equal on every machine.
        row_exact: whether a row's logits were bit-identical at every position in the batch.
        answers: the first logits, see `known_answers`.
    """

    num_classes: int
    noise_hash: str
    row_exact: bool
    answers: str


def probe(
    classifier: Classifier, item: Item, noise: RoundedGaussian, seed: int, batch_size: int
) -> Probe:
    """Evaluate a few batches of one noisy input, and of other inputs if those are not enough.

    Raises:
        ModelError: logits of the wrong shape, all NaN, or constant even on inputs far apart, fewer
            than two classes, an error of the model's own code, a fixed batch size other than
            `batch_size`, or rows that are random or depend on their batch.
    """
    if classifier.fixed_batch not in (None, batch_size):
        raise ModelError(
            f"{classifier.name} only takes batches of {classifier.fixed_batch}; the batch size "
            f"is {batch_size}. Pass --batch-size {classifier.fixed_batch}, or export the model "
            "again with a dynamic batch dimension; no command here can change it later."
        )
    shape = item.pixels.shape
    steps = noise.draws(seed, item.index, Stream.PROBE, np.arange(batch_size), shape)
    images = to_float(item.pixels + steps, noise.levels)
    logits = _checked(classifier, images)
    _require_repeatable(classifier, images, logits)
    judged = images, logits
    if _same(logits, logits[:1]):  # as hard votes of one input are
        judged = _varied(classifier, item, images, logits)
        _require_repeatable(classifier, *judged)
    return Probe(
        logits.shape[1],
        sha256(steps.astype("<i4").tobytes()).hexdigest()[:16],
        _row_exact(classifier, *judged),
        known_answers.kept(judged[1]),
    )


def _checked(classifier: Classifier, images: NDArray[np.float32]) -> NDArray[np.floating]:
    logits = _logits(classifier, images)
    if logits.ndim != 2 or len(logits) != len(images) or logits.shape[1] < 2:
        raise ModelError(
            f"{classifier.name} returns shape {logits.shape} for a batch of {len(images)}; a "
            f"classifier returns logits of shape ({len(images)}, classes), two classes or more."
            f"{_of_shape(logits, len(images))}"
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
    return logits


def _of_shape(logits: NDArray[Any], rows: int) -> str:
    """What to do about scores of another shape, if that can be guessed."""
    shape, whole = logits.shape, logits.dtype.kind in "iu" or _same(logits, np.round(logits))
    if shape == (rows,) and whole and rows > 1:
        return " If these are classes, return the scores before argmax."
    if shape in ((rows,), (rows, 1)):
        return (
            " If its one score s is the logit of the second of two classes, return the columns "
            "-s and s; if it is a probability, 1 - s and s."
        )
    if logits.ndim > 2 and rows == shape[0] and logits[0].size == max(shape[1:]):
        return " Return .flatten(1) of it."
    return " Was it transposed?" if shape[1:] == (rows,) else ""


def _logits(classifier: Classifier, images: NDArray[np.float32]) -> NDArray[np.floating]:
    """A copy of the logits of a copy: a model may change its input, or return it."""
    try:
        return np.array(classifier.logits(images.copy()))
    except (SmoothcertError, MemoryError):
        raise
    except THEIRS as error:
        raise ModelError(
            f"{classifier.name} failed on a batch of shape {images.shape}: {reason(error)}"
        ) from error


def _varied(
    classifier: Classifier,
    item: Item,
    images: NDArray[np.float32],
    logits: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
    """The first batch of inputs far apart whose rows do not all have the same logits.

    Raises:
        ModelError: there is no such batch.
    """
    rows, shape = len(images), images.shape[1:]
    others = _far_apart(item, max(rows, _INPUTS))
    for start in range(0, len(others), rows):
        chunk = np.resize(others[start : start + rows], (rows, *shape))
        found = _checked(classifier, chunk)
        if found.shape != logits.shape or not _same(found, logits[:1]):
            return chunk, found
    raise ModelError(
        f"{classifier.name} returns the same logits for different inputs, {len(others)} of them "
        "far apart: they are constant. Check that trained weights were loaded, and that the model "
        "uses its input and takes it in [0, 1] (one of a table's own numbers needs its columns "
        "file in front)."
    )


def _far_apart(item: Item, count: int) -> NDArray[np.float32]:
    """Inputs (count, *shape) in [0, 1]: variants of one, uniform ones, and noise of all sizes."""
    rng = np.random.default_rng(0)
    image = to_float(item.pixels, int(max(1, item.pixels.max())))
    axes = [axis for axis in range(image.ndim) if image.shape[axis] > 1]
    found: list[NDArray[Any]] = [np.zeros_like(image), np.ones_like(image), 1 - image, image]
    found += [np.flip(image, axis) for axis in axes]
    found += [np.roll(image, image.shape[axis] // 2, axis) for axis in axes]
    while len(found) < count:
        kind = len(found) % 4
        noise = rng.random(image.shape)
        if kind == 0:
            found.append(noise)
        elif kind == 1:
            found.append(noise < rng.random())
        elif kind == 2:
            found.append(rng.permutation(image.ravel()).reshape(image.shape))
        else:
            weight = rng.random()
            found.append(weight * image + (1 - weight) * noise)
    spread = 0.02 * rng.random((count, *image.shape))  # a constant image has no deviation
    return (0.98 * np.stack(found)[:count] + spread).astype(np.float32)


def _same(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    return bool(((one == other) | (np.isnan(one) & np.isnan(other))).all())


def _require_repeatable(
    classifier: Classifier, images: NDArray[np.float32], logits: NDArray[np.floating]
) -> None:
    """Refuse a random forward pass: the same batch again gives different logits."""
    before, expected, allowed = _random_numbers(), logits.astype(np.float64), _allowed(logits)
    again = _logits(classifier, images)
    # A pass that draws random numbers must not differ in any bit; hard votes may rarely differ.
    drawn = _random_numbers() != before
    more = (_logits(classifier, images) for _ in range(_REPEATS if drawn else 0))
    for found in (again, *more):
        difference = float(change(expected, found.astype(np.float64)).max(initial=0.0))
        if difference <= (0.0 if drawn else allowed):
            continue
        eval_ = "Leave dropout (also Monte-Carlo dropout) and its own noise out of its forward."
        raise ModelError(
            f"{classifier.name} is random (or keeps a state): the same batch gave different logits "
            f"when repeated (by {difference:.2g}), so no run could be resumed, verified or "
            f"recertified. {_of_training(classifier) or eval_}"
        )


def _random_numbers() -> tuple[Any, ...]:
    """The global states from which Python, NumPy and torch draw random numbers."""
    torch = sys.modules.get("torch")
    numbers = () if torch is None else torch.get_rng_state().numpy().tobytes()
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), kind, np.asarray(keys).tobytes(), tuple(rest), numbers


def _allowed(logits: NDArray[np.floating]) -> float:
    """The change of a logit that rounding explains."""
    finite = np.abs(logits[np.isfinite(logits)].astype(np.float64))
    return _TOLERANCE * float(finite.max(initial=1e-30))


def _of_training(classifier: Classifier) -> str:
    """The advice about what computes as in training, if that is known."""
    if isinstance(classifier, Exported) and classifier.in_training:
        return (
            f"It was exported in training mode ({classifier.in_training}): export it again after "
            "model.eval()."
        )
    return classifier.advice if isinstance(classifier, Advised) else ""


def _row_exact(
    classifier: Classifier, images: NDArray[np.float32], logits: NDArray[np.floating]
) -> bool:
    """Whether rows keep their logits among other neighbours; refuse if they really change.

    The second batch has the same rows in reverse, half of them amplified, since a scale over the
    whole batch cannot hide an outlier.
    """
    rows = len(images)
    if rows == 1:
        return True
    neighbours = images[::-1].copy()
    loud = np.arange(rows) % 2 == 1
    neighbours[loud] = 4 * neighbours[loud]
    kept = ~loud
    again = _logits(classifier, neighbours).astype(np.float64)[kept]
    before = logits[::-1][kept].astype(np.float64)
    difference = float(change(before, again).max(initial=0.0))
    if difference > _allowed(before):
        static = "Use static quantization or per-row scales, or pass --batch-size 1."
        raise ModelError(
            f"{classifier.name} is batch-dependent: the same row's logits changed by "
            f"{difference:.2g} when its neighbours did, so draws are not independent and no "
            f"certificate would hold. {_of_training(classifier) or static}"
        )
    return difference == 0.0


def change(before: NDArray[np.float64], again: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much logits changed; infinite if only one of the two is a number."""
    same = (before == again) | (np.isnan(before) & np.isnan(again))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(again - before), nan=np.inf))
