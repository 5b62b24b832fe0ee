"""From votes to decisions of one radius, and through the engine."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.api.certify import as_inputs
from smoothcert.api.decide import decide
from smoothcert.bounds import betting
from smoothcert.certificate import ABSTAIN, Certificate, Outcome, Settings, Votes
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import run_decide
from smoothcert.methods import Case, sequential, stopping
from smoothcert.methods.sequential import Decision
from smoothcert.methods.stopping import Seen
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from smoothcert.sampling.sampler import Sampler
from support.known_truth import LEVELS, PixelBins, PixelSum, probability_above

SIGMA = 0.25
SETTINGS = Settings(SIGMA, 255, n0=10, n=1000)
DECISION = Decision(0.2)  # Phi(0.8) = 0.788
TRUTH = probability_above(28, np.full(4, 8), SIGMA)


def votes(selection, estimation):
    return Votes(selection=np.array(selection, np.int32), estimation=np.array(estimation, np.int32))


def certificate(v, decision=DECISION, settings=SETTINGS):
    return sequential.certificate(0, "c", v, decision, settings, (1, 2, 2), 2)


def radius_at(p: float) -> float:
    return float(SIGMA * stats.norm.ppf(p))


def test_proven_at_the_first_draw_that_shows_it():
    c = certificate(votes([1] * 10, [1] * 1000))
    p, seen = stats.norm.cdf(0.8), (10, 10)
    first = next(t for t in range(1, 1000) if betting.rejects(t, t, p, 0.001, *seen))
    assert (c.outcome, c.radius, c.predicted) == (Outcome.CERTIFIED, 0.2, 1)
    assert (c.k, c.n, c.method) == (first, first, "sequential")
    assert c.q == pytest.approx(betting.lower(first, first, 0.001, *seen), abs=1e-9)
    assert c.q >= stats.norm.cdf(0.8) - 1e-12
    assert SETTINGS.noise.radius(c.q) >= c.radius
    assert c.budget == (("sequential", 0.001),)


def test_excluded_at_the_first_draw_that_shows_it():
    c = certificate(votes([1] * 10, [1, 0] * 500))
    counts, p = [(t // 2 + t % 2, t) for t in range(1, 1001)], stats.norm.cdf(0.8)
    rejected = [(k, t) for k, t in counts if betting.rejects(k, t, p, 0.001, 10, 10)]
    assert (c.outcome, c.radius, c.predicted) == (Outcome.EXCLUDED, 0.0, ABSTAIN)
    assert (c.k, c.n) == rejected[0]
    assert betting.upper(c.k, c.n, 0.001, 10, 10) < p
    assert "does not prove that an attack exists" in c.outcome.value
    assert f"{c.k} of {c.n} draws voted for class 1" in c.explain(SIGMA)


def test_undecided_when_the_draws_run_out():
    c = certificate(votes([1] * 10, [1, 1, 1, 1, 0] * 200))
    assert (c.outcome, c.radius, c.predicted) == (Outcome.UNDECIDED, 0.0, ABSTAIN)
    assert (c.k, c.n, c.evaluations) == (800, 1000, 1010)
    assert 0.7 < c.q < 0.8


def test_what_follows_the_decision_changes_nothing():
    short = certificate(votes([1] * 10, [1] * 100))
    assert short.n < 100
    assert certificate(votes([1] * 10, [1] * 100 + [0] * 900)) == short
    undecided = [1, 1, 1, 1, 0] * 200
    assert certificate(votes([1], undecided + [0] * 500)) == certificate(votes([1], undecided))


def test_looks_cost_evaluations_and_change_nothing_else():
    v = votes([1] * 10, [1] * 200)
    c = certificate(v)
    every = certificate(v, replace(DECISION, first=1, growth=1.0001))
    late = certificate(v, replace(DECISION, first=500))
    assert every == replace(c, evaluations=10 + c.n)
    assert late == replace(c, evaluations=10 + 500)
    assert certificate(v, replace(DECISION, first=5000)).evaluations == 10 + SETTINGS.n


def test_draws_without_a_class_count_against():
    with_none = certificate(votes([1] * 10, [1, -1] * 500))
    assert with_none == certificate(votes([1] * 10, [1, 0] * 500))
    assert certificate(votes([-1] * 10, [-1] * 100)).outcome is Outcome.EXCLUDED


def test_radius_zero_asks_for_the_class():
    c = certificate(votes([1] * 10, [1] * 30), Decision(0.0))
    assert (c.outcome, c.predicted, c.radius) == (Outcome.CERTIFIED, 1, 0.0)
    assert c.q > 0.5


@pytest.mark.parametrize("radius", [0.0, 1e-300, 1e-9, 0.1, 0.25, 0.3333, 0.5])
def test_thresholds_lie_outside_the_exact_probability(radius):
    import mpmath

    mpmath.mp.dps = 50
    exact = mpmath.ncdf(mpmath.mpf(radius) / mpmath.mpf(SIGMA))
    for shape in ((1,), (3, 224, 224)):
        found = stopping.binary(radius, SETTINGS, shape)
        slack = mpmath.mpf(SETTINGS.noise.slack(shape))
        assert exact + slack <= found.proves < exact + slack + mpmath.mpf("1e-11")
        assert exact - slack >= found.excludes > exact - slack - mpmath.mpf("1e-11")


def test_slack_moves_both_thresholds():
    """In enormous dimension the gap between them is twice the law's slack."""
    far = stopping.binary(DECISION.radius, SETTINGS, (10**9,))
    slack = SETTINGS.noise.slack((10**9,))
    assert far.proves - far.excludes == pytest.approx(2 * slack, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("p0", "outcome"), [(0.5, Outcome.CERTIFIED), (0.85, Outcome.EXCLUDED), (TRUTH, None)]
)
def test_decide_where_the_truth_is_known(p0, outcome, tiny_inputs, pixel_sum):
    result = decide(pixel_sum, tiny_inputs, SIGMA, radius_at(p0), n0=50, n=2000, seed=3)
    outcomes = [c.outcome for c in result.certificates]
    assert outcomes.count(outcome or Outcome.UNDECIDED) >= 25
    assert result.method == Decision(radius_at(p0))
    for record in result.records:
        old = record.certificate
        again = sequential.certificate(
            old.index, old.content, record.votes, result.method, result.settings, result.shape, 2
        )
        assert again == old
        assert len(record.votes.estimation) == old.n
        assert Certificate.from_json(old.to_json()) == old


