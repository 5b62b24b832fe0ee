"""search: on digits, from candidates that are made and explored to a folder that is verified."""

import csv
import json
import shutil
from dataclasses import replace

import onnx
import pytest

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.execution.screening_tasks import make_screener, pool_of
from smoothcert.methods.screening import Screening
from smoothcert.methods.targets import Target
from smoothcert.noise.law import Stream
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from smoothcert.searching.explored import Explorer
from smoothcert.searching.find import _known
from smoothcert.searching.found import Found, missing_files, of_winner, problems_of
from smoothcert.searching.language import Candidate, Language
from smoothcert.searching.page import html
from smoothcert.searching.winner import certify_winner

BUDGET = 40_000
INPUTS = 40


@pytest.fixture(scope="module")
def data():
    return smoothcert.load_inputs("digits", limit=INPUTS)


@pytest.fixture(scope="module")
def calibration():
    return smoothcert.load_inputs("digits", "train", limit=100)


@pytest.fixture(scope="module")
def base(models, data, tmp_path_factory):
    model = smoothcert.load_classifier(str(models / "net.onnx"))
    settings = Settings(0.25, data.levels, n0=60, n=1000)
    options = RunOptions(origin={"model": str(models / "net.onnx")})
    return run_certify(tmp_path_factory.mktemp("search") / "base", model, data, settings, options)


def find(base, model, data, calibration, out, accept="acr>=0.7*base", **how):
    how = {"budget": BUDGET, "accept": accept, **how}
    return smoothcert.search(base, model, data, out, calibration=calibration, **how)


@pytest.fixture(scope="module")
def folder(base, models, data, calibration, tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "found"
    find(base, str(models / "net.onnx"), data, calibration, out)
    return out


@pytest.mark.slow
def test_the_winner_is_the_cheapest_that_is_proven(folder, base):
    found = Found.read(folder)
    best = found.best
    assert best is not None
    assert best.accepted
    assert all(row.cost >= best.cost for row in found.rows if row.accepted)
    assert best.size < found.original[0] / 3
    assert (folder / "winner.onnx").read_bytes() == (folder / best.file).read_bytes()
    assert smoothcert.load_classifier(str(folder / "winner.onnx")).fingerprint == (
        best.certificate.fingerprint
    )
    assert found.spent <= BUDGET
    assert best.certificate.screening.candidates == 2 ** len(best.word)
    with (folder / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows)
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert found.seconds > 0
    (one,) = (row for row in rows if row["winner"] == "1")
    assert one["word"] == best.word
    page = (folder / "index.html").read_text()
    assert "Proven:" in page
    assert f"{found.language.candidate(best.word).title} (winner)" in page
    assert f"<code>{best.target}</code>" in page
    assert '<th scope="col">ms a row</th>' in page
    assert f"<td>{1e3 * best.seconds:.3g}</td>" in page


def test_it_is_what_its_counts_prove(folder, base):
    found = Found.read(folder)
    assert list(problems_of(found, pool_of(base, found.screening))) == []
    assert list(missing_files(found, folder)) == []


def changed(found, **how):
    """With another winner row."""
    best = found.best
    rows = tuple(replace(row, **how) if row is best else row for row in found.rows)
    return replace(found, rows=rows)


def test_what_is_changed_is_found(folder, base):
    found = Found.read(folder)
    pool, best = pool_of(base, found.screening), found.best
    language = found.language
    other = language.word(Candidate("int4-weights:16"))
    settings = replace(best.certificate.screening, candidates=1)
    greedy = replace(best.certificate, screening=settings)
    richer = replace(best.certificate, acr=best.certificate.acr * 1.01)
    turned = replace(found, language=Language(language.layers[::-1]))
    more = replace(found, rows=(*found.rows, found.rows[0]))
    cases = {
        "is of": changed(found, word=other),
        "is no word": changed(found, word=best.word + "0"),
        "not certified at the error of its word": changed(found, certificate=greedy),
        "states what its counts do not prove": changed(found, certificate=richer),
        "costs": changed(found, cost=best.cost - 1),
        "a candidate twice": more,
        "not those of the base run": changed(
            found, certificate=replace(best.certificate, pool=replace(pool, inputs=pool.inputs + 1))
        ),
        "not those of a search": replace(
            found, screening=replace(found.screening, candidates=2, target=None, further=())
        ),
    }
    for said, wrong in cases.items():
        assert any(said in problem for problem in problems_of(wrong, pool)), said
    ladder = [row for row in found.rows if ":node" in row.target or "=" in row.target]
    assert ladder
    assert any("is of" in problem for problem in problems_of(turned, pool))


def test_no_file_is_larger_by_notes_of_its_exporter(folder):
    for file in (folder / "models").iterdir():
        model = onnx.load(file)
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_missing_and_exchanged_files_are_found(folder, tmp_path):
    found = Found.read(folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "winner.onnx").write_bytes(b"other")
    assert list(missing_files(found, copy)) == ["winner.onnx is not the model that was proven"]
    (copy / found.best.file).write_bytes(b"other")
    assert any("another size" in one for one in missing_files(found, copy))
    (copy / found.best.file).unlink()
    assert any("is missing" in one for one in missing_files(found, copy))
    elsewhere = changed(found, file="../base/run.json")
    assert any("not its own" in one for one in missing_files(elsewhere, copy))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(format=2),
        lambda body: body.pop("layers"),
        lambda body: body["rows"][0].pop("word"),
        lambda body: body["rows"][0].update(certificate={"name": "x"}),
        lambda body: body.update(original=[1]),
        lambda body: body["screening"].update(candidates=0),
    ],
)
def test_a_file_that_is_none_is_refused(change, folder, tmp_path):
    body = json.loads((folder / "search.json").read_text())
    change(body)
    (tmp_path / "search.json").write_text(json.dumps(body))
    with pytest.raises(InvalidInput, match="is not what `smoothcert search` writes"):
        Found.read(tmp_path)


