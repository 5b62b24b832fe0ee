"""Runs by somebody who evaluated everything, looked, and then chose what is counted.

Each is written with the package's own writer, and every label in it is what the model gives. Only
which draws are counted was chosen after seeing them, so that the radius is larger than the rule's.
The votes alone cannot show it; with the base run everything but the labels can be computed again.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from smoothcert.certificate import Record, Settings, Votes
from smoothcert.cli.main import app
from smoothcert.data.inputs import Inputs
from smoothcert.execution.runner import RunOptions as Running
from smoothcert.execution.runner import run_certify, run_decide, run_recertify
from smoothcert.execution.screening_tasks import make_screener, problems_of, replay_flips
from smoothcert.methods import Irs, Reuse, irs, replay, scratch, sequential
from smoothcert.methods import dataset as pooled
from smoothcert.methods.irs import Cached
from smoothcert.methods.replay import Allocation, Bound
from smoothcert.methods.screening import Screening
from smoothcert.methods.sequential import Decision
from smoothcert.methods.targets import Target
from smoothcert.noise.law import Stream
from smoothcert.runs import pilots
from smoothcert.runs.pilots import StoredPilot, pilot_bytes, read_pilot
from smoothcert.runs.plan_file import plan_bytes, read_plan
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, evaluate_again, verify
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample
from smoothcert.vocabulary import VARIANTS
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=400, keep_margins=False)
DATA = Inputs.from_arrays(np.full((6, 1, 2, 2), 9 / 16), np.ones(6, int), 1 / 16)
OLD, NEW = PixelSum(28), PixelSum(30)
RUNNING = Running(batch_size=64, block_inputs=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return run_certify(tmp_path_factory.mktemp("forged") / "base", OLD, DATA, SETTINGS, RUNNING)


@pytest.fixture
def honest(base, tmp_path):
    """Makes an honest run of a method, whose forgery is to be told from it."""

    def make(method) -> Run:
        return run_recertify(tmp_path / "honest", base, NEW, DATA, method, RUNNING)

    return make


def labels_of(stream: Stream, draws: int) -> list[np.ndarray]:
    """What the new model truly gives, of every input."""
    requests = (Request(item, stream, range(draws)) for item in DATA)
    return list(sample(NEW, requests, SETTINGS.noise, SETTINGS.seed, 64))


def written(honest: Run, folder, records, shares=None, pilot=None) -> Run:
    """A run with these records, and everything else as in the honest one."""
    indices, extra = honest.identity.indices, {}
    if isinstance(honest.identity.method, Reuse):
        extra["plan.parquet"] = plan_bytes(
            shares or read_plan(honest), indices, honest.identity.method.plan_columns
        )
        extra[pilots.NAME] = pilot_bytes(pilot or read_pilot(honest), indices)
    facts = (honest.manifest, honest.contents, honest.labels, extra)
    run = Run.create(folder, *facts)
    for block, positions in enumerate(run.blocks):
        run.write_block(block, records[positions.start : positions.stop], 0.1)
    return run


def raised(forged: Run, honest: Run) -> bool:
    """Whether the forgery pays: some radius is larger and none smaller."""
    pairs = list(zip(forged.certificates, honest.certificates, strict=True))
    return all(a.radius >= b.radius for a, b in pairs) and any(
        a.radius > b.radius for a, b in pairs
    )


def caught(forged: Run, base: Run, words: str) -> bool:
    """Nothing shows without the base run, which is said; with it this shows."""
    alone, against = verify(forged), verify(forged, base)
    assert alone.problems == ()
    assert Unchecked.BASE in alone.unchecked
    assert Unchecked.BASE not in against.unchecked
    assert evaluate_again(forged, NEW, DATA, 1.0).problems == ()  # its labels are all true
    return any(words in problem for problem in against.problems)


def cached_of(record: Record) -> Cached:
    c = record.certificate
    return Cached(c.index, c.content, c.candidate, c.k, c.n)


def with_parts(base_record: Record, parts, truth, how: Bound, method: Reuse) -> Record:
    """A record that counts these cached draws."""
    labels = truth[np.flatnonzero(parts)]
    votes = replay.votes_of(labels, parts, base_record.votes, Allocation(how, 1))
    facts = (votes, how, method, SETTINGS, DATA.shape)
    return Record(replay.certificate(cached_of(base_record), *facts), votes)


def best_parts(base_record: Record, truth, counts: dict[bool, int]) -> np.ndarray:
    """So many cached winners (True) and losers (False), those that now vote for the class first."""
    c = base_record.certificate.candidate
    won, hit = base_record.votes.estimation == c, truth == c
    parts = np.zeros(len(truth), np.int32)
    for side, count in counts.items():
        places = np.flatnonzero(won == side)
        parts[places[np.argsort(~hit[places], kind="stable")][:count]] = replay.SAMPLED
    return parts


@pytest.mark.slow
@pytest.mark.parametrize("how", [Bound.JOINT, Bound.STRATIFIED])
def test_replayed_draws_that_were_chosen_after_seeing_them(how, base, honest, tmp_path):
    method = Reuse("uniform:60", how.value)
    true_run = honest(method)
    truths = labels_of(Stream.ESTIMATION, SETTINGS.n)
    records = []
    for old, truth, share, kept in zip(
        base.records(range(6)), truths, read_plan(true_run), true_run.records(range(6)), strict=True
    ):
        if share.bound is not how:
            records.append(kept)
            continue
        whole = share.near_winners + share.near_losers + share.seen_winners + share.seen_losers
        counts = {True: share.winners + whole, False: share.losers}
        records.append(with_parts(old, best_parts(old, truth, counts), truth, how, method))
    forged = written(true_run, tmp_path / "forged", records)
    assert raised(forged, true_run)
    found = verify(forged, base).problems
    assert any("that were replayed are not those that its rule requires" in p for p in found)
    if how is Bound.JOINT:
        assert caught(forged, base, "that were replayed are not those that its rule requires")
    assert verify(true_run, base).problems == ()


def fresh_forgery(base, true_run, method, folder, shares_too: bool) -> Run:
    """Fresh draws that stop where the limit is best; with the plan changed to fit, or not."""
    records, shares = [], []
    truths = labels_of(Stream.FRESH, SETTINGS.n)
    for old, truth in zip(base.records(range(6)), truths, strict=True):
        facts = (Bound.FRESH, method, SETTINGS, DATA.shape)
        made = [
            replay.certificate(cached_of(old), Votes(fresh=truth[:length]), *facts)
            for length in range(20, SETTINGS.n)
        ]
        best = max(made, key=lambda c: c.radius)
        records.append(Record(best, Votes(fresh=truth[: best.n])))
        shares.append(Allocation(Bound.FRESH, fresh=best.n))
    return written(true_run, folder, records, tuple(shares) if shares_too else None)


@pytest.mark.slow
@pytest.mark.parametrize("shares_too", [False, True])
def test_fresh_draws_stopped_at_their_best_length(shares_too, base, honest, tmp_path):
    method = Reuse("uniform:60", "joint")
    true_run = honest(method)
    forged = fresh_forgery(base, true_run, method, tmp_path / "forged", shares_too)
    assert sum(c.radius for c in forged.certificates) > sum(c.radius for c in true_run.certificates)
    words = "its plan gives 6 inputs" if shares_too else "stored where its rule requires"
    assert caught(forged, base, words)


@pytest.mark.slow
def test_a_plan_with_the_pilot_that_would_give_it(base, honest, tmp_path):
    """Other pilot inputs show at once, other labels of the pilot when it is replayed."""
    true_run = honest(Reuse("uniform:60"))
    records, pilot = list(true_run.records(range(6))), read_pilot(true_run)
    votes = replace(pilot.votes, labels=tuple(1 - some for some in pilot.votes.labels))
    forged = written(true_run, tmp_path / "a", records, pilot=StoredPilot(votes))
    assert evaluate_again(forged, NEW, DATA, 0.1, base=base).problems
    assert evaluate_again(true_run, NEW, DATA, 0.1, base=base).problems == ()
    fewer = replace(pilot.votes, positions=pilot.votes.positions[1:], labels=pilot.votes.labels[1:])
    forged = written(true_run, tmp_path / "b", records, pilot=StoredPilot(fewer))
    found = verify(forged, base).problems
    assert any("its pilot's inputs are not those" in problem for problem in found)
    shown = StoredPilot(pilot.votes, ("pilots/0123456789abcdef.parquet",))
    forged = written(true_run, tmp_path / "c", records, pilot=shown)
    assert any("its plan cannot be recomputed" in p for p in verify(forged, base).problems)


@pytest.mark.slow
def test_a_run_without_its_pilot(base, honest, tmp_path):
    true_run = honest(Reuse("uniform:60"))
    (true_run.path / pilots.NAME).unlink()
    assert any("pilot.parquet is missing" in p for p in verify(true_run, base).problems)


def test_irs_with_fresh_draws_is_read_and_verified(base, honest):
    """It keeps the original's labels by which it decided, and no replayed ones."""
    for variant in VARIANTS:
        true_run = honest(Irs(60, gamma=0.51, variant=variant))
        assert {c.method for c in true_run.certificates} == {"irs-fresh"}
        assert verify(true_run, base).problems == ()
        shutil.rmtree(true_run.path)


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
def test_irs_with_a_prefix_or_a_branch_that_was_chosen(fresh, base, honest, tmp_path):
    method = Irs(60)
    true_run = honest(method)
    stream = Stream.FRESH if fresh else Stream.ESTIMATION
    truths = labels_of(stream, SETTINGS.n)
    records = []
    for old, truth in zip(base.records(range(6)), truths, strict=True):
        made = []
        for length in range(20, SETTINGS.n):
            part = {"fresh" if fresh else "estimation": truth[:length]}
            votes = Votes(original=old.votes.estimation[:length], **part)
            facts = (votes, method, SETTINGS, DATA.shape)
            made.append(Record(irs.certificate(cached_of(old), *facts), votes))
        records.append(max(made, key=lambda r: r.certificate.radius))
    forged = written(true_run, tmp_path / "forged", records)
    assert raised(forged, true_run)
    assert caught(forged, base, "stored where its rule requires")


