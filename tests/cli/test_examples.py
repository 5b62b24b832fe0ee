"""The examples at the end of `--help`: one of each command, and each is a command that exists."""

import re
import shlex

import pytest
from typer.main import get_command

from smoothcert.cli.examples import EXAMPLES
from smoothcert.cli.main import app

COMMANDS = get_command(app).commands


def parse(line: str) -> None:
    program, name, *rest = shlex.split(line)
    assert program == "smoothcert"
    COMMANDS[name].make_context(name, rest)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_options_that_exist(name):
    for line in re.sub(r"\\\n\s*", "", "\n".join(EXAMPLES[name])).splitlines():
        assert line.split()[1] == name
        parse(line)


def test_every_command_has_one_that_fits_into_80_columns():
    assert set(EXAMPLES) == {name for name, command in COMMANDS.items() if not command.hidden}
    assert max(len(line) for lines in EXAMPLES.values() for line in lines) <= 76


@pytest.mark.parametrize("wrong", ["smoothcert certify x --datta digits", "smoothcert verify"])
def test_a_wrong_one_would_be_seen(wrong):
    with pytest.raises(Exception, match=r"No such option|Missing parameter"):
        parse(wrong)
