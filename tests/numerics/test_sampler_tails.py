"""The sampled law beyond 8 sigma, the words at its ends, and the radius, against mpmath."""

from fractions import Fraction
from threading import Thread

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf
from scipy import special

from smoothcert.bounds import binomial
from smoothcert.data.inputs import to_float
from smoothcert.errors import InvalidInput
from smoothcert.noise import numba_kernel, table, torch_kernel
from smoothcert.noise.law import Addresses, RoundedGaussian, Stream
from smoothcert.noise.numba_kernel import NoisyImages
from smoothcert.noise.torch_kernel import TorchNoise, stacked

LAWS = [
    RoundedGaussian(1.0, 1.0),
    RoundedGaussian(0.125, 1.0),
    RoundedGaussian(1e-3, 1 / 255),
    RoundedGaussian(0.25, 1 / 255),
    RoundedGaussian(10.0, 1 / 255),
    RoundedGaussian(4096.0, 1.0),
    RoundedGaussian(2.0**-8, 2.0**-20),
]
NAMES = [f"{float(law.ratio):.5g} steps" for law in LAWS]
MARKS = [(pytest.mark.slow,) if law.ratio > 2000 else () for law in LAWS]  # long tables
CASES = [pytest.param(law, id=i, marks=m) for law, i, m in zip(LAWS, NAMES, MARKS, strict=True)]
every_law = pytest.mark.parametrize("law", CASES)


def exact_cdf(law: RoundedGaussian, e: int) -> mpf:
    """2^64 P[E <= e] with E the exact rounded Gaussian, to full precision in the lower tail."""
    return mpmath.ncdf(mpf(2 * e + 1) / 2 / law.ratio.numerator * law.ratio.denominator) * 2**64


def errors_beyond_8_sigma(law: RoundedGaussian, every: int) -> list[mpf]:
    """Of thresholds of the lower tail, and of the three next to the middle."""
    table, half = law.table, len(law.table) // 2
    beyond = [j for j in range(half) if half - j - 0.5 >= 8 * law.ratio]
    assert beyond or law.ratio < 1  # a step of such a law is wider than what lies beyond
    chosen = {*beyond[::every], *beyond[:9], *beyond[-9:], *range(max(0, half - 3), half)}
    with mpmath.workdps(60):
        return [abs(int(table[j]) - exact_cdf(law, j - half)) for j in chosen]


@pytest.mark.slow
@every_law
def test_thresholds_beyond_8_sigma(law):
    """Within half a unit of 2^64 times the exact probability; the upper tail mirrors the lower."""
    table = [int(t) for t in law.table]
    assert all(low + high == 2**64 for low, high in zip(table, reversed(table), strict=True))
    every = 1 if law.ratio < 100 else 15
    assert max(errors_beyond_8_sigma(law, every)) <= mpf("0.5") + mpf(10) ** -40


@pytest.mark.full
@every_law
def test_every_threshold_beyond_8_sigma(law):
    assert max(errors_beyond_8_sigma(law, 1)) <= mpf("0.5") + mpf(10) ** -40


@pytest.mark.slow
@every_law
def test_the_ends_of_the_law(law):
    """No step further out has half a unit of 2^64; the outermost is drawn as often as it should."""
    table, half = law.table, len(law.table) // 2
    with mpmath.workdps(60):
        assert exact_cdf(law, -half - 1) < 0.5 <= exact_cdf(law, -half)
        assert abs(int(table[0]) - exact_cdf(law, -half)) <= 0.5
    assert int(table[0]) >= 1
    assert 9 * law.ratio - 1 < half < 9.3 * law.ratio + 1


