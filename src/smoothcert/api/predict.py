"""The smoothed classifier's prediction for one input (Cohen et al. 2019, algorithm PREDICT)."""

from dataclasses import dataclass

import numpy as np

from smoothcert.bounds import binomial
from smoothcert.bounds.rounding import difference_below
from smoothcert.certificate import ABSTAIN, Settings, check_alpha, check_count
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Item
from smoothcert.errors import InvalidInput
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling.answers import NO_CLASS
from smoothcert.sampling.batches import Request
from smoothcert.sampling.prepare import prepare
from smoothcert.scalars import real, whole


@dataclass(frozen=True)
class Prediction:
    """A predicted class, or ABSTAIN, with the votes of the two top classes."""

    predicted: int
    top: int
    top_votes: int
    second: int
    second_votes: int
    draws: int


def predict(
    classifier: Classifier,
    item: Item,
    noise: RoundedGaussian,
    *,
    n: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    batch_size: int | None = None,
) -> Prediction:
    """Predict the most likely class under noise, or abstain.

    The top two classes' votes are compared by an exact two-sided binomial test (Hung & Fithian
    2019). Its level is alpha minus the most by which n draws of sampled noise can differ from
    exact noise, so a class other than the smoothed classifier's is returned with probability at
    most alpha (Cohen et al. 2019, Proposition 1; docs/theory.md, section 4).

    Args:
        classifier: the base classifier.
        item: the input, as `Inputs.item` returns it; the class of this grid point is predicted.
        noise: the noise law, on the input's grid.
        n: number of draws, 1 to 10^9.
        alpha: probability of a class other than the smoothed classifier's, in (0, 1).
        seed: noise seed, 0..2^64 - 1.
        batch_size: rows per forward pass; chosen from the input size if None.

    Returns:
        The class or ABSTAIN, and the votes of the top two classes.

    Raises:
        InvalidInput: n or alpha out of range, or alpha too small for n draws of sampled noise.
        ModelError: not a usable classifier.
    """
    if not isinstance(item, Item):
        raise InvalidInput(
            f"predict takes an item of `Inputs`; got {type(item).__name__}. Give load_inputs(...)"
            ".item(0), or Inputs.from_arrays(array[None]).item(0)."
        )
    if not isinstance(noise, RoundedGaussian):
        raise InvalidInput(
            f"noise must be a noise law such as RoundedGaussian(0.25, '1/255'); got {noise!r:.60}"
        )
    n, alpha, seed = whole(n, "n"), real(alpha, "alpha"), whole(seed, "seed")
    check_count(n, "n")
    check_alpha(alpha)
    level = _under_exact_noise(alpha, n, noise.slack(item.pixels.shape))
    settings = Settings(noise.sigma, noise.levels, seed=seed)
    ready = prepare(classifier, item, settings, n, batch_size)
    request = Request(item, Stream.PREDICTION, range(n))
    ((_, labels),) = ready.sampler(settings).labels([request])
    counts = np.bincount(labels[labels != NO_CLASS], minlength=ready.probe.num_classes)
    second, top = np.argsort(counts, kind="stable")[-2:]
    first, next_ = int(counts[top]), int(counts[second])
    # The two-sided test rejects p = 1/2 exactly when the lower limit at half its level is above it.
    decided = float(binomial.lower(first, first + next_, level / 2)) > 0.5
    return Prediction(int(top) if decided else ABSTAIN, int(top), first, int(second), next_, n)


def _under_exact_noise(alpha: float, n: int, slack: float) -> float:
    """The level of a test that errs with probability at most alpha when its noise is sampled.

    n draws are within n * slack of n exact ones in total variation (docs/theory.md, section 4).
    """
    between = float(np.nextafter(n * slack, np.inf)) if slack else 0.0
    level = difference_below(alpha, between)
    if level <= 0:
        raise InvalidInput(
            f"The sampled noise of n = {n} draws may differ from exact noise with probability "
            f"{between:.2g}, and alpha is {alpha:g}. Use fewer draws, or a larger alpha."
        )
    return level
