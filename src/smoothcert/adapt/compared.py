"""An adapted model against its original, on the same images."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import ModelError
from smoothcert.sampling.probe import change

_SUMS, _RESIZES = 1e-4, 2e-2
"""Of the largest score: what the order of sums in a batch changes; and float32 in place of float64
in resizing, which may move a rounding inside of a network with integers."""

_ROWS = 5
_MOST_VALUES = 2**26  # of one image
_SIDES = (32, 64, 224, 28, 8)


@dataclass(frozen=True)
class Difference:
    """How the scores of an adapted model differ from its original's.

    Attributes:
        rows: images that were compared.
        single: largest difference of a score, as a fraction of the largest score, for images one
            by one.
        batched: the same where the adapted model got them in batches of several.
    """

    rows: int
    single: float
    batched: float

    def allowed(self, wanted: Preprocessing, *, rounded: bool = False) -> bool:
        """Whether images one by one differ by no more than rounding explains.

        Args:
            wanted: the preprocessing.
            rounded: whether something before it is rounded, to bytes or float16.
        """
        return self.single <= (_RESIZES if wanted.resize or rounded else _SUMS)

    @property
    def by_row(self) -> bool:
        """Whether a row gets the same scores in a batch as alone."""
        return abs(self.batched - self.single) <= _SUMS

    def describe(self) -> str:
        """In words, without a full stop."""
        where = "alone and in batches" if self.by_row else "one at a time"
        worst = max(self.single, self.batched) if self.by_row else self.single
        if worst == 0:
            return f"the same scores to the bit on {self.rows} images, {where}"
        return f"scores within {worst:.1g} of the largest on {self.rows} images, {where}"


def trial_images(
    shape: Sequence[int | str], wanted: Preprocessing, values: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Batches (5, C, H, W) of random images, as many as there are sizes to try.

    Args:
        shape: of the adapted model's input; what is unknown is no number.
        wanted: its preprocessing.
        values: in the row that the original takes, if it takes a row of known length.
    """
    sizes = list(shape[1:])
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        yield _random(known)
        return
    if len(sizes) != 3:
        raise ModelError(f"The shape of its input is unknown ({shape}), so it cannot be tried.")
    constants = max(len(wanted.mean), len(wanted.std), 3 if wanted.channels == "bgr" else 1)
    channels = [sizes[0]] if isinstance(sizes[0], int) else [constants] if constants > 1 else [3, 1]
    for count in channels:
        if values and values % count == 0:
            side = math.isqrt(values // count)
            square = side * side * count == values
            yield _random([count, side, side] if square else [count, 1, values // count])
        for side in [None] if wanted.resize else _SIDES:
            if side is None:  # one side shrinks and the other grows
                height, width = wanted.resize or (1, 1)
                chosen = [math.ceil(height * 1.5), max(1, width * 2 // 3)]
            else:
                chosen = [size if isinstance(size, int) else side for size in sizes[1:]]
            yield _random([count, *chosen])


def difference(
    original: Classifier,
    adapted: Classifier,
    wanted: Preprocessing,
    images: NDArray[np.float32],
    clean: NDArray[np.float32] | None = None,
) -> Difference:
    """Compare the adapted model with the preprocessing by hand and the original.

    Args:
        original: gets the images after the preprocessing by hand.
        adapted: gets the images.
        wanted: the preprocessing.
        images: shape (B, C, H, W).
        clean: the same images after the denoiser, if one is in front of the preprocessing too.

    Raises:
        ModelError: one of them cannot be run.
    """
    before = images if clean is None else clean
    expected = np.concatenate([_scores(original, wanted.apply(one)) for one in _each(before)])
    alone = np.concatenate([_scores(adapted, one) for one in _each(images)])
    batched = np.concatenate([_scores(adapted, images), _scores(adapted, images[:2])])
    twice = np.concatenate([expected, expected[:2]])
    return Difference(len(images), _largest(expected, alone), _largest(twice, batched))


def _random(sizes: Sequence[int]) -> NDArray[np.float32]:
    """Uniform images of different contrast, with values also outside of [0, 1], as noise has."""
    if math.prod(sizes) > _MOST_VALUES:
        shown = "x".join(map(str, sizes))
        raise ModelError(f"an input of {shown} values is too large to be tried.")
    rng = np.random.default_rng(0)
    images = rng.random((_ROWS, *sizes), dtype=np.float32)
    contrast = np.array([1.4, 1.0, 0.5, 0.2, 1.0], np.float32).reshape(-1, *[1] * len(sizes))
    return (0.5 + contrast * (images - 0.5)).astype(np.float32)


def _each(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [images[row : row + 1] for row in range(len(images))]


def _scores(classifier: Classifier, images: NDArray[Any]) -> NDArray[np.float64]:
    scores = np.asarray(classifier.logits(images), np.float64)
    if scores.ndim != 2 or len(scores) != len(images):
        raise ModelError(
            f"{classifier.name} returns shape {scores.shape} for a batch of {len(images)} rows."
        )
    return scores


def _largest(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """The largest difference over the largest score; infinite where only one is a number."""
    if expected.shape != found.shape:
        return math.inf
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=1e-30)
    return float(change(expected, found).max(initial=0.0) / largest)
