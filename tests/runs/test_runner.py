"""Run directories: the same bytes however they are made, and refusal of what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Settings, Votes
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch, StoreError
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Irs
from smoothcert.runs.sealed import table_bytes
from smoothcert.runs.store import Run
from smoothcert.runs.validation import check_votes
from smoothcert.runs.verify import evaluate_again, verify
from smoothcert.storage.local import LocalFolder
from smoothcert.vocabulary import VARIANTS
from support.known_truth import PixelSum
from support.run_files import bytes_of, edit

SETTINGS = Settings(0.25, 16, n0=20, n=200)
SMALL = RunOptions(batch_size=16, block_inputs=7)


@pytest.fixture
def base(tmp_path, tiny_inputs, pixel_sum):
    return run_certify(tmp_path / "base", pixel_sum, tiny_inputs, SETTINGS, SMALL)


def test_a_run_holds_what_certify_returns(base, tiny_inputs, pixel_sum):
    result = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=200)
    assert base.certificates == result.certificates
    records = list(base.records(range(30)))
    assert [r.votes for r in records] == [r.votes for r in result.records]
    assert base.labels == tiny_inputs.labels
    assert len(base.blocks) == 5
    assert base.seconds > 0


def test_a_run_comes_back_as_a_certification(base, tiny_inputs, pixel_sum):
    loaded = base.certification()
    new = smoothcert.recertify(loaded, PixelSum(29), tiny_inputs, per_input=50)
    assert len(new.certificates) == 30
    assert loaded.certificates == base.certificates


def test_where_a_run_is_has_its_earlier_name_too(base):
    assert base.place is base.storage


def test_repeating_a_run_gives_the_same_bytes(base, tmp_path, tiny_inputs, pixel_sum):
    again = run_certify(tmp_path / "again", pixel_sum, tiny_inputs, SETTINGS, SMALL)
    assert bytes_of(base.path) == bytes_of(again.path)
    assert (base.path / "run.json").read_bytes() == (again.path / "run.json").read_bytes()


def test_block_and_batch_size_change_no_vote(base, tmp_path, tiny_inputs, pixel_sum):
    other = run_certify(
        tmp_path / "o", pixel_sum, tiny_inputs, SETTINGS, RunOptions(batch_size=33, block_inputs=4)
    )
    assert other.certificates == base.certificates


def test_resume_does_only_what_is_missing(base, tiny_inputs, pixel_sum):
    before = bytes_of(base.path)
    for lost in ("certificates/00001.parquet", "certificates/00003.parquet", "votes/00003.parquet"):
        (base.path / lost).unlink()
    assert Run.open(base.path).missing == (1, 3)
    done = []
    how = replace(SMALL, resume=True, progress=done.append)
    run_certify(base.path, pixel_sum, tiny_inputs, SETTINGS, how)
    assert sum(done) == 2 * 7 * 220
    assert bytes_of(base.path) == before


def test_an_existing_directory_is_not_touched(base, tmp_path, tiny_inputs, pixel_sum):
    with pytest.raises(StoreError, match="already exists and is not empty. Pass --resume"):
        run_certify(base.path, pixel_sum, tiny_inputs, SETTINGS, SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(StoreError, match="already exists and is not empty"):
        run_certify(
            tmp_path / "mine", pixel_sum, tiny_inputs, SETTINGS, replace(SMALL, resume=True)
        )
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0.3}, r'other settings: {"sigma": 0.25} stored, {"sigma": 0.3} now'),
        ({"seed": 1}, "with other settings: "),
        ({"n": 100}, "with other settings: "),
    ],
)
def test_resuming_with_other_settings(change, message, base, tiny_inputs, pixel_sum):
    before = bytes_of(base.path)
    with pytest.raises(Mismatch, match=message):
        run_certify(
            base.path,
            pixel_sum,
            tiny_inputs,
            replace(SETTINGS, **change),
            replace(SMALL, resume=True),
        )
    assert bytes_of(base.path) == before


def test_resuming_with_another_model_or_data(base, tiny_inputs, pixel_sum):
    how = replace(SMALL, resume=True)
    with pytest.raises(Mismatch, match=r"another model \(its fingerprint\): \"pixel-sum-28\""):
        run_certify(base.path, PixelSum(29), tiny_inputs, SETTINGS, how)
    images = np.full((30, 1, 2, 2), 8 / 16)
    images[4, 0, 0, 0] = 9 / 16
    with pytest.raises(Mismatch, match=r"other data \(its content\)"):
        run_certify(base.path, pixel_sum, Inputs.from_arrays(images, grid=1 / 16), SETTINGS, how)
    with pytest.raises(Mismatch, match="another batch size: 16 stored, 8 now"):
        run_certify(base.path, pixel_sum, tiny_inputs, SETTINGS, replace(how, batch_size=8))


def test_resuming_under_another_noise_law(base, tiny_inputs, pixel_sum):
    edit(base.path, lambda body: body["identity"].update(noise_law="something-else"))
    with pytest.raises(Mismatch, match='another noise law: "something-else" stored'):
        run_certify(base.path, pixel_sum, tiny_inputs, SETTINGS, replace(SMALL, resume=True))


def test_damaged_or_newer_manifests(base, tmp_path):
    with pytest.raises(StoreError, match="is not a run directory: it has no run.json"):
        Run.open(tmp_path)
    edit(base.path, lambda body: body.update(format=99))
    with pytest.raises(StoreError, match="has run format 99; this smoothcert reads formats 3 to 4"):
        Run.open(base.path)
    (base.path / "run.json").write_text('{"format": 1, "identity"')
    with pytest.raises(StoreError, match="run.json is damaged"):
        Run.open(base.path)


def test_labels_outside_the_classes(tmp_path, pixel_sum):
    bad = Inputs.from_arrays(np.full((3, 1, 2, 2), 0.5), [0, 1, 2], grid=1 / 16)
    with pytest.raises(InvalidInput, match="has the label 2, but the classifier has classes 0..1"):
        run_certify(tmp_path / "r", pixel_sum, bad, SETTINGS, SMALL)
    assert not (tmp_path / "r").exists()


def test_an_interrupt_keeps_finished_blocks(tmp_path, tiny_inputs, pixel_sum):
    done = []

    def progress(count):
        done.append(count)
        if sum(done) > 2 * 7 * 220 + 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_certify(
            tmp_path / "r", pixel_sum, tiny_inputs, SETTINGS, replace(SMALL, progress=progress)
        )
    assert Run.open(tmp_path / "r").missing == (2, 3, 4)


def test_an_error_loses_only_its_block(tmp_path, tiny_inputs, pixel_sum):
    undisturbed = run_certify(tmp_path / "u", pixel_sum, tiny_inputs, SETTINGS, SMALL)

    class Dying(PixelSum):
        calls = []  # noqa: RUF012 - shared on purpose

        def logits(self, images):
            self.calls.append(1)
            if len(self.calls) == 250:
                raise RuntimeError("the device fell off the bus")
            return super().logits(images)

    with pytest.raises(RuntimeError, match="fell off"):
        run_certify(tmp_path / "r", Dying(28), tiny_inputs, SETTINGS, SMALL)
    assert 0 < len(Run.open(tmp_path / "r").missing) < 5
    run_certify(tmp_path / "r", pixel_sum, tiny_inputs, SETTINGS, replace(SMALL, resume=True))
    assert bytes_of(tmp_path / "r") == bytes_of(undisturbed.path)


def test_whether_rows_were_exact_is_recorded(base):
    assert base.manifest.origin["row_exact"] is True


def test_recertify_into_a_run(base, tmp_path, tiny_inputs, pixel_sum):
    run = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, Irs(50), SMALL)
    in_memory = smoothcert.recertify(
        smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=200),
        PixelSum(29),
        tiny_inputs,
        per_input=50,
        method="irs",
    )
    assert run.certificates == in_memory.certificates
    assert run.identity.base == base.identity.hash
    result = verify(run, base)
    assert (result.certificates, result.problems) == (30, ())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_with_replayed_and_fresh_draws_of_irs_is_read_and_verified(
    variant, base, tmp_path, tiny_inputs
):
    irs = Irs(40, 0.05, gamma=0.6, variant=variant)
    run = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, irs, SMALL)
    assert {c.method for c in run.certificates} == {"irs", "irs-fresh"}
    assert verify(run, base).problems == ()
    replayed = evaluate_again(run, PixelSum(29), tiny_inputs, 1.0)
    assert (replayed.replayed, replayed.differing) == (sum(c.n for c in run.certificates), 0)


def test_fresh_draws_of_irs_beside_more_or_fewer_cached_ones_are_refused():
    fresh, cached = np.ones(40, np.int32), np.ones(39, np.int32)
    check_votes(Votes(original=np.ones(40, np.int32), fresh=fresh), Irs(40), 2)
    for votes in (
        Votes(original=cached, fresh=fresh),
        Votes(original=cached, estimation=cached, fresh=fresh),
        Votes(fresh=fresh),
    ):
        with pytest.raises(ValueError, match="do not match"):
            check_votes(votes, Irs(40), 2)


def test_recertify_refuses_an_unfinished_or_foreign_base(base, tmp_path, tiny_inputs, pixel_sum):
    other = Inputs.from_arrays(np.full((30, 1, 2, 2), 9 / 16), grid=1 / 16)
    with pytest.raises(
        Mismatch, match="30 of 30 inputs have different content, the first at index 0"
    ):
        run_recertify(tmp_path / "n", base, pixel_sum, other, Irs(50), SMALL)
    with pytest.raises(Mismatch, match="Use the same --data, --split, --limit and --every"):
        run_recertify(tmp_path / "n", base, pixel_sum, tiny_inputs.select(range(9)), Irs(50), SMALL)
    (base.path / "certificates" / "00002.parquet").unlink()
    with pytest.raises(StoreError, match="is unfinished: 1 of 5 blocks are missing"):
        run_recertify(tmp_path / "n", base, pixel_sum, tiny_inputs, Irs(50), SMALL)


def test_verify_finds_a_certificate_that_claims_too_much(base):
    import pyarrow as pa
    from pyarrow import parquet

    assert verify(base).problems == ()
    name = "certificates/00000.parquet"
    file = parquet.ParquetFile(base.path / name)
    rows = file.read().to_pylist()
    rows[2]["radius"] += 0.01
    notes = {"votes": file.metadata.metadata[b"votes"].decode()}
    base.write(name, table_bytes(pa.Table.from_pylist(rows, file.schema_arrow), notes))
    (problem,) = verify(base).problems
    assert problem.startswith("input 2: stored radius")


def test_verify_finds_missing_and_damaged_blocks(base):
    (base.path / "certificates" / "00001.parquet").unlink()
    path = base.path / "votes" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    problems = verify(base).problems
    assert any("1 of 5 blocks are missing" in p for p in problems)
    assert any("is damaged" in p for p in problems)


def test_verify_finds_swapped_blocks(base):
    a, b = (base.path / "votes" / f"0000{i}.parquet" for i in (0, 1))
    raw = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(raw)
    assert any("renamed or taken from another run" in p for p in verify(base).problems)


def test_verify_finds_votes_of_another_base(base, tmp_path, tiny_inputs, pixel_sum):
    run = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, Irs(50), SMALL)
    other = run_certify(
        tmp_path / "other", pixel_sum, tiny_inputs, replace(SETTINGS, seed=9), SMALL
    )
    assert verify(run, other).problems == (
        f"{other.path} is not the run that this one was made from",
    )


def test_replay_agrees_and_notices(base, tiny_inputs, pixel_sum):
    result = evaluate_again(base, pixel_sum, tiny_inputs, 0.1)
    assert (result.replayed, result.problems) == (30 * 22, ())

    class Impostor(PixelSum):
        """Claims to be the same model and is not."""

        def logits(self, images):
            return -super().logits(images)

    problem = evaluate_again(base, Impostor(28), tiny_inputs, 0.1).problems[0]
    assert "660 of 660 replayed draws have a different label" in problem
    with pytest.raises(Mismatch, match="was made with a model with fingerprint pixel-sum-28"):
        evaluate_again(base, PixelSum(5), tiny_inputs, 0.1)
    with pytest.raises(InvalidInput, match=r"must be in \(0, 1\]; got 2"):
        evaluate_again(base, pixel_sum, tiny_inputs, 2)


def test_other_tools_read_the_files_as_they_are(base):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(base.path / "certificates")
    assert len(frame) == 30
    assert frame["radius"].max() > 0


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_another_process_begins_meanwhile(tmp_path, monkeypatch, tiny_inputs, resume):
    """It is joined by who resumes, and nobody else's."""

    def late(storage):
        monkeypatch.undo()
        run_certify(tmp_path / "r", PixelSum(28), tiny_inputs, SETTINGS, SMALL)
        storage.require_unused()

    monkeypatch.setattr(LocalFolder, "require_unused", late)
    how = replace(SMALL, resume=resume)
    if resume:
        run = run_certify(tmp_path / "r", PixelSum(28), tiny_inputs, SETTINGS, how)
        assert not run.missing
    else:
        with pytest.raises(StoreError, match="already exists and is not empty"):
            run_certify(tmp_path / "r", PixelSum(28), tiny_inputs, SETTINGS, how)
