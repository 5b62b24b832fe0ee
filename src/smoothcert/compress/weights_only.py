"""Rounded weights with float32 arithmetic, in the original's own format.

`bf16-weights` and `fp16-weights` round every weight to that type and back, as Ugare et al. (2024)
did; compare `bf16` and `fp16`, which also compute in it. `int8-weights` to `int3-weights` put
the weights of convolutions and matrix products on a symmetric grid of 255 to 7 levels per
output channel, `fp8-weights` on the 8-bit floating-point numbers e4m3fn times a scale per channel;
`int4-weights:32` has a scale for every 32 weights of a channel. The files store the small numbers
where their format allows it: ONNX with a Cast or DequantizeLinear before the layer, safetensors as
a 16-bit type.

`int8-weights:conv1=int4,fc=fp32` makes exceptions of layers, by names as for `int8` (see
`layers.assigned`); what an exception does to a layer is in `rounding.weight_formats`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.loading import load_classifier
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request
from smoothcert.compress.rounding import HALVES, PACKED, Rounding, WeightFormats, weight_formats
from smoothcert.compress.symmetric import FP8, eights, integers, scales
from smoothcert.errors import ModelError

_PARAMETERS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
)

Weights = Mapping[str, NDArray[Any]]


def write(request: Request) -> CompressionReport:
    """Round the weights of an ONNX, safetensors or other torch model."""
    if request.file.suffix == ".onnx":
        request.check_suffix(".onnx")
        load_classifier(request.model)  # a wrong reference fails here, with its own message
        done = _round_onnx(request)
    elif request.reference.is_of_the_zoo and request.out.suffix != ".pt2":
        request.check_suffix(".safetensors")
        done = _round_safetensors(request)
    else:
        done = _round_torch(request)
    said = f"{done.formats.describe()}, float32 arithmetic, {done.stored}"
    return request.report(said, differences(done.before, done.after))


@dataclass(frozen=True)
class _Done:
    """What was rounded to what, and how it is stored."""

    formats: WeightFormats
    before: Weights
    after: Weights
    stored: str


def _rounded(weights: Mapping[str, NDArray[Any]], formats: WeightFormats) -> Weights:
    """Each tensor on its grid, or as its 16-bit type has it."""
    import torch

    after = dict(weights)
    for name, wanted in formats.of.items():
        if wanted.has_grid:
            after[name] = wanted.on_grid(weights[name], 0)
        else:
            kind = getattr(torch, HALVES[wanted.precision])
            after[name] = torch.from_numpy(weights[name]).to(kind).float().numpy()
    _check_finite(after, formats)
    return after


def _round_torch(request: Request) -> _Done:
    from smoothcert.compress import torch_weights

    network = torch_weights.opened(request)
    floating = [key for key, t in network.state_dict().items() if t.is_floating_point()]
    formats = weight_formats(request, torch_weights.network_layers(network), floating)
    names = [key for key in floating if key in formats.names]
    before, after = torch_weights.written(
        request, network, names, lambda weights: _rounded(weights, formats)
    )
    return _Done(formats, before, after, _stored(formats, halves=False))


def _round_onnx(request: Request) -> _Done:
    import onnx
    from onnx import numpy_helper

    from smoothcert.compress.onnx_graph import read, save, with_opset
    from smoothcert.compress.onnx_layers import layers

    model = read(request.file)
    found = layers(model)
    axes = {layer.weight: layer.axis for layer in found}
    used = {name for n in model.graph.node if n.op_type in _PARAMETERS for name in n.input[1:]}
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    formats = weight_formats(request, found, [t.name for t in floats if t.name in used])
    before = {t.name: numpy_helper.to_array(t) for t in floats if t.name in formats.names}
    model = with_opset(model, max(wanted.opset for wanted in formats.of.values()))
    eights = any(wanted.precision == FP8 for wanted in formats.of.values())
    model.ir_version = max(model.ir_version, 9 if eights else 0)
    graph = model.graph
    kept = [t for t in graph.initializer if t.name not in formats.of]
    inputs = [i for i in graph.input if i.name not in formats.of]
    nodes, after = [], dict(before)
    for name, weights in before.items():
        wanted = formats.of.get(name)
        if wanted is None:
            continue
        if wanted.has_grid:
            made = _stored_steps(name, weights, axes[name], wanted)
            after[name] = wanted.on_grid(weights, axes[name])
        else:
            made = _stored_floats(name, weights, wanted.precision)
            after[name] = numpy_helper.to_array(made.tensors[0]).astype(np.float32)
        kept += made.tensors
        nodes += made.nodes
    _check_finite(after, formats)
    nodes += graph.node
    for field, values in (("initializer", kept), ("input", inputs), ("node", nodes)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    save(model, request.out)
    return _Done(formats, before, after, "stored in that type")


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
        flat = np.pad(values.ravel(), (0, values.size % 2)).astype(np.uint8) & 15
        pairs = flat.reshape(-1, 2)
        raw = (pairs[:, 0] | pairs[:, 1] << 4).tobytes()  # the first in the lower half
        return helper.make_tensor(name, TensorProto.INT4, values.shape, raw, raw=True)
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


def _round_safetensors(request: Request) -> _Done:
    import torch

    from smoothcert import zoo
    from smoothcert.classifiers.pytorch import save_weights
    from smoothcert.compress.torch_weights import network_layers

    architecture, state = request.zoo_source()
    floating = [key for key, tensor in state.items() if tensor.is_floating_point()]
    layers = network_layers(zoo.rebuild(architecture, state))
    formats = weight_formats(request, layers, floating)
    before = {key: state[key].numpy() for key in floating if key in formats.names}
    after = _rounded(before, formats)
    rounded = {key: torch.from_numpy(values) for key, values in after.items()}
    network = zoo.rebuild(architecture, state | rounded)
    for key, tensor in network.state_dict(keep_vars=True).items():
        wanted = formats.of.get(key)
        if wanted is not None and not wanted.has_grid:  # exact, as its values are of that type
            tensor.data = tensor.data.to(getattr(torch, HALVES[wanted.precision]))
    said = request.target.replace("-weights", "", 1)
    save_weights(network, architecture, request.out, rounded=said)
    return _Done(formats, before, after, _stored(formats, formats.halves))


def _stored(formats: WeightFormats, halves: bool) -> str:
    """How torch's formats hold the weights: as numbers of 16 bits, if they can, and of 32."""
    if not halves or not formats.halves:
        return "stored as float32 on that grid"
    return (
        "stored in 16 bits, and in 32 where they have scales"
        if formats.grids
        else "stored in that type"
    )


def _check_finite(weights: Weights, formats: WeightFormats) -> None:
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ModelError(
                f"The weights {name!r} exceed the range of {formats.of[name].precision}; use "
                "bf16-weights, or for this layer alone the exception LAYER=bf16."
            )
