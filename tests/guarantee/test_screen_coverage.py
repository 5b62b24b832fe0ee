"""Do dataset certificates claim too much more often than they may? On simulated data sets.

A data set counts as an error if any of its statements is false: at any radius of the curve, at
a named radius, or the mean radius. As in test_coverage.py a sound bound fails a test with
probability at most ERROR, and deliberately wrong ones must be rejected. The worlds are those
where an error is nearest: flip rates just high enough for what the adversary would do.
In the form runner-up the rates are of flips of all kinds, of draws that the limits do not count.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import optimize, stats

from smoothcert.bounds import adversary, runner_up
from smoothcert.methods import dataset as pooled
from smoothcert.methods.screening import Limits, Pool, Screening, Verdict
from smoothcert.methods.targets import MeanRadius, Target

ERROR = 1e-6
SIGMA = 0.5
ALPHA = 0.1
INPUTS = 60
RADII = np.linspace(0, 1.5, 61)
DATA_SETS = [300, pytest.param(3000, marks=pytest.mark.full)]


def rejected(errors: int, trials: int, alpha: float = ALPHA) -> bool:
    """Whether so many errors show that their rate is above alpha."""
    return stats.binom.sf(errors - 1, trials, alpha) < ERROR


@dataclass(frozen=True)
class World:
    """True probabilities of the original and flip rates of the changed model; it gains nothing."""

    p: np.ndarray
    rates: np.ndarray

    @property
    def radii(self) -> np.ndarray:
        return SIGMA * np.maximum(0, stats.norm.ppf(self.p * (1 - self.rates)))

    def pool(self, rng, n: int, alpha: float) -> Pool:
        k = rng.binomial(n, self.p)
        size = len(k)
        everything = Pool(
            SIGMA, 0.0, size, size, tuple(range(size)), tuple(k.tolist()), (n,) * size
        )
        kept = np.flatnonzero(everything.limits(alpha) > 0.5)
        columns = tuple(kept.tolist()), tuple(k[kept].tolist()), (n,) * len(kept)
        return Pool(SIGMA, 0.0, size, size, *columns)

    def flips(self, rng, pool: Pool, screening: Screening) -> list[list[int]]:
        rates = self.rates[list(pool.indices)]
        return [
            rng.binomial(size, rates).tolist() for size in np.diff([0, *screening.rounds]).tolist()
        ]


def worlds() -> dict[str, World]:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.7, 0.999, INPUTS)
    boundary = stats.norm.ppf(p)
    some = np.arange(INPUTS) % 3 == 0
    edge = 1 - stats.norm.cdf(0.25 / SIGMA) / np.full(INPUTS, 0.95) + 1e-9
    return {
        "flips near the boundary": World(p, 0.2 * np.exp(-(boundary**2) / 2) * rng.random(INPUTS)),
        "a third just lost": World(np.full(INPUTS, 0.95), np.where(some, edge, 0)),
        "all just lost": World(np.full(INPUTS, 0.95), edge),
        "the surest are capped": World(p, np.maximum(0, 1 - 0.9 / p)),
    }


WORLDS = worlds()


def overclaims(world: World, c: pooled.DatasetCertificate) -> bool:
    """Whether anything that the certificate states is false."""
    robust = (world.radii[:, None] > RADII).sum(axis=0)
    named = any(n.robust > (world.radii > n.radius).sum() for n in c.named)
    return bool(named or (c.robust(RADII) > robust).any() or c.acr > world.radii.mean())


def errors(world: World, screening: Screening, count: int, n: int = 20_000) -> int:
    found = 0
    for seed in range(count):
        rng = np.random.default_rng([7, seed])
        pool = world.pool(rng, n, screening.alpha_cache)
        flips = world.flips(rng, pool, screening)
        found += overclaims(world, pooled.certificate("", "", screening, pool, flips))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", DATA_SETS)
@pytest.mark.parametrize("name", sorted(WORLDS))
def test_all_statements_hold_together(name, count):
    screening = Screening(40, ALPHA, radii=(0.0, 0.25), groups=2)
    assert not rejected(errors(WORLDS[name], screening, count), count)


def sharp(monkeypatch) -> None:
    """Cached limits at their true values, so that what is broken is not hidden behind them."""
    monkeypatch.setattr(Pool, "limits", lambda self, alpha: np.full(self.eligible, 0.95))


def plain_mean(flips, draws, alpha) -> float:
    return float(np.sum(flips) / (len(flips) * draws)) if draws else 1.0


@pytest.mark.slow
def test_known_limits_hold_too(monkeypatch):
    """The harder case: nothing is lost to the cache, and the rates stand at their thresholds."""
    sharp(monkeypatch)
    screening = Screening(40, ALPHA, radii=(0.25,), groups=1)
    for name in ("a third just lost", "all just lost"):
        assert not rejected(errors(WORLDS[name], screening, 300), 300)


def test_an_estimate_instead_of_a_limit_is_caught(monkeypatch):
    sharp(monkeypatch)
    monkeypatch.setattr(adversary, "mean_flip_limit", plain_mean)
    count = errors(WORLDS["a third just lost"], Screening(40, ALPHA, groups=1), 300)
    assert rejected(count, 300)


def test_guesses_that_look_at_the_counts_they_test_are_caught(monkeypatch):
    sharp(monkeypatch)
    world, screening = WORLDS["all just lost"], Screening(40, ALPHA, radii=(0.25,), groups=1)
    found = 0
    for seed in range(100):
        rng = np.random.default_rng([8, seed])
        pool = world.pool(rng, 20_000, screening.alpha_cache)
        flips = np.array(world.flips(rng, pool, screening))
        peek = np.clip(flips.sum(axis=0) / 40, 0.001, 0.999)
        with monkeypatch.context() as patch:
            patch.setattr(pooled, "_guesses", lambda *_, peek=peek: peek)
            c = pooled.certificate("", "", screening, pool, flips.tolist())
        found += overclaims(world, c)
    assert rejected(found, 100)


def accepted(world: World, screening: Screening, seed: int) -> bool:
    """Screen round by round, as `screen` does, until the target is decided."""
    rng = np.random.default_rng([9, seed])
    pool = world.pool(rng, 20_000, screening.alpha_cache)
    flips = world.flips(rng, pool, screening)
    for rounds in range(len(flips) + 1):
        verdict = pooled.certificate("", "", screening, pool, flips[:rounds]).verdict
        if verdict in (Verdict.ACCEPTED, Verdict.UNREACHABLE):
            return verdict is Verdict.ACCEPTED
    return False


# At radius 0.25 forty of sixty inputs are robust: one more than that must not be accepted.
TOO_MUCH = Target(0.25, 41 / 60)
TRUE = Target(0.25, 25 / 60)


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, pytest.param(3000, marks=pytest.mark.full)])
def test_stopping_early_accepts_no_false_target_too_often(count, monkeypatch):
    sharp(monkeypatch)
    screening = Screening(60, ALPHA, groups=1, target=TOO_MUCH)
    wrong = sum(accepted(WORLDS["a third just lost"], screening, s) for s in range(count))
    assert not rejected(wrong, count)


@pytest.mark.slow
def test_stopping_early_with_an_estimate_is_caught(monkeypatch):
    sharp(monkeypatch)
    monkeypatch.setattr(adversary, "mean_flip_limit", plain_mean)
    screening = Screening(60, ALPHA, groups=1, target=TOO_MUCH)
    wrong = sum(accepted(WORLDS["a third just lost"], screening, s) for s in range(200))
    assert rejected(wrong, 200)


def test_a_true_target_is_accepted():
    screening = Screening(60, ALPHA, groups=1, target=TRUE)
    right = sum(accepted(WORLDS["a third just lost"], screening, s) for s in range(50))
    assert right >= 45


def errors_at_any_look(world: World, screening: Screening, count: int) -> int:
    """Data sets of which anything false is stated after any round, whatever would stop there."""
    found = 0
    for seed in range(count):
        rng = np.random.default_rng([11, seed])
        pool = world.pool(rng, 20_000, screening.alpha_cache)
        flips = world.flips(rng, pool, screening)
        looks = range(1, len(flips) + 1)
        stated = (pooled.certificate("", "", screening, pool, flips[:look]) for look in looks)
        found += any(overclaims(world, c) for c in stated)
    return found


TIMED = Screening(40, ALPHA, radii=(0.25,), groups=1, timed=True)
ASKED = Screening(40, ALPHA, groups=1).asking([TOO_MUCH, Target(0.0, 0.9), MeanRadius(0.3)])


@pytest.mark.slow
def test_every_look_holds_so_any_target_does(monkeypatch):
    """Also one taken of the votes themselves, as of the original's certificates; and several."""
    sharp(monkeypatch)
    for name in ("a third just lost", "all just lost"):
        assert not rejected(errors_at_any_look(WORLDS[name], ASKED, 150), 150)


