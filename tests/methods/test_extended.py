"""extend: more draws for a certification that was looked at, at an error set aside for each total.

The errors are those of the chance that any look is wrong, by exact recursion over the looks.
"""

from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.methods import SCRATCH, Exact, Extended
from smoothcert.methods.extended import steps
from support.known_truth import PixelBins, PixelSum

N0, N = 20, 400


def certify(inputs, n=N, model=None, **how):
    return smoothcert.certify(model or PixelSum(28), inputs, 0.25, n0=N0, n=n, **how)


@pytest.fixture
def base(tiny_inputs):
    return certify(tiny_inputs)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "runner-up", "auto", "multiclass"])
def test_votes_and_limits_are_those_of_all_draws_at_the_share_of_alpha(form, tiny_inputs):
    model = PixelBins((20, 28, 33))
    first = certify(tiny_inputs, model=model, form=form)
    found = smoothcert.extend(first, model, tiny_inputs, 10 * N)
    whole = certify(tiny_inputs, 10 * N, model, form=form, alpha=0.001 / 8)
    assert found.settings == replace(first.settings, n=10 * N)
    assert found.evaluations == len(tiny_inputs) * 9 * N
    for mine, direct in zip(found.records, whole.records, strict=True):
        a, b = mine.certificate, direct.certificate
        assert mine.votes == direct.votes
        assert (a.radius, a.q, a.runner_up, a.k, a.n) == (b.radius, b.q, b.runner_up, b.k, b.n)
        assert a.alpha == pytest.approx(0.001)
        assert dict(a.budget)["other extensions"] == pytest.approx(0.001 * 7 / 8)


def test_an_extension_can_be_extended(base, tiny_inputs):
    model = PixelSum(28)
    once = smoothcert.extend(base, model, tiny_inputs, 2 * N)
    twice = smoothcert.extend(once, model, tiny_inputs, 10 * N)
    at_once = smoothcert.extend(base, model, tiny_inputs, 10 * N)
    assert twice.method == Extended(10, 2)
    assert [c.radius for c in twice.certificates] == [c.radius for c in at_once.certificates]
    assert [r.votes for r in twice.records] == [r.votes for r in at_once.records]
    assert twice.evaluations == 8 * N * len(tiny_inputs)


def test_a_plan_is_extended_input_by_input(tiny_inputs):
    first = certify(tiny_inputs, policy="retain:0.9")
    found = smoothcert.extend(first, PixelSum(28), tiny_inputs, 5 * N)
    for new, old in zip(found.certificates, first.certificates, strict=True):
        assert new.n == 5 * old.n
    assert len({c.n for c in found.certificates}) > 2


def test_shares_are_at_most_one_together():
    shares = [Extended(times).share for times in steps()]
    assert shares[:4] == [1 / 2, 1 / 4, 1 / 8, 1 / 16]
    assert sum(map(Fraction, shares)) < 1
    assert steps()[:7] == (2, 5, 10, 20, 50, 100, 200)


def chance_of_a_wrong_look(first: int, looks: dict[int, float], p: Fraction) -> Fraction:
    """The chance that at any of these totals the lower limit at its alpha is above p."""
    alive, had = {0: Fraction(1)}, 0
    wrong = Fraction(0)
    for times, alpha in looks.items():
        n, new = first * times, first * times - had
        law = [comb(new, j) * p**j * (1 - p) ** (new - j) for j in range(new + 1)]
        after: dict[int, Fraction] = {}
        for k, chance in alive.items():
            for j, more in enumerate(law):
                after[k + j] = after.get(k + j, Fraction(0)) + chance * more
        limits = binomial.lower(np.arange(n + 1), n, alpha)
        bad = {k for k in after if Fraction(float(limits[k])) > p}
        wrong += sum((after[k] for k in bad), Fraction(0))
        alive, had = {k: c for k, c in after.items() if k not in bad}, n
    return wrong


ALPHA = 0.2
TRUTHS = [Fraction(k, 40) for k in range(14, 40)]


def test_any_extension_is_wrong_with_probability_at_most_alpha():
    looks = {times: ALPHA * Extended(times).share for times in (2, 5, 10)}
    worst = max(chance_of_a_wrong_look(6, looks, p) for p in TRUTHS)
    assert ALPHA / 3 < worst <= Fraction(ALPHA)