def hard_words(law: RoundedGaussian) -> np.ndarray:
    """At, below and above every threshold; the first and last words; powers of two; random ones."""
    one, table = np.uint64(1), law.table
    powers = np.uint64(1) << np.arange(64, dtype=np.uint64)
    ends = np.array([0, 1, 2, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1], dtype=np.uint64)
    some = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64)
    if len(table) > 4000:  # every threshold beyond 8 sigma, and some of the others
        far = np.arange(len(table))[np.abs(np.arange(len(table)) - len(table) / 2) > 8 * law.ratio]
        table = table[np.union1d(far, np.arange(0, len(table), len(table) // 3000))]
    around = np.concatenate([table, table - one, table + one, powers, powers - one, ends, some])
    return np.unique(np.concatenate([around, ~around]))


def by_definition(law: RoundedGaussian, words: np.ndarray) -> np.ndarray:
    return np.searchsorted(law.table, words, side="right") - len(law.table) // 2


@pytest.mark.slow
@every_law
def test_draws_are_monotone_and_symmetric_in_the_word(law):
    words = hard_words(law)
    steps = by_definition(law, words)
    assert (np.diff(steps) >= 0).all()
    assert (steps == -by_definition(law, ~words)).all()
    assert (steps[0], steps[-1]) == (-(len(law.table) // 2), len(law.table) // 2)
    assert (words[0], words[-1]) == (0, 2**64 - 1)


@pytest.mark.slow
@every_law
def test_the_compiled_look_up_at_hard_words(law):
    """The machine code itself: words of this kind cannot be reached by an address in a test."""
    below, guide, shift = numba_kernel.search(law)
    words = hard_words(law)
    found = [numba_kernel._place(word, below, guide, shift) for word in words]
    assert (np.array(found) - len(law.table) // 2 == by_definition(law, words)).all()


@every_law
def test_the_torch_look_up_at_hard_words(law):
    guide, below, bits = torch_kernel.search(law)
    words = hard_words(law)
    tables = map(torch.from_numpy, (words.view(np.int64), guide, below))
    assert (torch_kernel._steps(*tables, bits).numpy() == by_definition(law, words)).all()


@pytest.mark.full
@every_law
def test_the_compiled_torch_look_up_at_hard_words(law):
    guide, below, bits = torch_kernel.search(law)
    words = hard_words(law)
    tables = map(torch.from_numpy, (words.view(np.int64), guide, below))
    found = torch.compile(torch_kernel._steps)(*tables, bits)
    assert (found.numpy() == by_definition(law, words)).all()


@every_law
def test_one_float_for_each_integer(law):
    """All grid points that noise can reach are distinct float32, in order, also by torch."""
    half = len(law.table) // 2
    steps = np.arange(-half, law.levels + half + 1, dtype=np.int32)
    floats = to_float(steps, law.levels)
    assert (np.diff(floats) > 0).all()
    assert floats[half] == 0
    assert np.abs(floats[floats != 0]).min() > np.finfo(np.float32).tiny  # none is denormal
    scale = torch.tensor(np.float32(1 / law.levels))
    assert ((torch.from_numpy(steps).float() * scale).numpy() == floats).all()


def everything(law: RoundedGaussian) -> list[bytes]:
    """Tables, noise by the definition, by the compiled kernel and by torch, made anew."""
    for cached in (table.thresholds, numba_kernel.search, torch_kernel.search):
        cached.cache_clear()
    law = RoundedGaussian(law.sigma, law.grid)
    addresses, rows = Addresses.of(1, Stream.FRESH, np.arange(5)), np.zeros(5, dtype=np.int64)
    pixels = np.random.default_rng(0).integers(0, law.levels + 1, (1, 500), dtype=np.int32)
    out = np.empty((5, 500), np.float32)
    NoisyImages(law, 3)(addresses, pixels, rows, out)
    maker = TorchNoise(law, "cpu")
    with torch.inference_mode():
        places, clean = torch.from_numpy(stacked(addresses)), torch.from_numpy(pixels[rows])
        by_torch = maker.images(maker.seed(3), places, clean).numpy()
    made = (
        law.table,
        law.rows(3, addresses, 500),
        out,
        by_torch,
        *numba_kernel.search(law)[:2],
    )
    return [array.tobytes() for array in (*made, *torch_kernel.search(law)[:2])]


def flushing(function):
    """The result of a function in a thread that flushes denormals to zero, or None if it cannot."""
    found = []

    def run():
        if torch.set_flush_denormal(True):
            assert np.float64(1e-310) * np.float64(1) == 0
            found.append(function())

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if not found:
        pytest.skip("this processor cannot flush denormals, or the function failed there")
    return found[0]


@pytest.mark.parametrize("law", LAWS[:4], ids=NAMES[:4])
def test_flushing_denormals_changes_no_bit_of_the_noise(law):
    assert flushing(lambda: everything(law)) == everything(law)


def test_flushing_denormals_leaves_limits_where_they_are():
    """Safe as they are (test_bound_ranges has the proof of the others); the last bits may move."""
    rng = np.random.default_rng(0)
    n = (10 ** rng.uniform(0, 9, 3000)).astype(int)
    k = (n * rng.random(3000) ** 0.3).astype(int)
    alpha = 10 ** rng.uniform(-190, -0.01, 3000)

    def limits():
        return np.stack([binomial.lower(k, n, alpha), binomial.upper(k, n, alpha)])

    there, here = flushing(limits), limits()
    assert np.abs(there - here).max() < 1e-11
    radii = [law.radius(1 - alpha) for law in LAWS]
    assert (flushing(lambda: [law.radius(1 - alpha) for law in LAWS])[0] == radii[0]).all()


HALVES = (float(np.nextafter(0.5, 1)), 0.5 + 2.0**-50, 0.5 + 1e-12, 0.5000001)
ONES = (0.75, 0.999, 1 - 1e-9, 1 - 1e-15, 1 - 2.0**-52, 1 - 2.0**-53)


def quantile(q: float) -> mpf:
    """Newton's method from the float, until it stands still."""
    z, step = mpf(float(special.ndtri(q))), mpf(1)
    while abs(step) > mpf(10) ** -65:
        step = (mpmath.ncdf(z) - mpf(q)) / mpmath.npdf(z)
        z -= step
    return z


@every_law
def test_radii_are_rounded_down(law):
    with mpmath.workdps(80):
        for q in (*HALVES, *ONES):
            exact = mpf(law.sigma) * quantile(q)
            found = mpf(float(law.radius(q)))
            assert exact * (1 - mpf(10) ** -12) <= found <= exact, q


@every_law
def test_radii_with_a_runner_up_are_rounded_down(law):
    """Also where the two limits are neighbouring floats, or the runner-up's is next to nothing."""
    tiny = (1e-300, 2.3e-308, 5e-324)
    with mpmath.workdps(80):
        pairs = [(q, q) for q in (*HALVES, *ONES)]
        pairs += [(q, float(np.nextafter(q, 0))) for q in (*HALVES, *ONES)]
        pairs += [(q, p) for q in (0.3, *HALVES, *ONES) for p in (*tiny, 1e-9, 0.2)]
        for q, runner_up in pairs:
            exact = mpf(law.sigma) / 2 * (quantile(q) - quantile(runner_up))
            found = mpf(float(law.radius(q, runner_up)))
            assert 0 <= found <= max(exact, 0), (q, runner_up)
            if exact > 1e-6 * law.sigma:
                assert found >= exact * (1 - mpf(10) ** -6)


def test_radii_at_the_ends_of_probability():
    law = LAWS[0]
    assert law.radius([0.0, 5e-324, 0.5, -0.0]).tolist() == [0, 0, 0, 0]
    assert law.radius([0.0, 1.0, 0.5, 0.0], [0.0, 1.0, 1.0, 1.0]).tolist() == [0, 0, 0, 0]
    for q in (float("nan"), -1e-9, 1 + 1e-9, float("inf")):
        with pytest.raises(InvalidInput, match=r"q must be probabilities in \[0, 1\]; got"):
            law.radius(q)
        with pytest.raises(InvalidInput, match="q must be probabilities"):
            law.radius(0.9, q)


@every_law
@pytest.mark.parametrize("size", [1, 10**6])
def test_the_slack_is_that_of_every_element(law, size):
    """At least what thresholds and tails may be off in sum, exactly; and small enough to use."""
    least = size * (Fraction(len(law.table), 2**65) + 2 * Fraction(1, 2**65))
    assert Fraction(law.slack((size,))) >= least
    assert law.slack((size,)) < 2.1e-9


@pytest.mark.parametrize("size", [1, 10**6])
def test_certificates_of_one_value_and_of_a_million(size):
    """The slack is in the limit and the radius; the draws are as many as the input has values."""
    import smoothcert
    from support.known_truth import PixelSum

    images = np.full((1, 1, 1, size), 0.5)
    classifier = PixelSum(threshold=size * 8 - 1 - int(10 * np.sqrt(size)), levels=16)
    found = smoothcert.certify(
        classifier,
        smoothcert.Inputs.from_arrays(images, grid=1 / 16),
        0.25,
        n0=4,
        n=40,
        batch_size=4,
    )
    certificate = found.records[0].certificate
    limit = Fraction(float(binomial.lower(certificate.k, 40, 0.001)))
    slack = Fraction(found.settings.noise.slack((1, 1, size)))
    assert limit - slack - Fraction(1, 10**15) <= Fraction(certificate.q) <= limit - slack
    assert slack > size * Fraction(1, 2**62)
    assert certificate.radius == found.settings.noise.radius(certificate.q)
    assert certificate.radius > 0 and certificate.k > 35


@pytest.mark.slow
@pytest.mark.parametrize("n", [10**9])
def test_a_certificate_of_a_billion_draws_is_finite(n):
    """A billion votes for one class: the limit, the slack of a million values, and the radius."""
    law = RoundedGaussian(10.0, 1 / 255)
    q = float(binomial.lower(n, n, 0.001)) - law.slack((10**6,))
    with mpmath.workdps(60):
        assert 0 < float(law.radius(q)) <= mpf(10) * quantile(q) < 60
