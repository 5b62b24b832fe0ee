"""What a cache was asked: from the start, on every path, once; and seeds that chose a model."""

from dataclasses import replace

import pytest

import smoothcert
from smoothcert.api.recertify import recertify
from smoothcert.certificate import Outcome, Settings
from smoothcert.errors import StoreError
from smoothcert.execution.runner import RunOptions, run_certify, run_decide, run_recertify
from smoothcert.execution.screening_tasks import ScreeningTaskSpec
from smoothcert.methods import Decision, Irs, Reuse
from smoothcert.methods.screening import Screening, Verdict
from smoothcert.report.card import model_card
from smoothcert.report.page import report
from smoothcert.runs import ledger, seed_use
from smoothcert.runs.bases import explore
from smoothcert.runs.store import Run
from smoothcert.sampling.sampler import Sampler
from smoothcert.storage.local import LocalFolder
from smoothcert.tries import SeedReused, Try
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=200)
SMALL = RunOptions(batch_size=16, block_inputs=8)
NEW = PixelSum(29)


@pytest.fixture
def base(tmp_path, tiny_inputs, pixel_sum):
    return run_certify(tmp_path / "base", pixel_sum, tiny_inputs, SETTINGS, SMALL)


@pytest.fixture
def original(tiny_inputs, pixel_sum):
    return smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=200, batch_size=16)


def counts(tries) -> tuple[int, int, int]:
    return tries.results, tries.models, tries.of(NEW.fingerprint)


class Stopped(RuntimeError):
    """What stops a run in its first evaluation."""


def stop(*_, **__):
    raise Stopped


# On disk


@pytest.mark.slow
def test_six_budgets_for_one_model_are_six_results(base, tmp_path, tiny_inputs):
    for number in range(6):
        how = Irs(50 + number)
        last = run_recertify(tmp_path / str(number), base, NEW, tiny_inputs, how, SMALL)
    assert len(ledger.entries(base)) == 6
    for run in (base, last):  # a changed model's own page too, as its base is at hand
        run.manifest.origin["base"] = str(base.path)
        report([run], tmp_path / f"page-{run.name}", (0.0,))
        page = (tmp_path / f"page-{run.name}" / "index.html").read_text()
        assert "This cache has given 6 results for 1 model" in page
        assert "A result that is chosen among several" in page
        assert "This cache has given 6 results for 1 model" in model_card([run])
    assert "6 of them for this one" in page
    assert counts(seed_use.tries_of_run(last)) == (6, 1, 6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "what"),
    [
        (Irs(50), "irs budget-exact, uniform:50, alpha 0.002"),
        (Reuse("budget:0.1", "joint"), "joint, budget:0.1, alpha 0.002"),
    ],
)
def test_entered_before_the_first_evaluation(how, what, base, tmp_path, tiny_inputs, monkeypatch):
    monkeypatch.setattr(Sampler, "labels", stop)
    with pytest.raises(Stopped):
        run_recertify(tmp_path / "new", base, NEW, tiny_inputs, how, SMALL)
    (entry,) = ledger.entries(base)
    assert (entry["kind"], entry["fingerprint"], entry["seed"]) == ("recertify", "pixel-sum-29", 0)
    assert entry["what"] == what
    monkeypatch.undo()
    resumed = replace(SMALL, resume=True)
    for out in ("new", "new", "repeated"):
        run_recertify(tmp_path / out, base, NEW, tiny_inputs, how, resumed)
    assert counts(ledger.tries(base)) == (1, 1, 1)


def test_not_entered_if_it_is_refused(base, tmp_path, tiny_inputs):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("...")
    with pytest.raises(StoreError, match="not empty"):
        run_recertify(tmp_path / "taken", base, NEW, tiny_inputs, Irs(50), SMALL)
    assert ledger.entries(base) == ()


def test_screened_candidates_are_entered_before_their_first_evaluation(
    base, tiny_inputs, monkeypatch
):
    monkeypatch.setattr(Sampler, "labels", stop)
    spec = ScreeningTaskSpec(str(base.path), Screening(20, candidates=2), 16, "out.json")
    task = spec.start(lambda number: PixelSum(29 + number), tiny_inputs, lambda _: None)
    for _ in range(2):
        with pytest.raises(Stopped):
            task.compute(0)
    (entry,) = ledger.entries(base)  # the second candidate was not begun
    assert (entry["kind"], entry["result"]) == ("screen", "out.json")
    assert entry["what"] == "20 per input, 2 candidates, alpha 0.002"
    with pytest.raises(Stopped):
        task.compute(1)
    assert counts(ledger.tries(base)) == (2, 2, 1)


def test_plans_are_entered_and_counted_apart(base):
    for policy in ("uniform:20", "uniform:20", "uniform:30"):
        seed_use.register_plan(base, NEW.fingerprint, NEW.name, Reuse(policy))
    asked = ledger.tries(base)
    assert (asked.plans, asked.results) == (2, 0)
    assert {entry["kind"] for entry in ledger.entries(base)} == {"plan"}