@pytest.mark.slow
def test_whatever_round_time_ends_it_after(monkeypatch):
    sharp(monkeypatch)
    for name in ("a third just lost", "all just lost"):
        assert not rejected(errors_at_any_look(WORLDS[name], TIMED, 150), 150)


@pytest.mark.slow
def test_looks_at_an_estimate_are_caught(monkeypatch):
    sharp(monkeypatch)
    monkeypatch.setattr(adversary, "mean_flip_limit", plain_mean)
    assert rejected(errors_at_any_look(WORLDS["a third just lost"], ASKED, 150), 150)


@dataclass(frozen=True)
class RunnerUpWorld(World):
    """The original also gives `second` to a runner-up, to which the changed model moves `rates`."""

    second: np.ndarray

    @property
    def radii(self) -> np.ndarray:
        z, y = stats.norm.ppf(self.p - self.rates), stats.norm.ppf(self.second + self.rates)
        return SIGMA / 2 * np.maximum(0, z - y)

    def pool(self, rng, n: int, alpha: float) -> Pool:
        votes = np.array([rng.multinomial(n, [p, q, 1 - p - q]) for p, q in self.pairs])
        k, others = votes[:, 0], votes[:, 1:].max(axis=1)
        size = len(k)
        everything = Pool(
            *(SIGMA, 0.0, size, size, tuple(range(size)), tuple(k.tolist()), (n,) * size),
            form="runner-up",
            others=tuple(others.tolist()),
        )
        limits = everything.bounds(alpha)
        kept = np.flatnonzero(limits.lower > limits.upper)
        columns = {"indices": kept, "k": k[kept], "others": others[kept], "n": [n] * len(kept)}
        return replace(everything, **{name: tuple(map(int, c)) for name, c in columns.items()})

    @property
    def pairs(self) -> np.ndarray:
        return np.stack([self.p, self.second], axis=1)


