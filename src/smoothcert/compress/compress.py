"""From a target's name to the module that does it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from smoothcert.compress.record import Change
from smoothcert.compress.request import Request
from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.sampling.inputs import Inputs

TARGETS = {
    "int8": ("int8", "static int8: integer convolutions and matrix products (.onnx)"),
    "bf16": ("precision", "bfloat16 weights and arithmetic (torch models; .pt2)"),
    "fp16": ("precision", "float16 weights and arithmetic (torch models; .pt2)"),
    "prune": ("prune", "prune:F sets the fraction F of the weights, the smallest, to zero"),
    "prune-layers": ("prune", "prune-layers:F does so in each layer by itself"),
    "prune-channels": ("channels", "prune-channels:F removes the fraction F of inner channels"),
    "lowrank": ("lowrank", "lowrank:F factorizes layers to the fraction F of their rank"),
    "distill": ("distill", "distill:ARCH or distill:ARCH,EPOCHS trains a student of the zoo"),
    "finetune": ("finetune", "finetune:EPOCHS trains on; weights that are zero stay zero"),
    "onnx": ("export", "no approximation: the same float32 network (.onnx)"),
}
"""Name of a target to the module of this folder whose `write(request)` makes it, and a line of
help. `NAME:ARGUMENT` gives the module an argument."""


def compress(
    model: str | Path,
    target: str,
    out: str | Path,
    *,
    inputs: Inputs | None = None,
    sigma: float | None = None,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Change:
    """Write an approximation of a model.

    Args:
        model: a reference to a file or a factory, as `load_classifier` takes.
        target: one of `TARGETS`; `prune:0.2` prunes 20 %.
        out: the file to write; its suffix must be the target's (`.onnx`, `.pt2`, or the
            original's own for pruning).
        inputs: data to calibrate or train on, best the training split; also the example that
            an export to another format needs. Fine-tuning needs its labels.
        sigma: noise on that data, as the model will see noisy inputs.
        seed: of the noise, and of whatever else is drawn at random.
        progress: called with (epochs done, mean loss) after every epoch, by targets that train.

    Returns:
        What was changed.

    Raises:
        InvalidInput: an unknown target, or one that needs data or sigma and got none.
        ModelError: the model cannot be approximated this way.
        MissingExtra: a package is not installed.
    """
    kind, _, argument = target.partition(":")
    if kind not in TARGETS:
        raise InvalidInput(f"There is no target {target!r}; there are: {', '.join(TARGETS)}.")
    request = Request(str(model), target, argument, Path(out), inputs, sigma, seed, progress)
    try:
        return import_module(f"smoothcert.compress.{TARGETS[kind][0]}").write(request)
    except ModuleNotFoundError as error:
        extra = "onnx" if (error.name or "").startswith("onnx") else "torch"
        raise MissingExtra(error.name or "torch", extra) from error