@pytest.mark.slow
def test_nothing_but_selection_draws_is_evaluated_before_the_first_proof(
    base, models, data, calibration, tmp_path, monkeypatch
):
    """What is made and explored cannot depend on a counted draw that was not evaluated."""
    from smoothcert.execution.screener import Screener

    seen, answers, enter = [], Screener.answers, ledger.enter

    def watched(self, sampler, parts, stream):
        seen.append(stream)
        return answers(self, sampler, parts, stream)

    def entered(*args):
        seen.append("proof")
        return enter(*args)

    monkeypatch.setattr(Screener, "answers", watched)
    monkeypatch.setattr("smoothcert.searching.find.ledger.enter", entered)
    find(base, str(models / "net.onnx"), data, calibration, tmp_path / "out")
    first = seen.index("proof")
    assert set(seen[:first]) == {Stream.SELECTION}
    assert first > 4
    assert set(seen[first:]) == {"proof", Stream.ESTIMATION}


def test_the_language_is_ordered_by_inputs_that_no_counted_vote_chose(base, data):
    """Inputs that fail to be proven are looked at all the same."""
    screening = Screening(50).asking([Target(0.0, 0.5)])
    screener = make_screener(base, data, screening, None)
    matching = [c.candidate == y for c, y in zip(base.certificates, data.labels, strict=True)]
    assert Explorer.of_matching(screener).inputs == sum(matching)
    none = replace(screener, sources=(), pool=replace(screener.pool, indices=(), k=(), n=()))
    assert Explorer.of_matching(none).inputs == sum(matching)
    assert Explorer.of(none).inputs == 0


@pytest.mark.slow
def test_candidates_do_not_depend_on_the_noise_that_certifies(
    base, models, data, calibration, folder, tmp_path
):
    """Another seed of the original: the same word in the same language is the same file."""
    model = smoothcert.load_classifier(str(models / "net.onnx"))
    settings = replace(base.identity.settings, seed=99)
    other = run_certify(tmp_path / "base", model, data, settings)
    find(other, str(models / "net.onnx"), data, calibration, tmp_path / "found")
    mine, theirs = Found.read(folder), Found.read(tmp_path / "found")
    sizes = {row.target: row.size for row in theirs.rows}
    same = [row for row in mine.rows if row.target in sizes]
    assert len(same) > 5
    assert all(sizes[row.target] == row.size for row in same)
    both = [row for row in mine.rows if row.file and (tmp_path / "found" / row.file).exists()]
    for row in both:
        if row.target in sizes and mine.language == theirs.language:
            assert (folder / row.file).read_bytes() == (tmp_path / "found" / row.file).read_bytes()


