"""The rounded Gaussian: fixed values, the exact law, the same bits from torch."""

from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy import special, stats

from smoothcert.data.inputs import to_float
from smoothcert.errors import InvalidInput
from smoothcert.noise.law import Addresses, RoundedGaussian, Stream
from smoothcert.noise.numba_kernel import NoisyImages, search
from smoothcert.noise.table import thresholds

LAW = RoundedGaussian(0.25, Fraction(1, 256))


def test_known_draws():
    """Literal values: if these change, no stored run can be replayed any more."""
    assert LAW.draws(1234, 7, Stream.ESTIMATION, [0, 5], (2, 3)).tolist() == KNOWN
    assert RoundedGaussian(1.0, 1 / 255).draws(
        2**64 - 1, 3, Stream.FRESH, [10**9], (5,)
    ).tolist() == [KNOWN_FAR]


KNOWN = [[[20, 8, 36], [-61, 44, 27]], [[17, -94, -20], [94, -50, -26]]]
KNOWN_FAR = [-459, 107, -111, 204, -208]


def test_draws_are_numpys_philox_looked_up_in_the_thresholds():
    """The definition, spelled out for one draw: key, counter words, block order."""
    seed, input_, stream, draw, size = 99, 12, Stream.SELECTION, 345, 10
    counter = np.array([0, draw, input_, stream], dtype=np.uint64)
    blocks = []
    for block in range(3):
        word = int(sum(int(c) << 64 * i for i, c in enumerate(counter))) + block
        blocks.append(np.random.Philox(key=seed, counter=word - 1).random_raw(4))
    bits = np.concatenate(blocks)[:size]
    half = len(LAW.table) // 2
    expected = np.searchsorted(LAW.table, bits, side="right") - half
    assert (LAW.draws(seed, input_, stream, [draw], (size,))[0] == expected).all()


def test_philox_is_the_published_one():
    """Random123's known-answer vector for Philox4x64-10, all-zero key and counter."""
    words = np.random.Philox(key=0, counter=2**256 - 1).random_raw(4)
    expected = (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)
    assert tuple(int(word) for word in words) == expected


def test_a_draw_depends_on_its_address_alone():
    shape = (3, 5, 5)
    many = LAW.draws(1, 2, 3, np.arange(50), shape)
    order = np.random.default_rng(0).permutation(50)
    assert (LAW.draws(1, 2, 3, order, shape) == many[order]).all()
    assert (LAW.draws(1, 2, 3, [17], shape)[0] == many[17]).all()
    for other in [(0, 2, 3), (1, 1, 3), (1, 2, 2)]:
        assert (LAW.draws(*other, np.arange(50), shape) != many).mean() > 0.9


def test_thresholds_are_exact_to_64_bits():
    """Against mpmath at 60 digits, in the middle and far beyond 8 sigma."""
    table = LAW.table
    half = len(table) // 2
    with mpmath.workdps(60):
        for j in [
            0,
            1,
            2,
            10,
            half - 300,
            half - 1,
            half,
            half + 77,
            len(table) - 2,
            len(table) - 1,
        ]:
            z = (mpmath.mpf(j - half) + mpmath.mpf(1) / 2) / 64
            exact = mpmath.ncdf(z) * 2**64
            assert abs(int(table[j]) - exact) <= 0.5 + 1e-9, j
    assert (np.diff(table.astype(object)) >= 0).all()
    assert half / 64 > 9


def test_table_is_symmetric():
    table = thresholds(Fraction(7, 3)).astype(object)
    assert (table + table[::-1] == 2**64).all()


@pytest.mark.parametrize("sigma", [0.25, 0.05, 1 / 256])
def test_goodness_of_fit_and_a_wrong_law_fails(sigma):
    """Chi-square on 300,000 elements; error rate 1e-6 for the right law, fixed seed."""
    law = RoundedGaussian(sigma, Fraction(1, 256))
    drawn = law.draws(5, 0, Stream.ESTIMATION, np.arange(3000), (100,)).ravel()

    def p_value(s: float) -> float:
        reach = int(np.ceil(2.5 * s * 256))
        edges = np.concatenate([[-np.inf], np.arange(-reach, reach + 2) - 0.5, [np.inf]])
        law_mass = np.diff(special.ndtr(edges / (s * 256)))
        counts = np.histogram(
            np.clip(drawn, -reach - 1, reach + 1), np.arange(-reach - 1, reach + 3) - 0.5
        )[0]
        return stats.chisquare(counts, law_mass * drawn.size).pvalue

    assert p_value(sigma) > 1e-6
    assert p_value(sigma * 1.02) < 1e-6


