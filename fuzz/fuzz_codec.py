"""The votes codec: no bytes make it fail otherwise than by StoreError, or take much memory.

What the zstd frame holds is mutated, and the frame made again around it: mutated frames hardly
ever unpack. A part of the executions mutates the frame itself.
"""

import struct

import numpy as np
import pyarrow as pa
from seeds import Choices

from smoothcert.errors import StoreError
from smoothcert.runs import vote_codec as codec

_MOST = 10_000
_ZSTD = pa.Codec("zstd")


def _labels() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    kinds = [[3, 3, -1, 3, 300, 3, 3, 3, 3, 0], [5], [-1] * 9, rng.integers(0, 70_000, 60).tolist()]
    return [np.array(labels, np.int32) for labels in kinds]


_RAW = [
    _ZSTD.decompress(b[8:], struct.unpack("<Q", b[:8])[0]).to_pybytes()
    for b in map(codec.encode, _labels())
]


def seeds() -> list[bytes]:
    """Untouched contents, and a frame."""
    return [b"\0" + raw for raw in _RAW] + [b"\1" + codec.encode(_labels()[0])]


def target(data: bytes) -> None:
    """First byte: 0 the content, 1 the frame, 2 edits of a good content, 3 a frame that lies."""
    choices, kind = Choices(data[1:]), data[:1]
    if kind == b"\1":
        blob = choices.rest()
    else:
        size, raw = choices.below(2**16), b""
        raw = choices.edited(_RAW[choices.below(len(_RAW))]) if kind >= b"\2" else data[1:]
        size = size if kind >= b"\3" else len(raw)
        blob = struct.pack("<Q", size) + _ZSTD.compress(raw, asbytes=True)
    try:
        labels = codec.decode(blob, _MOST)
    except StoreError:
        return
    assert labels.dtype == np.int32, labels.dtype
    assert len(labels) <= _MOST, len(labels)
    assert labels.min(initial=0) >= -1, labels.min()
    assert (codec.decode(codec.encode(labels)) == labels).all()


if __name__ == "__main__":
    import driver

    driver.main(target, seeds(), [codec])
