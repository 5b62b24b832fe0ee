"""Dataset certificates through the whole engine, on classifiers with known truth."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.api.screen import screen
from smoothcert.certificate import Votes
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.methods import dataset as pooled
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Pool, Screening, Verdict
from smoothcert.methods.targets import Target, parse_target
from support.known_truth import LEVELS, PixelSum, probability_above

SIGMA = 0.25
RADII = np.linspace(0, 0.6, 61)


@pytest.fixture(scope="module")
def data() -> Inputs:
    """120 inputs from barely to safely above the threshold; ten have the other label."""
    images = np.full((120, 1, 2, 2), 8 / LEVELS)
    images[40:80] = 9 / LEVELS
    images[80:] = 11 / LEVELS
    labels = np.ones(120, int)
    labels[:10] = 0
    return Inputs.from_arrays(images, labels, 1 / LEVELS)


@pytest.fixture(scope="module")
def base(data):
    return smoothcert.certify(PixelSum(27), data, SIGMA, n0=50, n=1000, seed=1)


def true_accuracy(threshold: int, data: Inputs, radii) -> np.ndarray:
    """The share of inputs with the right class and a radius of at least each radius, exactly."""
    p = np.array([probability_above(threshold, item.pixels, SIGMA) for item in data])
    p = np.where(np.array(data.labels) == 1, p, 1 - p)
    return (SIGMA * stats.norm.ppf(p)[:, None] >= radii).mean(axis=0)


def true_acr(threshold: int, data: Inputs) -> float:
    p = np.array([probability_above(threshold, item.pixels, SIGMA) for item in data])
    p = np.where(np.array(data.labels) == 1, p, 1 - p)
    return float(SIGMA * np.maximum(0, stats.norm.ppf(p)).mean())


@pytest.mark.slow
def test_the_same_model_again_never_flips(base, data):
    (c,) = screen(base, [PixelSum(27)], data, per_input=100)
    assert c.flips == ((0,) * c.pool.eligible,)
    assert c.evaluations == 100 * c.pool.eligible
    assert [g.flips for g in c.groups] == [0] * 4
    assert c.verdict is None
    # Nothing flips, so what is lost is lost to the limits: most of the truth is proven.
    assert true_acr(27, data) * 0.6 < c.acr < true_acr(27, data)


@pytest.mark.parametrize("threshold", [25, 27, 29, 31])
def test_never_more_than_the_truth(threshold, base, data):
    (c,) = screen(base, [PixelSum(threshold)], data, per_input=200, radii=(0.0, 0.1, 0.3))
    assert (c.certified_accuracy(RADII) <= true_accuracy(threshold, data, RADII)).all()
    assert 0 < c.acr <= true_acr(threshold, data)
    for named in c.named:
        assert named.robust <= round(120 * true_accuracy(threshold, data, named.radius)[0])
        assert c.robust(named.radius) >= named.robust


def test_the_curve_falls_and_named_radii_lift_it(base, data):
    (plain,) = screen(base, [PixelSum(29)], data, per_input=200)
    (c,) = screen(base, [PixelSum(29)], data, per_input=200, radii=(0.1,))
    assert (np.diff(c.certified_accuracy(RADII)) <= 0).all()
    assert c.robust(0.1) > plain.robust(0.1)
    assert c.robust(0.05) >= c.robust(0.1)


def test_mean_radius_and_curve_fit_together(base, data):
    """One adversary for all radii is weaker than one for each: the sum beats the integral."""
    (c,) = screen(base, [PixelSum(28)], data, per_input=200)
    radii = np.linspace(0, 1.5, 3001)
    integral = c.certified_accuracy(radii)[1:].sum() * radii[1]
    assert integral <= c.acr <= true_acr(28, data)


def test_replays_the_first_draws_that_voted_for_the_class(base, data):
    """An oracle counts flips from all labels of the new model."""
    from smoothcert.noise.law import Stream
    from smoothcert.sampling.batches import Request
    from smoothcert.sampling.engine import sample

    (c,) = screen(base, [PixelSum(29)], data, per_input=50)
    for index, flips in zip(c.pool.indices[::20], c.flips[0][::20], strict=True):
        old = base.records[index].votes.estimation
        request = Request(data.item(index), Stream.ESTIMATION, range(1000))
        (new,) = sample(PixelSum(29), [request], base.settings.noise, 1, 64)
        assert flips == (new[np.flatnonzero(old == 1)[:50]] != 1).sum()


def test_batches_and_progress(base, data):
    seen = []
    (c,) = screen(base, [PixelSum(29)], data, per_input=30, batch_size=64, progress=seen.append)
    assert sum(seen) == c.evaluations
    assert set(seen[:-1]) == {64}  # draws of many inputs in one batch
    assert c == screen(base, [PixelSum(29)], data, per_input=30)[0]


def test_what_counts(data):
    """Only inputs with the right class, and the cached limits of all of them at once."""
    base = smoothcert.certify(PixelSum(27), data, SIGMA, n0=50, n=80, seed=1)
    pool = Pool.of(base, data.labels, 0.001)
    right = [c for c in base.certificates if c.candidate == data.labels[c.index]]
    assert (pool.inputs, pool.matching) == (120, len(right))
    assert set(pool.indices) < {c.index for c in right}
    c = next(c for c in right if c.index == pool.indices[-1])
    from smoothcert.bounds import binomial

    assert pool.limits(0.001)[-1] == pytest.approx(
        float(binomial.lower(c.k, c.n, 0.001 / len(right))), abs=1e-9
    )
    assert pool.limits(0.001)[-1] < binomial.lower(c.k, c.n, 0.001 / len(right))
    assert (pool.limits(0.001) > 0.5).all()


def test_groups_are_of_similar_vote_share(base, data):
    pool = Pool.of(base, data.labels, 0.001)
    blocks = pool.blocks(4)
    share = np.array(pool.k) / np.array(pool.n)
    assert sorted(np.concatenate(blocks)) == list(range(pool.eligible))
    for low, high in pairwise(blocks):
        assert share[low].max() <= share[high].min()
    assert len(pool.blocks(100)) == pool.eligible // 25


def test_certificates_are_told_apart_by_the_screening_that_they_are_of(base, data):
    """Its candidates share one alpha; others, of as many candidates or at another alpha, do not."""
    a, b = screen(base, [PixelSum(27), PixelSum(28)], data, per_input=50)
    c, d = screen(base, [PixelSum(29), PixelSum(30)], data, per_input=50)
    (again,) = screen(base, [PixelSum(27)], data, per_input=50)
    assert pooled.screenings([a, b]) == ((a, b),)
    assert pooled.screenings([a, b, b, a]) == ((a, b),)
    assert pooled.screenings([a, b, c, d]) == ((a, b), (c, d))
    assert pooled.screenings([a, again, b]) == ((a, b), (again,))
    one, two = (screen(base, [PixelSum(t)], data, per_input=50)[0] for t in (28, 29))
    assert pooled.screenings([one, two, one]) == ((one,), (two,))
    assert pooled.screenings([]) == ()


def test_many_candidates_share_the_budget(base, data):
    thresholds = (30, 27, 29)
    many = screen(base, [PixelSum(t) for t in thresholds], data, per_input=100, radii=(0.1,))
    (alone,) = screen(base, [PixelSum(30)], data, per_input=100, radii=(0.1,))
    assert [c.fingerprint for c in many] == [f"pixel-sum-{t}" for t in thresholds]
    assert dict(many[0].screening.budget) == pytest.approx(
        {
            "cache": 0.001,
            "pooled flips": 0.001 / 6,
            "radius 0.1": 0.001 / 6,
            "other candidates": 0.002 / 3,
        }
    )
    assert sum(dict(alone.screening.budget).values()) == pytest.approx(0.002)
    assert many[0].flips == alone.flips
    assert many[0].acr < alone.acr
    best = pooled.ranked(many)
    assert [c.fingerprint[-2:] for c in best] == ["27", "29", "30"]
    assert [c.fingerprint[-2:] for c in pooled.ranked(many, 0.1)] == ["27", "29", "30"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "accept",
    [
        *(None, "ca@0.1>=0.3", "ca@0.3>=0.5", "acr>=0.02", "ca@0.1>=base-20%"),
        ["acr>=0.9*base", "ca@0.1>=base-20%", "ca@0.05>=0.3"],
    ],
)
def test_recheck_and_json(accept, base, data):
    for c in screen(base, [PixelSum(28), PixelSum(33)], data, radii=(0.2,), accept=accept):
        assert pooled.recheck(c) == c
        text = json.dumps(c.to_json())
        assert DatasetCertificate.from_json(json.loads(text)) == c
        better = tuple(tuple(0 for _ in row) for row in c.flips)
        if any(map(any, c.flips)):
            assert pooled.recheck(replace(c, flips=better)) != c


def test_a_target_is_accepted_early(base, data):
    easy, hard = (
        screen(base, [PixelSum(threshold)], data, per_input=200, accept="ca@0.1>=0.6")[0]
        for threshold in (27, 28)
    )
    assert (easy.verdict, hard.verdict) == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert easy.evaluations < hard.evaluations < 200 * hard.pool.eligible
    assert easy.certified_accuracy(0.1) >= 0.6


def test_a_target_relative_to_the_original_is_of_its_own_certificates(base, data):
    right = [c.predicted == label for c, label in zip(base.certificates, data.labels, strict=True)]
    count = sum(r and c.radius >= 0.1 for c, r in zip(base.certificates, right, strict=True))
    (c,) = screen(base, [PixelSum(27)], data, per_input=200, accept="ca@0.1>=base-20%")
    assert c.screening.target.needed(120) <= count - 24 < c.screening.target.needed(120) + 1
    assert (c.verdict, c.named[0].robust >= count - 24) == (Verdict.ACCEPTED, True)
    radii = [c.radius for c, r in zip(base.certificates, right, strict=True) if r and c.radius > 0]
    (c,) = screen(base, [PixelSum(27)], data, per_input=200, accept="acr>=60%*base")
    assert c.screening.targets[0].least == pytest.approx(0.6 * sum(radii) / 120)
    assert c.verdict is (Verdict.ACCEPTED if c.acr >= 0.6 * sum(radii) / 120 else Verdict.UNDECIDED)


def test_all_of_several_targets_must_be_proven(base, data):
    def verdicts(*accept):
        (c,) = screen(base, [PixelSum(28)], data, per_input=200, accept=accept)
        return c.verdict, [verdict for _, verdict in pooled.verdicts(c)]

    easy, mean, hard = "ca@0.1>=0.5", "acr>=0.02", "ca@0.1>=0.9"
    assert verdicts(easy, mean) == (Verdict.ACCEPTED, [Verdict.ACCEPTED] * 2)
    assert verdicts(hard, mean)[0] is Verdict.UNREACHABLE
    assert verdicts(mean) == (Verdict.ACCEPTED, [Verdict.ACCEPTED])
    assert verdicts("acr>=0.9") == (Verdict.UNREACHABLE, [Verdict.UNREACHABLE])
    assert [one for one in Verdict if one] == [Verdict.ACCEPTED]


@pytest.mark.slow
@pytest.mark.parametrize(
    "further", [5, "ab", [5], [{"least": "x"}], [{"least": None}], [{"least": 1e999}], [{"a": 1}]]
)
def test_further_targets_of_a_stranger_are_refused(further, base, data):
    from smoothcert.runs.validation import UNREADABLE

    (c,) = screen(base, [PixelSum(28)], data, per_input=20, accept=["acr>=0.02", "ca@0.1>=0.5"])
    row = json.loads(json.dumps(c.to_json()))
    assert row["screening"]["further"] == [{"least": 0.02}]
    row["screening"]["further"] = further
    with pytest.raises(UNREADABLE):
        DatasetCertificate.from_json(row)


def test_further_targets_are_another_question(base):
    """The ledger tells screenings apart by all that they ask."""
    from smoothcert.execution.screener import asked

    one = Screening(100, target=Target(0.1, 0.5))
    keys = {
        asked("m", some, 1).key
        for some in (one, replace(one, further=(Target(0.2, 0.5),)), replace(one, form="auto"))
    }
    assert len(keys) == 3


def test_a_target_out_of_reach_stops(base, data):
    (at_once,) = screen(base, [PixelSum(27)], data, accept="ca@0.1>=0.95")
    assert (at_once.verdict, at_once.evaluations) == (Verdict.UNREACHABLE, 0)
    assert (at_once.acr, at_once.certified_accuracy(0.0)) == (0, 0)
    (later,) = screen(base, [PixelSum(33)], data, per_input=200, accept="ca@0.3>=0.3")
    assert later.verdict is Verdict.UNREACHABLE
    assert 0 < later.evaluations < 200 * later.pool.eligible
    (spent,) = screen(base, [PixelSum(29)], data, per_input=50, accept="ca@0.1>=0.6")
    assert spent.verdict is Verdict.UNDECIDED
    assert spent.evaluations == 50 * spent.pool.eligible


def test_no_flips_are_the_best_that_can_still_happen(base, data):
    """UNREACHABLE is said only where no later counts could have proven the target."""
    rng = np.random.default_rng(0)
    screening = Screening(64, target=Target(0.1, 0.5))
    pool = Pool.of(base, data.labels, screening.alpha_cache)
    sizes = np.diff([0, *screening.rounds])
    assert len(sizes) == 5
    first = [rng.binomial(size, 0.05, pool.eligible) for size in sizes[:2]]
    zeros = [np.zeros(pool.eligible, int)] * 3
    best = pooled.certificate("", "", screening, pool, [*first, *zeros])
    for rate in (0.001, 0.01, 0.1):
        later = [rng.binomial(size, rate, pool.eligible) for size in sizes[2:]]
        other = pooled.certificate("", "", screening, pool, [*first, *later])
        assert (other.robust(RADII) <= best.robust(RADII)).all()
        assert other.acr <= best.acr


def test_one_round_unless_something_learns_from_rounds():
    assert Screening(100).rounds == (100,)
    assert Screening(100, radii=(0.5,)).rounds == (6, 12, 25, 50, 100)
    assert Screening(1, radii=(0.5,)).rounds == (1,)
    assert Screening(100, radii=(0.5,)).looks == 1
    assert Screening(100, target=Target(0.5, 0.4)).looks == 5
    assert Screening(9, radii=(0.5, 0.25), target=Target(0.5, 0.4)).named == (0.25, 0.5)


def test_nothing_eligible_costs_nothing(data):
    base = smoothcert.certify(PixelSum(27), data, SIGMA, n=12)
    (c,) = screen(base, [PixelSum(27)], data, per_input=100, radii=(0.1,))
    assert (c.pool.eligible, c.evaluations, c.acr) == (0, 0, 0)
    assert c.certified_accuracy(RADII).max() == 0
    assert pooled.recheck(c) == c


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("ca@0.5>=0.40", Target(0.5, 0.4)),
        ("ca@0>=1", Target(0.0, 1.0)),
        (" ca @ .25 >= 5e-1 ", Target(0.25, 0.5)),
    ],
)
def test_targets_are_read(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.4", "a target reads like 'ca@0.5>=0.40'"),
        ("ca@0.5>0.4", "a target reads like"),
        ("ca@0.5>=", "a target reads like"),
        ("ca@>=0.5", "a target reads like"),
        ("acr@0.5>=0.4", "a target reads like"),
        ("ca@0.5>=40", r"the target's accuracy must be in \(0, 1\]; got 40.0; .* write 40%"),
        ("ca@0.5>=0", "the target's accuracy must be"),
        ("ca@0.5>=nan", "the target's accuracy must be"),
        ("ca@-1>=0.4", "the target's radius must be a number >= 0; got -1"),
        ("ca@inf>=0.4", "the target's radius must be a number >= 0; got inf"),
    ],
)
def test_other_texts_are_refused(text, message, base, data):
    with pytest.raises(InvalidInput, match=message):
        screen(base, [PixelSum(27)], data, accept=text)


def test_targets_count_exactly():
    """0.07 of 100 inputs are 7, though 0.07 * 100 is above 7 in floats."""
    assert Target(0.0, 0.07).needed(100) == 7
    assert 7 / 100 * 100 > 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_input": 0}, "per_input must be a whole number"),
        ({"per_input": 999}, "cached draws of its class, of which 999 cannot be replayed"),
        ({"alpha": 0}, "alpha is an error probability"),
        ({"radii": (-0.5,)}, "radii must be numbers >= 0"),
        ({"groups": 0}, "groups must be a whole number"),
    ],
)
def test_bad_settings(options, message, base, data):
    with pytest.raises(InvalidInput, match=message):
        screen(base, [PixelSum(27)], data, **options)


def test_nothing_to_screen_and_no_labels(base, data):
    with pytest.raises(InvalidInput, match="give at least one classifier"):
        screen(base, [], data)
    with pytest.raises(InvalidInput, match="array has no labels"):
        screen(base, [PixelSum(27)], replace(data, labels=None))
    with pytest.raises(InvalidInput, match="has the label 5"):
        screen(base, [PixelSum(27)], replace(data, labels=(5,) * 120))


def test_other_inputs_are_refused(base, data):
    other = Inputs.from_arrays(np.full((120, 1, 2, 2), 0.5), np.ones(120, int), 1 / LEVELS)
    with pytest.raises(Mismatch, match="are not those the original was certified on"):
        screen(base, [PixelSum(27)], other)
    with pytest.raises(Mismatch, match=r"\(5 given, 120 certified\)"):
        screen(base, [PixelSum(27)], data.select(range(5)))
    grid = Inputs.from_arrays(np.full((120, 1, 2, 2), 0.5), np.ones(120, int), 1 / 32)
    with pytest.raises(Mismatch, match="certified on the grid 1/16; the inputs are on 1/32"):
        screen(base, [PixelSum(27)], grid)


def test_other_classes_are_refused(base, data):
    class Three(PixelSum):
        def logits(self, images):
            return np.concatenate([super().logits(images), np.full((len(images), 1), -9)], axis=1)

    with pytest.raises(Mismatch, match="The original has 2 classes and the new classifier 3"):
        screen(base, [Three(28)], data)


def test_a_recertified_or_damaged_base_is_refused(base, data):
    again = smoothcert.recertify(base, PixelSum(28), data, per_input=100)
    with pytest.raises(Mismatch, match="must be a certification from scratch"):
        screen(again, [PixelSum(27)], data, per_input=10)
    (first, *others) = base.records
    early = replace(first, certificate=replace(first.certificate, method="sequential"))
    with pytest.raises(Mismatch, match="neither recertified nor stopped early"):
        screen(replace(base, records=(early, *others)), [PixelSum(27)], data, per_input=10)
    record = base.records[-1]
    broken = replace(record, votes=Votes(estimation=np.zeros(1000, np.int32)))
    damaged = replace(base, records=(*base.records[:-1], broken))
    with pytest.raises(Mismatch, match="Input 119 has 0 cached votes for its class"):
        screen(damaged, [PixelSum(27)], data, per_input=10)
