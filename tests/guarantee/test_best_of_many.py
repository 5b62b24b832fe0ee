"""Models tried on one cache in real run directories: what the ledger counts, and the ways out."""

import numpy as np
import pytest
from best_of_many import ALPHA, REPLAYED, Field, afresh, replayed
from known_law import SIGMA

from smoothcert.certificate import Settings
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.runs import ledger
from smoothcert.runs.store import Run


@pytest.fixture(scope="module")
def field():
    return Field.of(5, p=0.97, lost=0.093)


@pytest.mark.slow
def test_the_ledger_of_a_run_counts_them(field, tmp_path):
    """In real run directories; they were fixed beforehand, so their number divides alpha."""
    how, some = RunOptions(batch_size=256), field.candidates[:5]
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
