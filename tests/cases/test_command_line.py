"""What people type, where they type it, and what they pass in Python: one row a case."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import smoothcert
from smoothcert import compilation, scalars
from smoothcert import text as names
from smoothcert.api import sanity
from smoothcert.api.given import as_base
from smoothcert.cli import main, options, terminal
from smoothcert.data.given import as_inputs
from smoothcert.errors import InvalidInput, SmoothcertError, StoreError, WorkerCrash
from smoothcert.execution.processes import picklable_error
from smoothcert.files import is_litter, require_new_file
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from smoothcert.storage.local import LocalFolder
from support import linear

HERE = Path(__file__).parent


def run(*arguments, code=0):
    """The command line in this process: (stdout, stderr), and no traceback."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        result = CliRunner().invoke(main.app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout, result.stderr


CERTIFY = ("certify", "support.linear:good", "--data", "digits", "--sigma", "0.25", "--n", "200")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run that every case reads and none changes."""
    out = tmp_path_factory.mktemp("line") / "base"
    run(*CERTIFY, "--limit", 12, "--out", out)
    return out


@pytest.fixture
def copy(base, tmp_path):
    return Path(shutil.copytree(base, tmp_path / "copy"))


# Numbers as people write them.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100000", 100_000),
        ("1e5", 100_000),
        ("100k", 100_000),
        ("0.1M", 100_000),
        ("1.5k", 1500),
        ("100,000", 100_000),
        ("1_000", 1000),
        (" 7 ", 7),
        ("-3", -3),  # its range is for who uses it
        ("100.000", None),  # a hundred, or a hundred thousand
        ("1.0", None),
        ("1,00", None),
        ("1e-1", None),
        ("1e400", None),
        ("many", None),
        ("", None),
        ("k", None),
        ("nan", None),
    ],
)
def test_counts(text, value):
    with refused(value is None, match="is not a whole number"):
        assert options.parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.25", 0.25),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("64/255", 64 / 255),
        ("1/1000", 0.001),
        ("0,25", None),
        ("1/0", None),
        ("1/nan", None),
        ("a", None),
        ("", None),
    ],
)
def test_numbers(text, value):
    with refused(value is None, match="is not a number"):
        assert options.parse_real(text) == value


def refused(is_refused, match, kind=Exception):
    """What a row expects: that it is refused in these words, or nothing."""
    return pytest.raises(kind, match=match) if is_refused else contextlib.nullcontext()


@pytest.mark.slow
def test_numbers_reach_the_run(tmp_path):
    written = ("--sigma", "64/255", "--n", "0.2k", "--n0", "1e1", "--alpha", "1/100", "--limit", 3)
    run("certify", "support.linear:good", "--data", "digits", *written, "--out", tmp_path / "r")
    settings = Run.open(tmp_path / "r").identity.settings
    assert (settings.sigma, settings.n, settings.n0) == (64 / 255, 200, 10)
    assert settings.alpha == 0.01


# Options given twice.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((*CERTIFY, "--sigma", 0.5, "--out", "x"), "--sigma"),
        ((*CERTIFY, "--n", 100, "--out", "x"), "--n"),
        ((*CERTIFY, "--out", "x", "--out", "y"), "--out"),
        ((*CERTIFY, "--out", "x", "--seed=1", "--seed=1"), "--seed"),
        (("screen", "m", "--base", "b", "--form", "auto", "--form", "auto"), "--form"),
        (("report", "b", "--out", "x", "--thumbnails", "--no-thumbnails"), "--thumbnails"),
        (("verify", "b", "--base", "x", "--base", "y"), "--base"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_given_twice(arguments, named):
    _, err = run(*arguments, code=2)
    assert f"'{named}" in err
    assert "given 2 times, and only one counts" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("targets", "code"),
    [
        (("acr>=0.01", "ca@0>=0.1"), 0),
        (("acr>=0.9", "ca@0>=0.1"), 3),  # either order: none is the one that counts
        (("ca@0>=0.1", "acr>=0.9"), 3),
        (("ca@0>=0.1", "what"), 2),
    ],
)
def test_every_target_is_checked(targets, code, base, tmp_path):
    options = [word for target in targets for word in ("--accept", target)]
    out, err = run(*CERTIFY, "--limit", 12, "--out", base, "--resume", *options, code=code)
    assert out.count("accepted: ") == (0 if code == 2 else 2)
    if code != 2:
        _, err = run(
            *CERTIFY, "--limit", 12, "--out", base, "--resume", *options, "--json", code=code
        )
        assert "Traceback" not in err


def test_json_of_several_targets(base):
    options = ("--accept", "acr>=0.9", "--accept", "ca@0>=0.1", "--json")
    out, _ = run(*CERTIFY, "--limit", 12, "--out", base, "--resume", *options, code=3)
    found = json.loads(out)
    assert found["accepted"] is False
    first, second, claim = found["why"].splitlines()
    assert [line.partition(":")[0] for line in (first, second)] == ["not accepted", "accepted"]
    assert claim.startswith("Each certificate is wrong with probability at most 0.001 on its own")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("certify", "support.linear:good", "--data", "", "--sigma", 1, "--out", "x"), "--data"),
        (("certify", "", "--data", "digits", "--sigma", 1, "--out", "x"), "MODEL"),
        (("certify", "m", "--data", "digits", "--sigma", 1, "--out= "), "--out"),
        (("screen", "m", "", "--base", "b"), "MODEL..."),
        (("report", "b", "--out", "x", "--screened", ""), "--screened"),
        (("verify", "b", "--model="), "--model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_empty_text_is_no_path(arguments, named):
    """Else `--data "$DATA"`, unset, would be the folder one is in."""
    _, err = run(*arguments, code=2)
    assert f"'{named}'" in err
    assert "it is empty" in err


@pytest.mark.parametrize("arguments", [("help",), ("help", "certify"), ("help", "verify", "x")])
def test_help_is_a_command_too(arguments):
    assert run(*arguments)[0] == run(*arguments[1:2], "--help")[0]


def test_a_flag_may_be_repeated(base):
    out, _ = run("card", base, "--json", "--json")
    assert "card" in json.loads(out)


# Files that are there.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("certify", "m.onnx", "--data", "digits", "--sigma", 1, "--out", "FILE"),
            "is a file, but",
        ),
        (("recertify", "m.onnx", "--base", "BASE", "--out", "FILE"), "is a file, but"),
        (("recertify", "m.onnx", "--base", "BASE", "--out", "BASE"), "already exists"),
        (("screen", "m.onnx", "--base", "BASE", "--out", "FILE"), "already exists"),
        (("export", "BASE", "--out", "FILE"), "already exists"),
        (("export", "BASE", "--out", "FOLDER"), "is a folder"),
        (("train", "--data", "digits", "--sigma", 1, "--out", "FILE"), "already exists"),
        (("report", "BASE", "--out", "FILE"), "names a file"),
        (("report", "BASE", "--out", "new.pdf"), "names a file"),
        (("report", "BASE", "--out", "new.HTML"), "names a file"),
        (("report", "BASE", "--out", "BASE"), "is a run directory"),
        (("report", "BASE", "--out", "FOLDER"), "does not belong to a report"),
    ],
    ids=lambda value: f"{value[0]} to {value[-1]}" if isinstance(value, tuple) else "",
)
def test_what_is_there_stays(arguments, message, copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, folder = tmp_path / "mine.safetensors", tmp_path / "site"
    file.write_text("all there is")
    folder.mkdir()
    (folder / "index.html").write_text("my own page")
    places = {"FILE": file, "FOLDER": folder, "BASE": copy}
    _, err = run(*(places.get(word, word) for word in arguments), code=2)
    assert message in err
    assert file.read_text() == "all there is"
    assert (folder / "index.html").read_text() == "my own page"
    assert not verify(Run.open(copy)).problems


@pytest.mark.parametrize(
    "arguments",
    [
        ("certify", "m.onnx", "--data", "digits", "--sigma", 1, "--out", "BASE/more"),
        ("recertify", "m.onnx", "--base", "BASE", "--out", "BASE/votes/more"),
        ("merge", "BASE", "--out", "BASE/more"),
        ("screen", "m.onnx", "--base", "BASE", "--out", "BASE/screened.json"),
        ("export", "BASE", "--out", "BASE/table.csv", "--overwrite"),
        ("report", "BASE", "--out", "BASE/report"),
        ("train", "--data", "digits", "--sigma", 1, "--out", "BASE/w.safetensors"),
        ("compress", "m.onnx", "--to", "fp16", "--out", "BASE/m.onnx"),
    ],
    ids=lambda value: value[0],
)
def test_nothing_is_written_into_a_run(arguments, copy):
    words = (str(word).replace("BASE", str(copy)) for word in arguments)
    _, err = run(*words, code=2)
    assert f"is inside the run {copy}, and `verify`" in err
    assert not verify(Run.open(copy)).problems


def test_other_files_of_that_name_are_no_run(base, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    run("export", base, "--out", tmp_path / "below" / ".." / "t.csv")
    assert (tmp_path / "t.csv").read_text().count("\n") == len(Run.open(base).labels) + 1


def test_a_run_makes_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, err = run(*CERTIFY, "--limit", 2, "--out", ".", code=2)
    assert ". is the current folder." in err
    run(*CERTIFY, "--limit", 2, "--out", "run")
    (tmp_path / "link").symlink_to("below")
    (tmp_path / "below").mkdir()
    _, err = run(*CERTIFY, "--limit", 2, "--out", "link", code=2)
    assert "Cannot create link: Not a directory. A run creates its own folder" in err
    run(*CERTIFY, "--limit", 2, "--out", "link/run")


@pytest.mark.parametrize(
    ("arguments", "said", "never"),
    [
        (("merge", "BASE", "--out", "BASE"), "Choose another --out", "--resume"),
        (("certify", "m", "--data", "d", "--sigma", 1, "--out", "BASE"), "Pass --resume", "merge"),
    ],
)
def test_what_a_command_cannot_do_is_not_advised(arguments, said, never, copy):
    _, err = run(*(copy if word == "BASE" else word for word in arguments), code=2)
    assert said in err
    assert never not in err


@pytest.mark.parametrize("command", ["verify", "certify"])
def test_interrupted(command, monkeypatch, copy):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "open", stop)
    words = ("verify", copy) if command == "verify" else (*CERTIFY, "--out", copy, "--resume")
    _, err = run(*words, code=130)
    assert "Interrupted." in err
    assert ("--resume" in err) == (command == "certify")


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("base/run.json", "it is inside one. Did you mean 'base'?"),
        ("base/votes", "it is inside one. Did you mean 'base'?"),
        ("base/nothing", "it has no run.json"),
        ("picture.png", "it is a file"),
        ("empty", "it has no run.json\n"),
        ("bsae", "it has no run.json. Did you mean 'base'?"),
        ("BASE", "it has no run.json. Did you mean 'base'?"),
        (".", "it has no run.json. Runs in it are 'base'"),
        ("nothing.json", "There is no file nothing.json\n"),
        ("base.json", "There is no file base.json. Did you mean 'base'?"),
    ],
)
def test_where_no_run_is(named, said, copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    copy.rename("base")
    Path("empty").mkdir()
    Path("picture.png").write_bytes(b"")
    for command in (("verify", named), ("report", named, "--out", "page")):
        if named.endswith("run.json") or not named.endswith(".json"):
            assert said in run(*command, code=2)[1]
    if named.endswith(".json"):
        assert said in run("verify", named, code=2)[1]


@pytest.mark.slow
def test_a_log_that_is_not_there(tmp_path):
    heads, row = "idx\tlabel\tpredict\tradius\tcorrect\ttime", "0\t1\t1\t0.5\t1\t0:00:01"
    (tmp_path / "log.tsv").write_text(f"{heads}\n{row}\n")
    gone = run("replay", tmp_path / "lgo.tsv", code=2)[1]
    assert "There is no log" in gone
    assert "Did you mean 'log.tsv'?" in gone
    assert "give it with --sigma" in run("replay", tmp_path / "log.tsv", code=2)[1]


def test_pipes_are_neither_models_nor_pictures(tmp_path):
    for name in ("a.onnx", "a.png"):
        os.mkfifo(tmp_path / name)
    facts = ("--data", "digits", "--sigma", 1, "--out", tmp_path / "r")
    assert "is not a regular file" in run("certify", tmp_path / "a.onnx", *facts, code=2)[1]
    facts = ("predict", "support.linear:good", tmp_path / "a.png", "--sigma", 1)
    assert "is not a regular file" in run(*facts, code=2)[1]


def test_a_folder_is_no_picture(tmp_path):
    _, err = run("predict", "support.linear:good", tmp_path, "--sigma", 1, code=2)
    assert "is a folder, and predict takes one image" in err
    assert "Did you mean" not in err


def test_settings_that_differ_are_shown_and_no_others(base):
    _, err = run(*CERTIFY, "--n0", 7, "--limit", 12, "--out", base, "--resume", code=2)
    assert 'with other settings: {"n0": 100} stored, {"n0": 7} now. Resume' in err


@pytest.mark.parametrize(
    ("count", "what", "text"),
    [(0, "run", "0 runs"), (1, "run", "1 run"), (2, "class", "2 classes"), (1, "class", "1 class")],
)
def test_numbers_and_nouns_agree(count, what, text):
    assert names.many(count, what) == text


def test_one_of_a_kind(base, tmp_path):
    out, err = run("export", base, "--out", tmp_path / "t.csv")
    assert "12 certificates of 1 run\n" in out + err
    _, err = run(*CERTIFY, "--limit", 1, "--out", tmp_path / "r")
    assert "digits: 1 input of shape 1x8x8, 1 class (" in err


def test_no_column_is_empty(base, tmp_path):
    assert "mean" not in run("report", base, "--out", tmp_path / "page")[0]
    how = ("--method", "irs", "--out", tmp_path / "irs")
    assert "mean ζ ≤" in run("recertify", "support.linear:good", "--base", base, *how)[0]


def test_overwrite_says_otherwise(base, tmp_path):
    out = tmp_path / "table.csv"
    out.write_text("old")
    run("export", base, "--out", out, "--overwrite")
    assert out.read_text().startswith("run,")


def test_a_link_to_nowhere_is_there_too(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "gone")
    with pytest.raises(InvalidInput, match="already exists"):
        require_new_file(tmp_path / "link.csv")


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_modes_follow_the_umask(base, tmp_path):
    before = os.umask(0o027)
    try:
        run("export", base, "--out", tmp_path / "t.csv")
    finally:
        os.umask(before)
    assert (tmp_path / "t.csv").stat().st_mode & 0o777 == 0o640


# A fault of ours.


@pytest.mark.parametrize(
    "error", [KeyError("x"), RuntimeError("two\nlines"), OSError(5, "EIO"), MemoryError()]
)
def test_a_crash_is_one_line_and_exit_code_4(error, monkeypatch, base):
    def crash(path):
        raise error

    monkeypatch.setattr(Run, "open", crash)
    out, err = run("verify", base, code=4)
    assert out == ""
    assert err.startswith("Error: a bug in smoothcert ")
    assert err.count("\n") == 1
    assert "report this line" in err
    assert "--verbose" in err


def test_verbose_shows_where_it_crashed(monkeypatch, base):
    monkeypatch.setattr(Run, "open", lambda path: {}["gone"])
    result = CliRunner().invoke(main.app, ["verify", str(base), "--verbose"])
    assert result.exit_code == 4
    assert "Traceback" in result.stderr
    assert "test_command_line.py" in result.stderr


def test_a_crash_of_a_worker_too(monkeypatch, base):
    def crash(path):
        raise picklable_error(KeyError("in a worker"))

    monkeypatch.setattr(Run, "open", crash)
    _, err = run("verify", base, code=4)
    assert "A worker failed: KeyError: 'in a worker'" in err
    assert "in a worker" in "".join(picklable_error(KeyError("in a worker")).__notes__)
    assert isinstance(picklable_error(KeyError()), WorkerCrash)
    assert not isinstance(picklable_error(InvalidInput("usual")), WorkerCrash)


def test_help_names_the_exit_code():
    assert "4: a bug in smoothcert itself;" in " ".join(run("--help")[0].split())


# Terminals.


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("ACR ≥ 0.5, σ = 1 − α", "ascii", "ACR >= 0.5, sigma = 1 - alpha"),
        ("mean ζ ≤ 0.01", "cp1252", "mean zeta <= 0.01"),
        ("ℓ₂ … „é“", "latin-1", 'l2 ... \\u201eé"'),
        ("Ордер", "ascii", "\\u041e\\u0440\\u0434\\u0435\\u0440"),
        ("ACR ≥ 0.5", "utf-8", "ACR ≥ 0.5"),
        ("ACR ≥ 0.5", None, "ACR ≥ 0.5"),
    ],
)
def test_readable_in_every_encoding(text, encoding, shown):
    assert terminal.readable(text, encoding) == shown


def program(*arguments, redirect="", **environment):
    """The command line as a process behind a shell: the result, without a traceback."""
    words = " ".join(map(str, (sys.executable, "-m", "smoothcert", *arguments)))
    command = ["bash", "-c", f"{words} {redirect}; echo code ${{PIPESTATUS[0]}} >&2"]
    result = subprocess.run(
        command, capture_output=True, check=False, env=os.environ | environment, cwd=HERE
    )
    assert b"Traceback" not in result.stderr
    return result.stdout, result.stderr.decode()


posix = pytest.mark.skipif(os.name != "posix", reason="needs a shell")


@posix
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_disk_behind_standard_output(buffered):
    _, err = program("--help", redirect="> /dev/full", PYTHONUNBUFFERED=buffered)
    assert "code 2" in err
    assert "standard output cannot be written" in err


@pytest.mark.slow
@posix
def test_a_full_disk_behind_a_result_names_out_only_where_it_is(base, tmp_path):
    _, err = program("verify", base, redirect="> /dev/full")
    assert "code 2" in err
    assert err.count("standard output cannot be written") == 1
    assert "Send it elsewhere.\n" in err
    assert "--out" not in err
    _, err = program("report", base, "--out", tmp_path / "report", redirect="> /dev/full")
    assert "code 2" in err
    assert err.count("Send it elsewhere; what was written to --out is kept.\n") == 1
    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.slow
@posix
def test_closed_streams(base):
    assert program("verify", base, redirect=">&- 2>&- <&-")[0] == b""
    out, err = program("nothing", redirect="2>&-")
    assert (out, err) == (b"", "code 2\n")


@posix
def test_a_reader_that_leaves_is_no_error():
    out, err = program("--help", redirect="| true")
    assert (out, err) == (b"", "code 0\n")


@pytest.mark.slow
@posix
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_figures_in_another_encoding(encoding, base):
    out, err = program(
        "report",
        "--help",
        ";",
        sys.executable,
        "-m",
        "smoothcert",
        "card",
        base,
        PYTHONIOENCODING=encoding,
    )
    assert "code 0" in err
    text = out.decode(encoding)
    assert "sigma = 0.25, alpha = 0.001 per input" in text
    assert "?" not in text.partition("sigma = 0.25")[2].partition("\n")[0]


@posix
def test_a_sink_goes_on_when_its_reader_is_gone():
    for path, failure in (("/dev/full", True), (None, False)):
        reading, writing = os.pipe()
        os.close(reading)
        if path:
            full = os.open(path, os.O_WRONLY)
            os.dup2(full, writing)
            os.close(full)
        sink = terminal.Sink(writing, "wb")
        assert [sink.write(b"abc"), sink.write(b"de")] == [3, 2]
        assert (sink.failure is not None) == failure
        sink.close()


# Containers.


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("~/runs/a", "HOME/runs/a"),
        ("~", "HOME"),
        ("small_cnn@~/w.safetensors", "small_cnn@HOME/w.safetensors"),
        ("fast:~/m.onnx", "fast:HOME/m.onnx"),
        (Path("~/x.png"), Path("HOME/x.png")),
        (["~/a", "b"], ["HOME/a", "b"]),
        ("a~b", "a~b"),
        ("x/~/y", "x/~/y"),
        ("~~", "~~"),
        ("s3://bucket/~x", "s3://bucket/~x"),
        (0.25, 0.25),
        (None, None),
    ],
)
def test_a_quoted_home(value, wanted, monkeypatch):
    monkeypatch.setenv("HOME", "HOME")
    assert main.expand_home(value) == wanted
    assert type(main.expand_home(value)) is type(value)


def test_a_quoted_home_is_found(base, monkeypatch):
    monkeypatch.setenv("HOME", str(base.parent))
    assert "all as stored" in run("verify", "~/base")[0]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners")
def test_the_compiled_code_is_kept_where_nobody_else_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = tmp_path / f"smoothcert-{os.getuid()}"
    assert compilation._temporary_folder() == str(mine)
    assert mine.stat().st_mode & 0o777 == 0o700
    mine.chmod(0o777)  # anybody could have put code there
    assert compilation._temporary_folder() != str(mine)
    mine.rmdir()
    mine.symlink_to(tmp_path)
    assert compilation._temporary_folder() != str(mine)


@pytest.mark.parametrize("temporary", [True, False])
def test_no_folder_to_keep_compiled_code_in(temporary, tmp_path, monkeypatch):
    asked = []

    def njit(cache=False, **how):
        asked.append(cache and (compilation._CONFIG.CACHE_DIR or "usual"))
        if cache and not (temporary and str(tmp_path) == compilation._CONFIG.CACHE_DIR):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compilation, "njit", njit)
    monkeypatch.setattr(compilation._CONFIG, "CACHE_DIR", "")
    monkeypatch.setattr(compilation, "_temporary_folder", lambda: str(tmp_path))
    assert compilation.compiled(len) is len
    assert asked == ["usual", str(tmp_path), *([] if temporary else [False])]
    assert compilation._CONFIG.CACHE_DIR == ""


# Values in Python.


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
ITEM = smoothcert.Inputs.from_arrays(IMAGES).item(0)
LAW = smoothcert.RoundedGaussian(0.25, "1/255")
PILLOW = [Image.fromarray(image[0]) for image in IMAGES]


class Tensor:
    """What torch's look like from outside."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.array


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (PILLOW, None),
        (tuple(PILLOW), None),
        (Tensor(IMAGES), None),
        ([Tensor(image) for image in IMAGES], None),
        (list(IMAGES), None),
        (smoothcert.Inputs.from_arrays(IMAGES), None),
        ([PILLOW[0], PILLOW[1].convert("RGB")], "Image 1 has shape"),
        ([PILLOW[0], PILLOW[1].resize((4, 4))], "Image 1 has shape"),
        ([PILLOW[0], IMAGES[0]], "Entry 1 of the list is not an image"),
        ([[1, 2], [3]], "are not an array"),
        (None, "must have shape"),
        ([], "must have shape"),
        ({"x": 1}, "must have shape"),
        (Path("gone"), "There is no data at gone"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_inputs_as_people_have_them(given, message):
    with refused(message, match=message, kind=InvalidInput):
        found = as_inputs(given)
        assert [item.content for item in found] == [
            i.content for i in smoothcert.Inputs.from_arrays(IMAGES)
        ]


def test_one_picture_is_one_input_and_not_as_many_as_it_has_rows():
    assert len(as_inputs(PILLOW[0])) == 1


def test_data_sets_by_name_and_pictures_by_path(tmp_path):
    assert as_inputs("digits").labels == smoothcert.load_inputs("digits").labels
    PILLOW[0].save(tmp_path / "a.png")
    found = as_inputs([tmp_path / "a.png", str(tmp_path / "a.png")])
    assert found.item(1).pixels.tolist() == IMAGES[0].tolist()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("sigma", np.float32(0.25), 0.25),
        ("sigma", np.array(0.25), 0.25),
        ("sigma", Fraction(64, 255), 64 / 255),
        ("sigma", 1, 1),  # an int stays one: a run's hash has it
        ("n", np.int64(100), 100),
        ("n", 1e5, 100_000),
        ("n0", np.uint8(10), 10),
        ("seed", np.uint64(2**64 - 1), 2**64 - 1),
        ("alpha", np.float64(0.01), 0.01),
        ("sigma", "0.25", None),
        ("sigma", None, None),
        ("sigma", np.array([0.25]), None),
        ("n", 2.5, None),
        ("n", True, None),
        ("n", "100", None),
        ("n", float("inf"), None),
        ("seed", "abc", None),
    ],
)
def test_settings_as_people_have_them(name, value, wanted):
    with refused(wanted is None, match=f"{name} must be a", kind=InvalidInput):
        found = getattr(smoothcert.Settings(**{"sigma": 0.5} | {name: value}), name)
        assert found == wanted
        assert type(found) is type(wanted)
    if wanted is None and value is not True:
        with pytest.raises(SmoothcertError):
            smoothcert.certify(linear.good(), IMAGES, **{"sigma": 0.5, "n": 50} | {name: value})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda b: smoothcert.recertify(b, linear.good(), IMAGES, policy=100), "A policy must be"),
        (lambda b: smoothcert.predict(linear.good(), IMAGES[0], LAW), "takes an item of `Inputs`"),
        (lambda b: smoothcert.predict(linear.good(), ITEM, 0.25), "noise must be a noise law"),
        (lambda b: Run.open(None), "got NoneType"),
        (lambda b: Run.open(b), "got Certification"),
        (lambda b: smoothcert.summarize(b, [0, 1, "2"]), "a label must be a whole number"),
        (lambda b: smoothcert.summarize(b, [0, 1, float("nan")]), "a label must be a whole number"),
        (lambda b: smoothcert.summarize(b, radii=["0.25"]), "a radius must be a number"),
        (lambda b: smoothcert.load_inputs("digits", limit="3"), "limit must be a whole number"),
        (lambda b: smoothcert.load_inputs("digits", every=2.5), "every must be a whole number"),
        (lambda b: smoothcert.load_inputs("digits", size="8"), "size must be a whole number"),
        (lambda b: smoothcert.load_inputs(None), "must be a text or a path"),
        (lambda b: smoothcert.load_inputs(["a.png"]), "must be a text or a path"),
        (lambda b: smoothcert.screen(b, {}, IMAGES), "nothing to screen"),
    ],
)
def test_what_is_not_obvious_is_refused_in_a_line(wrong, message):
    found = smoothcert.certify(linear.good(), IMAGES, 0.25, n0=10, n=100)
    with pytest.raises(InvalidInput, match=message):
        wrong(found)


