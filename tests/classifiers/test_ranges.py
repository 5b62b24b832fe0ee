"""A table's own numbers in front of a model: by NumPy, torch and ONNX, and read from one file."""

import json
import pickle

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier
from torch import nn

import smoothcert
from smoothcert.adapt import adapt, seen
from smoothcert.classifiers.preprocessed import Preprocessed
from smoothcert.classifiers.preprocessing_files import given
from smoothcert.errors import InvalidInput, ModelError
from support.tree_files import forest_file

SAID = {
    "features": [
        {"name": "age", "low": 18, "high": 90, "step": 1},
        {"name": "height", "low": 1.2, "high": 2.2},
        {"name": "price", "low": -0.5, "high": 9.5, "step": 0.1},
    ],
    "label": "y",
}
LEVELS = 3600


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "columns.json"
    path.write_text(json.dumps(SAID))
    return path


def grid(rows=200):
    """Noisy rows as the engine makes them: whole steps, also outside of [0, 1], in float32."""
    steps = np.random.default_rng(0).integers(-LEVELS, 2 * LEVELS, (rows, 3))
    return steps.astype(np.float32) * np.float32(1 / LEVELS)


class Sums(nn.Module):
    """Two scores, by which the numbers themselves can be seen."""

    def forward(self, rows):
        return torch.stack([rows[:, 0] + rows[:, 1], rows[:, 2]], dim=1)


def test_rows_of_the_table_get_their_own_numbers_back(file, tmp_path):
    wanted, _ = given(file, {})
    (tmp_path / "t.csv").write_text(
        "age,height,price,y\n18,1.2,-0.5,0\n34,1.7,0.3,1\n89,2.2,9.5,1\n"
    )
    data = smoothcert.load_inputs(tmp_path / "t.csv")
    rows = np.stack([item.pixels for item in data]).astype(np.float32) * np.float32(1 / data.levels)
    expected = np.array([[18, 1.2, -0.5], [34, 1.7, 0.3], [89, 2.2, 9.5]], np.float32)
    found = wanted.apply(rows)
    assert (found[:, [0, 2]] == expected[:, [0, 2]]).all()
    assert np.abs(found[:, 1] - expected[:, 1]).max() < 1e-6


def test_a_column_with_steps_has_no_values_between_them(file):
    found = given(file, {})[0].apply(grid())
    assert (found[:, 0] == np.rint(found[:, 0])).all()
    tenths = np.float64(found[:, 2]) * 10
    assert np.abs(tenths - np.rint(tenths)).max() < 1e-5
    assert len(np.unique(found[:, 1])) > 150
    assert found[:, 0].min() < 0  # noise goes beyond low and high, and is not cut


def test_numpy_torch_and_onnx_agree_to_the_bit(file, tmp_path):
    wanted, _ = given(file, {})
    by_hand = wanted.apply(grid())
    module = Preprocessed(nn.Identity(), wanted)
    assert (module(torch.from_numpy(grid())).numpy() == by_hand).all()
    onnx.save(linear(), tmp_path / "m.onnx")
    adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", wanted)
    first, second = (smoothcert.load_classifier(tmp_path / name) for name in ("m.onnx", "a.onnx"))
    assert (second.logits(grid()) == first.logits(by_hand)).all()