@pytest.mark.slow
def test_a_decision_depends_on_its_own_draws_only(tiny_inputs, pixel_sum):
    radius = radius_at(0.55)
    result = decide(pixel_sum, tiny_inputs, SIGMA, radius, n=2000)
    seen = []
    again = decide(
        pixel_sum, tiny_inputs, SIGMA, radius, n=2000, batch_size=7, progress=seen.append
    )
    assert again.records == result.records
    assert sum(seen) == result.evaluations
    alone = decide(pixel_sum, tiny_inputs.select([4]), SIGMA, radius, n=2000)
    assert alone.records == result.records[4:5]
    sampler = Sampler(pixel_sum, result.settings, 2, 256)
    fine = Decision(radius, first=3, growth=1.01).records(sampler, map(Case, tiny_inputs))
    for a, b in zip(fine, result.records, strict=True):
        assert a.votes == b.votes
        assert replace(a.certificate, evaluations=b.certificate.evaluations) == b.certificate


def test_the_draws_are_those_of_certify(tiny_inputs, pixel_sum):
    result = decide(pixel_sum, tiny_inputs, SIGMA, radius_at(0.55), n=500)
    full = smoothcert.certify(pixel_sum, tiny_inputs, SIGMA, n=500)
    for a, b in zip(result.records, full.records, strict=True):
        assert (a.votes.selection == b.votes.selection).all()
        assert (a.votes.estimation == b.votes.estimation[: a.certificate.n]).all()


def test_labels_are_never_seen(tiny_inputs, pixel_sum):
    other = replace(tiny_inputs, labels=(0,) * 30)
    a = decide(pixel_sum, tiny_inputs, SIGMA, 0.05, n=300)
    b = decide(pixel_sum, other, SIGMA, 0.05, n=300)
    assert a.records == b.records


