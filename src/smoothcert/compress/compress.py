"""From a target's name to the module that does it."""

from importlib import import_module
from pathlib import Path

from smoothcert.compress.record import Change
from smoothcert.errors import InvalidInput, MissingExtra, ModelError
from smoothcert.sampling.inputs import Inputs

TARGETS = {
    "int8": "static int8: integer convolutions and matrix products (needs data and sigma; .onnx)",
    "bf16": "bfloat16 weights and arithmetic (torch models; .pt2)",
    "fp16": "float16 weights and arithmetic (torch models; .pt2)",
    "prune:F": "the fraction F of the weights with the lowest magnitude set to zero",
    "onnx": "no approximation: the same float32 network as an ONNX file",
}


def compress(
    model: str | Path,
    target: str,
    out: str | Path,
    *,
    inputs: Inputs | None = None,
    sigma: float | None = None,
    seed: int = 0,
) -> Change:
    """Write an approximation of a model.

    Args:
        model: a reference to a file or a factory, as `load_classifier` takes.
        target: one of `TARGETS`; `prune:0.2` prunes 20 %.
        out: the file to write; its suffix must be the target's (`.onnx`, `.pt2`, or the
            original's own for pruning).
        inputs: calibration data for int8, best from the training split; also the example that
            an export to another format needs.
        sigma: calibration noise for int8, as the model will see noisy inputs.
        seed: of the calibration noise.

    Returns:
        What was changed.

    Raises:
        InvalidInput: an unknown target, or one that needs data or sigma and got none.
        ModelError: the model cannot be approximated this way.
        MissingExtra: a package is not installed.
    """
    kind, _, argument = target.partition(":")
    out = Path(out)
    try:
        if kind == "prune":
            module = import_module("smoothcert.compress.prune")
            return module.prune(str(model), _fraction(argument), out)
        if kind in ("bf16", "fp16") and not argument:
            module = import_module("smoothcert.compress.precision")
            return module.reduce_precision(str(model), kind, out, _needed(inputs, kind))
        if kind == "onnx" and not argument:
            module = import_module("smoothcert.compress.export")
            return module.export(str(model), out, _needed(inputs, kind))
        if kind == "int8" and not argument:
            module = import_module("smoothcert.compress.int8")
            if sigma is None:
                raise InvalidInput("int8 is calibrated on noisy inputs: give sigma.")
            return module.quantize(str(model), out, _needed(inputs, kind), sigma, seed)
    except ModuleNotFoundError as error:
        extra = "onnx" if (error.name or "").startswith("onnx") else "torch"
        raise MissingExtra(error.name or "torch", extra) from error
    raise InvalidInput(
        f"There is no target {target!r}; there are: " + ", ".join(TARGETS) + " (F in 0..1)."
    )


def _needed(inputs: Inputs | None, target: str) -> Inputs:
    if inputs is None:
        raise InvalidInput(f"{target} needs example data: give --data.")
    return inputs


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise InvalidInput(f"prune takes a fraction between 0 and 1, as in prune:0.2; got {text!r}")
    return value


def check_suffix(out: Path, suffix: str, target: str) -> None:
    """Raise InvalidInput unless the output is named as the format that will be written."""
    if out.suffix != suffix:
        raise InvalidInput(f"{target} writes a {suffix} file; got {out.name!r}")


def torch_source(model: str):
    """The torch classifier behind a reference, or a ModelError that says what is needed."""
    from smoothcert.classifiers.loading import load_classifier
    from smoothcert.classifiers.pytorch import TorchClassifier

    classifier = load_classifier(model)
    if not isinstance(classifier, TorchClassifier):
        raise ModelError(
            f"{classifier.name} is no torch model. This target needs one: x.pt2, "
            "arch@weights.safetensors or package.module:factory."
        )
    return classifier
