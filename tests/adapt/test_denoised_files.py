"""A denoiser in front of an ONNX classifier: one file that computes what both do by hand."""

import json

import numpy as np
import pytest

import smoothcert
from smoothcert.adapt import adapt
from smoothcert.classifiers.denoising import denoising
from smoothcert.classifiers.preprocessing_files import denoiser_in, given
from smoothcert.errors import ModelError

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")

import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from support import onnx_graphs as graphs  # noqa: E402
from support.command_line import run_in  # noqa: E402
from support.onnx_graphs import node, value  # noqa: E402

RNG = np.random.default_rng(3)
KERNEL = RNG.normal(size=(1, 1, 3, 3)).astype(np.float32) / 3
SIGMA = 0.5
DIFFUSION = {
    "denoiser_range": [-1, 1],
    "denoiser_predicts": "noise",
    "denoiser_schedule": {"kind": "linear"},
    "denoiser_sigma": SIGMA,
}
IMAGES = (0.5 + RNG.normal(size=(6, 1, 8, 8))).astype(np.float32)


def blurred(x):
    """The convolution of the denoisers, by hand."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    parts = [
        KERNEL[0, 0, i, j] * padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
        for i in range(3)
        for j in range(3)
    ]
    return np.sum(parts, axis=0)


def denoiser(path, *, rows="batch", times=None, kind=TensorProto.FLOAT, opset=17, side=8, more=()):
    """A convolution, plus a hundredth of a second input; named like the classifier's tensors."""
    sizes = [rows, 1, side, side]
    inputs, nodes = [value("x", sizes, kind)], []
    stored = [numpy_helper.from_array(KERNEL.astype(helper.tensor_dtype_to_np_dtype(kind)), "w")]
    nodes = [node("Conv", "x w", "f" if times else "logits", pads=[1, 1, 1, 1])]
    if times:
        inputs.append(value("t", *times))
        stored.append(numpy_helper.from_array(np.array([-1, 1, 1, 1]), "shape"))
        stored.append(numpy_helper.from_array(np.float32(0.01), "hundredth"))
        nodes += [
            node("Cast", "t", "tf", to=TensorProto.FLOAT),
            node("Mul", "tf hundredth", "small"),
            node("Reshape", "small shape", "column"),
            node("Add", "f column", "logits"),
        ]
    outputs = [value("logits", sizes, kind), *(value(name, sizes, kind) for name in more)]
    nodes += [node("Neg", "logits", name) for name in more]
    graph = helper.make_graph(nodes, "d", inputs, outputs, stored)
    sets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), path)
    return path


@pytest.fixture
def net(tmp_path):
    onnx.save(graphs.model(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def scores(clean, mean=0.0, std=1.0):
    return ((clean - mean) / std).reshape(len(clean), -1) @ graphs.WEIGHTS


def agree(path, expected, images=IMAGES):
    found = smoothcert.load_classifier(path).logits(images)
    return np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("low", [0, -1])
@pytest.mark.parametrize("opset", [11, 17, 21])
def test_one_file_computes_both(low, opset, net, tmp_path):
    first = denoiser(tmp_path / "d.onnx", opset=opset)
    settings = {"denoiser": str(first), "denoiser_range": [low, 1]}
    wanted, _ = given(None, {"mean": "0.4", "std": "0.3"})
    done = adapt(net, tmp_path / "whole.onnx", wanted, denoiser=denoising(settings))
    assert done.difference.by_row
    assert done.difference.single < 1e-6
    scale = 1 - low
    found = blurred(scale * IMAGES + low).clip(low, 1)
    assert agree(done.path, scores((found - low) / scale, 0.4, 0.3))
    assert not agree(done.path, scores(blurred(IMAGES), 0.4, 0.3))
    assert not agree(done.path, scores(IMAGES, 0.4, 0.3))
    session = onnxruntime.InferenceSession(done.path)
    assert [one.name for one in session.get_inputs()] == ["images"]
    record = json.loads(onnx.load(done.path).metadata_props[0].value)
    assert record["denoiser"]["low"] == low
    assert len(record["denoiser"]["fingerprint"]) == 32


TIMES = {
    "each": (["batch"], TensorProto.INT64),
    "float": (["batch"], TensorProto.FLOAT),
    "int32": (["n"], TensorProto.INT32),
    "one": ([1], TensorProto.INT64),
    "scalar": ([], TensorProto.DOUBLE),
}


@pytest.mark.parametrize("times", TIMES)
def test_one_step_of_a_diffusion_model(times, net, tmp_path):
    first = denoiser(tmp_path / "d.onnx", times=TIMES[times])
    wanted = denoising({"denoiser": str(first), **DIFFUSION})
    done = adapt(net, tmp_path / "whole.onnx", given(None, {})[0], denoiser=wanted)
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[258]
    given_it = np.sqrt(kept) * (2 * IMAGES - 1)
    noise = blurred(given_it) + 0.01 * 258
    found = (given_it - np.sqrt(1 - kept) * noise) / np.sqrt(kept)
    assert agree(done.path, scores((found.clip(-1, 1) + 1) / 2))
    other = (given_it - np.sqrt(1 - kept) * (noise - 0.01)) / np.sqrt(kept)  # step 257
    assert not agree(done.path, scores((other.clip(-1, 1) + 1) / 2))


def test_a_sigma_and_the_noise_that_was_added(net, tmp_path):
    first = denoiser(tmp_path / "d.onnx", times=(["batch"], TensorProto.FLOAT))
    settings = {"denoiser_time": "sigma", "denoiser_sigma": 0.25, "denoiser_predicts": "noise"}
    wanted = denoising({"denoiser": str(first), **settings})
    done = adapt(net, tmp_path / "whole.onnx", given(None, {})[0], denoiser=wanted)
    found = (IMAGES - blurred(IMAGES) - 0.01 * 0.25).clip(0, 1)
    assert agree(done.path, scores(found))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_denoisers_of_other_types(kind, net, tmp_path):
    half = numpy_helper.from_array(np.array(0.5, helper.tensor_dtype_to_np_dtype(kind)), "w")
    ends = [value(name, ["batch", 1, 8, 8], kind) for name in ("x", "logits")]
    graph = helper.make_graph([node("Mul", "x w", "logits")], "d", ends[:1], ends[1:], [half])
    sets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), tmp_path / "d.onnx")
    wanted = denoising({"denoiser": str(tmp_path / "d.onnx")})
    done = adapt(net, tmp_path / "w.onnx", given(None, {})[0], denoiser=wanted)
    close = scores((IMAGES / 2).clip(0, 1))
    found = smoothcert.load_classifier(done.path).logits(IMAGES)
    assert np.abs(found - close).max() < 1e-3 * np.abs(close).max()