def test_what_is_obvious_is_taken(base):
    inputs, run_ = smoothcert.load_inputs("digits", limit=np.int64(12)), Run.open(base)
    one = smoothcert.screen(run_, linear.good(), inputs, per_input=20)
    assert one == smoothcert.screen(run_, [linear.good()], inputs, per_input=20)
    found = run_.certification()
    wanted = smoothcert.summarize(found.certificates, inputs.labels, (0.25,))
    assert smoothcert.summarize(found, np.array(inputs.labels), 0.25) == wanted
    assert smoothcert.summarize(run_, [float(k) for k in inputs.labels], [0.25]) == wanted


def test_numpy_numbers_all_the_way():
    model, few = linear.good(), {"n0": np.int64(10), "n": np.int32(100)}
    base = smoothcert.certify(model, IMAGES, np.float32(0.25), **few, batch_size=np.int64(16))
    same = smoothcert.certify(model, IMAGES, 0.25, n0=10, n=100, batch_size=16)
    assert base.certificates == same.certificates
    how = {"per_input": np.int64(20), "alpha": np.float64(0.01)}
    for more in ({}, {"method": "irs", "gamma": np.float64(0.9)}, {"fresh_seed": np.int64(7)}):
        again = smoothcert.recertify(base, model, IMAGES, **how, **more)
        assert json.dumps([c.to_json() for c in again.certificates])
    item, noise = (
        smoothcert.Inputs.from_arrays(IMAGES).item(0),
        smoothcert.RoundedGaussian(np.float32(0.25), "1/255"),
    )
    assert (
        smoothcert.predict(model, item, noise, n=np.int64(50), alpha=np.float32(0.01)).draws == 50
    )
    with pytest.raises(InvalidInput, match="batch_size must be at least 1"):
        smoothcert.certify(model, IMAGES, 0.25, n=50, batch_size=-1)


