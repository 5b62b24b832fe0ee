"""Magnitude pruning over the whole network: the smallest weights become zero."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.loading import file_of, load_classifier
from smoothcert.compress.record import Change
from smoothcert.compress.request import Request
from smoothcert.errors import ModelError


def write(request: Request) -> Change:
    """Prune the convolution and linear weights of an ONNX or safetensors model.

    Weights are the floating tensors of two dimensions or more; biases and normalization stay,
    as in Ugare et al. (2024). The threshold is one for the whole network.
    """
    model, out, fraction = request.model, request.out, request.fraction()
    architecture, file = file_of(model) or ("", Path())
    if file.suffix not in (".onnx", ".safetensors"):
        raise ModelError(
            f"Pruning rewrites the weights of an .onnx or .safetensors file; got {model!r}. "
            "Convert first with --to onnx."
        )
    request.check_suffix(file.suffix)
    load_classifier(model)  # a wrong reference fails here, with its own message
    if file.suffix == ".onnx":
        before, after = _prune_onnx(file, fraction, out)
    else:
        before, after = _prune_safetensors(architecture, file, fraction, out)
    changed = [int((before[key] != after[key]).sum()) for key in before]
    return Change(
        path=out,
        method=f"the smallest {100 * fraction:g} % of the weights set to zero",
        tensors_changed=sum(1 for count in changed if count),
        tensors=len(before),
        fraction_changed=sum(changed) / max(1, sum(w.size for w in before.values())),
        bytes_before=file.stat().st_size,
        bytes_after=out.stat().st_size,
    )


def without_smallest(weights: Mapping[str, NDArray], fraction: float) -> dict[str, NDArray]:
    """The weights with the smallest magnitudes, over all tensors together, set to zero."""
    if not weights:
        raise ModelError("The model has no weight tensors of two dimensions or more to prune.")
    magnitudes = np.concatenate([np.abs(w).ravel() for w in weights.values()])
    count = int(fraction * magnitudes.size)
    if count == 0:
        return dict(weights)
    threshold = np.partition(magnitudes, count - 1)[count - 1]
    return {key: np.where(np.abs(w) <= threshold, 0, w) for key, w in weights.items()}


def _prune_onnx(file: Path, fraction: float, out: Path) -> tuple[dict, dict]:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(file)
    tensors = {t.name: t for t in model.graph.initializer if len(t.dims) > 1}
    arrays = {name: numpy_helper.to_array(t) for name, t in tensors.items()}
    before = {name: w for name, w in arrays.items() if np.issubdtype(w.dtype, np.floating)}
    after = without_smallest(before, fraction)
    for name, weights in after.items():
        array = weights.astype(before[name].dtype)
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, out)
    return before, after


def _prune_safetensors(
    architecture: str, file: Path, fraction: float, out: Path
) -> tuple[dict, dict]:
    import torch

    from smoothcert import zoo
    from smoothcert.classifiers.pytorch import read_weights, save_weights

    state, metadata = read_weights(file)
    before = {k: t.numpy() for k, t in state.items() if t.ndim > 1 and t.dtype == torch.float32}
    after = without_smallest(before, fraction)
    pruned = {k: torch.from_numpy(after[k]) if k in after else t for k, t in state.items()}
    architecture = architecture or metadata["architecture"]
    save_weights(zoo.rebuild(architecture, pruned), architecture, out, pruned=fraction)
    return before, after
