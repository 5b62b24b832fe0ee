"""Data and models as the command line names them."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

from smoothcert.classifiers.reference import ModelReference
from smoothcert.cli import display
from smoothcert.compress import twin
from smoothcert.data.datasets import load_inputs
from smoothcert.data.inputs import Inputs
from smoothcert.data.pictures import AS_FIRST
from smoothcert.errors import InvalidInput
from smoothcert.runs.store import Run
from smoothcert.tries import Seed


@dataclass(frozen=True)
class DataSource:
    """A data reference with its selection; stored in a run, so that later commands find it."""

    data: str
    split: str
    grid: str | None
    limit: int | None
    every: int
    size: int | None = None
    channels: int | None = None

    def load(self) -> Inputs:
        """Open the data set; see `load_inputs`."""
        grid = parse_grid(self.grid)
        selection = (self.limit, self.every, self.size, self.channels)
        return load_inputs(self.data, self.split, grid, *selection)

    def told(self, recorded: bool = False) -> Inputs:
        """Open the data set, and say what was read; what a run recorded may have moved."""
        try:
            inputs = self.load()
        except InvalidInput as error:
            if not recorded or self.data == "digits" or os.path.exists(self.data):
                raise
            raise InvalidInput(moved(error, "data", "--data")) from error
        display.say(inputs.describe())
        return inputs

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def moved(error: Exception, what: str, option: str) -> str:
    """The message of an error about what a run recorded, with how to say where it is now."""
    text = str(error).rstrip()
    end = "" if text.endswith((".", "?")) else "."
    return f"{text}{end} The run was made with this {what}: if it moved, say where with {option}."


def parse_grid(text: str | None) -> Fraction | None:
    """`1/255` or `0.5` as a fraction."""
    if text is None:
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(f"--grid is a step such as 1/255; got {text!r}") from None


def parse_seed(text: str, option: str) -> Seed:
    """A whole number, or `random`; its range is checked by who uses it."""
    if text == "random":
        return text
    if not text.isdecimal():
        raise InvalidInput(f"{option} is a whole number in 0..2^64 - 1, or random; got {text!r}")
    return int(text)


def recorded_source(origin: Mapping[str, Any], moved_to: str | None) -> DataSource:
    """The data source that a run recorded, at its new place if it moved."""
    recorded = origin.get("data")
    if not isinstance(recorded, dict):
        raise InvalidInput(
            "The run does not say where its data is; it was not written by the command line. "
            "Use the Python API."
        )
    source = _checked_source(recorded)
    return replace(source, data=moved_to) if moved_to else source


def _checked_source(recorded: Mapping[str, Any]) -> DataSource:
    """The record as a source, if each of its values is of the right kind."""
    kinds = {"data": str, "split": str, "grid": str | None, "limit": int | None, "every": int}
    kinds |= {"size": int | None, "channels": int | None}
    unknown = recorded.keys() - kinds.keys()
    wrong = [n for n, kind in kinds.items() if n in recorded and not isinstance(recorded[n], kind)]
    if unknown or wrong or not {"data", "split", "grid", "limit", "every"} <= recorded.keys():
        raise InvalidInput(
            f"The run's record of its data is not as it was written: {dict(recorded)!r:.200}. "
            "Make the run again, or use the Python API."
        )
    # Runs of before record no channels: the first picture had decided for all.
    return DataSource(**{"channels": AS_FIRST, **recorded})


def recorded_model(run: Run) -> str:
    """The model that a run was made with; an ONNX twin is in the run's directory, where it is now.

    Raises:
        InvalidInput: none is recorded, or one that is code or elsewhere: who wrote a run.json
            does not decide what is executed here, or asked of whom.
    """
    origin = run.manifest.origin
    if "twin_of" in origin and twin.FILE in run.attached:
        return run.storage.uri_of(twin.FILE)
    return loadable(str(run.storage), str(origin.get("model", "")))


def loadable(where: str, model: str) -> str:
    """The model that a run or a screening names, if who wrote it may name it; see `recorded_model`.

    Args:
        where: the run or the file, for the message.
        model: the reference that it names, or empty.
    """
    if not model:
        raise InvalidInput(f"{where} does not say which model it was made with: give --model.")
    if "://" in model:
        raise InvalidInput(
            f"{where} was made with the model at {model}. A run does not decide which "
            f"addresses are asked: if you know that one, name it yourself with --model {model}"
        )
    if ModelReference.parse(model).is_code:
        raise InvalidInput(
            f"{where} was made with {model!r}, which is Python code to be imported. Only you "
            f"can decide to run it: if you trust it, name it yourself with --model {model}"
        )
    return model


def parse_radii(text: str) -> tuple[float, ...]:
    """`0,0.25,0.5` as numbers."""
    try:
        return tuple(float(r) for r in text.split(","))
    except ValueError:
        raise InvalidInput(
            f"--radii are numbers with commas, as 0,0.25,0.5; got {text!r}"
        ) from None


def parse_share(text: str) -> float:
    """`1%` or `0.01` as a fraction."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise InvalidInput(f"--replay is a share such as 1% or 0.01; got {text!r}") from None
