"""Figures beyond radii, against the certificates and shorter runs; and two models compared."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.bounds import paired
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.runner import RunOptions, run_certify, run_decide, run_recertify
from smoothcert.methods import Decision, Exact, Irs
from smoothcert.methods.scratch import radii_of_first
from smoothcert.report import figures
from smoothcert.report.claims import of_comparisons
from smoothcert.report.comparison import family, p_of
from smoothcert.report.tables import summarize_run
from smoothcert.summary import by_class, correct_radii, over_seeds
from support.known_truth import PixelBins, PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=300, alpha=0.01)
RADII = (0.0, 0.1, 0.2)


@pytest.fixture(scope="module")
def data() -> Inputs:
    rng = np.random.default_rng(1)
    images = rng.integers(5, 12, (40, 1, 2, 2)) / 16
    return Inputs.from_arrays(images, (rng.random(40) < 0.8).astype(int), 1 / 16)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Two seeds, a decision, and recertifications by IRS and by plan."""
    folder, options = tmp_path_factory.mktemp("figures"), RunOptions()
    base = run_certify(folder / "base", PixelSum(28), data, SETTINGS, options)
    again = run_certify(folder / "again", PixelSum(28), data, replace(SETTINGS, seed=1), options)
    decided = run_decide(folder / "d", PixelSum(28), data, SETTINGS, Decision(0.1), options)
    irs = run_recertify(folder / "irs", base, PixelSum(29), data, Irs(100), options)
    exact = run_recertify(folder / "exact", base, PixelSum(29), data, Exact("uniform:50"), options)
    return {"base": base, "again": again, "decided": decided, "irs": irs, "exact": exact}


@pytest.mark.parametrize("name", ["base", "decided", "irs", "exact"])
def test_probabilities_count_limits(runs, name):
    run = runs[name]
    found = figures.probabilities(run, beta=0.02)
    pairs = list(zip(run.certificates, run.labels, strict=True))
    for curve, wrong in ((found.each, 0), (found.together, found.wrong)):
        for t, share in zip(curve.x, curve.y, strict=True):
            proven = [
                c
                for c, label in pairs
                if c.candidate == label and c.q >= t and (c.radius > 0 or c.method == "rs")
            ]
            reached = len(proven) if t > 0 else 40
            assert share == pytest.approx(max(0, reached - wrong) / 40)
    assert found.wrong > 0
    assert stats.binom.sf(found.wrong, 40, found.alpha) <= 0.02
    assert (found.observed is not None) == (name == "base")


def test_probabilities_in_a_table(runs):
    run = runs["base"]
    shown = figures.to_json(run, RADII)["probabilities"]
    pairs = list(zip(run.certificates, run.labels, strict=True))
    for t, each in zip(shown["at"], shown["each"], strict=True):
        assert each == sum(c.candidate == label and c.q >= t for c, label in pairs) / 40
    assert figures.to_json(runs["irs"], RADII)["probabilities"]["observed"] is None


def test_in_the_binary_form_they_are_the_image_of_the_radii(runs):
    found, run = figures.probabilities(runs["base"]), runs["base"]
    radii = correct_radii(run.certificates, run.labels)
    inside = found.each.x > 0.5
    at = SETTINGS.radius(found.each.x[inside])
    kept = at > 0
    shares = (radii >= at[kept, None]).mean(axis=1)
    assert shares.tolist() == found.each.y[inside][kept].tolist()


def test_a_limit_that_a_recertification_never_tested_is_not_shown(runs):
    """Where IRS abstains with the original, its q is of the original's probability alone."""
    run = runs["irs"]
    untested = [c.q for c in run.certificates if c.n == 0 and c.q > 0]
    assert untested
    assert not set(untested) & set(figures.probabilities(run).each.x)


@pytest.mark.parametrize("form", ["binary", "runner-up", "auto", "multiclass"])
def test_the_first_draws_are_a_shorter_run(data, form):
    classifier, counts = PixelBins((24, 29, 33)), np.array([1, 30, 200, 400])
    options = {"n0": 20, "alpha": 0.01, "form": form}
    whole = smoothcert.certify(classifier, data, 0.25, n=400, **options)
    shorter = [smoothcert.certify(classifier, data, 0.25, n=int(n), **options) for n in counts]
    for row, record in enumerate(whole.records):
        found = radii_of_first(record.votes, counts, whole.settings, data.shape, 4)
        # Limits that are computed together may differ in last bits, on the safe side alike.
        assert found == pytest.approx([s.certificates[row].radius for s in shorter], abs=1e-9)
    assert max(c.radius for c in whole.certificates) > 0


