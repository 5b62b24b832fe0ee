"""The command line as tests call it: in this process or as a process of its own."""

import contextlib
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

ENVIRONMENT = {"COLUMNS": "200", "NO_COLOR": "1"}


def run(*arguments, code=0):
    """Run it in this process; return the runner's result."""
    from smoothcert.cli.main import app

    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def run_in(*arguments, cwd, code=0):
    """The same in a folder, without color; return (stdout, stderr)."""
    with contextlib.chdir(cwd), pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        sys.modules.pop("mine", None)  # a user's file, which another test has too
        result = run(*arguments, code=code)
        sys.modules.pop("mine", None)
    return result.stdout, result.stderr


def program(*arguments, cwd, code=0):
    """Run it as a process, which takes seconds for imports; return (stdout, stderr)."""
    result = subprocess.run(
        [sys.executable, "-m", "smoothcert", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ENVIRONMENT,
    )
    assert result.returncode == code, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    return result.stdout, result.stderr