def test_a_run_is_a_base_and_so_is_its_path(base, tmp_path):
    opened = Run.open(base)
    found = smoothcert.recertify(
        opened, linear.good(), smoothcert.load_inputs("digits", limit=12), per_input=50
    )
    assert len(found.certificates) == 12
    for path in (str(base), base):
        assert as_base(path).certificates == opened.certificates
    with pytest.raises(StoreError, match="is not a run directory"):
        as_base(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match="got NoneType"):
        as_base(None)
    assert scalars.plain("text") == "text"


# Hints before and after.


@pytest.mark.parametrize(
    ("changed", "alpha", "hint"),
    [
        ({}, None, None),
        ({"n": 9}, None, "Use --n 10 at the very least"),
        ({"n": 10}, None, None),
        ({"n": 10, "form": "multiclass"}, None, "Use --n 11 at the very least"),
        ({"n": 9}, 0.002, None),  # a base's own n
        ({"sigma": 2.0}, None, None),
        ({"sigma": 12.0}, None, "Did you mean 12/255?"),
        ({"alpha": 0.5, "n": 50}, None, None),
        ({"alpha": 0.6, "n": 50}, None, "0.6 is above one half"),
        ({"n0": 4}, None, "chosen from only 4 draws"),
        ({"n0": 1}, None, "chosen from only 1 draw."),
        ({"n0": 5}, None, None),
        ({"alpha": 1e-9, "n": 5}, None, "Use --n 30 at the very least"),
        ({"alpha": 1e-300, "n": 50}, None, "Use a larger --alpha"),
        ({"alpha": 5e-324}, None, "Use a larger --alpha"),
        ({}, 0.6, "0.6 is above one half"),
    ],
)
def test_hints_of_settings(changed, alpha, hint):
    settings = smoothcert.Settings(**{"sigma": 0.25} | changed)
    found = sanity.of_settings(settings, alpha)
    assert (hint in found[0]) if hint else found == ()


