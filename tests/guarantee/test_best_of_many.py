"""Fifty candidates on one cache, the best one shown: alpha fails, and both remedies hold.

As in test_end_to_end.py a test rejects if so many overclaims have probability below ERROR at
alpha. 80 caches would show a rate of 0.27 with probability 0.99; 2,000 (`-m full`) one of 0.09.
"""

import numpy as np
import pytest
from best_of_many import ALPHA, CANDIDATES, REPLAYED, Field, afresh, anew, best, replayed
from known_law import SIGMA
from overclaims import ERROR, detects, p_value

from smoothcert.certificate import Settings
from smoothcert.runs import ledger
from smoothcert.runs.runner import How, run_certify, run_recertify
from smoothcert.runs.store import Run


@pytest.fixture(scope="module", params=[80, pytest.param(2000, marks=pytest.mark.full)])
def caches(request):
    return request.param


@pytest.fixture(scope="module")
def field():
    return Field.of()


@pytest.fixture(scope="module")
def base(field, caches):
    return field.base(caches)


@pytest.fixture(scope="module")
def shown(field, base):
    return best(field, base, replayed(ALPHA))


def refuted(wrong) -> bool:
    return p_value(int(wrong.sum()), len(wrong), ALPHA) < ERROR


def test_the_candidates_are_equally_good(field):
    changed = field.changed[:, 1]
    assert len(changed) == CANDIDATES
    assert np.ptp(changed) < 1e-12
    tables = {candidate.fingerprint for candidate in field.candidates}
    assert len(tables) == CANDIDATES


def test_each_candidate_alone_holds(shown, caches):
    """None of the fifty is refuted, at ERROR in all."""
    p = [p_value(round(rate * caches), caches, ALPHA) for rate in shown.each]
    assert min(p) > ERROR / CANDIDATES
    assert shown.each.mean() < ALPHA


def test_the_best_of_them_does_not(shown):
    assert refuted(shown.wrong)
    assert shown.wrong.mean() > 4 * ALPHA


def test_alpha_divided_by_a_number_fixed_beforehand_holds(field, base):
    divided = best(field, base, replayed(ALPHA / CANDIDATES))
    assert not refuted(divided.wrong)


def test_a_fresh_seed_holds(field, base, shown):
    assert not refuted(anew(field, base, shown.candidate))


def test_a_fresh_seed_that_the_choice_has_seen_does_not(field, base):
    seed = 2**62
    seen = best(field, base, afresh(seed))
    again = anew(field, base, seen.candidate, seed)
    assert np.array_equal(again, seen.wrong)  # the same draws
    assert refuted(again)


def test_what_the_test_would_find():
    assert detects(80, ALPHA) < 0.37
    assert detects(2000, ALPHA) < 0.09


def test_the_ledger_of_a_run_counts_them(field, tmp_path):
    """In real run directories; they were fixed beforehand, so their number divides alpha."""
    how, some = How(batch_size=256), field.candidates[:5]
    inputs = field.world.inputs(3)
    settings = Settings(SIGMA, inputs.levels, n0=20, n=400, alpha=ALPHA)
    original = run_certify(tmp_path / "base", field.world.original, inputs, settings, how)
    assert ledger.tries(original).models == 0
    runs = [
        run_recertify(tmp_path / f"{i}", original, c, inputs, replayed(ALPHA), how)
        for i, c in enumerate(some)
    ]
    served = ledger.tries(Run.open(tmp_path / "base")).models
    assert served == len(some)
    chosen = int(np.argmax([sum(c.radius for c in run.certificates) for run in runs]))
    facts = original, some[chosen], inputs
    divided = run_recertify(tmp_path / "divided", *facts, replayed(ALPHA / served), how)
    fresh = run_recertify(tmp_path / "fresh", *facts, afresh(2**63), how)
    assert ledger.tries(original).models == served  # no other model
    for mine, least, new in zip(
        runs[chosen].certificates, divided.certificates, fresh.certificates, strict=True
    ):
        assert least.alpha == pytest.approx(ALPHA / served)
        assert least.radius <= mine.radius
        assert new.method in ("fresh", "nothing")
        assert new.alpha == ALPHA
    assert any(c.method == "fresh" and c.n == REPLAYED for c in fresh.certificates)
