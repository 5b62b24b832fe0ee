"""ONNX models as people bring them: certified with the votes of the plain one, or one line."""

import errno
import os
import pickle
import zipfile
from functools import partial

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert.classifiers.fitting import fitting
from smoothcert.compress import compress, onnx_graph
from smoothcert.errors import InvalidInput, ModelError, StoreError
from smoothcert.files import require_new_file

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
from onnx import TensorProto  # noqa: E402

import support.onnx_graphs as g  # noqa: E402

DRAWS = {"sigma": 0.25, "n0": 8, "n": 24}


def votes(reference, **settings):
    """Every label of three digits, and the certified classes."""
    data = smoothcert.load_inputs("digits", limit=3)
    found = smoothcert.certify(reference, data, **DRAWS, **settings)
    kept = [record.votes for record in found.records]
    return [(v.selection.tolist(), v.estimation.tolist()) for v in kept]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "plain.onnx"
    onnx.save(g.model(), path)
    found = votes(path)
    assert len({label for selection, _ in found for label in selection}) > 1
    return found


FIXED = partial(g.value, "x", [4, 1, 8, 8])
SAME = {
    "alone": (g.model(), ""),
    "named though alone": (g.model(), "logits"),
    "features first, named": (g.model(outputs=[g.FEATURES, g.LOGITS]), "logits"),
    "features after, named": (g.model(outputs=[g.LOGITS, g.FEATURES]), "logits"),
    "loss first": (g.model(g.LOSS, outputs=[g.value("loss", []), g.LOGITS]), ""),
    "loss after": (g.model(g.LOSS, outputs=[g.LOGITS, g.value("loss", [])]), ""),
    "a map of pixels beside": (g.model(outputs=[g.value("x", ["b", 1, 8, 8]), g.LOGITS]), ""),
    "its class first": (
        g.model(
            g.node("ArgMax", "logits", "a", axis=1, keepdims=0), outputs=[g.whole("a"), g.LOGITS]
        ),
        "",
    ),
    "scikit-learn": (g.scikit(), ""),
    "scikit-learn, named": (g.scikit(), "prob"),
    "scikit-learn, maps": (g.scikit(zipmap=True), ""),
    "scikit-learn, maps only": (g.scikit(zipmap=True, only=True), ""),
    "scikit-learn, other numbers, named": (g.scikit(classes=range(1, 11)), "prob"),
    "scikit-learn, maps of other numbers, named": (g.scikit(True, range(10, 20)), "maps"),
    "(N, K, 1, 1)": (g.reshaped(-1, 10, 1, 1), ""),
    "(N, K, 1)": (g.reshaped(-1, 10, 1), ""),
    "(N, 1, K)": (g.reshaped(-1, 1, 10), ""),
    "double": (g.cast(TensorProto.DOUBLE, np.float64), ""),
    "softmax": (
        g.model(g.node("Softmax", "logits", "p", axis=1), outputs=[g.value("p", ["batch", 10])]),
        "",
    ),
    "a batch of four": (g.model(inputs=[FIXED()], outputs=[g.value("logits", [4, 10])]), ""),
    "squeezed for a batch of one": (
        g.model(
            g.node("Squeeze", "logits a", "o"),
            inputs=[g.value("x", [1, 1, 8, 8])],
            outputs=[g.value("o", [10])],
            constants={"a": np.array([0])},
        ),
        "",
    ),
    "weights that are inputs too": (g.model(inputs=[g.value("w", [64, 10]), g.IMAGES]), ""),
    "no shape declared": (g.model(inputs=[g.value("x", None)]), ""),
    "a name with a colon and a slash": (
        g.model(
            g.node("Identity", "logits", "/fc/out:0"),
            outputs=[g.FEATURES, g.value("/fc/out:0", ["batch", 10])],
        ),
        "/fc/out:0",
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_certified_with_the_votes_of_the_plain_model(case, plain, tmp_path):
    made, output = SAME[case]
    onnx.save(made, tmp_path / "m.onnx")
    reference = f"{tmp_path / 'm.onnx'}#{output}" if output else tmp_path / "m.onnx"
    assert votes(reference) == plain


def top(*outputs):
    return g.model(g.TOP, outputs=outputs, constants=g.FIVE)


REFUSED = {
    "features first": (g.model(outputs=[g.FEATURES, g.LOGITS]), "", "m.onnx#f or m.onnx#logits"),
    "features after": (g.model(outputs=[g.LOGITS, g.FEATURES]), "", "m.onnx#logits or m.onnx#f"),
    "no such output": (g.model(), "logit", "no output 'logit'.*Did you mean 'logits'"),
    "an empty name": (g.model(), None, "has no output name after '#'"),
    "no output": (g.model(outputs=[]), "", "has no output"),
    "only a loss and pixels": (
        g.model(g.LOSS, outputs=[g.value("loss", []), g.value("x", ["b", 1, 8, 8])]),
        *("", r"no output of shape \(batch, classes\) in floats"),
    ),
    "argmax": (
        g.model(g.node("ArgMax", "logits", "a", axis=1, keepdims=0), outputs=[g.whole("a")]),
        *("", r"numbers of classes in its output 'a' \(ArgMax\)"),
    ),
    "argmax kept, as float": (
        g.model(
            g.node("ArgMax", "logits", "a", axis=1),
            g.node("Cast", "a", "c", to=g.FLOAT),
            outputs=[g.value("c", ["batch", 1])],
        ),
        *("", "ArgMax"),
    ),
    "best five": (top(g.value("v", ["batch", 5]), g.whole("i", 5)), "", r"in their order.*TopK"),
    "best five, values named": (top(g.value("v", ["batch", 5]), g.whole("i", 5)), "v", "TopK"),
    "best five, classes": (top(g.whole("i", 5)), "", "TopK"),
    "the label named": (g.scikit(), "label", "one whole number per row in its output 'label'"),
    "other numbers of classes": (g.scikit(classes=range(1, 11)), "", "classes 1, 2, 3, 4, ..."),
    "maps of other numbers": (g.scikit(True, range(10, 20)), "", "classes 10, 11, 12, 13"),
    "a sequence": (
        g.model(
            g.node("SequenceConstruct", "logits", "s"),
            outputs=[onnx.helper.make_tensor_sequence_value_info("s", g.FLOAT, None)],
        ),
        *("", "not one tensor of numbers"),
    ),
    "two inputs": (
        g.model(
            body=[g.node("Mul", "x t", "y"), g.node("Flatten", "y", "f"), g.BODY[1]],
            inputs=[g.IMAGES, g.value("t", [])],
        ),
        *("", "one tensor of floats, the images; it takes x .* t "),
    ),
    "bytes in": (
        g.model(
            body=[g.node("Cast", "x", "y", to=1), g.node("Flatten", "y", "f"), g.BODY[1]],
            inputs=[g.value("x", ["batch", 1, 8, 8], TensorProto.UINT8)],
        ),
        *("", r"`smoothcert adapt .*m.onnx --scale 255 --out .*m-adapted.onnx` rounds them"),
    ),
    "a batch of none": (g.model(inputs=[g.value("x", [0, 1, 8, 8])]), "", "batches of 0 rows"),
    "normalized by the batch": (
        g.model(
            body=[
                g.node("BatchNormalization", "x s z z s", "y m v", training_mode=1),
                g.node("Flatten", "y", "f"),
                g.BODY[1],
            ],
            constants={"s": np.ones(1, np.float32), "z": np.zeros(1, np.float32)},
            opset=15,
        ),
        *("", r"exported in training mode \(BatchNormalization\)"),
    ),
    "random noise inside": (
        g.model(
            body=[
                g.node("RandomNormalLike", "x", "e"),
                g.node("Add", "x e", "y"),
                g.node("Flatten", "y", "f"),
                g.BODY[1],
            ]
        ),
        *("", "is random.*different logits when repeated"),
    ),
    "normalized by the batch, before 14": (
        g.model(
            body=[
                g.node("BatchNormalization", "x s z z s", "y m v sm sv"),
                g.node("Flatten", "y", "f"),
                g.BODY[1],
            ],
            constants={"s": np.ones(1, np.float32), "z": np.zeros(1, np.float32)},
            opset=9,
        ),
        *("", r"exported in training mode \(BatchNormalization\)"),
    ),
    "dropout told by way of a node": (
        g.model(
            body=[
                g.node("Identity", "t", "on"),
                g.node("Dropout", "x r on", "y"),
                g.node("Flatten", "y", "f"),
                g.BODY[1],
            ],
            constants={"r": np.float32(0.5), "t": np.array(True)},
        ),
        *("", r"exported in training mode \(Dropout\)"),
    ),
    "another's operator": (
        g.model(body=[g.node("Mine", "x", "f", domain="com.me"), g.BODY[1]]),
        *("", "operators from com.me::Mine, which ONNX Runtime does not have"),
    ),
    "of the future": (g.model(opset=99), "", "newer than onnxruntime"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case, tmp_path):
    made, output, message = REFUSED[case]
    onnx.save(made, tmp_path / "m.onnx")
    end = "#" if output is None else f"#{output}" if output else ""
    with pytest.raises(ModelError, match=message) as refused:
        votes(f"{tmp_path / 'm.onnx'}{end}")
    assert "batch-size 1" not in str(refused.value)
    assert "truncated" not in str(refused.value)


def test_outputs_have_fingerprints_of_their_own(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(g.model(outputs=[g.LOGITS, g.FEATURES]), path)
    first, other = (smoothcert.load_classifier(f"{path}#{name}") for name in ("logits", "f"))
    assert first.fingerprint != other.fingerprint
    from smoothcert.classifiers.onnx_files import opened

    assert first.fingerprint == opened(path)[1]  # as before outputs could be named
    onnx.save(g.scikit(), path)
    named, found = (smoothcert.load_classifier(str(path) + end) for end in ("#prob", ""))
    assert (named.fingerprint, named.name) == (found.fingerprint, "m.onnx#prob")


def zipped(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(
                    f"archive/{name}", b"pytorch-lightning_version" * (names[0] == "l")
                )

    return write


def holding(data):
    return lambda path: path.write_bytes(data)


def saved(kind, **options):
    return lambda path: torch.save(kind, path, **options)


def script(path):
    torch.jit.trace(torch.nn.Flatten(), torch.zeros(2, 1, 8, 8)).save(str(path))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
OLD = {"_use_new_zipfile_serialization": False}
NAMED = [
    ("m.onnx", holding(POINTER), "is a Git LFS pointer.*git lfs pull"),
    ("m.safetensors", holding(POINTER), "is a Git LFS pointer"),
    ("m.onnx", holding(b"<!DOCTYPE html><html>"), "is a web page"),
    ("m.pt2", holding(b"\n<html>404"), "is a web page"),
    ("m.onnx", holding(b""), "is empty: 0 bytes"),
    ("m.onnx", holding(b"nothing of that kind"), "it has another format"),
    ("m.onnx", holding(g.model().SerializeToString()[:400]), "may be truncated"),
    ("m.pt2", holding(b"PK\3\4" + bytes(50)), "truncated"),
    ("m.pth", saved({"w": torch.zeros(3)}), "m.pth does not say which architecture it belongs"),
    ("m.pth.tar", saved({"w": torch.zeros(3)}), "m.pth.tar does not say which architecture"),
    ("m.pt2", saved({"w": torch.zeros(3)}), "m.pt2 is a checkpoint of torch.save. Name it x.pth"),
    ("m.onnx", saved({"w": torch.zeros(3)}, **OLD), "an old checkpoint of torch.save. Name it x.p"),
    ("m.th", saved({"w": torch.zeros(3)}, **OLD), "m.th does not say which architecture"),
    ("m.ckpt", saved({"pytorch-lightning_version": "2"}), "m.ckpt holds no weights"),
    ("m.bin", saved({"w": torch.zeros(3)}), "m.bin does not say which architecture"),
    ("m.pth", holding(pickle.dumps(1)), "m.pth is a pickle, which can run code when loaded"),
    ("m.pt", script, "is a TorchScript program.*torch.jit.load"),
    ("m.pt2", script, "is a TorchScript program"),
    (
        "m.bin",
        script,
        r"TorchScript program.*torch.export \(x.pt2\) or to ONNX",
    ),
    ("m.h5", holding(b"\x89HDF\r\n\x1a\n"), "is an HDF5 file, the format of Keras"),
    ("m.tflite", holding(b"\x1c\0\0\0TFL3"), "TensorFlow Lite"),
    ("m.pth.tar", holding(b"\x1f\x8b\x08"), "is compressed with gzip"),
    ("m.gguf", holding(b"GGUF\3\0\0\0"), "is a GGUF file"),
    ("m.engine", holding(b"ftrt"), "TensorRT engine.*Use the ONNX model that it was built from"),
    ("m.xml", holding(b"<?xml version='1.0'?><net name='m'>"), "is an OpenVINO model"),
    ("m.bin", holding(bytes(64)), "m.bin is not a readable checkpoint.*it has another format"),
    ("m.pb", holding(g.model().SerializeToString()), "is an ONNX model. Name it x.onnx"),
    ("m.ONNX", holding(g.model().SerializeToString()), "is an ONNX model. Name it x.onnx"),
    ("m.pt2", zipped("word.xml"), "a zip archive without a model in it"),
    ("m.zip", zipped("net.onnx"), "Unpack it, and pass archive/net.onnx"),
    ("m.pt2", zipped("data/aotinductor/model/x.so"), "is compiled by AOTInductor"),
    ("m.onnx", lambda path: path.mkdir(), "is a folder without a model in it"),
]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("name", "write", "message"), NAMED)
def test_files_are_named_for_what_they_are(name, write, message, tmp_path):
    write(tmp_path / name)
    with pytest.raises(ModelError, match=message):
        smoothcert.load_classifier(tmp_path / name)


def test_a_folder_names_the_models_in_it(tmp_path):
    onnx.save(g.model(), tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"is a folder. Pass a model in it: .*net.onnx"):
        smoothcert.load_classifier(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="pass hf:/"):
        smoothcert.load_classifier(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_tensors_that_a_hub_s_cache_links_to(tmp_path, plain):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    made = tmp_path / "blobs" / "m.onnx"
    onnx.save(g.model(), made, save_as_external_data=True, location="t.bin", size_threshold=0)
    for blob, name in (("1", "m.onnx"), ("2", "t.bin")):
        (tmp_path / "blobs" / name).rename(tmp_path / "blobs" / blob)
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/{blob}")
    assert votes(tmp_path / "snapshot" / "m.onnx") == plain


@pytest.mark.parametrize("change", ["gone", "cut"])
def test_tensors_beside_a_model(change, tmp_path, plain):
    path = tmp_path / "m.onnx"
    onnx.save(g.model(), path, save_as_external_data=True, location="t.bin", size_threshold=0)
    assert votes(path) == plain
    beside = tmp_path / "t.bin"
    data = beside.read_bytes()
    beside.unlink() if change == "gone" else beside.write_bytes(data[:99])
    message = (
        "in t.bin, which is not in the same folder"
        if change == "gone"
        else "is truncated: it has 99 bytes"
    )
    with pytest.raises(ModelError, match=message):
        smoothcert.load_classifier(path)


def test_dropout_that_does_nothing_here_is_told(tmp_path, plain):
    drop = onnx.helper.make_graph(
        [g.node("Dropout", "f r t", "d"), g.node("MatMul", "d w", "yes")],
        *("then", [], [onnx.helper.make_tensor_value_info("yes", g.FLOAT, None)]),
    )
    keep = onnx.helper.make_graph(
        [g.node("MatMul", "f w", "no")],
        *("else", [], [onnx.helper.make_tensor_value_info("no", g.FLOAT, None)]),
    )
    branch = g.node("If", "c", "logits", then_branch=drop, else_branch=keep)
    constants = {"c": np.array(True), "r": np.float32(0.4), "t": np.array(True)}
    onnx.save(g.model(body=[g.BODY[0], branch], constants=constants), tmp_path / "m.onnx")
    assert votes(tmp_path / "m.onnx") == plain
    said = ("certify", tmp_path / "m.onnx", "--data", "digits", "--limit", "2", "--sigma", "0.25")
    shown = run(*said, "--n0", "8", "--n", "16", "--out", tmp_path / "run")
    assert shown.exit_code == 0
    assert "m.onnx was exported in training mode (Dropout)" in " ".join(shown.output.split())


class Linear(torch.nn.Module):
    """The same layer, with what is to be wrong with it before."""

    def __init__(self, before):
        super().__init__()
        self.before, self.weights = before, torch.nn.Parameter(torch.from_numpy(g.WEIGHTS))

    def forward(self, x):
        return self.before(x).flatten(1) @ self.weights


def exported(path, before, training=False, **dim):
    rows = {0: torch.export.Dim("batch", **dim)}
    module = Linear(before).train(training)
    program = torch.export.export(module, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=(rows,))
    torch.export.save(program, path)


def test_a_program_with_a_maximum_batch(tmp_path, plain):
    exported(tmp_path / "m.pt2", torch.nn.Identity(), min=2, max=16)
    with pytest.raises(ModelError, match="batches of 2 to 16 rows.*Pass --batch-size 16"):
        votes(tmp_path / "m.pt2", batch_size=17)
    assert votes(tmp_path / "m.pt2") == plain


class Ends(torch.nn.Module):
    """The layer with its images and its logits in odd places."""

    def __init__(self, take=lambda x: x, give=lambda y: y, kind=torch.float32):
        super().__init__()
        self.take, self.give = take, give
        self.weights = torch.nn.Parameter(torch.from_numpy(g.WEIGHTS).to(kind))

    def forward(self, *args, **kwargs):
        return self.give(self.take(*args, **kwargs).flatten(1) @ self.weights)


IMAGE = torch.zeros(2, 1, 8, 8)
ROWS = {0: torch.export.Dim("batch")}
ENDS = {
    "a keyword": (Ends(lambda pixel_values: pixel_values), (), {"pixel_values": IMAGE}),
    "None beside": (Ends(lambda x, mask: x), (IMAGE, None), {}),
    "a number beside": (Ends(lambda x, scale: x * scale), (IMAGE, 1.0), {}),
    "in a tuple": (Ends(lambda xs: xs[0]), ((IMAGE,),), {}),
    "in a dictionary": (Ends(lambda d: d["image"]), ({"image": IMAGE},), {}),
    "logits in a tuple": (Ends(give=lambda y: (y,)), (IMAGE,), {}),
    "logits in a dictionary": (Ends(give=lambda y: {"logits": y}), (IMAGE,), {}),
    "double": (Ends(kind=torch.float64), (IMAGE.double(),), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ENDS)
def test_programs_with_odd_ends(case, tmp_path, plain):
    module, args, kwargs = ENDS[case]
    torch.export.save(torch.export.export(module, args, kwargs), tmp_path / "m.pt2")
    assert votes(tmp_path / "m.pt2") == plain
    inputs = smoothcert.load_inputs("digits", limit=2)
    compress(tmp_path / "m.pt2", "onnx", tmp_path / "m.onnx", inputs=inputs)
    assert smoothcert.load_classifier(tmp_path / "m.onnx").rows == 2


@pytest.mark.parametrize(
    ("module", "args", "message"),
    [
        (Ends(lambda x, m: x), (IMAGE, IMAGE), r"takes 2 tensors \(.*make the others part of"),
        (Ends(give=lambda y: (y, y + 1)), (IMAGE,), "returns 2 tensors.*export only these"),
        (Ends(lambda x: x / 255), (IMAGE.to(torch.uint8),), "takes torch.uint8.*a float32 input"),
        (Ends(), (torch.zeros(2, 1, 4, 16),), "images of 16 by 4 pixels"),
        (Ends(), (torch.zeros(2, 8, 8, 1),), "It takes channels last"),
    ],
    ids=["two images", "two outputs", "bytes", "another size", "channels last"],
)
def test_programs_that_do_not_fit(module, args, message, tmp_path):
    torch.export.save(torch.export.export(module, args), tmp_path / "m.pt2")
    with pytest.raises(ModelError, match=message):
        votes(tmp_path / "m.pt2")


@pytest.mark.slow
def test_a_program_with_a_maximum_batch_is_converted(tmp_path, plain, train):
    exported(tmp_path / "m.pt2", torch.nn.Identity(), min=2, max=16)
    compress(tmp_path / "m.pt2", "onnx", tmp_path / "m.onnx", inputs=train, sigma=0.25)
    assert votes(tmp_path / "m.onnx") == plain


class Branches(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1) if float(x.sum()) > 1 else -x.flatten(1)


@pytest.mark.slow
def test_an_export_that_fails_says_why(tmp_path, train):
    from smoothcert.compress.export import to_onnx

    with pytest.raises(ModelError, match="torch cannot export .* data-dependent .* one graph") as e:
        to_onnx(Branches(), train.shape, tmp_path / "m.onnx")
    assert "\x1b" not in str(e.value)
    assert "[96m" not in str(e.value)


@pytest.mark.parametrize("before", [torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(1)])
def test_a_program_in_training_mode(before, tmp_path):
    exported(tmp_path / "m.pt2", before, training=True)
    with pytest.raises(ModelError, match="in training mode.*model.eval") as refused:
        votes(tmp_path / "m.pt2")
    assert "batch-size 1" not in str(refused.value)


class Always(torch.nn.Dropout):
    def forward(self, x):
        return torch.nn.functional.dropout(x, self.p)


@pytest.mark.parametrize("size", [None, 1])
def test_monte_carlo_dropout_is_random(size):
    with pytest.raises(ModelError, match="is random.*Monte-Carlo") as refused:
        votes(Linear(Always(0.3)), batch_size=size)
    assert "batch-size 1" not in str(refused.value)


def test_rows_that_see_each_other_keep_their_advice():
    class Scaled(torch.nn.Module):
        def forward(self, x):
            return x / x.abs().max()

    with pytest.raises(ModelError, match="is batch-dependent.*pass --batch-size 1"):
        votes(Linear(Scaled()))


OLD_SETS = [7, 8, 9, 10, 11, 12]


@pytest.fixture(scope="module")
def train():
    return smoothcert.load_inputs("digits", "train", limit=40)


@pytest.mark.parametrize("opset", OLD_SETS)
def test_int8_of_an_old_operator_set_can_be_loaded(opset, tmp_path, train, plain):
    onnx.save(g.model(opset=opset), tmp_path / "m.onnx")
    compress(tmp_path / "m.onnx", "int8", tmp_path / "q.onnx", inputs=train, sigma=0.25)
    found = [label for pair in votes(tmp_path / "q.onnx") for label in pair[1]]
    expected = [label for pair in plain for label in pair[1]]
    assert np.mean(np.equal(found, expected)) > 0.8


def test_softmax_keeps_its_meaning_in_a_later_operator_set(tmp_path):
    scores = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    made = g.model(
        g.node("Softmax", "x", "p"), outputs=[g.value("p", ["batch", 1, 8, 8])], opset=11
    )
    onnx.save(made, tmp_path / "a.onnx")
    onnx.save(onnx_graph.with_opset(made, 13), tmp_path / "b.onnx")
    a, b = (smoothcert.load_classifier(tmp_path / f"{n}.onnx").logits(scores) for n in "ab")
    assert np.allclose(a, b, atol=1e-6)
    assert a[0].sum() == pytest.approx(1)


@pytest.mark.parametrize("rows", [1, 3])
def test_int8_of_a_fixed_batch(rows, tmp_path, train):
    made = g.model(inputs=[g.value("x", [rows, 1, 8, 8])], outputs=[g.value("logits", [rows, 10])])
    onnx.save(made, tmp_path / "m.onnx")
    onnx.save(g.model(), tmp_path / "any.onnx")
    for name in ("m", "any"):
        source, out = tmp_path / f"{name}.onnx", tmp_path / f"q-{name}.onnx"
        compress(source, "int8", out, inputs=train, sigma=0.25)
    fixed = smoothcert.load_classifier(tmp_path / "q-m.onnx")
    assert (fixed.rows, fixed.fixed_batch) == (rows, None)
    assert votes(tmp_path / "q-m.onnx") == votes(tmp_path / "q-any.onnx")
    for batch_size in (1, 5):
        assert votes(tmp_path / "m.onnx", batch_size=batch_size) == votes(tmp_path / "any.onnx")


def test_a_fixed_batch_with_another_number_of_results_is_refused(tmp_path):
    """Parts of two rows with ten results each must not become rows."""
    made = g.model(
        g.node("Transpose", "logits", "t", perm=[1, 0]),
        inputs=[g.value("x", [2, 1, 8, 8])],
        outputs=[g.value("t", [10, 2])],
    )
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"returns shape \(10, 2\) for a batch of 2, the only"):
        votes(tmp_path / "m.onnx")


def test_tensors_beside_the_original_are_counted_and_copied(tmp_path, monkeypatch):
    source, out = tmp_path / "m.onnx", tmp_path / "new" / "p.onnx"
    onnx.save(g.model(), source, save_as_external_data=True, location="t.bin", size_threshold=0)
    change = compress(source, "prune:0.2", out)
    sizes = source.stat().st_size + (tmp_path / "t.bin").stat().st_size
    assert (change.bytes_before, change.bytes_after) == (sizes, out.stat().st_size)
    monkeypatch.setattr(onnx_graph, "_MOST_INLINE", 100)
    large = compress(source, "prune:0.2", tmp_path / "large.onnx")
    beside = tmp_path / "large.onnx.data"
    assert large.bytes_after == large.path.stat().st_size + beside.stat().st_size
    assert votes(large.path) == votes(out)
    with pytest.raises(InvalidInput, match="large.onnx.data already exists"):
        (tmp_path / "large.onnx").unlink()
        compress(source, "prune:0.2", tmp_path / "large.onnx")
    assert not (tmp_path / "large.onnx").exists()


@pytest.mark.parametrize("target", ["prune:0.2", "bf16-weights", "int4-weights", "int8"])
def test_weights_kept_in_nodes_are_compressed(target, tmp_path, train):
    stored = onnx.numpy_helper.from_array(g.WEIGHTS)
    made = g.model(body=[g.node("Constant", "", "w", value=stored), *g.BODY])
    del made.graph.initializer[:]
    onnx.save(made, tmp_path / "m.onnx")
    change = compress(tmp_path / "m.onnx", target, tmp_path / "q.onnx", inputs=train, sigma=0.25)
    assert (change.tensors_changed, change.tensors) == (1, 1)


class Full:
    """A disk that is full after some bytes."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr("pathlib.Path.write_bytes", self.refuse)
        monkeypatch.setattr(onnx, "save", self.refuse)

    def refuse(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target", "suffix"),
    [
        ("net.onnx", "prune:0.2", ".onnx"),
        ("net.onnx", "int8", ".onnx"),
        ("net.safetensors", "prune:0.2", ".safetensors"),
        ("net.safetensors", "bf16", ".pt2"),
    ],
)
def test_a_full_disk_leaves_nothing(source, target, suffix, models, tmp_path, train, monkeypatch):
    Full(monkeypatch)
    out = tmp_path / "new" / f"out{suffix}"
    with pytest.raises(StoreError, match="Cannot write .*No space left.*Nothing was written"):
        compress(models / source, target, out, inputs=train, sigma=0.25)
    assert not list(tmp_path.iterdir())


def test_the_original_is_blamed_for_what_is_wrong_with_it(tmp_path, train):
    weights = np.zeros((256, 10), np.float32)
    made = g.model(inputs=[g.value("x", ["b", 1, 16, 16])], constants={"w": weights})
    onnx.save(made, tmp_path / "m.onnx")
    for target in ("int8", "prune:0.2"):
        with pytest.raises(ModelError, match=r"^m.onnx failed.*--size 16"):
            compress(tmp_path / "m.onnx", target, tmp_path / "q.onnx", inputs=train, sigma=0.25)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("w.safetensors", "already exists"), ("w.checkpoint", "is not one of smoothcert")],
)
def test_training_replaces_no_file_of_others(name, kept, tmp_path):
    (tmp_path / name).write_text("mine")
    words = ("train", "--data", "digits", "--sigma", "0.25", "--limit", "20", "--epochs", "1")
    resume = ["--resume"] if name.endswith("safetensors") else []
    shown = run(*words, "--out", tmp_path / "w.safetensors", *resume)
    assert shown.exit_code == 2
    assert kept in " ".join(shown.output.split())
    assert (tmp_path / name).read_text() == "mine"


def test_the_named_output_is_kept(tmp_path, train):
    onnx.save(g.model(outputs=[g.FEATURES, g.LOGITS]), tmp_path / "m.onnx")
    reference = f"{tmp_path / 'm.onnx'}#logits"
    compress(reference, "int8-weights", tmp_path / "q.onnx", inputs=train)
    assert len(votes(f"{tmp_path / 'q.onnx'}#logits")) == 3


def test_nothing_is_replaced_unless_asked_for(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(g.model(), path)
    before = path.read_bytes()
    for out in (path, tmp_path / "." / "m.onnx"):
        with pytest.raises(InvalidInput, match="m.onnx already exists.*--overwrite"):
            compress(path, "prune:0.5", out)
    assert path.read_bytes() == before
    compress(path, "prune:0.5", path, overwrite=True)
    assert path.read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    (tmp_path / "link.onnx").symlink_to("nowhere")
    with pytest.raises(InvalidInput, match="already exists"):
        require_new_file(tmp_path / "link.onnx")
    with pytest.raises(InvalidInput, match="is a folder"):
        require_new_file(tmp_path, overwrite=True)


def test_a_model_that_cannot_be_used_is_not_kept(tmp_path, monkeypatch):
    onnx.save(g.model(), tmp_path / "m.onnx")
    bad = g.model(opset=99)
    monkeypatch.setattr(onnx_graph, "save", lambda model, out: onnx.save(bad, out))
    with pytest.raises(ModelError, match=r"cannot be used, so it is not kept: p.onnx cannot be"):
        compress(tmp_path / "m.onnx", "prune:0.5", tmp_path / "p.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
@pytest.mark.parametrize(("file", "mask"), [("m.onnx", 0o027), ("net.safetensors", 0o002)])
def test_modes_follow_the_umask(file, mask, models, tmp_path):
    onnx.save(g.model(), tmp_path / "m.onnx")
    source = models / file if file.startswith("net") else tmp_path / file
    old = os.umask(mask)
    try:
        out = compress(source, "prune:0.5", tmp_path / f"out{source.suffix}").path
    finally:
        os.umask(old)
    assert out.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_folder_that_cannot_be_made(tmp_path):
    onnx.save(g.model(), tmp_path / "m.onnx")
    with pytest.raises(StoreError, match="Cannot write .*Nothing was written"):
        compress(tmp_path / "m.onnx", "prune:0.5", tmp_path / "m.onnx" / "p.onnx")


def run(*arguments):
    from typer.testing import CliRunner

    from smoothcert.cli.main import app

    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_compress_says_which_splits_there_are(tmp_path):
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / "d" / "test" / label).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "d" / "test" / label / "0.png")
    onnx.save(g.model(), tmp_path / "m.onnx")
    base = ("compress", tmp_path / "m.onnx", "--to", "int8", "--data", tmp_path / "d")
    shown = run(*base, "--sigma", "0.25", "--out", tmp_path / "q.onnx")
    assert shown.exit_code == 2
    assert "has no split 'train'. It has test: give --split test." in " ".join(shown.output.split())
    shown = run(*base, "--sigma", "0.25", "--split", "test", "--out", tmp_path / "q.onnx")
    assert shown.exit_code == 0
    said = " ".join(shown.output.split())
    assert "accuracy not measured: the split 'test' was used to make it" in said


def test_commands_say_which_output_is_read(tmp_path):
    onnx.save(g.scikit(), tmp_path / "m.onnx")
    said = ("certify", tmp_path / "m.onnx", "--data", "digits", "--limit", "2", "--sigma", "0.25")
    shown = run(*said, "--n0", "8", "--n", "16", "--out", tmp_path / "run")
    assert shown.exit_code == 0
    assert "Reading the output 'prob' of m.onnx" in shown.output
    named = ("recertify", f"{tmp_path / 'm.onnx'}#prob", "--base", tmp_path / "run")
    shown = run(*named, "--policy", "uniform:8", "--out", tmp_path / "again")
    assert shown.exit_code == 0
    assert f"{tmp_path / 'm.onnx'}#prob" in (tmp_path / "again" / "run.json").read_text()
    assert run("verify", tmp_path / "again", "--replay", "100%").exit_code == 0


@pytest.mark.parametrize(
    ("expected", "shape", "advice"),
    [
        (["n", 3, 224, 224], (4, 3, 32, 32), "by --size 224"),
        ([1, 3, 80, 160], (1, 3, 32, 32), "images of 160 by 80 pixels"),
        (["n", 32, 32, 3], (4, 3, 32, 32), "channels last"),
        (["n", 3, 32, 32], (4, 1, 32, 32), "by --channels 3"),
        (["n", 1, "h", "w"], (4, 3, 32, 32), "by --channels 1"),
        (["n", 64], (4, 1, 8, 8), "put a Flatten"),
        (["n", 7], (4, 5), ""),
        (
            ["n", 3, 16, 16],
            (4, 1, 8, 8),
            "by --channels 3 and resized and cropped to that size by --size 16",
        ),
        (["n", 16, 16, 3], (4, 1, 8, 8), "channels last"),
        (["n", 4, 16, 16], (4, 1, 8, 8), ""),
    ],
)
def test_the_shape_that_is_expected_says_what_to_do(expected, shape, advice):
    said = fitting(expected, shape)
    assert advice in said
    assert bool(said) == bool(advice)


@pytest.mark.parametrize(
    ("expected", "options"),
    [
        ([1, 3, 80, 160], ["--resize 80x160"]),
        (["n", 3, 224, 224], ["--resize 224x224"]),
        (["n", 48, 64, 3], ["--layout nhwc", "--layout nhwc --resize 48x64"]),
        (["n", 3, 32, 32], []),
    ],
)
def test_and_the_command_that_changes_the_model(expected, options):
    said = fitting(expected, (4, 3, 32, 32), "a b.onnx#out")
    commands = [
        f"smoothcert adapt 'a b.onnx#out' {some} --out 'a b-adapted.onnx'" for some in options
    ]
    assert said.split("`")[1::2] == commands
