"""From a target's name to the module that does it."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.measure import with_accuracy
from smoothcert.compress.record import CompressionReport
from smoothcert.compress.request import Request, bytes_of
from smoothcert.compress.written import run_on_grey, tried, written_whole
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, MissingExtra, ModelError, did_you_mean
from smoothcert.files import require_new_file
from smoothcert.vocabulary import TARGETS

_EXTRAS = {"onnx": "onnx", "onnxruntime": "onnx", "ml_dtypes": "onnx", "torchao": "quant"}
"""Package to the extra that installs it; everything else comes with `torch`."""


def compress(
    model: str | Path,
    target: str,
    out: str | Path,
    *,
    inputs: Inputs | None = None,
    sigma: float | None = None,
    seed: int = 0,
    held_out: Inputs | None = None,
    overwrite: bool = False,
    progress: Callable[[int, float], None] | None = None,
) -> CompressionReport:
    """Write an approximation of a model.

    Args:
        model: a reference to a file or a factory, as `load_classifier` takes.
        target: one of `vocabulary.TARGETS`; `prune:0.2` prunes 20 %.
        out: the file to write; its folder is made if need be, and its suffix must be the
            target's (`.onnx`, `.pt2`, or the original's own for pruning and rounded weights).
            It appears whole, after the model was loaded and run once, or not at all. An ONNX
            model above 2 GB has its tensors in a file beside it, `NAME.onnx.data`.
        inputs: data to calibrate or train on, best the training split; also the example that
            an export to another format needs. Fine-tuning needs its labels.
        sigma: noise on that data, as the model will see noisy inputs.
        seed: of the noise, and of whatever else is drawn at random.
        held_out: labelled inputs that were not trained or calibrated on. With them and sigma
            the accuracy of the original and the result is measured, on 512 of them at most.
        overwrite: replace what is at `out`, even if it is the original.
        progress: called with (epochs done, mean loss) after every epoch, by targets that train.

    Returns:
        What was changed.

    Raises:
        InvalidInput: an unknown target, one that needs data or sigma and got none, or a file
            that is there already.
        ModelError: the model cannot be approximated this way.
        StoreError: the file cannot be written.
        MissingExtra: a package is not installed.
    """
    kind, _, argument = target.partition(":")
    if kind not in TARGETS:
        near = did_you_mean(kind, TARGETS) or "."
        raise InvalidInput(f"There is no target {target!r}; there are: {', '.join(TARGETS)}{near}")
    request = Request(str(model), target, argument, Path(out), inputs, sigma, seed, progress)
    require_new_file(request.out, overwrite)
    try:
        with quiet():  # torchao speaks while it is imported
            module = import_module(f"smoothcert.compress.{TARGETS[kind].module}")
        with written_whole(request.out, overwrite) as aside:
            change = _made(module.write, replace(request, out=aside), held_out)
    except ModuleNotFoundError as error:
        name = error.name or "torch"
        package = name.partition(".")[0]
        raise MissingExtra(name, _EXTRAS.get(package, "torch")) from error
    return replace(change, path=request.out)


def _made(
    write: Callable[[Request], CompressionReport], request: Request, held_out: Inputs | None
) -> CompressionReport:
    """The change that was written, once it was tried, and measured if there is data for it."""
    try:
        change = replace(write(request), bytes_after=bytes_of(request.out))
        written = tried(request)
    except ModelError as error:
        if error.__cause__ is not None:  # of a library: the original itself may be what is wrong
            run_on_grey(load_classifier(request.model), request.inputs)
        raise
    if held_out is None or held_out.labels is None or request.sigma is None:
        return change
    original = load_classifier(request.model)
    return with_accuracy(change, original, written, held_out, request.sigma, request.seed)