FORM = "runner-up"
# What it takes from 0.6 and 0.2 to have no radius of 0.1 left, as from 0.95 and 0.03.
_AT = {
    pair: np.float64(
        optimize.brentq(
            lambda w, p=pair: stats.norm.ppf(p[0] - w) - stats.norm.ppf(p[1] + w) - 0.2 / SIGMA,
            *(0, (pair[0] - pair[1]) / 2),
        )
    )
    for pair in ((0.6, 0.2), (0.95, 0.03))
}


def runner_up_worlds() -> dict[str, RunnerUpWorld]:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.45, 0.99, INPUTS)
    q = (1 - p) * rng.uniform(0.35, 0.95, INPUTS)
    some = np.arange(INPUTS) % 3 == 0
    both = np.where(some, 0.6, 0.95), np.where(some, 0.2, 0.03)
    low, high = _AT[0.6, 0.2] + 1e-9, _AT[0.95, 0.03] + 1e-9
    same, second = np.full(INPUTS, 0.6), np.full(INPUTS, 0.2)
    return {
        "flips near both boundaries": RunnerUpWorld(p, 0.2 * (p - q) * rng.random(INPUTS), q),
        "the near third just lost": RunnerUpWorld(both[0], np.where(some, low, 0), both[1]),
        "all just lost": RunnerUpWorld(both[0], np.where(some, low, high), both[1]),
        "a third of equal ones just lost": RunnerUpWorld(same, np.where(some, low, 0), second),
    }


