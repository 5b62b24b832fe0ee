"""The Tab key: what the shell gets from the process that the shell starts."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

from smoothcert import vocabulary, zoo
from smoothcert.methods import SCRATCH, Decision, Exact, Irs, Reuse
from smoothcert.planning import Policy
from smoothcert.training.losses import LOSSES
from smoothcert.training.recipe import RECIPES

# As the installed script does, with a look at what was imported.
SCRIPT = """
import atexit, sys
atexit.register(lambda: print(*[m for m in ("numpy", "torch", "scipy") if m in sys.modules],
                              file=sys.stderr))
sys.argv[0] = "smoothcert"
from smoothcert.cli.main import app
app(prog_name="smoothcert")
"""


def answered(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == ""  # nothing heavy, and no complaint
    return done.stdout


def bash(*words: str) -> list[str]:
    """What is offered for the last word."""
    typed = {"COMP_WORDS": " ".join(["smoothcert", *words]), "COMP_CWORD": str(len(words))}
    return answered(typed | {"_SMOOTHCERT_COMPLETE": "complete_bash"}).split()


@pytest.mark.slow
def test_commands_options_and_values_in_bash():
    assert bash("re") == ["recertify", "report"]
    assert bash("certify", "--keep") == ["--keep-margins"]
    assert bash("recertify", "m", "--policy", "b") == ["budget:0.02"]
    assert bash("compress", "m", "--to", "prune") == [
        *("prune:0.2", "prune-layers:0.2", "prune-channels:0.2"),
    ]
    assert bash("compress", "m.on") == []  # then bash offers files


@pytest.mark.parametrize(
    ("shell", "line"),
    [("zsh", "_arguments '*: :((\"joint\"))'"), ("fish", "joint")],
)
def test_zsh_and_fish(shell, line):
    typed = {"_TYPER_COMPLETE_ARGS": "smoothcert plan m --method j"}
    typed |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert answered(typed | {"_SMOOTHCERT_COMPLETE": f"complete_{shell}"}).strip() == line


def test_bash_itself_completes(tmp_path):
    """The script that --show-completion prints, sourced by a real bash."""
    command = tmp_path / "smoothcert"
    command.write_text(f"#!{sys.executable}\n{SCRIPT}")
    command.chmod(0o700)
    source = answered({"_SMOOTHCERT_COMPLETE": "source_bash"})
    asks = (
        "COMP_WORDS=(smoothcert train --recipe co); COMP_CWORD=3; "
        '_smoothcert_completion smoothcert; echo "${COMPREPLY[@]}"'
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{source}\n{asks}"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "cohen2019\n"


def test_the_names_are_those_of_the_modules_that_own_them():
    for policy in vocabulary.POLICIES:
        assert Policy.parse(policy).kind == policy.partition(":")[0]
    assert {name for m in (SCRATCH, Irs, Reuse, Exact, Decision) for name in m.results} == {
        *vocabulary.RESULTS
    }
    for target in vocabulary.TARGETS.values():
        assert callable(import_module(f"smoothcert.compress.{target.module}").write)
    assert tuple(RECIPES) == vocabulary.RECIPES
    assert tuple(LOSSES) == vocabulary.LOSSES
    assert tuple(zoo.ARCHITECTURES) == vocabulary.ARCHITECTURES
