"""How many draws it takes to know zeta, against knowing p_A directly: formulas and votes.

python experiments/complexity.py

Formulas: the least number of draws with which a
Clopper-Pearson limit comes within a distance of a proportion. Votes: the least number of draws
of the new network, as many for each image, with which the mean distance from its class
probability (all its draws) down to what is proven is at most that.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from markdown import put, table
from numpy.typing import NDArray
from pairs import Pair, rows_of_all
from scipy import special
from tables import write_csv

from smoothcert.bounds import binomial, joint
from smoothcert.bounds.budget import Budget

ALPHA = 0.002
PROPORTIONS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
WITHIN = (0.02, 0.01, 0.005)  # of the formulas, at ALPHA / 2
PROVEN = (0.05, 0.03, 0.02)  # of the votes, at ALPHA
SHOWN = 0.03  # on the page
BINS = (0.5, 0.7, 0.9, 0.99, 1.01)  # images by probability of the class
FEWEST = 5  # images in a bin
MOST = 10_000_000


def needed(proportion: float, within: float, alpha: float) -> int:
    """Least draws with which the upper limit is within that of the proportion.

    The count is the expected one, a fraction: whole counts would make it jump.
    """

    def close(n: int) -> bool:
        count = n * proportion
        found = special.betaincinv(count + 1, n - count, 1 - alpha)
        return float(found) - proportion <= within

    low, high = 1, 2
    while not close(high) and high < MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if close(middle) else (middle, high)
    return high


def formula_rows() -> list[dict]:
    """A row per proportion."""
    rows = []
    for proportion in PROPORTIONS:
        row: dict[str, float] = {"proportion": proportion}
        row |= {f"within {e:g}": needed(proportion, e, ALPHA / 2) for e in WITHIN}
        rows.append(row)
    return rows


def limits(pair: Pair, sizes: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """What each method proves with so many draws of the new network: shape (images, sizes)."""
    hits, changed, lost = (x[:, sizes] for x in (pair.hits, pair.changed, pair.lost))
    votes = pair.votes[:, None]
    replayed = np.minimum(sizes, votes)
    cache = binomial.lower(votes, pair.n, ALPHA / 2)
    return {
        "directly": binomial.lower(hits, sizes, ALPHA),
        "irs": cache - binomial.upper(changed, sizes, ALPHA / 2),
        "joint": joint.lower(votes, pair.n, lost, replayed, Budget(ALPHA)),
    }


def vote_rows(pair: Pair) -> Iterator[dict]:
    """A row per bin of images and distance."""
    sizes = np.unique(np.geomspace(10, pair.n, 80).astype(np.int64))
    found, truth = limits(pair, sizes), pair.hits[:, -1:] / pair.n
    for low, high in pairwise(BINS):
        some = ((truth >= low) & (truth < high))[:, 0]
        if some.sum() < FEWEST:
            continue
        facts = pair.facts | {"from": low, "to": min(high, 1.0), "images": int(some.sum())}
        facts["p"] = float(truth[some].mean())
        facts["zeta"] = float(pair.changed[some, -1].mean() / pair.n)
        for distance in PROVEN:
            row = facts | {"distance": distance}
            for name, limit in found.items():
                near = (truth - limit)[some].mean(axis=0) <= distance
                row[name] = int(sizes[near.argmax()]) if near.any() else None
            yield row


def votes_table(rows: list[dict]) -> str:
    """Rows of one distance; the rest is in the CSV file."""
    head = ["network", "p′ of the images", "images", "mean p′", "mean ζ %"]
    names = ("directly", "irs", "joint")
    head += [f"{name}, within {SHOWN:g}" for name in names]
    lines = []
    keys = ("architecture", "network", "sigma", "from", "to", "images", "p", "zeta")
    for key in dict.fromkeys(tuple(row[k] for k in keys) for row in rows):
        facts = dict(zip(keys, key, strict=True))
        wanted = facts | {"distance": SHOWN}
        row = next(r for r in rows if all(r[k] == v for k, v in wanted.items()))
        cells = ["–" if row[n] is None else f"{row[n]:,}" for n in names]
        network = f"{facts['architecture'].removeprefix('cifar_')} {facts['network']}"
        line = [network, f"{facts['from']:g} to {facts['to']:g}"]
        line += [f"{facts['images']}", f"{facts['p']:.3f}", f"{100 * facts['zeta']:.2f}"]
        lines.append(line + cells)
    return table(head, lines)


def main() -> None:
    given, rows = rows_of_all(__doc__, vote_rows)
    write_csv(given.results / "pairs", "complexity", rows)
    write_csv(given.results, "complexity-formulas", formula_rows())
    networks = ("int8", "bf16", "prune20")
    shown = [row for row in rows if row["network"] in networks and row["sigma"] == 0.5]
    put(given.docs / "alpha-and-draws.md", "complexity", votes_table(shown))


if __name__ == "__main__":
    main()
