"""How often, and where, a new model's labels change under noise; fitted to a pilot."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special


@dataclass(frozen=True)
class FlipRates:
    """How often labels change under noise, as a function of the original's vote share p.

    Changes happen near the decision boundary, about in proportion to phi(Phi^-1(p)).

    Attributes:
        away: P[f = c, f' != c] over phi(Phi^-1(p)).
        back: P[f != c, f' = c] over the same.
        away_depth: with winners ordered by margin, the chance that one changes falls like
            exp(-share / away_depth) in the share of them that is nearer; infinite where margins
            are unknown or uninformative.
        back_depth: likewise for losers.
    """

    away: float
    back: float
    away_depth: float = np.inf
    back_depth: float = np.inf

    @staticmethod
    def fit(
        shares: NDArray[np.float64],
        winners: NDArray[np.int64],
        lost: NDArray[np.int64],
        losers: NDArray[np.int64],
        won: NDArray[np.int64],
    ) -> "FlipRates":
        """Fit to a pilot: per input its vote share, draws replayed and labels changed."""
        density = _density(special.ndtri(shares))
        expected_away = float((winners * density / shares).sum())
        expected_back = float((losers * density / (1 - shares)).sum())
        # Half a change more than observed: no pilot proves that there are none.
        return FlipRates(
            (lost.sum() + 0.5) / max(expected_away, 1e-9),
            (won.sum() + 0.5) / max(expected_back, 1e-9),
        )

    def with_depths(self, lost: NDArray[np.float64], won: NDArray[np.float64]) -> "FlipRates":
        """Fit the depths to how far from changing the pilot's changed draws were (0 to 1)."""
        return replace(self, away_depth=_depth(lost), back_depth=_depth(won))

    def rates(self, p: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(u, v): P[f' != c | f = c] and P[f' = c | f != c], each below 0.95."""
        density = _density(special.ndtri(p))
        return (
            np.clip(self.away * density / p, 1e-9, 0.95),
            np.clip(self.back * density / (1 - p), 1e-9, 0.95),
        )


_DEPTHS = np.geomspace(2e-3, 1e3, 400)
_MEANS = _DEPTHS - 1 / np.expm1(1 / _DEPTHS)  # of an exponential law cut off at 1


def _depth(shares: NDArray[np.float64]) -> float:
    """The depth whose mean share is the observed one, pulled towards 1/2 by one extra change."""
    mean = (shares.sum() + 0.5) / (len(shares) + 1)
    return float(np.interp(mean, _MEANS, _DEPTHS)) if mean < 0.49 else np.inf


def within(share: NDArray[np.float64], depth: float) -> NDArray[np.float64]:
    """The part of all changes that lies in the nearest `share` of the draws."""
    return share if np.isinf(depth) else np.expm1(-share / depth) / np.expm1(-1 / depth)


def _density(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
