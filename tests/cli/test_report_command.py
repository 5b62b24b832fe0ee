"""smoothcert report, from runs that the command line wrote."""

import json
import re

import pytest
from typer.testing import CliRunner

from smoothcert.cli.main import app
from smoothcert.report.curves import of_all
from smoothcert.runs.store import Run
from smoothcert.text import floor_to


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def made(models, tmp_path_factory):
    """A run on digits, and a screening of a changed model against it."""
    folder = tmp_path_factory.mktemp("made")
    options = ("--sigma", 0.25, "--n", 200, "--n0", 20, "--limit", 12, "--out", folder / "base")
    assert invoke("certify", models / "net.onnx", "--data", "digits", *options).exit_code == 0
    found = invoke(
        *("screen", models / "int8.onnx", "--base", folder / "base", "--per-input", 40),
        *("--accept", "ca@0.1>=0.2", "--out", folder / "screened.json"),
    )
    assert found.exit_code == 0
    return folder


def page(made, out, *options) -> str:
    result = invoke("report", made / "base", "--out", out, *options)
    assert result.exit_code == 0, result.output
    return (out / "index.html").read_text()


@pytest.mark.slow
def test_thumbnails_and_candidates(made, tmp_path):
    text = page(made, tmp_path / "out", "--screened", made / "screened.json")
    assert "data:image/jpeg;base64," in text
    assert '<span class="verdict' in text
    assert "int8.onnx" in text


@pytest.mark.slow
def test_figures_beyond_the_average(made, tmp_path, models):
    again = ("--sigma", 0.25, "--n", 200, "--n0", 20, "--limit", 12, "--seed", 5)
    other = tmp_path / "again"
    arguments = ("--data", "digits", *again, "--out", other)
    assert invoke("certify", models / "net.onnx", *arguments).exit_code == 0
    options = ("--out", tmp_path / "out", "--no-thumbnails", "--radii", "0.1,0.2")
    found = json.loads(invoke("report", made / "base", other, *options, "--json").stdout)
    for run in found["runs"]:
        assert run["inputs"] == sum(c["inputs"] for c in run["classes"]) == 12
        assert [new["radius"] for new in run["new_inputs"]] == [0.1, 0.2]
        assert run["by_draws"]["n"][-1] == 200
        assert run["by_draws"]["acr"][-1] == pytest.approx(run["acr"])
        shares = run["probabilities"]
        assert len(shares["at"]) == len(shares["each"]) == len(shares["observed"])
        rows = zip(shares["observed"], shares["each"], shares["together"], strict=True)
        assert all(share >= each >= together for share, each, together in rows)
    (compared,) = found["comparisons"]
    assert (compared["first"], compared["second"]) == ("base", "again")
    counts = [compared["changes"][0][name] for name in ("kept", "lost", "gained", "neither")]
    assert sum(counts) == 12
    assert [spread["names"] for spread in found["seeds"]] == [["base", "again"]]
    text = " ".join(invoke("report", made / "base", other, *options).output.split())
    for words in ("at the cap", "compared with", "Certificates at radius 0.1", "McNemar", "±"):
        assert words in text
    alone = " ".join(invoke("report", made / "base", *options).output.split())
    assert "McNemar" not in alone
    assert "±" not in alone


