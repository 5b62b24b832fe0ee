"""Batches as the engine makes them, and how they are given to what runs them."""

import numpy as np

from smoothcert.noise.law import Addresses
from smoothcert.sampling.batches import Batch


def batches(data, count, rows=32):
    """Batches of one to four distinct inputs, each input in several."""
    rng = np.random.default_rng(0)
    for number in range(count):
        items = [data.item(int(i)) for i in rng.choice(len(data), 1 + number % 4, replace=False)]
        item = np.sort(rng.integers(0, len(items), rows))
        inputs = np.array([i.index for i in items])[item]
        addresses = Addresses(inputs, np.full(rows, 1), rng.integers(0, 2**40, rows))
        yield Batch(np.stack([i.pixels for i in items]), item, addresses)


def answers(labels, some):
    """All are submitted before the first is waited for, and they are read out of order."""
    pending = [labels.submit(batch) for batch in some]
    return [p.result() for p in reversed(pending)][::-1]