def test_slack_bounds_the_total_variation():
    """The law that the thresholds give, against the exact one, atom by atom at 50 digits."""
    law = RoundedGaussian(0.5, Fraction(1, 8))
    table, half = law.table, len(law.table) // 2
    edges = [0, *(int(t) for t in table), 2**64]
    with mpmath.workdps(50):
        cdf = [mpmath.ncdf((mpmath.mpf(e) + 0.5) / 4) for e in range(-half - 1, half + 1)]
        exact = [b - a for a, b in pairwise(cdf)]
        given = [mpmath.mpf(b - a) / 2**64 for a, b in pairwise(edges)]
        outside = 1 - sum(exact)
        distance = (sum(abs(a - b) for a, b in zip(exact, given, strict=True)) + outside) / 2
    assert 0 < distance <= law.slack((1,))
    assert law.slack((3, 224, 224)) < 1e-9
    assert law.slack((2, 3)) == pytest.approx(6 * law.slack((1,)))


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.01, 0.5, 16.0])
@pytest.mark.parametrize("size", [1, 3, 4, 1023, 1026, 3072])
def test_compiled_noise_gives_the_same_bits(sigma, size):
    law = RoundedGaussian(sigma, 1 / 255)
    rng = np.random.default_rng(size)
    pixels, item = rng.integers(0, 256, (3, size), dtype=np.int32), rng.integers(0, 3, 7)
    addresses = Addresses(
        rng.integers(0, 2**40, 7), rng.integers(0, 7, 7), rng.integers(0, 2**62, 7)
    )
    for seed in (0, 1234, 2**63, 2**64 - 1):
        expected = to_float(law.rows(seed, addresses, size) + pixels[item], law.levels)
        found = np.empty((7, size), dtype=np.float32)
        NoisyImages(law, seed)(addresses, pixels, item, found)
        assert (found == expected).all()


def test_compiled_look_up_at_every_threshold():
    """The words at, just below and just above each threshold, and the first and last words."""
    law = RoundedGaussian(0.5, 1 / 8)
    table = law.table
    ends = np.array([0, 1, 2**64 - 2, 2**64 - 1], dtype=np.uint64)
    words = np.concatenate([table, table - np.uint64(1), table + np.uint64(1), ends])
    below, guide, shift = search(law)
    found = guide[(words >> shift).astype(int)].astype(int)
    while (more := below[found] < words).any():
        found += more
    assert (found == np.searchsorted(table, words, side="right")).all()


def test_radius_is_rounded_down():
    with mpmath.workdps(40):
        for q in [0.5000001, 0.6, 0.9, 0.99, 0.999993]:
            exact = mpmath.mpf(0.25) * mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(q) - 1)
            assert exact * (1 - mpmath.mpf("1e-12")) <= float(LAW.radius(q)) < exact
    assert LAW.radius(0.5) == 0
    assert LAW.radius(0.2) == 0


def test_radius_with_a_runner_up_is_never_smaller_than_without():
    for q, p_b in [(0.6, 0.3), (0.9, 0.1), (0.45, 0.2)]:
        assert LAW.radius(q, p_b) >= LAW.radius(q) - 1e-12
    assert LAW.radius(0.45, 0.2) > 0
    assert LAW.radius(0.2, 0.45) == 0


@pytest.mark.parametrize(
    ("sigma", "grid", "message"),
    [
        (0, 1 / 255, "sigma must be a positive number .* got 0"),
        (-0.5, 1 / 255, "sigma must be a positive number"),
        (float("nan"), 1 / 255, "sigma must be a positive number .* got nan"),
        (float("inf"), 1 / 255, "sigma must be a positive number"),
        (100.0, 1 / 255, "sigma must lie between 1/8 and 4096 grid steps"),
        (1e-5, 1 / 255, "sigma must lie between"),
        (0.25, 255, "grid is the step .* got 255. For 8-bit images use 1/255"),
        (0.25, 0, "grid is the step"),
        (0.25, 0.3, "grid is the step"),
    ],
)
def test_bad_settings(sigma, grid, message):
    with pytest.raises(InvalidInput, match=message):
        RoundedGaussian(sigma, grid)


def test_bad_addresses():
    with pytest.raises(InvalidInput, match="seed must be a whole number"):
        LAW.draws(-1, 0, 0, [0], (2,))
    with pytest.raises(InvalidInput, match="indices must be >= 0"):
        LAW.draws(1, 0, 0, [-1], (2,))
