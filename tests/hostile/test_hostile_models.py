"""Model files of strangers: an error of the package, no code run, and bounded memory."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert import zoo
from smoothcert.classifiers import pt2_guard
from smoothcert.errors import ModelError

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def load(reference):
    classifier = smoothcert.load_classifier(reference)
    return classifier.logits(np.zeros((2, 1, 8, 8), np.float32))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    network = zoo.build("small_cnn", 1, 10).eval()
    dynamic = ({0: torch.export.Dim("batch", max=64)},)
    program = torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=dynamic)
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.export.save(program, path)
    return path


def with_program(exported, path, change):
    """The archive with another models/model.json."""
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("models/model.json"):
                program = json.loads(data)
                change(program)
                data = json.dumps(program).encode()
            new.writestr(name, data)
    return path


def renamed(old, new):
    """A change that calls something else everywhere, whatever it is."""

    def change(program):
        text = json.dumps(program).replace(json.dumps(old), json.dumps(new))
        program.clear()
        program.update(json.loads(text))

    return change


@pytest.mark.slow
def test_names_and_guards_of_an_archive_are_no_code(exported, tmp_path):
    """torch writes both into Python source and executes it: the guard did run before."""
    sprung = tmp_path / "sprung"
    code = f"open({str(sprung)!r}, 'w')"

    def signature(program):
        return program["graph_module"]["module_call_graph"][0]["signature"]

    attacks = [
        (lambda p: p.update(guards_code=[code]), "holds the guard"),
        (renamed("input", f"x={code}"), "holds the name"),
        (renamed("7.weight", f"a', {code})#"), "holds the name"),
        (lambda p: signature(p).update(forward_arg_names=[f"x={code}"]), "holds the name"),
        (
            lambda p: signature(p).update(
                in_spec='[1, {"type": "collections.defaultdict", "context": "{}", '
                '"children_spec": []}]'
            ),
            "holds the container 'collections.defaultdict'",
        ),
        (renamed("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default"), "operator"),
        (lambda p: p.update(range_constraints={"9**9**9**9": {}}), "holds the expression"),
    ]
    for change, message in attacks:
        with pytest.raises(ModelError, match=message):
            load(with_program(exported, tmp_path / "hostile.pt2", change))
    assert not sprung.exists()


def test_the_same_archive_without_an_attack_is_read(exported, tmp_path):
    """The control, with a guard as torch writes it."""
    guard = "(L['input'].size()[0] % 2) == 0"
    path = with_program(exported, tmp_path / "x.pt2", lambda p: p.update(guards_code=[guard]))
    assert load(path).shape == (2, 10)


@pytest.mark.parametrize(
    "text", ["9**9", "Pow(Integer(9), Pow(Integer(9), Integer(9)))", "__import__('os')", "1" * 5000]
)
def test_expressions_that_sympy_must_not_see(text):
    assert not pt2_guard._EXPRESSION.fullmatch(pt2_guard._POWER.sub("s0", text))
    assert not pt2_guard._GUARD.fullmatch(text)


def test_expressions_that_exports_have():
    for text in ("2*s65", "Mul(Integer(2), s0)", "Max(1, s0 - 3)", "Pow(s3, Integer(2))"):
        assert pt2_guard._EXPRESSION.fullmatch(pt2_guard._POWER.sub("s0", text)), text


def test_bombs_in_archives(exported, tmp_path):
    deep = tmp_path / "deep.pt2"
    with zipfile.ZipFile(deep, "w") as archive:
        archive.writestr("x/models/model.json", "[" * 100_000)
    inner = tmp_path / "inner.pt2"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**8))
    nested = tmp_path / "nested.pt2"
    with zipfile.ZipFile(nested, "w") as archive:
        archive.writestr("x/data/sample_inputs/model.pt", inner.read_bytes())
    for path in (deep, inner, nested):
        with pytest.raises(ModelError):
            load(path)
    for name in ("../../x/models/model.json", "/etc/models/model.json", "a/../models/model.json"):
        with zipfile.ZipFile(tmp_path / "slip.pt2", "w") as archive:
            archive.writestr(name, "{}")
        with pytest.raises(ModelError, match="holds the archive member"):
            load(tmp_path / "slip.pt2")


def graph(nodes, tensors=(), functions=(), domain=""):
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", 1, None)],
        list(tensors),
    )
    domains = [
        helper.make_opsetid(d, v) for d, v in {"": 20, domain or "": 20 - 19 * bool(domain)}.items()
    ]
    return helper.make_model(body, opset_imports=domains, ir_version=10, functions=functions)


FLAT = helper.make_node("Flatten", ["x"], ["f"])
ADD = helper.make_node("Add", ["f", "w"], ["y"])


def elsewhere(place, **facts):
    tensor = TensorProto(name="w", data_type=1, dims=[64], data_location=1)
    for key, value in {"location": place, **facts}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.fixture
def folder(tmp_path):
    """A folder for models, with everything around it that they should not get at."""
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(bytes(256))
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "w.bin").write_bytes(bytes(256))
    os.mkfifo(inside / "pipe")
    return inside


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("../secret", "keeps tensors outside its folder"),
        ("/etc/passwd", "keeps tensors outside its folder"),
        ("/dev/zero", "keeps tensors outside its folder"),
        ("link", "keeps tensors outside its folder"),
        ("pipe", "is not a regular file"),
        ("", "is not a regular file"),
        ("gone", "cannot be loaded"),
        ("a\0b", "cannot be loaded"),
    ],
)
def test_tensors_outside_the_folder(folder, place, message):
    constant = helper.make_node("Constant", [], ["w"], value=elsewhere(place))
    for model in (graph([FLAT, ADD], [elsewhere(place)]), graph([FLAT, constant, ADD])):
        onnx.save(model, folder / "m.onnx")
        with pytest.raises(ModelError, match=message):
            load(folder / "m.onnx")


def test_the_control_is_read_and_its_tensors_count_wherever_they_are(folder):
    """A tensor of a node, not only of the graph, decides the fingerprint."""
    constant = helper.make_node("Constant", [], ["w"], value=elsewhere("w.bin"))
    prints = set()
    for first in (0, 1):
        (folder / "w.bin").write_bytes(bytes([first]) + bytes(255))
        onnx.save(graph([FLAT, constant, ADD]), folder / "m.onnx")
        from smoothcert.classifiers.onnx_files import opened

        prints.add(opened(folder / "m.onnx")[1])
    assert len(prints) == 2
    onnx.save(graph([FLAT, ADD], [elsewhere("w.bin")]), folder / "m.onnx")
    assert load(folder / "m.onnx").shape == (2, 64)


def test_onnx_that_lies_or_wants_what_there_is_not(folder):
    recursive = helper.make_function(
        *("d", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="d")]),
        [helper.make_opsetid("d", 1)],
    )
    endless = numpy_helper.from_array(np.array([2**50]), "s")
    models = [
        graph([FLAT, ADD], [TensorProto(name="w", data_type=1, dims=[2**40])]),
        graph([FLAT, ADD], [TensorProto(name="w", data_type=1, dims=[-4])]),
        graph([FLAT, ADD], [elsewhere("w.bin", offset="99999999999")]),
        graph([FLAT, helper.make_node("ConstantOfShape", ["s"], ["w"]), ADD], [endless]),
        graph([helper.make_node("F", ["x"], ["y"], domain="d")], functions=[recursive], domain="d"),
        graph([helper.make_node("Evil", ["x"], ["y"], domain="evil")], domain="evil"),
        graph([helper.make_node("SequenceConstruct", ["x"], ["y"])]),
    ]
    models[-1].graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", 1, None))
    none = graph([FLAT])
    none.graph.ClearField("output")
    for number, model in enumerate([*models, none]):
        onnx.save(model, folder / f"{number}.onnx")
        with pytest.raises(ModelError):
            load(folder / f"{number}.onnx")


def test_protobuf_garbage(folder):
    whole = graph([FLAT]).SerializeToString()
    rng = np.random.default_rng(0)
    for size in (1, 100, len(whole)):
        (folder / "m.onnx").write_bytes(rng.bytes(size))
        with pytest.raises(ModelError):
            load(folder / "m.onnx")
    deep = b""
    for _ in range(3000):  # graph in an attribute of a node in a graph ...
        length, varint = len(deep), b""
        while True:
            varint += bytes([length & 127 | (128 if length > 127 else 0)])
            length >>= 7
            if not length:
                break
        deep = b"\x3a" + varint + deep
    (folder / "m.onnx").write_bytes(deep)
    with pytest.raises(ModelError):
        load(folder / "m.onnx")


def safetensors(path, header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return f"small_cnn@{path}"


def entry(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 2**63),
        (b"{}", 10**8),
        ({"a": entry([1], [0, 4]), "b": entry([1], [0, 4])}, None),
        ({"a": entry([1], [4, 8])}, None),
        ({"a": entry([2**40], [0, 2**42])}, None),
        ({"a": entry([2**33, 2**33], [0, 8])}, None),
        ({"a": entry([-1], [0, 4])}, None),
        ({"a": entry([0, 2**62], [0, 0])}, None),
        ({"a": entry([1], [0, 4], "XX")}, None),
        (b"[" * 100_000, None),
        (pickle.dumps({"a": 1}), None),
    ],
)
def test_lying_safetensors(header, length, tmp_path):
    with pytest.raises(ModelError):
        load(safetensors(tmp_path / "a.safetensors", header, bytes(8), length))


@pytest.mark.parametrize(
    "notes",
    [
        "[1]",
        "[" * 100_000,
        '{"order": 3}',
        '{"order": [1]}',
        '{"order": ["b"], "architecture": "small_cnn"}',
        json.dumps({"order": ["a"] * 10**5, "architecture": "small_cnn"}),
        '{"architecture": ["small_cnn"]}',
        '{"architecture": "../../x"}',
    ],
)
def test_lying_notes_in_safetensors(notes, tmp_path):
    header = {"__metadata__": {"smoothcert": notes}, "a": entry([1], [0, 4])}
    safetensors(tmp_path / "a.safetensors", header, bytes(4))
    with pytest.raises(ModelError):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(("classes", "width"), [(2**36, 16), (10, 2**22)])
def test_shapes_without_bytes_make_no_large_network(classes, width, tmp_path):
    """Before, 34 GB were asked for: the file has none."""
    header = {
        "1.weight": entry([width, 1, 0, 0], [0, 0]),
        "4.weight": entry([width, 0], [0, 0]),
        "7.weight": entry([classes, 0], [0, 0]),
    }
    with pytest.raises(
        ModelError, match="a network of these shapes has .* values, but the file has 0"
    ):
        load(safetensors(tmp_path / "a.safetensors", header))


@pytest.mark.parametrize("suffix", ["onnx", "pt2", "safetensors"])
def test_a_pipe_or_a_folder_is_not_waited_for(suffix, tmp_path):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"folder.{suffix}").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(ModelError, match="is not a regular file|is a folder"):
            load(tmp_path / f"{name}.{suffix}")
