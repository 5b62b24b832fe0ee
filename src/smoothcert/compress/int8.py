"""Static int8 by ONNX Runtime: QDQ, per-channel int8 weights, uint8 activations.

Scales are calibrated on noisy inputs, since those are what a smoothed classifier sees, and
are fixed afterwards, so a row's result does not depend on its batch.

A channel's scale is so large that two products with activations fit into 16 bits, whichever two a
kernel adds first: so no processor clips their sum (see `classifiers.integer_products`), where it
does if the largest weight takes all 8 bits. The kernels and their speed are the same, and about a
bit of precision is lost (docs/processors.md).

`int8:layer3=int4,fc=fp32` makes exceptions of layers (see `layers.assigned`). An int4 layer has
its weights on the 15 levels of a per-channel symmetric 4-bit grid, kept in int8, so that the
same integer kernels run it: ONNX Runtime has none for packed 4-bit convolutions and would
compute them in float32. An fp32 layer keeps its weights and float32 arithmetic; its input is the
output of the quantized layer before it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from smoothcert.classifiers.loading import checked_file, load_classifier
from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.calibration import batches_of, noisy_batches
from smoothcert.compress.export import to_onnx
from smoothcert.compress.layers import Layer, assigned
from smoothcert.compress.onnx_graph import FRONT, inputs_of, opset_of, with_opset
from smoothcert.compress.onnx_layers import layers, weights_of
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request, bytes_of
from smoothcert.compress.symmetric import along, pair_scales, scales
from smoothcert.errors import InvalidInput, ModelError, SmoothcertError

_OPSET = 13
"""The first operator set whose quantization has a scale for each channel."""


def write(request: Request) -> CompressionReport:
    """Quantize an ONNX model, or a torch model via ONNX."""
    request.check_suffix(".onnx")
    sigma, inputs, out = request.needed_sigma(), request.needed_inputs(), request.out
    with tempfile.TemporaryDirectory() as folder:
        source, size = prepared(request, Path(folder))
        model = onnx.load(source)
        found = layers(model)
        precisions = assigned(request.argument, found, "int8", ("int8", "int4", "fp32"))
        left = [layer for layer in found if precisions[layer.node] == "fp32"]
        if len(left) == len(found):
            raise InvalidInput(
                f"{request.target} leaves no layer to quantize. Give fewer exceptions."
            )
        reader = _Calibration(model, noisy_batches(inputs, sigma, request.seed))
        with quiet(), refusals(request):
            quantize_static(
                str(source),
                str(out),
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[layer.node for layer in left] + _front(model),
                extra_options={"TensorQuantOverrides": _overrides(model, found, precisions)},
            )
        if left:
            _keep_float(out, left)
    kinds = [precisions[layer.node] for layer in found]
    return quantized_change(request, model, size, _method(kinds))


def prepared(request: Request, folder: Path) -> tuple[Path, int]:
    """The original as ONNX with named nodes, known shapes and folded constants, and its size.

    Raises:
        ModelError: no such file, or a model that cannot be exported.
        InvalidInput: a torch model, which must be exported, without example data.
    """
    source = request.file
    if not source.name or checked_file(source).suffix != ".onnx":
        source = folder / "float.onnx"
        torch_source, shape = request.torch_source(), request.needed_inputs().shape
        to_onnx(torch_source.module, shape, source, torch_source.rows)
    else:
        load_classifier(request.model)  # a wrong reference fails here, with its own message
    size, ready = bytes_of(source), folder / "prepared.onnx"
    with quiet(), refusals(request):
        quant_pre_process(_upgraded(source, folder), str(ready))
    model = onnx.load(ready)
    layers(model)  # names the nodes
    onnx.save(model, ready)
    return ready, size


def _upgraded(source: Path, folder: Path) -> str:
    """The model with an operator set that can store int8 weights with a scale for each channel."""
    model = onnx.load(source)
    if opset_of(model) >= _OPSET:
        return str(source)
    upgraded = folder / "upgraded.onnx"
    onnx.save(with_opset(model, _OPSET), upgraded)
    return str(upgraded)


@contextmanager
def refusals(request: Request) -> Iterator[None]:
    """Turn what ONNX Runtime's quantization raises into a ModelError with its first line."""
    try:
        yield
    except (SmoothcertError, OSError):
        raise  # a full disk is not the model's fault
    except Exception as error:  # the quantization has no exception types of its own
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"ONNX Runtime cannot quantize {request.model}: {first:.300}. Try int8-weights, which "
            "rounds the weights only."
        ) from error


