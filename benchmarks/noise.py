"""Noise per value: ours (addressed, exact law) against NumPy's plain float32 normal.

python benchmarks/noise.py
"""

import time

import numpy as np

from smoothcert.noise.law import RoundedGaussian

ROUNDS = 5


def nanoseconds(values: int, function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - start) / values * 1e9


def main() -> None:
    rng = np.random.default_rng(0)
    for shape, grid, rows in [((1, 8, 8), 1 / 256, 8192), ((3, 32, 32), 1 / 255, 512)]:
        law, size = RoundedGaussian(0.5, grid), int(np.prod(shape))
        law.draws(0, 0, 1, [0], shape)  # builds the table
        ours, plain = [], []
        for _ in range(ROUNDS):
            values = rows * size
            ours.append(nanoseconds(values, law.draws, 0, 0, 1, np.arange(rows), shape))
            plain.append(nanoseconds(values, rng.standard_normal, (rows, size), np.float32))
        print(
            f"{shape}: ours {np.median(ours):.1f} ns per value, NumPy standard_normal "
            f"{np.median(plain):.1f} ns, ratio {np.median(np.array(ours) / np.array(plain)):.2f}"
        )


if __name__ == "__main__":
    main()