@pytest.mark.slow
def test_hints_of_other_commands(base, tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    one = ("predict", "support.linear:good", tmp_path / "a.png", "--n", 20)
    _, err = run(*one, "--sigma", 12, "--alpha", 0.6)
    assert "Did you mean 12/255?" in err
    assert "0.6 is above one half" in err
    assert "Did you mean 64/255?" in run(*one, "--sigma", 64, code=2)[1]
    for command in (
        ("plan", "support.linear:good"),
        ("screen", "support.linear:good", "--per-input", 9),
    ):
        wide = run(*command, "--base", base, "--alpha", 0.6)[1]
        assert "0.6 is above one half" in wide, command


@pytest.mark.parametrize(("model", "is_odd"), [("good", False), ("permuted", True)])
def test_what_is_odd_about_a_recertification(model, is_odd, base, tmp_path):
    _, err = run("recertify", f"support.linear:{model}", "--base", base, "--out", tmp_path / "r")
    assert ("Only 0 of the original's" in err) == is_odd


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "sigma", "hint"),
    [
        ("good", 0.25, "A first look: right on "),
        ("permuted", 0.25, "class 0 as 1"),
        ("two_swapped", 0.25, "class 0 as 6, class 6 as 0"),
        ("pixels_elsewhere", 0.25, "with the normalization inside"),
        ("collapsed", 0.25, "collapsed to one class"),
        ("fragile", 0.5, "Was it trained with noise"),
    ],
)
def test_a_first_look(model, sigma, hint, tmp_path):
    few = ("--every", 3, "--n", 150, "--n0", 10, "--out", tmp_path / "r")
    _, err = run("certify", f"support.linear:{model}", "--data", "digits", "--sigma", sigma, *few)
    assert hint in err
    read, look = err.split("\n")[:2]
    assert read.startswith("digits: 167 inputs")
    assert look.startswith("A first look" if model == "good" else "Note: ")