def test_a_base_with_another_sigma_or_other_labels(base, honest, tmp_path):
    """Larger radii from the same votes, or a higher accuracy from the same certificates."""
    true_run = honest(Irs(60))
    identity = true_run.identity
    wider = replace(identity, settings=replace(identity.settings, sigma=0.5))
    manifest = replace(true_run.manifest, identity=wider)
    run = Run.create(tmp_path / "a", manifest, true_run.contents, true_run.labels)
    for block, positions in enumerate(run.blocks):
        records = [
            replace(
                r,
                certificate=irs.certificate(
                    cached_of(r_old), r.votes, Irs(60), wider.settings, DATA.shape
                ),
            )
            for r, r_old in zip(true_run.records(positions), base.records(positions), strict=True)
        ]
        run.write_block(block, records, 0.1)
    assert any(
        "its settings are not those of the base run" in p for p in verify(run, base).problems
    )
    flattering = [c.candidate ^ 1 for c in true_run.certificates]
    run = Run.create(tmp_path / "b", true_run.manifest, true_run.contents, flattering)
    for block, positions in enumerate(run.blocks):
        run.write_block(block, list(true_run.records(positions)), 0.1)
    assert any("6 true classes" in problem for problem in verify(run, base).problems)
    assert any(
        "6 true classes" in problem for problem in evaluate_again(run, NEW, DATA, 0.1).problems
    )


