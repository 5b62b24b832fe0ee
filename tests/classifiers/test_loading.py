"""One contract for every kind of model, and refusal of everything that is not one."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert import zoo
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress import compress
from smoothcert.errors import ModelError
from smoothcert.noise.law import RoundedGaussian
from smoothcert.sampling.probe import probe

LAW = RoundedGaussian(0.25, 1 / 256)
FILES = ["net.onnx", "int8.onnx", "bf16.pt2", "net.safetensors", "prune.safetensors"]


@pytest.fixture
def exported(network, tmp_path):
    """The network as a plain torch.export archive."""
    program = torch.export.export(
        network,
        (torch.zeros(2, 1, 8, 8),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, tmp_path / "net.pt2")
    return tmp_path / "net.pt2"


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_contract(file, models, digits):
    """Every kind: logits of the right shape, row by row, and a fingerprint of the content."""
    classifier = smoothcert.load_classifier(models / file)
    assert probe(classifier, digits.item(0), LAW, 0, 32).num_classes == 10
    images = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    logits = classifier.logits(images)
    assert logits.shape == (5, 10)
    assert np.allclose(logits[3:4], classifier.logits(images[3:4]), atol=1e-4)
    again = smoothcert.load_classifier(str(models / file))
    assert (classifier.fingerprint, classifier.device) == (again.fingerprint, "cpu")


def test_formats_of_one_network_agree(models, exported, digits, network):
    images = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)
    references = [models / "net.onnx", exported, f"small_cnn@{models / 'net.safetensors'}", network]
    logits = [smoothcert.load_classifier(r).logits(images) for r in references]
    for other in logits[1:]:
        assert np.abs(other - logits[0]).max() < 1e-4


@pytest.mark.slow
def test_weights_that_come_with_the_package(models, tmp_path, monkeypatch):
    """A reference without a path, for every command that takes one, pruning among them."""
    monkeypatch.setattr(zoo, "PRETRAINED", tmp_path / "pretrained")
    (tmp_path / "pretrained").mkdir()
    for name in ("small_cnn-0.25.safetensors", "small_cnn-0.25-wide.safetensors"):
        (tmp_path / "pretrained" / name).write_bytes((models / "net.safetensors").read_bytes())
    images = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    expected = smoothcert.load_classifier(models / "net.safetensors").logits(images)
    found = smoothcert.load_classifier("small_cnn@pretrained-0.25")
    assert (found.logits(images) == expected).all()
    change = compress("small_cnn@pretrained-0.25", "prune:0.2", tmp_path / "p.safetensors")
    assert change.fraction_changed == pytest.approx(0.2, abs=0.001)
    pruned = smoothcert.load_classifier(tmp_path / "p.safetensors").logits(images)
    again = smoothcert.load_classifier(models / "prune.safetensors").logits(images)
    assert (pruned == again).all()
    data = smoothcert.load_inputs("digits", limit=4)
    compress("small_cnn@pretrained-0.25", "int8", tmp_path / "q.onnx", inputs=data, sigma=0.25)
    assert smoothcert.load_classifier(tmp_path / "q.onnx").logits(images).shape == (5, 10)
    with pytest.raises(ModelError, match="it has: small_cnn@pretrained-0.25, small_cnn@pretr"):
        smoothcert.load_classifier("small_cnn@pretrained-0.5")
    with pytest.raises(ModelError, match="The package has no weights small_cnn@pretrained-1"):
        compress("small_cnn@pretrained-1", "prune:0.2", tmp_path / "x.safetensors")


def test_an_at_sign_in_a_path_is_no_architecture(models, tmp_path, monkeypatch):
    folder = tmp_path / "me@home"
    folder.mkdir()
    (folder / "net.safetensors").write_bytes((models / "net.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    for reference in ("me@home/net.safetensors", f"small_cnn@{folder / 'net.safetensors'}"):
        classifier = smoothcert.load_classifier(reference)
        assert classifier.logits(np.zeros((2, 1, 8, 8), np.float32)).shape == (2, 10)
    assert ModelReference.parse(str(folder / "gone.onnx")).path == folder / "gone.onnx"


def test_fingerprints_tell_models_apart(models):
    prints = {smoothcert.load_classifier(models / file).fingerprint for file in FILES}
    assert len(prints) == len(FILES)


def test_factory_in_the_working_directory(tmp_path, monkeypatch, digits):
    (tmp_path / "mine_for_test.py").write_text(
        "import torch\nfrom smoothcert import zoo\ndef make():\n    torch.manual_seed(0)\n"
        "    return zoo.build('small_cnn', 1, 10)\n"
    )
    monkeypatch.chdir(tmp_path)
    classifier = smoothcert.load_classifier("mine_for_test:make")
    assert classifier.logits(np.zeros((2, 1, 8, 8), np.float32)).shape == (2, 10)


def test_a_module_keeps_no_training_behaviour(network):
    network.train()
    smoothcert.load_classifier(network)
    assert not network.training


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gone.onnx", "There is no model file gone.onnx"),
        ("small_cnn@gone.safetensors", "There is no model file gone.safetensors"),
        ("model.pkl", "model.pkl is a pickle, which can run code when loaded"),
        ("small_cnn@w.pt", "There is no model file w.pt"),
        ("what", "'what' is not a model reference. Give x.onnx, x.pt2"),
        ("no_such_module:make", "Cannot import 'no_such_module:make'"),
        ("json:nothing", "Cannot import 'json:nothing'"),
    ],
)
def test_bad_references(reference, message):
    with pytest.raises(ModelError, match=message):
        smoothcert.load_classifier(reference)


def test_bad_objects_and_devices(models):
    with pytest.raises(ModelError, match="A model must be a reference .* got int"):
        smoothcert.load_classifier(3)
    with pytest.raises(ModelError, match="ONNX models run on cpu, cuda or cuda:N; got 'meta'"):
        smoothcert.load_classifier(models / "net.onnx", device="meta")
    with pytest.raises(ModelError, match="'fast' is not a device"):
        smoothcert.load_classifier(models / "net.safetensors", device="fast")
    if not torch.cuda.is_available():
        for name in ("net.safetensors", "net.onnx"):
            with pytest.raises(ModelError, match="torch sees no CUDA device"):
                smoothcert.load_classifier(models / name, device="cuda")


@pytest.mark.parametrize("file", FILES)
def test_truncated_and_foreign_files(file, models, tmp_path):
    whole = (models / file).read_bytes()
    broken = tmp_path / file
    for content, message in (
        (whole[: len(whole) // 2], "truncated"),
        (b"", "is empty: 0 bytes"),
        (b"something else entirely", "it has another format"),
        (whole[100:], "another format"),
    ):
        broken.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            smoothcert.load_classifier(broken)


class Trap:
    """Writes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_under_another_name_is_not_run(tmp_path):
    trap = tmp_path / "sprung"
    for name in ("a.safetensors", "a.pt2", "a.onnx"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap(trap)))
        with pytest.raises(ModelError):
            smoothcert.load_classifier(tmp_path / name)
    assert not trap.exists()


