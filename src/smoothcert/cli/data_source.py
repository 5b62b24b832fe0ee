"""The data that the command line names, and the data and models that runs record."""

import os
from dataclasses import replace
from pathlib import Path

from smoothcert.classifiers.preprocessing_files import denoiser_in
from smoothcert.classifiers.reference import ModelReference
from smoothcert.cli import console
from smoothcert.compress import twin
from smoothcert.data.datasets import load_reference
from smoothcert.data.inputs import Inputs
from smoothcert.data.source import DataReference
from smoothcert.errors import InvalidInput
from smoothcert.runs.store import Run


class DataSource(DataReference):
    """A data reference with its selection; stored in a run, so that later commands find it."""

    def load(self) -> Inputs:
        """Open the data set; see `load_inputs`."""
        return load_reference(self)

    def load_and_describe(self, recorded: bool = False) -> Inputs:
        """Open the data set, and say what was read; a recorded one may have moved."""
        try:
            inputs = self.load()
        except InvalidInput as error:
            if not recorded or self.data == "digits" or os.path.exists(self.data):
                raise
            raise InvalidInput(with_advice(error, "data", "--data")) from error
        console.say(inputs.describe())
        return inputs


def with_advice(error: Exception, what: str, option: str) -> str:
    """An error about what a run recorded, with the option that gives its new location."""
    text = str(error).rstrip()
    end = "" if text.endswith((".", "?")) else "."
    return (
        f"{text}{end} The run was made with this {what}; if it has moved, say where with {option}."
    )


def recorded_source(run: Run, moved_to: str | None) -> DataSource:
    """The data source that a run recorded, at its new location if it has moved."""
    recorded = run.manifest.origin.get("data")
    if recorded is None and moved_to:  # what is read is compared with the run's content anyway
        levels = run.identity.settings.levels
        return DataSource(moved_to, grid=None if levels == 255 else f"1/{levels}")
    if not isinstance(recorded, dict):
        raise InvalidInput(
            f"{run.storage} does not say where its data is, as it was made in Python from data in "
            "memory. Save that as a file, such as an .npz of x and y, and give it with --data."
        )
    source = DataSource.recorded(recorded)
    return replace(source, data=moved_to) if moved_to else source


def recorded_model(run: Run) -> str:
    """The model that a run was made with; an ONNX twin is in the run's directory.

    Raises:
        InvalidInput: none is recorded, or one that is code or at an address: a run.json does not
            decide what is executed or which addresses are contacted.
    """
    origin = run.manifest.origin
    if "twin_of" in origin and twin.FILE in run.attached:
        return run.storage.uri_of(twin.FILE)
    return require_no_code(str(run.storage), str(origin.get("model", "")))


def _names_code(model: str) -> bool:
    """Whether loading a model, or the denoiser that its JSON file names, imports code."""
    reference = ModelReference.parse(model)
    file = Path(reference.preprocessing)
    if reference.is_code or not (reference.preprocessing and file.is_file()):
        return reference.is_code
    denoiser = denoiser_in(file)
    return denoiser is not None and ModelReference.parse(denoiser.model).is_code


def require_no_code(recorded_in: str, model: str) -> str:
    """The model that a run or a screening names, unless it is code or an address.

    Args:
        recorded_in: the run or the file, for the message.
        model: the reference that it names, or empty.
    """
    if not model:
        raise InvalidInput(
            f"{recorded_in} does not say which model it was made with. Give --model."
        )
    if "://" in model:
        raise InvalidInput(
            f"{recorded_in} was made with the model at {model}. An address that only a run "
            f"names is not contacted. If you trust it, name it yourself with --model {model}"
        )
    if _names_code(model):
        how = "is" if ModelReference.parse(model).is_code else "has in front"
        raise InvalidInput(
            f"{recorded_in} was made with {model!r}, which {how} Python code. Code that only a run "
            f"names is not imported. If you trust it, name it yourself with --model {model}"
        )
    return model
