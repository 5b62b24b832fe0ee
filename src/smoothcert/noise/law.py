"""Gaussian noise that is exactly what the theorem needs, addressed draw by draw.

Inputs live on a grid of step h, and so does the noise: the integer E has
P[E = e] = Phi((e + 1/2) h / sigma) - Phi((e - 1/2) h / sigma), hence x + hE is
round_h(x + eps) for a true Gaussian eps and Cohen et al.'s theorem holds for f o round_h
with no floating-point gap (docs/theory.md, section 5).

The definition of a draw is NumPy's Philox4x64-10: key (seed, 0); element i of draw `draw` of
input `input` in stream `stream` is word i mod 4 of the block with counter
(i div 4, draw, input, stream), looked up in the 64-bit thresholds of the law.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds import normal
from smoothcert.errors import InvalidInput
from smoothcert.noise.table import thresholds
from smoothcert.scalars import settle

LAW = "rounded-gaussian/philox4x64-10/v1"
"""Names the law and the addressing; stored with every run, since votes depend on both."""

PHILOX_ROUNDS = 10
PHILOX_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
PHILOX_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
"""Of Philox4x64-10 (Salmon et al., SC 2011), for kernels that make the same bits without NumPy."""

_FINEST, _COARSEST = 4096, Fraction(1, 8)  # the sigmas, in grid steps, that the table covers
_BYTES_UP_TO = 1024  # levels of a grid whose inputs may be images of 8 bits
_MAX_LEVELS = 2**20  # so that a grid point plus noise stays exact in float32


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
    try:
        step = float(Fraction(grid) if isinstance(grid, str) else grid)
    except (ValueError, TypeError, ZeroDivisionError):
        step = 0.0
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

    name: ClassVar[str] = LAW
    """Of the law and the addressing, in run.json."""

    sigma: float
    grid: float | Fraction

    def __post_init__(self) -> None:
        """Check sigma against the grid."""
        settle(self, (), ("sigma",))
        levels = grid_levels(self.grid)
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise InvalidInput(
                f"sigma must be a positive number (0.25, 0.5 and 1.0 are usual); got {self.sigma}"
            )
        if not _COARSEST <= self.ratio <= _FINEST:
            bytes_meant = self.ratio > _FINEST and levels < _BYTES_UP_TO
            scale = f" Did you mean {self.sigma:g}/255?" if bytes_meant else ""
            if levels >= _BYTES_UP_TO:
                scale = " It is on the [0, 1] scale of the inputs, not in their own units."
            raise InvalidInput(
                f"sigma must lie between 1/8 and {_FINEST} grid steps: with grid 1/{levels} from "
                f"{float(_COARSEST / levels):.6g} to {_FINEST / levels:.6g}; got {self.sigma}. "
                f"Choose another sigma, or another grid.{scale}"
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
        """The thresholds that turn 64 uniform bits into a draw; see `noise.table`."""
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
        rows = self.rows(seed, Addresses.of(input, stream, draws), prod(shape))
        return rows.reshape(len(draws), *shape)

    def rows(self, seed: int, addresses: "Addresses", size: int) -> NDArray[np.int32]:
        """Noise of many addresses at once, shape (len(addresses), size); see `draws`.

        This is the definition; the engine runs `numba_kernel.NoisyImages`.
        """
        addresses.check(seed)
        out = np.empty((len(addresses), size), dtype=np.int32)
        half = len(self.table) // 2
        for row, address in enumerate(addresses):
            out[row] = np.searchsorted(self.table, _bits(seed, *address, size), side="right")
        return out - half

    def slack(self, shape: Sequence[int]) -> float:
        """Bound on the total variation between sampled and exact noise of one input of a shape.

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

        Raises:
            InvalidInput: a limit that is not a probability.
        """
        z = normal.quantile_below(q)
        if runner_up is not None:
            with np.errstate(invalid="ignore"):
                z = np.nextafter((z - normal.quantile_above(runner_up)) / 2, -np.inf)
        # inf is only met at q = 1, which no finite number of draws proves; inf - inf is 0 here.
        return np.fmax(np.nextafter(self.sigma * z, -np.inf), 0.0)


@dataclass(frozen=True)
class Addresses:
    """Which draws: input, stream and draw index of each, int64 arrays of shape (m,)."""

    inputs: NDArray[np.int64]
    streams: NDArray[np.int64]
    draws: NDArray[np.int64]

    @staticmethod
    def of(input: int, stream: int, draws: NDArray[np.int64]) -> "Addresses":
        """Draws of one input."""
        return Addresses(np.full_like(draws, input), np.full_like(draws, stream), draws)

    def __len__(self) -> int:
        """How many."""
        return len(self.draws)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """One after the other."""
        return zip(*(a.tolist() for a in (self.inputs, self.streams, self.draws)), strict=True)

    def check(self, seed: int) -> None:
        """Raise InvalidInput for an invalid address or seed."""
        if not 0 <= seed < 2**64:
            raise InvalidInput(f"seed must be a whole number in 0..2^64 - 1; got {seed}")
        if len(self) and min(self.draws.min(), self.inputs.min()) < 0:
            raise InvalidInput("input and draw indices must be >= 0")


def words(seed: int, input: int, stream: int, draw: int, count: int) -> NDArray[np.uint64]:
    """Uniform 64-bit words of one address, shape (count,): what its noise would be made of."""
    return _bits(seed, int(input), int(stream), int(draw), count)


def _bits(seed: int, input: int, stream: int, draw: int, size: int) -> NDArray[np.uint64]:
    """From NumPy's generator, which increments its 256-bit counter before each block."""
    counter = (draw << 64 | input << 128 | stream << 192) - 1
    return np.random.Philox(key=seed, counter=counter % 2**256).random_raw(size)
