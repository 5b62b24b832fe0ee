"""From votes to certificates, from scratch."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.certificate import ABSTAIN, Certificate, Outcome, Settings, Votes
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.methods import SCRATCH, Stored, scratch

SETTINGS = Settings(0.25, 255, n0=10, n=100)


def votes(selection, estimation):
    return Votes(selection=np.array(selection, np.int32), estimation=np.array(estimation, np.int32))


def certificate(v, settings=SETTINGS, classes=3):
    return scratch.certificate(0, "c", v, settings, (1, 2, 2), classes)


def test_radius_is_cohens():
    c = certificate(votes([1] * 10, [1] * 95 + [0] * 5))
    expected = 0.25 * stats.norm.ppf(binomial.lower(95, 100, 0.001))
    assert c.outcome is Outcome.CERTIFIED
    assert c.predicted == c.candidate == 1
    assert c.radius == pytest.approx(expected, abs=1e-9)
    assert c.radius <= expected
    assert (c.k, c.n, c.evaluations, c.alpha) == (95, 100, 110, 0.001)


def test_candidate_comes_from_selection_alone():
    c = certificate(votes([0] * 6 + [1] * 4, [1] * 100))
    assert (c.candidate, c.k, c.outcome, c.predicted) == (0, 0, Outcome.UNDECIDED, ABSTAIN)


def test_draws_without_a_class_count_against():
    with_none = certificate(votes([1] * 10, [1] * 90 + [-1] * 10))
    with_other = certificate(votes([1] * 10, [1] * 90 + [2] * 10))
    assert with_none.radius == with_other.radius
    nothing = certificate(votes([-1] * 10, [-1] * 100))
    assert nothing.outcome is Outcome.UNDECIDED


def test_a_half_abstains():
    c = certificate(votes([1] * 10, [1] * 55 + [0] * 45))
    assert (c.outcome, c.radius, c.predicted) == (Outcome.UNDECIDED, 0.0, ABSTAIN)


def test_multiclass_form_certifies_what_the_binary_one_cannot():
    v = votes([1] * 10, [1] * 450 + [0] * 275 + [2] * 275)
    settings = replace(SETTINGS, n=1000)
    assert certificate(v, settings).outcome is Outcome.UNDECIDED
    c = certificate(v, replace(settings, form="multiclass"))
    q = binomial.lower(450, 1000, 0.0005)
    p_b = binomial.upper(275, 1000, 0.00025)
    expected = 0.125 * (stats.norm.ppf(q) - stats.norm.ppf(p_b))
    assert c.outcome is Outcome.CERTIFIED
    assert c.radius == pytest.approx(expected, abs=1e-9)
    assert c.alpha == pytest.approx(0.001)


def test_the_runner_up_form_bounds_the_class_with_most_votes():
    v = votes([1] * 60 + [0] * 40, [1] * 550 + [0] * 330 + [2] * 100 + [3] * 20)
    c = certificate(v, replace(SETTINGS, n=1000, form="runner-up"), classes=6)
    q, p_b = binomial.lower(550, 1000, 0.0005), binomial.upper(330, 1000, 0.0005)
    expected = 0.125 * (stats.norm.ppf(q) - stats.norm.ppf(p_b))
    assert c.radius == pytest.approx(expected, abs=1e-9)
    assert c.alpha == pytest.approx(0.001)
    assert certificate(v, replace(SETTINGS, n=1000, form="multiclass"), classes=6).radius < c.radius
    assert certificate(v, replace(SETTINGS, n=1000), classes=6).radius < 0.5 * c.radius


def test_auto_takes_the_form_that_the_selection_draws_let_expect():
    two, close = [1] * 55 + [0] * 45, [1] * 55 + [0] * 23 + [2] * 22
    for selection, form in ((two, "binary"), (close, "runner-up")):
        v = votes(selection, [1] * 600 + [0] * 300 + [2] * 100)
        found = certificate(v, replace(SETTINGS, n=1000, form="auto"))
        assert found == certificate(v, replace(SETTINGS, n=1000, form=form))
    pair = certificate(votes(two, [1] * 600 + [0] * 400), replace(SETTINGS, n=1000, form="auto"), 2)
    assert pair == certificate(votes(two, [1] * 600 + [0] * 400), replace(SETTINGS, n=1000), 2)


def truth(law, chosen=0):
    """The radius in sigma that a law of the labels has, by its runner-up."""
    p = np.array(law)
    return (stats.norm.ppf(p[chosen]) - stats.norm.ppf(np.delete(p, chosen).max())) / 2


def error(radii, law):
    """P[radius > the true one], by enumeration of all counts of three classes."""
    n = max(a + b for a, b in radii)
    counts = np.array(list(radii))
    chance = stats.multinomial.pmf(np.column_stack([counts, n - counts.sum(1)]), n, law)
    wrong = np.array(list(radii.values())) > truth(law) * SETTINGS.sigma * (1 + 1e-9)
    return chance[wrong].sum()


def radii_of(selection, n, form, alpha):
    """{(votes of class 0, of class 1): radius}, for three classes."""
    settings = replace(SETTINGS, n=n, alpha=alpha, form=form)
    return {
        (a, b): certificate(
            votes(selection, [0] * a + [1] * b + [2] * (n - a - b)), settings
        ).radius
        for a in range(n + 1)
        for b in range(n + 1 - a)
    }


LAWS = [
    (p, (1 - p) * share, (1 - p) * (1 - share))
    for p in np.linspace(0.36, 0.95, 30)
    for share in np.linspace(0.02, 0.98, 25)
    if p > (1 - p) * max(share, 1 - share)
]


@pytest.mark.slow
@pytest.mark.parametrize("selection", [[0] * 6 + [1] * 3 + [2], [0] * 5 + [2] * 3, [0] * 9])
@pytest.mark.parametrize("form", ["runner-up", "auto", "multiclass"])
def test_no_form_errs_more_often_than_alpha(form, selection):
    radii = radii_of(selection, 24, form, 0.1)
    assert 0.02 < max(error(radii, law) for law in LAWS) <= 0.1


def test_a_class_that_is_chosen_by_the_counts_is_caught():
    """The control: no limit of the runner-up but that of the class second in the selection draws,
    although another may be the true one."""
    n, alpha = 24, 0.1
    wrong = {}
    for a in range(n + 1):
        for b in range(n + 1 - a):
            q, other = binomial.lower(a, n, alpha / 2), binomial.upper(b, n, alpha / 2)
            wrong[a, b] = float(SETTINGS.radius(q, min(other, 1 - q)))
    assert max(error(wrong, law) for law in LAWS) > 1.5 * alpha


def test_slack_is_subtracted():
    """With noise of enormous dimension the certificate weakens by the law's slack."""
    v = votes([1] * 10, [1] * 100)
    near = scratch.certificate(0, "c", v, SETTINGS, (1,), 3)
    far = scratch.certificate(0, "c", v, SETTINGS, (10**9,), 3)
    assert near.q - far.q == pytest.approx(SETTINGS.noise.slack((10**9,)), rel=1e-3)
    assert far.radius < near.radius


