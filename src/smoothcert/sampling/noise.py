"""Gaussian noise that is exactly what the theorem needs, addressed draw by draw.

Inputs live on a grid of step h, and so does the noise: the integer E has
P[E = e] = Phi((e + 1/2) h / sigma) - Phi((e - 1/2) h / sigma), hence x + hE is
round_h(x + eps) for a true Gaussian eps and Cohen et al.'s theorem holds for f o round_h
with no floating-point gap (docs/theory.md, section 5).

The definition of a draw is NumPy's Philox4x64-10: key (seed, 0); element i of draw `draw` of
input `input` in stream `stream` is word i mod 4 of the block with counter
(i div 4, draw, input, stream), looked up in the 64-bit thresholds of the law.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from functools import cached_property, lru_cache
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds import normal
from smoothcert.errors import InvalidInput
from smoothcert.sampling.gaussian_table import thresholds

LAW = "rounded-gaussian/philox4x64-10/v1"
"""Names the law and the addressing; stored with every run, since votes depend on both."""

_FINEST, _COARSEST = 4096, Fraction(1, 8)  # the sigmas, in grid steps, that the table covers
_MAX_LEVELS = 2**20  # so that a grid point plus noise stays exact in float32
_GUIDE_BITS = 16
_CHUNK = 2**16  # elements looked up at a time: small enough for the cache


class Stream(IntEnum):
    """Disjoint sets of draws, hence independent of each other."""

    SELECTION = 0
    ESTIMATION = 1
    FRESH = 2
    PILOT = 3
    PREDICTION = 4
    PROBE = 5
    SUBSET = 6


def grid_levels(grid: float | Fraction) -> int:
    """The number of grid steps in 1, from the step: 255 for `grid=1/255`.

    Raises:
        InvalidInput: the step is not one over a whole number between 1 and 2^20.
    """
    step = float(grid)
    levels = round(1 / step) if 0 < step <= 1 else 0
    if not 1 <= levels <= _MAX_LEVELS or abs(step * levels - 1) > 1e-6:
        raise InvalidInput(
            "grid is the step between neighbouring input values on the [0, 1] scale, one over a "
            f"whole number up to {_MAX_LEVELS}; got {grid}. For 8-bit images use 1/255."
        )
    return levels


@dataclass(frozen=True)
class RoundedGaussian:
    """N(0, sigma^2) rounded to the grid.

    Args:
        sigma: standard deviation on the [0, 1] scale of the inputs.
        grid: the grid's step h, one over a whole number: 1/255 for 8-bit images.

    Raises:
        InvalidInput: sigma is not a positive number, or is under 1/8 or over 4096 steps.
    """

    sigma: float
    grid: float | Fraction

    def __post_init__(self) -> None:
        """Check sigma against the grid."""
        levels = grid_levels(self.grid)
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise InvalidInput(
                f"sigma must be a positive number (0.25, 0.5 and 1.0 are usual); got {self.sigma}"
            )
        if not _COARSEST <= self.ratio <= _FINEST:
            raise InvalidInput(
                f"sigma must lie between 1/8 and {_FINEST} grid steps: with grid 1/{levels} from "
                f"{float(_COARSEST / levels):.6g} to {_FINEST / levels:.6g}; got {self.sigma}. "
                "Choose another sigma, or another grid."
            )

    @property
    def levels(self) -> int:
        """Grid steps in 1."""
        return grid_levels(self.grid)

    @cached_property
    def ratio(self) -> Fraction:
        """Sigma in grid steps, exactly."""
        return Fraction(self.sigma) * self.levels

    @cached_property
    def table(self) -> NDArray[np.uint64]:
        """The thresholds that turn 64 uniform bits into a draw; see `gaussian_table`."""
        return thresholds(self.ratio)

    def draws(
        self, seed: int, input: int, stream: int, draws: ArrayLike, shape: Sequence[int]
    ) -> NDArray[np.int32]:
        """Noise in grid steps, a pure function of the address.

        Args:
            seed: the run's seed, 0..2^64 - 1.
            input: the input's index in its data set, >= 0.
            stream: one of `Stream`.
            draws: draw indices, shape (m,), >= 0, in any order.
            shape: the input's shape.

        Returns:
            int32 array of shape (m, *shape).
        """
        draws = np.atleast_1d(np.asarray(draws, dtype=np.int64))
        inputs, streams = np.full(draws.shape, input), np.full(draws.shape, stream)
        rows = self.rows(seed, inputs, streams, draws, prod(shape))
        return rows.reshape(len(draws), *shape)

    def rows(
        self,
        seed: int,
        inputs: NDArray[np.int64],
        streams: NDArray[np.int64],
        draws: NDArray[np.int64],
        size: int,
    ) -> NDArray[np.int32]:
        """Noise of many addresses at once: (m,) arrays in, (m, size) out; see `draws`."""
        if not 0 <= seed < 2**64:
            raise InvalidInput(f"seed must be a whole number in 0..2^64 - 1; got {seed}")
        if draws.size and (draws.min() < 0 or inputs.min() < 0):
            raise InvalidInput("input and draw indices must be >= 0")
        out = np.empty((len(draws), size), dtype=np.int32)
        chunk = max(1, _CHUNK // size)
        for start in range(0, len(draws), chunk):
            part = slice(start, start + chunk)
            out[part] = self._look_up(_bits(seed, inputs[part], streams[part], draws[part], size))
        return out

    def _look_up(self, bits: NDArray[np.uint64]) -> NDArray[np.int32]:
        """searchsorted(table, bits, "right") - half, through a guide on the leading bits."""
        guide, half = _guide(self.ratio), len(self.table) // 2
        found = guide[(bits >> np.uint64(64 - _GUIDE_BITS)).view(np.int64)]
        split = found < 0
        found[split] = np.searchsorted(self.table, bits[split], side="right")
        found -= np.int32(half)
        return found

    def slack(self, shape: Sequence[int]) -> float:
        """Bound on the total variation between one input's sampled and exact noise.

        Each threshold is within half a unit (plus a negligible computing error) of 2^64 times
        the exact probability, and the two tails beyond the table hold less than that each.
        """
        return prod(shape) * (len(self.table) + 4) * 2.0**-65

    def radius(self, q: ArrayLike, runner_up: ArrayLike | None = None) -> NDArray[np.float64]:
        """The certified l2 radius, rounded down (Cohen, Rosenfeld & Kolter 2019, Theorem 1).

        Args:
            q: lower limits of the class's probability, any shape.
            runner_up: upper limits of every other class's; without it 1 - q is used.

        Returns:
            sigma * quantile(q), or sigma/2 * (quantile(q) - quantile(runner_up)); 0 where that
            is not positive, which means abstain.
        """
        z = normal.quantile_below(q)
        if runner_up is not None:
            z = np.nextafter((z - normal.quantile_above(runner_up)) / 2, -np.inf)
        # inf is only met at q = 1, which no finite number of draws proves.
        return np.maximum(np.nextafter(self.sigma * z, -np.inf), 0.0)


def words(seed: int, input: int, stream: int, draw: int, count: int) -> NDArray[np.uint64]:
    """Uniform 64-bit words of one address, shape (count,): what its noise would be made of."""
    place = (np.array([input]), np.array([stream]), np.array([draw]))
    return _bits(seed, *place, count)[0]


def _bits(
    seed: int,
    inputs: NDArray[np.int64],
    streams: NDArray[np.int64],
    draws: NDArray[np.int64],
    size: int,
) -> NDArray[np.uint64]:
    """64 uniform bits per element, from NumPy's generator set to each address in turn."""
    bits = np.empty((len(draws), size), dtype=np.uint64)
    source = np.random.Philox(key=seed, counter=0)
    state = source.state
    counter = state["state"]["counter"]
    state["buffer_pos"] = 4  # nothing buffered
    addresses = zip(inputs.tolist(), streams.tolist(), draws.tolist(), strict=True)
    for row, (input_, stream, draw) in enumerate(addresses):
        # NumPy increments the 256-bit counter before each block, so start one below block 0.
        address = (draw << 64 | input_ << 128 | stream << 192) - 1
        for word in range(4):
            counter[word] = address >> 64 * word & 0xFFFFFFFFFFFFFFFF
        source.state = state
        bits[row] = source.random_raw(size)
    return bits


@lru_cache(maxsize=16)
def _guide(ratio: Fraction) -> NDArray[np.int32]:
    """The look-up's answer by leading bits, or -1 where a threshold splits their range."""
    table = thresholds(ratio)
    first = np.arange(2**_GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    last = first + np.uint64(2 ** (64 - _GUIDE_BITS) - 1)
    low, high = (np.searchsorted(table, edge, side="right") for edge in (first, last))
    return np.where(low == high, low, -1).astype(np.int32)
