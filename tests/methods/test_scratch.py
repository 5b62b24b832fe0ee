"""From votes to certificates, from scratch."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.certificate import ABSTAIN, Certificate, Outcome, Settings, Votes
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.methods import recheck, scratch

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
    for record in result.records:
        again = recheck(record, result.settings, result.shape, result.num_classes, None)
        assert again == record.certificate
        assert Certificate.from_json(record.certificate.to_json()) == record.certificate
    assert result.evaluations == 30 * 320
    again = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=300, seed=3, batch_size=7)
    assert [r.votes for r in again.records] == [r.votes for r in result.records]


def test_labels_are_never_seen(tiny_inputs, pixel_sum):
    """The same result whatever the labels say."""
    other = smoothcert.Inputs(**{**vars(tiny_inputs), "labels": (0,) * 30})
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
        ({"form": "ternary"}, "form must be one of binary, multiclass; got 'ternary'"),
        ({"sigma": -1.0}, "sigma must be a positive number"),
    ],
)
def test_bad_settings(change, message, tiny_inputs, pixel_sum):
    with pytest.raises(InvalidInput, match=message):
        smoothcert.certify(pixel_sum, tiny_inputs, **{"sigma": 0.25, **change})


def test_wrong_channels_are_named(models, tiny_inputs):
    with pytest.raises(ModelError, match=r"failed on a batch of shape \(256, 1, 2, 2\)"):
        smoothcert.certify(models / "int8.onnx", tiny_inputs, 0.25, n=10)
