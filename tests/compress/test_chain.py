"""Several steps in one target: the bytes of the same commands by hand, and errors that name one."""

from itertools import product

import onnx
import pytest
import torch

import smoothcert
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress import compress
from smoothcert.compress.chain import steps_of, suffixes_of, whole
from smoothcert.compress.record import CompressionReport
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.vocabulary import TARGETS

pytestmark = pytest.mark.slow

SIGMA = 0.25


@pytest.fixture(scope="module")
def data():
    return smoothcert.load_inputs("digits", "train", limit=64)


def content(path):
    """The bytes, or of a program what is in it: an archive has the time in it."""
    if path.suffix != ".pt2":
        return path.read_bytes()
    program = torch.export.load(path)
    state = [(k, t.detach().numpy().tobytes()) for k, t in program.state_dict.items()]
    return str(program.graph), state


CHAINS = [
    ("net.safetensors", ("lowrank:0.5", "int8-weights"), (".onnx", ".onnx")),
    ("net.safetensors", ("prune-channels:0.3", "int8"), (".safetensors", ".onnx")),
    ("net.safetensors", ("prune:0.3", "finetune:1", "bf16-weights"), (".safetensors",) * 3),
    ("net.safetensors", ("onnx", "int8-weights:6.0=int4,9.weight=fp32"), (".onnx", ".onnx")),
    (
        "net.safetensors",
        ("finetune:1", "lowrank:0.5", "prune:0.1"),
        (".safetensors", *[".pt2"] * 2),
    ),
    ("net.onnx", ("prune-layers:0.3", "int8"), (".onnx", ".onnx")),
]


@pytest.mark.parametrize(("model", "steps", "suffixes"), CHAINS)
def test_the_bytes_are_those_of_the_commands_by_hand(
    model, steps, suffixes, residual, data, tmp_path
):
    source, reports = str(residual / model), []
    for number, (step, suffix) in enumerate(zip(steps, suffixes, strict=True)):
        out = tmp_path / f"by-hand-{number}{suffix}"
        reports.append(compress(source, step, out, inputs=data, sigma=SIGMA, seed=3))
        source = str(out)
    end = tmp_path / "folder" / f"end{suffixes[-1]}"
    found = compress(residual / model, "+".join(steps), end, inputs=data, sigma=SIGMA, seed=3)
    assert content(end) == content(out)
    assert [one.name for one in end.parent.iterdir()] == [end.name]
    assert found.method == "; then ".join(one.method for one in reports)
    assert found.path == end
    assert found.bytes_after == end.stat().st_size
    assert found.bytes_before == reports[0].bytes_before
    assert found.fraction_changed == max(one.fraction_changed for one in reports)
    assert found.steps == len(steps)
    assert "in the step that changed most" in found.describe()


def test_without_the_first_step_the_bytes_are_others(residual, data, tmp_path):
    """The control of the test above."""
    found = []
    for number, target in enumerate(("onnx+int8-weights", "lowrank:0.5+int8-weights")):
        out = tmp_path / f"{number}.onnx"
        compress(residual / "net.safetensors", target, out, inputs=data)
        found.append(content(out))
    assert found[0] != found[1]


def test_accuracy_is_of_the_original_and_the_last_file(residual, data, tmp_path):
    from smoothcert.compress.measure import accuracy

    test = smoothcert.load_inputs("digits", limit=60)
    out = tmp_path / "q.onnx"
    found = compress(
        residual / "net.safetensors", "prune:0.5+int8", out, inputs=data, sigma=SIGMA, held_out=test
    )
    first, last = (smoothcert.load_classifier(p) for p in (residual / "net.safetensors", out))
    assert found.accuracy_before == accuracy(first, test, SIGMA)
    assert found.accuracy_after == accuracy(last, test, SIGMA)


def test_the_named_output_of_a_graph_is_kept(residual, data, tmp_path):
    output = onnx.load(residual / "net.onnx").graph.output[0].name
    out = tmp_path / "q.onnx"
    compress(f"{residual / 'net.onnx'}#{output}", "prune:0.1+int8-weights", out, inputs=data)
    assert smoothcert.load_classifier(f"{out}#{output}").logits(
        torch.rand(2, 1, 8, 8).numpy()
    ).shape == (2, 10)


@pytest.mark.parametrize(
    ("target", "steps"),
    [
        ("int8", ("int8",)),
        ("prune:0.2+int8", ("prune:0.2", "int8")),
        ("int8:a+b=int4,c=fp32", ("int8:a+b=int4,c=fp32",)),
        ("int8-weights:x=int4+int8:y=fp32", ("int8-weights:x=int4", "int8:y=fp32")),
        ("prune:0.2+int8:a+b=int4+onnx", ("prune:0.2", "int8:a+b=int4", "onnx")),
    ],
)
def test_steps(target, steps):
    assert steps_of(target) == steps


