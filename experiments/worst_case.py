"""Where does each method err most often? A search over true laws, by exact enumeration.

python experiments/worst_case.py

Every outcome of a small case is enumerated, with the bounds of the package: the probability that
the certificate claims more than the truth, exactly. A limit takes finitely many values, and the
error is largest when the truth lies just below one of them; so the search climbs over what is
free, and moves the new classifier's probability to just below the nearest values. The worst laws
found go to worst_case.toml; the guarantee tests certify them with the real methods
(tests/guarantee/test_end_to_end.py), and must find the rates found here.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from smoothcert.bounds import betting, binomial, joint, normal, stratified
from smoothcert.methods.irs import Irs
from smoothcert.methods.replay import Reuse
from smoothcert.simulation.contenders import irs_limits

HERE = Path(__file__).parent
FRESH_SEED = 2**63
_BELOW = 1e-9  # the truth lies so much below a value that a limit takes


@dataclass(frozen=True)
class Case:
    """A law and a method's settings.

    Attributes:
        method: a name of RATES.
        alpha: total error probability.
        n: cached draws, or draws from scratch.
        p: P[f = c]; of `multiclass`, `rival` is the second class's.
        u, v: P[f' != c | f = c] and P[f' = c | f != c].
        m: replayed or fresh draws.
        n0: selection draws.
        gamma: of IRS.
        fresh_from: of `joint`, inputs with so many cached votes get fresh draws instead.
        winners, losers: of `stratified`, the shares of either that are replayed.
        rate: the probability of an overclaim, by enumeration.
        fresh: of IRS, the probability that fresh draws are taken.
    """

    method: str
    alpha: float
    n: int
    p: float = 0.9
    u: float = 0.0
    v: float = 0.0
    rival: float = 0.0
    m: int = 0
    n0: int = 100
    gamma: float = 0.99
    fresh_from: int = 10**9
    winners: float = 0.0
    losers: float = 0.0
    rate: float = 0.0
    fresh: float = 0.0

    @property
    def changed(self) -> float:
        """P[f' = c]."""
        return self.p * (1 - self.u) + (1 - self.p) * self.v

    def irs(self) -> Irs:
        """Settings of IRS."""
        variant = "published" if self.method == "irs published" else "budget-exact"
        return Irs(self.m, self.alpha, self.gamma, variant)


def pmf(n: int, p: float) -> NDArray[np.float64]:
    return stats.binom.pmf(np.arange(n + 1), n, p)


@cache
def scratch_limits(n: int, alpha: float) -> NDArray[np.float64]:
    return binomial.lower(np.arange(n + 1), n, alpha)


def scratch(case: Case) -> Case:
    """Either class may be chosen, by n0 draws of which a tie goes to class 0."""
    limits, rate = scratch_limits(case.n, case.alpha), 0.0
    chosen = float(stats.binom.sf(case.n0 // 2, case.n0, case.p))
    for p, weight in ((case.p, chosen), (1 - case.p, 1 - chosen)):
        rate += weight * float(pmf(case.n, p)[limits > max(p, 0.5)].sum())
    return replace(case, rate=rate)


@cache
def multiclass_claims(n: int, alpha: float) -> tuple[NDArray, NDArray, NDArray]:
    """Votes for the class and its rival, and the quantiles' difference that they prove."""
    k, other = (grid.ravel() for grid in np.mgrid[: n + 1, : n + 1])
    k, other = k[k + other <= n], other[k + other <= n]
    q = binomial.lower(k, n, alpha / 2)
    others = np.stack([other, n - k - other])
    limit = np.minimum(binomial.upper(others, n, alpha / 4).max(axis=0), 1 - q)
    return k, other, normal.quantile_below(q) - normal.quantile_above(limit)


def multiclass(case: Case) -> Case:
    """Three classes, of which 0 is the smallest and never chosen; of a tie class 1 is."""
    k, other, claims = multiclass_claims(case.n, case.alpha)
    case = replace(case, rival=min(case.rival, 1 - case.p))
    p, rest, rate = (case.p, case.rival), 1 - case.p - case.rival, 0.0
    # Exact where there is no third class, and where no other than class 1 can be chosen.
    first = float(stats.binom.sf((case.n0 - 1) // 2, case.n0, p[0] / sum(p)))
    for (top, second), weight in ((p, first), (p[::-1], 1 - first)):
        truth = stats.norm.ppf(top) - stats.norm.ppf(max(second, rest))
        counts = np.stack([k, other, case.n - k - other], axis=-1)
        law = stats.multinomial.pmf(counts, case.n, (top, second, rest))
        rate += weight * float(law[(claims > truth) & (claims > 0)].sum())
    return replace(case, rate=rate)


@cache
def irs_claims(irs: Irs, n: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Limits by (replayed winners, other winners, flips or fresh hits); where draws are fresh."""
    m = irs.per_input
    a, b, x = np.ogrid[: m + 1, : n - m + 1, : m + 1]
    claims = irs_limits(*np.broadcast_arrays(a + b, n, m, a, x, x), irs)
    claims = np.where(claims > 0.5, claims, 0.0)
    decided = binomial.lower(b, n - m, irs.alpha_cache)
    if irs.variant == "published":
        decided = binomial.lower(a + b, n, irs.alpha_cache)
    return claims, np.broadcast_to(decided >= irs.gamma, claims.shape)[..., 0]


def flip_laws(m: int, u: float, v: float) -> NDArray[np.float64]:
    """The law of the labels that differ among m replayed, by winners among them: (m+1, m+1)."""
    return np.stack([np.convolve(pmf(a, u), pmf(m - a, v)) for a in range(m + 1)])


def incremental(case: Case) -> Case:
    claims, fresh = irs_claims(case.irs(), case.n)
    weight = np.outer(pmf(case.m, case.p), pmf(case.n - case.m, case.p))
    wrong = claims > case.changed
    replayed = np.einsum("abx,ax->ab", wrong, flip_laws(case.m, case.u, case.v))
    errors = np.where(fresh, wrong @ pmf(case.m, case.changed), replayed)
    taken = float(weight[fresh].sum())
    return replace(case, rate=float((weight * errors).sum()), fresh=taken)


@cache
def joint_claims(n: int, m: int, reuse: Reuse, fresh_from: int) -> NDArray[np.float64]:
    """Limits by (cached votes, flips or fresh hits)."""
    k, x = np.ogrid[: n + 1, : m + 1]
    size = np.minimum(m, k)
    claims = joint.lower(k, n, np.minimum(x, size), size, reuse.budget)
    fresh = binomial.lower(x, m, reuse.fresh_alpha)
    claims = np.where(k >= fresh_from, fresh, np.where(x <= size, claims, 0))
    return claims * (binomial.lower(k, n, reuse.alpha) > 0.5)


def reuse_of(case: Case) -> Reuse:
    """Settings of the methods with shares; what is spent is the case's own."""
    seed = FRESH_SEED if case.method == "fresh" else None
    return Reuse("uniform:1", case.method, case.alpha, fresh_seed=seed)


def joint_bound(case: Case) -> Case:
    claims = joint_claims(case.n, case.m, reuse_of(case), case.fresh_from)
    wrong = claims > max(0.5, case.changed)
    k = np.arange(case.n + 1)
    flips = stats.binom.pmf(np.arange(case.m + 1), np.minimum(case.m, k)[:, None], case.u)
    flips[k >= case.fresh_from] = pmf(case.m, case.changed)
    return replace(case, rate=float(pmf(case.n, case.p) @ (wrong * flips).sum(axis=1)))


@cache
def strata_claims(n: int, winners: float, losers: float, reuse: Reuse) -> tuple[NDArray, ...]:
    """Per number of cached votes, limits by (winners kept, losers gained)."""
    found, proven = [], binomial.lower(np.arange(n + 1), n, reuse.alpha) > 0.5
    for k in range(n + 1):
        sizes = int(winners * k), int(losers * (n - k))
        hits = np.stack(np.mgrid[: sizes[0] + 1, : sizes[1] + 1], axis=-1)
        claims = np.zeros(hits.shape[:2])
        if proven[k]:
            claims = stratified.lower(hits, sizes, [k, n - k], n, reuse.budget)
        found.append(claims)
    return tuple(found)


def strata(case: Case) -> Case:
    claims = strata_claims(case.n, case.winners, case.losers, reuse_of(case))
    truth, rate = max(0.5, case.changed), 0.0
    for weight, some in zip(pmf(case.n, case.p), claims, strict=True):
        kept, gained = (
            pmf(size - 1, p) for size, p in zip(some.shape, (1 - case.u, case.v), strict=True)
        )
        rate += float(weight * (kept @ (some > truth) @ gained))
    return replace(case, rate=rate)


def sequential(case: Case) -> Case:
    """The truth next to the threshold: both decisions are possible, the wrong one by `u`.

    `u` = 0: the truth is just below the radius, and proving it is wrong; 1: just above. The bets
    start from each outcome of the selection draws that chooses the class; without any, from none.
    """
    seen, (n0, p) = np.arange(case.n0 + 1)[:, None], (case.n0, case.p)
    alive, rate = pmf(n0, p)[:, None] * ((2 * seen > n0) | (n0 == 0)), 0.0
    for draws in range(1, case.n + 1):
        alive = np.pad(alive * (1 - p), ((0, 0), (0, 1))) + np.pad(alive * p, ((0, 0), (1, 0)))
        hits = np.arange(draws + 1)
        stop = betting.rejects(hits, draws, p, case.alpha, seen, n0)
        above = hits > draws * p
        rate += float(alive[stop & (above if case.u == 0 else ~above)].sum())
        alive[stop] = 0.0
    return replace(case, rate=rate)


RATES: dict[str, Callable[[Case], Case]] = {
    "from scratch": scratch,
    "multiclass": multiclass,
    "irs": incremental,
    "irs published": incremental,
    "joint": joint_bound,
    "fresh": joint_bound,
    "stratified": strata,
    "sequential": sequential,
}


def values(case: Case) -> NDArray[np.float64]:
    """Values of the limit, below some of which the truth is to lie."""
    if case.method in ("irs", "irs published"):
        found = irs_claims(case.irs(), case.n)[0]
    elif case.method in ("joint", "fresh"):
        found = joint_claims(case.n, case.m, reuse_of(case), case.fresh_from)
    elif case.method == "stratified":
        every = strata_claims(case.n, case.winners, case.losers, reuse_of(case))
        found = np.concatenate([some.ravel() for some in every])
    else:
        found = scratch_limits(case.n, case.alpha)
    return np.unique(found[found > 0.5]) - _BELOW


def snapped(case: Case, few: int = 6) -> Iterator[Case]:
    """The case, and with its truth just below some values of the limit near it."""
    yield case
    if case.method in ("multiclass", "sequential"):
        return
    near = values(case)
    near = near[np.argsort(np.abs(near - case.changed))[:few]]
    for value in near.tolist():
        if case.method == "from scratch":
            yield replace(case, p=value)
        elif 0 <= (u := 1 - (value - (1 - case.p) * case.v) / case.p) <= 1:
            yield replace(case, u=u)


def climb(start: Case, free: dict[str, tuple[float, float]], seed: int, steps: int) -> Case:
    """Random steps that shrink, from several random starts; the best is kept."""
    rng, rate_of = np.random.default_rng(seed), RATES[start.method]
    best = rate_of(start)
    for step in range(steps):
        scale = 1.0 if step < steps // 3 else 0.3 * 0.5 ** (6 * step / steps)
        moved = {}
        for name, (low, high) in free.items():
            at = getattr(best, name) + scale * (high - low) * rng.normal()
            moved[name] = rng.uniform(low, high) if scale == 1 else float(np.clip(at, low, high))
        for case in snapped(replace(best, **moved)):
            best = max(best, rate_of(case), key=lambda found: found.rate)
    return best


_FLIPS = {"p": (0.6, 0.999), "u": (0.0, 0.4), "v": (0.0, 1.0)}


def searches() -> Iterator[tuple[Case, dict[str, tuple[float, float]]]]:
    """What is searched: a start with fixed settings, and the ranges of what is free."""
    for alpha, n in ((0.05, 60), (0.05, 200), (0.001, 200)):
        yield Case("from scratch", alpha, n), {"p": (0.55, 0.995)}
    yield Case("from scratch", 0.05, 100, p=0.5 - _BELOW, n0=1), {"p": (0.49, 0.51)}
    for alpha, n in ((0.05, 60), (0.05, 40), (0.001, 60)):
        yield Case("multiclass", alpha, n, rival=0.3), {"p": (0.34, 0.95), "rival": (0.02, 0.45)}
    yield Case("multiclass", 0.05, 60, p=0.5, rival=0.5), {"p": (0.495, 0.505)}
    for method in ("irs", "irs published"):
        for alpha, n, m, gamma, p in (
            (0.05, 60, 20, 0.7, (0.6, 0.999)),
            (0.05, 60, 20, 1.0, (0.6, 0.999)),  # nothing is fresh
            (0.05, 100, 30, 0.9, (0.94, 0.96)),  # about as often the one as the other
            (0.001, 120, 30, 0.8, (0.6, 0.999)),
        ):
            yield Case(method, alpha, n, m=m, gamma=gamma), _FLIPS | {"p": p}
    for alpha, n, m, fresh_from in (
        (0.05, 100, 40, 10**9),
        (0.05, 100, 40, 90),
        (0.05, 60, 50, 10**9),
        (0.05, 200, 30, 170),
        (0.001, 100, 40, 10**9),
    ):
        yield Case("joint", alpha, n, m=m, fresh_from=fresh_from), _FLIPS
    for alpha, n, m in ((0.05, 60, 30), (0.001, 100, 60)):
        yield Case("fresh", alpha, n, m=m, fresh_from=0), _FLIPS
    for alpha, n, winners, losers in (
        (0.05, 60, 0.5, 0.0),
        (0.05, 60, 0.5, 0.5),
        (0.05, 60, 0.8, 0.3),
        (0.05, 60, 0.5, 1.0),
        (0.001, 60, 0.5, 0.5),
    ):
        yield Case("stratified", alpha, n, winners=winners, losers=losers), _FLIPS
    for alpha, n, u, n0 in (
        (0.05, 100, 0, 1),
        (0.05, 100, 1, 1),
        (0.05, 60, 0, 10),
        (0.001, 150, 0, 1),
    ):
        yield Case("sequential", alpha, n, p=0.8, u=u, n0=n0), {"p": (0.7, 0.97)}


def text(cases: list[Case]) -> str:
    """As TOML: what differs from the defaults."""
    plain = asdict(Case("", 0.0, 0))
    lines = ["# Written by worst_case.py: laws at which the methods err most often."]
    for case in cases:
        lines.append("\n[[case]]")
        kept = {name: value for name, value in asdict(case).items() if value != plain[name]}
        lines += [f'{n} = "{v}"' if isinstance(v, str) else f"{n} = {v!r}" for n, v in kept.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "worst_case.toml")
    given = parser.parse_args()
    found = []
    for start, free in searches():
        found.append(climb(start, free, given.seed, given.steps))
        best = found[-1]
        print(f"{best.method}: {best.rate:.5f} at alpha {best.alpha:g}, {best}", flush=True)
    given.out.write_text(text(found))


if __name__ == "__main__":
    main()
