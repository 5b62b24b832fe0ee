"""How best to divide alpha between cache and replay, on collected votes.

python experiments/alpha_split.py

IRS gives half of alpha to the cache's limit and half to the
disparity's. This script tries other shares, for IRS and for the product of the joint bound's two
limits; the joint bound itself divides nothing. Choosing the best share by its result, as here to
see what could be gained, does not give a certificate.
"""

from collections.abc import Callable, Iterator

import numpy as np
from markdown import put, table
from numpy.typing import NDArray
from pairs import Pair, rows_of_all
from results_page import number
from tables import write_csv

from smoothcert.bounds import binomial, joint, normal
from smoothcert.bounds.budget import Budget

ALPHA = 0.002
REPLAYED = (0.01, 0.02, 0.05, 0.10, 0.20, 0.50)
SHARES = (0.02, 0.05, *np.round(np.arange(0.1, 0.95, 0.1), 1).tolist(), 0.95, 0.98)
FLOORS = (0.3, 0.5, 0.65, 0.8)

Limit = Callable[[float], NDArray[np.float64]]


def radius(pair: Pair, limit: NDArray[np.float64]) -> float:
    """Mean certified radius of the images."""
    z = normal.quantile_below(np.clip(limit, 0, 1))
    return float(pair.sigma * np.maximum(z, 0).mean())


def irs(pair: Pair, m: int) -> Limit:
    """The limit of IRS without fresh draws, by the cache's share of alpha."""
    flips = pair.changed[:, m]

    def at(share: float) -> NDArray[np.float64]:
        p = binomial.lower(pair.votes, pair.n, share * ALPHA)
        return p - binomial.upper(flips, m, (1 - share) * ALPHA)

    return at


def product(pair: Pair, m: int) -> Limit:
    """The same of p (1 - u), u being counted on winners only."""
    replayed = np.minimum(m, pair.votes)
    lost = pair.lost[:, m]

    def at(share: float) -> NDArray[np.float64]:
        p = binomial.lower(pair.votes, pair.n, share * ALPHA)
        return p * (1 - binomial.upper(lost, replayed, (1 - share) * ALPHA))

    return at


def by_formula(pair: Pair, m: int) -> float:
    """Where both limits would gain alike from a larger share of alpha.

    With standard errors a and b, and z = 3.1 (alpha 0.001), the limits move by about a / z, and
    by b / z + 1 / m, when the logarithm of their share grows by 1; 1 / m is what remains when no
    label changes.
    """
    p, zeta, z = pair.votes / pair.n, pair.changed[:, -1] / pair.n, 3.1
    cache = np.sqrt(p * (1 - p) / pair.n).mean() / z
    replay = np.sqrt(zeta * (1 - zeta) / m).mean() / z + 1 / m
    return float(cache / (cache + replay))


def rows_of(pair: Pair) -> Iterator[dict]:
    """A row per number of replayed draws."""
    for replayed in REPLAYED:
        m = round(replayed * pair.n)
        row = pair.facts | {"replayed": replayed, "formula": by_formula(pair, m)}
        for name, limit in (("irs", irs(pair, m)), ("product", product(pair, m))):
            found = {share: radius(pair, limit(share)) for share in SHARES}
            best = max(found, key=lambda share: found[share])
            row |= {f"{name} half": found[0.5], f"{name} best share": best}
            row[f"{name} best"] = found[best]
        lost, some = pair.lost[:, m], np.minimum(m, pair.votes)
        for floor in FLOORS:
            budget = Budget(ALPHA, floor * ALPHA)
            limit = joint.lower(pair.votes, pair.n, lost, some, budget)
            row[f"joint {floor:g}"] = radius(pair, limit)
        yield row


def text(rows: list[dict]) -> str:
    """What stands between the marks: ranges over the pairs, by the share replayed."""
    head = ["n_p / n", "best share of IRS", "by the formula", "gain of IRS over half, %"]
    head += ["joint bound over the product's best, %"]
    lines = []
    for replayed in REPLAYED:
        some = [row for row in rows if row["replayed"] == replayed]

        def spread(name: str, digits: int = 2, some: list[dict] = some) -> str:
            return _range([row[name] for row in some], digits)

        def gain(over: str, of: str, some: list[dict] = some) -> str:
            return _range([100 * (row[of] / row[over] - 1) for row in some if row[over]], 1)

        lines.append(
            [
                f"{100 * replayed:g} %",
                spread("irs best share"),
                spread("formula"),
                gain("irs half", "irs best"),
                gain("product best", "joint 0.5"),
            ]
        )
    return table(head, lines)


def _range(values: list[float], digits: int) -> str:
    middle = f"{number(float(np.median(values)), digits)}"
    return f"{middle} ({number(min(values), digits)} to {number(max(values), digits)})"


def main() -> None:
    given, rows = rows_of_all(__doc__, rows_of)
    write_csv(given.results / "pairs", "alpha_split", rows)
    put(given.docs / "alpha-and-draws.md", "split", text(rows))


if __name__ == "__main__":
    main()
