"""Plans for the exact test: what they depend on, what they cost, and what they choose."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from smoothcert.bounds import exact
from smoothcert.certificate import Settings
from smoothcert.methods.exact import Exact, Steps
from smoothcert.planning import FlipRates, Known, Menu, Policy, PricedPlanner

N, N0, ALPHA, INPUTS = 2000, 100, 0.002, 120


FLIPS, SETTINGS = FlipRates(0.05, 0.05), Settings(0.5, 255, N0, N, ALPHA / 2)


def planner(policy="budget:0.05", form="binary", seed=0):
    """Inputs from undecided to sure, with what their draws gave."""
    rng = np.random.default_rng(seed)
    p = special.ndtr(rng.uniform(0, 3, INPUTS))
    k = rng.binomial(N, p)
    selected = rng.binomial(N0, p)
    other = rng.binomial(N0 - selected, 0.7)
    known = Known(np.stack([selected, other], axis=1), k, k > 0.55 * N)
    menu = Menu(N, N0, FLIPS, ALPHA)
    return PricedPlanner(Exact(policy, ALPHA, form), SETTINGS, menu, known, 100)


def with_votes(made, position, k):
    """The same, had one input so many cached votes."""
    votes = made.known.k.copy()
    votes[position] = k
    known = Known(made.known.selected, votes, votes > 0.55 * N)
    return replace(made, known=known)


@pytest.mark.parametrize("form", ["binary", "runner-up", "auto"])
@pytest.mark.parametrize("policy", ["budget:0.02", "uniform:300", "retain:0.9", "radius:0.25"])
def test_a_plan_does_not_depend_on_the_inputs_own_votes_or_later_ones(policy, form):
    """What docs/theory.md, section 13, rests on. A plan by all votes alike is found out."""
    position = 60
    made = planner(policy, form)
    before = made.plan().allocations
    moved = set()
    for k in (1150, 1500, 1990):
        after = with_votes(made, position, k).plan().allocations
        own = after[position], before[position]
        assert own[0].steps == own[1].steps or () in (own[0].steps, own[1].steps)
        for one, two in zip(before[:position], after[:position], strict=True):
            assert one == two
        moved |= {i for i in range(INPUTS) if before[i] != after[i]}
    # Later prices do follow it, where there is a budget to keep and its cost depends on its votes.
    follows = policy == "budget:0.02" and form != "runner-up"
    assert (max(moved, default=position) > position) == follows


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1, 0.3])
def test_budgets_are_kept(share):
    """With runner-ups too, on collected votes: tests/experiments/test_recorded_votes.py."""
    spent = []
    for seed in range(5):
        made = planner(f"budget:{share}", seed=seed)
        spent.append((made.plan().evaluations + made.pilot_evaluations) / (share * N * INPUTS))
    assert max(spent) < 1.02 + 0.01
    assert np.mean(spent) == pytest.approx(1, abs=0.02)


def test_inputs_in_order_of_difficulty_keep_the_budget_too():
    made = planner("budget:0.02")
    order = np.argsort(made.known.k)
    for rank in (order, order[::-1]):
        known = Known(made.known.selected[rank], made.known.k[rank], made.known.proven[rank])
        total = replace(made, known=known).plan().evaluations + made.pilot_evaluations
        assert total / (0.02 * N * INPUTS) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("form", ["binary", "runner-up"])
def test_a_radius_is_aimed_at_on_the_scale_of_the_inputs(form):
    """sigma is 0.5: a radius of 0.4 is 0.8 sigma."""
    made = planner("radius:0.4", form)
    plan = made.plan()
    reached = plan.radius[[one.evaluations > 0 for one in plan.allocations]]
    assert len(reached) > 40
    assert reached.min() + 1e-9 >= 0.8
    assert np.median(reached) < 0.95
    sure = plan.radius[made.known.selected[:, 0] == N0]
    assert len(sure) > 10
    assert sure.min() >= 0.8


def test_unproven_inputs_get_nothing():
    made = planner("uniform:100")
    for proven, one in zip(made.known.proven, made.plan().allocations, strict=True):
        assert (one.evaluations > 0) == bool(proven)


def test_a_uniform_policy_is_taken_as_it_says():
    for one in planner("uniform:137").plan().allocations:
        assert one.evaluations in (0, 137)


def test_expected_figures_use_no_cached_votes():
    made = planner()
    again = with_votes(made, 3, 1999)
    for policy in ("budget:0.01", "uniform:100", "retain:0.9", "radius:0.1"):
        assert made.expected(policy) == again.expected(policy)
        evaluations, radius = made.expected(policy)
        plan = made.plan(policy)
        assert plan.evaluations == pytest.approx(evaluations, rel=0.35)
        assert plan.radius.mean() == pytest.approx(radius, rel=0.35)


def test_expected_radii_are_near_proven_ones():
    """Means over the replays lost, by the test itself, at every row's votes."""
    menu = Menu(N, N0, FLIPS, ALPHA)
    rng, m = np.random.default_rng(0), 200
    column = int(np.searchsorted(menu.binary.fresh[0], m, side="right")) - 1
    size = int(menu.binary.fresh[0, column])
    for row in range(60, 150, 15):
        p = special.ndtr(menu.z[row])
        k = round(p * N)
        lost = rng.binomial(min(size, k), FLIPS.rates(np.array([p]))[0][0], 40)
        limits = exact.lower(np.full(40, k), N, lost, size, ALPHA)
        proven = np.maximum(special.ndtri(np.clip(limits, 1e-9, 1 - 1e-9)), 0).mean()
        assert menu.binary.replayed[row, column] == pytest.approx(proven, abs=0.05)


def test_rows_and_their_least_votes_agree():
    menu = Menu(N, N0, FLIPS, ALPHA)
    rows = menu.row(np.arange(N + 1))
    for row, least in enumerate(menu.least_votes):
        if (rows == row).any() and row:
            assert int(np.flatnonzero(rows == row)[0]) == least
    assert (np.diff(rows) >= 0).all()


def test_runner_ups_are_chosen_where_they_help():
    """A class at 0.45 before one at 0.2 proves nothing against all others together."""
    base = planner("budget:0.1", "auto")
    pairs = np.tile([[45, 20]], (INPUTS, 1))
    known = Known(pairs, np.full(INPUTS, 900), np.full(INPUTS, True))
    plans = replace(base, known=known).plan().allocations
    assert all(one.others > 0 for one in plans)
    sure = Known(np.tile([[95, 5]], (INPUTS, 1)), np.full(INPUTS, 1900), np.full(INPUTS, True))
    assert not any(one.others for one in replace(base, known=sure).plan().allocations)


def test_policies_parse_as_ever():
    assert Policy.parse("budget:0.5").total(10, 100) == 500


@pytest.mark.parametrize(
    "flat", [(), (0, 1, 0), (1, 1, 0, 0), (0, -1, 0, 0), (0, 1, 2, 0, 5, 1, 3, 0)]
)
def test_what_is_no_plan_is_refused(flat):
    from smoothcert.errors import InvalidInput

    with pytest.raises(InvalidInput):
        Steps.of(flat)
