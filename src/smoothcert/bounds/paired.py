"""Two models on the same inputs: McNemar's exact test, and the differences that it can find.

A test about a population that the inputs are a random sample of; what a certificate says of one
input does not depend on it (docs/theory.md, section 15).
"""

from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds import binomial
from smoothcert.bounds.counts import rising
from smoothcert.errors import InvalidInput

LEVEL, POWER = 0.05, 0.8
"""The usual error probability of such a test, and the usual probability to find a difference."""

_ROUNDING = 1e-9  # far above the error of the sums below, and taken off the power
_STEPS = 50  # of a bisection


def mcnemar(lost: int, gained: int) -> float:
    """The exact two-sided p-value of McNemar's test, rounded up.

    Args:
        lost: inputs that the first model has and the second has not, at least 0.
        gained: inputs that the second has and the first has not, at least 0.

    Returns:
        min(1, 2 P[Bin(lost + gained, 1/2) <= min(lost, gained)]). If lost and gained inputs are
        equally likely, it is at most t with probability at most t, for every t.

    Raises:
        InvalidInput: a count that is not a whole number of at least 0.

    Source: docs/theory.md, section 15; McNemar, Psychometrika 1947.
    """
    parts = int(rising(lost=lost)[0]), int(rising(gained=gained)[0])
    fewer, changes = min(parts), sum(parts)
    ways = total = 1
    for drawn in range(fewer):
        ways = ways * (changes - drawn) // (drawn + 1)
        total += ways
    if changes == 0 or total >= 1 << (changes - 1):
        return 1.0
    nearest = total / (1 << (changes - 1))
    top, bottom = nearest.as_integer_ratio()
    below = top << (changes - 1) < total * bottom
    return float(np.nextafter(nearest, 1)) if below else nearest


def detectable(
    inputs: int, changed: float | None = None, level: float = LEVEL, power: float = POWER
) -> float | None:
    """The smallest difference of two certified accuracies that so many inputs show.

    Args:
        inputs: their number, a random sample of the population; at least 1.
        changed: the share of the population that one model certifies and the other does not, in
            [0, 1]; None if all of these are losses (or all are gains).
        level: the test finds a difference where its p-value is at most this, in (0, 1).
        power: the probability with which it finds one, in (0, 1).

    Returns:
        The least difference, rounded up, that the exact test of `mcnemar` finds with probability
        `power` or more; None if it finds none of those that are possible.

    Raises:
        InvalidInput: an argument out of range.

    Source: docs/theory.md, section 15.
    """
    inputs = int(rising(inputs=inputs)[0])
    share = 1.0 if changed is None else changed
    if inputs < 1 or not (0 <= share <= 1 and 0 < level < 1 and 0 < power < 1):
        raise InvalidInput(
            "What a comparison can find needs at least one input, a share of changes from 0 to 1, "
            f"and a level and a power between 0 and 1; got {inputs} inputs, changed {changed}, "
            f"level {level}, power {power}"
        )
    if changed is None:
        fewest = next(losses for losses in count(1) if mcnemar(losses, 0) <= level)
        if fewest > inputs:
            return None
        # P[Bin(inputs, difference) < fewest] <= 1 - power, from the difference that is returned.
        missed = float(np.nextafter(1 - power, 0))
        return float(binomial.upper(fewest - 1, inputs, missed))
    if _power(inputs, changed, changed, level) < power + _ROUNDING:
        return None
    low, high = 0.0, changed
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _power(inputs, changed, middle, level) >= power + _ROUNDING:
            high = middle
        else:
            low = middle
    return high


def _power(inputs: int, changed: float, difference: float, level: float) -> float:
    """The probability that the test finds a difference, within 1e-9 or too low.

    The number of changes is binomial, and given it so is the number of losses. The power rises
    with the difference, since the region of the test is symmetric.
    """
    mean = inputs * changed
    wide = 8 * (mean * (1 - changed)) ** 0.5 + 45  # what is beyond is left out
    first, last = max(0, int(mean - wide)), min(inputs, int(mean + wide))
    changes = np.arange(first, last + 1)
    most = _most_fewer(first, last, level)
    losing = 0.5 + difference / changed / 2 if changed else 0.5
    found = special.bdtr(most, changes, losing) + special.bdtr(most, changes, 1 - losing)
    below = special.bdtr(np.arange(first - 1, last + 1), inputs, changed)
    chances = np.diff(np.nan_to_num(below))  # of -1 changes: 0
    return float(chances @ np.where(most >= 0, found, 0.0))


@lru_cache(maxsize=8)
def _most_fewer(first: int, last: int, level: float) -> NDArray[np.int64]:
    """Of so many changes, the largest number of the fewer kind that is significant; -1 if none."""
    changes = np.arange(first, last + 1)
    most = np.floor(np.nan_to_num(special.bdtrik(level / 2, changes, 0.5), nan=-1)).astype(np.int64)
    most += special.bdtr(most + 1, changes, 0.5) <= level / 2 * (1 + _ROUNDING)
    tails = np.where(most >= 0, special.bdtr(most, changes, 0.5), 0.0)
    most -= tails > level / 2 * (1 + _ROUNDING)
    for one in np.flatnonzero(abs(tails - level / 2) <= level / 2 * _ROUNDING).tolist():
        fewer = int(most[one])
        most[one] -= mcnemar(fewer, int(changes[one]) - fewer) > level
    return most
