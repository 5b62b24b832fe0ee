"""What per-input certificates prove together and of new inputs; docs/theory.md, sections 11, 15."""

from math import fsum, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds import binomial
from smoothcert.bounds.counts import rising
from smoothcert.errors import InvalidInput

_DEVIATIONS = np.array([0.5, 1.0, 2.0])  # of radii, over their mean, for which bets are placed
_LARGEST_BET = 0.95
_BISECTIONS = 45
_ERROR = 1e-12  # above that of the logarithm of one factor


def wrong_at_most(count: int, alpha: float, beta: float) -> int:
    """How many of a run's certificates may be wrong, except with probability beta.

    Args:
        count: number of certificates of one run, at least 1.
        alpha: error probability of each, in (0, 1).
        beta: error probability of this statement, in (0, 1).

    Returns:
        The least w with P[Bin(count, alpha) > w] <= beta, or a larger one because of rounding.

    Raises:
        InvalidInput: an argument out of range.

    Source: docs/theory.md, section 11.
    """
    count = int(rising(count=count)[0])
    if count < 1 or not (0 < alpha < 1 and 0 < beta < 1):
        raise InvalidInput(
            "A statement about all certificates together needs at least one of them, and error "
            f"probabilities between 0 and 1; got count {count}, alpha {alpha}, beta {beta}"
        )
    # The tail at w + 1 is at most beta exactly where the lower limit for w + 1 is alpha or more.
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if binomial.lower(middle + 1, count, beta) >= alpha:
            high = middle
        else:
            low = middle + 1
    return low


def mean_above(radii: NDArray[np.float64], wrong: int) -> float:
    """A lower limit of the mean certified radius if the `wrong` largest radii may be wrong.

    Args:
        radii: the radius of every input, shape (count,), 0 or less where there is none.
        wrong: how many radii may be wrong, at least 0.

    Returns:
        The mean in which the `wrong` largest count as 0, rounded down.

    Raises:
        InvalidInput: `wrong` is not a whole number of at least 0.
    """
    wrong = int(rising(wrong=wrong)[0])
    kept = np.sort(np.clip(radii, 0, None))[: max(0, len(radii) - wrong)]
    return max(0.0, float(np.nextafter(fsum(kept) / len(radii) * (1 - 1e-15), 0)))


def new_inputs_above(
    certified: ArrayLike, count: ArrayLike, alpha: ArrayLike, beta: float
) -> NDArray[np.float64]:
    """A lower limit of the share of a population for which the smoothed classifier is robust.

    A wrong certificate counts as one with probability at most alpha, so that of a share A of
    robust inputs at most A + (1 - A) alpha is certified; this is solved for A.

    Args:
        certified: how many of the inputs are certified at the radius, with their label; 0..count.
        count: number of inputs, a random sample of the population; at least 1.
        alpha: error probability of each certificate, in (0, 1).
        beta: error probability of the limit, in (0, 1); alpha is accounted for and adds nothing.

    Returns:
        The limits, rounded down, of the arguments' broadcast shape; each holds with probability
        1 - beta.

    Raises:
        InvalidInput: an argument out of range.

    Source: docs/theory.md, section 15; Clopper & Pearson, Biometrika 1934.
    """
    alpha, (certified, count) = np.asarray(alpha, float), rising(certified=certified, count=count)
    if not (np.all((alpha > 0) & (alpha < 1)) and 0 < beta < 1 and np.all(count >= 1)):
        raise InvalidInput(
            "A limit for new inputs needs at least one input, and error probabilities between 0 "
            f"and 1; got count {count}, alpha {alpha}, beta {beta}"
        )
    share = binomial.lower(certified, count, beta)
    # Numerator rounded down, denominator up, and their quotient down.
    above = np.maximum(0.0, np.nextafter(share - alpha, -np.inf))
    return np.maximum(0.0, np.nextafter(above / np.nextafter(1 - alpha, 2), -np.inf))


def new_mean_above(radii: ArrayLike, most: float, alpha: float, beta: float) -> float:
    """A lower limit of the mean radius up to which a population's inputs are robust.

    Nothing is assumed of how radii are distributed: their mean has a limit by betting, from which
    is taken what wrong certificates can add to it.

    Args:
        radii: certified radii, with their label, of a random sample of the population; shape
            (count,), 0 or less where there is none. What is above `most` counts as `most`.
        most: a radius fixed before any of them, >= 0: best the largest that a certificate can have.
        alpha: error probability of each certificate, in (0, 1).
        beta: error probability of the limit, in (0, 1); alpha is accounted for and adds nothing.

    Returns:
        The limit, rounded down.

    Raises:
        InvalidInput: an argument out of range.

    Source: docs/theory.md, section 15; Waudby-Smith & Ramdas, JRSS B 2024, for the betting.
    """
    radii = np.asarray(radii, float)
    good = radii.ndim == 1 and len(radii) and not np.isnan(radii).any() and 0 <= most < np.inf
    if not (good and 0 < alpha < 1 and 0 < beta < 1):
        raise InvalidInput(
            "A limit for the mean radius of new inputs needs one radius or more, their largest "
            "possible value, and error probabilities between 0 and 1; got radii of the shape "
            f"{radii.shape}, most {most}, alpha {alpha}, beta {beta}"
        )
    mean = _mean_above(np.clip(radii, 0, most), beta)
    above = np.nextafter(mean - np.nextafter(alpha * most, np.inf), -np.inf)
    return max(0.0, float(np.nextafter(above / np.nextafter(1 - alpha, 2), -np.inf)))


def _mean_above(values: NDArray[np.float64], beta: float) -> float:
    """The largest mean at which the capital of the bets is 1/beta: it falls with the mean."""
    bets = np.sqrt(2 * -log(beta) / len(values)) / _DEVIATIONS
    bets = np.minimum(bets, _LARGEST_BET)[:, None]
    enough = -log(beta) + log(len(bets)) + _ERROR * (len(values) + 1)
    largest = values.max()
    if largest == 0:
        return 0.0
    low, high, shares = 0.0, 1.0, values / largest  # no bet wins if the mean is the largest value
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        won = np.log1p(bets * (shares / middle - 1)).sum(axis=1)
        low, high = (middle, high) if np.logaddexp.reduce(won) >= enough else (low, middle)
    return float(np.nextafter(low * largest, 0))