def test_a_look_changes_no_byte(tmp_path):
    few = ("--every", 6, "--n", 150, "--n0", 10)
    _, err = run(*CERTIFY[:6], *few, "--out", tmp_path / "loud")
    _, silent = run(*CERTIFY[:6], *few, "--out", tmp_path / "quiet", "--quiet")
    assert "A first look" in err
    assert silent == ""
    loud, quiet = (LocalFolder(tmp_path / name) for name in ("loud", "quiet"))
    for name in loud.files():
        if not name.startswith("events/"):  # seconds
            assert loud.read(name, 10**8) == quiet.read(name, 10**8), name


@pytest.mark.parametrize("model", ["good", "permuted", "pixels_elsewhere"])
def test_what_is_odd_about_a_result(model):
    inputs, settings = (
        smoothcert.load_inputs("digits", every=12),
        {"sigma": 0.5, "n0": 20, "n": 100},
    )
    found = smoothcert.certify(getattr(linear, model)(), inputs, **settings)
    said = " ".join(sanity.of_result(found.certificates, inputs.labels, 10))
    wanted = {"good": "", "permuted": "All ", "pixels_elsewhere": "Under noise the model is right"}
    assert said.startswith(wanted[model])
    assert bool(said) == (model != "good")
    assert sanity.of_result(found.certificates, [None] * len(inputs), 10) == ()