def test_acr_by_draws(runs, data):
    found = figures.by_draws(runs["base"], RADII)
    assert found.draws[-1] == 300
    for n, acr, accuracy in zip(found.draws, found.acr, found.accuracy, strict=True):
        if n in found.draws[[3, 30, -1]]:
            shorter = smoothcert.certify(
                PixelSum(28), data, 0.25, n0=20, n=int(n), alpha=0.01
            ).certificates
            s = smoothcert.summarize(shorter, data.labels, RADII)
            assert acr == pytest.approx(s.acr)
            assert accuracy.tolist() == [share for _, share in s.accuracy]
    assert figures.by_draws(runs["irs"]) is figures.by_draws(runs["decided"]) is None


def test_orders_that_depend_on_the_number_of_draws():
    draws, none = np.array([10, 20, 40, 80]), np.zeros(0)

    def curve(name: str, *acr: float) -> figures.ByDraws:
        return figures.ByDraws(name, draws, np.array(acr), none, np.zeros((4, 0)))

    steep, flat = curve("steep", 0, 0.1, 0.3, 0.5), curve("flat", 0, 0.2, 0.3, 0.4)
    for pair in ((steep, flat), (flat, steep)):
        assert figures.rank_changes(pair) == (figures.RankChange("steep", "flat", 40),)
    above = curve("above", 0, 0.3, 0.4, 0.6)
    assert len(figures.rank_changes((steep, flat, above))) == 1
    assert figures.rank_changes((flat, flat)) == ()
    shorter = replace(steep, draws=draws + 1)
    assert figures.rank_changes((shorter, flat)) == ()


def test_new_inputs(runs):
    run = runs["base"]
    for found in figures.new_inputs(run, RADII, beta=0.1):
        radii = correct_radii(run.certificates, run.labels)
        assert found.certified == (radii >= found.radius).sum()
        low, high = found.certified_share
        assert low < found.certified / 40 < high
        assert stats.binom.sf(found.certified - 1, 40, low) == pytest.approx(0.05, rel=1e-6)
        # beta is spent on one side here; wrong certificates are accounted for.
        a = found.robust + (1 - found.robust) * 0.01
        assert stats.binom.sf(found.certified - 1, 40, a) == pytest.approx(0.1, rel=1e-6)
    assert figures.new_inputs(runs["irs"], RADII)[0].certified_share is not None
    assert figures.new_inputs(runs["exact"], RADII)[0].certified_share is None
    with pytest.raises(InvalidInput, match="error probabilities"):
        figures.new_inputs(run, RADII, beta=0)


@pytest.mark.parametrize("name", ["base", "irs", "exact"])
def test_the_mean_of_new_inputs(runs, name):
    run = runs[name]
    settings = run.identity.settings
    radii = np.clip(correct_radii(run.certificates, run.labels), 0, None)
    most = settings.sigma * stats.norm.ppf(run.identity.alpha ** (1 / settings.n))
    assert radii.max() <= most
    found = figures.new_mean(run, 0.1)
    assert 0 < found < figures.new_mean(run, 0.5) < radii.mean()
    # Bets that are fair if this is the mean of what is certified have won ten times their stakes.
    fair = found + (most - found) * run.identity.alpha
    bets = np.minimum(0.95, np.sqrt(2 * np.log(10) / 40) / np.array([[0.5], [1], [2]]))
    won = np.prod(1 + bets * (radii / fair - 1), axis=1).mean()
    assert won == pytest.approx(10, rel=1e-6)


def test_seeds_are_found_and_spread(runs):
    every = list(runs.values())
    summaries = [summarize_run(run, RADII) for run in every]
    (found,) = figures.seeds(every, summaries)
    assert found.names == ("base", "again")
    acrs = [summaries[0].acr, summaries[1].acr]
    assert (found.acr.least, found.acr.most) == (min(acrs), max(acrs))
    assert found.acr.deviation == pytest.approx(abs(acrs[0] - acrs[1]) / 2**0.5)
    assert [radius for radius, _ in found.accuracy] == list(RADII)
    assert figures.seeds(every[:1], summaries[:1]) == ()
    for wrong in (summaries[:1], [summaries[0], summarize_run(every[1], (0.3,))]):
        with pytest.raises(InvalidInput, match="two runs or more on the same inputs"):
            over_seeds(wrong)


def test_by_class(runs):
    run = runs["base"]
    found = by_class(run, run.labels, RADII)
    assert [one.label for one in found] == [0, 1]
    assert sum(one.inputs for one in found) == 40
    s = summarize_run(run, RADII)
    assert sum(one.inputs * one.acr for one in found) / 40 == pytest.approx(s.acr)
    for i, (_, share) in enumerate(s.accuracy):
        assert sum(c.inputs * c.accuracy[i][1] for c in found) / 40 == pytest.approx(share)
    assert sum(c.inputs for c in by_class(run, [None, *run.labels[1:]], RADII)) == 39


