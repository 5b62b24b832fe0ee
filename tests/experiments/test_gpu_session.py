"""What is measured on a GPU, rehearsed on a CPU: each script runs, and goes on where it stopped."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "experiments/gpu/session.py"
STEPS = ["speed-cifar_resnet20-fast", "million", "votes", "train"]
"""One of each script; the others are the same with other sizes, and pytest's own tests."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of small colour pictures by split and class."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 1)):
        for label in range(10):
            of = folder / split / str(label)
            of.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(of / f"{i}.png")
    return folder


def session(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


@pytest.mark.slow
def test_every_script_of_a_gpu_session_runs_on_a_cpu(pictures, tmp_path):
    done = session(str(pictures), str(tmp_path), "--tiny", "--only", ",".join(STEPS))
    logs = "".join(file.read_text() for file in sorted(tmp_path.glob("*.log")))
    rows = table(tmp_path / "session.csv")
    assert [(row["step"], row["exit"], row["tiny"]) for row in rows] == [
        (step, "0", "True") for step in STEPS
    ], done.stderr + logs
    commands = table(tmp_path / "million/commands.csv")
    assert [row["command"] for row in commands] == ["original", "exact", "auto"]
    assert list(tmp_path.glob("votes/*/original.npz"))
    assert list(tmp_path.glob("train/*.safetensors"))
    again = session(str(pictures), str(tmp_path), "--tiny", "--only", ",".join(STEPS))
    assert again.stdout == ""  # nothing was left to do
    assert table(tmp_path / "session.csv") == rows


def test_a_step_for_which_no_time_is_left_is_named_and_not_begun(tmp_path):
    done = session("DATA", str(tmp_path), "--minutes", "1", "--only", "train")
    assert "train: 60 s are left, and it takes 200" in done.stdout


def test_an_unknown_step_is_refused_with_those_there_are(tmp_path):
    done = session("DATA", str(tmp_path), "--only", "nothing")
    assert done.returncode == 2
    assert "no step is called nothing; there are tests, commands" in done.stderr