def test_from_scratch_with_fewer_draws_or_other_content(base, tmp_path):
    records = []
    for old in base.records(range(6)):
        votes = replace(old.votes, selection=old.votes.selection[:5])
        c = old.certificate
        facts = (votes, SETTINGS, DATA.shape, 2)
        records.append(Record(scratch.certificate(c.index, c.content, *facts), votes))
    forged = written(base, tmp_path / "a", records)
    assert any("5 selection draws are stored instead of 20" in p for p in verify(forged).problems)
    contents = ["0" * 16] * 6
    run = Run.create(tmp_path / "b", base.manifest, contents, base.labels)
    for block, positions in enumerate(run.blocks):
        some = [
            replace(r, certificate=replace(r.certificate, content="0" * 16))
            for r in base.records(positions)
        ]
        run.write_block(block, some, 0.1)
    assert "inputs.parquet names different content than run.json" in verify(run).problems


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["late", "early", "selection"])
def test_a_decision_that_stopped_late_or_early(kind, tmp_path):
    decision = Decision(0.1)
    true_run = run_decide(tmp_path / "true", NEW, DATA, SETTINGS, decision, RUNNING)
    assert verify(true_run).problems == ()
    truths = labels_of(Stream.ESTIMATION, SETTINGS.n)
    records = []
    for old, truth in zip(true_run.records(range(6)), truths, strict=True):
        stop = len(old.votes.estimation)
        drawn = {"late": SETTINGS.n, "early": max(1, stop // 2), "selection": stop}[kind]
        chosen = old.votes.selection[: 3 if kind == "selection" else None]
        votes = Votes(selection=chosen, estimation=truth[:drawn])
        c = old.certificate
        facts = (votes, decision, SETTINGS, DATA.shape, 2)
        records.append(Record(sequential.certificate(c.index, c.content, *facts), votes))
    forged = written(true_run, tmp_path / "forged", records)
    words = "selection draws are stored" if kind == "selection" else "its draws should stop after"
    assert any(words in problem for problem in verify(forged).problems)


def test_a_decision_by_the_form_that_proves_more(tmp_path):
    """The selection draws choose the form; a certificate of the other one is refused."""
    settings = replace(SETTINGS, form="runner-up")
    decision = Decision(0.05)
    true_run = run_decide(tmp_path / "true", NEW, DATA, settings, decision, RUNNING)
    assert verify(true_run).problems == ()
    truths = labels_of(Stream.ESTIMATION, settings.n)
    records = []
    for old, truth in zip(true_run.records(range(6)), truths, strict=True):
        c = old.certificate
        facts = (decision, SETTINGS, DATA.shape, 2)
        binary = sequential.certificate(
            c.index, c.content, replace(old.votes, estimation=truth), *facts
        )
        votes = replace(old.votes, estimation=truth[: binary.n])
        records.append(Record(binary, votes))
    forged = written(true_run, tmp_path / "forged", records)
    assert any("but its votes give" in problem for problem in verify(forged).problems)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["votes", "late", "early"])
def test_a_decision_by_the_runner_up_with_other_votes(kind, tmp_path):
    settings = replace(SETTINGS, form="runner-up")
    true_run = run_decide(tmp_path / "true", NEW, DATA, settings, Decision(0.05), RUNNING)
    truths = labels_of(Stream.ESTIMATION, settings.n)
    records = []
    for old, truth in zip(true_run.records(range(6)), truths, strict=True):
        stop = len(old.votes.estimation)
        drawn = {"votes": stop, "late": settings.n, "early": stop // 2}[kind]
        labels = 1 - truth[:drawn] if kind == "votes" else truth[:drawn]
        votes, c = replace(old.votes, estimation=labels), old.certificate
        if kind != "votes":
            facts = (votes, Decision(0.05), settings, DATA.shape, 2)
            c = sequential.certificate(c.index, c.content, *facts)
        records.append(Record(c, votes))
    problems = verify(written(true_run, tmp_path / "forged", records)).problems
    assert any(
        ("but its votes give" if kind == "votes" else "its draws should stop after") in problem
        for problem in problems
    )


def screened(base, flips=None, **options):
    stage = make_screener(base, DATA, Screening(60, **options), 64)
    (honest,) = stage.screen([stage.prepared(NEW)])
    facts = (honest.name, honest.fingerprint, honest.screening, honest.pool)
    return stage, honest, facts


def test_a_screening_of_chosen_draws(base):
    """The draws with the fewest flips: a screening keeps counts alone, so a replay shows it."""
    stage, honest, facts = screened(base)
    forged = pooled.certificate(*facts, [[0] * honest.pool.eligible])
    assert forged.acr > honest.acr
    assert list(problems_of([forged], base)) == []
    assert replay_flips(honest, stage, stage.prepared(NEW), 1.0)[1] == 0
    assert replay_flips(forged, stage, stage.prepared(NEW), 1.0)[1] > 0
    with pytest.raises(Exception, match="was screened with the fingerprint pixel-sum-30"):
        replay_flips(honest, stage, stage.prepared(OLD), 1.0)


def test_a_screening_that_stopped_when_it_looked_best(base):
    _, honest, facts = screened(base, target=Target(0.05, 0.9))
    assert list(problems_of([honest], base)) == []
    rounds = [*honest.flips, *[(0,) * honest.pool.eligible] * len(honest.screening.rounds)]
    longer = pooled.certificate(*facts, rounds[: len(honest.screening.rounds)])
    shorter = pooled.certificate(*facts, honest.flips[:-1])
    for forged in (longer, shorter):
        if len(forged.flips) != len(honest.flips):
            assert any("its rounds break its rule" in p for p in problems_of([forged], base))


def test_a_screening_with_other_inputs_or_without_its_other_candidates(base):
    _, honest, facts = screened(base)
    pool = replace(honest.pool, k=tuple(400 for _ in honest.pool.k))
    forged = pooled.certificate(*facts[:3], pool, honest.flips)
    assert forged.acr > honest.acr
    assert any("are not those of the base run" in p for p in problems_of([forged], base))
    _, one_of_three, _ = screened(base, candidates=3)
    assert any("divided over 3 candidates" in p for p in problems_of([one_of_three], base))


@pytest.mark.slow
def test_the_command_names_what_it_did_not_check(base, honest, tmp_path):
    true_run = honest(Reuse("uniform:60"))
    run = CliRunner().invoke(app, ["verify", str(true_run.path), "--json"])
    found = json.loads(run.stdout)
    assert run.exit_code == 0
    assert Unchecked.BASE.value in found["not_checked"]
    run = CliRunner().invoke(app, ["verify", str(true_run.path), "--base", str(base.path)])
    assert "all as stored." in run.stdout
    assert "Not checked:" in run.stdout
    assert "The base run's own votes" in " ".join(run.stdout.split())
    shutil.rmtree(true_run.path)
