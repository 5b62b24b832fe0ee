"""compress: an approximation of a model as a file."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli import options

if TYPE_CHECKING:
    from smoothcert.cli.data_source import DataSource
    from smoothcert.data.inputs import Inputs


def compress(
    model: options.Model,
    to: options.Target,
    out: options.Out,
    data: Annotated[str | None, typer.Option(help="Calibration, training or example data.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Noise for calibration, training and measuring accuracy.")
    ] = None,
    split: options.Split = "train",
    test_split: Annotated[
        str, typer.Option(help="Split for measuring accuracy, if the data has it and labels.")
    ] = "test",
    grid: options.Grid = None,
    size: options.Size = None,
    channels: options.Channels = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a compressed version of a model.

    It is a file that the other commands read.
    """
    from smoothcert.cli.data_source import DataSource

    source = DataSource(data, split, grid, None, 1, size, channels) if data else None
    _compress(model, to, out, source, test_split, sigma, seed, overwrite, json)


def _compress(
    model: str,
    target: str,
    out: Path,
    source: "DataSource | None",
    test_split: str,
    sigma: float | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write an approximation, say what changed, and what that cost in accuracy."""
    from smoothcert.classifiers.reference import ModelReference
    from smoothcert.cli import console
    from smoothcert.cli.resources import Device
    from smoothcert.compress import compress
    from smoothcert.files import require_new_file
    from smoothcert.vocabulary import CHECKPOINTS

    require_new_file(out, overwrite)
    with console.waiting(f"Compressing to {target}") as update:

        def progress(epoch: int, mean: float) -> None:
            show = update if console.is_live(console.errors) else console.say
            show(f"Epoch {epoch}: loss {mean:.4f}")

        inputs = source.load_and_describe() if source else None
        missing = [name for name, given in (("--data", source), ("--sigma", sigma)) if not given]
        held_out, reason = None, f"give {' and '.join(missing)}"
        if source and inputs and sigma:
            held_out, reason = _held_out(source, test_split, inputs)
        change = compress(
            *(model, target, out),
            inputs=inputs,
            sigma=sigma,
            seed=seed,
            held_out=held_out,
            overwrite=overwrite,
            progress=progress,
        )
    if ModelReference.parse(model).file.endswith((".safetensors", *CHECKPOINTS)):
        Device().load(model)  # which says what was put before the weights
    if as_json:
        found = asdict(change) | {"path": str(out), "nothing_changed": change.nothing_changed}
        console.show_json(found | {"accuracy_not_measured": reason or None})
    else:
        lacking = f"; accuracy not measured: {reason}" if reason else ""
        output = ModelReference.parse(model).output if out.suffix == ".onnx" else ""
        written = f"{out}#{output}" if output else str(out)
        console.say(f"{change.describe().rstrip('.')}{lacking}. Written to {written}")


def _held_out(source: "DataSource", split: str, inputs: "Inputs") -> "tuple[Inputs | None, str]":
    """The labelled inputs of another split, or None and why there are none but these."""
    from smoothcert.errors import InvalidInput

    if split == source.split:
        return None, f"the split {split!r} was used to make it; name another with --test-split"
    try:
        found = replace(source, split=split).load()
    except InvalidInput:
        return None, f"{source.data} has no split {split!r} that can be read; see --test-split"
    # A single file has no splits, and gives the same inputs whatever the split is called.
    same = len(found) == len(inputs) and found.item(0).content == inputs.item(0).content
    if same:
        return None, f"{source.data} has only these inputs, which were used to make it"
    return (None, f"the split {split!r} has no labels") if found.labels is None else (found, "")
