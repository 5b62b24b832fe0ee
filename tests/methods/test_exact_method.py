"""The method of the exact test: which draws it replays, what they prove, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from smoothcert.bounds import binomial, exact, exact_stages
from smoothcert.certificate import Outcome, Record, Settings, Votes
from smoothcert.errors import InvalidInput
from smoothcert.methods import Allocation, Bound, Exact, scratch
from smoothcert.methods.base import Cached, Case, Stored
from smoothcert.methods.exact import certificate
from smoothcert.methods.exact_draws import replays, votes_of
from smoothcert.methods.steps import Step, Steps

ALPHA, N, SHAPE, CLASSES = 0.01, 400, (1, 2, 2), 4
SETTINGS = Settings(0.5, 255, 50, N, ALPHA / 2)
METHOD = Exact("uniform:100", ALPHA)


@pytest.fixture(scope="module")
def cached():
    """An original that gives class 1 to most draws, then class 2."""
    rng = np.random.default_rng(0)
    labels = rng.choice([-1, 0, 1, 2], p=[0.02, 0.08, 0.7, 0.2], size=N).astype(np.int32)
    votes = Votes(selection=labels[:50], estimation=labels)
    return Record(scratch.certificate(5, "", votes, SETTINGS, SHAPE, CLASSES), votes)


def changed(labels, share=0.05):
    rng = np.random.default_rng(1)
    return np.where(rng.random(len(labels)) < share, 2, labels).astype(np.int32)


def made(cached, allocation, method=METHOD, new=None):
    """The record that an allocation gives."""
    replayed = replays(cached.votes, 1, allocation)
    labels = changed(cached.votes.estimation)[replayed] if new is None else new
    votes = votes_of(labels, cached.votes, replayed, allocation, CLASSES)
    counts = Cached.counted(cached.certificate)
    return Record(certificate(counts, votes, method, SETTINGS, SHAPE), votes)


def allocation(*steps, fresh=0, winners=0, others=0):
    bound = Bound.EXACT_FRESH if fresh else Bound.EXACT
    flat = Steps(tuple(steps)).flat
    return Allocation(bound, winners, others=others, fresh=fresh, steps=flat)


def test_the_first_winners_are_replayed_and_all_of_alpha_is_spent(cached):
    steps = Step(0), Step(200, 30), Step(250, 60), Step(290, 20)
    k = cached.certificate.k
    assert 250 <= k < 290
    record = made(cached, allocation(*steps, winners=60))
    won = np.flatnonzero(cached.votes.estimation == 1)[:60]
    assert np.flatnonzero(record.votes.roles).tolist() == won.tolist()
    lost = int((changed(cached.votes.estimation)[won] != 1).sum())
    assert record.certificate.flips == lost > 0
    replayed = np.zeros(N + 1, np.int64)
    replayed[200:250], replayed[250:290], replayed[290:] = 30, 60, 20
    limit = float(exact.lower_planned(k, lost, replayed, 0 * replayed, ALPHA))
    assert record.certificate.q == pytest.approx(limit, abs=1e-9)
    assert record.certificate.budget == (("cache and replay", ALPHA),)
    assert record.certificate.outcome is Outcome.CERTIFIED


def test_fresh_draws_of_a_plan(cached):
    steps = Step(0), Step(250, fresh=80)
    labels = np.where(np.arange(80) < 75, 1, 2).astype(np.int32)
    record = made(cached, allocation(*steps, fresh=80), new=labels)
    fresh = np.where(np.arange(N + 1) >= 250, 80, 0)
    limit = float(exact.lower_planned(cached.certificate.k, 75, 0 * fresh, fresh, ALPHA))
    assert record.certificate.q == pytest.approx(limit, abs=1e-9)
    assert record.certificate.method == "exact-fresh"


def test_every_other_class_is_bounded_by_its_own_draws(cached):
    """Against all classes one by one, without leaving out those that others are worse than."""
    share = allocation(Step(0, 60, 100), winners=60, others=100)
    record = made(cached, share, Exact("uniform:100", ALPHA, "runner-up"))
    labels, new = cached.votes.estimation, changed(cached.votes.estimation)
    won = np.flatnonzero(labels == 1)[:60]
    lost = (new[won] != 1).sum()
    q = float(exact.lower(cached.certificate.k, N, lost, 60, ALPHA / 2))
    limits = []
    for other in (0, 2, 3):
        kind = np.flatnonzero(labels != other)
        lost = (new[kind[:100]] == other).sum()
        limits.append(float(exact.lower(len(kind), N, lost, 100, ALPHA / 2)))
    assert record.certificate.q == pytest.approx(q, abs=1e-9)
    assert record.certificate.runner_up == pytest.approx(min(1 - min(limits), 1 - q), abs=1e-9)
    assert record.certificate.runner_up < 1 - q - 0.05
    assert dict(record.certificate.budget) == {"candidate": 0.005, "other classes": 0.005}
    assert record.certificate.evaluations == len(record.votes.estimation) < 140


def test_fresh_draws_with_a_runner_up(cached):
    labels = np.array([1] * 60 + [2] * 15 + [0] * 5, np.int32)
    share = allocation(Step(0, 0, 80, 80), fresh=80, others=80)
    found = made(cached, share, Exact("uniform:100", ALPHA, "runner-up"), labels).certificate
    assert found.q == pytest.approx(float(binomial.lower(60, 80, ALPHA / 2)), abs=1e-9)
    most = float(binomial.upper(15, 80, ALPHA / 2))
    assert found.runner_up == pytest.approx(min(most, 1 - found.q), abs=1e-9)


def test_nothing_is_certified_without_evaluations(cached):
    record = made(cached, Allocation(Bound.NOTHING))
    assert record.votes == Votes()
    assert record.certificate.outcome is Outcome.UNSPENT
    assert (record.certificate.method, record.certificate.evaluations) == ("nothing", 0)


SHARES = [
    allocation(Step(0), Step(200, 60), winners=60),
    allocation(Step(0, 60, 100), winners=60, others=100),
    allocation(Step(0), Step(250, fresh=80), fresh=80),
]


def faults(record, cached, share):
    """What `verify` says of it."""
    method = Exact("uniform:100", ALPHA, "auto")
    stored = Stored(record, SETTINGS, SHAPE, CLASSES, cached, share)
    found, wrong = method.recheck(stored), list(method.wrongly_counted(stored))
    return wrong + ([] if found == record.certificate else ["another certificate"])


@pytest.mark.parametrize("share", SHARES)
def test_an_honest_record_has_no_faults(cached, share):
    new = np.full(80, 1, np.int32) if share.fresh else None
    record = made(cached, share, Exact("uniform:100", ALPHA, "auto"), new)
    assert faults(record, cached, share) == []


def test_what_was_chosen_after_the_fact_is_found(cached):
    """A plan, draws, or cached counts that are not those of the base and the plan."""
    method, (binary, several, _) = Exact("uniform:100", ALPHA, "auto"), SHARES
    longer = made(cached, allocation(Step(0), Step(200, 90), winners=90), method)
    assert "its plan is not the one that was made for it" in faults(longer, cached, binary)
    other = made(cached, allocation(Step(0), Step(200, 60), Step(300, 5), winners=60), method)
    assert "its plan is not the one that was made for it" in faults(other, cached, binary)
    honest = made(cached, several, method)
    counts = honest.votes.cached.copy()
    counts[2] -= 40
    forged = replace(honest, votes=replace(honest.votes, cached=counts))
    assert any("other classes" in fault for fault in faults(forged, cached, several))


def test_a_record_with_fewer_draws_than_its_plan_proves_nothing(cached):
    record = made(cached, SHARES[0])
    votes = record.votes
    keep = np.flatnonzero(votes.roles)[:-1]
    roles = np.zeros_like(votes.roles)
    roles[keep] = 1
    fewer = replace(votes, roles=roles, estimation=votes.estimation[:-1])
    with pytest.raises(InvalidInput, match="59 cached draws were replayed where the plan has 60"):
        certificate(Cached.counted(cached.certificate), fewer, METHOD, SETTINGS, SHAPE)


def test_which_draws_are_replayed_for_many_classes(cached):
    """Those of every class one by one, the long way."""
    share = SHARES[1]
    labels = cached.votes.estimation
    due = np.zeros(N, bool)
    due[np.flatnonzero(labels == 1)[:60]] = True
    for other in (0, 2, 3):
        due[np.flatnonzero(labels != other)[:100]] = True
    assert (replays(cached.votes, 1, share) == due).all()


LOOKS = Step(0), Step(200, 60, second=150, fewest=1, most=6)


class Answers:
    """A sampler that knows the labels of every draw, and remembers what it was asked."""

    def __init__(self, labels):
        self.settings, self.num_classes, self.known, self.asked = SETTINGS, CLASSES, labels, []

    def labels(self, requests):
        for request in requests:
            self.asked.append(np.asarray(request.draws).tolist())
            yield request, self.known[request.draws]


@pytest.mark.parametrize(("lost", "goes"), [(0, False), (1, True), (6, True), (7, False)])
def test_a_second_look_follows_the_first_as_the_plan_says(cached, lost, goes):
    """The limit is that of section 13 over (stage, k, x)."""
    share, won = allocation(*LOOKS, winners=60), np.flatnonzero(cached.votes.estimation == 1)
    new = cached.votes.estimation.copy()
    new[won[:lost]] = 2
    new[won[60:63]] = 0
    method = Exact("radius:0.1", ALPHA, "binary", stages=2)
    item = SimpleNamespace(index=5, content="", pixels=np.zeros(SHAPE, np.int32))
    sampler = Answers(new)
    (record,) = method.records(sampler, [Case(item, cached, share)])
    looked = 150 if goes else 60
    assert sampler.asked == [won[:60].tolist(), won[60:150].tolist()][: 1 + goes]
    assert np.flatnonzero(record.votes.roles).tolist() == won[:looked].tolist()
    k = cached.certificate.k
    votes = np.arange(N + 1)
    first, second = (np.where(votes >= 200, np.minimum(m, votes), 0) for m in (60, 150))
    plan = exact_stages.looks(first, second, 1, 6)
    seen = lost + 3 if goes else lost
    limit = float(exact_stages.lower(k, seen, goes, plan, ALPHA))
    assert record.certificate.q == pytest.approx(limit, abs=1e-9)
    assert (record.certificate.flips, record.certificate.n) == (seen, looked)
    assert faults(record, cached, share) == []


@pytest.mark.parametrize(("lost", "looked"), [(3, 60), (0, 150)])
def test_a_look_left_out_or_added_is_found(cached, lost, looked):
    """Who stops where it looks best has a certificate that the plan does not give."""
    share, won = allocation(*LOOKS, winners=60), np.flatnonzero(cached.votes.estimation == 1)
    new = cached.votes.estimation.copy()
    new[won[:lost]] = 2
    chosen = replace(share, winners=looked)
    replayed = replays(cached.votes, 1, chosen)
    votes = votes_of(new[replayed], cached.votes, replayed, chosen, CLASSES)
    counts = Cached.counted(cached.certificate)
    if looked == 60:
        with pytest.raises(InvalidInput, match="60 cached draws were replayed where the plan has"):
            certificate(counts, votes, METHOD, SETTINGS, SHAPE)
        return
    record = Record(certificate(counts, votes, METHOD, SETTINGS, SHAPE), votes)
    assert any("its rule requires" in fault for fault in faults(record, cached, share))


def test_plans_are_read_back():
    for steps in (LOOKS, (Step(0, 5), Step(9, 7)), (Step(0, 2, 8),)):
        assert Steps.of(Steps(steps).flat) == Steps(steps)
    assert len(Steps((Step(0, 5),)).flat) == 4  # as before there were second looks


@pytest.mark.parametrize(
    ("policy", "stages"), [("budget:0.1", 2), ("uniform:9", 2), ("retain:0.9", 3)]
)
def test_stages_without_an_aim_are_refused(policy, stages):
    with pytest.raises(InvalidInput, match="stages"):
        Exact(policy, stages=stages)