def test_a_plan_made_in_python_is_entered_before_its_pilot(base, tiny_inputs, monkeypatch):
    monkeypatch.setattr(Sampler, "labels", stop)
    with pytest.raises(Stopped):
        explore(base, NEW, tiny_inputs, Reuse("uniform:20"), 16)
    (entry,) = ledger.entries(base)
    assert (entry["kind"], entry["fingerprint"], entry["result"]) == (
        "plan",
        "pixel-sum-29",
        "plan",
    )
    monkeypatch.undo()
    for policy in ("uniform:20", "uniform:20", "uniform:30"):
        explore(base, NEW, tiny_inputs, Reuse(policy), 16)
    asked = ledger.tries(base)
    assert (asked.plans, asked.results) == (2, 0)


def test_a_base_that_cannot_be_written_to_is_warned_of(base, tmp_path, tiny_inputs, monkeypatch):
    def read_only(*_):
        raise StoreError("It is read-only.")

    monkeypatch.setattr(Run, "write", read_only)
    with pytest.warns(ledger.NotEntered, match="cannot be written: It is read-only") as said:
        seed_use.register_plan(base, NEW.fingerprint, NEW.name, Reuse("uniform:20"))
    assert len(said) == 1
    assert ledger.entries(base) == ()


def test_runs_beside_that_draw_the_same_noise_are_told(base, tmp_path, tiny_inputs, pixel_sum):
    assert seed_use.runs_beside(base.storage) == ()  # not itself
    near = replace(SMALL, near=seed_use.runs_beside(LocalFolder(tmp_path / "x")))
    assert [run.name for run in near.near] == ["base"]
    same = (NEW, tiny_inputs)
    run_certify(tmp_path / "again", pixel_sum, tiny_inputs, SETTINGS, near)  # the same result
    run_certify(tmp_path / "seed", *same, replace(SETTINGS, seed=1), near)
    run_certify(tmp_path / "part", NEW, tiny_inputs.select([0, 1]), SETTINGS, near)
    assert ledger.entries(base) == ()
    run_certify(tmp_path / "g", *same, SETTINGS, near)
    with pytest.warns(SeedReused, match=r"of seed 0 were looked at before \(certify: n 200"):
        run_decide(tmp_path / "d", *same, SETTINGS, Decision(0.1), near)
    kinds = [entry["kind"] for entry in ledger.entries(base)]
    assert sorted(kinds) == ["certify", "decide"]
    assert counts(ledger.tries(base)) == (2, 1, 2)


def test_what_cannot_be_read_beside_a_run_is_left_out(base, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "file").write_text("")
    place = LocalFolder(tmp_path / "nowhere")
    assert [run.name for run in seed_use.runs_beside(place)] == ["base"]
    assert seed_use.runs_beside(LocalFolder(tmp_path / "no" / "folder")) == ()


# Seeds that chose a model


def test_a_seed_that_a_ledger_shows_is_warned_of(base, tmp_path, tiny_inputs, monkeypatch):
    run_recertify(tmp_path / "new", base, NEW, tiny_inputs, Irs(50), SMALL)
    monkeypatch.setattr("smoothcert.tries._here", {})  # in another process
    near = replace(SMALL, near=seed_use.runs_beside(LocalFolder(tmp_path / "x")))
    seed5 = replace(SETTINGS, seed=5)
    run_certify(tmp_path / "unrelated", NEW, tiny_inputs, seed5, near)
    run_certify(tmp_path / "another", PixelSum(30), tiny_inputs, SETTINGS, near)
    message = "0.05 became 0.42 to 0.75"
    with pytest.warns(SeedReused, match=message):
        run_certify(tmp_path / "again", NEW, tiny_inputs, SETTINGS, near)
    for name in ledger.names(base):
        (base.path / name).unlink()
    with pytest.warns(SeedReused, match=message):  # the recertified run beside it shows it too
        run_certify(tmp_path / "other", NEW, tiny_inputs, replace(SETTINGS, n=100), near)


def test_a_fresh_seed_that_the_base_was_asked_with_is_warned_of(
    base, tmp_path, tiny_inputs, monkeypatch
):
    fresh = Reuse("uniform:50", "fresh", fresh_seed=7)
    run_recertify(tmp_path / "a", base, PixelSum(30), tiny_inputs, fresh, SMALL)
    monkeypatch.setattr("smoothcert.tries._here", {})
    other = replace(fresh, fresh_seed=8)
    run_recertify(tmp_path / "b", base, NEW, tiny_inputs, other, SMALL)
    with pytest.warns(SeedReused, match="of seed 7 were"):
        run_recertify(tmp_path / "c", base, NEW, tiny_inputs, fresh, SMALL)
    run = run_recertify(tmp_path / "d", base, NEW, tiny_inputs, other, SMALL)  # repeated
    assert counts(ledger.tries(base)) == (3, 2, 2)
    card = model_card([replace_base(run, base)])
    assert "from draws of a fresh seed" in card
    assert "A result that is chosen among several" not in card


