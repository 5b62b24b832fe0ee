"""How many estimation draws each input gets from scratch, by all inputs' selection votes alone.

Selection and estimation draws are independent, so numbers chosen like this leave the limits of
docs/theory.md, section 2, as they are. What is expected here proves nothing.

Source: the number of draws by input, for a loss of radius, is from Chen et al. (Input-Specific
Robustness Certification for Randomized Smoothing, AAAI 2022), whose pilot's draws are counted
again; here none is.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.certificate import Settings
from smoothcert.planning.expected import lower, second_share, types_of, upper
from smoothcert.planning.menu import quantile
from smoothcert.planning.policy import Policy

_PRICES = np.geomspace(1.0, 1e-10, 600)  # of a draw, in units of sigma; falling
_GROWTH, _FEWEST = 1.5, 20  # from one size to the next, and the smallest
_ROWS = 200
_PRIOR, _STEPS = 50, 20  # how fast the inputs' votes outweigh a vague prior; until little changes
_WORTH = 8  # times n: the draws that it may take to prove a radius that is asked for


@dataclass(frozen=True, eq=False)
class _Proofs:
    """What sizes prove in one form, in units of sigma; of shape (types, shares, sizes).

    Attributes:
        radius: to be expected; not positive where nothing is proven.
        deviation: its standard deviation.
        most: what can be proven at all, by size.
    """

    radius: NDArray[np.float64]
    deviation: NDArray[np.float64]
    most: NDArray[np.float64]

    def chance(self, target: float) -> NDArray[np.float64]:
        """To prove a radius."""
        return special.ndtr((self.radius - target) / self.deviation) * (target < self.most)


@dataclass(frozen=True, eq=False)
class Sizes:
    """What numbers of draws are expected to prove of inputs with these selection votes.

    Attributes:
        settings: of the certification; no input gets more than its n.
        selected: votes for the class and for the best other one, shape (inputs, 2).
        classes: number of classes.
    """

    settings: Settings
    selected: NDArray[np.int64]
    classes: int

    def plan(self, rule: Policy) -> NDArray[np.int64]:
        """Estimation draws of each input, 0 where they are not expected to prove anything.

        Args:
            rule: `budget` (selection draws included), `retain` (a share of the average radius that
                n draws are expected to prove), `loss` (of radius, per input) or `radius`; radii on
                the [0, 1] scale.
        """
        rule.require_counted()
        settings, types = self.settings, self._types[1]
        if rule.kind in ("budget", "retain"):
            return self._priced(rule)
        if rule.kind == "loss":
            least = self.radii[:, -1:] - rule.value / settings.sigma
            column = (self.radii >= np.maximum(least, 0.0)).argmax(axis=1)
        else:
            target = settings.from_grid_point(rule.value) / settings.sigma
            column = (self.chances(target) - self.sizes / (_WORTH * settings.n)).argmax(axis=1)
        return self.sizes[column][types]

    def _priced(self, rule: Policy) -> NDArray[np.int64]:
        """What is best at one price of a draw; the first inputs at the next price.

        Of a budget that is what can be paid, of a share of the radius what it takes.
        """
        n, n0, types = self.settings.n, self.settings.n0, self._types[1]
        best = [(self.radii - price * self.sizes).argmax(axis=1) for price in _PRICES.tolist()]
        columns = np.stack(best)[:, types]  # (prices, inputs)
        retained = rule.kind == "retain"
        if retained:
            found, limit = self.radii[types, columns], rule.value * self.radii[types, -1].sum()
        else:
            found = self.sizes[columns]
            limit = rule.total(len(types), n0 + n) - len(types) * n0
        place = max(int((found.sum(axis=1) <= limit).sum()) - 1, 0)
        following = min(place + 1, len(_PRICES) - 1)
        gained, rest = found[following] - found[place], limit - found[place].sum()
        # The last input that gets more reaches a share of the radius, and keeps a budget.
        reached = np.cumsum(gained)
        more = reached - gained < rest if retained else reached <= rest
        return self.sizes[np.where(more, columns[following], columns[place])]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Numbers of draws, rising from 0 to n; few, as recertification makes tables of each."""
        n = self.settings.n
        steps = int(np.log(max(1.0, n / _FEWEST)) / np.log(_GROWTH))
        return np.array([0, *(round(n / _GROWTH**i) for i in range(steps, -1, -1))])

    @cached_property
    def radii(self) -> NDArray[np.float64]:
        """The radius to expect, in units of sigma, never falling; shape (types, sizes)."""
        found = [self._mean(np.maximum(one.radius, 0.0)) for one in self._proofs]
        # An input has one form, which its votes choose: the better one at n.
        form = np.argmax([one[:, -1] for one in found], axis=0)
        chosen = np.stack(found)[form, np.arange(len(form))]
        return np.maximum.accumulate(np.pad(chosen, ((0, 0), (1, 0))), axis=1)

    def chances(self, target: float) -> NDArray[np.float64]:
        """The chance to prove a radius, in units of sigma; shape (types, sizes)."""
        found = [self._mean(one.chance(target)) for one in self._proofs]
        return np.pad(np.max(found, axis=0), ((0, 0), (1, 0)))

    def _mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over the shares that the selection votes leave open; shape (types, sizes)."""
        return np.einsum("ts,tsm->tm", self._weights, values)

    @cached_property
    def _proofs(self) -> tuple[_Proofs, ...]:
        """One for each form that an input may have."""
        form = "binary" if self.classes < 3 else self.settings.form
        made = {"binary": (self._binary,), "auto": (self._binary, self._runner_up)}
        return tuple(make() for make in made.get(form, (self._runner_up,)))

    def _binary(self) -> _Proofs:
        p, m = self._shares[None, :, None], self.sizes[1:].astype(float)
        limit, most = (quantile(lower(k, m, self.settings.alpha)) for k in (p * m, m))
        return _Proofs(limit, _deviation(p, m), most)

    def _runner_up(self) -> _Proofs:
        p, m = self._shares[None, :, None], self.sizes[1:].astype(float)
        half = self.settings.alpha / 2
        other = self._other[:, None, None] * (1 - p)
        radius, most = (
            (quantile(lower(k, m, half)) - quantile(upper(rest, m, half))) / 2
            for k, rest in ((p * m, other * m), (m, 0 * m))
        )
        return _Proofs(radius, (_deviation(p, m) + _deviation(other, m)) / 2, most)

    @cached_property
    def _types(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The different pairs of selection votes, and each input's."""
        return types_of(self.selected)

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """Probabilities that the class may have, rising."""
        return special.ndtr(np.linspace(-2.0, special.ndtri(1 - 0.3 / self.settings.n), _ROWS))

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        """How likely each of them is after the selection votes; shape (types, shares).

        The prior is what all inputs' votes suggest (an empirical Bayes method: Laird, JASA 1978),
        with Jeffreys' as that of `_PRIOR` inputs more.
        """
        k, n0 = self._types[0][:, :1], self.settings.n0
        below = special.betainc(k + 0.5, n0 - k + 0.5, self._shares[None])
        vague = special.betainc(0.5, 0.5, self._shares)
        below[:, -1] = vague[-1] = 1
        found, vague = np.diff(below, axis=1, prepend=0.0), np.diff(vague, prepend=0.0)
        likelihoods, inputs = found / vague, np.bincount(self._types[1])
        for _ in range(_STEPS):
            prior = np.einsum("t,ts->s", inputs, found) + _PRIOR * vague
            found = likelihoods * prior
            found /= found.sum(axis=1, keepdims=True)
        return found

    @cached_property
    def _other(self) -> NDArray[np.float64]:
        """The best other class's share of the votes that the class does not get, by type."""
        return second_share(self._types[0], self.settings.n0)


def _deviation(p: NDArray[np.float64], m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of Phi^-1 of the share of m votes that a class with probability p gets, about."""
    density = np.exp(-(quantile(p) ** 2) / 2) / np.sqrt(2 * np.pi)
    return np.sqrt(p * (1 - p) / m) / density
