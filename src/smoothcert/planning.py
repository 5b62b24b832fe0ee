"""How much each input deserves, from the cache and a pilot alone: label-blind, before any replay.

The expected radius of every affordable share is tabulated over cached vote shares; a policy
then picks a column per input. Nothing here is a guarantee: a bad plan costs tightness, never
soundness (docs/theory.md, section 7).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds.budget import Budget
from smoothcert.errors import InvalidInput
from smoothcert.methods.reuse import How, Share

_POLICIES = "uniform:M, budget:B (a count, or a fraction of a run from scratch), retain:R, radius:R"
_LOSER_SHARES = (0.0, 0.15, 0.3, 0.5)
_COLUMNS = 28
_ROWS = 160
_FEWEST = 10


@dataclass(frozen=True)
class Policy:
    """A rule of spending: `uniform`, `budget`, `retain` or `radius`, and its number."""

    kind: str
    value: float

    @staticmethod
    def parse(text: str) -> "Policy":
        """Read `kind:number`.

        Raises:
            InvalidInput: an unknown kind, or a number out of its range.
        """
        kind, _, number = text.partition(":")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        ranges = {"uniform": (1, 1e9), "budget": (0, 1e15), "retain": (0, 1), "radius": (0, 1e6)}
        low, high = ranges.get(kind, (1, 0))
        if not low <= value <= high or (kind == "uniform" and value != int(value)):
            raise InvalidInput(f"A policy is {_POLICIES}; got {text!r}")
        return Policy(kind, value)

    def total(self, inputs: int, n: int) -> float:
        """Evaluations that it allows in all; a tenth of all cached draws where it sets no limit."""
        if self.kind == "uniform":
            return self.value * inputs
        if self.kind == "budget":
            return self.value if self.value > 1 else self.value * inputs * n
        return inputs * n / 10


@dataclass(frozen=True)
class Flips:
    """How often labels change under noise, as a function of the original's vote share p.

    Changes happen near the decision boundary, about in proportion to phi(Phi^-1(p)).

    Attributes:
        away: P[f = c, f' != c] over phi(Phi^-1(p)).
        back: P[f != c, f' = c] over the same.
    """

    away: float
    back: float

    @staticmethod
    def fit(
        shares: NDArray[np.float64],
        winners: NDArray[np.int64],
        lost: NDArray[np.int64],
        losers: NDArray[np.int64],
        won: NDArray[np.int64],
    ) -> "Flips":
        """Fit to a pilot: per input its vote share, draws replayed and labels changed."""
        density = _density(special.ndtri(shares))
        expected_away = float((winners * density / shares).sum())
        expected_back = float((losers * density / (1 - shares)).sum())
        # Half a change more than seen: no pilot proves that there are none.
        return Flips(
            (lost.sum() + 0.5) / max(expected_away, 1e-9),
            (won.sum() + 0.5) / max(expected_back, 1e-9),
        )

    def rates(self, p: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(u, v): P[f' != c | f = c] and P[f' = c | f != c], each below 0.95."""
        density = _density(special.ndtri(p))
        return (
            np.clip(self.away * density / p, 1e-9, 0.95),
            np.clip(self.back * density / (1 - p), 1e-9, 0.95),
        )


def _density(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True, eq=False)
class Table:
    """Expected radii in units of sigma, by cached vote share (rows) and evaluations (columns).

    Attributes:
        z: Phi^-1 of the vote shares, increasing, shape (rows,).
        evaluations: increasing, the first 0, shape (columns,).
        radius: of the best share of each size or smaller, shape (rows, columns).
        how: index into `choices` of that share, shape (rows, columns).
        choices: (how, share of losers).
        cached: the original's own expected radius, shape (rows,).
        shares: evaluations actually used, at most the column's, shape (rows, columns).
    """

    z: NDArray[np.float64]
    evaluations: NDArray[np.int64]
    radius: NDArray[np.float64]
    how: NDArray[np.int64]
    choices: tuple[tuple[How, float], ...]
    cached: NDArray[np.float64]
    shares: NDArray[np.int64]


def table(n: int, flips: Flips, budget: Budget, method: str = "auto") -> Table:
    """Tabulate what evaluations buy, for caches of n draws.

    Args:
        n: cached draws per input.
        flips: the flip rates to expect.
        budget: the error budget.
        method: `auto`, `joint` or `stratified`.
    """
    z = np.linspace(0.005, special.ndtri(1 - 0.3 / n), _ROWS)
    m = np.unique(np.geomspace(_FEWEST, n, _COLUMNS).astype(int))
    p, sizes = special.ndtr(z)[:, None], m[None, :].astype(float)
    choices: list[tuple[How, float]] = []
    limits: list[NDArray[np.float64]] = []
    if method in ("auto", "joint"):
        choices.append((How.JOINT, 0.0))
        limits.append(_joint(p, n, sizes, flips, budget))
    if method in ("auto", "stratified"):
        for share in _LOSER_SHARES[0 if method == "stratified" else 1 :]:
            choices.append((How.STRATIFIED, share))
            limits.append(_stratified(p, n, sizes, share, flips, budget))
    if method == "auto":
        choices.append((How.FRESH, 0.0))
        limits.append(_fresh(p, sizes, flips, budget))
    values = np.maximum(special.ndtri(np.clip(np.stack(limits), 1e-12, 1 - 1e-12)), 0)
    best = values.argmax(axis=0)
    radius = np.take_along_axis(values, best[None], axis=0)[0]
    # A larger column is never worse: keep the smaller share where more would not help.
    column = _last_best(radius)
    cached = np.maximum(special.ndtri(_lower(p[:, 0] * n, n, budget.alpha)), 0)
    return Table(
        z=z,
        evaluations=np.concatenate([[0], m]),
        radius=np.pad(np.take_along_axis(radius, column, axis=1), ((0, 0), (1, 0))),
        how=np.pad(np.take_along_axis(best, column, axis=1), ((0, 0), (1, 0))),
        choices=tuple(choices),
        cached=cached,
        shares=np.pad(m[column], ((0, 0), (1, 0))),
    )


def _last_best(radius: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each column, the column at or before it with the largest radius."""
    best = np.zeros(radius.shape, dtype=np.int64)
    for column in range(1, radius.shape[1]):
        before = best[:, column - 1]
        better = radius[:, column] > radius[np.arange(len(radius)), before] + 1e-9
        best[:, column] = np.where(better, column, before)
    return best


# Continuous Clopper-Pearson limits: expected counts need not be whole. For planning only.
def _lower(k: NDArray, n: NDArray | float, alpha: NDArray | float) -> NDArray:
    return special.betaincinv(np.maximum(k, 1e-9), n - k + 1, alpha)


def _upper(k: NDArray, n: NDArray | float, alpha: NDArray | float) -> NDArray:
    return special.betaincinv(k + 1, np.maximum(n - k, 1e-9), 1 - np.asarray(alpha))


def _joint(p: NDArray, n: int, m: NDArray, flips: Flips, budget: Budget) -> NDArray:
    u, _ = flips.rates(p)
    m = np.minimum(m, p * n)[..., None]
    low = _lower(p[..., None] * n, n, budget.edges)
    return (low * (1 - _upper(m * u[..., None], m, budget.values))).min(axis=-1)


def _fresh(p: NDArray, m: NDArray, flips: Flips, budget: Budget) -> NDArray:
    u, v = flips.rates(p)
    return _lower(m * (p * (1 - u) + (1 - p) * v), m, budget.lowest)


def _stratified(
    p: NDArray, n: int, m: NDArray, share: float, flips: Flips, budget: Budget
) -> NDArray:
    """Deviations of the strata added in quadrature, which the nested budgets come near to."""
    u, v = (rate[..., None] for rate in flips.rates(p))
    winners, losers = (p * n)[..., None], ((1 - p) * n)[..., None]
    of_losers = np.minimum(share * m[..., None], losers)
    of_winners = np.minimum(m[..., None] - of_losers, winners)
    # Where both strata are uncertain, nesting the budgets costs more than the quadrature below
    # shows; a twelfth of delta makes up for it (compared with proven radii in simulations).
    both = (of_losers > 0) & (of_losers < losers) & (of_winners < winners)
    delta = np.where(both, budget.values / 12, budget.values)
    lost = (_upper(of_winners * u, of_winners, delta) - u) * winners
    lost = lost * np.sqrt(np.maximum(1 - of_winners / winners, 0))
    won, missed = losers * v, 0.0
    if share:
        missed = (v - _lower(of_losers * v, of_losers, delta)) * losers
        missed = missed * np.sqrt(np.maximum(1 - of_losers / losers, 0))
    else:
        won = 0 * won
    votes = winners * (1 - u) + won - np.hypot(lost, missed)
    votes = np.clip(votes, 1e-9, n - 1e-9)
    return _lower(votes, n, budget.edges).min(axis=-1)


@dataclass(frozen=True, eq=False)
class Plan:
    """What every input gets, and what is expected of it.

    Attributes:
        shares: one per input, in order.
        radius: expected radius per input, in units of sigma; 0 where nothing is spent.
    """

    shares: tuple[Share, ...]
    radius: NDArray[np.float64]

    @property
    def evaluations(self) -> int:
        """Forward passes in all."""
        return sum(share.evaluations for share in self.shares)


def plan(
    policy: Policy,
    k: NDArray[np.int64],
    n: int,
    proven: NDArray[np.bool_],
    t: Table,
    reserved: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Plan:
    """Give every input its share.

    Args:
        policy: how much to spend where.
        k: cached votes for the class, shape (inputs,).
        n: cached draws.
        proven: inputs that the original certifies; the others get nothing.
        t: what evaluations buy.
        reserved: winners and losers of each input that the pilot has seen, which are not
            replayed again.
    """
    z = special.ndtri(np.clip(k / n, 0.5, 1 - 0.3 / n))
    row = np.clip(np.searchsorted(t.z, z), 0, len(t.z) - 1)
    column = _columns(policy, t, row, proven, n)
    column[~proven] = 0
    seen = reserved or (np.zeros_like(k), np.zeros_like(k))
    size = t.shares[row, column]
    if policy.kind == "uniform":  # exactly as asked, not the grid's next smaller size
        size = np.where((column > 0) & proven, int(policy.value), 0)
    counts = zip(row, column, size, k - seen[0], n - k - seen[1], strict=True)
    shares = [_share(t, *(int(count) for count in each)) for each in counts]
    return Plan(tuple(shares), t.radius[row, column])


def _columns(
    policy: Policy, t: Table, row: NDArray, proven: NDArray[np.bool_], n: int
) -> NDArray[np.int64]:
    radius = t.radius[row]
    if policy.kind == "uniform":
        column = int(np.searchsorted(t.evaluations, policy.value, side="right")) - 1
        return np.full(len(row), max(column, 1))
    if policy.kind == "retain":
        return _first_reaching(radius, policy.value * t.cached[row])
    if policy.kind == "radius":
        return _first_reaching(radius, np.full(len(row), policy.value))
    return _water_filling(radius, t.shares[row], proven, policy.total(len(row), n))


def _first_reaching(radius: NDArray, target: NDArray) -> NDArray[np.int64]:
    """The cheapest column that reaches the target; none (0) where no column does."""
    reached = radius >= target[:, None]
    return np.where(reached.any(axis=1), reached.argmax(axis=1), 0)


def _water_filling(
    radius: NDArray, cost: NDArray, proven: NDArray[np.bool_], total: float
) -> NDArray[np.int64]:
    """Maximize the summed radius within a total cost: bisect the price of an evaluation."""
    low, high = 0.0, 1.0
    column = np.zeros(len(radius), dtype=np.int64)
    for _ in range(60):
        price = (low + high) / 2
        tried = (radius - price * cost).argmax(axis=1)
        spent = cost[np.arange(len(cost)), tried][proven].sum()
        if spent <= total:
            high, column = price, tried
        else:
            low = price
    return column


def _share(t: Table, row: int, column: int, size: int, winners: int, losers: int) -> Share:
    if size == 0:
        return Share(How.NOTHING)
    how, of_losers = t.choices[int(t.how[row, column])]
    if how is How.FRESH:
        return Share(how, fresh=size)
    lost = min(round(of_losers * size), losers)
    return Share(how, min(size - lost, winners), lost)