def replace_base(run: Run, base: Run) -> Run:
    run.manifest.origin["base"] = str(base.path)
    return run


# In memory


def test_a_certification_carries_its_count(original, tiny_inputs):
    assert original.tries.asked == ()
    for each in (50, 50, 60):
        recertify(original, NEW, tiny_inputs, per_input=each, method="irs", batch_size=16)
    assert counts(original.tries) == (2, 1, 2)
    three = [NEW, PixelSum(30), PixelSum(31)]
    smoothcert.screen(original, three, tiny_inputs, per_input=20, batch_size=16)
    assert counts(original.tries) == (5, 3, 3)
    assert repr(original.tries) == "Tries(results=5, models=3, plans=0)"


def test_in_memory_too_it_counts_what_was_stopped(original, tiny_inputs, monkeypatch):
    monkeypatch.setattr(Sampler, "labels", stop)
    with pytest.raises(Stopped):
        recertify(original, NEW, tiny_inputs, per_input=50, batch_size=16)
    with pytest.raises(Stopped):
        smoothcert.screen(original, [NEW], tiny_inputs, per_input=20, batch_size=16)
    assert counts(original.tries) == (2, 1, 2)


def test_a_run_in_memory_goes_on_from_its_ledger(base, tmp_path, tiny_inputs):
    run_recertify(tmp_path / "new", base, NEW, tiny_inputs, Irs(50), SMALL)
    loaded, facts = base.certification(), {"method": "irs", "batch_size": 16}
    recertify(loaded, NEW, tiny_inputs, per_input=50, **facts)  # the same question
    assert counts(loaded.tries) == (1, 1, 1)
    recertify(loaded, NEW, tiny_inputs, per_input=60, **facts)
    assert counts(loaded.tries) == (2, 1, 2)


def test_certifying_what_the_seed_chose_is_warned_of(original, tiny_inputs):
    recertify(original, NEW, tiny_inputs, per_input=50, method="irs", batch_size=16)
    facts = {"n0": 20, "n": 50, "batch_size": 16}
    smoothcert.certify(PixelSum(30), tiny_inputs, 0.25, **facts)  # another model
    smoothcert.certify(NEW, tiny_inputs, 0.25, seed=1, **facts)  # another seed
    smoothcert.Smooth(NEW, 2, 0.25, seed=1, grid=1 / 16)
    with pytest.warns(SeedReused, match="of seed 0 were looked at before") as said:
        smoothcert.certify(NEW, tiny_inputs, 0.25, **facts)
    with pytest.warns(SeedReused):
        smoothcert.decide(NEW, tiny_inputs, 0.25, 0.1, **facts)
    with pytest.warns(SeedReused):
        smoothcert.Smooth(NEW, 2, 0.25, grid=1 / 16)
    assert said[0].filename == __file__


def test_a_fresh_seed_used_twice_is_warned_of(original, tiny_inputs):
    facts = {"per_input": 50, "batch_size": 16}
    for seed in (7, 8, 7):  # repeated as it was
        recertify(original, NEW, tiny_inputs, fresh_seed=seed, **facts)
    with pytest.warns(SeedReused, match="of seed 7 were") as said:
        recertify(original, PixelSum(30), tiny_inputs, fresh_seed=7, **facts)
    assert said[0].filename == __file__


def test_random_seeds(original, tiny_inputs):
    found = [
        smoothcert.certify(NEW, tiny_inputs, 0.25, n0=5, n=5, seed="random").settings.seed
        for _ in range(3)
    ]
    assert len(set(found)) == 3
    assert all(0 <= seed < 2**64 for seed in found)
    assert max(found) > 2**40
    fresh = recertify(original, NEW, tiny_inputs, per_input=50, fresh_seed="random", batch_size=16)
    assert fresh.method.fresh_seed not in (None, *found)
    assert smoothcert.Smooth(NEW, 2, 0.25, seed="random", grid=1 / 16).seed > 2**30


def test_no_text_invites_a_second_try_on_the_same_draws():
    texts = [*(o.value for o in (Outcome.UNDECIDED, Outcome.UNSPENT)), Verdict.UNDECIDED.value]
    assert all("second try" in text and " seed" in text for text in texts)
    assert not any("larger budget" in text or "samples may" in text for text in texts)


def test_a_key_follows_from_what_determines_the_result():
    one = Try.of("recertify", "f", "...", 0, Reuse("uniform:5"))
    assert one.key == Try.of("recertify", "f", "in other words", 0, Reuse("uniform:5")).key
    others = [
        Try.of("plan", "f", "...", 0, Reuse("uniform:5")),
        Try.of("recertify", "g", "...", 0, Reuse("uniform:5")),
        Try.of("recertify", "f", "...", 0, Reuse("uniform:6")),
        Try.of("recertify", "f", "...", 0, Reuse("uniform:5", alpha=0.001)),
        Try.of("recertify", "f", "...", 0, Irs(5)),
    ]
    assert len({one.key, *(other.key for other in others)}) == 6
    assert ledger.is_entry(f"ledger/{one.key}.json")
