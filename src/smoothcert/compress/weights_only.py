"""Rounded weights with float32 arithmetic, in the original's own format.

`bf16-weights` and `fp16-weights` round every weight to that type and back, as Ugare et al. (2024)
did; compare `bf16` and `fp16`, which also compute in it. `int8-weights` to `int3-weights` put
the weights of convolutions and matrix products on a symmetric grid of 255 to 7 levels per
output channel, `fp8-weights` on the 8-bit floating-point numbers e4m3fn times a scale per channel;
`int4-weights:32` has a scale for every 32 weights of a channel. The files store the small numbers
where their format allows it: ONNX with a Cast or DequantizeLinear before the layer, safetensors as
a 16-bit type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.loading import load_classifier
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request
from smoothcert.compress.rounding import PACKED, Rounding, rounding
from smoothcert.compress.symmetric import FP8, eights, integers, scales
from smoothcert.errors import ModelError

_PARAMETERS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
)

Weights = dict[str, NDArray[Any]]


def write(request: Request) -> CompressionReport:
    """Round the weights of an ONNX, safetensors or other torch model."""
    wanted, kept = rounding(request), "stored in that type"
    if request.file.suffix == ".onnx":
        request.check_suffix(".onnx")
        load_classifier(request.model)  # a wrong reference fails here, with its own message
        before, after = _round_onnx(request.file, wanted, request.out)
    elif request.reference.is_of_the_zoo and request.out.suffix != ".pt2":
        request.check_suffix(".safetensors")
        before, after = _round_safetensors(request, wanted)
        kept = "stored as float32 on that grid" if wanted.has_grid else kept
    else:
        from smoothcert.compress import torch_weights

        every = not wanted.has_grid
        before, after = torch_weights.rewrite(request, lambda w: _rounded(w, wanted), every)
        kept = "stored as float32 on that grid"
    return CompressionReport(
        request.out,
        f"{wanted.describe()}, float32 arithmetic, {kept}",
        *differences(before, after),
        request.bytes_before,
        request.out.stat().st_size,
    )


def _rounded(weights: Mapping[str, NDArray[Any]], wanted: Rounding) -> Weights:
    """On a grid, or as the 16-bit type has them."""
    import torch

    if wanted.has_grid:
        return {name: wanted.on_grid(w, 0) for name, w in weights.items()}
    kind = torch.bfloat16 if wanted.precision == "bf16" else torch.float16
    after = {k: torch.from_numpy(w).to(kind).float().numpy() for k, w in weights.items()}
    _check_finite(after, wanted.precision)
    return after


def _round_onnx(file: Path, wanted: Rounding, out: Path) -> tuple[Weights, Weights]:
    import onnx
    from onnx import numpy_helper

    from smoothcert.compress.layers import layers, weights_of
    from smoothcert.compress.onnx_graph import read, save, with_opset

    model = read(file)
    found = layers(model)
    axes = {layer.weight: layer.axis for layer in found}
    used = {name for n in model.graph.node if n.op_type in _PARAMETERS for name in n.input[1:]}
    if wanted.has_grid:
        before = weights_of(model, found)
    else:
        before = {
            t.name: numpy_helper.to_array(t)
            for t in model.graph.initializer
            if t.name in used and t.data_type == onnx.TensorProto.FLOAT
        }
    model = with_opset(model, wanted.opset)
    model.ir_version = max(model.ir_version, 9 if wanted.precision == FP8 else 0)
    graph = model.graph
    kept = [t for t in graph.initializer if t.name not in before]
    inputs = [i for i in graph.input if i.name not in before]
    nodes, after = [], {}
    for name, weights in before.items():
        if wanted.has_grid:
            made = _stored_steps(name, weights, axes[name], wanted)
            after[name] = wanted.on_grid(weights, axes[name])
        else:
            made = _stored_floats(name, weights, wanted.precision)
            after[name] = numpy_helper.to_array(made.tensors[0]).astype(np.float32)
        kept += made.tensors
        nodes += made.nodes
    _check_finite(after, wanted.precision)
    nodes += graph.node
    for field, values in (("initializer", kept), ("input", inputs), ("node", nodes)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    save(model, out)
    return before, after


@dataclass(frozen=True)
class _Stored:
    """The tensors of one layer's weights, and the nodes that make float32 weights of them."""

    tensors: list[Any]
    nodes: list[Any]