def test_a_look_costs_a_hundredth_at_most():
    evaluated = []

    class Counting:
        name = fingerprint = "counting"
        device, fixed_batch = "cpu", 16

        def logits(self, images):
            evaluated.append(len(images))
            return np.stack([images.mean((1, 2, 3)), 1 - images.mean((1, 2, 3))], axis=1)

    inputs, settings = smoothcert.load_inputs("digits"), smoothcert.Settings(0.25)
    assert sanity.look(Counting(), inputs, settings, 3199) is None
    assert not evaluated
    assert sanity.look(Counting(), inputs, settings, 10_000).noisy.size <= 50
    assert sum(evaluated) <= 100 + 16


# Runs that were copied.


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "certificates/.DS_Store", "Thumbs.db", "desktop.ini", "votes/._00000.parquet",
     "__MACOSX/._run.json", "ledger/._x.json", ".nfs0001", "@eaDir/run.json", "ehthumbs.db",
     "votes/Icon\r", ".AppleDouble/run.json", ".Trash-1000/x", ".gitattributes", "ledger/.gitkeep",
     "~$run.json", "$RECYCLE.BIN/desktop.ini"],
)  # fmt: skip
def test_what_systems_put_into_folders(name, copy):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"\0\1")
    assert not verify(Run.open(copy)).problems
    assert is_litter(name)


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "certificates/00000.parquet.bak", "DS_Store", "run (1).json", ".run.json"],
)
def test_what_people_put_there_is_named(name, copy):
    (copy / name).write_bytes(b"\0\1")
    (problem,) = verify(Run.open(copy)).problems
    assert "is not part of a run" in problem


