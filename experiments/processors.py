"""An int8 ONNX model as a processor computes it that saturates sums of uint8 by int8 products.

`Emulated(path, saturating=True)` is a classifier for `certify`, or anything else that takes one.
It runs the graph that ONNX Runtime makes of the file, operator by operator: convolutions and
matrix products of integers by the loop below, all others by ONNX Runtime. With saturating=False
its logits are ONNX Runtime's on a processor with VNNI, bit by bit; the tests compare them.

What is assumed of x86 processors without VNNI, by ONNX Runtime's sources (MLAS, AVX2 and AVX-512
kernels): products are added in the order (row, column, input channel) of the filter, pairs begin at
even places of it, the sum of a pair is clipped to 16 bits, and sums of pairs are exact; inputs
outside the image count as the zero point. Weights of uint8 (x64quantprecision) and depthwise
convolutions are added exactly.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import helper, numpy_helper

CLIPPED = (-(2**15), 2**15 - 1)
EXACT = (-(2**31), 2**31 - 1)
Step = Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]


@dataclass(frozen=True)
class Emulated:
    """A classifier: the file on a processor with, or without, saturating sums of pairs.

    Attributes:
        path: an ONNX file with integer products.
        saturating: whether the sum of two adjacent products is clipped to 16 bits.
        precise: whether the session option `session.x64quantprecision` is on.
    """

    path: Path
    saturating: bool
    precise: bool = False
    device = "cpu"
    fixed_batch = None

    @property
    def name(self) -> str:
        """The file and the kind of processor."""
        return f"{Path(self.path).name} {'without' if self.saturating else 'with'} VNNI"

    @property
    def fingerprint(self) -> str:
        """Of the file's bytes and the kind of processor."""
        told = f"{self.saturating}{self.precise}".encode()
        return sha256(Path(self.path).read_bytes() + told).hexdigest()[:32]

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Logits (B, K) of images (B, *shape)."""
        model, steps = self._program
        values: dict[str, NDArray[Any]] = dict(self._constants)
        values[model.graph.input[0].name] = images
        for name, step in steps:
            values[name] = step(values)
        return values[model.graph.output[0].name]

    @cached_property
    def _program(self) -> tuple[onnx.ModelProto, list[tuple[str, Step]]]:
        model = optimized(self.path, self.precise)
        limits = CLIPPED if self.saturating else EXACT
        steps = [(node.output[0], _step(node, model, limits)) for node in model.graph.node]
        return model, steps

    @cached_property
    def _constants(self) -> dict[str, NDArray[Any]]:
        tensors = self._program[0].graph.initializer
        return {"": np.zeros(0)} | {t.name: numpy_helper.to_array(t) for t in tensors}


def optimized(path: Path, precise: bool = False) -> onnx.ModelProto:
    """The graph that ONNX Runtime makes of a file and runs."""
    options = session_options(precise)
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def session_options(precise: bool = False) -> onnxruntime.SessionOptions:
    """One core, and uint8 weights in place of int8 where that is asked for."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if precise:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _step(node: onnx.NodeProto, model: onnx.ModelProto, limits: tuple[int, int]) -> Step:
    """What computes a node's only output from all values so far."""
    own = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    products = {
        "QLinearConv": _convolution,
        "QGemm": _product,
        "QLinearMatMul": _product,
        "MatMulInteger": _product,
    }
    if found := products.get(node.op_type):
        return lambda values: found([values[name] for name in node.input], own, limits)
    if node.op_type in ("ConvInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"):
        raise NotImplementedError(f"{node.op_type} is not emulated")
    return _by_onnx_runtime(node, model)


def _by_onnx_runtime(node: onnx.NodeProto, model: onnx.ModelProto) -> Step:
    """A graph of this node alone, made when the types of its inputs are known."""
    assert len(node.output) == 1, node.op_type
    sessions: list[onnxruntime.InferenceSession] = []

    def run(values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        feeds = {name: np.asarray(values[name]) for name in node.input if name}
        if not sessions:
            infos = [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
                )
                for name, value in feeds.items()
            ]
            out = onnx.ValueInfoProto(name=node.output[0])
            graph = helper.make_graph([node], "one", infos, [out])
            alone = helper.make_model(
                graph, opset_imports=model.opset_import, ir_version=model.ir_version
            )
            options = session_options()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            sessions.append(
                onnxruntime.InferenceSession(
                    alone.SerializeToString(), options, providers=["CPUExecutionProvider"]
                )
            )
        return sessions[0].run(None, feeds)[0]

    return run