def test_it_takes_far_fewer_draws_than_a_fixed_number():
    """Against the usual 10,000, and all 40 are decided; -s prints the averages."""
    data = Inputs.from_arrays(np.full((40, 1, 2, 2), 8 / LEVELS), grid=1 / LEVELS)
    for threshold, p0 in ((18, 0.85), (24, 0.7), (28, 0.85)):
        p = probability_above(threshold, np.full(4, 8), SIGMA)
        result = decide(PixelSum(threshold), data, SIGMA, radius_at(p0), n=10_000)
        expected = Outcome.CERTIFIED if p > p0 else Outcome.EXCLUDED
        assert {c.outcome for c in result.certificates} == {expected}
        draws = np.mean([c.n for c in result.certificates])
        spent = result.evaluations / len(data) - 100
        print(f"p {p:.3f} against {p0}: {draws:.0f} draws, {spent:.0f} evaluated, of 10000")
        assert draws <= spent < 1.4 * draws + 32
        assert spent < 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": -0.1}, "radius must be a finite l2 radius >= 0 .* got -0.1"),
        ({"radius": float("nan")}, "radius must be a finite l2 radius"),
        ({"radius": float("inf")}, "radius must be a finite l2 radius"),
        ({"radius": 1.5}, r"out of reach at sigma 0.25: even 100000 votes .* prove only 0.9"),
        ({"n": 5}, r"radius 0.1 is out of reach .* n = 5 draws prove only 0\. Ask"),
        ({"n": 0}, "n must be a whole number from 1 to 10.9; got 0"),
        ({"n0": -1}, "n0 must be a whole number"),
        ({"alpha": 1.5}, "alpha is an error probability"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"sigma": -1.0}, "sigma must be a positive number"),
    ],
)
def test_bad_settings(change, message, tiny_inputs, pixel_sum):
    arguments = {"sigma": SIGMA, "radius": 0.1, **change}
    with pytest.raises(InvalidInput, match=message):
        decide(pixel_sum, tiny_inputs, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": 0}, "first must be a whole number from 1"),
        ({"growth": 1.0}, "growth must be a finite factor above 1; got 1.0"),
        ({"growth": float("inf")}, "growth must be a finite factor above 1"),
        ({"prior": "cache"}, "prior must be selection or none; got 'cache'"),
        ({"prior": None}, "prior must be selection or none; got None"),
    ],
)
def test_bad_looks(change, message):
    with pytest.raises(InvalidInput, match=message):
        Decision(0.1, **change)


def test_the_multiclass_form_is_refused():
    with pytest.raises(
        InvalidInput, match="takes the form binary, runner-up or auto; got 'multiclass'"
    ):
        DECISION.check(replace(SETTINGS, form="multiclass"), (1, 2, 2))


def test_arrays_are_taken_as_they_are():
    images = np.full((1, 1, 2, 2), 128, np.uint8)
    result = decide(PixelSum(100, levels=255), images, SIGMA, 0.1, n=300)
    assert result.shape == as_inputs(images).shape
    assert result.settings.levels == 255


KINDS = PixelBins((20, 40, 46))
CLASSES = 4


def forms(form, **changes):
    return replace(SETTINGS, form=form, **changes)


def several(v, form="runner-up", decision=DECISION, **changes):
    return sequential.certificate(0, "c", v, decision, forms(form, **changes), (1, 2, 2), CLASSES)


def test_the_runner_up_proves_what_the_rest_as_one_class_cannot():
    """0.6 against 0.15: 0.16 by the runner-up, 0.06 by 1 - q."""
    shared = votes([1] * 6 + [0, 2, 3], ([1] * 12 + [0] * 3 + [2] * 3 + [3] * 2) * 50)
    asked = Decision(0.1)
    c = several(shared, decision=asked)
    assert (c.outcome, c.radius, c.predicted) == (Outcome.CERTIFIED, 0.1, 1)
    assert c.budget == (("candidate", 0.0005), ("other classes", 0.0005))
    assert c.n < 1000
    counts = np.bincount(shared.estimation[: c.n])
    assert c.q == pytest.approx(betting.lower(counts[1], c.n, 0.0005, 6, 9), abs=1e-9)
    most = max(counts[0], counts[2], counts[3])
    assert c.runner_up == pytest.approx(betting.upper(most, c.n, 0.0005, 1, 9), abs=1e-9)
    assert SETTINGS.radius(c.q, c.runner_up) >= 0.1
    before = several(votes(shared.selection, shared.estimation[: c.n - 1]), decision=asked)
    assert before.outcome is Outcome.UNDECIDED
    assert SETTINGS.radius(before.q, before.runner_up) < 0.1
    assert several(shared, "binary", asked).outcome is Outcome.UNDECIDED
    assert several(shared, "auto", asked) == c


