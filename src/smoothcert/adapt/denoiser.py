"""A denoiser as an ONNX graph, from noisy images to clean ones."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, inliner

from smoothcert.adapt.denoiser_ends import Ends, ends_of, sizes_of_both
from smoothcert.adapt.front import Chain
from smoothcert.adapt.shapes import Dims, shown
from smoothcert.classifiers.denoising import Denoising
from smoothcert.classifiers.loading import checked_file
from smoothcert.classifiers.onnx_files import not_loaded, opened
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress import onnx_graph
from smoothcert.errors import ModelError

_OPSET = 13
"""The first operator set with all that the nodes around a denoiser need."""

Images = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DenoiserGraph:
    """A denoiser with the operations around it.

    Attributes:
        model: takes one tensor, float32 images (B, C, H, W) in [0, 1] with noise, and gives clean
            ones; without functions of its own.
        rows: the only batch size that it takes; None for any.
        by_hand: what it should compute, by the denoiser as it is.
        fingerprint: of the denoiser, 32 hex digits.
        rounds: whether it computes in float16, whose rounding a runtime may leave out.
    """

    model: onnx.ModelProto
    rows: int | None
    by_hand: Callable[[Images], Images]
    fingerprint: str
    rounds: bool = False


def denoiser_graph(wanted: Denoising, dims: Dims) -> DenoiserGraph:
    """The graph of a denoiser, which is an ONNX file or a torch model.

    Args:
        wanted: which, and how it is called.
        dims: what is known of the images' shape (B, C, H, W); an unknown size is a word.

    Raises:
        ModelError: the denoiser cannot be read or exported, or takes something else.
    """
    reference = ModelReference.parse(wanted.model)
    if reference.path is None or reference.path.suffix != ".onnx":
        return _of_torch(wanted, dims)
    try:
        return _of_onnx(wanted, reference, checked_file(reference.path), dims)
    except ModelError as error:
        raise ModelError(f"The denoiser {wanted.model}: {error}") from error


def _of_torch(wanted: Denoising, dims: Dims) -> DenoiserGraph:
    import torch

    from smoothcert.classifiers.loading import behind_denoiser
    from smoothcert.classifiers.pytorch import TorchClassifier
    from smoothcert.compress.export import to_onnx

    nothing = TorchClassifier.of(torch.nn.Identity(), "images", "cpu")
    whole = behind_denoiser(wanted, nothing, "cpu")
    takes = whole.takes or (0,) * len(dims)
    sizes = sizes_of_both(["", *[size or "" for size in takes[1:]]], dims)
    known = tuple(size for size in sizes if isinstance(size, int))
    if len(known) < len(sizes):
        raise ModelError(
            f"The sizes of the images are not known ({shown(dims)}), and the denoiser "
            f"{wanted.model} does not state them. Give it as a .pt2 or an ONNX file."
        )
    with TemporaryDirectory() as folder:
        file = Path(folder) / "denoiser.onnx"
        to_onnx(whole.module, known, file)
        model = inliner.inline_local_functions(onnx_graph.read(file))

    def by_hand(images: Images) -> Images:
        with torch.no_grad():
            return whole.module(torch.from_numpy(images)).numpy()

    return DenoiserGraph(model, None, by_hand, whole.fingerprint)


def _of_onnx(wanted: Denoising, reference: ModelReference, path: Path, dims: Dims) -> DenoiserGraph:
    if reference.preprocessing or reference.architecture:
        raise ModelError("an ONNX denoiser is a file alone, or with #NAME of its output.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # its errors are raised too
    try:
        fingerprint = opened(path)[1]
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        model = inliner.inline_local_functions(onnx_graph.read(path))
    except ModelError:
        raise
    except Exception as error:  # protobuf and the runtime each have their own kinds
        raise not_loaded(path, error) from error
    model = onnx_graph.with_opset(model, _OPSET)
    ends = ends_of(model, reference, wanted)
    sizes = sizes_of_both(ends.dims, dims)
    _surround(model, ends, wanted, sizes)

    def by_hand(images: Images) -> Images:
        return np.concatenate(
            [_run(session, ends, wanted, row) for row in np.split(images, len(images))]
        )

    return DenoiserGraph(model, ends.rows, by_hand, fingerprint, ends.kind is np.float16)


def _run(session: Any, ends: Ends, wanted: Denoising, row: Images) -> Images:
    """One image through the denoiser, and NumPy around it."""
    values = 2 * row - 1 if wanted.low else row
    if wanted.schedule:
        values = np.float32(math.sqrt(wanted.kept)) * values
    rows = ends.rows or 1
    given = {ends.images: np.repeat(values, rows, 0).astype(ends.kind)}
    if ends.time is not None:
        given[ends.time] = ends.times(rows)
    try:
        found = np.asarray(session.run([ends.output], given)[0])
    except Exception as error:  # the runtime's exceptions have no common public base
        raise ModelError(
            f"the denoiser failed on a batch of shape {given[ends.images].shape}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    if found.shape != given[ends.images].shape:
        raise ModelError(
            f"the denoiser gives {found.shape[1:]} for images of shape {row.shape[1:]}; it must "
            "give the same shape. Name another output after a #, if it has one."
        )
    found = found[:1].astype(np.float32)
    if np.isnan(found).all():
        raise ModelError(
            "the denoiser gives NaN for every value. Check its weights, and denoiser_range."
        )
    if wanted.predicts == "noise":
        spread = math.sqrt(1 - wanted.kept) if wanted.schedule else 1.0
        found = (values - np.float32(spread) * found) / np.float32(math.sqrt(wanted.kept))
    found = found.clip(wanted.low, 1)
    return (found + np.float32(1)) / np.float32(2) if wanted.low else found


def _surround(model: onnx.ModelProto, ends: Ends, wanted: Denoising, sizes: Dims) -> None:
    """Put the scales, the time and what follows from what is predicted into a denoiser's graph."""
    before = Chain(f"{onnx_graph.FRONT}noisy", f"{onnx_graph.FRONT}noisy_")
    if wanted.low:
        before.constant("Mul", np.float32(2))
        before.constant("Sub", np.float32(1))
    if wanted.schedule:
        before.constant("Mul", np.float32(math.sqrt(wanted.kept)))
    noisy = before.last
    before.add("Cast", to=helper.np_dtype_to_tensor_dtype(np.dtype(ends.kind)))
    before.nodes[-1].output[0] = ends.images
    after = Chain(ends.output, f"{onnx_graph.FRONT}clean_")
    after.add("Cast", to=TensorProto.FLOAT)
    if wanted.predicts == "noise":
        if wanted.schedule:
            after.constant("Mul", np.float32(math.sqrt(1 - wanted.kept)))
        after.add("Neg")
        after.add("Add", noisy)
        if wanted.schedule:
            after.constant("Div", np.float32(math.sqrt(wanted.kept)))
    after.add("Clip", after.store(np.float32(wanted.low)), after.store(np.float32(1)))
    if wanted.low:
        after.constant("Add", np.float32(1))
        after.constant("Div", np.float32(2))
    times = _times(ends, before.first)
    graph = model.graph
    nodes = [*before.nodes, *times.nodes, *graph.node, *after.nodes]
    graph.initializer.extend([*before.constants, *times.constants, *after.constants])
    shape = [ends.rows or "batch", *sizes]
    inputs = [helper.make_tensor_value_info(before.first, TensorProto.FLOAT, shape)]
    inputs += [one for one in graph.input if one.name not in (ends.images, ends.time)]
    outputs = [helper.make_tensor_value_info(after.last, TensorProto.FLOAT, shape)]
    for field, values in (("node", nodes), ("input", inputs), ("output", outputs)):
        kept = [type(one).FromString(one.SerializeToString()) for one in values]
        graph.ClearField(field)
        getattr(graph, field).extend(kept)
    model.ir_version = max(model.ir_version, onnx_graph.INITIALIZERS)


def _times(ends: Ends, images: str) -> Chain:
    """The time of every image of a batch; nothing for a denoiser without one."""
    chain = Chain(images, f"{onnx_graph.FRONT}times_")
    if ends.time is None:
        return chain
    if ends.time_axes == (0,):
        chain.add("Shape")
        chain.add("Slice", chain.store(np.array([0])), chain.store(np.array([1])))
    else:
        chain.last = chain.store(np.array(ends.time_axes, np.int64))
    value = helper.make_tensor(
        "value",
        helper.np_dtype_to_tensor_dtype(ends.times(1).dtype),
        [1],
        ends.times(1).ravel()[:1],
    )
    chain.add("ConstantOfShape", value=value)
    chain.nodes[-1].output[0] = ends.time
    return chain