def said(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


@pytest.mark.slow
def test_several_screenings_are_stated_with_the_sum_of_their_errors(made, models, tmp_path):
    """One file is one screening, however many candidates it has; given twice it is no other."""
    two = tmp_path / "two.json"
    candidates = (models / "int8.onnx", models / "net.onnx")
    options = ("--base", made / "base", "--per-input", 20, "--alpha", 0.005, "--out", two)
    assert invoke("screen", *candidates, *options).exit_code == 0
    first = made / "screened.json"
    single = said(page(made, tmp_path / "a", "--screened", first, "--screened", first))
    assert "holds together with probability at least 1 − 0.002 (docs/theory.md" in single
    assert "screenings, each" not in single
    single = said(page(made, tmp_path / "b", "--screened", two))
    assert "holds together with probability at least 1 − 0.005 (docs/theory.md" in single
    text = page(made, tmp_path / "c", "--screened", first, "--screened", two)
    both = said(text)
    assert "holds together with probability at least 1 − 0.007 (docs/theory.md, section 10)" in both
    assert "These are 2 screenings, each of which holds with probability 1 − α" in both
    assert "α = 0.002: int8.onnx α = 0.005: int8.onnx, net.onnx" in both
    rows = re.findall(r"<small>([\w.]+)</small></th><td>(\d)</td><td class=.text.>", text)
    assert sorted(rows) == [("int8.onnx", "1"), ("int8.onnx", "2"), ("net.onnx", "2")]
    svg = (tmp_path / "c" / "certified_accuracy.svg").read_text()
    assert "screened" not in svg  # the figure leaves them out, and what it says of them


@pytest.mark.slow
def test_the_original_stands_among_the_candidates_with_size_and_speed(made, models, tmp_path):
    """Of its own certificates, together; a file that states other costs is only believed those."""
    file = made / "screened.json"
    (row,) = json.loads(file.read_text())
    assert row["made"]["bytes"] == (models / "int8.onnx").stat().st_size
    assert row["made"]["original"]["bytes"] == (models / "net.onnx").stat().st_size
    together = of_all(Run.open(made / "base"))[1]
    assert row["made"]["original"]["acr"] == together.acr
    text = page(made, tmp_path / "out", "--screened", file)
    figures = f"<td>0.25</td><td>{floor_to(together.acr, 4)}</td>"
    assert f"<small>the original</small></th><td></td>{figures}" in text
    assert "all inputs together, with probability 1 − 0.001 (docs/theory.md, section 11)" in text
    row["made"] |= {
        "bytes": "<b>",
        "per_second": float("inf"),
        "original": {"acr": 9, "bytes": 2e3},
    }
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps([row]))
    text = page(made, tmp_path / "again", "--screened", changed)
    assert figures in text
    assert "<td>2 KB</td>" in text


@pytest.mark.slow
def test_speed_is_measured_once_and_kept(made, models, tmp_path):
    """Where the screening is long enough to be worth it; the table has the original first."""
    options = ("--data", "digits", "--sigma", 0.25, "--n", 400, "--n0", 20, "--limit", 60)
    assert invoke("certify", models / "net.onnx", *options, "--out", tmp_path / "b").exit_code == 0
    told = ("--base", tmp_path / "b", "--per-input", 200, "--batch-size", 64)
    told += ("--out", tmp_path / "s.json")
    shown = invoke("screen", models / "int8.onnx", *told)
    heads, first, second = [line.split() for line in shown.output.splitlines()[2:5]]
    assert heads[-3:] == ["size", "per", "second"]
    assert (first[0], second[0]) == ("original:", "int8.onnx")
    speeds = [float(line[-1].replace(",", "")) for line in (first, second)]
    (row,) = json.loads((tmp_path / "s.json").read_text())
    assert row["made"]["per_second"] == pytest.approx(speeds[1], rel=0.01)
    assert row["made"]["original"]["per_second"] == pytest.approx(speeds[0], rel=0.01)
    before = (tmp_path / "s.json").read_bytes()
    assert invoke("screen", models / "int8.onnx", *told, "--resume").exit_code == 0
    assert (tmp_path / "s.json").read_bytes() == before


def test_without_thumbnails(made, tmp_path):
    assert "data:image" not in page(made, tmp_path / "out", "--no-thumbnails")


def test_data_that_is_named_and_not_there_is_an_error(made, tmp_path):
    result = invoke(
        "report", made / "base", "--out", tmp_path / "o", "--data", tmp_path / "gone.npz"
    )
    assert result.exit_code == 2
    assert "gone.npz" in result.output
    assert not (tmp_path / "o").exists()


def test_a_screening_that_was_changed_is_refused(made, tmp_path):
    rows = json.loads((made / "screened.json").read_text())
    rows[0]["acr"] += 0.1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(rows))
    result = invoke("report", made / "base", "--out", tmp_path / "o", "--screened", changed)
    assert result.exit_code == 2
    assert "states what the counts of int8.onnx do not prove: it was changed" in " ".join(
        result.output.split()
    )


@pytest.mark.parametrize("text", ["{", "[1]", '[{"name": "x"}]', "3"])
def test_what_is_no_screening_is_refused(made, tmp_path, text):
    file = tmp_path / "file.json"
    file.write_text(text)
    result = invoke("report", made / "base", "--out", tmp_path / "o", "--screened", file)
    assert result.exit_code == 2
    assert "is not what `smoothcert screen --out` writes" in " ".join(result.output.split())


