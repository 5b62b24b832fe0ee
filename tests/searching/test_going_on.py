"""A search that stops and goes on, and what it tries next to its winner."""

from dataclasses import replace
from functools import partial
from itertools import count

import onnx
import pytest

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.compress.latency import Latency
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.runner import run_certify
from smoothcert.execution.screening_tasks import pool_of
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.searching import find
from smoothcert.searching.found import Found, missing_files, problems_of
from smoothcert.searching.journal import Journal
from smoothcert.searching.language import FORMATS, Candidate, Language, file_of
from smoothcert.searching.made import neighbours

LAYERS = Language(("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def data():
    return smoothcert.load_inputs("digits", limit=40)


@pytest.fixture(scope="module")
def base(models, data, tmp_path_factory):
    model = smoothcert.load_classifier(str(models / "net.onnx"))
    settings = Settings(0.25, data.levels, n0=60, n=1000)
    return run_certify(tmp_path_factory.mktemp("search") / "base", model, data, settings)


@pytest.fixture(scope="module")
def search(base, models, data):
    calibration = smoothcert.load_inputs("digits", "train", limit=60)
    how = {"calibration": calibration, "accept": "acr>=0.7*base", "budget": 40_000}
    return partial(smoothcert.search, base, str(models / "net.onnx"), data, **how)


@pytest.fixture
def steady(monkeypatch):
    """Latencies that do not differ between two searches."""

    def measured(files, inputs, **how):
        return tuple(Latency((1e-9 * file.stat().st_size,), 1, 1) for file in files)

    monkeypatch.setattr("smoothcert.searching.made.measure_latency", measured)


def stopping(monkeypatch):
    """Make minutes a number of looks at the clock."""
    clock = partial(next, count())
    monkeypatch.setattr(find, "TimeLimit", lambda looks: TimeLimit(looks / 60, lambda: clock()))


@pytest.mark.slow
def test_a_search_that_is_stopped_often_ends_as_one_that_is_not(
    search, steady, base, tmp_path, monkeypatch
):
    whole = search(tmp_path / "whole")
    stopping(monkeypatch)
    out, stops = tmp_path / "parts", 0
    while not (found := search(out, minutes=7 + stops, resume=True)).finished:
        stops += 1
        assert stops < 50
        again = Found.read(out)
        assert list(problems_of(again, pool_of(base, again.screening))) == []
        assert list(missing_files(again, out)) == []
        page = (out / "index.html").read_text()
        assert "so far" in page
    assert stops > 4
    assert found == whole
    for name in ("search.json", "pareto.csv", "index.html", "winner.onnx"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    names = [sorted(f.name for f in (at / "models").iterdir()) for at in (out, tmp_path / "whole")]
    assert names[0] == names[1]
    assert len(list((out / "steps").iterdir())) == 1
    assert search(out, resume=True) == whole


@pytest.mark.slow
def test_what_is_proven_when_the_time_is_over_is_kept(search, steady, tmp_path):
    def over(*rest):
        raise TimeIsUp

    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find.Search, "improve", over)
        found = search(out)
    assert not found.finished
    assert (out / "winner.onnx").read_bytes() == (out / found.best.file).read_bytes()
    assert "Proven so far: " in (out / "index.html").read_text()
    (out / "models" / ".0101.onnx.x.tmp").mkdir()  # as a `compress` that is killed leaves it
    ended = search(out, resume=True)
    assert ended.finished
    assert not list((out / "models").glob(".*"))
    assert ended.best.cost <= found.best.cost
    assert "so far" not in (out / "index.html").read_text()


def test_what_goes_on_is_the_same_search(search, steady, tmp_path, monkeypatch):
    stopping(monkeypatch)
    out = tmp_path / "out"
    assert not search(out, minutes=9).finished
    with pytest.raises(InvalidInput, match="--resume goes on"):
        search(out)
    for other in ({"budget": 41_000}, {"accept": "acr>=0.6*base"}, {"seed": 1}):
        (name,) = other
        with pytest.raises(Mismatch, match=f"another {name}"):
            search(out, resume=True, **other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InvalidInput, match="not an empty folder"):
        search(tmp_path / "full", resume=True)


def test_a_damaged_step_is_done_again(tmp_path):
    journal = Journal.begun(tmp_path / "steps", {"budget": 1}, None)
    assert journal.step("one", lambda: [1, 2]) == [1, 2]
    assert journal.step("one", lambda: [3]) == [1, 2]
    assert journal.steps == 2
    for file in (tmp_path / "steps").iterdir():
        text = file.read_text()
        for wrong in (text.replace("1", "7"), text[:-1], "", "\x00" * 40):
            file.write_bytes(wrong.encode())
            again = Journal.begun(tmp_path / "steps", {"budget": 1}, None)
            assert again.step("one", lambda: [1, 2]) == [1, 2]
            assert file.read_text() == text
    other = replace(journal, asked={"budget": 2})
    assert other.step("one", lambda: [4]) == [4]


def test_without_time_only_what_is_known_is_told(tmp_path):
    over = TimeLimit(1, partial(next, iter([0.0, *[61.0] * 9])))
    journal = Journal.begun(tmp_path / "steps", {}, None)
    journal.step("one", lambda: 5)
    late = replace(journal, limit=over)
    assert late.step("one", lambda: 6) == 5
    with pytest.raises(TimeIsUp):
        late.step("two", lambda: 6)


BESTS = [
    *map(Candidate, FORMATS),
    *(LAYERS.falling(cuts) for cuts in [(0, 0, 2), (1, 2, 3), (4, 4, 4), (0, 0, 0)]),
    Candidate(("int8", "fp32", "int4", "int8")),
    Candidate("int8", kept=2),
    Candidate("int8-weights", "prune-channels", 0.1),
    Candidate("int3-weights", "prune-channels", 0.8, 4),
    Candidate("int8", "lowrank", 0.5, 2),
    Candidate("int8", "lowrank", 0.05),
]


@pytest.mark.parametrize("best", BESTS)
@pytest.mark.parametrize("trains", [True, False])
def test_neighbours_are_other_words_of_the_language(best, trains):
    found = list(neighbours(best, trains))
    assert [LAYERS.candidate(LAYERS.word(one)) for one in found] == found
    assert best not in found
    assert len(set(found)) == len(found)
    if not trains:
        assert all(one.epochs == best.epochs for one in found)
    if not isinstance(best.formats, str):
        changes = [sum(a != b for a, b in zip(best.formats, o.formats, strict=True)) for o in found]
        assert changes == [1] * sum(level != "int4" for level in best.formats)


def test_a_step_of_a_shrink():
    best = Candidate("int4-weights", "prune-channels", 0.1)
    assert list(neighbours(best, trains=True)) == [
        Candidate("int3-weights", "prune-channels", 0.1),
        Candidate("int4-weights", "prune-channels", 0.15),
        Candidate("int4-weights", "prune-channels", 0.15, 4),
    ]
    kept = Candidate("int8", "lowrank", 0.5)
    assert list(neighbours(kept, trains=False)) == [Candidate("int8", "lowrank", 0.45)]


@pytest.mark.slow
def test_the_search_goes_on_from_its_winner(search, steady, tmp_path, monkeypatch):
    few = (Candidate("onnx"), Candidate("int8-weights"))
    monkeypatch.setattr(find, "proposals", lambda *rest: few)
    found = search(tmp_path / "out")
    proposed = {"onnx", "int8-weights"}
    assert found.best.target not in proposed
    (start,) = (row for row in found.rows if row.target == "int8-weights")
    assert start.accepted
    assert found.best.cost < start.cost
    assert found.spent <= found.budget
    assert list(problems_of(found, None)) == []


@pytest.mark.slow
def test_a_model_of_a_fixed_batch_is_searched(search, models, data, tmp_path):
    model = onnx.load(models / "net.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 8
    onnx.save(model, tmp_path / "fixed.onnx")
    base = search.args[0]
    rest = {k: v for k, v in search.keywords.items()}
    found = smoothcert.search(base, str(tmp_path / "fixed.onnx"), data, tmp_path / "out", **rest)
    assert found.best is not None
    assert all(row.seconds > 0 for row in found.rows)


def test_long_words_have_short_files():
    assert file_of("0101") == "0101.onnx"
    long = [file_of("11110" + bit * 400) for bit in "01"]
    assert all(len(name) < 80 for name in long)
    assert long[0] != long[1]


def test_settings_of_time():
    with pytest.raises(InvalidInput, match="--minutes must be above 0"):
        find.SearchOptions(minutes=0)