def _convolution(inputs: list[Any], own: dict[str, Any], limits: tuple[int, int]) -> NDArray[Any]:
    """QLinearConv in two dimensions."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = inputs
    last = own.get("channels_last", 0)
    x = x if last else np.moveaxis(x, 1, -1)
    groups, kernel = own.get("group", 1), w.shape[2:]
    top, left, bottom, right = own.get("pads", [0] * 4)
    padded = np.pad(
        *(x, ((0, 0), (top, bottom), (left, right), (0, 0))), constant_values=int(x_zero)
    )
    dilations, strides = own.get("dilations", [1, 1]), own.get("strides", [1, 1])
    extent = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    windows = sliding_window_view(padded, extent, axis=(1, 2))  # (B, rows, columns, C, *extent)
    windows = windows[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]
    windows = np.moveaxis(windows, 3, -1)  # (B, rows, columns, *kernel, C)
    batch, rows, columns = windows.shape[:3]
    depthwise = w.shape[1] == 1 and groups == len(w)
    parts = []
    for number, filters in enumerate(np.split(w, groups)):
        channels = slice(number * w.shape[1], (number + 1) * w.shape[1])
        flat = windows[..., channels].reshape(batch * rows * columns, -1)
        weights = np.moveaxis(filters, 1, -1).reshape(len(filters), -1).T
        zeros = np.broadcast_to(w_zero, len(w))[number * len(filters) :][: len(filters)]
        parts.append(_sums(flat, weights, x_zero, zeros, EXACT if depthwise else limits))
    total = np.concatenate(parts, axis=1) + (bias[0] if bias else np.int32(0))
    y = _requantized(total, (x_scale * w_scale) / y_scale, y_zero)
    y = y.reshape(batch, rows, columns, len(w))
    return y if last else np.moveaxis(y, -1, 1)


def _product(inputs: list[Any], own: dict[str, Any], limits: tuple[int, int]) -> NDArray[Any]:
    """QGemm, QLinearMatMul and MatMulInteger with weights of two dimensions."""
    if len(inputs) < 6:
        x, w, x_zero, w_zero = (*inputs, np.uint8(0), np.int8(0))[:4]
        return _sums(x.reshape(-1, x.shape[-1]), w, x_zero, w_zero, limits).reshape(
            *x.shape[:-1], -1
        )
    x, x_scale, x_zero, w, w_scale, w_zero, *rest = inputs
    x = x.T if own.get("transA") else x
    w = w.T if own.get("transB") else w
    bias = rest.pop(0) if "alpha" in own else np.int32(0)
    total = _sums(x.reshape(-1, x.shape[-1]), w, x_zero, w_zero, limits) + bias
    scale = np.float32(own.get("alpha", 1)) * x_scale * w_scale
    if len(rest) < 2:
        return total.astype(np.float32) * scale
    y = _requantized(total, scale / rest[0], rest[1])
    return y.reshape(*x.shape[:-1], w.shape[1])


def _sums(
    rows: NDArray[np.uint8], weights: NDArray[Any], x_zero: Any, w_zero: Any, limits: Any
) -> NDArray[np.int32]:
    """Products of rows (R, K) and weights (K, N), less their zero points; int8 weights saturate."""
    assert rows.dtype == np.uint8, rows.dtype
    odd = rows.shape[1] % 2
    raw = np.zeros((len(rows), weights.shape[1]), np.int32)
    _add_pairs(
        np.pad(rows, ((0, 0), (0, odd))).astype(np.int32),
        np.ascontiguousarray(np.pad(weights, ((0, odd), (0, 0))).astype(np.int32)),
        *(limits if weights.dtype == np.int8 else EXACT),
        raw,
    )
    x_zero, w_zero = np.int32(x_zero), np.asarray(w_zero, np.int32)
    raw -= x_zero * weights.sum(axis=0, dtype=np.int32)
    raw -= w_zero * rows.sum(axis=1, dtype=np.int32, keepdims=True)
    return raw + x_zero * w_zero * np.int32(len(weights))


@njit(nogil=True, cache=True)
def _add_pairs(rows, weights, low, high, out):  # type: ignore[no-untyped-def]
    low, high = np.int32(low), np.int32(high)
    for r in range(rows.shape[0]):
        for k in range(0, rows.shape[1], 2):
            a, b = rows[r, k], rows[r, k + 1]
            for n in range(out.shape[1]):
                pair = np.int32(a * weights[k, n] + b * weights[k + 1, n])
                out[r, n] += min(max(pair, low), high)


def _requantized(total: NDArray[np.int32], scale: Any, zero: Any) -> NDArray[np.uint8]:
    """Scaled in float32, clipped, and rounded to nearest, ties to even."""
    info, zero = np.iinfo(zero.dtype), zero.astype(np.float32)
    scaled = total.astype(np.float32) * np.float32(scale)
    return (np.rint(scaled.clip(info.min - zero, info.max - zero)) + zero).astype(info.dtype)
