"""Accuracy before and after: counted as an independent loop counts it, on held-out inputs only."""

import json
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from typer.testing import CliRunner

import smoothcert
from smoothcert.compress import compress
from smoothcert.compress.measure import accuracy
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.noise.law import RoundedGaussian, Stream


class Batches:
    """Class 1 where the mean exceeds one half; remembers the batches it was given."""

    name, fingerprint, device = "batches", "batches", "cpu"

    def __init__(self, fixed_batch=None):
        self.fixed_batch, self.sizes = fixed_batch, []

    def logits(self, images):
        self.sizes.append(len(images))
        mean = images.reshape(len(images), -1).mean(1)
        return np.stack([0.5 - mean, mean - 0.5], axis=1)


def some_inputs(count):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 17, (count, 1, 2, 2)) / 16
    labels = images.reshape(count, -1).mean(1) > 0.5
    labels[::5] ^= True  # every fifth is labelled wrongly
    return Inputs.from_arrays(images, labels.astype(int), 1 / 16)


def by_hand(inputs, sigma, seed):
    clean = noisy = 0
    law = RoundedGaussian(sigma, 1 / inputs.levels)
    for item, label in zip(inputs, inputs.labels, strict=True):
        noise = law.draws(seed, item.index, Stream.PROBE, [0], inputs.shape)[0]
        for number, pixels in enumerate((item.pixels, item.pixels + noise)):
            # A tie is no answer, as everywhere in the package.
            difference = pixels.mean() / inputs.levels - 0.5
            right = difference != 0 and int(difference > 0) == label
            clean, noisy = clean + (right and not number), noisy + (right and number)
    return clean / len(inputs), noisy / len(inputs)


@pytest.mark.parametrize(
    ("fixed", "alone", "sizes"), [(None, False, {256}), (8, False, {8}), (None, True, {1})]
)
def test_as_counted_by_hand_in_batches_of_any_size(fixed, alone, sizes):
    inputs, classifier = some_inputs(60), Batches(fixed)
    found = accuracy(classifier, inputs, 0.5, seed=3, alone=alone)
    assert (found.clean, found.noisy) == pytest.approx(by_hand(inputs, 0.5, 3))
    assert found.noisy < found.clean < 0.85
    assert (found.sigma, found.inputs) == (0.5, 60)
    assert set(classifier.sizes) == sizes


class Together(Batches):
    """Two workers that only answer when both have a batch in hand."""

    def __init__(self):
        super().__init__(fixed_batch=10)
        self.meeting = threading.Barrier(2, timeout=30)

    @contextmanager
    def workers(self):
        yield [self, self]

    def logits(self, images):
        self.meeting.wait()
        return super().logits(images)


def test_batches_are_computed_at_the_same_time():
    """Clean and noisy ones: with one after the other the barrier would break."""
    inputs = some_inputs(40)
    found = accuracy(Together(), inputs, 0.5, seed=3)
    assert (found.clean, found.noisy) == pytest.approx(by_hand(inputs, 0.5, 3))


@pytest.mark.parametrize(
    ("model", "fixed", "alone"),
    [
        ("net.onnx", 16, False),
        ("net.onnx", None, False),
        ("net.onnx", None, True),
        ("net.safetensors", None, False),
    ],
)
def test_on_all_cores_as_in_one_batch_after_the_other(model, fixed, alone, residual, tmp_path):
    path = fix_batch(residual / model, tmp_path / model, fixed) if fixed else residual / model
    data = smoothcert.load_inputs("digits", limit=50)
    one = smoothcert.load_classifier(path)
    size = 1 if alone else one.fixed_batch or 256
    law, right = RoundedGaussian(0.25, 1 / data.levels), [0, 0]
    noise = [law.draws(5, item.index, Stream.PROBE, [0], data.shape)[0] for item in data]
    for number in (0, 1):
        steps = [i.pixels + number * e for i, e in zip(data, noise, strict=True)]
        rows = (np.stack(steps) / data.levels).astype(np.float32)
        for start in range(0, 50, size):
            batch = np.resize(rows[start : start + size], (size, *data.shape))
            kept = data.labels[start : start + size]
            right[number] += (one.logits(batch).argmax(1)[: len(kept)] == kept).sum()
    for threads in (1, 3):
        many = smoothcert.load_classifier(path, threads=threads)
        found = accuracy(many, data, 0.25, seed=5, alone=alone)
        assert [found.clean, found.noisy] == [r / 50 for r in right]


def fix_batch(path, out, size):
    import onnx

    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].ClearField("dim_param")
        value.type.tensor_type.shape.dim[0].dim_value = size
    del model.graph.value_info[:]
    onnx.save(model, out)
    return out


def test_a_large_set_is_thinned_out_evenly():
    found = accuracy(Batches(), some_inputs(1300), 0.5)
    assert found.inputs == len(range(0, 1300, 3))


def test_without_labels_or_noise_nothing_is_measured(residual, train_inputs, tmp_path):
    bare = Inputs.from_arrays(np.zeros((3, 1, 8, 8)), None, 1 / 256)
    with pytest.raises(InvalidInput, match="has no labels, which accuracy needs"):
        accuracy(Batches(), bare, 0.5)
    model, out = residual / "net.onnx", tmp_path / "o.onnx"
    for extra in ({"held_out": bare, "sigma": 0.25}, {"held_out": train_inputs}, {"sigma": 0.25}):
        change = compress(model, "int4-weights", out, overwrite=True, **extra)
        assert change.accuracy_before is None
        assert change.accuracy_after is None
        assert "accuracy" not in change.describe()


def test_both_models_are_measured_on_the_same_draws(residual, tmp_path):
    test = smoothcert.load_inputs("digits", limit=100)
    for target in ("int8-dynamic", "int4-weights"):
        out = tmp_path / f"{target}.onnx"
        change = compress(residual / "net.onnx", target, out, sigma=0.25, held_out=test)
        before, after = change.accuracy_before, change.accuracy_after
        assert before == accuracy(smoothcert.load_classifier(residual / "net.onnx"), test, 0.25)
        alone = change.batch_dependent
        assert after == accuracy(smoothcert.load_classifier(out), test, 0.25, alone=alone)
        assert before.clean > 0.5
        assert f"accuracy {before.clean:.1%} to {after.clean:.1%} clean" in change.describe()


def run(*arguments):
    from smoothcert.cli.main import app

    result = CliRunner().invoke(app, ["compress", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_the_command_measures_on_the_test_split(residual, tmp_path):
    options = ("--to", "int4-weights", "--out", tmp_path / "o.onnx", "--json")
    result = run(residual / "net.onnx", "--data", "digits", "--sigma", 0.25, *options)
    facts = json.loads(result.stdout)
    expected = accuracy(
        smoothcert.load_classifier(tmp_path / "o.onnx"), smoothcert.load_inputs("digits"), 0.25
    )
    assert facts["accuracy_after"] == {
        "clean": expected.clean,
        "noisy": expected.noisy,
        "sigma": 0.25,
        "inputs": 500,
    }
    assert facts["batch_dependent"] is False


def test_a_file_without_splits_is_not_taken_for_held_out(residual, tmp_path):
    """What a model was fitted to says little about its accuracy."""
    data = tmp_path / "d.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8)) / 256
    np.savez(data, x=pixels, y=np.zeros(6, int))
    options = ("--to", "int4-weights", "--out", tmp_path / "o.onnx", "--json", "--grid", "1/256")
    result = run(residual / "net.onnx", "--data", data, "--sigma", 0.25, *options)
    assert json.loads(result.stdout)["accuracy_after"] is None
