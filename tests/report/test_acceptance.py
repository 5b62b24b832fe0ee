"""--accept counts exactly: nothing is rounded up to a target, and nothing below one passes."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from smoothcert.bounds.together import wrong_at_most
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Reuse
from smoothcert.methods.targets import MeanRadius, Target, parse_target
from smoothcert.report.acceptance import judge
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=300)


def inputs(labels):
    return Inputs.from_arrays(np.full((20, 1, 2, 2), 0.5), labels, 1 / 16)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Twenty inputs, three of them wrongly labelled."""
    data = inputs([1] * 17 + [0] * 3)
    return run_certify(
        tmp_path_factory.mktemp("r") / "run", PixelSum(28), data, SETTINGS, RunOptions()
    )


def right(run):
    return [
        c.radius
        for c, label in zip(run.certificates, run.labels, strict=True)
        if c.predicted == label
    ]


def test_only_certificates_of_the_label_count(run):
    proven = sum(c.predicted == 1 for c in run.certificates)
    count = len(right(run))
    assert count < proven < 20
    assert judge(run, Target(0, count / 20)).accepted
    assert not judge(run, Target(0, count / 20 + 0.001)).accepted
    found = f"{count} of 20 inputs have a certificate of their label at radius 0; "
    found += f"the target is {count + 1}"
    assert found in judge(run, Target(0, (count + 1) / 20)).text


def test_a_radius_just_below_does_not_count(run):
    """The control moves the target by the least that a float can."""
    middle = sorted(right(run))[8]
    at = sum(radius >= middle for radius in right(run))
    above = sum(radius > middle for radius in right(run))
    up = math.nextafter(middle, 1)
    assert judge(run, Target(middle, at / 20)).accepted
    assert judge(run, Target(up, above / 20)).accepted
    assert above < at
    assert not judge(run, Target(up, at / 20)).accepted


def test_the_mean_is_compared_as_it_is(run):
    exact = sum(map(Fraction, right(run))) / 20
    near = float(exact)
    below = near if Fraction(near) <= exact else math.nextafter(near, 0)
    assert judge(run, MeanRadius(below)).accepted
    assert not judge(run, MeanRadius(math.nextafter(below, 1))).accepted
    text = judge(run, MeanRadius(0.5)).text
    assert text.startswith("not accepted: the average certified radius of 20 inputs is 0.")
    shown = Fraction(text.partition(" inputs is ")[2].partition(",")[0])
    assert 0 <= exact - shown < Fraction(1, 10**6)


def test_an_input_decided_at_a_radius_counts_there(tmp_path):
    """0.3 as a float is below three tenths, and still what was asked for and proven."""
    from smoothcert.execution.runner import run_decide
    from smoothcert.methods import Decision

    data = Inputs.from_arrays(np.full((3, 1, 2, 2), 1.0), [1] * 3, 1 / 16)
    settings = replace(SETTINGS, n=400)
    run = run_decide(tmp_path / "r", PixelSum(20), data, settings, Decision(0.3), RunOptions())
    assert {c.radius for c in run.certificates} == {0.3}
    assert judge(run, Target(0.3, 1.0)).accepted
    assert judge(run, MeanRadius(0.3)).accepted
    assert not judge(run, Target(math.nextafter(0.3, 1), 1.0)).accepted


@pytest.mark.slow
def test_what_is_said_names_the_error_of_one_certificate_and_claims_no_more(run, tmp_path):
    text = judge(run, Target(0, 0.5)).text
    assert text.startswith("accepted: ")
    assert "Each certificate is wrong with probability at most 0.001 on its own" in text
    assert f"at most {wrong_at_most(len(run.labels), 0.001, 0.001)} of the" in text
    data = inputs(run.labels)
    new = run_recertify(
        tmp_path / "n", run, PixelSum(28), data, Reuse("uniform:60", "joint"), RunOptions()
    )
    assert "wrong with probability at most 0.002 on its own" in judge(new, Target(0, 0.5)).text


