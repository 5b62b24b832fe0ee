"""What docs/questions.md and docs/alpha-and-draws.md are computed with."""

import alpha_split
import complexity
import compression_levels
import numpy as np
import pytest
import regime
from pairs import Pair

from smoothcert.bounds import binomial


def test_gaps_are_to_the_largest_other_logit():
    logits = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]])
    assert compression_levels.gaps(logits, np.array([1, 0])).tolist() == [1.0, -5.0]


def test_flips_are_predicted_from_gaps_and_their_changes():
    """Uniform gaps on [0, 10] and independent normal changes of size 0.1: 0.1 phi(0) / 10."""
    rng = np.random.default_rng(0)
    gap, change = rng.uniform(0, 10, 200_000), rng.normal(0, 0.1, 200_000)
    found = compression_levels.predictions(gap, change, 0.05, 0.05)
    expected = 0.1 * 0.3989 / 10
    assert found["density"] == pytest.approx(0.1, rel=0.02)
    for name in ("first order", "shuffled", "nearby"):
        assert found[name] == pytest.approx(expected, rel=0.05)
    assert (gap + change < 0).mean() == pytest.approx(expected, rel=0.1)


def test_only_nearby_sees_that_falls_grow_with_the_gap():
    rng = np.random.default_rng(0)
    gap = rng.uniform(0, 10, 200_000)
    change = rng.normal(0, 0.3, 200_000) * gap / 10
    found, truth = (
        compression_levels.predictions(gap, change, 0.05, 0.005),
        (gap + change < 0).mean(),
    )
    assert found["first order"] > 20 * truth
    assert found["shuffled"] > 20 * truth
    assert found["nearby"] < found["shuffled"] / 10


def test_exponents_are_fitted():
    rows = [
        {"series": "bits", "target": f"int{b}-weights", "differ": 0.9 / (2 ** (b - 1) - 1)}
        for b in (8, 7, 6, 5)
    ]
    assert compression_levels.exponent(rows, 0.2) == pytest.approx(1)
    rows = [{"series": "pruned", "target": f"prune:{s}", "differ": s**1.5} for s in (0.01, 0.1, 1)]
    assert compression_levels.exponent(rows, 0.5) == pytest.approx(1.5)


@pytest.mark.parametrize(("proportion", "within"), [(0.5, 0.02), (0.01, 0.01), (0.001, 0.005)])
def test_so_many_draws_are_needed(proportion, within):
    n = complexity.needed(proportion, within, 0.001)
    for draws, count in ((n, np.floor(n * proportion)), (n // 2, np.ceil(n * proportion / 2))):
        close = float(binomial.upper(count, draws, 0.001)) - proportion <= within
        assert close == (draws == n)


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    old = rng.choice(3, (6, 400), p=[0.8, 0.1, 0.1])
    new = np.where(rng.random(old.shape) < 0.05, rng.choice(3, old.shape), old)
    return Pair("a", 0.5, "x", old, new, np.zeros(6, np.int64))


def test_running_counts_are_those_of_prefixes(pair):
    for image in range(6):
        old, new = pair.old[image], pair.new[image]
        winners = np.flatnonzero(old == 0)
        assert pair.votes[image] == len(winners)
        for m in (0, 1, 17, 200):
            assert pair.changed[image, m] == (old[:m] != new[:m]).sum()
            assert pair.hits[image, m] == (new[:m] == 0).sum()
            assert pair.lost[image, m] == (new[winners[:m]] != 0).sum()
        assert pair.lost[image, -1] == (new[winners] != 0).sum()


def test_shares_of_alpha_give_the_published_bound(pair):
    flips = pair.changed[:, 100]
    half = binomial.lower(pair.votes, 400, 0.001) - binomial.upper(flips, 100, 0.001)
    assert alpha_split.irs(pair, 100)(0.5) == pytest.approx(half)
    assert (alpha_split.product(pair, 100)(0.5) > half).all()
    few, many = alpha_split.by_formula(pair, 4), alpha_split.by_formula(pair, 400)
    assert 0 < few < many < 1


def test_what_is_proven_of_votes(pair):
    found = complexity.limits(pair, np.array([50, 400]))
    truth = pair.hits[:, -1:] / pair.n
    for limit in found.values():
        assert limit.shape == (6, 2)
        assert (limit < truth).all()
    rows = list(complexity.vote_rows(pair))
    assert {row["images"] for row in rows} == {6}
    assert all(row["directly"] is None for row in rows)  # 400 draws are too few for 0.05


def test_where_a_method_stops_to_pay():
    def rows(*ratios):
        levels = (0.01, 0.02, 0.04)
        return [{"disparity": d, "m": r} for d, r in zip(levels, ratios, strict=True)]

    assert regime.end(rows(2.0, 1.5, 0.5), "m") == "2.8"
    assert regime.end(rows(3, 2, 1.1), "m") == "above 4"
    assert regime.end(rows(0.9, 0.8, 0.7), "m") == "below 1"
    assert regime.end(rows(3, 2, None), "m") == "above 2"