def _stored_steps(name: str, weights: NDArray[Any], axis: int, wanted: Rounding) -> _Stored:
    """Small numbers and scales; with groups a row of numbers for each output channel."""
    from onnx import helper, numpy_helper

    steps = scales(weights, axis, wanted.precision, wanted.group)
    small = (eights if wanted.precision == FP8 else integers)(
        *(weights, axis, wanted.precision, wanted.group)
    )
    names = [f"{name}_{wanted.precision}", f"{name}_scale"]
    scale = numpy_helper.from_array(steps, names[1])
    axis = axis % weights.ndim
    restored = f"{name}_restored"
    if not wanted.group:
        tensor = _small(names[0], small, wanted.precision)
        node = helper.make_node("DequantizeLinear", names, [name], restored, axis=axis)
        return _Stored([tensor, scale], [node])
    moved = np.moveaxis(small, axis, 0)
    rows = moved.reshape(len(moved), -1)
    shape = numpy_helper.from_array(np.array(moved.shape, np.int64), f"{name}_shape")
    back = np.argsort([axis, *(a for a in range(weights.ndim) if a != axis)])
    chain = [f"{name}_rows", f"{name}_shaped"]
    nodes = [
        helper.make_node(
            *("DequantizeLinear", names, [chain[0]], chain[0]),
            axis=1,
            block_size=min(wanted.group, rows.shape[1]),
        ),
        helper.make_node("Reshape", [chain[0], f"{name}_shape"], [chain[1]], chain[1]),
        helper.make_node("Transpose", [chain[1]], [name], restored, perm=back.tolist()),
    ]
    return _Stored([_small(names[0], rows, wanted.precision), scale, shape], nodes)


def _small(name: str, values: NDArray[Any], precision: str) -> Any:
    """A tensor of 8 or 4 bits."""
    import ml_dtypes
    from onnx import TensorProto, helper, numpy_helper

    if precision == FP8:
        raw = values.astype(ml_dtypes.float8_e4m3fn).tobytes()
        return helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, values.shape, raw, raw=True)
    if precision in PACKED:
        return helper.make_tensor(name, TensorProto.INT4, values.shape, values.ravel())
    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def _stored_floats(name: str, weights: NDArray[Any], precision: str) -> _Stored:
    """A 16-bit tensor."""
    import ml_dtypes
    from onnx import TensorProto, helper

    small, kind = (
        (ml_dtypes.bfloat16, TensorProto.BFLOAT16)
        if precision == "bf16"
        else (np.float16, TensorProto.FLOAT16)
    )
    stored = f"{name}_{precision}"
    with np.errstate(over="ignore"):  # found by _check_finite
        raw = weights.astype(small).tobytes()
    tensor = helper.make_tensor(stored, kind, weights.shape, raw, raw=True)
    node = helper.make_node("Cast", [stored], [name], f"{name}_restored", to=TensorProto.FLOAT)
    return _Stored([tensor], [node])


def _round_safetensors(request: Request, wanted: Rounding) -> tuple[Weights, Weights]:
    import torch

    from smoothcert import zoo
    from smoothcert.classifiers.pytorch import save_weights

    architecture, state = request.zoo_source()
    floating = [key for key, tensor in state.items() if tensor.is_floating_point()]
    if wanted.has_grid:
        chosen = [key for key in floating if state[key].ndim > 1]
        rounded = {k: torch.from_numpy(wanted.on_grid(state[k].numpy(), 0)) for k in chosen}
        network = zoo.rebuild(architecture, state | rounded)
    else:
        chosen = floating
        kind = torch.bfloat16 if wanted.precision == "bf16" else torch.float16
        network = zoo.rebuild(architecture, state).to(kind)
    now = network.state_dict()
    after = {key: now[key].float().numpy() for key in chosen}
    _check_finite(after, wanted.precision)
    said = f"{wanted.precision}:{wanted.group}" if wanted.group else wanted.precision
    save_weights(network, architecture, request.out, rounded=said)
    return {key: state[key].numpy() for key in chosen}, after


def _check_finite(weights: Weights, precision: str) -> None:
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ModelError(
                f"The weights {name!r} exceed the range of {precision}; use bf16-weights."
            )