def test_a_comparison_counts(runs):
    base, changed = runs["base"], runs["irs"]
    found = smoothcert.compare(base, changed, RADII, power=0.7, level=0.1)
    before, after = (correct_radii(r.certificates, r.labels) for r in (base, changed))
    assert (found.first, found.second, found.inputs, found.exact) == ("base", "irs", 40, True)
    for change in found.changes:
        one, two = before >= change.radius, after >= change.radius
        assert change.kept == (one & two).sum()
        assert change.lost == (one & ~two).sum()
        assert change.gained == (two & ~one).sum()
        assert change.neither == (~one & ~two).sum()
        assert change.p_value == paired.mcnemar(change.lost, change.gained)
        share = (change.lost + change.gained) / 40
        assert change.detectable == paired.detectable(40, share, 0.1, 0.7)
    assert found.changes[0].lost > 0
    assert found.detectable_if_lost == paired.detectable(40, None, 0.1, 0.7)
    back = smoothcert.compare(changed, base, RADII)
    assert [c.lost for c in back.changes] == [c.gained for c in found.changes]


def test_a_plan_makes_p_values_approximate(runs):
    assert not smoothcert.compare(runs["base"], runs["exact"]).exact
    assert smoothcert.compare(runs["base"], runs["again"]).exact


def test_reports_show_a_p_value_only_of_models_that_were_certified_alike(runs, data, tmp_path):
    """Another seed is the same question; fewer draws, another alpha or a reused cache are not."""
    base, options = runs["base"], RunOptions()
    exact = Exact("uniform:50")
    same = run_recertify(tmp_path / "same", base, PixelSum(27), data, exact, options)
    for first, second in ((base, runs["again"]), (runs["exact"], same)):
        found = smoothcert.compare(first, second)
        assert found.alike
        assert "–" not in {p_of(found, change, 3) for change in found.changes}
        assert "There is no p" not in of_comparisons([found])
    others = {"n": SETTINGS.n - 1, "alpha": 0.02, "sigma": 0.5, "n0": 30, "form": "runner-up"}
    for number, (name, value) in enumerate(others.items()):
        settings = replace(SETTINGS, **{name: value})
        run = run_certify(tmp_path / str(number), PixelSum(28), data, settings, options)
        assert not smoothcert.compare(base, run).alike
    for name in ("decided", "irs", "exact"):
        found = smoothcert.compare(base, runs[name])
        assert not found.alike
        assert {p_of(found, change, 0) for change in found.changes} == {"–"}
        assert of_comparisons([found]).startswith("There is no p where σ, n, α or the method")


def test_a_p_value_counts_by_bonferroni_s_correction(runs):
    """Up to level/T and not above: what is shown rounded up would decide otherwise."""
    found = smoothcert.compare(runs["base"], runs["again"], RADII)
    two = [found, smoothcert.compare(runs["base"], runs["exact"], RADII)]
    assert (family([found]), family(two)) == (3, 3)  # one pair is not alike
    just = replace(found.changes[0], p_value=np.nextafter(0.05 / 15, 0))
    above = replace(just, p_value=np.nextafter(0.05 / 15, 1))
    assert (p_of(found, just, 15), p_of(found, above, 15)) == ("0.0034*", "0.0034")
    assert p_of(found, just, 16) == "0.0034"
    said = of_comparisons([found])
    assert "significant at 0.05 (p at most 0.05/3 = 0.016666, by Bonferroni's correction" in said
    assert "Bonferroni" not in of_comparisons([replace(found, changes=found.changes[:1])])


def test_results_in_memory_are_compared(runs, data):
    result = smoothcert.certify(PixelSum(28), data, 0.25, n0=20, n=300, alpha=0.01)
    same = smoothcert.compare(runs["base"], result, RADII)  # the run's labels are of both
    assert all((c.lost, c.gained, c.p_value) == (0, 0, 1.0) for c in same.changes)
    alone = smoothcert.compare(result, result, labels=data.labels)
    assert alone.changes[0].kept == same.changes[0].kept
    unlabelled = replace(data, labels=None)
    any_class = smoothcert.certify(PixelSum(28), unlabelled, 0.25, n0=20, n=300, alpha=0.01)
    assert smoothcert.compare(any_class, any_class).changes[0].kept > same.changes[0].kept


def test_what_is_not_compared(runs, data):
    fewer = smoothcert.certify(PixelSum(28), data.select(range(20)), 0.25, n0=20, n=50, alpha=0.01)
    with pytest.raises(Mismatch, match="got 40 and 20 inputs, of which 20 are the same"):
        smoothcert.compare(runs["base"], fewer, labels=data.labels[:20])
    result = smoothcert.certify(PixelSum(28), data, 0.25, n0=20, n=50, alpha=0.01)
    with pytest.raises(Mismatch, match="40 of 40 inputs have another true class"):
        smoothcert.compare(runs["base"], result, labels=[1 - label for label in data.labels])
    with pytest.raises(InvalidInput, match="40 certificates and 3 labels"):
        smoothcert.compare(result, result, labels=[1, 2, 3])