@pytest.mark.parametrize("which", ["denoiser", "classifier", "both"])
def test_a_fixed_batch_is_opened(which, tmp_path):
    first = denoiser(tmp_path / "d.onnx", rows=1 if which != "classifier" else "batch")
    shape = [1 if which != "denoiser" else "batch", 1, 8, 8]
    onnx.save(graphs.model(inputs=(value("x", shape),)), tmp_path / "net.onnx")
    wanted = denoising({"denoiser": str(first)})
    done = adapt(tmp_path / "net.onnx", tmp_path / "w.onnx", given(None, {})[0], denoiser=wanted)
    assert (done.rows_before, done.rows) == (1, None)
    assert agree(done.path, scores(blurred(IMAGES).clip(0, 1)))


def test_a_batch_that_cannot_be_opened_stays(net, tmp_path):
    model = onnx.load(denoiser(tmp_path / "d.onnx", rows=2))
    shape = numpy_helper.from_array(np.array([128]), "whole")
    again = numpy_helper.from_array(np.array([2, 1, 8, 8]), "again")
    model.graph.initializer.extend([shape, again])
    model.graph.node[0].output[0] = "raw"
    model.graph.node.extend(
        [node("Reshape", "raw whole", "flat"), node("Reshape", "flat again", "logits")]
    )
    onnx.save(model, tmp_path / "d.onnx")
    wanted = denoising({"denoiser": str(tmp_path / "d.onnx")})
    done = adapt(net, tmp_path / "w.onnx", given(None, {})[0], denoiser=wanted)
    assert agree(done.path, scores(blurred(IMAGES).clip(0, 1)))
    assert agree(done.path, scores(blurred(IMAGES[:3]).clip(0, 1)), IMAGES[:3])


def test_every_command_takes_it(net, tmp_path):
    """Also on two threads: the votes are those of both by hand."""
    denoiser(tmp_path / "d.onnx")
    (tmp_path / "p.json").write_text(json.dumps({"denoiser": "d.onnx", "mean": 0.4, "std": 0.3}))
    said, _ = run_in("adapt", "net.onnx", "--preprocess", "p.json", "--out", "w.onnx", cwd=tmp_path)
    assert "First, the denoiser d.onnx" in said
    said, _ = run_in("adapt", "w.onnx", cwd=tmp_path)
    assert "denoiser" in said

    by_hand = smoothcert.from_function(
        lambda images: scores(blurred(images).clip(0, 1), 0.4, 0.3), "by hand", "1"
    )

    inputs = smoothcert.load_inputs("digits", limit=6)
    whole = [
        smoothcert.load_classifier(str(tmp_path / "w.onnx"), threads=count) for count in (1, 2)
    ]
    found = [
        [
            r.votes.estimation.tolist()
            for r in smoothcert.certify(m, inputs, 0.25, n0=8, n=64).records
        ]
        for m in (*whole, by_hand)
    ]
    assert found[0] == found[1] == found[2]
    more = ("--data", "digits", "--sigma", "0.25")
    run_in("certify", "w.onnx", *more, "--limit", 4, "--n", 50, "--out", "base", cwd=tmp_path)
    run_in("compress", "w.onnx", "--to", "int8", *more, "--out", "q.onnx", cwd=tmp_path)
    run_in("recertify", "q.onnx", "--base", "base", "--out", "again", cwd=tmp_path)
    after = smoothcert.load_classifier(str(tmp_path / "q.onnx")).logits(IMAGES)
    assert (after.argmax(1) == whole[0].logits(IMAGES).argmax(1)).mean() > 0.6