def test_a_folder_with_nothing_but_litter_takes_a_run(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / ".DS_Store").write_bytes(b"\0")
    run(*CERTIFY, "--limit", 2, "--out", tmp_path / "r")
    assert (tmp_path / "r" / ".DS_Store").exists()


@pytest.mark.parametrize("name", ["run.json", "events/00000.json"])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.rstrip(b"\n"),
        lambda data: data + b"\n",
    ],
    ids=["crlf", "mark", "cut", "added"],
)
def test_line_ends_are_named_as_that(name, change, copy):
    file = copy / name
    before = file.read_bytes()
    if change(before) == before:
        pytest.skip("ends without one")
    file.write_bytes(change(before))
    out, err = run("verify", copy, code=2 if name == "run.json" else 1)
    assert "its line ends were changed" in out + err
    file.write_bytes(change(before).replace(b"0", b"1", 1))
    out, err = run("verify", copy, code=2 if name == "run.json" else 1)
    assert "its line ends were changed" not in out + err


# Labels, and places.


def _images(count):
    """The first digits, as somebody keeps them in a file."""
    some = smoothcert.load_inputs("digits", limit=count)
    return np.stack([item.pixels for item in some]) / some.levels


@pytest.mark.parametrize(
    ("labels", "said", "head"),
    [
        ([0] * 6, "", " CA@0 "),
        (None, "(no labels: any class counts)", "certified@0 "),
        ([0, None, 0, None, 0, 0], "(2 inputs without label: any class counts)", " CA@0 "),
    ],
)
def test_tables_without_labels(labels, said, head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = smoothcert.load_inputs("digits", limit=6)
    found = smoothcert.certify(linear.good(), inputs, 0.25, n0=10, n=100)
    from smoothcert.report.tables import summary_table

    summary = smoothcert.summarize(found.certificates, labels, name="r")
    heads, ((first, *_),) = summary_table([summary])
    assert first == f"r {said}".strip()
    assert head.strip() in heads
    assert ("ACR" in heads) == (labels is not None)
    assert summary.labelled == (labels is not None and None not in labels)


def test_certify_without_labels_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=_images(6))
    what = ("--data", "d.npz", "--grid", "1/16", "--sigma", 0.25, "--n", 100, "--out", "r")
    out, _ = run("certify", "support.linear:good", *what)
    assert "r (no labels: any class counts)" in out
    assert "CA@" not in out
    for more in (("report", "r", "--out", "page"), ("card", "r")):
        assert "no labels: any class counts" in run(*more)[0]
    metadata = run("card", "r", "--model-index")[0].partition("---\n\n")[0]
    assert "certified_accuracy" not in metadata
    assert "no labels: any class counts" in metadata


