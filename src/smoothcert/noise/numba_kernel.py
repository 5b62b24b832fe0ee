"""The noise of `law.RoundedGaussian`, bit for bit, compiled: about 5 ns per value on one core.

Philox4x64-10 is Salmon et al., SC 2011. A word finds its step through a guide on its leading
bits, which says how many thresholds lie below all words that begin so; few bits of a guide are
split by a threshold, so the search that remains is mostly one comparison.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from smoothcert.compilation import compiled
from smoothcert.noise.law import (
    PHILOX_MULTIPLIERS,
    PHILOX_ROUNDS,
    PHILOX_WEYL,
    Addresses,
    RoundedGaussian,
)

_WORDS = 1024  # made at a time: two tight loops are faster than one that does everything

_M0, _M1 = (np.uint64(multiplier) for multiplier in PHILOX_MULTIPLIERS)
_W0, _W1 = (np.uint64(step) for step in PHILOX_WEYL)


class NoisyImages:
    """Noise of one run, added to inputs."""

    def __init__(self, noise: RoundedGaussian, seed: int) -> None:
        """Prepare what all batches share, so that little is left to do for each."""
        self._seed = seed
        self._search = search(noise)
        self._scale = np.float32(1 / noise.levels)

    def __call__(
        self,
        addresses: Addresses,
        pixels: NDArray[np.int32],
        item: NDArray[np.int64],
        out: NDArray[np.float32],
    ) -> None:
        """Write noisy inputs, ready for a classifier.

        Args:
            addresses: of the B draws.
            pixels: the inputs in grid steps, shape (inputs, *shape).
            item: which of them each draw belongs to, shape (B,).
            out: shape (B, *shape), for (pixels + noise) times the grid's step: the bits that
                `to_float` gives of pixels and `RoundedGaussian.rows`. Fresh memory for every
                batch would cost a quarter more time.
        """
        addresses.check(self._seed)
        _fill(
            np.uint64(self._seed),
            addresses.inputs,
            addresses.streams,
            addresses.draws,
            item,
            pixels.reshape(len(pixels), -1),
            *self._search,
            self._scale,
            out.reshape(len(out), -1),
        )


@lru_cache(maxsize=16)
def search(noise: RoundedGaussian) -> tuple[NDArray[np.uint64], NDArray[np.int32], np.uint64]:
    """The last word below each threshold; the guide; and how far to shift a word for it.

    The guide is the number of thresholds at or below the first word with those leading bits:
    64 kB of them stay in a core's cache, and usual laws need no more.
    """
    table = noise.table  # all at least 1
    shift = np.uint64(64 - (14 if noise.ratio <= 512 else 17))
    first = np.arange(2 ** (64 - int(shift)), dtype=np.uint64) << shift
    guide = np.searchsorted(table, first, side="right").astype(np.int32)
    below = np.append(table - np.uint64(1), np.uint64(2**64 - 1))  # no word is above the last
    return below, guide, shift


@intrinsic
def _high_product(_context: Any, a: Any, b: Any) -> Any:
    """The upper 64 bits of a product, one instruction where the processor has it."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), code


@njit(nogil=True, inline="always")
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any) -> Any:
    k1 = np.uint64(0)
    for _ in range(PHILOX_ROUNDS):
        high0, low0 = _high_product(c0, _M0), c0 * _M0  # pyright: ignore[reportCallIssue]
        high1, low1 = _high_product(c2, _M1), c2 * _M1  # pyright: ignore[reportCallIssue]
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += _W0
        k1 += _W1
    return c0, c1, c2, c3


@njit(nogil=True, inline="always")
def _place(word: Any, below: Any, guide: Any, shift: Any) -> Any:
    """How many thresholds are at or below a word."""
    found = np.int64(guide[word >> shift])
    while below[found] < word:
        found += 1
    return found


@compiled
def _fill(
    seed: Any,
    inputs: Any,
    streams: Any,
    draws: Any,
    item: Any,
    pixels: Any,
    below: Any,
    guide: Any,
    shift: Any,
    scale: Any,
    out: Any,
) -> None:
    size, half = pixels.shape[1], len(below) // 2
    words = np.empty(_WORDS, np.uint64)
    for row in range(len(draws)):
        draw, input_, stream = (
            np.uint64(draws[row]),
            np.uint64(inputs[row]),
            np.uint64(streams[row]),
        )
        clean = item[row]
        for first in range(0, size, _WORDS):
            count = min(_WORDS, size - first)
            for b in range((count + 3) // 4):
                block = _philox(np.uint64(first // 4 + b), draw, input_, stream, seed)
                words[4 * b], words[4 * b + 1], words[4 * b + 2], words[4 * b + 3] = block
            for j in range(count):
                steps = _place(words[j], below, guide, shift) - half + pixels[clean, first + j]
                out[row, first + j] = np.float32(steps) * scale


def kept_in() -> Path | None:
    """The folder that keeps the compiled code from one process to the next, or None."""
    path = _fill.stats.cache_path
    return Path(path) if path else None
