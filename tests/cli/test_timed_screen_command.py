"""screen --minutes as a user runs it: what is said, kept, verified and gone on with."""

import json
import shutil

import pytest

from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from support.command_line import program, run_in

pytestmark = pytest.mark.slow

NAMES = ("net.safetensors", "int8.onnx", "prune.safetensors")


@pytest.fixture(scope="module")
def made(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    facts = ("--data", "digits", "--limit", 30, "--sigma", 0.25, "--n", 4000, "--n0", 20)
    run_in("certify", models / NAMES[0], *facts, "--out", "base", cwd=folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made / "base", tmp_path / "base")
    return tmp_path


@pytest.fixture
def command(models):
    each = [models / name for name in NAMES]
    return ("screen", *each, "--base", "base", "--per-input", 3000)


def stopped(folder, command, *more):
    """A screening of which something is done and something left, however fast the machine is."""
    minutes = 0.0003
    while minutes < 1:
        minutes *= 1.5
        again = (*command, "--out", "s.json", "--overwrite", *more, "--minutes", f"{minutes:.5f}")
        out, err = run_in(*again, cwd=folder, code=5)
        rows = json.loads((folder / "s.json").read_text()) if (folder / "s.json").exists() else []
        if any(row["rounds"] for row in rows):
            break
    assert not all(row["finished"] for row in rows)
    return " ".join(out.split()), " ".join(err.split()), rows, f"{minutes:.5f}"


def certificates(path):
    return [{k: v for k, v in row.items() if k != "made"} for row in json.loads(path.read_text())]


def test_a_stop_says_what_is_left_and_goes_on(folder, command):
    out, err, rows, minutes = stopped(folder, command)
    assert f"The {float(minutes):g} minutes are over: " in err
    assert f"Repeat the command with --resume --minutes {float(minutes):g} to go on." in err
    for row in rows:
        name = row["name"]
        if row["rounds"]:
            assert f"{name} has {row['rounds']} of 5 rounds" in err or row["finished"]
            assert f"{row['rounds']} of 5" in out
        else:
            assert name in err.partition("not begun: ")[2]
            assert (row["acr"], row["curve"]) == (None, [])
    shown, _ = run_in("verify", "s.json", "--replay", "100%", cwd=folder)
    assert "all as stored" in shown
    assert "of 3 candidates finished" in shown
    begun = sum(bool(row["rounds"]) for row in rows)
    assert ledger.tries(Run.open(folder / "base")).results in range(begun, 4)  # one may be cut off
    run_in(*command, "--out", "s.json", "--resume", cwd=folder)
    run_in(*command, "--out", "calm.json", "--minutes", 600, cwd=folder)
    assert certificates(folder / "s.json") == certificates(folder / "calm.json")
    before = (folder / "s.json").read_bytes()
    run_in(*command, "--out", "s.json", "--resume", "--minutes", 0.0001, cwd=folder)
    assert (folder / "s.json").read_bytes() == before
    assert ledger.tries(Run.open(folder / "base")).results == 3


def test_several_workers_stop_and_go_on(folder, command):
    stopped(folder, command, "--workers", 2)
    run_in(*command, "--out", "s.json", "--resume", "--workers", 2, cwd=folder)
    run_in(*command, "--out", "calm.json", "--minutes", 600, cwd=folder)
    assert certificates(folder / "s.json") == certificates(folder / "calm.json")


@pytest.mark.refused("169.254.169.254", "metadata.google.internal")  # see test_cluster.py
def test_a_cluster_goes_on_too(folder, command):
    pytest.importorskip("ray", reason="needs ray: pip install 'smoothcert[cluster]'")
    stopped(folder, command)
    ray = ("--cluster", "ray", "--workers", 1)
    _, err = program(*command, "--out", "n.json", *ray, "--minutes", 0.0001, cwd=folder, code=5)
    assert "not begun: " in err
    program(*command, "--out", "s.json", "--resume", *ray, cwd=folder)
    run_in(*command, "--out", "calm.json", "--minutes", 600, cwd=folder)
    assert certificates(folder / "s.json") == certificates(folder / "calm.json")


def test_without_a_file_nothing_can_be_gone_on_from(folder, command):
    out, err = run_in(*command, "--json", "--minutes", 0.0001, cwd=folder, code=5)
    assert "Repeat the command with --out FILE, from which --resume can go on." in err
    assert len(json.loads(out)) == 3


def test_the_targets_are_not_judged_before_the_end(folder, command):
    """Not 3: nothing has failed. And what is left open is no second try."""
    accept = ("--accept", "ca@0.1>=base-1%")
    out, _, rows, _ = stopped(folder, command, *accept)
    if any(row["verdict"] == "UNFINISHED" and row["rounds"] for row in rows):
        assert "Not decided when the time was over. The rest of this screening" in out
    run_in("report", "base", "--screened", "s.json", "--out", "report", cwd=folder)
    page = (folder / "report" / "index.html").read_text()
    for row in rows:
        rounds = f"{row['rounds']} of 5 rounds" if row["rounds"] else "not begun"
        name = row["name"].rpartition("@")[2].rpartition(".")[0]
        assert row["finished"] or f"{name} ({rounds})" in page


def test_a_screening_that_was_interrupted_goes_on(folder, command):
    """The file has what was finished; as nothing but --resume may end it, verify says so."""
    run_in(*command, "--out", "calm.json", cwd=folder)
    rows = json.loads((folder / "calm.json").read_text())
    from smoothcert.methods import dataset
    from smoothcert.methods.dataset import DatasetCertificate

    last = DatasetCertificate.from_json(rows[-1])
    facts = (last.name, last.fingerprint, last.screening, last.pool, ())
    rows[-1] = {**dataset.certificate(*facts).to_json(), "made": rows[-1]["made"]}
    (folder / "s.json").write_text(json.dumps(rows))
    shown, _ = run_in("verify", "s.json", cwd=folder, code=1)
    assert "finished by `screen --resume`" in shown
    run_in(*command, "--out", "s.json", "--resume", cwd=folder)
    assert (folder / "s.json").read_bytes() == (folder / "calm.json").read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--minutes", 0), "must be above 0"),
        (("--resume",), "--resume goes on from the file that --out has written"),
        (("--resume", "--out", "s.json", "--overwrite"), "not --overwrite, which begins anew"),
        (("--resume", "--out", "base/run.json"), "is inside the run"),
        (("--resume", "--out", "odd.json"), "is not what `smoothcert screen --out` writes"),
        (("--out", "s.json"), "already exists"),
        (("--resume", "--out", "s.json", "--radii", "0.3"), "has another radii"),
        (("--resume", "--out", "s.json", "--accept", "ca@0>=0.1"), "has another target"),
    ],
)
def test_misuse_is_refused_and_the_file_kept(more, message, folder, models):
    (folder / "odd.json").write_text("[{}]")
    one = ("screen", models / NAMES[1], "--base", "base", "--per-input", 4)
    run_in(*one, "--out", "s.json", "--minutes", 600, cwd=folder)
    before = (folder / "s.json").read_bytes()
    _, err = run_in(*one, *more, cwd=folder, code=2)
    assert message in " ".join(err.split())
    assert (folder / "s.json").read_bytes() == before


def test_it_goes_on_with_the_same_models_and_base(folder, models, made):
    one = ("screen", models / NAMES[1], "--per-input", 4)
    run_in(*one, "--base", "base", "--out", "s.json", "--minutes", 600, cwd=folder)
    other = ("screen", models / NAMES[2], "--base", "base", "--per-input", 4)
    _, err = run_in(*other, "--out", "s.json", "--resume", cwd=folder, code=2)
    assert "A screening goes on with the same" in " ".join(err.split())
    run_in(*one, "--base", made / "base", "--out", "s.json", "--resume", cwd=folder)  # a copy