def test_moved_data_and_models_are_named_with_their_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = smoothcert.load_inputs("digits", limit=4)
    np.savez("d.npz", x=_images(4), y=np.array(few.labels))
    run(*CERTIFY[:2], "--data", "d.npz", "--grid", "1/16", *CERTIFY[4:], "--out", "r")
    Path("d.npz").rename("elsewhere.npz")
    for command in (
        ("recertify", "support.linear:good", "--base", "r", "--out", "again"),
        ("plan", "support.linear:good", "--base", "r"),
        ("screen", "support.linear:good", "--base", "r"),
        ("verify", "r", "--replay", "1%", "--model", "support.linear:good"),
    ):
        _, err = run(*command, code=2)
        assert "if it has moved, say where with --data." in err, command
    assert "say where with --data" in run("report", "r", "--out", "page")[1]
    run(
        "verify", "r", "--replay", "1%", "--model", "support.linear:good", "--data", "elsewhere.npz"
    )


@pytest.mark.parametrize("command", [("recertify", "--policy", "budget:50"), ("screen",)])
def test_labels_that_are_no_longer_those_of_the_base(command, tmp_path):
    """What is made of them has other true classes than its base, which verify finds wrong."""
    digits = smoothcert.load_inputs("digits", limit=4)
    pixels, file = np.stack([item.pixels for item in digits]) / 256, tmp_path / "d.npz"
    np.savez(file, x=pixels, y=digits.labels)
    given = [*CERTIFY[:2], "--data", file, "--grid", "1/256", *CERTIFY[4:]]
    run(*given, "--out", tmp_path / "base")
    name, *options = command
    again = (name, "support.linear:good", "--base", tmp_path / "base", *options, "--out")
    np.savez(file, x=pixels, y=np.roll(digits.labels, 1))
    _, said = run(*again, tmp_path / "a.json", code=2)
    assert "2 of 4 inputs have a different true class than in" in said
    assert not (tmp_path / "a.json").exists()
    np.savez(file, x=pixels, y=digits.labels)
    run(*again, tmp_path / "a.json")
