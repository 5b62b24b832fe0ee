"""What an ONNX denoiser takes and gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from smoothcert.adapt.front import dims_of
from smoothcert.adapt.shapes import Dims, shown
from smoothcert.classifiers.denoising import Denoising
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress.onnx_graph import inputs_of
from smoothcert.errors import ModelError

_FLOATS: dict[int, type] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
}
_WHOLE: dict[int, type] = {TensorProto.INT64: np.int64, TensorProto.INT32: np.int32}


@dataclass(frozen=True)
class Ends:
    """The tensors at the ends of a denoiser's graph.

    Attributes:
        images: name of the input that is the noisy images.
        kind: their type.
        dims: their sizes as the graph states them; empty if it states none.
        time: name of the second input; None if there is none.
        time_kind: its type.
        time_axes: () for one number, (1,) for a row of one, (0,) for one for each image.
        second: its value.
        output: name of the output that is the image or noise.
    """

    images: str
    kind: type
    dims: Dims
    time: str | None
    time_kind: type
    time_axes: tuple[int, ...]
    second: float
    output: str

    @property
    def rows(self) -> int | None:
        """The only batch size; None for any."""
        return next((size for size in self.dims[:1] if isinstance(size, int)), None)

    def times(self, rows: int) -> NDArray[Any]:
        """The second argument of a batch of so many images."""
        return np.full([size or rows for size in self.time_axes], self.second, self.time_kind)


def ends_of(model: onnx.ModelProto, reference: ModelReference, wanted: Denoising) -> Ends:
    """The ends of a denoiser's graph, if it can be called as it should be.

    Raises:
        ModelError: it takes more or less than images (and a time), or what it gives is not clear.
    """
    inputs, second = inputs_of(model), wanted.second
    if len(inputs) != (1 if second is None else 2):
        taken = ", ".join(one.name for one in inputs) or "nothing"
        called = "images alone" if second is None else "images and a time (or sigma)"
        advice = "Say" if second is None else "Leave out"
        raise ModelError(
            f"it takes {taken}, but is called with {called}. {advice} denoiser_time or "
            "denoiser_schedule, or make its other inputs constants of the graph (initializers)."
        )
    kinds = [one.type.tensor_type.elem_type for one in inputs]
    if kinds[0] not in _FLOATS:
        raise ModelError(f"its first input, {inputs[0].name}, must take floats, the images.")
    time = inputs[1] if second is not None else None
    output = _output(model, reference)
    images = (inputs[0].name, _FLOATS[kinds[0]], dims_of(inputs[0]))
    if time is None:
        return Ends(*images, None, np.int64, (), 0, output)
    return Ends(*images, time.name, *_time(time, second or 0), output)


def _time(time: onnx.ValueInfoProto, second: float) -> tuple[type, tuple[int, ...], float]:
    """Its type, its axes and its value."""
    dims, number = dims_of(time), time.type.tensor_type.elem_type
    kind = (_FLOATS | _WHOLE).get(number)
    if kind is None or len(dims) > 1 or (number in _WHOLE and not float(second).is_integer()):
        raise ModelError(
            f"its second input, {time.name} {shown(dims)}, cannot take the time {second:g}: it "
            "must be one number for each image, a float for a time that is not whole."
        )
    return kind, () if not dims else (1,) if dims == [1] else (0,), second


def _output(model: onnx.ModelProto, reference: ModelReference) -> str:
    names = [one.name for one in model.graph.output]
    if reference.output in names:
        return reference.output
    if reference.output or len(names) != 1:
        raise ModelError(
            f"it gives {', '.join(names)}. Name the one that is the image or noise: "
            f"{reference.file}#{names[0]}."
        )
    return names[0]


def sizes_of_both(found: Dims, dims: Dims) -> Dims:
    """The images' sizes (C, H, W), a number where either of two shapes (B, C, H, W) has it.

    Raises:
        ModelError: they take different images.
    """
    pairs = list(zip(found[1:] or dims[1:], dims[1:], strict=False))
    differ = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
    if differ or (found and len(found) != len(dims)):
        raise ModelError(
            f"the denoiser takes images {shown(found)}, and the classifier {shown(dims)}. The "
            "denoiser comes first: where they take different sizes, --resize HEIGHTxWIDTH between "
            "them makes images of its size those of the classifier."
        )
    return [a if isinstance(a, int) else b for a, b in pairs]