DEPLOYED = {
    "outside": ({"mean": "imagenet", "std": "imagenet"}, 3, lambda x: (x - MEAN) / STD),
    "nhwc": (
        {"layout": "nhwc", "mean": "half", "std": "half"},
        3,
        lambda x: (2 * x - 1).transpose(0, 2, 3, 1),
    ),
    "flat": ({"layout": "flat", "scale": 255.0}, 1, lambda x: 255 * x.reshape(len(x), -1)),
    "bytes": ({"scale": 255.0}, 1, lambda x: np.rint(255 * x.clip(0, 1))),
}
MEAN = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)


@pytest.mark.parametrize("name", DEPLOYED)
def test_it_comes_before_what_a_deployed_model_needs(name, tmp_path):
    options, channels, by_hand = DEPLOYED[name]
    images = (0.5 + RNG.normal(size=(4, channels, 8, 8))).astype(np.float32)
    shapes = {"nhwc": ["batch", 8, 8, 3], "flat": ["batch", 64]}
    shape = shapes.get(name, ["batch", channels, 8, 8])
    kind = TensorProto.UINT8 if name == "bytes" else graphs.FLOAT
    matrix = RNG.normal(size=(64 * channels, 10)).astype(np.float32)
    nodes = [
        node("Cast", "x", "c", to=graphs.FLOAT),
        *(node("Flatten", "c", "f"), node("MatMul", "f w", "logits")),
    ]
    onnx.save(
        graphs.model(body=nodes, inputs=(value("x", shape, kind),), constants={"w": matrix}),
        tmp_path / "net.onnx",
    )
    half = numpy_helper.from_array(np.float32(0.6), "w")
    ends = [value(end, ["n", "c", "h", "k"]) for end in ("x", "logits")]
    graph = helper.make_graph([node("Mul", "x w", "logits")], "d", ends[:1], ends[1:], [half])
    sets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), tmp_path / "d.onnx")
    wanted = denoising({"denoiser": str(tmp_path / "d.onnx")})
    front = given(None, options)[0]
    done = adapt(tmp_path / "net.onnx", tmp_path / "w.onnx", front, denoiser=wanted)
    clean = (images * np.float32(0.6)).clip(0, 1)
    due = by_hand(clean).reshape(len(images), -1) @ matrix
    assert agree(done.path, due, images)
    assert not agree(done.path, by_hand(images).reshape(len(images), -1) @ matrix, images)


def test_a_denoiser_that_looks_at_the_batch_is_said_and_not_certified(net, tmp_path):
    model = onnx.load(denoiser(tmp_path / "d.onnx"))
    model.graph.node[0].output[0] = "raw"
    model.graph.node.extend(
        [node("ReduceMean", "raw", "mean", axes=[0]), node("Sub", "raw mean", "logits")]
    )
    onnx.save(model, tmp_path / "d.onnx")
    more = ("--denoiser", "d.onnx", "--out", "w.onnx")
    said, _ = run_in("adapt", "net.onnx", *more, cwd=tmp_path)
    assert "A row's scores depend on its batch" in said
    more = ("--data", "digits", "--sigma", "0.25", "--limit", 4, "--n", 50, "--out", "base")
    _, err = run_in("certify", "w.onnx", *more, cwd=tmp_path, code=2)
    assert "--batch-size 1" in err


def test_another_denoiser_is_another_classifier(net, tmp_path):
    prints = set()
    for name, settings in enumerate(
        [{}, {"denoiser_range": [-1, 1]}, {"denoiser_predicts": "noise"}]
    ):
        wanted = denoising({"denoiser": str(denoiser(tmp_path / "d.onnx")), **settings})
        done = adapt(net, tmp_path / f"{name}.onnx", given(None, {})[0], denoiser=wanted)
        prints.add(smoothcert.load_classifier(done.path).fingerprint)
    assert len(prints) == 3


