"""Clopper-Pearson limits: ours, rounded outward and checked, against the bare SciPy quantile.

python benchmarks/limits.py
"""

import time

import numpy as np
from scipy import stats

from smoothcert.bounds import binomial

COUNT, ROUNDS = 10**5, 5


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(1, 10**6, COUNT)
    k = 1 + (rng.random(COUNT) * n).astype(int)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: binomial.lower(k, n, 0.001)))
        theirs.append(seconds(lambda: stats.beta.ppf(0.001, k, n - k + 1)))
    ratio = np.median(np.array(ours) / np.array(theirs))
    print(f"{COUNT:,} lower limits, n up to 10^6, medians of {ROUNDS}:")
    print(f"  ours {np.median(ours):.3f} s, scipy.stats.beta.ppf {np.median(theirs):.3f} s")
    print(f"  ratio ours / SciPy {ratio:.2f}")


if __name__ == "__main__":
    main()
