"""certify with a policy: in memory, what it costs, and what recertifications make of its votes."""

from dataclasses import replace

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Outcome
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.methods import Sized
from support.known_truth import PixelBins, PixelSum

N0, N = 20, 2000


def certify(inputs, policy=None, model=None, **how):
    return smoothcert.certify(model or PixelSum(28), inputs, 0.25, n0=N0, n=N, policy=policy, **how)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "runner-up", "auto"])
@pytest.mark.parametrize("policy", ["budget:0.2", "retain:0.9", "loss:0.01", "radius:0.05"])
def test_votes_are_the_first_of_those_that_n_for_all_takes(policy, form, tiny_inputs):
    model = PixelBins((20, 28, 33))
    found = certify(tiny_inputs, policy, model, form=form)
    whole = certify(tiny_inputs, None, model, form=form)
    assert found.method == Sized(policy)
    drawn = [c.n for c in found.certificates]
    assert len(set(drawn)) > 1
    assert found.evaluations == len(tiny_inputs) * N0 + sum(drawn)
    for one, all_ in zip(found.records, whole.records, strict=True):
        assert (one.votes.selection == all_.votes.selection).all()
        assert (one.votes.estimation == all_.votes.estimation[: one.certificate.n]).all()
        assert one.certificate.candidate == all_.certificate.candidate
        assert one.certificate.alpha == all_.certificate.alpha == 0.001
        assert (one.certificate.outcome is Outcome.UNSPENT) == (one.certificate.n == 0)


def test_a_budget_is_what_is_spent(tiny_inputs):
    found = certify(tiny_inputs, "budget:9000")
    assert 9000 - N < found.evaluations <= 9000


def test_nothing_that_is_kept_differs_between_batches(tiny_inputs):
    one, other = (certify(tiny_inputs, "retain:0.9", batch_size=b) for b in (16, 64))
    assert one.certificates == other.certificates


def test_progress_counts_all_evaluations(tiny_inputs):
    counts = []
    found = certify(tiny_inputs, "retain:0.9", progress=counts.append)
    assert sum(counts) == found.evaluations


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "fresh"])
@pytest.mark.parametrize("policy", ["uniform:300", "budget:0.2", "retain:0.4"])
def test_the_exact_test_and_fresh_draws_follow_it(method, policy, tiny_inputs):
    base, new = certify(tiny_inputs, "retain:0.9"), PixelSum(29)
    seed = 7 if method == "fresh" else None
    found = smoothcert.recertify(
        base, new, tiny_inputs, policy=policy, method=method, fresh_seed=seed
    )
    certified = [c for c in found.certificates if c.outcome is Outcome.CERTIFIED]
    assert len(certified) > (3 if method == "fresh" else 5)
    for new_one, old in zip(found.certificates, base.certificates, strict=True):
        assert new_one.cached_n == old.n
        if old.outcome is not Outcome.CERTIFIED:
            assert new_one.evaluations == 0
        if new_one.method == "exact":
            assert new_one.n <= old.n


@pytest.mark.slow
def test_a_budget_of_a_recertification_is_of_the_draws_there_are(tiny_inputs):
    base = certify(tiny_inputs, "retain:0.9")
    drawn = sum(c.n for c in base.certificates)
    found = smoothcert.recertify(base, PixelSum(29), tiny_inputs, policy="budget:0.2")
    assert found.evaluations < 0.22 * drawn


@pytest.mark.slow
@pytest.mark.parametrize("method", ["irs", "joint", "stratified"])
def test_other_methods_are_told_that_they_cannot(method, tiny_inputs):
    base = certify(tiny_inputs, "retain:0.9")
    with pytest.raises(InvalidInput, match=r"exact test replays\. Use the method auto"):
        smoothcert.recertify(base, PixelSum(29), tiny_inputs, method=method, per_input=50)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "runner-up"])
def test_a_screening_takes_the_inputs_that_have_enough_draws(form, tiny_inputs):
    base = certify(tiny_inputs, "retain:0.9")
    labels = tuple(c.candidate for c in base.certificates)
    inputs = replace(tiny_inputs, labels=labels)
    (found,) = smoothcert.screen(base, [PixelSum(28)], inputs, per_input=150, form=form)
    enough = {c.index for c in base.certificates if c.n >= 300}
    assert set(found.pool.indices) <= enough
    assert 0 < found.pool.eligible < len(base.certificates)
    assert min(found.pool.n) < max(found.pool.n)


@pytest.mark.slow
def test_what_was_made_by_plan_can_be_no_base_twice(tiny_inputs):
    base = certify(tiny_inputs, "retain:0.9")
    new = smoothcert.recertify(base, PixelSum(29), tiny_inputs, per_input=100)
    with pytest.raises(Mismatch, match="itself recertified"):
        smoothcert.recertify(new, PixelSum(30), tiny_inputs, per_input=100)


@pytest.mark.parametrize(
    ("policy", "how", "said"),
    [
        ("budget:600", {}, r"selection draws of 30 inputs alone take 600\. Allow more"),
        ("budget:0.001", {}, "Allow more, or take a smaller n0"),
        ("budget:0.5", {"keep_margins": True}, "keeps no margins"),
        ("uniform:5", {}, "loss:L"),
        (0.5, {}, "loss:L"),
    ],
)
def test_what_is_refused_before_any_evaluation(policy, how, said, tiny_inputs):
    counts = []
    with pytest.raises(InvalidInput, match=said):
        certify(tiny_inputs, policy, progress=counts.append, **how)
    assert not counts


def test_an_input_that_gets_nothing_says_so(tiny_inputs):
    found = certify(tiny_inputs, "radius:3")
    assert {c.outcome for c in found.certificates} == {Outcome.UNSPENT}
    assert "the plan spent nothing here" in found.certificates[0].explain(0.25)
    assert found.evaluations == len(tiny_inputs) * N0
    assert np.all([c.radius == 0 for c in found.certificates])