def test_the_winner_input_by_input(base, models, data, folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    found = certify_winner(Found.read(copy), base, data, copy, "retain:0.8")
    run = Run.open(copy / "per-input")
    assert run.identity.method.share == 2.0 ** -len(found.best.word)
    assert run.identity.model == found.best.certificate.fingerprint
    assert verify(run, base).problems == ()
    assert {round(c.alpha, 9) for c in run.certificates if c.n} == {0.002}
    kept = Found.read(copy)
    assert kept.per_input == "per-input"
    assert list(of_winner(kept, run)) == []
    other = replace(kept.best, word=kept.best.word + "00000")
    rows = tuple(other if r is kept.best else r for r in kept.rows)
    (said,) = of_winner(replace(kept, rows=rows), run)
    assert "not at the error of the winner's word" in said


def test_folders_of_earlier_versions_have_no_latencies(folder, base, tmp_path):
    body = json.loads((folder / "search.json").read_text())
    del body["seconds"]
    for row in body["rows"]:
        del row["seconds"]
    (tmp_path / "search.json").write_text(json.dumps(body))
    found = Found.read(tmp_path)
    assert list(problems_of(found, pool_of(base, found.screening))) == []
    assert found.seconds is None
    assert "<td></td>" in html(found)


@pytest.mark.slow
def test_what_cannot_be_proven_ends_with_the_nearest(base, models, data, calibration, tmp_path):
    accept = "ca@0.25>=0.999*base"
    found = find(base, str(models / "net.onnx"), data, calibration, tmp_path / "f", accept)
    assert found.best is None
    assert found.nearest is not None
    assert not (tmp_path / "f" / "winner.onnx").exists()
    assert "Not proven" in (tmp_path / "f" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["latency", "energy-proxy"])
def test_other_objectives_have_costs_of_their_own(
    objective, base, models, data, calibration, tmp_path
):
    how = {"objective": objective, "accept": "acr>=0.5*base"}
    found = find(base, str(models / "net.onnx"), data, calibration, tmp_path / "out", **how)
    assert list(problems_of(found, pool_of(base, found.screening))) == []
    costs = [row.cost for row in found.rows]
    assert costs == sorted(costs)
    assert all(0 < cost != row.size for cost, row in zip(costs, found.rows, strict=True))
    assert found.best is not None
    if objective == "latency":
        assert all(row.cost == row.seconds for row in found.rows)
        wrong = changed(found, cost=found.best.cost / 2)
        assert any("were measured" in said for said in problems_of(wrong, None))
    if objective == "energy-proxy":
        assert found.best.cost < found.original[1] / 2
    assert objective in (tmp_path / "out" / "index.html").read_text()


def test_every_candidate_that_is_proven_is_in_the_ledger(base, folder):
    asked = {entry["fingerprint"] for entry in ledger.entries(base)}
    proven = {r.certificate.fingerprint for r in Found.read(folder).rows if r.certificate}
    assert proven <= asked


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"budget": 500}, "Allow at least"),
        ({"objective": "weight"}, "objective"),
        ({"budget": 0}, "at least 1"),
        ({"accept": []}, "needs a target"),
    ],
)
def test_what_is_refused_before_anything_is_made(
    how, said, base, models, data, calibration, tmp_path
):
    with pytest.raises(InvalidInput, match=said):
        find(base, str(models / "net.onnx"), data, calibration, tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(base, models, data, calibration, folder):
    with pytest.raises(InvalidInput, match="not an empty folder"):
        find(base, str(models / "net.onnx"), data, calibration, folder)


def test_another_model_than_the_runs_is_said(base, models):
    said = []
    own, other = (smoothcert.load_classifier(str(models / f"{n}.onnx")) for n in ("net", "int8"))
    assert _known(base, own, said.append) is own
    assert said == []
    assert _known(base, other, said.append) is other
    assert said[0].startswith("int8.onnx is not the model of ")
    assert said[0].endswith("compare them with that run's certificates")
    origin = {"twin_of": {"fingerprint": other.fingerprint}}
    twin = replace(base, manifest=replace(base.manifest, origin=origin))
    assert _known(twin, other, said.append) is other
    assert len(said) == 1
