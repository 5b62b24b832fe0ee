"""Our votes against an independent, straightforward torch loop of the 2019 kind."""

import numpy as np
import pytest
import torch
from scipy import stats

import smoothcert

SIGMA, N = 0.25, 4000
ERROR = 1e-6  # for all comparisons together


def plain_votes(network, image: np.ndarray, n: int) -> np.ndarray:
    """Counts per class from true float Gaussian noise, one batch after the other."""
    generator = torch.Generator().manual_seed(7)
    counts = torch.zeros(10, dtype=torch.long)
    with torch.inference_mode():
        for _ in range(n // 500):
            batch = torch.from_numpy(image).repeat(500, 1, 1, 1)
            noise = torch.randn(batch.shape, generator=generator) * SIGMA
            counts += network(batch + noise).argmax(1).bincount(minlength=10)
    return counts.numpy()


def p_values(network, data, sigma: float) -> list[float]:
    """Fisher's exact test per input: did both loops vote for the class equally often?"""
    result = smoothcert.certify(network, data, sigma, n=N)
    found = []
    for item, record in zip(data, result.records, strict=True):
        image = (item.pixels / data.levels).astype(np.float32)
        c = record.certificate
        theirs = int(plain_votes(network, image, N)[c.candidate])
        table = [[c.k, c.n - c.k], [theirs, N - theirs]]
        found.append(float(stats.fisher_exact(table).pvalue))
    return found


@pytest.mark.slow
def test_votes_agree_within_sampling_error(network, digits):
    assert min(p_values(network, digits, SIGMA)) > ERROR / len(digits)


@pytest.mark.slow
def test_another_sigma_is_noticed(network, digits):
    """The control: noise 20 % stronger must not pass."""
    assert min(p_values(network, digits, 1.2 * SIGMA)) < ERROR / len(digits)
