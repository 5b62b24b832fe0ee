"""Noise by torch: the definition's bits, eager and compiled."""

import numpy as np
import pytest
import torch

from smoothcert.data.inputs import to_float
from smoothcert.noise.law import Addresses, RoundedGaussian
from smoothcert.noise.numba_kernel import NoisyImages
from smoothcert.noise.torch_kernel import TorchNoise, _steps, search, stacked

SEEDS = (0, 1234, 2**63, 2**64 - 1)
SHAPES = ((1,), (5,), (1, 3, 7), (2, 3, 4), (3, 32, 32))


def some_addresses(rows, seed=0):
    rng = np.random.default_rng(seed)
    inputs, draws = rng.integers(0, 2**40, rows), rng.integers(0, 2**62, rows)
    return Addresses(inputs, rng.integers(0, 7, rows), draws)


def some_clean(law, rows, shape):
    rng = np.random.default_rng(rows)
    return rng.integers(0, law.levels + 1, (rows, *shape), dtype=np.int32)


def made(maker, seed, addresses, clean, **options):
    with torch.inference_mode():
        places = torch.from_numpy(stacked(addresses))
        return maker.images(maker.seed(seed), places, torch.from_numpy(clean), **options)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sigma", [0.01, 0.5, 16.0])
def test_eager_gives_the_definitions_bits(sigma, seed):
    law = RoundedGaussian(sigma, 1 / 255)
    maker, addresses = TorchNoise(law, "cpu"), some_addresses(4)
    for shape in SHAPES:
        clean = some_clean(law, 4, shape)
        steps = law.rows(seed, addresses, clean[0].size).reshape(clean.shape)
        found = made(maker, seed, addresses, clean)
        assert found.dtype == torch.float32
        assert (found.numpy() == to_float(clean + steps, law.levels)).all()


@pytest.mark.slow
def test_compiled_gives_the_same_bits_and_compiles_once_for_a_shape():
    """Seeds, addresses and pixels are no part of what is compiled.

    A batch has rows enough for words of either sign in every step: one compiler made half of
    the rows wrong where a product could overflow.
    """
    from torch._dynamo.utils import counters

    law, rows = RoundedGaussian(0.25, 1 / 256), 32
    maker = TorchNoise(law, "cpu", compiled=True)
    torch._dynamo.reset()
    counters.clear()
    for graphs, shape in enumerate(((1, 8, 8), (1, 3, 7)), start=1):
        clean = some_clean(law, rows, shape)
        for seed in SEEDS:
            addresses = some_addresses(rows, seed % 97)
            expected = np.empty(clean.shape, np.float32)
            NoisyImages(law, seed)(addresses, clean, np.arange(rows), expected)
            assert (made(maker, seed, addresses, clean).numpy() == expected).all()
            assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]


def test_layout_changes_no_value():
    law = RoundedGaussian(0.25, 1 / 255)
    maker, addresses, clean = (
        TorchNoise(law, "cpu"),
        some_addresses(2),
        some_clean(law, 2, (3, 5, 6)),
    )
    found = made(maker, 7, addresses, clean, layout=torch.channels_last)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found == made(maker, 7, addresses, clean)).all()


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1 / 8, 4, 255 / 2, 4096])
def test_look_up_at_every_threshold(ratio):
    """The words at, just below and just above each threshold and each bucket, and the ends."""
    law = RoundedGaussian(ratio, 1)
    table = law.table
    guide, below, bits = search(law)
    keys = np.arange(127 << bits, (127 + 63) << bits) << (23 - bits)
    starts = keys.astype(np.int32).view(np.float32).astype(np.uint64)
    rng = np.random.default_rng(0)
    edges = np.concatenate(
        [table, starts, ~starts, starts + rng.integers(0, starts, dtype=np.uint64)]
    )
    one = np.uint64(1)
    words = np.concatenate(
        [edges, edges - one, edges + one, np.uint64(0) - np.arange(5, dtype=np.uint64)]
    )
    found = _steps(*map(torch.from_numpy, (words.view(np.int64), guide, below)), bits)
    assert (found.numpy() == np.searchsorted(table, words, side="right") - len(table) // 2).all()


@pytest.mark.parametrize("sigma", [0.12, 0.25, 0.5, 1.0])
def test_usual_guides_stay_in_a_cache(sigma):
    guide, below, _ = search(RoundedGaussian(sigma, 1 / 255))
    assert guide.nbytes + below.nbytes < 2**17


def test_a_seed_and_addresses_on_the_device_are_exact():
    assert int(TorchNoise(RoundedGaussian(0.5, 1 / 4), "cpu").seed(2**64 - 1)) == -1
    places = stacked(some_addresses(3))
    assert places.shape == (3, 3)
    assert (places[0] == some_addresses(3).draws).all()