def test_excluded_by_the_class_that_the_selection_draws_name():
    close = [1, 2] * 500
    c = several(votes([1] * 6 + [2] * 4, close))
    assert (c.outcome, c.radius, c.predicted) == (Outcome.EXCLUDED, 0.0, ABSTAIN)
    k = betting.upper(c.k, c.n, 0.0005, 6, 10)
    most = betting.lower(c.n - c.k, c.n, 0.0005, 4, 10)
    assert SIGMA / 2 * (stats.norm.ppf(k) - stats.norm.ppf(most)) < 0.2
    # 3 has no votes: beside it nothing is excluded.
    assert several(votes([1] * 6 + [3] * 4, close)).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize("form", ["runner-up", "auto"])
def test_two_classes_and_one(form):
    v = votes([1] * 10, [1] * 400)
    alone = sequential.certificate(0, "c", v, DECISION, forms(form), (1, 2, 2), 1)
    assert alone == certificate(v)
    pair = sequential.certificate(0, "c", v, DECISION, forms(form), (1, 2, 2), 2)
    assert (pair == certificate(v)) is (form == "auto")
    assert pair.outcome is Outcome.CERTIFIED


def test_auto_takes_the_form_that_is_expected_to_prove_first():
    clear, close = [1] * 1000, [1] * 6 + [0, 2, 2, 3]
    estimation = [1] * 380 + [0] * 20
    for selection, form in ((clear, "binary"), (close, "runner-up")):
        v = votes(selection, estimation)
        assert several(v, "auto", Decision(0.1)) == several(v, form, Decision(0.1))


@pytest.mark.parametrize("form", ["binary", "runner-up", "auto"])
def test_no_draws_decide_nothing(form):
    c = several(votes([1] * 10, []), form)
    assert (c.outcome, c.n, c.q, c.runner_up) == (Outcome.UNDECIDED, 0, 0.0, 1.0)


def test_votes_by_class_are_counted_without_an_array_of_draws_by_classes():
    rng = np.random.default_rng(2)
    labels = rng.integers(-1, 40, 3000).astype(np.int32)
    found = stopping.Tally.of(labels, 3, 7)
    by_class = np.cumsum(labels[:, None] == np.arange(40), axis=0)
    assert (found.hits == by_class[:, 3]).all()
    assert (found.rival == by_class[:, 7]).all()
    assert (found.others == np.delete(by_class, 3, axis=1).max(axis=1)).all()
    empty = stopping.Tally.of(np.empty(0, np.int32), 3, 7)
    assert len(empty.draws) == len(empty.others) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seen", [Seen(), Seen(9, 1, 10), Seen(400, 300, 1000), Seen(100, 0, 100)])
@pytest.mark.parametrize("alpha", [0.001, 0.3])
@pytest.mark.parametrize("radius", [0.0, 0.2, 0.6])
def test_no_draw_that_decides_is_passed_over(radius, alpha, seen):
    """Against the limits computed at every draw."""
    test = stopping.runner_up(radius, forms("runner-up", alpha=alpha), (1, 2, 2))
    test = replace(test, seen=seen)
    rng = np.random.default_rng(3)
    for law in rng.dirichlet((1, 1, 1, 0.3), 40):
        labels = rng.choice(4, 600, p=law).astype(np.int32)
        tally = stopping.Tally.of(labels, 0, 1)
        decided = np.logical_or(*test.crossings(tally))
        assert test.first(tally) == (int(decided.argmax()) if decided.any() else None)


