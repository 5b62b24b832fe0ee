"""The noise of `law.RoundedGaussian`, bit for bit, by torch: one fused kernel on a GPU.

torch has no unsigned 64-bit arithmetic, so Philox4x64-10 (Salmon et al., SC 2011) is written
in int64 with wrap-around products. A word finds its step by one look into a guide and one
comparison: the law is symmetric, so only its lower half is searched, and the guide's buckets
are those of floating point, as fine in the tails as thresholds are there.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from smoothcert.noise.law import (
    PHILOX_MULTIPLIERS,
    PHILOX_ROUNDS,
    PHILOX_WEYL,
    Addresses,
    RoundedGaussian,
)

_LOW = 0xFFFFFFFF
_MANTISSA, _BIAS, _OCTAVES = 23, 127, 63  # of float32; of the words below 2^63


class TorchNoise:
    """Noisy inputs on a torch device, equal to those of `numba_kernel.NoisyImages`."""

    def __init__(self, noise: RoundedGaussian, device: str, compiled: bool | None = None) -> None:
        """Copy the law's tables to `device`.

        Args:
            noise: the law.
            device: torch's name of it.
            compiled: whether torch.compile makes one kernel of it all, once for each shape of
                batch; by default on CUDA. It changes no bit.
        """
        self.device: torch.device = torch.device(device)
        guide, below, self._bits = search(noise)
        self._guide = torch.from_numpy(guide).to(self.device)
        self._below = torch.from_numpy(below).to(self.device)
        self._scale = torch.tensor(np.float32(1 / noise.levels), device=self.device)
        compile_ = self.device.type == "cuda" if compiled is None else compiled
        self._noisy = _compiled() if compile_ else noisy

    def seed(self, seed: int) -> torch.Tensor:
        """A run's seed, as `images` takes it: a number would be compiled in."""
        return torch.tensor(_signed(seed), device=self.device)

    def images(
        self,
        seed: torch.Tensor,
        addresses: torch.Tensor,
        clean: torch.Tensor,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> torch.Tensor:
        """Noisy inputs; nothing waits for the device.

        Args:
            seed: from `seed`.
            addresses: int64 (3, B) on the device; see `stacked`.
            clean: int32 (B, *shape) on the device, in grid steps.
            layout: of the result in memory.

        Returns:
            float32 (B, *shape).
        """
        blocks = torch.arange(-(-clean[0].numel() // 4), device=self.device)
        tables = (self._guide, self._below, self._bits)
        return self._noisy(clean, blocks, addresses, seed, tables, self._scale, layout)


def _compiled() -> Callable[..., torch.Tensor]:
    """The graph as one kernel: its four strands are written in place, not joined afterwards.

    Joined by a kernel of their own, as inductor would on CUDA, they would need the words in memory.
    """
    from torch._inductor import list_options

    options: dict[str, str | int | bool | Callable] = {
        "max_complex_pointwise_cat_inputs": 0,
        "max_pointwise_cat_inputs": 0,
    }
    known = set(list_options())  # other versions of torch may have others
    options = {name: value for name, value in options.items() if name in known}
    return torch.compile(noisy, dynamic=False, options=options)


def stacked(addresses: Addresses) -> NDArray[np.int64]:
    """Draws, inputs and streams as the rows of one array, the order of Philox's counter."""
    return np.stack((addresses.draws, addresses.inputs, addresses.streams))


def noisy(
    clean: torch.Tensor,
    blocks: torch.Tensor,
    addresses: torch.Tensor,
    seed: torch.Tensor,
    tables: tuple[torch.Tensor, torch.Tensor, int],
    scale: torch.Tensor,
    layout: torch.memory_format,
) -> torch.Tensor:
    """The graph that is compiled; see `TorchNoise.images`.

    A block of Philox gives four neighbours, so everything up to the floats is done in four
    strands: the 64-bit words never need to be in memory. The numbers of the blocks, 0, 1, ...,
    come from memory, as inductor would multiply an index of its own in 32 bits.
    """
    rows, size = len(clean), clean[0].numel()
    padding = 4 * len(blocks) - size
    quads = torch.nn.functional.pad(clean.reshape(rows, size), (0, padding)).view(rows, -1, 4)
    words = _philox([blocks[None, :], *(place[:, None] for place in addresses)], seed)
    strands = [(_steps(w, *tables) + quads[..., i]).float() * scale for i, w in enumerate(words)]
    images = torch.stack(strands, dim=-1).view(rows, -1)[:, :size]
    return images.reshape(clean.shape).contiguous(memory_format=layout)


@lru_cache(maxsize=16)
def search(noise: RoundedGaussian) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """The guide, the last word below each threshold of the lower half, and the guide's bits.

    The guide is indexed by exponent and leading mantissa bits of a word as a float32; its entry
    is the number of thresholds at or below all words of that bucket. There are enough bits
    that no bucket is split by more than one threshold.
    """
    table = noise.table
    lower = table[: len(table) // 2].astype(np.int64)  # all below 2^63
    bits = 0
    bucket, inside = _split(lower, bits)
    while len(np.unique(bucket[inside])) < inside.sum():
        bits += 1
        bucket, inside = _split(lower, bits)
    buckets = np.arange((_OCTAVES << bits) + 2)
    guide = np.searchsorted(bucket + inside, buckets, side="right").astype(np.int32)
    return guide, np.append(lower - 1, np.int64(2**63 - 1)), bits


def _split(lower: NDArray[np.int64], bits: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Each threshold's bucket, and whether there are words below it in the same bucket."""
    bucket = _bucket_of(lower, bits)
    return bucket, _bucket_of(lower - 1, bits) == bucket


def _bucket_of(words: NDArray[np.int64], bits: int) -> NDArray[np.int32]:
    """`_bucket` in NumPy; a conversion to float rounds to nearest everywhere, hence equally."""
    floats = words.astype(np.float32).view(np.int32) >> (_MANTISSA - bits)
    return np.maximum(floats - (_BIAS << bits) + 1, 0)


def _bucket(words: torch.Tensor, bits: int) -> torch.Tensor:
    floats = words.to(torch.float32).view(torch.int32) >> (_MANTISSA - bits)
    return (floats - ((_BIAS << bits) - 1)).clamp(min=0)


def _steps(
    words: torch.Tensor, guide: torch.Tensor, below: torch.Tensor, bits: int
) -> torch.Tensor:
    """Noise in grid steps: the words' places in the thresholds, with the middle at 0.

    An unsigned word of the upper half is negative here; its complement has the mirrored place.
    """
    upper = words >> 63  # 0 or -1
    folded = words ^ upper
    found = guide[_bucket(folded, bits)]
    found = found + (below[found] < folded).to(torch.int32)
    steps = found - (len(below) - 1)
    return torch.where(upper < 0, -steps, steps)


def _philox(counter: Sequence[torch.Tensor], seed: torch.Tensor) -> list[torch.Tensor]:
    c0, c1, c2, c3 = counter
    m0, m1 = PHILOX_MULTIPLIERS
    for round_ in range(PHILOX_ROUNDS):
        key0, key1 = seed + _signed(round_ * PHILOX_WEYL[0]), _signed(round_ * PHILOX_WEYL[1])
        high0, low0 = _high_product(c0, m0), c0 * _signed(m0)
        high1, low1 = _high_product(c2, m1), c2 * _signed(m1)
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
    return [c0, c1, c2, c3]


def _high_product(a: torch.Tensor, m: int) -> torch.Tensor:
    """The upper 64 bits of the unsigned product of a and the constant m >= 2^63.

    That is a plus the upper half of a times m - 2^64, which is split at bit 32 into signed parts
    so that no product overflows: C++ compilers presume that none does, and draw conclusions.
    """
    m_high, m_low = _halves(m - 2**64)
    a_low, a_high = a & _LOW, (a >> 32) & _LOW
    carry = a_high * m_low + (a_low * m_low >> 32)
    middle = a_low * m_high + (carry & _LOW)
    return a + (a_high * m_high + (carry >> 32) + (middle >> 32))


def _halves(m: int) -> tuple[int, int]:
    """High and low with high 2^32 + low = m and -2^31 <= low < 2^31."""
    high = (m + 2**31) >> 32
    return high, m - (high << 32)


def _signed(word: int) -> int:
    word &= 2**64 - 1
    return word - 2**64 if word >= 2**63 else word
