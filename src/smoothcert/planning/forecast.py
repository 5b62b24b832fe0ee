"""The certificates to expect of a certification from scratch, simulated; nothing here is proven.

Selection votes leave each input's probability open, most where all agree: what is thought of one
input is learnt from the votes of all (empirical Bayes, Robbins 1956). Φ⁻¹ of the probabilities is
taken for normal over the inputs, with mean and deviation fitted by expectation maximization.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.certificate import Settings
from smoothcert.planning.expected import lower, second_share, upper

_GRID = np.linspace(-3.0, 8.0, 441)  # of Φ⁻¹ of a probability
_START, _WEIGHT = (1.5, 1.5), 2.0  # mean and deviation before any vote, and their worth in inputs
_STEPS = 100
_TRIALS, _FEWEST, _MOST = 20_000, 10, 400  # simulated certificates in all, and of each input


@dataclass(frozen=True, eq=False)
class Forecast:
    """Simulated certificates of inputs with these selection votes; the same ones each time.

    Attributes:
        settings: of the certification.
        selected: votes for the class and for the best other one, shape (inputs, 2).
        classes: number of classes.
    """

    settings: Settings
    selected: NDArray[np.int64]
    classes: int

    def radii(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Radii from so many estimation draws, 0 where nothing is proven; shape (inputs, trials).

        Args:
            draws: of each input, 0 for none.
        """
        rng = np.random.default_rng(0)
        n = draws[:, None]
        k = rng.binomial(n, self.shares)
        other = rng.binomial(n - k, self._other[:, None])
        forms = ("binary",) if self.classes < 3 else self._forms
        found = np.stack([self._proven(form, k, other, n) for form in forms])
        # An input has one form, which its votes choose: the one that is better on average.
        best = found.mean(axis=2).argmax(axis=0)
        return found[best, np.arange(len(draws))] * (n > 0)

    @property
    def _forms(self) -> tuple[str, ...]:
        form = self.settings.form
        return ("binary", "runner-up") if form == "auto" else (form,)

    def _proven(
        self, form: str, k: NDArray[np.int64], other: NDArray[np.int64], n: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        settings, n = self.settings, np.maximum(n, 1)
        if form == "binary":
            return settings.radius(lower(k, n, settings.alpha))
        half = settings.alpha / 2
        parts = self.classes - 1 if form == "multiclass" else 1
        return settings.radius(lower(k, n, half), upper(other, n, half / parts))

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Probabilities that each input's class may have, rising, shape (inputs, trials)."""
        inputs = len(self.selected)
        trials = int(np.clip(_TRIALS // inputs, _FEWEST, _MOST))
        parts = (np.arange(trials) + 0.5) / trials
        below = np.cumsum(self._after, axis=1)
        z = np.stack([np.interp(parts, row, _GRID) for row in below])
        return special.ndtr(z)[self._types[1]]

    @cached_property
    def _after(self) -> NDArray[np.float64]:
        """How likely each point of the grid is after the votes; shape (types, grid)."""
        votes, place = self._types
        won, lost = votes[:, None], self.settings.n0 - votes[:, None]
        logs = won * special.log_ndtr(_GRID) + lost * special.log_ndtr(-_GRID)
        likely = np.exp(logs - logs.max(axis=1, keepdims=True))
        count = np.bincount(place)
        before = _normal(*_START)
        mean, deviation = _START
        for _ in range(_STEPS):
            after = _shares_of(likely * _normal(mean, deviation))
            mass = (count @ after + _WEIGHT * before) / (count.sum() + _WEIGHT)
            mean = mass @ _GRID
            deviation = float(np.sqrt(mass @ (_GRID - mean) ** 2))
        return _shares_of(likely * _normal(mean, deviation))

    @cached_property
    def _types(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The different numbers of votes for the class, and each input's."""
        votes, place = np.unique(self.selected[:, 0], return_inverse=True)
        return votes, place.reshape(-1)

    @cached_property
    def _other(self) -> NDArray[np.float64]:
        """The best other class's share of the votes that the class does not get, by input."""
        return second_share(self.selected, self.settings.n0)


def _normal(mean: float, deviation: float) -> NDArray[np.float64]:
    """The normal law on the grid."""
    return _shares_of(np.exp(-(((_GRID - mean) / deviation) ** 2) / 2))


def _shares_of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that sum to 1, in the last axis."""
    return weights / weights.sum(axis=-1, keepdims=True)
