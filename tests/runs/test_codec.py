"""Votes as bytes: what goes in comes out, and damage is an error of ours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.errors import StoreError
from smoothcert.runs import vote_codec as codec


@pytest.mark.slow
@given(st.lists(st.one_of(st.integers(-1, 3), st.integers(-1, 2**31 - 2)), max_size=200))
@settings(max_examples=200, derandomize=True)
def test_round_trip(values):
    labels = np.array(values, dtype=np.int32)
    decoded = codec.decode(codec.encode(labels))
    assert decoded.dtype == np.int32
    assert (decoded == labels).all()
    assert len(decoded) == len(labels)


def test_size_is_near_the_entropy():
    """A hundred thousand draws at p = 0.8 over ten classes: the design says about 12 kB."""
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(10**5) < 0.8, 3, rng.integers(0, 10, 10**5)).astype(np.int32)
    assert len(codec.encode(labels)) < 22_000
    mostly = np.where(rng.random(10**5) < 0.95, 3, 5).astype(np.int32)
    assert len(codec.encode(mostly)) < 5_500


def test_golden_bytes():
    """The format as written today must be readable forever."""
    labels = np.array([3, 3, -1, 3, 300, 3, 3, 3, 3, 0], dtype=np.int32)
    raw = bytes.fromhex("01 02 03000000 0a00000000000000 d780 0000 2d01 0100".replace(" ", ""))
    assert raw == _raw(codec.encode(labels))
    assert (codec.decode(GOLDEN) == labels).all()


GOLDEN = bytes.fromhex(
    "160000000000000028b52ffd2016b100000102030000000a00000000000000d78000002d010100"
)


def _raw(blob):
    import pyarrow as pa

    size = int.from_bytes(blob[:8], "little")
    return pa.Codec("zstd").decompress(blob[8:], decompressed_size=size, asbytes=True)


@given(st.integers(0, 10**6), st.integers(1, 255), st.booleans())
@settings(max_examples=300, derandomize=True, deadline=None)
def test_damage_raises_our_error_or_is_harmless(position, flip, cut):
    labels = np.array([1] * 50 + [0, 2] * 10, dtype=np.int32)
    blob = bytearray(codec.encode(labels))
    position %= len(blob)
    if cut:
        blob = blob[:position]
    else:
        blob[position] ^= flip
    try:
        assert codec.decode(bytes(blob)).dtype == np.int32
    except StoreError as error:
        assert "damaged" in str(error) or "format" in str(error)


def test_a_newer_version_is_named():
    import pyarrow as pa

    raw = bytes([2]) + _raw(codec.encode(np.array([1], np.int32)))[1:]
    blob = len(raw).to_bytes(8, "little") + pa.Codec("zstd").compress(raw, asbytes=True)
    with pytest.raises(StoreError, match="Stored votes have format 2, but this smoothcert reads 1"):
        codec.decode(blob)
