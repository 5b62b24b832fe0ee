"""Tables in CSV and Parquet, with their columns file, through the commands and without any code."""

import json
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

import smoothcert
from smoothcert.runs.store import Run
from support.command_line import run_in
from support.tree_files import forest_file

MODELS = """
import numpy
import pandas
import smoothcert
import torch
from sklearn.ensemble import GradientBoostingClassifier
from torch import nn

def boosted():
    table = pandas.read_csv("train.csv")
    model = GradientBoostingClassifier(random_state=0)
    model.fit(table[["age", "income"]].to_numpy(), table["label"])
    return smoothcert.from_function(model.predict_proba, "boosted", "1")

def line():  # 1 where age / 72 + income / 200000 is above one half, for numbers of the table
    def scores(rows):
        margin = rows[:, 0] / 72 + rows[:, 1] / 200000 - 0.5 - 18 / 72
        return numpy.stack([-margin, margin], axis=1)
    return smoothcert.from_function(scores, "line", "1")

def network():  # the same on standardized columns
    network = nn.Sequential(nn.Linear(2, 2), nn.Identity(), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]) / 4)
        network[0].bias.copy_(torch.tensor([-0.25, 0.25]))
        network[2].weight.copy_(torch.eye(2))
        network[2].bias.zero_()
    return network
"""
AGE = {"name": "age", "low": 18, "high": 90}
INCOME = {"name": "income", "low": 0, "high": 200_000}
LABEL = {"label": "label", "classes": ["no", "yes"]}
SETTINGS = ("--sigma", 0.2, "--n0", 50, "--n", 2000)


def margins(frame):
    """Signed distance of each row from the line, on the [0, 1] scale of both columns."""
    return ((frame["age"] - 18) / 72 + frame["income"] / 200_000 - 0.5) / sqrt(2)


@pytest.fixture
def folder(tmp_path):
    """Models, a table to train on, and one to certify with a columns file for both."""
    (tmp_path / "mine.py").write_text(MODELS)
    rng = np.random.default_rng(0)
    for name, count in (("train", 400), ("test", 16)):
        frame = pd.DataFrame(
            {"age": rng.integers(18, 91, count), "income": 500 * rng.integers(0, 401, count)}
        )
        frame["label"] = np.where(margins(frame) > 0, "yes", "no")
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        frame.to_parquet(tmp_path / f"{name}.parquet")
    stepped = [{**AGE, "step": 1}, {**INCOME, "step": 500}]
    (tmp_path / "columns.json").write_text(json.dumps({"features": stepped, **LABEL}))
    return tmp_path


@pytest.mark.slow
def test_a_model_of_scikit_learn_on_a_csv_file(folder):
    model = "mine:boosted+columns.json"
    run_in("certify", model, "--data", "test.csv", *SETTINGS, "--out", "runs/csv", cwd=folder)
    run_in("verify", "runs/csv", "--replay", "10%", "--model", model, cwd=folder)
    run = Run.open(folder / "runs" / "csv")
    unit = "18 and 90 of age, 0 and 200000 of income"
    assert run.manifest.origin["unit"] == unit
    run_in("report", "runs/csv", "--out", "report", cwd=folder)
    assert unit in (folder / "report" / "index.html").read_text()
    assert run.identity.settings.levels == 3600
    certified = [c for c in run.certificates if c.predicted >= 0]
    assert sum(c.predicted == run.labels[c.index] for c in certified) >= 8
    run_in("certify", model, "--data", "test.parquet", *SETTINGS, "--out", "runs/pq", cwd=folder)
    again = Run.open(folder / "runs" / "pq")
    assert again.certificates == run.certificates
    assert again.identity.data == run.identity.data