def test_names_of_inner_graphs_are_kept_apart(net, tmp_path):
    """A branch of a denoiser reads `w`, which the classifier has too, from the graph around it."""
    model = onnx.load(denoiser(tmp_path / "d.onnx"))
    branches = [
        helper.make_graph(
            [node("Conv", "x w", "y", pads=[1, 1, 1, 1])], "a", [], [value("y", None)]
        ),
        helper.make_graph([node("Identity", "x", "y")], "b", [], [value("y", None)]),
    ]
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.ClearField("node")
    model.graph.node.append(
        helper.make_node(
            "If", ["yes"], ["logits"], then_branch=branches[0], else_branch=branches[1]
        )
    )
    onnx.save(model, tmp_path / "d.onnx")
    wanted = denoising({"denoiser": str(tmp_path / "d.onnx")})
    done = adapt(net, tmp_path / "w.onnx", given(None, {})[0], denoiser=wanted)
    assert agree(done.path, scores(blurred(IMAGES).clip(0, 1)))


@pytest.mark.slow
def test_a_torch_denoiser_stands_before_an_onnx_classifier(net, tmp_path):
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    conv = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
    conv.weight.data = torch.from_numpy(KERNEL)
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(conv, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=(batch,))
    torch.export.save(program, tmp_path / "d.pt2")
    wanted = denoising({"denoiser": str(tmp_path / "d.pt2"), "denoiser_range": [-1, 1]})
    done = adapt(net, tmp_path / "w.onnx", given(None, {})[0], denoiser=wanted)
    assert agree(done.path, scores((blurred(2 * IMAGES - 1).clip(-1, 1) + 1) / 2))
    (tmp_path / "p.json").write_text(json.dumps({"denoiser": "d.onnx"}))
    denoiser(tmp_path / "d.onnx")
    with pytest.raises(ModelError, match="in front of an ONNX classifier only"):
        smoothcert.load_classifier(f"{tmp_path}/d.pt2+{tmp_path}/p.json")


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (
            {"side": 9},
            {},
            r"takes images \(batch, 1, 9, 9\), and the classifier \(batch, 1, 8, 8\)",
        ),
        ({}, {"denoiser_time": 3}, "it takes x, but is called with images and a time"),
        ({"times": TIMES["each"]}, {}, "Say denoiser_time or denoiser_schedule"),
        ({"times": TIMES["each"]}, {"denoiser_time": 0.5}, "cannot take the time 0.5"),
        ({"more": ["other"]}, {}, "it gives logits, other. Name the one"),
        ({"kind": TensorProto.INT64}, {}, "cannot be loaded|must take floats"),
    ],
)
def test_refusals(change, settings, said, net, tmp_path):
    first = str(denoiser(tmp_path / "d.onnx", **change))
    with pytest.raises(ModelError, match=said):
        adapt(
            net,
            tmp_path / "w.onnx",
            given(None, {})[0],
            denoiser=denoising({"denoiser": first, **settings}),
        )
    assert not (tmp_path / "w.onnx").exists()


def test_an_output_can_be_named(net, tmp_path):
    first = denoiser(tmp_path / "d.onnx", more=["other"])
    wanted = denoising({"denoiser": f"{first}#other"})
    done = adapt(net, tmp_path / "w.onnx", given(None, {})[0], denoiser=wanted)
    assert agree(done.path, scores((-blurred(IMAGES)).clip(0, 1)))


@pytest.mark.parametrize("what", ["missing", "damaged", "narrower", "nan"])
def test_denoisers_that_cannot_be_used(what, net, tmp_path):
    path = denoiser(tmp_path / "d.onnx")
    model = onnx.load(path)
    if what == "missing":
        path.unlink()
    elif what == "damaged":
        path.write_bytes(path.read_bytes()[:40])
    elif what == "narrower":
        del model.graph.node[0].attribute[:]
        onnx.save(model, path)
    else:
        kernel = np.full_like(KERNEL, np.nan)
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "w"))
        onnx.save(model, path)
    said = {"missing": "no model file", "damaged": "cannot be loaded", "nan": "NaN for every value"}
    with pytest.raises(ModelError, match=said.get(what, r"gives \(1, 6, 6\) for images")):
        adapt(
            net,
            tmp_path / "w.onnx",
            given(None, {})[0],
            denoiser=denoising({"denoiser": str(path)}),
        )


def test_at_run_time_the_command_is_named(net, tmp_path):
    denoiser(tmp_path / "d.onnx")
    (tmp_path / "p.json").write_text(json.dumps({"denoiser": "d.onnx"}))
    assert denoiser_in(tmp_path / "p.json").model == str(tmp_path / "d.onnx")
    with pytest.raises(ModelError, match="inside of its file: `smoothcert adapt") as refused:
        smoothcert.load_classifier(f"{net}+{tmp_path}/p.json")
    words = str(refused.value).split("`")[1].split()[1:]
    run_in(*words, cwd=tmp_path)
    assert agree(tmp_path / "net-adapted.onnx", scores(blurred(IMAGES).clip(0, 1)))