RUNNER_UP = runner_up_worlds()


# Fewer, as each takes five times as long: a rate of 0.33 is seen with probability 0.99, not 0.25.
@pytest.mark.slow
@pytest.mark.parametrize("count", [150, *DATA_SETS[1:]])
@pytest.mark.parametrize("name", sorted(RUNNER_UP))
def test_all_statements_against_the_runner_up_hold_together(name, count):
    screening = Screening(40, ALPHA, radii=(0.0, 0.1), groups=2, form=FORM)
    assert not rejected(errors(RUNNER_UP[name], screening, count), count)


def sharp_pair(monkeypatch, less: float = 0.0) -> None:
    """The true probabilities as limits; or the runner-up's by less than it can come to."""

    def bounds(self, alpha):
        size = self.eligible
        return Limits(SIGMA, np.full(size, 0.6), np.full(size, 0.2 - less))

    monkeypatch.setattr(Pool, "bounds", bounds)
    known, radius_sum = {}, runner_up.radius_sum

    def once(lower, upper, mean_rate, sigma):
        """Thousands of data sets have the same limits, and a few tens of numbers of flips."""
        key = lower.tobytes(), upper.tobytes(), float(mean_rate), sigma
        if key not in known:
            known[key] = radius_sum(lower, upper, mean_rate, sigma)
        return known[key]

    monkeypatch.setattr(runner_up, "radius_sum", once)


EQUAL = RUNNER_UP["a third of equal ones just lost"]


def all_of(world: RunnerUpWorld) -> RunnerUpWorld:
    return replace(world, rates=np.full(INPUTS, world.rates.max()))


@pytest.mark.slow
def test_known_limits_against_the_runner_up_hold_too(monkeypatch):
    sharp_pair(monkeypatch)
    screening = Screening(40, ALPHA, radii=(0.1,), groups=1, form=FORM)
    for world in (EQUAL, all_of(EQUAL)):
        assert not rejected(errors(world, screening, 300), 300)


def test_estimates_against_the_runner_up_are_caught(monkeypatch):
    sharp_pair(monkeypatch)
    monkeypatch.setattr(adversary, "mean_flip_limit", plain_mean)
    assert rejected(errors(EQUAL, Screening(40, ALPHA, groups=1, form=FORM), 300), 300)


def test_a_runner_up_that_gains_nothing_is_caught(monkeypatch):
    """The control: an adversary who takes from the class, and gives to no other."""
    screening = Screening(400, ALPHA, groups=1, form=FORM)
    sharp_pair(monkeypatch)
    assert not rejected(errors(all_of(EQUAL), screening, 100), 100)

    def given_to_nobody(lower, upper, sigma, radii):
        needed = stats.norm.cdf(2 * np.asarray(radii)[..., None] / sigma + stats.norm.ppf(upper))
        return np.maximum(lower - needed, 0)

    monkeypatch.setattr(runner_up, "breaking_rates", given_to_nobody)
    assert rejected(errors(all_of(EQUAL), screening, 100), 100)


def pooled_misses(chosen_by_others: bool, count: int = 300) -> int:
    """How often the mean rate of the chosen inputs is above its limit; losers always change."""
    draws, p, found = 60, 0.6, 0
    for seed in range(count):
        rng = np.random.default_rng([10, seed])
        replayed, others = rng.binomial(draws, p, 200), rng.binomial(draws, p, 200)
        chosen = (others if chosen_by_others else replayed) > draws * p
        flips = (draws - replayed)[chosen]
        found += adversary.mean_flip_limit(flips, draws, ALPHA) < 1 - p
    return found


def test_replayed_draws_that_chose_their_inputs_are_caught():
    """Why limits, inputs and groups are of other draws than are replayed in this form.

    An input with many winners has few losers: given its counts, the flips of its draws of all
    kinds have another mean than the flip rate. Draws that all voted for the class have not.
    """
    assert not rejected(pooled_misses(True), 300)
    assert rejected(pooled_misses(False), 300)
