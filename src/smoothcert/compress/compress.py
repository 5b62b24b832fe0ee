"""From a target's name to the module that does it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.chain import steps_of, suffixes_of, whole
from smoothcert.compress.measure import with_accuracy
from smoothcert.compress.record import CompressionReport
from smoothcert.compress.request import Request
from smoothcert.compress.written import run_on_grey, tried, written_whole
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, MissingExtra, ModelError, StoreError
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
        target: one of `vocabulary.TARGETS`; `prune:0.2` prunes 20 %. With a plus between them,
            several are done one after the other, as if each read the file of the one before:
            `lowrank:0.5+int8-weights`. Only the last file is kept.
        out: the file to write; its folder is made if needed, and its suffix must be the target's
            (`.onnx`, `.pt2`, or the original's for pruning and rounded weights). It appears
            complete, after the model was loaded and run once, or not at all. An ONNX model
            above 2 GB has its tensors in a separate file, `NAME.onnx.data`.
        inputs: data to calibrate or train on, preferably the training split; also the example
            that an export to another format needs. Fine-tuning needs its labels.
        sigma: noise on that data, as the model will see noisy inputs. For calibration and for the
            accuracy it is draw 0 of each input in the stream `PROBE`, which no certification counts
            whatever its seed; training draws from torch's own generator, not from streams. Every
            step sees the same draws.
        seed: seed of the noise and of everything else drawn at random.
        held_out: labelled inputs not used for training or calibration. With them and sigma, the
            accuracy of the original and of the result is measured, on at most 512 of them.
        overwrite: replace an existing `out`, even if it is the original.
        progress: called with (epochs done, mean loss) after every epoch, by targets that train.

    Returns:
        A report of what was changed.

    Raises:
        InvalidInput: an unknown target, one that needs data or sigma and got none, or a file
            that already exists; or steps that do not fit together.
        ModelError: the model cannot be approximated this way. Of several steps, the error names the
            one that failed.
        StoreError: the file cannot be written.
        MissingExtra: a package is not installed.
    """
    steps = steps_of(target)
    request = Request(str(model), target, "", Path(out), inputs, sigma, seed, progress)
    require_new_file(request.out, overwrite)
    suffixes = suffixes_of(steps, request.reference, request.out.suffix)
    try:
        with written_whole(request.out, overwrite) as aside, TemporaryDirectory() as folder:
            names = [f"step{n}-{s.partition(':')[0]}" for n, s in enumerate(steps[:-1], 1)]
            between = [Path(folder) / f"{n}{s}" for n, s in zip(names, suffixes, strict=False)]
            change = _made(replace(request, out=aside), steps, between, held_out)
    except ModuleNotFoundError as error:
        name = error.name or "torch"
        package = name.partition(".")[0]
        raise MissingExtra(name, _EXTRAS.get(package, "torch")) from error
    return replace(change, path=request.out)


def _made(
    request: Request, steps: Sequence[str], between: Sequence[Path], held_out: Inputs | None
) -> CompressionReport:
    """The report of the written model, measured if there is data for it."""
    done: list[_Written] = []
    for number, (step, out) in enumerate(zip(steps, (*between, request.out), strict=True), 1):
        model = done[-1].model if done else request.model
        argument = step.partition(":")[2]
        one = replace(request, model=model, target=step, argument=argument, out=out)
        with _named(f"Step {number} of {request.target}, {step}: " if between else "", between):
            done.append(_step(one))
    change = whole([one.change for one in done])
    if held_out is None or held_out.labels is None or request.sigma is None:
        return change
    original, written = load_classifier(request.model), done[-1].classifier
    return with_accuracy(change, original, written, held_out, request.sigma, request.seed)


@dataclass(frozen=True)
class _Written:
    """What a step has written: the reference, the model loaded from it, and the report."""

    model: str
    classifier: Classifier
    change: CompressionReport


def _step(request: Request) -> _Written:
    """Write a model and try it."""
    with quiet():  # torchao prints while it is imported
        module = import_module(f"smoothcert.compress.{TARGETS[request.kind].module}")
    try:
        change = module.write(request)
        return _Written(request.written, tried(request), change)
    except ModelError as error:
        if error.__cause__ is not None:  # from a library: the original itself may be at fault
            run_on_grey(load_classifier(request.model), request.inputs)
        raise


@contextmanager
def _named(step: str, between: Sequence[Path]) -> Iterator[None]:
    """Errors of a step begin with it, and have the files between steps without their folder."""
    try:
        yield
    except (InvalidInput, ModelError, StoreError) as error:
        if not step:
            raise
        text = str(error)
        for file in between:
            text = text.replace(str(file), file.name)
        raise type(error)(f"{step}{text}") from error