def quantized_change(
    request: Request, before: onnx.ModelProto, size: int, method: str, **facts: bool
) -> CompressionReport:
    """Count the weights that became integers, and the values that rounding moved."""
    found = layers(before)
    originals = weights_of(before, found)
    now = {t.name: numpy_helper.to_array(t) for t in onnx.load(request.out).graph.initializer}
    after_weights = dict(originals)
    for layer in {layer.weight: layer for layer in found}.values():
        weights = originals[layer.weight]
        steps = now.get(f"{layer.weight}_quantized")
        if steps is not None:
            zero, scale = (now[f"{layer.weight}_{part}"] for part in ("zero_point", "scale"))
            if scale.ndim:
                zero, scale = (along(v, layer.axis, weights.ndim) for v in (zero, scale))
            values = (steps.astype(np.float32) - zero.astype(np.float32)) * scale
            after_weights[layer.weight] = values
    return request.report(method, differences(originals, after_weights), size, **facts)


class _Calibration(CalibrationDataReader):
    """Batches for ONNX Runtime, of the size that the model takes."""

    def __init__(self, model: onnx.ModelProto, batches: list[NDArray[np.float32]]) -> None:
        images = inputs_of(model)[0]
        dims = images.type.tensor_type.shape.dim
        found = batches_of(dims[0].dim_value if dims else None, batches)
        self._feeds = iter([{images.name: batch} for batch in found])

    def get_next(self) -> dict | None:  # type: ignore[override]
        """The next batch, or None after the last."""
        return next(self._feeds, None)


def _overrides(
    model: onnx.ModelProto, found: list[Layer], precisions: Mapping[str, str]
) -> dict[str, list[dict]]:
    """For each weight that becomes integers, the scale and zero point of every output channel."""
    chosen = [layer for layer in found if precisions[layer.node] != "fp32"]
    weights = weights_of(model, chosen)
    zero = np.zeros((), np.int8)

    def steps(layer: Layer) -> NDArray[np.float32]:
        values = weights[layer.weight]
        if not np.isfinite(values).all():
            raise ModelError(
                f"The weights {layer.weight!r} are not all finite, so they have no scale. Export "
                "the model again from weights that are."
            )
        if precisions[layer.node] == "int4":
            return scales(values, layer.axis, "int4")
        return pair_scales(values, layer.axis)

    return {
        layer.weight: [
            {
                "axis": layer.axis % weights[layer.weight].ndim,
                "quant_type": QuantType.QInt8,
                "scale": np.array(scale, np.float32),
                "zero_point": zero,
            }
            for scale in steps(layer)
        ]
        for layer in chosen
    }


def _keep_float(out: Path, left: list[Layer]) -> None:
    """Hide these layers from ONNX Runtime's own quantization of weights.

    Its optimizer (WeightBiasQuantization) turns an excluded layer between quantized neighbours into
    an integer layer, with one scale for the whole weight, if its input is dequantized with one
    scale. The same scale repeated for every channel is equivalent and is left unchanged.
    """
    model = onnx.load(out)
    graph = model.graph
    makers = {node.output[0]: node for node in graph.node}
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for layer in left:
        node = next(n for n in graph.node if n.name == layer.node)
        maker = makers.get(node.input[0])
        if maker is None or maker.op_type != "DequantizeLinear" or node.op_type == "MatMul":
            continue
        weights = constants[layer.weight]
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if node.op_type == "Conv":
            channels = weights.shape[1] * groups
        elif node.op_type == "ConvTranspose":
            channels = weights.shape[0]
        else:
            channels = weights.shape[1 - layer.axis]
        names = [f"{layer.node}_input_{part}" for part in ("scale", "zero_point")]
        for name, source in zip(names, maker.input[1:], strict=True):
            repeated = np.full(channels, constants[source])
            graph.initializer.append(numpy_helper.from_array(repeated, name))
        node.input[0] = f"{layer.node}_input"
        own = helper.make_node(
            "DequantizeLinear", [maker.input[0], *names], [node.input[0]], node.input[0], axis=1
        )
        graph.node.insert(list(graph.node).index(node), own)
    onnx.save(model, out)


def _front(model: onnx.ModelProto) -> list[str]:
    """The preprocessing in front of an adapted model: it stays in float32, so that values are
    rounded once, where the network itself begins."""
    return [node.name for node in model.graph.node if node.name.startswith(FRONT)]


def _method(kinds: list[str]) -> str:
    text = "static int8 (QDQ, per-channel weights, whose sums no processor clips)"
    if "int4" in kinds:
        text += f", {kinds.count('int4')} layers with 4-bit weights kept and computed with in int8"
    if "fp32" in kinds:
        text += f", {kinds.count('fp32')} layers left in float32"
    return text
