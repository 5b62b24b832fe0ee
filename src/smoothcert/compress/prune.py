"""Magnitude pruning: the smallest weights become zero, over the whole network or in each layer.

The weights are the file's. A torch network keeps batch normalization separate, while the ONNX
exporter folds it into the convolutions, which scales every filter: the two formats of one network
rank their weights differently, so pruning before and after `--to onnx` differs.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.loading import load_classifier
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request, part
from smoothcert.errors import ModelError

if TYPE_CHECKING:
    import onnx

Weights = Mapping[str, NDArray[Any]]


def write(request: Request) -> CompressionReport:
    """Prune the convolution and linear weights of an ONNX, safetensors or other torch model.

    Biases and normalization stay, as in Ugare et al. (2024). `prune` ranks all weights of the
    network together, `prune-layers` those of each tensor separately.
    """
    fraction = request.fraction()
    pruned, of = {
        "prune": (without_smallest, "the weights"),
        "prune-layers": (without_smallest_of_each, "each layer's weights"),
    }[request.kind]
    before, after = _rewriter(request)(request, lambda weights: pruned(weights, fraction))
    said = f"the smallest {100 * fraction:g} % of {of} set to zero"
    return request.report(said, differences(before, after))


def _rewriter(request: Request) -> "Callable[..., tuple[Weights, Weights]]":
    """What rewrites the weights of such a model; the file to write is of the same kind."""
    if request.file.suffix == ".onnx":
        request.check_suffix(".onnx")
        return _rewrite_onnx
    if request.reference.is_of_the_zoo and request.out.suffix != ".pt2":
        request.check_suffix(".safetensors")
        return _rewrite_safetensors
    from smoothcert.compress import torch_weights

    return torch_weights.rewrite


def without_smallest(weights: Weights, fraction: float) -> dict[str, NDArray[Any]]:
    """The weights with the smallest magnitudes, over all tensors together, set to zero.

    The fraction is rounded down to a whole number of weights; of equal ones, the first are chosen.
    """
    if not weights:
        raise ModelError("The model has no weight tensors of convolutions or linear layers.")
    flat = np.concatenate([w.ravel() for w in weights.values()])
    flat[np.argsort(np.abs(flat), kind="stable")[: part(fraction, flat.size)]] = 0
    ends = np.cumsum([w.size for w in weights.values()])[:-1]
    pieces = np.split(flat, ends)
    return {
        key: piece.reshape(w.shape).astype(w.dtype)
        for (key, w), piece in zip(weights.items(), pieces, strict=True)
    }


def without_smallest_of_each(weights: Weights, fraction: float) -> dict[str, NDArray[Any]]:
    """In each tensor, the weights with the smallest magnitudes set to zero."""
    if not weights:
        return without_smallest(weights, fraction)
    return {key: without_smallest({key: w}, fraction)[key] for key, w in weights.items()}


def _rewrite_onnx(
    request: Request, pruned: Callable[[Weights], Weights]
) -> tuple[Weights, Weights]:
    from onnx import numpy_helper

    from smoothcert.compress.onnx_graph import read, save

    load_classifier(request.model)  # a wrong reference fails here, with its own message
    model = read(request.file)
    weights_of_layers = _names_of_weights(model.graph)
    tensors = {t.name: t for t in model.graph.initializer if t.name in weights_of_layers}
    arrays = {name: numpy_helper.to_array(t) for name, t in tensors.items()}
    before = {name: w for name, w in arrays.items() if np.issubdtype(w.dtype, np.floating)}
    after = pruned(before)
    for name, weights in after.items():
        tensors[name].CopyFrom(numpy_helper.from_array(weights, name))
    save(model, request.out)
    return before, after


def _names_of_weights(graph: "onnx.GraphProto") -> set[str]:
    """The weights that convolutions and matrix products multiply by, also after a reshape.

    Other constants of several dimensions, such as a normalization's divisors, must not be zero.
    """
    names: set[str] = set()
    for node in reversed(graph.node):  # nodes are in the order of computation
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            names |= set(node.input[:2])
        elif node.op_type in ("Identity", "Transpose", "Reshape", "Cast") and (
            node.output[0] in names
        ):
            names.add(node.input[0])
    return names


def _rewrite_safetensors(
    request: Request, pruned: Callable[[Weights], Weights]
) -> tuple[Weights, Weights]:
    import torch

    from smoothcert import zoo
    from smoothcert.classifiers.pytorch import save_weights

    architecture, state = request.zoo_source()
    before = {k: t.numpy() for k, t in state.items() if t.ndim > 1 and t.dtype == torch.float32}
    after = pruned(before)
    network = zoo.rebuild(architecture, state | {k: torch.from_numpy(w) for k, w in after.items()})
    save_weights(network, architecture, request.out, compressed=request.target)
    return before, after
