"""Limits of a proportion that hold at every number of draws at once, so one may stop anywhere.

Before each draw the Krichevsky-Trofimov bettor gives a hit the probability (H + 1/2)/(T + 1),
with H hits among T draws so far. Q, the probability it gave to what was seen, over the
probability under p is a martingale of mean 1 if p is true, so by Ville's inequality it ever
exceeds 1/alpha with probability at most alpha (Voracek, NeurIPS 2024, arXiv 2406.17830;
docs/theory.md, section 9). The comparison allows for the error of floats.

A bettor that has seen h hits among t earlier draws may start from them, with (h + H + 1/2) /
(t + T + 1). Its bets are on the later draws alone, so all of this holds given the earlier ones:
`seen_hits` and `seen_draws`, which must be independent of the draws that are counted.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.bounds.counts import rising
from smoothcert.errors import InvalidInput

# Relative to the largest terms of the evidence, T log T and the evidence itself: about twenty
# times the worst error observed against mpmath, up to 10^15 draws.
_ERROR = 1e-14
_BISECTIONS = 40
_NEWTON_STEPS = 10  # enough unless the earlier draws mislead, which takes up to the most
_MOST_STEPS = 60
_SMALL = 1e-9
_LOG_PI = np.log(np.pi)  # of B(1/2, 1/2)


def log_evidence(
    hits: ArrayLike,
    draws: ArrayLike,
    p: ArrayLike,
    seen_hits: ArrayLike = 0,
    seen_draws: ArrayLike = 0,
) -> NDArray[np.float64]:
    """Logarithm of the evidence against p: log Q - H log p - (T - H) log(1 - p).

    Args:
        hits: H, integers in 0..draws; broadcasts with the others.
        draws: T, integers >= 0 (T = 0 gives 0).
        p: probabilities of a hit in [0, 1].
        seen_hits: h, integers in 0..seen_draws, hits among earlier draws, which are not counted.
        seen_draws: t, integers >= 0.

    Returns:
        Array of the broadcast shape, in nats, rounded to nearest; +inf where p rules out the
        observed draws. Q = B(h + H + 1/2, t - h + T - H + 1/2) / B(h + 1/2, t - h + 1/2), the
        product of the bettor's probabilities.

    Raises:
        InvalidInput: an argument out of range, not whole, or not finite.
    """
    seen = _seen(seen_hits, seen_draws)
    return _log_evidence(*_checked(hits, draws, p, "p must be probabilities"), *seen)


def rejects(
    hits: ArrayLike,
    draws: ArrayLike,
    p: ArrayLike,
    alpha: ArrayLike,
    seen_hits: ArrayLike = 0,
    seen_draws: ArrayLike = 0,
) -> NDArray[np.bool_]:
    """Whether the evidence against p exceeds 1/alpha, beyond the error of floats.

    If p is true, P[some T >= 1 rejects it] <= alpha. If p < H/T is rejected, so is every smaller
    p, and if p > H/T is, so is every larger p.

    Args:
        hits: as for `log_evidence`.
        draws: likewise.
        p: likewise.
        alpha: error probability in [0, 1]; 0 rejects nothing.
        seen_hits: as for `log_evidence`.
        seen_draws: likewise.

    Returns:
        Array of the broadcast shape.

    Raises:
        InvalidInput: as for `log_evidence`, or alpha out of range.
    """
    _checked(hits, draws, alpha, "alpha must be error probabilities")
    hits, draws, p = _checked(hits, draws, p, "p must be probabilities")
    seen = _seen(seen_hits, seen_draws)
    evidence = _log_evidence(hits, draws, p, *seen)
    return _exceeds(evidence, draws + seen[1], np.asarray(alpha, float))


def lower(
    hits: ArrayLike,
    draws: ArrayLike,
    alpha: ArrayLike,
    seen_hits: ArrayLike = 0,
    seen_draws: ArrayLike = 0,
) -> NDArray[np.float64]:
    """Lower limit of the hit probability, valid at all numbers of draws together.

    Args:
        hits: integers in 0..draws; broadcasts with the others.
        draws: integers >= 0 (0 gives 0).
        alpha: error probability in [0, 1], shared with `upper`; 0 gives 0.
        seen_hits: as for `log_evidence`.
        seen_draws: likewise.

    Returns:
        Array of the broadcast shape: every p at or below a returned value above 0 is
        rejected, and the smallest kept one is within 1e-9.

    Raises:
        InvalidInput: hits, draws or alpha out of range, not whole, or not finite.
    """
    hits, draws, alpha = _checked(hits, draws, alpha, "alpha must be error probabilities")
    seen = _seen(seen_hits, seen_draws)
    hits, draws, alpha, *seen = np.broadcast_arrays(hits, draws, alpha, *seen)
    rejected, kept = np.zeros(hits.shape), hits / np.maximum(draws, 1)
    for _ in range(_BISECTIONS):
        middle = (rejected + kept) / 2
        out = _exceeds(_log_evidence(hits, draws, middle, *seen), draws + seen[1], alpha)
        rejected, kept = np.where(out, middle, rejected), np.where(out, kept, middle)
    return rejected


def upper(
    hits: ArrayLike,
    draws: ArrayLike,
    alpha: ArrayLike,
    seen_hits: ArrayLike = 0,
    seen_draws: ArrayLike = 0,
) -> NDArray[np.float64]:
    """Upper limit of the hit probability; arguments and errors as for `lower`.

    Every p at or above a returned value below 1 is rejected. `lower` and `upper` together
    are wrong, at any number of draws, with probability at most alpha.
    """
    # By symmetry: the lower limit for misses, whose complement is rounded up.
    hits, draws, alpha = _checked(hits, draws, alpha, "alpha must be error probabilities")
    seen_hits, seen_draws = _seen(seen_hits, seen_draws)
    misses = lower(draws - hits, draws, alpha, seen_draws - seen_hits, seen_draws)
    return np.where(misses == 0, 1.0, np.nextafter(1 - misses, 1))


def lower_near(
    hits: ArrayLike,
    draws: ArrayLike,
    alpha: ArrayLike,
    seen_hits: ArrayLike = 0,
    seen_draws: ArrayLike = 0,
) -> NDArray[np.float64]:
    """About `lower`, ten times faster, and proving nothing: to find what is worth computing.

    Arguments and errors as for `lower`. The evidence is convex in the logit, where each step of
    Newton's goes; one that starts at the limit of a parabola is within 1e-9 of `lower`, or above
    where far more draws were seen earlier than are counted, as `lower` allows for their error.
    """
    hits, draws, alpha = _checked(hits, draws, alpha, "alpha must be error probabilities")
    seen = _seen(seen_hits, seen_draws)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        needed = np.log(alpha) + _log_q(hits, draws, *seen)
        p = (hits + 0.5) / (draws + 1)
        logit = special.logit(p)
        short = hits * logit - draws * np.logaddexp(0, logit) - needed
        logit = logit - np.sqrt(np.maximum(0, 2 * short / (draws * p * (1 - p))))
        for taken in range(_MOST_STEPS):
            short = hits * logit - draws * np.logaddexp(0, logit) - needed
            step = short / (hits - draws * special.expit(logit))
            logit = logit - step
            moving = np.abs(step) > _SMALL * (1 + np.abs(logit))
            if taken + 1 >= _NEWTON_STEPS and not moving.any():
                break
        return np.where((hits > 0) & (alpha > 0), special.expit(logit), 0.0)


def _log_q(
    hits: NDArray[Any], draws: NDArray[Any], seen_hits: NDArray[Any], seen_draws: NDArray[Any]
) -> NDArray[np.float64]:
    """Logarithm of the product of the bettor's probabilities."""
    seen_misses = seen_draws - seen_hits
    first = np.where(seen_draws > 0, special.betaln(seen_hits + 0.5, seen_misses + 0.5), _LOG_PI)
    return special.betaln(seen_hits + hits + 0.5, seen_misses + draws - hits + 0.5) - first