def test_a_target_relative_to_the_original_is_of_the_same_inputs(run, tmp_path):
    """The original's twenty inputs are not what a run of seven of them is compared with."""
    seven = inputs(run.labels).select(range(13, 20))
    part = run_certify(tmp_path / "p", PixelSum(28), seven, SETTINGS, RunOptions())
    pairs = list(zip(run.certificates, run.labels, strict=True))
    of_seven = [c.predicted == label for c, label in pairs[13:]]
    assert 0 < sum(of_seven) < 7
    assert sum(of_seven) / 7 != len(right(run)) / 20
    found = judge(part, parse_target("ca@0>=base"), run)
    assert found.accepted  # the same draws, so the same certificates
    asked = f"the target is {sum(of_seven)} (base; the original has {sum(of_seven)} of 7 there)"
    assert asked in found.text
    assert judge(part, parse_target("acr>=base"), run).accepted
    assert not judge(part, parse_target("acr>=1.0000001*base"), run).accepted
    assert not judge(part, parse_target("ca@0>=base+1%"), run).accepted
    with pytest.raises(Mismatch, match=r"has none of 13 of 20 inputs, the first at index 0"):
        judge(run, parse_target("ca@0>=base-2%"), part)
    with pytest.raises(InvalidInput, match="which a certification from scratch does not have"):
        judge(run, parse_target("ca@0>=base-2%"))


def test_a_comparison_says_that_it_proves_no_difference(run):
    said = judge(run, parse_target("acr>=0.9*base"), run).text
    assert "that the accuracy itself fell by no more is not proven." in said
    assert "the target is 0." in said
    assert "(0.9*base; the original's own is about 0." in said
    assert "not proven" not in judge(run, MeanRadius(0.01)).text


def test_without_labels_nothing_is_judged(tmp_path):
    run = run_certify(
        tmp_path / "r", PixelSum(28), inputs(None), replace(SETTINGS, n=40), RunOptions()
    )
    with pytest.raises(InvalidInput, match="has no labels, so no certificate can be called"):
        judge(run, Target(0, 0.5))


def test_what_may_be_wrong_is_counted_off(run):
    """At every radius, and of the mean the largest, so that as many more would be said too much."""
    radii = sorted(right(run))
    wrong = wrong_at_most(20, 0.001, 0.001)
    assert wrong == 1
    text = judge(run, Target(0, 0.5)).text
    assert f"which leaves {len(radii) - wrong}.\n" in text
    assert "which leaves 0.\n" in judge(run, Target(9.0, 0.5)).text
    left = Fraction(judge(run, MeanRadius(0.5)).text.partition("which leaves ")[2].split(".\n")[0])
    exact = sum(map(Fraction, radii[:-wrong]), Fraction(0)) / 20
    assert 0 <= exact - left < Fraction(2, 10**6)


def test_a_refusal_says_where_draws_and_not_the_model_are_the_limit(run, tmp_path):
    """Of what the original has, and only of that: the unchanged model with few draws loses none."""
    data, few = inputs(run.labels), Reuse("uniform:60")
    same = run_recertify(tmp_path / "s", run, PixelSum(28), data, few, RunOptions())
    worse = run_recertify(tmp_path / "w", run, PixelSum(30), data, few, RunOptions())
    radius = sorted(right(run))[-3]
    goal = parse_target(f"ca@{radius}>=base")
    at = {
        c.index
        for c, label in zip(run.certificates, run.labels, strict=True)
        if c.predicted == label and c.radius >= radius
    }
    for changed in (same, worse):
        missed = [c for c in changed.certificates if c.index in at and c.radius < radius]
        fresh = sum(c.method == "fresh" for c in missed)
        lost = sum(c.method != "fresh" and c.flips > 0 for c in missed)
        assert changed is worse or lost == 0
        said = {
            "for want of draws, as it lost none": len(missed) - lost - fresh,
            "where it lost draws": lost,
            "by fresh draws, which do not tell why": fresh,
        }
        parts = ", ".join(f"{count} {text}" for text, count in said.items() if count)
        found = f"It misses {len(missed)} that the original has there: {parts}."
        assert judge(changed, goal, run).limits == found
        assert judge(changed, Target(radius, 1.0), run).limits == found
    assert lost
    assert (
        "% of the original's evaluations; with so few"
        in judge(same, parse_target("acr>=base"), run).limits
    )
    assert judge(run, parse_target("acr>=1.01*base"), run).limits == ""  # as many draws
    assert judge(run, parse_target(f"ca@{radius}>=base+5%"), run).limits == ""  # it misses none


def test_a_refusal_of_a_certification_from_scratch(tmp_path):
    data = Inputs.from_arrays(np.full((4, 1, 2, 2), 1.0), [1, 1, 1, 0], 1 / 16)
    few = run_certify(tmp_path / "f", PixelSum(5), data, replace(SETTINGS, n=40), RunOptions())
    assert {c.k == c.n for c in few.certificates} == {True}
    largest = max(c.radius for c in few.certificates)
    refused = judge(few, Target(math.nextafter(largest, 1), 1.0)).text
    assert "On 3 more all draws agree, and are too few for this radius." in refused
    assert "all draws agree" not in judge(few, Target(largest, 1.0)).text
