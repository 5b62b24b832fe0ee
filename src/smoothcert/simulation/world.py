"""The simulated world: a log's images, a stated flip model, and a cache drawn from both.

Nothing here is measured. The new model is a law of label changes under noise: on image i the
label changes to or from the class with probability d_i proportional to phi(Phi^-1(p_i)), since
changes happen near the decision boundary, scaled so that the mean over all images is the requested
disparity. If that is more than an image allows, every draw changes that can, and the others' share
is larger. A share `away` of the changes leaves the class and the rest comes back to it, so
p'_i = p_i + (1 - 2 * away) * d_i. Changes among the other classes are left out.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds import normal
from smoothcert.certificate import Certificate, Outcome, Settings
from smoothcert.errors import InvalidInput
from smoothcert.simulation.logs import Log


@dataclass(frozen=True)
class FlipModel:
    """How the labels of the simulated new model differ.

    Args:
        disparity: mean probability, over the images, that the label changes under noise.
        away: share of the changes that leave the class; one half keeps every probability.
    """

    disparity: float
    away: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.disparity < 0.5:
            raise InvalidInput(f"disparity must be a probability below 1/2; got {self.disparity}")
        if not 0 <= self.away <= 1:
            raise InvalidInput(f"away must be a share from 0 to 1; got {self.away}")

    def rates(self, p: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(u, v): P[f' != c | f = c] and P[f' = c | f != c] of every image, shape of p.

        Raises:
            InvalidInput: these probabilities do not allow that many changes.
        """
        density = np.exp(-(special.ndtri(p) ** 2) / 2)
        with np.errstate(divide="ignore"):
            room = np.minimum(p / self.away, (1 - p) / np.subtract(1, self.away))
        changed, free = self.disparity * density / density.mean(), np.ones(p.shape, dtype=bool)
        while (full := free & (changed > room)).any():
            free &= ~full
            rest = self.disparity * p.size - room[~free].sum()
            if not free.any():
                raise InvalidInput(
                    f"A disparity of {self.disparity} with a share {self.away} of it away from "
                    "the class is more than the images' probabilities allow. Ask for less"
                )
            changed = np.where(free, rest * density / density[free].sum(), room)
        u, v = self.away * changed / p, (1 - self.away) * changed / (1 - p)
        return np.minimum(u, 1), np.minimum(v, 1)


@dataclass(frozen=True, eq=False)
class World:
    """A log's images, one simulated cache of them, and the truth about the new model.

    Attributes:
        log: the images.
        n: cached draws per image.
        k: cached votes for the class, shape (images,).
        u, v: the true flip rates, see `FlipModel.rates`.
    """

    log: Log
    n: int
    k: NDArray[np.int64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]

    @staticmethod
    def draw(log: Log, n: int, flips: FlipModel, rng: np.random.Generator) -> "World":
        """Simulate the original's cache."""
        return World(log, n, rng.binomial(n, log.p), *flips.rates(log.p))

    @property
    def changed(self) -> NDArray[np.float64]:
        """The new model's true probability of the class, shape (images,)."""
        return self.log.p * (1 - self.u) + (1 - self.log.p) * self.v

    @property
    def settings(self) -> Settings:
        """The settings of the simulated original, for the planning code."""
        return Settings(self.log.sigma, n=self.n)

    @cached_property
    def certificates(self) -> tuple[Certificate, ...]:
        """The cached counts for the planning code; only k and n have a meaning."""
        return tuple(
            Certificate(i, "simulated", "rs", 0, Outcome.CERTIFIED, 0.0, 0.0, 1.0, k, self.n)
            for i, k in enumerate(self.k.tolist())
        )

    def acr(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average certified radius for limits of shape (images, ...); a wrong image counts 0."""
        radius = np.maximum(self.log.sigma * normal.quantile_below(np.clip(q, 0, 1)), 0)
        correct = self.log.correct.reshape(-1, *[1] * (q.ndim - 1))
        return np.where(correct, radius, 0).mean(axis=0)