def test_with_the_first_run_at_most_twice_alpha():
    looks = {1: ALPHA} | {times: ALPHA * Extended(times).share for times in (2, 5, 10)}
    assert max(chance_of_a_wrong_look(6, looks, p) for p in TRUTHS) <= 2 * Fraction(ALPHA)


def test_whoever_looks_at_every_total_at_all_of_alpha_is_caught():
    looks = dict.fromkeys((1, 2, 5, 10), ALPHA)
    assert max(chance_of_a_wrong_look(6, looks, p) for p in TRUTHS) > 1.5 * ALPHA


@pytest.mark.slow
def test_the_exact_test_leaves_the_other_extensions_their_part(base, tiny_inputs):
    new, model = PixelSum(29), PixelSum(28)
    extended = smoothcert.extend(base, model, tiny_inputs, 5 * N)
    # The same votes, by someone who fixed the total beforehand and spends a quarter of alpha.
    fixed = certify(tiny_inputs, 5 * N)
    how = {"policy": "uniform:300", "form": "binary"}
    mine = smoothcert.recertify(extended, new, tiny_inputs, alpha=0.002, **how)
    theirs = smoothcert.recertify(fixed, new, tiny_inputs, alpha=0.0005, **how)
    assert mine.method == Exact("uniform:300", 0.002, share=0.25)
    assert [c.radius for c in mine.certificates] == [c.radius for c in theirs.certificates]
    assert {round(c.alpha, 9) for c in mine.certificates} == {0.002}
    assert mine.certificates != theirs.certificates
    fresh = smoothcert.recertify(extended, new, tiny_inputs, per_input=300, fresh_seed=3)
    assert fresh.method.alpha == 0.002


@pytest.mark.parametrize("method", ["joint", "stratified", "irs"])
def test_other_methods_have_no_error_for_an_extended_base(method, base, tiny_inputs):
    extended = smoothcert.extend(base, PixelSum(28), tiny_inputs, 2 * N)
    with pytest.raises(InvalidInput, match="only the exact test leaves a part of alpha"):
        smoothcert.recertify(extended, PixelSum(29), tiny_inputs, method=method, per_input=50)


def test_a_screening_has_none_either(base, tiny_inputs):
    labels = tuple(c.candidate for c in base.certificates)
    inputs = replace(tiny_inputs, labels=labels)
    extended = smoothcert.extend(base, PixelSum(28), inputs, 2 * N)
    with pytest.raises(InvalidInput, match="Screen on the run that was extended"):
        smoothcert.screen(extended, [PixelSum(29)], inputs, per_input=50)


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (3 * N, r"got n = 1,200\. Extend to 800 or 2,000"),
        (N, "Extend to 800"),
        (N // 2, "Extend to 800"),
        (2 * N + 1, "Extend to 800 or 2,000"),
        (0, "whole number"),
    ],
)
def test_totals_without_an_error_of_their_own_are_refused(n, said, base, tiny_inputs):
    with pytest.raises(InvalidInput, match=said):
        smoothcert.extend(base, PixelSum(28), tiny_inputs, n)


def test_the_advice_of_a_refusal_works(base, tiny_inputs):
    for n in (800, 2000):
        assert smoothcert.extend(base, PixelSum(28), tiny_inputs, n).certificates[0].n == n


def test_what_cannot_be_extended(base, tiny_inputs):
    with pytest.raises(Mismatch, match="is not the classifier that was certified"):
        smoothcert.extend(base, PixelSum(29), tiny_inputs, 2 * N)
    new = smoothcert.recertify(base, PixelSum(29), tiny_inputs, per_input=100)
    with pytest.raises(Mismatch, match="itself recertified"):
        smoothcert.extend(new, PixelSum(29), tiny_inputs, 2 * N)
    margins = certify(tiny_inputs, keep_margins=True)
    with pytest.raises(InvalidInput, match="keeps margins cannot be extended"):
        smoothcert.extend(margins, PixelSum(28), tiny_inputs, 2 * N)


def test_the_largest_total_says_so():
    settings = Settings(0.25, 16, n=5 * 10**8)
    with pytest.raises(InvalidInput, match="Extend to 1,000,000,000"):
        Extended.to(10**9 - 1, settings, SCRATCH)
    with pytest.raises(InvalidInput, match="no more: it is as large as can be"):
        Extended.to(10**9 - 1, replace(settings, n=10**9), SCRATCH)