def linear(columns=3):
    """An ONNX file with one score per column."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["scores"])],
        "linear",
        [value("x", TensorProto.FLOAT, ["N", columns])],
        [value("scores", TensorProto.FLOAT, ["N", columns])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_a_function_behind_its_columns(file, tmp_path, monkeypatch):
    (tmp_path / "mine_columns.py").write_text(
        "import smoothcert\n\ndef scores(rows):\n    return rows[:, :2]\n\n"
        "def make():\n    return smoothcert.from_function(scores, 'mine', '1')\n"
    )
    monkeypatch.chdir(tmp_path)
    plain = smoothcert.load_classifier("mine_columns:make")
    behind = smoothcert.load_classifier("mine_columns:make+columns.json")
    expected = given(file, {})[0].apply(grid())[:, :2]
    assert (behind.logits(grid()) == expected).all()
    assert behind.name == "mine+columns.json"
    assert pickle.loads(pickle.dumps(behind)).fingerprint == behind.fingerprint
    other = json.loads(json.dumps(SAID))
    other["features"][0]["high"] = 91
    file.write_text(json.dumps(other))
    changed = smoothcert.load_classifier("mine_columns:make+columns.json")
    assert len({plain.fingerprint, behind.fingerprint, changed.fingerprint}) == 3
    with pytest.raises(
        ModelError, match=r"for rows of 3 columns, and inputs have shape \(1, 8, 8\)"
    ):
        behind.logits(np.zeros((2, 1, 8, 8), np.float32))


def test_images_before_a_function_are_preprocessed_too(tmp_path, monkeypatch):
    (tmp_path / "mine_images.py").write_text(
        "import smoothcert\n\ndef make():\n"
        "    return smoothcert.from_function(lambda x: x[:, :2], 'mine', '1')\n"
    )
    (tmp_path / "flat.json").write_text('{"scale": 255, "mean": 100, "layout": "flat"}')
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).random((5, 1, 2, 2), np.float32)
    found = smoothcert.load_classifier("mine_images:make+flat.json").logits(images)
    assert (found == (images.reshape(5, 4) * np.float32(255) - np.float32(100))[:, :2]).all()


def test_a_network_that_was_trained_on_standardized_columns(tmp_path, monkeypatch):
    said = {
        "features": [
            {"name": "age", "low": 0, "high": 64, "step": 1, "mean": 40, "std": 12},
            {"name": "height", "low": 1, "high": 3, "mean": 1.75},
        ]
    }
    (tmp_path / "columns.json").write_text(json.dumps(said))
    (tmp_path / "mine_network.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def forward(self, x):\n"
        "        return x\n\ndef make():\n    return Net()\n"
    )
    monkeypatch.chdir(tmp_path)
    found = smoothcert.load_classifier("mine_network:make+columns.json").logits(
        np.array([[0.5, 0.25], [1, 1]], np.float32)
    )
    expected = [[(32 - 40) / 12, 1.5 - 1.75], [(64 - 40) / 12, 3 - 1.75]]
    assert np.allclose(found, expected, atol=1e-6)


FORMS = [(maps, labels) for maps in (False, True) for labels in ([0, 1, 2], ["a", "b", "c"])]


@pytest.mark.parametrize(("maps", "labels"), FORMS)
def test_a_forest_from_scikit_learn_as_onnx(maps, labels, file, tmp_path):
    """Its probabilities, of the numbers that the table has, are those of scikit-learn itself."""
    wanted, _ = given(file, {})
    rows = wanted.apply(grid())
    truth = np.array(labels)[(rows[:, 0] > 60).astype(int) + (rows[:, 2] > 5)]
    forest = RandomForestClassifier(9, random_state=0).fit(rows, truth)
    (tmp_path / "f.onnx").write_bytes(forest_file(forest, maps, labels))
    adapt(tmp_path / "f.onnx", tmp_path / "a.onnx", wanted)
    found = smoothcert.load_classifier(tmp_path / "a.onnx")
    assert np.abs(found.logits(grid()) - forest.predict_proba(rows)).max() < 1e-5
    assert found.class_names == (tuple(labels) if isinstance(labels[0], str) else ())


@pytest.mark.parametrize("maps", [False, True])
def test_a_forest_with_other_numbers_of_classes(maps, file, tmp_path):
    """Refused until its output is named; then a column per class in the order of the file."""
    rows = given(file, {})[0].apply(grid())
    forest = RandomForestClassifier(9, random_state=0).fit(rows, np.where(rows[:, 0] > 50, 1, -1))
    (tmp_path / "f.onnx").write_bytes(forest_file(forest, maps, [-1, 1]))
    with pytest.raises(ModelError, match='"classes" in its columns file'):
        smoothcert.load_classifier(tmp_path / "f.onnx")
    named = f"{tmp_path}/f.onnx#output_probability"
    adapt(named, tmp_path / "a.onnx", given(file, {})[0])
    found = smoothcert.load_classifier(f"{tmp_path}/a.onnx#output_probability")
    assert np.abs(found.logits(grid()) - forest.predict_proba(rows)).max() < 1e-5


def test_a_model_with_an_input_for_each_column_is_refused(tmp_path):
    value = helper.make_tensor_value_info
    columns = [value(name, TensorProto.FLOAT, ["N", 1]) for name in ("age", "height")]
    scores = value("scores", TensorProto.FLOAT, ["N", 2])
    node = helper.make_node("Concat", ["age", "height"], ["scores"], axis=1)
    graph = helper.make_graph([node], "g", columns, [scores])
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(
        ModelError, match=r"initial_types=\[\('x', FloatTensorType\(\[None, 2\]\)\)\]"
    ):
        smoothcert.load_classifier(tmp_path / "m.onnx")


def test_what_does_not_fit_is_refused(file, tmp_path):
    wanted, _ = given(file, {})
    onnx.save(linear(4), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="takes rows of 4 values, but the columns file has 3"):
        adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", wanted)
    for asked in ({"scale": 255.0}, {"layout": "flat"}, {"channels": "bgr"}, {"resize": "8"}):
        with pytest.raises(InvalidInput, match=f"for rows of numbers, and {next(iter(asked))} for"):
            given(file, asked)
    with pytest.raises(InvalidInput, match="a number for each of the 3 columns; got 2 and 0"):
        given(file, {"mean": "1,2"})
    assert given(file, {"mean": "40,1,0", "std": "2"})[0].mean == (40.0, 1.0, 0.0)


def test_adapt_proposes_the_columns_file_beside_a_model_of_rows(file, tmp_path):
    (tmp_path / "another.columns.json").write_text(
        json.dumps({"features": [{"name": "a", "low": 0, "high": 1}]})
    )
    onnx.save(linear(), tmp_path / "m.onnx")
    found = seen(str(tmp_path / "m.onnx"))
    assert f"--preprocess {file} --out" in found.command
    assert "--layout" not in found.command