def test_a_screening_is_verified_against_its_base(made, models, tmp_path):
    file = made / "screened.json"
    result = invoke("verify", file, "--replay", "50%")
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "1 certificate recomputed from the counts, and their inputs from" in text
    assert "draws replayed: all as stored. Not checked:" in text
    found = json.loads(invoke("verify", file, "--json").stdout)
    assert found["ok"]
    assert any("a screening stores counts, not labels" in left for left in found["not_checked"])
    rows = json.loads(file.read_text())
    changed = tmp_path / "changed.json"
    rows[0]["made"]["base_hash"] = "0" * 32
    changed.write_text(json.dumps(rows))
    result = invoke("verify", changed)
    assert result.exit_code == 2
    assert "is not the base run of this screening" in " ".join(result.output.split())
    rows[0].pop("made")  # as files of before
    changed.write_text(json.dumps(rows))
    found = json.loads(invoke("verify", changed, "--json").stdout)
    assert any("Give the base run with --base" in left for left in found["not_checked"])
    assert invoke("verify", changed, "--base", made / "base").exit_code == 0
    result = invoke("verify", changed, "--base", made / "base", "--replay", "50%")
    assert "does not say which model it was made with" in " ".join(result.output.split())
    model = ("--model", models / "int8.onnx")
    assert invoke("verify", changed, "--base", made / "base", "--replay", 1, *model).exit_code == 0


def test_a_screening_with_invented_flips_fails_when_it_is_replayed(made, tmp_path):
    from smoothcert.methods import dataset as pooled
    from smoothcert.methods.dataset import DatasetCertificate

    (row,) = json.loads((made / "screened.json").read_text())
    c = DatasetCertificate.from_json(row)
    flips = [[(count + 1) % 2 for count in some] for some in c.flips]
    forged = pooled.certificate(c.name, c.fingerprint, c.screening, c.pool, flips)
    file = tmp_path / "forged.json"
    file.write_text(json.dumps([forged.to_json() | {"made": row["made"]}]))
    assert invoke("verify", file).exit_code in (0, 1)  # the rounds may end elsewhere
    assert invoke("verify", file, "--replay", "100%").exit_code == 1


LOG = (
    "idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t3\t3\t0.2\t1\t0:00:01\n20\t1\t2\t0.978\t0\t0\n"
)


@pytest.mark.slow
def test_a_paper_with_a_published_log(made, tmp_path):
    log = tmp_path / "cohen_sigma_0.25.tsv"
    log.write_text(LOG)
    options = ("--paper", tmp_path / "paper", "--published", log, "--json")
    result = invoke("report", made / "base", *options)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["report"], found["paper"]) == (None, str(tmp_path / "paper"))
    assert found["runs"][0]["name"] == "base"
    assert "3.91 σ, and n = 100,000 draws at α = 0.001 prove at most 3.812 σ" in result.stderr
    assert (tmp_path / "paper" / "certified_accuracy.pdf").exists()
    assert "cohen_sigma_0.25: 2 inputs" in (tmp_path / "paper" / "captions.txt").read_text()
    again = invoke("report", made / "base", *options, "--out", tmp_path / "page")
    assert again.exit_code == 0, again.output  # replaces its own
    assert "(σ = 0.25, published)" in (tmp_path / "page" / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Say what to write: --out FOLDER for the page, --paper FOLDER for figures"),
        (("--out", "x.pdf"), "--out writes a folder .* x.pdf names a file.* use --paper FOLDER"),
        (("--paper", "fig.pdf"), "--paper writes a folder .* fig.pdf names a file"),
        (("--out", "one", "--paper", "one"), "are both one. Give two folders"),
        (("log.tsv", "--out", "x"), "log.tsv is no run directory. .*: --published log.tsv"),
        (("--published", "gone.tsv", "--out", "x"), "There is no log gone.tsv"),
        (("--published", "log.tsv", "--out", "x"), "log.tsv does not name its noise .* rename it"),
    ],
)
def test_what_cannot_be_written_or_drawn(made, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.tsv").write_text(LOG)
    result = invoke("report", made / "base", *options)
    assert result.exit_code == 2
    assert re.search(message, " ".join(result.output.split())), result.output
    assert {path.name for path in tmp_path.iterdir()} == {"log.tsv"}