@pytest.mark.parametrize(
    ("target", "out", "message"),
    [
        ("prune:0.2+intt8", "o.onnx", "There is no target 'intt8'. Targets: .*Did you mean 'int8'"),
        ("prune:0.2+", "o.onnx", "There is no target ''. Targets: int8"),
        ("+int8", "o.onnx", "There is no target ''. Targets: int8"),
        (
            "int8+finetune:1",
            "o.onnx",
            r"Step 2 of int8\+finetune:1, finetune:1, cannot read an ONNX model. Put it before",
        ),
        ("lowrank:0.5+bf16", "o.pt2", "Step 2 .* cannot read an ONNX model or an exported program"),
        (
            "prune:0.2+int8",
            "o.pt2",
            r"prune:0.2\+int8 writes a .onnx file .*; got a name with .pt2",
        ),
        ("prune:0.2+prune:0.3", "o", "writes a .pt2 or .safetensors file .*with no suffix"),
        ("prune:0.2+prune:3", "o.safetensors", r"Step 2 of .*, prune:3: prune needs a fraction"),
        (
            "prune:0.2+int8-weights:fd=int4",
            "o.safetensors",
            r"Step 2 of .*, int8-weights:fd=int4: No layer matches 'fd'",
        ),
        ("prune:0.2+int8", "o.onnx", r"Step 2 of .*, int8: int8 is fitted to noisy inputs"),
    ],
)
def test_bad_chains(target, out, message, residual, data, tmp_path):
    with pytest.raises(InvalidInput, match=message):
        compress(residual / "net.safetensors", target, tmp_path / out, inputs=data)
    assert not list(tmp_path.iterdir())


def test_an_error_names_its_step_and_no_temporary_folder(residual, data, tmp_path):
    out = tmp_path / "o.onnx"
    with pytest.raises(ModelError) as caught:
        compress(residual / "net.onnx", "int8-weights+int8", out, inputs=data, sigma=SIGMA)
    assert str(caught.value).startswith("Step 2 of int8-weights+int8, int8: The ONNX graph has no")
    target, out = "int8-pt2e+prune:0.2", tmp_path / "gone" / "o.pt2"
    with pytest.raises(ModelError) as caught:
        compress(residual / "net.safetensors", target, out, inputs=data, sigma=SIGMA)
    assert str(caught.value).startswith(
        f"Step 2 of {target}, prune:0.2: step1-int8-pt2e.pt2 has no float32 weights of conv"
    )
    assert not list(tmp_path.iterdir())


def test_what_the_table_says_is_what_the_targets_write(models, data, tmp_path):
    """Every target from every kind of model, to every suffix: it is written, or it is refused."""
    arguments = {"prune": "0.2", "prune-layers": "0.2", "prune-channels": "0.3", "lowrank": "0.5"}
    arguments |= {"distill": "small_cnn,1", "finetune": "1"}
    program = tmp_path / "program.pt2"
    compress(models / "net.safetensors", "prune:0.1", program, inputs=data)
    sources = {
        "onnx": models / "net.onnx",
        "zoo": models / "net.safetensors",
        "program": program,
    }
    few = data.select(range(8))
    for (kind, target), suffix in product(TARGETS.items(), (".onnx", ".safetensors", ".pt2")):
        if target.module in ("weights_only",) and kind != "int8-weights":
            continue
        text = f"{kind}:{arguments[kind]}" if kind in arguments else kind
        for source, model in sources.items():
            out = tmp_path / f"{kind}-{source}{suffix}"
            if suffix in getattr(target.writes, source):
                compress(model, text, out, inputs=few, sigma=SIGMA)
                assert out.exists(), (kind, source, suffix)
            else:
                with pytest.raises((InvalidInput, ModelError)):
                    compress(model, text, out, inputs=few, sigma=SIGMA)


def test_ways_between_formats():
    zoo, code = (ModelReference.parse(text) for text in ("a.safetensors", "m:f"))
    front = ModelReference.parse("a.safetensors+p.json")
    for model, steps, end, found in (
        (zoo, ("prune:0.2", "bf16"), ".pt2", (".safetensors", ".pt2")),
        (code, ("prune:0.2", "prune:0.3"), ".pt2", (".pt2", ".pt2")),
        (front, ("prune:0.2", "int8"), ".onnx", (".pt2", ".onnx")),
        (code, ("lowrank:0.5", "int8"), ".onnx", (".onnx", ".onnx")),
        (code, ("lowrank:0.5", "int8-pt2e"), ".pt2", (".pt2", ".pt2")),
        (zoo, ("lowrank:0.5", "distill:lenet"), ".safetensors", (".pt2", ".safetensors")),
        (code, ("anything",), ".x", (".x",)),
    ):
        assert suffixes_of(steps, model, end) == found
    with pytest.raises(InvalidInput, match="bf16, cannot read an exported program"):
        suffixes_of(("prune:0.2", "bf16"), code, ".pt2")


def test_one_report_of_several(tmp_path):
    first = CompressionReport(tmp_path / "a", "A", 1, 3, 0.5, 100, 80)
    last = CompressionReport(tmp_path / "b", "B", 3, 3, 0.25, 80, 20, batch_dependent=True)
    export = CompressionReport(tmp_path / "c", "export", 0, 9, 0.0, 20, 30, exact=True)
    found = whole([first, last])
    assert (found.path, found.method) == (tmp_path / "b", "A; then B")
    assert (found.tensors_changed, found.fraction_changed) == (1, 0.5)
    assert (found.bytes_before, found.bytes_after, found.steps) == (100, 20, 2)
    assert found.batch_dependent
    assert not found.exact
    assert whole([export, first]).fraction_changed == 0.5
    assert not whole([export, first]).exact
    assert whole([first]) == first
