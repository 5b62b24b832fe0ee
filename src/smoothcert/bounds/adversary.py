"""What an adversary can do to a set of inputs with a bounded mean flip rate.

Input i keeps probability p'_i >= limits_i * (1 - u_i), where the flip rate u_i is unknown and
only the mean over each group of inputs is bounded. Every bound here is the worst over all
rates that are allowed (docs/theory.md, section 10), and every result is on the safe side. What a
rate costs an input against its runner-up is in `runner_up`.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.bounds import binomial, normal
from smoothcert.bounds.counts import rising
from smoothcert.errors import InvalidInput

# Relative error allowed for a few elementary float operations: about a thousand times the real one.
_RELATIVE = 1e-12
_BISECTIONS = 60


def mean_flip_limit(flips: ArrayLike, draws: ArrayLike, alpha: float) -> float:
    """Upper confidence limit of the mean flip rate of a group of inputs.

    Args:
        flips: flips counted on each input, shape (inputs,).
        draws: draws replayed on each input, broadcast to the same shape; all equal, since a
            pooled count weights the inputs by their draws and bounds no plain mean otherwise.
        alpha: one-sided error probability.

    Returns:
        u with P[u < mean of the inputs' flip rates] <= alpha, whatever the rates; 1 when there
        are no draws.

    Raises:
        InvalidInput: unequal draws, or counts out of range.

    Source: Hoeffding (1956), Theorem 4: P[S <= c] <= P[Bin(n, mean) <= c] for independent,
    non-identical trials at integers c <= n * mean - 1. The Clopper-Pearson limit u at count c
    needs this for every mean above u, so it is valid if c <= n * u - 1. That fails at
    c = n - 1 always (two trials with rates 1 and 0.949 at alpha = 0.05), elsewhere only for
    large alpha; the limit is 1 there.
    """
    draws = np.broadcast_to(draws, np.shape(flips))
    flips, draws = rising(flips=flips, draws=draws)
    if draws.size and draws.min() != draws.max():
        raise InvalidInput(
            "draws must be the same for every input of a group, or their pooled flips do not "
            f"bound the mean rate; got from {draws.min()} to {draws.max()}"
        )
    total, count = int(draws.sum()), int(flips.sum())
    limit = float(binomial.upper(count, total, alpha))
    in_range = np.nextafter(total * limit, 0) >= count + 1
    return limit if in_range else 1.0


def breaking_rates(limits: ArrayLike, sigma: float, radii: ArrayLike) -> NDArray[np.float64]:
    """The least flip rate at which an input may fail to be robust at a radius, rounded down.

    Args:
        limits: lower limits of the original's probabilities, shape (inputs,), in (0, 1].
        sigma: noise standard deviation.
        radii: any shape, >= 0.

    Returns:
        1 - Phi(radius / sigma) / limit, shape (*radii.shape, inputs); not positive where the
        input is not certified at that radius in the first place.

    Raises:
        InvalidInput: an argument out of range, or NaN.
    """
    limits = np.asarray(limits, float)
    if not np.all((limits > 0) & (limits <= 1)):
        raise InvalidInput("limits must be probabilities in (0, 1]")
    needed = _needed(sigma, radii)[..., None]
    ratio = np.nextafter(needed / limits, np.inf)
    return np.nextafter(1 - ratio, -np.inf)


def _needed(sigma: float, radii: ArrayLike) -> NDArray[np.float64]:
    """Phi(radius / sigma), rounded up."""
    radii = np.asarray(radii, float)
    if not np.all(radii >= 0):
        raise InvalidInput(f"radii must be numbers >= 0; got {radii[~(radii >= 0)].flat[0]}")
    if not 0 < sigma < np.inf:
        raise InvalidInput(f"sigma must be a positive number; got {sigma}")
    z = np.nextafter(radii / sigma, np.inf)
    return np.nextafter(special.ndtr(z) * (1 + _RELATIVE), np.inf)


def lost_inputs(
    limits: ArrayLike, mean_rate: float, sigma: float, radii: ArrayLike
) -> NDArray[np.int64]:
    """The most inputs of one group that are not robust at each radius, exactly.

    The adversary pays an input's breaking rate to lose it, the cheapest first, until
    mean_rate * (inputs) is used up.

    Args:
        limits: lower limits of the group's probabilities, shape (inputs,), in (0, 1].
        mean_rate: upper limit of the group's mean flip rate.
        sigma: noise standard deviation.
        radii: any shape, >= 0.

    Returns:
        Counts, shape of radii. The others have p' > Phi(radius / sigma), all radii together.

    Raises:
        InvalidInput: an argument out of range, or NaN.
    """
    return affordable(breaking_rates(limits, sigma, radii), mean_rate)


def affordable(breaking: NDArray[np.float64], mean_rate: float) -> NDArray[np.int64]:
    """The most inputs of one group whose breaking rates fit into its mean flip rate, exactly.

    Args:
        breaking: of each input, shape (..., inputs); see `breaking_rates`.
        mean_rate: upper limit of the group's mean flip rate.

    Returns:
        Counts, shape (...).

    Raises:
        InvalidInput: mean_rate is not in [0, 1].
    """
    costs = np.sort(np.maximum(breaking, 0), axis=-1)
    spent = np.cumsum(costs, axis=-1) * (1 - _RELATIVE)
    return (spent <= total_rate(breaking.shape[-1], mean_rate)).sum(axis=-1)


def total_rate(inputs: int, mean_rate: float) -> float:
    """What the flip rates of so many inputs sum to at most, rounded up.

    Raises:
        InvalidInput: mean_rate is not in [0, 1].
    """
    if not 0 <= mean_rate <= 1:
        raise InvalidInput(f"mean_rate must be a flip rate in [0, 1]; got {mean_rate}")
    return float(np.nextafter(inputs * mean_rate, np.inf))


def radius_sum(limits: ArrayLike, mean_rate: float, sigma: float) -> float:
    """A lower bound on the sum of a group's certified radii, the least the adversary can reach.

    The radius sigma * max(0, quantile(limit * (1 - u))) is convex in u, through the point where
    it becomes 0 too, so this is a convex program: for any price per unit of flip rate, weak
    duality gives a lower bound, and the best price gives the minimum itself.

    Args:
        limits: lower limits of the group's probabilities, shape (inputs,), in (1/2, 1).
        mean_rate: upper limit of the group's mean flip rate.
        sigma: noise standard deviation.

    Returns:
        The sum, >= 0, on the scale of sigma.

    Raises:
        InvalidInput: a limit is not in (1/2, 1), or mean_rate not in [0, 1].
    """
    limits = np.asarray(limits, float)
    if not np.all((limits > 0.5) & (limits < 1)):
        raise InvalidInput("limits must be probabilities in (1/2, 1)")
    if not limits.size:
        return 0.0
    budget = total_rate(len(limits), mean_rate)
    tops = normal.quantile_below(limits)
    cheap, dear = np.log(limits.min() / _density(0.0)), np.log((limits / _density(tops)).max())
    for _ in range(_BISECTIONS):
        price = (cheap + dear) / 2
        spent = (1 - special.ndtr(_depths(limits, tops, np.exp(price))) / limits).sum()
        cheap, dear = (price, dear) if spent > budget else (cheap, price)
    best = max(_dual(limits, tops, float(np.exp(price)), budget) for price in (cheap, dear))
    return max(0.0, sigma * best * (1 - _RELATIVE))


def _density(z: ArrayLike) -> NDArray[np.float64]:
    return np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)


def _depths(limits: NDArray[Any], tops: NDArray[Any], price: float) -> NDArray[np.float64]:
    """The quantile to which the adversary lowers each input: where the slope is the price."""
    density = limits / price
    z = np.sqrt(-2 * np.log(np.minimum(density * np.sqrt(2 * np.pi), 1)))
    return np.minimum(z, tops)


def _dual(limits: NDArray[Any], tops: NDArray[Any], price: float, budget: float) -> float:
    """Sum over inputs of min over u of (radius + price * u), minus price * budget; sigma is 1.

    The minimum is bounded by a tangent, which is below a convex function wherever it touches:
    at depth z the slope in u is -limit/density(z), and at z = 0 anything between that and 0.
    """
    z = _depths(limits, tops, price)
    slope = limits / _density(z)
    slope = np.where(z > 0, slope, np.minimum(slope, price))
    rate = np.where(z < tops, 1 - special.ndtr(z) / limits, 0.0)
    least = z + slope * rate + np.minimum(price - slope, 0)
    margin = _RELATIVE * (z + slope + price)
    total, scale = float((least - margin).sum()), float(np.abs(least).sum())
    spent = price * budget
    return total - spent - _RELATIVE * (scale + spent)


def log_evidence(
    flips: ArrayLike, draws: ArrayLike, guesses: ArrayLike, breaking: ArrayLike
) -> NDArray[np.float64]:
    """Logarithm of an e-value against "the flip rate is at least the breaking rate".

    The likelihood ratio of the guess to the breaking rate: its expectation is at most 1 at
    every flip rate from the breaking rate up. 0 where the guess is no alternative.

    Args:
        flips: number of flips of each input, among
        draws: number of draws of each input; all arguments broadcast.
        guesses: flip rates in (0, 1), chosen without looking at these flips.
        breaking: rates below 1; rates <= 0 are allowed and prove nothing.

    Returns:
        Logarithms, never above the exact ones.

    Raises:
        InvalidInput: an argument out of range, or NaN.
    """
    flips, draws = rising(flips=flips, draws=draws)
    guesses, breaking = np.broadcast_arrays(np.asarray(guesses, float), np.asarray(breaking, float))
    if not (np.all((guesses > 0) & (guesses < 1)) and np.all(breaking < 1)):
        raise InvalidInput("guesses must be flip rates in (0, 1), and breaking rates below 1")
    useful = guesses < breaking
    rate = np.where(useful, breaking, guesses)
    kept = draws - flips
    ratio = flips * np.log(guesses / rate) + kept * (np.log1p(-guesses) - np.log1p(-rate))
    size = flips * (1 - np.log(guesses)) - kept * np.log1p(-rate) + draws * rate
    return np.where(useful, ratio - _RELATIVE * size, 0.0)


def lost_at_most(log_evidence: ArrayLike, alpha: float) -> int:
    """The most inputs whose flip rates can all be at or above their breaking rates.

    Args:
        log_evidence: of independent inputs, shape (inputs,), from `log_evidence`; sums over
            rounds are allowed if each round's guesses look only at earlier rounds.
        alpha: error probability, for all looks at growing evidence together.

    Returns:
        The largest s whose s smallest e-values have a product below 1/alpha: over the truly
        lost inputs the product is an e-value, so it reaches 1/alpha with probability at most
        alpha (Markov; over rounds Ville), and no s inputs have less than the s smallest.

    Raises:
        InvalidInput: evidence that is not finite, or alpha not in (0, 1].
    """
    if not np.all(np.isfinite(log_evidence)) or not 0 < alpha <= 1:
        raise InvalidInput(f"Evidence must be finite, and alpha in (0, 1]; got alpha {alpha}")
    ordered = np.sort(np.asarray(log_evidence, float))
    product = np.cumsum(ordered)
    error = _RELATIVE * (1 + np.cumsum(np.abs(ordered)))
    return int((product - error < -np.log(alpha)).sum())
