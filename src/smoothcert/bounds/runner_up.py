"""What flips cost an input whose class and runner-up are bounded apart.

Input i keeps p'_c >= lower_i - w_i and has p'_j <= upper_i + w_i for every other class j, where the
flip rate w_i is the probability that the changed model newly votes for a class j, or no longer for
c. At worst all of it moves from c to the runner-up, so the radius is at least
sigma/2 (quantile(lower - w) - quantile(upper + w)): convex and decreasing in w until it is 0
(docs/theory.md, section 10). Every result is on the safe side.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.bounds import adversary, normal
from smoothcert.errors import InvalidInput

_RELATIVE = 1e-12  # error allowed for a few elementary float operations, as in `adversary`
_NEWTON_STEPS = 60  # about ten are needed
_PRICES, _COARSE, _FINE = 24, 20, 52  # bisections; the best price is needed only roughly
_LEAST = 1e-30  # a larger upper limit is safe, and slopes stay far from overflow


def breaking_rates(
    lower: ArrayLike, upper: ArrayLike, sigma: float, radii: ArrayLike
) -> NDArray[np.float64]:
    """The least flip rate at which an input may fail to be robust at a radius, rounded down.

    Args:
        lower: lower limits of the class's probability under the original, shape (inputs,).
        upper: upper limits of every other class's, the same shape; 0 < upper < lower < 1.
        sigma: noise standard deviation.
        radii: any shape, >= 0.

    Returns:
        The w with quantile(lower - w) - quantile(upper + w) = 2 radius / sigma, shape
        (*radii.shape, inputs); 0 where an input is not certified at that radius anyway.

    Raises:
        InvalidInput: an argument out of range, or NaN.
    """
    lower, upper = _checked(lower, upper)
    radii = np.asarray(radii, float)
    if not np.all(radii >= 0):
        raise InvalidInput(f"radii must be numbers >= 0; got {radii[~(radii >= 0)].flat[0]}")
    if not 0 < sigma < np.inf:
        raise InvalidInput(f"sigma must be a positive number; got {sigma}")
    needed = np.nextafter(np.nextafter(2 * radii, np.inf) / sigma, np.inf)[..., None]
    rate = np.zeros(np.broadcast_shapes(needed.shape, lower.shape))
    # Newton's steps from the left never pass the root of a convex decreasing function. Rounding
    # may, so what is returned is a little less, and its quantiles are compared once more.
    for _ in range(_NEWTON_STEPS):
        z, y = special.ndtri(lower - rate), special.ndtri(upper + rate)
        step = np.maximum((z - y - needed) / (2 * _slope(z, y)), 0)
        rate = np.minimum(rate + step, (lower - upper) / 2)
        if not np.any(step > _RELATIVE * rate):
            break
    rate = np.maximum(rate * (1 - _RELATIVE) - _RELATIVE, 0)
    z = normal.quantile_below(np.nextafter(lower - rate, 0))
    y = normal.quantile_above(np.nextafter(upper + rate, 1))
    return np.where(np.nextafter(z - y, -np.inf) > needed, rate, 0.0)


def radius_sum(lower: ArrayLike, upper: ArrayLike, mean_rate: float, sigma: float) -> float:
    """A lower bound on the sum of a group's certified radii, the least the adversary can reach.

    As `adversary.radius_sum`: a convex program, bounded by weak duality at the best price.

    Args:
        lower, upper: see `breaking_rates`.
        mean_rate: upper limit of the group's mean flip rate.
        sigma: noise standard deviation.

    Returns:
        The sum, >= 0, on the scale of sigma.

    Raises:
        InvalidInput: an argument out of range, or NaN.
    """
    lower, upper = _checked(lower, upper)
    budget = adversary.total_rate(len(lower), mean_rate)
    if not lower.size:
        return 0.0
    most = (lower - upper) / 2
    cheap = float(np.log(_slope_at(lower, upper, most).min()))
    dear = float(np.log(_slope_at(lower, upper, np.zeros(len(lower))).max()))
    for _ in range(_PRICES):
        price = (cheap + dear) / 2
        spent = _spent(lower, upper, np.exp(price), _COARSE).sum()
        cheap, dear = (price, dear) if spent > budget else (cheap, price)
    best = max(_dual(lower, upper, float(np.exp(price)), budget) for price in (cheap, dear))
    return max(0.0, sigma * best * (1 - _RELATIVE))


def _checked(lower: ArrayLike, upper: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lower, upper = np.asarray(lower, float), np.asarray(upper, float)
    if lower.shape != upper.shape or not np.all((upper > 0) & (upper < lower) & (lower < 1)):
        raise InvalidInput("limits must be as many of each, with 0 < upper < lower < 1")
    return lower, np.maximum(upper, np.minimum(_LEAST, lower / 2))


def _slope(z: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """How fast (z - y) / 2 falls where these are the quantiles of the class and the runner-up."""
    return (np.exp(z**2 / 2) + np.exp(y**2 / 2)) * np.sqrt(np.pi / 2)


def _slope_at(lower: NDArray[Any], upper: NDArray[Any], rate: NDArray[Any]) -> NDArray[np.float64]:
    return _slope(special.ndtri(lower - rate), special.ndtri(upper + rate))


def _spent(
    lower: NDArray[Any], upper: NDArray[Any], price: float, bisections: int
) -> NDArray[np.float64]:
    """The rate at which the adversary stops at each input: where the slope is the price."""
    most = (lower - upper) / 2
    # On the scale of the runner-up's quantile, since the slope changes most at small rates.
    low, high = special.ndtri(upper), special.ndtri(upper + most)
    for _ in range(bisections):
        middle = (low + high) / 2
        z = special.ndtri(np.maximum(lower - (special.ndtr(middle) - upper), upper))
        steeper = _slope(z, middle) > price
        low, high = np.where(steeper, middle, low), np.where(steeper, high, middle)
    rate = np.clip(special.ndtr(low) - upper, 0, most)
    return np.where(_slope_at(lower, upper, most) >= price, most, rate)  # the radius is 0 there


def _dual(lower: NDArray[Any], upper: NDArray[Any], price: float, budget: float) -> float:
    """Sum over inputs of min over w of (radius + price * w), minus price * budget; sigma is 1.

    The minimum is at most at the rate that makes the radius 0. It is bounded by a tangent, which
    is below a convex function wherever it touches; where the radius becomes 0, its slope is
    anything from there to 0.
    """
    most, rate = (lower - upper) / 2, _spent(lower, upper, price, _FINE)
    z, y = special.ndtri(lower - rate), special.ndtri(upper + rate)
    slope = _slope(z, y)
    slope = np.where(rate < most, slope, np.minimum(slope, price))
    radius = np.where(rate < most, (z - y) / 2, 0.0)
    least = radius + slope * rate + np.minimum(price - slope, 0) * most
    margin = _RELATIVE * (np.abs(z) + np.abs(y) + slope + price)
    total, scale = float((least - margin).sum()), float(np.abs(least).sum())
    spent = price * budget
    return total - spent - _RELATIVE * (scale + spent)
