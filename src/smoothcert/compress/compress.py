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
"""Package to the extra that installs it; everything else is in `torch`."""


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
        out: the file to write; its folder is made if needed, and its suffix must be the target's
            (`.onnx`, `.pt2`, or the original's for pruning and rounded weights). It appears
            complete, after the model was loaded and run once, or not at all. An ONNX model
            above 2 GB has its tensors in a separate file, `NAME.onnx.data`.
        inputs: data to calibrate or train on, preferably the training split; also the example
            that an export to another format needs. Fine-tuning needs its labels.
        sigma: noise on that data, as the model will see noisy inputs.
        seed: seed of the noise and of everything else drawn at random.
        held_out: labelled inputs not used for training or calibration. With them and sigma, the
            accuracy of the original and of the result is measured, on at most 512 of them.
        overwrite: replace an existing `out`, even if it is the original.
        progress: called with (epochs done, mean loss) after every epoch, by targets that train.

    Returns:
        A report of what was changed.

    Raises:
        InvalidInput: an unknown target, one that needs data or sigma and got none, or a file
            that already exists.
        ModelError: the model cannot be approximated this way.
        StoreError: the file cannot be written.
        MissingExtra: a package is not installed.
    """
    kind, _, argument = target.partition(":")
    if kind not in TARGETS:
        near = did_you_mean(kind, TARGETS) or "."
        raise InvalidInput(f"There is no target {target!r}. Targets: {', '.join(TARGETS)}{near}")
    request = Request(str(model), target, argument, Path(out), inputs, sigma, seed, progress)
    require_new_file(request.out, overwrite)
    try:
        with quiet():  # torchao prints while it is imported
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
    """The report of the written model, after a trial, and measured if there is data for it."""
    try:
        change = replace(write(request), bytes_after=bytes_of(request.out))
        written = tried(request)
    except ModelError as error:
        if error.__cause__ is not None:  # from a library: the original itself may be at fault
            run_on_grey(load_classifier(request.model), request.inputs)
        raise
    if held_out is None or held_out.labels is None or request.sigma is None:
        return change
    original = load_classifier(request.model)
    return with_accuracy(change, original, written, held_out, request.sigma, request.seed)
