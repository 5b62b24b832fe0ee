"""Labels of draws as compact bytes: a bitmask of the most common label, and the exceptions.

Layout, version 1, all little-endian, the whole compressed with zstd:
    1 byte   version (1)
    1 byte   bytes per exception (1, 2 or 4)
    4 bytes  the most common label, int32
    8 bytes  number of draws n, uint64
    ceil(n/8) bytes  bit j (most significant first) is 1 where draw j has that label
    the other labels in order of draw, each plus one (so that -1, no class, is 0), unsigned
"""

import struct

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from smoothcert.errors import StoreError

VERSION = 1
_HEADER = struct.Struct("<BBiQ")
_LEVEL = 9  # zstd: votes are written once, and this level is still faster than sampling them


def encode(labels: NDArray[np.int32]) -> bytes:
    """Compress labels >= -1; the empty array becomes no bytes at all."""
    if labels.size == 0:
        return b""
    values, counts = np.unique(labels, return_counts=True)
    winner = values[counts.argmax()]
    is_winner = labels == winner
    width = next(w for w in (1, 2, 4) if int(values[-1]) + 1 < 256**w)
    exceptions = (labels[~is_winner].astype(np.int64) + 1).astype(f"<u{width}")
    header = _HEADER.pack(VERSION, width, int(winner), labels.size)
    raw = header + np.packbits(is_winner).tobytes() + exceptions.tobytes()
    packed = pa.Codec("zstd", compression_level=_LEVEL).compress(raw, asbytes=True)
    return struct.pack("<Q", len(raw)) + packed


def longest(draws: int) -> int:
    """The maximum bytes of this many labels: zstd expands incompressible data a little."""
    raw = _HEADER.size + -(-draws // 8) + 4 * draws
    return 8 + raw + raw // 128 + 1024


def decode(blob: bytes, most: int = 10**9) -> NDArray[np.int32]:
    """Decode labels from `encode`.

    Args:
        blob: what `encode` returned, or anything.
        most: maximum number of labels; more are damage, detected before memory is allocated.

    Raises:
        StoreError: truncated, corrupted, or written by a newer version.
    """
    if not blob:
        return np.empty(0, dtype=np.int32)
    try:
        return _decode(blob, most)
    except (struct.error, ValueError, TypeError, OSError, OverflowError, MemoryError) as error:
        raise StoreError(
            f"Stored votes are damaged ({error}). Delete their block and run again with --resume: "
            "only that block is sampled again."
        ) from error


def _decode(blob: bytes, most: int) -> NDArray[np.int32]:
    (size,) = struct.unpack_from("<Q", blob)
    if not _HEADER.size < size <= _HEADER.size + -(-most // 8) + 4 * most:
        raise ValueError(f"impossible size {size}")
    raw = pa.Codec("zstd").decompress(blob[8:], decompressed_size=size, asbytes=True)
    version, width, winner, n = _HEADER.unpack_from(raw)
    if version != VERSION:
        raise StoreError(
            f"Stored votes have format {version}, but this smoothcert reads {VERSION}. Upgrade it."
        )
    mask_end = _HEADER.size + -(-n // 8)
    if width not in (1, 2, 4) or mask_end > len(raw) or not 0 < n <= most or winner < -1:
        raise ValueError("impossible header")
    mask = np.frombuffer(raw[_HEADER.size : mask_end], dtype=np.uint8)
    is_winner = np.unpackbits(mask, count=n).view(bool)
    exceptions = np.frombuffer(raw[mask_end:], dtype=f"<u{width}")
    if len(exceptions) != n - is_winner.sum():
        raise ValueError("wrong number of exceptions")
    unused = mask[-1] & ((1 << -n % 8) - 1)
    if unused or (exceptions > 2**31).any() or (exceptions == winner + 1).any():
        raise ValueError("impossible labels")
    labels = np.full(n, winner, dtype=np.int32)
    labels[~is_winner] = exceptions.astype(np.int64) - 1
    return labels
