"""check: a model on its data before a run; what it says agrees with what is computed by hand."""

import json

import numpy as np
import pytest

from smoothcert.api.check import examined as examine
from smoothcert.certificate import Settings
from smoothcert.classifiers.from_function import from_function
from smoothcert.data.inputs import Inputs
from smoothcert.noise.law import Stream
from support.command_line import run_in


@pytest.fixture
def half_right():
    """Six-pixel inputs, whose class is whether their first value is large; every fourth is not."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 17, (60, 1, 2, 3))
    values[:, 0, 0, 0] = np.where(np.arange(60) % 2, 15, 1)
    labels = (np.arange(60) % 2) ^ (np.arange(60) % 4 == 3)
    return Inputs.from_arrays((values / 16).astype(np.float32), labels.tolist(), grid=1 / 16)


def first_value(images):
    return np.stack([0.5 - images[:, 0, 0, 0], images[:, 0, 0, 0] - 0.5], axis=1)


def test_figures_are_those_by_hand(half_right):
    settings = Settings(0.5, 16, n0=10, n=100)
    found = examine(from_function(first_value, "first", "1"), half_right, settings)
    assert found.right == (45, 60)
    assert found.confused() == ((0, 1, 15, 45),)
    assert found.look.classes == 2
    assert found.speed > 0
    hits = 0
    for i in range(60):
        item = half_right.item(i)
        steps = item.pixels + settings.noise.draws(
            0, item.index, Stream.PROBE, np.arange(10), (1, 2, 3)
        )
        hits += int(((steps[:, 0, 0, 0] > 8) == half_right.labels[i]).sum())
    assert found.right_noisy is not None
    # A value of exactly 8 of 16 ties, and votes for no class.
    assert 0 <= hits - found.right_noisy[0] <= 60
    assert found.right_noisy[1] == 600
    assert found.predicted.sum() <= 600


def test_a_collapsed_model_is_named(half_right):
    def mostly_one(images):
        return np.stack([np.zeros(len(images)), 9 + images.mean(axis=(1, 2, 3))], axis=1)

    found = examine(from_function(mostly_one, "one", "1"), half_right, Settings(0.25, 16, n=200))
    assert any("one in 2" in hint or "collapsed" in hint for hint in found.hints)


def test_the_command(models, tmp_path):
    """The JSON has what the lines say, and nothing is written."""
    common = ("--data", "digits", "--limit", 60, "--sigma", 0.25, "--n", 1000)
    shown, _ = run_in("check", models / "net.onnx", *common, cwd=tmp_path)
    for part in (
        "10 classes",
        "Right without noise",
        "evaluations per second",
        "66,000 evaluations",
    ):
        assert part in shown
    found = json.loads(run_in("check", models / "net.onnx", *common, "--json", cwd=tmp_path)[0])
    assert (found["inputs"], found["run_evaluations"], found["right"][1]) == (60, 66_000, 60)
    assert f"({found['right'][0]} of 60)" in shown
    assert list(tmp_path.iterdir()) == []