@pytest.mark.parametrize("radius", [0.0, 1e-9, 0.2, 0.6])
def test_both_sides_are_rounded_outward(radius):
    """The radius that limits allow, to 50 digits."""
    import mpmath

    mpmath.mp.dps = 50
    test = stopping.runner_up(radius, forms("runner-up", off_grid=1e-3), (3, 224, 224))
    assert mpmath.mpf(test.below) < mpmath.mpf(radius) + mpmath.mpf(1e-3) < mpmath.mpf(test.radius)
    slack, sigma = mpmath.mpf(test.slack), mpmath.mpf(SIGMA)

    def quantile(p):
        return mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1)

    for hits, others, rival in ((700, 200, 200), (990, 4, 3), (400, 390, 100)):
        tally = stopping.Tally(*(np.array(count) for count in (hits, others, rival, 1000)))
        most = mpmath.mpf(float(betting.upper(hits, 1000, 0.0005))) + slack
        least = mpmath.mpf(float(betting.lower(rival, 1000, 0.0005))) - slack
        exact = sigma / 2 * (quantile(most) - quantile(least))
        assert exact < test.highest(tally) < exact + mpmath.mpf("1e-9")
        q, other = test.lowest(tally)
        assert q < float(betting.lower(hits, 1000, 0.0005))
        assert other > min(float(betting.upper(others, 1000, 0.0005)), 1 - q)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["runner-up", "auto"])
def test_runs_of_several_classes(form, tiny_inputs, tmp_path):
    settings = forms(form, levels=LEVELS, n0=50, n=2000, seed=3)
    radius = 0.19
    run = run_decide(tmp_path / "run", KINDS, tiny_inputs, settings, Decision(radius))
    assert verify(run).problems == ()
    assert verify(Run.open(tmp_path / "run")).problems == ()
    found = decide(KINDS, tiny_inputs, SIGMA, radius, n0=50, n=2000, seed=3, form=form)
    assert [r.certificate for r in run.records(range(30))] == list(found.certificates)
    assert {c.outcome for c in found.certificates} >= {Outcome.CERTIFIED}
    assert f"form {form}" in found.method.describe(settings)
    sampler = Sampler(KINDS, settings, CLASSES, 256)
    fine = Decision(radius, first=3, growth=1.01).records(sampler, map(Case, tiny_inputs))
    for a, b in zip(fine, found.records, strict=True):
        assert a.votes == b.votes
        assert replace(a.certificate, evaluations=b.certificate.evaluations) == b.certificate


@pytest.mark.parametrize("prior", ["none", "selection"])
def test_radii_out_of_reach_of_the_runner_up(prior):
    """What half of alpha can prove, and no more."""
    settings = forms("runner-up", n=100)
    all_seen = (10, 10) if prior == "selection" else ()
    q = betting.lower(100, 100, settings.alpha / 2, *all_seen)
    reach = float(settings.radius(q, 1 - q))
    inside, outside = (Decision(reach + step, prior=prior) for step in (-1e-6, 1e-6))
    inside.check(settings, (1, 2, 2))
    c = several(votes([1] * 10, [1] * 100), decision=inside, n=100)
    assert c.outcome is Outcome.CERTIFIED
    for form in ("binary", "auto"):
        outside.check(forms(form, n=100), (1, 2, 2))
        c = several(votes([1] * 10, [1] * 100), form, outside, n=100)
        assert (c.outcome, len(c.budget)) == (Outcome.CERTIFIED, 1)
        # Bets that start from half of the votes do not get so far in 100 draws.
        c = several(votes([1] * 5 + [2] * 5, [1] * 100), form, outside, n=100)
        assert ((c.outcome is Outcome.CERTIFIED), len(c.budget)) == (prior == "none", 1)
    with pytest.raises(InvalidInput, match=f"even 100 votes .* prove only {reach:.3f}"):
        outside.check(settings, (1, 2, 2))


@pytest.mark.parametrize("form", ["binary", "runner-up"])
def test_bets_start_from_the_selection_votes_alone(form):
    """Where they agree with the draws it takes fewer; without a prior they change nothing."""
    estimation = np.random.default_rng(5).choice(4, 1000, p=(0.05, 0.9, 0.03, 0.02))
    alike, apart = [1] * 9 + [0], [1] * 4 + [0, 0, 0, 2, 2, 3]
    found = {
        (prior, name): several(votes(selection, estimation), form, Decision(0.2, prior=prior))
        for prior in ("none", "selection")
        for name, selection in (("alike", alike), ("apart", apart))
    }
    assert found["none", "alike"] == found["none", "apart"]
    assert found["selection", "alike"].n < found["none", "alike"].n < found["selection", "apart"].n
    assert {c.outcome for c in found.values()} == {Outcome.CERTIFIED}
