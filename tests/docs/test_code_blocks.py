"""Every code block of the README and the documents is run, page by page, or says why it is not.

So are the examples in docstrings, in the order of `EXAMPLES`.

A page's ```python and ```sh blocks are run in order, in one module and one new folder that holds
what `prepared` makes. A ```text block right behind a ```python block is what that one prints, also
where the code is folded. A ```python block that begins with the name of a file, `# nets.py`, is
that file, and is not run before a command names it. No two pages have a file of the same name,
since Python keeps what it has imported.
Sizes of real runs are made small by `SMALLER`, unless what they print is shown; a line that
`NOT_RUN` names is only parsed.
"""

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

import smoothcert
from smoothcert.cli.main import app
from smoothcert.simulation import simulate
from smoothcert.simulation.logs import read_log

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
COMMANDS = get_command(app)

SMALLER = {
    "--n 100000": "--n 300",
    "--n 10000": "--n 300",
    "n=10_000": "n=300",
    "n=20_000": "n=600",
    "100_000": "1_000",
    "--limit 200": "--limit 12",
    "limit=200": "limit=12",
    "--epochs 40": "--epochs 2",
    "--replay 1%": "--replay 5%",
    "ca@0.25>=base-2%": "acr>=1%*base",  # which so few draws of so few inputs prove
    "smoothcert compress": "smoothcert compress --overwrite",  # what `prepared` made already
}
"""What a page says to what the test does instead: the same with less of it."""

NOT_RUN = {
    r"^python3 -m venv|pip (un)?install|^git clone": "installs packages",
    r"^\.venv/bin/pytest": "runs these tests",
    r"^smoothcert demo\b": "takes minutes; tests/cli runs demo --quick",
    r"path/to/": "the data does not come with the package",
    r"s3://": "needs an object store; tests/cli and tests/runs have one",
    r"^python experiments/": "takes hours",
    r"--device cuda": "needs a GPU; tests marked cuda have commands for one",
}
"""Lines that are parsed only, and why."""


EXAMPLES = {
    **{name: getattr(smoothcert, name) for name in ("certify", "check", "load", "extend", "plan")},
    **{name: getattr(smoothcert, name) for name in ("recertify", "compress_model", "screen")},
    **{name: getattr(smoothcert, name) for name in ("verify", "compare", "write_report", "search")},
    "simulate": simulate.simulate,
}
"""Functions whose docstrings have an example; each may use what those before it have written."""


