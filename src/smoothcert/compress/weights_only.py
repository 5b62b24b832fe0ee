"""Rounded weights with float32 arithmetic, in the original's own format.

`bf16-weights` and `fp16-weights` round every weight to that type and back, as Ugare et al. (2024)
did; compare `bf16` and `fp16`, which also compute in it. `int8-weights` to `int3-weights` put
the weights of convolutions and matrix products on a symmetric grid of 255 to 7 levels per
output channel. The files store the small numbers where their format allows it: ONNX with a Cast
or DequantizeLinear before the layer, safetensors as a 16-bit type.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.loading import load_classifier
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request
from smoothcert.compress.symmetric import BITS, integers, levels, on_grid, scales
from smoothcert.errors import ModelError

_PARAMETERS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
)
_PACKED = tuple(name for name, bits in BITS.items() if bits <= 4)
"""What fits into ONNX's 4-bit integers; more bits take 8."""

Weights = dict[str, NDArray[Any]]


def write(request: Request) -> CompressionReport:
    """Round the weights of an ONNX, safetensors or other torch model."""
    request.no_argument()
    precision, kept = request.target.partition("-")[0], "stored in that type"
    if request.file.suffix == ".onnx":
        request.check_suffix(".onnx")
        load_classifier(request.model)  # a wrong reference fails here, with its own message
        before, after = _round_onnx(request.file, precision, request.out)
    elif request.reference.is_of_the_zoo and request.out.suffix != ".pt2":
        request.check_suffix(".safetensors")
        before, after = _round_safetensors(request, precision)
        kept = "stored as float32 on that grid" if precision in BITS else kept
    else:
        from smoothcert.compress import torch_weights

        every = precision not in BITS
        before, after = torch_weights.rewrite(request, lambda w: _rounded(w, precision), every)
        kept = "stored as float32 on that grid"
    return CompressionReport(
        request.out,
        f"{_words(precision)}, float32 arithmetic, {kept}",
        *differences(before, after),
        request.bytes_before,
        request.out.stat().st_size,
    )


def _rounded(weights: Mapping[str, NDArray[Any]], precision: str) -> Weights:
    """On the grid of a precision, or as the 16-bit type has them."""
    import torch

    if precision in BITS:
        return {name: on_grid(w, 0, precision) for name, w in weights.items()}
    kind = torch.bfloat16 if precision == "bf16" else torch.float16
    after = {k: torch.from_numpy(w).to(kind).float().numpy() for k, w in weights.items()}
    _check_finite(after, precision)
    return after


def _words(precision: str) -> str:
    if precision in BITS:
        grid = f"a symmetric {BITS[precision]}-bit grid per output channel"
        return f"weights rounded to {grid} ({2 * levels(precision) + 1} levels)"
    return f"weights rounded to {'bfloat16' if precision == 'bf16' else 'float16'}"


def _round_onnx(file: Path, precision: str, out: Path) -> tuple[Weights, Weights]:
    import onnx
    from onnx import numpy_helper

    from smoothcert.compress.layers import layers, weights_of
    from smoothcert.compress.onnx_graph import read, save, with_opset

    model = read(file)
    found = layers(model)
    axes = {layer.weight: layer.axis for layer in found}
    used = {name for n in model.graph.node if n.op_type in _PARAMETERS for name in n.input[1:]}
    if precision in BITS:
        before = weights_of(model, found)
    else:
        before = {
            t.name: numpy_helper.to_array(t)
            for t in model.graph.initializer
            if t.name in used and t.data_type == onnx.TensorProto.FLOAT
        }
    model = with_opset(model, 21 if precision in _PACKED else 13)  # the first to restore it
    graph = model.graph
    kept = [t for t in graph.initializer if t.name not in before]
    inputs = [i for i in graph.input if i.name not in before]
    nodes, after = [], {}
    for name, weights in before.items():
        if precision in BITS:
            made = _stored_integers(name, weights, axes[name], precision)
            after[name] = on_grid(weights, axes[name], precision)
        else:
            made = _stored_floats(name, weights, precision)
            after[name] = numpy_helper.to_array(made[0][0]).astype(np.float32)
        kept += made[0]
        nodes.append(made[1])
    _check_finite(after, precision)
    nodes += graph.node
    for field, values in (("initializer", kept), ("input", inputs), ("node", nodes)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    save(model, out)
    return before, after


def _stored_integers(name: str, weights: NDArray[Any], axis: int, precision: str) -> tuple:
    """The tensors (integers, scales) and the node that makes float32 weights of them."""
    from onnx import TensorProto, helper, numpy_helper

    steps, names = integers(weights, axis, precision), [f"{name}_{precision}", f"{name}_scale"]
    if precision not in _PACKED:
        stored = numpy_helper.from_array(steps, names[0])
    else:
        stored = helper.make_tensor(names[0], TensorProto.INT4, steps.shape, steps.ravel())
    scale = numpy_helper.from_array(scales(weights, axis, precision), names[1])
    axis = axis % weights.ndim
    node = helper.make_node("DequantizeLinear", names, [name], f"{name}_restored", axis=axis)
    return [stored, scale], node


def _stored_floats(name: str, weights: NDArray[Any], precision: str) -> tuple:
    """The 16-bit tensor, alone in a list, and the node that makes float32 weights of it."""
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
    return [tensor], node


def _round_safetensors(request: Request, precision: str) -> tuple[Weights, Weights]:
    import torch

    from smoothcert import zoo
    from smoothcert.classifiers.pytorch import save_weights

    architecture, state = request.zoo_source()
    floating = [key for key, tensor in state.items() if tensor.is_floating_point()]
    if precision in BITS:
        chosen = [key for key in floating if state[key].ndim > 1]
        rounded = {k: torch.from_numpy(on_grid(state[k].numpy(), 0, precision)) for k in chosen}
        network = zoo.rebuild(architecture, state | rounded)
    else:
        chosen, kind = floating, torch.bfloat16 if precision == "bf16" else torch.float16
        network = zoo.rebuild(architecture, state).to(kind)
    now = network.state_dict()
    after = {key: now[key].float().numpy() for key in chosen}
    _check_finite(after, precision)
    save_weights(network, architecture, request.out, rounded=precision)
    return {key: state[key].numpy() for key in chosen}, after


def _check_finite(weights: Weights, precision: str) -> None:
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ModelError(
                f"The weights {name!r} exceed the range of {precision}; use bf16-weights."
            )
