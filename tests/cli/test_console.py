"""What is seen where: a real terminal, a pipe, with NO_COLOR, FORCE_COLOR, TERM=dumb, -q and -v."""

import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest

TABLE = """
from smoothcert.cli import console, verbosity
verbosity.set_verbosity(*{quiet_verbose}, console.say)
with console.waiting("Loading"):
    pass
with console.bar("Certifying", 100) as tick:
    tick(50)
    tick(50)
console.say("a note")
console.show_table(["model", "ACR"], [["net", "0.5"], ["a-longer-name", "0.25"]], "A title")
"""
PLAIN = "A title\nmodel           ACR\nnet             0.5\na-longer-name  0.25\n"
SAID = {"NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"}
COLOUR = {name: value for name, value in os.environ.items() if name not in SAID}
COLOUR |= {"TERM": "xterm-256color"}


def code(quiet: bool = False, verbose: bool = False) -> list[str]:
    return [sys.executable, "-c", TABLE.format(quiet_verbose=(quiet, verbose))]


def piped(command: list[str], **environment: str) -> tuple[str, str]:
    done = subprocess.run(
        command, env=COLOUR | environment, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def on_terminal(command: list[str], **environment: str) -> str:
    """Both streams of a process whose terminal is real, 80 columns wide."""
    ours, theirs = pty.openpty()
    sizes = {"COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        command,
        env=COLOUR | sizes | environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = bytearray()

        def read() -> None:
            try:
                while piece := os.read(ours, 4096):
                    seen.extend(piece)
            except OSError:  # how Linux says that the other side is closed
                return

        reader = threading.Thread(target=read)
        reader.start()
        assert process.wait(30) == 0
        reader.join(30)
    os.close(ours)
    return seen.decode().replace("\r\n", "\n")


def test_a_pipe_gets_plain_lines():
    assert piped(code()) == (PLAIN, "a note\n")


def test_forced_colour_in_a_pipe_is_colour_only():
    out, err = piped(code(), FORCE_COLOR="1")
    assert err == "a note\n"
    assert "\x1b[1m" in out
    assert re.sub(r"\x1b\[[0-9;]*m", "", out) == PLAIN


def test_a_terminal_gets_a_box_and_a_bar():
    seen = on_terminal(code())
    assert "┏" in seen
    assert "Certifying" in seen
    assert "\x1b[" in seen


def test_no_colour_on_a_terminal():
    coloured = r"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|38;|9[0-7])"
    assert re.search(coloured, on_terminal(code()))
    assert not re.search(coloured, on_terminal(code(), NO_COLOR="1"))


def test_a_dumb_terminal_gets_what_a_pipe_gets():
    assert on_terminal(code(), TERM="dumb") == "a note\n" + PLAIN


def test_quiet_is_the_result_alone():
    assert piped(code(quiet=True)) == (PLAIN, "")
    seen = on_terminal(code(quiet=True))
    assert "a note" not in seen
    assert "Certifying" not in seen
    assert "a-longer-name" in seen


@pytest.mark.slow
def test_quiet_and_verbose_before_and_after_the_command(models, tmp_path):
    def certify(*before: str, after: tuple[str, ...] = ()) -> str:
        out = str(len(list(tmp_path.iterdir())))
        model = ("certify", str(models / "net.onnx"), "--data", "digits", "--limit", "3")
        sizes = ("--sigma", "0.25", "--n", "100", "--out", out)
        command = [sys.executable, "-m", "smoothcert", *before, *model, *sizes, *after]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "ACR" in done.stdout
        return done.stderr

    assert certify("-q") == ""
    decided = certify("-q", after=("--verbose",))
    assert "Loaded net.onnx on cpu, " in decided
    assert "Device cpu, batches of 256\n" in decided
    assert "3 inputs in blocks of 3\n" in decided


@pytest.mark.slow
def test_quiet_and_verbose_exclude_each_other():
    for arguments in (("-q", "-v", "report"), ("report", "x", "--out", "o", "-q", "-v")):
        done = subprocess.run(
            [sys.executable, "-m", "smoothcert", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "--quiet and --verbose exclude each other" in done.stderr


SLOW = """
import time
from smoothcert.cli import console
with console.bar("Certifying", 120) as tick:
    time.sleep({before})
    for _ in range(12):
        tick(10)
        time.sleep({step})
print("done")
"""


def lines_of(before: float, step: float) -> list[tuple[float, str]]:
    """The lines that a process without a terminal writes, with the seconds since its start."""
    command = [sys.executable, "-c", SLOW.format(before=before, step=step)]
    found = []
    with subprocess.Popen(command, env=COLOUR, stderr=subprocess.PIPE, text=True) as process:
        start = time.monotonic()
        for line in process.stderr:
            found.append((time.monotonic() - start, line.rstrip()))
        assert process.wait(30) == 0
    return found


@pytest.mark.slow
def test_a_log_gets_its_first_line_in_time():
    """Also where a first count takes longer than that: nothing but the clock writes the line."""
    known, unknown = lines_of(0.0, 0.6), lines_of(6.5, 0.0)
    assert re.fullmatch(
        r"Certifying: \d\d%, \d0 of 120, about \d\d/s, \d s left of about \d s", known[0][1]
    )
    nothing = r"Certifying: 0%, 0 of 120 after [45] s; the time left is not known yet"
    assert re.fullmatch(nothing, unknown[0][1])
    assert len(known) == len(unknown) == 1
    assert known[0][0] > 4  # by a clock that no load makes slower
    assert lines_of(0.0, 0.0) == []


def test_an_error_ends_the_lines():
    """The control: no thread is left behind."""
    from smoothcert.cli import console

    before = threading.active_count()
    with pytest.raises(KeyError), console.bar("Certifying", 120):
        assert threading.active_count() == before + 1
        raise KeyError
    assert threading.active_count() == before
