"""Plans for the exact test: what they depend on, what they cost, and what they choose."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from smoothcert.bounds import exact, exact_stages
from smoothcert.certificate import Settings
from smoothcert.methods.exact import Exact
from smoothcert.methods.steps import Steps, goes_on, looks_of
from smoothcert.planning import FlipRates, Known, Menu, Policy, PricedPlanner, aims

N, N0, ALPHA, INPUTS = 2000, 100, 0.002, 120


FLIPS, SETTINGS = FlipRates(0.05, 0.05), Settings(0.5, 255, N0, N, ALPHA / 2)


def planner(policy="budget:0.05", form="binary", seed=0, stages=1):
    """Inputs from undecided to sure, with what their draws gave."""
    rng = np.random.default_rng(seed)
    p = special.ndtr(rng.uniform(0, 3, INPUTS))
    k = rng.binomial(N, p)
    selected = rng.binomial(N0, p)
    other = rng.binomial(N0 - selected, 0.7)
    n = np.full(INPUTS, N)
    known = Known(np.stack([selected, other], axis=1), k, n, k > 0.55 * N)
    return PricedPlanner(Exact(policy, ALPHA, form, stages=stages), SETTINGS, FLIPS, known, 100)


def with_votes(made, position, k):
    """The same, had one input so many cached votes."""
    votes = made.known.k.copy()
    votes[position] = k
    known = replace(made.known, k=votes, proven=votes > 0.55 * N)
    return replace(made, known=known)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "runner-up", "auto"])
@pytest.mark.parametrize(
    ("policy", "stages"),
    [
        *(("budget:0.02", 1), ("uniform:300", 1), ("retain:0.9", 1), ("radius:0.25", 1)),
        *(("retain:0.9", 2), ("radius:0.25", 2)),
    ],
)
def test_a_plan_does_not_depend_on_the_inputs_own_votes_or_later_ones(policy, stages, form):
    """What docs/theory.md, section 13, rests on. A plan by all votes alike is found out."""
    position = 60
    made = planner(policy, form, stages=stages)
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


@pytest.mark.slow
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
        known = made.known.at(rank)
        total = replace(made, known=known).plan().evaluations + made.pilot_evaluations
        assert total / (0.02 * N * INPUTS) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("radius", [0.2, 0.4])
def test_a_radius_that_is_aimed_at_is_reached(radius, stages):
    """About as often as expected, of the exact test itself, where flip rates are as in the law."""
    made = planner(f"radius:{radius}", stages=stages)
    plan, rng = made.plan(), np.random.default_rng(1)
    reached, expected, spent = 0, plan.radius.sum() / (radius / SETTINGS.sigma), []
    for one, k in zip(plan.allocations, made.known.k.tolist(), strict=True):
        if not one.winners:
            expected -= plan.radius[len(spent)] / (radius / SETTINGS.sigma)
            spent.append(0)
            continue
        u = min(1, rng.exponential() * FLIPS.rates(np.array([k / N]))[0][0])
        looks = looks_of(one.steps, N)
        lost = rng.binomial(one.winners, u)
        again = goes_on(looks, k, lost)
        more = int(looks.more[k]) if again else 0
        lost += rng.binomial(more, u)
        q = float(exact_stages.lower(k, lost, again, looks, ALPHA))
        reached += SETTINGS.radius(q) >= radius
        spent.append(one.winners + more)
    assert expected > 30
    assert reached == pytest.approx(expected, rel=0.12)
    assert (max(spent) > max(one.winners for one in plan.allocations)) == (stages == 2)


def test_a_second_look_is_worth_more():
    """By what is expected: the chance to reach the aim, less 1/n for an evaluation."""
    menu = Menu(N, N0, FLIPS, ALPHA)
    rows, target = menu.proven & (menu.cached > 0), 0.9 * menu.cached
    worth = []
    for stages in (1, 2):
        chosen = aims.reaching(menu, target, stages)
        worth.append((chosen.radius[rows] / target[rows]) - chosen.cost[rows] / N)
    assert (worth[1] >= worth[0] - 1e-9).all()
    assert (worth[1] - worth[0]).max() > 0.02


def test_what_two_looks_are_expected_to_do():
    """Against sums over every pair of counts, at the law that is assumed."""
    menu = Menu(N, N0, FLIPS, ALPHA)
    row = 90
    p = special.ndtr(menu.z[[row]])[:, None]
    u = menu.flips.rates(p)[0]
    rows = aims._Rows(menu, p, u, 0.5 * menu.cached[[row], None], np.array([[100.0, 400.0]]))
    best = aims._second_looks(rows)
    first, second, fewest, most = (
        int(getattr(best, name)[0]) for name in ("first", "second", "fewest", "most")
    )
    assert (first, second) == (100, 400)
    low, high = rows.tolerated[0].astype(int)
    assert fewest == low + 1 <= most <= high
    rate, chance, later = stats.expon.ppf((np.arange(4000) + 0.5) / 4000) * u[0, 0], 0.0, 0.0
    for x in range(high + 1):
        share = stats.poisson.pmf(x, first * rate)
        if x <= low:
            chance += share.mean()
        elif x <= most:
            rest = stats.poisson.cdf(high - x, (second - first) * rate)
            chance, later = chance + (share * rest).mean(), later + share.mean() * 300
    assert best.chance[0] == pytest.approx(chance, abs=0.01)
    assert best.later[0] == pytest.approx(later, rel=0.05)
    # A lost vote more is one too many.
    for size, lost in zip(rows.sizes[0], (low, high), strict=True):
        limits = menu.limit(p, size, np.array([lost, lost + 1]), ALPHA * aims._SHARE)[0]
        assert limits[0] >= rows.target[0, 0] > limits[1]


def of_sizes(policy="budget:0.05", form="binary", stages=1):
    """Inputs whose caches have one of four sizes; none has nothing."""
    made = planner(policy, form, stages=stages)
    n = np.random.default_rng(7).choice([0, 200, 900, N], INPUTS)
    k = np.round(made.known.k * n / N).astype(np.int64)
    return replace(made, known=replace(made.known, k=k, n=n, proven=2 * k > 1.1 * n))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "runner-up", "auto"])
@pytest.mark.parametrize(
    ("policy", "stages"),
    [("budget:0.05", 1), ("uniform:300", 1), ("retain:0.9", 2), ("radius:0.25", 1)],
)
def test_caches_of_several_sizes_share_one_plan(policy, stages, form):
    """Nobody gets more than was cached, a budget is kept, and no plan follows its own votes."""
    made = of_sizes(policy, form, stages)
    plan, position = made.plan(), 60
    for one, n, proven in zip(plan.allocations, made.known.n, made.known.proven, strict=True):
        assert one.winners <= n
        assert (one.evaluations > 0) <= bool(proven)
        if policy.startswith("uniform"):
            assert (one.evaluations > 0) == bool(proven)
    assert all(made.known.n[i] or not plan.radius[i] for i in range(INPUTS))
    if policy.startswith("budget") and form == "binary":
        spent = plan.evaluations + made.pilot_evaluations
        assert spent / (0.05 * made.known.n.sum()) == pytest.approx(1, abs=0.06)
        evaluations, radii, given = made.expected(policy)
        some = sum(one.evaluations > 0 for one in plan.allocations)
        assert sum(given) == pytest.approx(some, abs=4)
        assert plan.evaluations == pytest.approx(evaluations, rel=0.35)
        assert plan.radius.mean() == pytest.approx(radii.mean(), rel=0.35)
    own = made.known.n[position]
    votes = made.known.k.copy()
    votes[position] = own - 1
    moved = replace(made.known, k=votes, proven=2 * votes > 1.1 * made.known.n)
    after = replace(made, known=moved).plan().allocations
    assert own > 0
    assert plan.allocations[:position] == after[:position]
    kept = plan.allocations[position].steps, after[position].steps
    assert kept[0] == kept[1] or () in kept


def test_an_aim_out_of_reach_costs_nothing():
    """Not even for two looks: the original itself does not have the radius."""
    made = planner("radius:1.9", stages=2)
    assert made.plan().evaluations == 0


@pytest.mark.slow
def test_a_higher_aim_is_worth_its_draws_on_fewer_inputs():
    """Why retain:0.99 can cost less and prove less than retain:0.9, which plan then says."""
    made = planner()
    low, high = made.expected("retain:0.9"), made.expected("retain:0.99")
    assert high[2].sum() < low[2].sum()
    assert (high[2] <= low[2]).all()
    nothing = made.expected("radius:1.9")
    assert nothing[0] == nothing[2].sum() == 0


def test_unproven_inputs_get_nothing():
    made = planner("uniform:100")
    for proven, one in zip(made.known.proven, made.plan().allocations, strict=True):
        assert (one.evaluations > 0) == bool(proven)


def test_a_uniform_policy_is_taken_as_it_says():
    for one in planner("uniform:137").plan().allocations:
        assert one.evaluations in (0, 137)


@pytest.mark.slow
def test_expected_figures_use_no_cached_votes():
    made = planner()
    again = with_votes(made, 3, 1999)
    for policy in ("budget:0.01", "uniform:100", "retain:0.9", "radius:0.1"):
        (evaluations, *found), (spent, *others) = made.expected(policy), again.expected(policy)
        assert evaluations == spent
        assert all(map(np.array_equal, found, others))
        radii, given = found
        assert ((given > 0) >= (radii > 0)).all()
        plan = made.plan(policy)
        if policy in ("budget:0.01", "uniform:100"):  # others have second looks
            assert plan.evaluations == pytest.approx(evaluations, rel=0.35)
            assert plan.radius.mean() == pytest.approx(radii.mean(), rel=0.35)
        assert radii.mean() > 0.7 * plan.radius.mean()  # of an aim, what misses it counts too


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
    facts = base.known.n, np.full(INPUTS, True)
    known = Known(pairs, np.full(INPUTS, 900), *facts)
    plans = replace(base, known=known).plan().allocations
    assert all(one.others > 0 for one in plans)
    sure = Known(np.tile([[95, 5]], (INPUTS, 1)), np.full(INPUTS, 1900), *facts)
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