@pytest.mark.slow
def test_a_forest_as_onnx_on_a_csv_file(folder):
    table = pd.read_csv(folder / "train.csv")
    forest = RandomForestClassifier(9, random_state=0)
    forest.fit(table[["age", "income"]].to_numpy(np.float32), table["label"])
    (folder / "forest.onnx").write_bytes(forest_file(forest, True, ["no", "yes"]))
    proposed, _ = run_in("adapt", "forest.onnx", cwd=folder)
    command = proposed.splitlines()[-1].split()
    assert command[:3] == ["smoothcert", "adapt", "forest.onnx"]
    run_in(*command[1:], cwd=folder)
    out, _ = run_in(
        "check", "forest-adapted.onnx", "--data", "test.csv", "--sigma", 0.05, cwd=folder
    )
    assert "Right without noise: 1" in out
    rows = ("--data", "test.csv", *SETTINGS, "--out")
    run_in("certify", "forest-adapted.onnx", *rows, "base", cwd=folder)
    run_in("verify", "base", "--replay", "10%", cwd=folder)
    _, said = run_in("certify", "forest.onnx+columns.json", *rows, "other", cwd=folder, code=2)
    assert "`smoothcert adapt forest.onnx --preprocess columns.json --out" in said


def test_radii_are_of_the_rows_as_they_are_given(folder, monkeypatch):
    """The line's smoothed classifier is itself, so a radius is at most the distance from it; on
    a coarse grid, where rows are off it by up to 0.022, only because that is subtracted."""
    monkeypatch.chdir(folder)
    (folder / "columns.json").write_text(json.dumps({"features": [AGE, INCOME], **LABEL}))
    table, data = pd.read_csv("test.csv"), smoothcert.load_inputs("test.csv", grid=1 / 32)
    assert 0.01 < data.off_grid <= sqrt(2) / 64 * 1.02
    model = smoothcert.load_classifier("mine:line+columns.json")
    found = smoothcert.certify(model, data, 0.2, n0=50, n=20_000).certificates
    exact = margins(table)
    certified = [c for c in found if c.predicted >= 0]
    assert len(certified) >= 6
    for one in certified:
        assert one.predicted == (exact[one.index] > 0)
        assert min(abs(exact[one.index]) - 0.15, 0.3) < one.radius <= abs(exact[one.index])


@pytest.mark.slow
def test_a_network_and_its_int8_version(folder):
    standardized = [
        {**AGE, "mean": 54, "std": 36, "step": 1},
        {**INCOME, "mean": 100_000, "std": 100_000, "step": 500},
    ]
    (folder / "columns.json").write_text(json.dumps({"features": standardized, **LABEL}))
    model, data = "mine:network+columns.json", ("--data", "test.csv")
    out, _ = run_in("check", model, *data, "--sigma", 0.05, cwd=folder)
    assert "Right without noise: 1" in out
    run_in("certify", model, *data, *SETTINGS, "--out", "base", cwd=folder)
    to_int8 = ("--to", "int8", *data, "--sigma", 0.2, "--out", "q.onnx")
    run_in("compress", model, *to_int8, cwd=folder)
    out, _ = run_in("recertify", "q.onnx", "--base", "base", "--out", "new", "--json", cwd=folder)
    assert json.loads(out)["certified"] >= 6


def test_what_is_missing_or_on_another_scale_is_said(folder):
    (folder / "columns.json").rename(folder / "kept.json")
    given = ("mine:boosted", "--data", "test.csv")
    _, said = run_in("certify", *given, *SETTINGS, "--out", "a", cwd=folder, code=2)
    assert '  {"name": "age", "low": ' in said and "test.columns.json beside it" in said
    (folder / "kept.json").rename(folder / "columns.json")
    _, said = run_in("check", *given, "--sigma", 5, cwd=folder, code=2)
    assert "from 3.47222e-05 to 1.13778; got 5.0" in said
    assert "on the [0, 1] scale of the inputs, not in their own units" in said
    _, said = run_in("check", *given, "--sigma", 0.1, cwd=folder, code=2)
    assert "one of a table's own numbers needs its columns file in front" in said
    _, said = run_in("check", *given, "--sigma", 0.1, "--size", 8, cwd=folder, code=2)
    assert "size is for image files" in said
