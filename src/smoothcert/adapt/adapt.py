"""From a model as it is deployed to one that takes images in [0, 1]."""

from importlib import import_module
from pathlib import Path
from typing import Any

from smoothcert.adapt.adapted import Adapted
from smoothcert.adapt.seen import Seen
from smoothcert.classifiers.denoising import Denoising
from smoothcert.classifiers.loading import checked_file
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.reference import ModelReference
from smoothcert.errors import InvalidInput, MissingExtra, ModelError
from smoothcert.files import require_new_file

_WRITERS = {".onnx": ("graph", "onnx"), ".pt2": ("program", "torch")}
"""Suffix to the module that adapts such files, and the extra that it needs."""


def adapt(
    model: str | Path,
    out: str | Path,
    wanted: Preprocessing,
    *,
    denoiser: Denoising | None = None,
    overwrite: bool = False,
) -> Adapted:
    """Write a model with preprocessing in front, an ONNX file's batch axis open if possible.

    The new model takes float32 images (B, C, H, W) in [0, 1]. It is run against the original,
    which gets the same images preprocessed by NumPy.

    Args:
        model: an ONNX file, or `x.onnx#logits` to keep only this output; or a `.pt2`.
        out: the file to write, with the same suffix; it appears complete, after the comparison, or
            not at all.
        wanted: what to put in front; bytes are known by the model's input.
        denoiser: what gets the images first: a `.pt2`, weights or a factory; of an ONNX file also
            another one.
        overwrite: replace an existing `out`.

    Raises:
        InvalidInput: `out` exists or has another suffix, or the preprocessing misses something.
        ModelError: the model cannot be read, does not fit the preprocessing, has some in front
            already, or computes something else with it.
        StoreError: the file cannot be written.
        MissingExtra: a package is not installed.
    """
    reference, out = ModelReference.parse(str(model)), Path(out)
    source, module = _writer(reference)
    if out.suffix != source.suffix:
        raise InvalidInput(f"adapt writes a {source.suffix} file; got {out.name!r}")
    require_new_file(out, overwrite)
    return module.write(reference, source, out, wanted, overwrite, denoiser)


def seen(model: str) -> Seen:
    """Look at an ONNX file, `x.onnx#logits` or a `.pt2`, without computing anything.

    Raises:
        ModelError: it is none of them, or cannot be loaded.
        MissingExtra: a package is not installed.
    """
    reference = ModelReference.parse(model)
    source, module = _writer(reference)
    return module.look(reference, source)


def _writer(reference: ModelReference) -> tuple[Path, Any]:
    """The file of a reference, and the module for it."""
    source = reference.path
    plain = not reference.architecture and not reference.preprocessing
    if source is None or checked_file(source).suffix not in _WRITERS or not plain:
        raise ModelError(
            f"adapt takes an ONNX file or a .pt2; got {reference.text}. Another torch model needs "
            'no new file: write the settings to a JSON file, as {"mean": 0.5, "std": 0.5}, and '
            "give every command MODEL+preprocess.json; compress puts them inside."
        )
    name, extra = _WRITERS[source.suffix]
    try:
        return source, import_module(f"smoothcert.adapt.{name}")
    except ImportError as error:
        raise MissingExtra(error.name or name, extra) from error