def test_certify_in_memory(tiny_inputs, pixel_sum):
    result = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=300, seed=3)
    assert len(result.records) == 30
    assert result.num_classes == 2
    facts = (result.settings, result.shape, result.num_classes)
    for record in result.records:
        again = SCRATCH.recheck(Stored(record, *facts))
        assert again == record.certificate
        assert Certificate.from_json(record.certificate.to_json()) == record.certificate
    assert result.evaluations == 30 * 320
    again = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=300, seed=3, batch_size=7)
    assert [r.votes for r in again.records] == [r.votes for r in result.records]


def test_labels_are_never_seen(tiny_inputs, pixel_sum):
    """The same result whatever the labels say."""
    other = replace(tiny_inputs, labels=(0,) * 30)
    a = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n=50)
    b = smoothcert.certify(pixel_sum, other, 0.25, n=50)
    assert a.certificates == b.certificates


def test_a_longer_run_begins_with_the_shorter_one(tiny_inputs, pixel_sum):
    short = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n=50)
    long = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n=200)
    for a, b in zip(short.records, long.records, strict=True):
        assert (a.votes.estimation == b.votes.estimation[:50]).all()


def test_explanation_names_counts_and_budget():
    text = certificate(votes([1] * 10, [1] * 95 + [0] * 5)).explain(0.25)
    assert "95 of 100 draws voted for class 1" in text
    assert "estimation 0.001" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n must be a whole number from 1 to 10.9; got 0"),
        ({"n": 10.5}, "n must be a whole number"),
        ({"n0": -1}, "n0 must be a whole number"),
        ({"alpha": 0}, "alpha is an error probability between 0 and 1 .* got 0"),
        ({"alpha": 1.5}, "alpha is an error probability"),
        ({"alpha": float("nan")}, "alpha is an error probability"),
        ({"seed": -1}, "seed must be a whole number"),
        (
            {"form": "ternary"},
            "form must be one of binary, runner-up, auto, multiclass; got 'ternary'",
        ),
        ({"sigma": -1.0}, "sigma must be a positive number"),
    ],
)
def test_bad_settings(change, message, tiny_inputs, pixel_sum):
    with pytest.raises(InvalidInput, match=message):
        smoothcert.certify(pixel_sum, tiny_inputs, **{"sigma": 0.25, **change})


@pytest.mark.slow
def test_wrong_channels_are_named(models, tiny_inputs):
    with pytest.raises(ModelError, match=r"failed on a batch of shape \(256, 1, 2, 2\)"):
        smoothcert.certify(models / "int8.onnx", tiny_inputs, 0.25, n=10)