def _log_evidence(
    hits: NDArray[Any],
    draws: NDArray[Any],
    p: NDArray[Any],
    seen_hits: NDArray[Any],
    seen_draws: NDArray[Any],
) -> NDArray[np.float64]:
    log_q = _log_q(hits, draws, seen_hits, seen_draws)
    evidence = log_q - special.xlogy(hits, p) - special.xlog1py(draws - hits, -p)
    return np.where(draws > 0, evidence, 0.0)


def _exceeds(evidence: NDArray[Any], draws: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether the exact evidence is above log(1/alpha), shown from the computed one.

    `draws` are all draws, seen earlier or counted: the terms of the evidence are as large.
    """
    needed = -special.xlogy(1.0, alpha) * (1 + _ERROR)
    # A factor instead of a difference, as the evidence may be infinite.
    return evidence * (1 - _ERROR) > needed + _ERROR * (draws + 1) * np.log(draws + 2)


def _seen(hits: ArrayLike, draws: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Counts of the earlier draws as floats."""
    return rising(seen_hits=hits, seen_draws=draws)


def _checked(
    hits: ArrayLike, draws: ArrayLike, share: ArrayLike, wanted: str
) -> tuple[NDArray[np.float64], ...]:
    """Broadcast floats: whole 0 <= hits <= draws, and a share in [0, 1] that `wanted` names."""
    hits, draws = rising(hits=hits, draws=draws)
    share = np.asarray(share, float)
    good = (share >= 0) & (share <= 1)
    if not good.all():
        raise InvalidInput(f"{wanted} in [0, 1]; got {float(share[~good].flat[0])}")
    return tuple(np.broadcast_arrays(hits, draws, share))