@dataclass(frozen=True)
class Block:
    """A block of code, where it is, and what it should print, if the page says so."""

    language: str
    text: str
    line: int
    prints: str | None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are code."""
    text = page.read_text()
    form = r"^```(python|sh)\n(.*?)^```$(?:\n\n(?:^</details>\n\n)?^```text\n(.*?)^```$)?"
    return [
        Block(
            found[1],
            found[2],
            text[: found.start()].count("\n") + 1,
            found[3] if found[1] == "python" else None,
        )
        for found in re.finditer(form, text, re.DOTALL | re.MULTILINE)
    ]


def lines(block: Block) -> list[str]:
    """The commands of a ```sh block, without comments, continued lines joined, each on its own."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    commands = (
        part.removeprefix(".venv/bin/") if "smoothcert" in part.split()[0] else part
        for line in bare
        if line
        for part in line.split(" && ")
    )
    return list(commands)


def why_not(line: str) -> str | None:
    """The reason for which a line is only parsed."""
    return next((why for form, why in NOT_RUN.items() if re.search(form, line)), None)


@pytest.fixture(scope="session")
def prepared(models, tmp_path_factory) -> Path:
    """What a page may take as given: a model and its int8 version, weights, image files."""
    folder = tmp_path_factory.mktemp("prepared")
    for made, name in (
        ("net.onnx", "model.onnx"),
        ("int8.onnx", "model-int8.onnx"),
        ("net.safetensors", "model.safetensors"),
    ):
        shutil.copy(models / made, folder / name)
    digits = smoothcert.load_inputs("digits", every=12)  # of every class
    for item, label in zip(digits, digits.labels, strict=True):
        (folder / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        pixels = np.rint(item.pixels[0] * (255 / digits.levels)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / str(label) / f"{item.index}.png")
    return folder


@pytest.fixture(scope="session")
def base_run(prepared, tmp_path_factory) -> Path:
    """A run of the prepared model, for pages that begin with one."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    options = f"--data digits --limit 12 --sigma 0.25 --n 300 --n0 20 --out {folder}"
    command(f"smoothcert certify {prepared / 'model.onnx'} {options}")
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:mlflow.*", "ignore:.*Any type hint:UserWarning:")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.stem)
def test_the_blocks_of_a_page_run(page, prepared, base_run, tmp_path, monkeypatch):
    code = blocks(page)
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    if not any("--out runs/base" in block.text for block in code):
        shutil.copytree(base_run, tmp_path / "runs" / "base")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny knows no database
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # what it defines can be sent to processes
    for block in code:
        if block.language == "sh":
            for line in lines(block):
                command(line)
            continue
        if file := re.match(r"# (\w+\.py)\n", block.text):
            Path(file[1]).write_text(block.text)
            continue
        text = smaller(block.text) if block.prints is None else block.text
        source = "\n" * block.line + text
        with redirect_stdout(StringIO()) as printed:
            exec(compile(source, str(page), "exec"), module.__dict__)
        if block.prints is not None:
            found = [line.rstrip() for line in printed.getvalue().splitlines()]
            assert found == block.prints.splitlines(), f"{page.name}, line {block.line}"


@pytest.mark.slow
def test_the_examples_of_docstrings_run(prepared, tmp_path, monkeypatch):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i}\t1\t1\t{i / 40}\n" for i in range(1, 25))
    Path("cohen_sigma_0.25.tsv").write_text(f"idx\tlabel\tpredict\tradius\n{rows}")
    names = vars(simulate) | {"read_log": read_log, "smoothcert": smoothcert}
    for name, function in EXAMPLES.items():
        text = smaller(function.__doc__)
        found = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
        runner = doctest.DocTestRunner(verbose=False)
        assert runner.run(found, clear_globs=False).attempted
        assert not runner.failures, name


def smaller(text: str) -> str:
    for theirs, ours in SMALLER.items():
        text = re.sub(rf"(?<!\w){re.escape(theirs)}(?!\w)", ours, text)
    return text


def command(line: str) -> None:
    """Run a line of a shell in this process, or only parse it where a rule says so."""
    program, *arguments = shlex.split(smaller(line))
    run = {"smoothcert": parsed if why_not(line) else called, "python": is_there}.get(program)
    assert run or why_not(line), f"neither run nor known: {line}"
    if run:
        run(arguments)


def called(arguments: list[str]) -> None:
    code = COMMANDS.main(arguments, prog_name="smoothcert", standalone_mode=False)
    assert not code, f"exit code {code}: {arguments}"


def parsed(arguments: list[str]) -> None:
    """The command and its options are there, and their values have the right form."""
    name, *rest = arguments
    COMMANDS.commands[name].make_context(name, rest)


def is_there(arguments: list[str]) -> None:
    """A script of this repository that has these options, or one that the page wrote: that runs."""
    script, *options = arguments
    if not (ROOT / script).exists() and Path(script).exists():
        subprocess.run([sys.executable, script], check=True)
        return
    known = "".join(path.read_text() for path in (ROOT / script).parent.glob("*.py"))
    assert (ROOT / script).exists(), script
    assert all(f'"{word}"' in known for word in options if word.startswith("--")), arguments


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("smoothcert certifi model.onnx", "No such command 'certifi'"),
        ("smoothcert demo --fast", "No such option.* --fast"),
        ("smoothcert certify path/to/x.onnx --data digits --sigma half --out y", "is not a number"),
        ("smoothcert verify nothing", "exit code 2"),
        ("python experiments/nothing.py", "nothing.py"),
        ("python experiments/tables.py --nothing", "--nothing"),
        ("curl example.org", "neither run nor known"),
    ],
)
def test_a_wrong_line_fails(line, message):
    """The control: an unknown command, option, value, run, script or program is seen."""
    with pytest.raises(Exception, match=message):
        command(line)


def test_no_two_pages_write_a_file_of_the_same_name():
    written = [
        name
        for page in PAGES
        for name in re.findall(r"^```python\n# (\w+\.py)$", page.read_text(), re.MULTILINE)
    ]
    assert written and len(written) == len(set(written))


def test_every_rule_is_needed():
    """What nothing matches any more is out of date."""
    code = [block for page in PAGES for block in blocks(page)]
    commands = [line for block in code if block.language == "sh" for line in lines(block)]
    unused = [form for form in NOT_RUN if not any(re.search(form, line) for line in commands)]
    texts = [block.text for block in code] + [value.__doc__ for value in EXAMPLES.values()]
    unused += [what for what in SMALLER if not any(what in text for text in texts)]
    assert not unused
