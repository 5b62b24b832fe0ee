"""--threads: it reaches the classifier in every command, and changes no vote."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.command_line import run

COUNTED = """
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import numpy as np

@dataclass(frozen=True)
class Counted:
    "Class 1 where the mean exceeds one half; notes how many workers it is asked for."
    threads: int = 99
    name = fingerprint = "counted"
    device, fixed_batch = "cpu", None

    @contextmanager
    def workers(self):
        with Path("threads.txt").open("a") as file:
            print(self.threads, file=file)
        yield [self] * self.threads

    def logits(self, images):
        mean = images.reshape(len(images), -1).mean(1)
        return np.stack([0.5 - mean, mean - 0.5], axis=1)

def make():
    return Counted()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "counted", raising=False)
    (tmp_path / "counted.py").write_text(COUNTED)
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.integers(0, 256, (4, 1, 4, 4)) / 255, y=np.zeros(4, int))
    Image.fromarray(rng.integers(0, 256, (4, 4), dtype=np.uint8)).save("i.png")
    return tmp_path


MODEL = "counted:make"
CERTIFY = ("certify", MODEL, "--data", "d.npz", "--sigma", 0.25, "--n", 200, "--out", "base")
COMMANDS = (
    CERTIFY,
    ("recertify", MODEL, "--base", "base", "--policy", "uniform:50", "--out", "again"),
    ("plan", MODEL, "--base", "base", "--policy", "uniform:50"),
    ("screen", MODEL, "--base", "base", "--per-input", 10),
    ("verify", "base", "--replay", "50%", "--model", MODEL),
    ("predict", MODEL, "i.png", "--sigma", 0.25, "--n", 50),
)


def test_every_command_runs_on_so_many_threads(folder):
    asked = folder / "threads.txt"
    for command in COMMANDS:
        asked.unlink(missing_ok=True)
        run(*command, "--threads", 3)
        assert set(asked.read_text().split()) == {"3"}, command
    asked.unlink()
    run(*CERTIFY[:-1], "other")
    assert set(asked.read_text().split()) == {"99"}  # the control: its own number


@pytest.mark.parametrize("command", [*COMMANDS, ("demo", "--out", "demo")], ids=lambda c: c[0])
def test_no_threads_at_all_are_refused_before_anything_is_written(command, folder):
    result = run(*command, "--threads", 0, code=2)
    assert "Error: --threads must be at least 1; got 0" in result.output
    assert not (folder / "base").exists()
    assert not (folder / "demo").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.safetensors", "net.onnx"])
def test_the_number_of_threads_changes_no_vote(name, models, tmp_path):
    common = ("--data", "digits", "--limit", 6, "--sigma", 0.25, "--n", 1500, "--batch-size", 64)
    votes = []
    for threads in (1, 2):
        out = tmp_path / str(threads)
        run("certify", models / name, *common, "--out", out, "--threads", threads)
        votes.append([path.read_bytes() for path in sorted((out / "votes").iterdir())])
    assert votes[0]
    assert votes[0] == votes[1]