def rewrite(archive, out, change):
    """Copy a zip, passing every member through `change(name, data)`."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(*change(name, old.read(name)))  # uncompressed, as torch writes


def with_target(name, data):
    if name.endswith("models/model.json"):
        return name, data.replace(b'"torch.ops.aten.relu.default"', b'"torch.os.system"')
    return name, data


def with_pickled_weight(name, data):
    if name.endswith("weights_config.json"):
        return name, data.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
    return name, data


def with_expression(name, data):
    if name.endswith("models/model.json"):
        return name, data.replace(b"Symbol('", b"__import__('os').system('", 1)
    return name, data


def with_library(name, data):
    if name.endswith("byteorder"):
        return name.replace("byteorder", "data/aotinductor/model/evil.so"), data
    return name, data


def with_sample_inputs(name, data):
    return (name, pickle.dumps({1, 2})) if "sample_inputs" in name else (name, data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_target, "holds the operator 'torch.os.system', which could run code"),
        (with_pickled_weight, "holds the pickled tensor"),
        (with_expression, "holds the expression"),
        (with_library, "compiled by AOTInductor, which runs code when loaded"),
        (with_sample_inputs, "holds sample inputs that are not plain tensors"),
    ],
)
def test_archives_that_could_run_code_are_refused(change, message, exported, tmp_path):
    hostile = tmp_path / "hostile.pt2"
    rewrite(exported, hostile, change)
    assert hostile.read_bytes() != exported.read_bytes()
    with pytest.raises(ModelError, match=message):
        smoothcert.load_classifier(hostile)


def test_an_untouched_copy_of_the_archive_is_accepted(exported, tmp_path):
    """The control: the rewriting itself is not what is refused."""
    rewrite(exported, tmp_path / "same.pt2", lambda name, data: (name, data))
    copy = smoothcert.load_classifier(tmp_path / "same.pt2")
    assert copy.logits(np.zeros((2, 1, 8, 8), np.float32)).shape == (2, 10)


def test_an_archive_that_two_zip_readers_see_differently(exported, tmp_path):
    """Python's reader finds the second archive in the file, torch's may find the first."""
    hostile = tmp_path / "hostile.pt2"
    rewrite(exported, hostile, with_target)
    double = tmp_path / "double.pt2"
    double.write_bytes(hostile.read_bytes() + exported.read_bytes())
    images = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
    found = smoothcert.load_classifier(double).logits(images)
    assert (found == smoothcert.load_classifier(exported).logits(images)).all()


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/weights/weight_0", bytes(10**7))
    with pytest.raises(ModelError, match="would unpack to 10000000 bytes"):
        smoothcert.load_classifier(tmp_path / "bomb.pt2")


def test_weights_of_another_architecture(models, tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3, 3), "b": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="does not say which architecture"):
        smoothcert.load_classifier(tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="do not fit the architecture 'small_cnn'"):
        smoothcert.load_classifier(f"small_cnn@{tmp_path / 'other.safetensors'}")
    with pytest.raises(ModelError, match="There is no architecture 'resnet9000'"):
        smoothcert.load_classifier(f"resnet9000@{models / 'net.safetensors'}")


def test_a_fixed_batch_is_known(network, tmp_path):
    program = torch.export.export(network, (torch.zeros(4, 1, 8, 8),))
    torch.export.save(program, tmp_path / "fixed.pt2")
    assert smoothcert.load_classifier(tmp_path / "fixed.pt2").fixed_batch == 4


def test_wrong_shapes_are_named(models):
    images = np.zeros((2, 3, 8, 8), np.float32)
    for file in ("net.onnx", "net.safetensors"):
        classifier = smoothcert.load_classifier(models / file)
        with pytest.raises(ModelError, match=r"failed on a batch of shape \(2, 3, 8, 8\)"):
            classifier.logits(images)


def test_float16_and_float64_onnx_inputs(models, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    for kind, dtype in ((TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float64)):
        graph = helper.make_graph(
            [helper.make_node("Flatten", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", kind, ["n", 1, 1, 3])],
            [helper.make_tensor_value_info("y", kind, ["n", 3])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.save(model, tmp_path / "m.onnx")
        classifier = smoothcert.load_classifier(tmp_path / "m.onnx")
        assert classifier.logits(np.ones((2, 1, 1, 3), np.float32)).dtype == dtype


def test_external_tensors_count_in_the_fingerprint(models, tmp_path):
    import onnx

    model = onnx.load(models / "net.onnx")
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=200
    )
    first = smoothcert.load_classifier(tmp_path / "m.onnx").fingerprint
    raw = bytearray((tmp_path / "w.bin").read_bytes())
    raw[10] ^= 1
    (tmp_path / "w.bin").write_bytes(raw)
    assert smoothcert.load_classifier(tmp_path / "m.onnx").fingerprint != first
