"""From a model as it is deployed to one that takes images in [0, 1]."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from smoothcert.adapt.compared import Difference, difference, trial_images
from smoothcert.adapt.front import Dims, dims_of, freed, images_of, with_front, with_rows
from smoothcert.classifiers.loading import checked_file
from smoothcert.classifiers.onnx import OnnxClassifier
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress import onnx_graph
from smoothcert.compress.written import written_whole
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.files import fingerprint_file, require_new_file
from smoothcert.version import __version__

RECORD = "smoothcert.adapt"
"""The key of an adapted model's metadata that says what was put in front, as JSON."""


@dataclass(frozen=True)
class Adapted:
    """A model that was written with preprocessing in front.

    Attributes:
        path: the file.
        preprocessing: what is in front, also for bytes.
        original: SHA-256 of the original file, 32 hex digits.
        difference: how its scores differ from the original's after the same by hand.
        rows_before: the only batch size that the original takes; None for any.
        rows: the only batch size that the new file takes; None for any.
    """

    path: Path
    preprocessing: Preprocessing
    original: str
    difference: Difference
    rows_before: int | None
    rows: int | None

    def record(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "path": str(self.path),
            "front": self.preprocessing.record(),
            "original": self.original,
            "largest_difference": self.difference.single,
            "rows_independent": self.difference.by_row,
            "batch": self.rows,
            "batch_before": self.rows_before,
        }

    def describe(self) -> str:
        """What was done, a sentence a line."""
        front = self.preprocessing.describe() or "nothing in front"
        lines = [
            f"Images (B, C, H, W) in [0, 1] are: {front}.",
            f"Checked against the original after the same by hand: {self.difference.describe()}.",
        ]
        if self.rows:
            lines.append(
                f"It still takes only batches of {self.rows}: with an open batch axis it does not "
                "compute the same. The commands here run it in parts."
            )
        elif self.rows_before:
            lines.append(f"Its batch axis is open now; it was fixed at {self.rows_before}.")
        if not self.difference.by_row:
            lines.append(
                "A row's scores depend on its batch, as in the original: certify it with "
                "--batch-size 1."
            )
        return "\n".join(lines)


def adapt(
    model: str | Path, out: str | Path, wanted: Preprocessing, *, overwrite: bool = False
) -> Adapted:
    """Write a model with preprocessing in front, and its batch axis open where that is possible.

    The new model takes float32 images (B, C, H, W) in [0, 1]. It is run against the original,
    which gets the same images preprocessed by NumPy.

    Args:
        model: an ONNX file, or `x.onnx#logits` to keep only this output.
        out: the file to write, `.onnx`; it appears complete, after the comparison, or not at all.
        wanted: what to put in front; bytes are known by the model's input.
        overwrite: replace an existing `out`.

    Raises:
        InvalidInput: `out` exists or has another suffix, or the preprocessing misses something.
        ModelError: the model cannot be read, does not fit the preprocessing, has some in front
            already, or computes something else with it.
        StoreError: the file cannot be written.
    """
    reference, out = ModelReference.parse(str(model)), Path(out)
    source = source_of(reference)
    if out.suffix != ".onnx":
        raise InvalidInput(f"adapt writes a .onnx file; got {out.name!r}")
    require_new_file(out, overwrite)
    original = OnnxClassifier.load(source, reference.output, whole=True)
    wanted = _completed(original, wanted)
    read = onnx_graph.read(source)
    _require_first(source, read)
    if not wanted and not original.rows and _takes_batches(original, read):
        raise InvalidInput(
            f"There is nothing to put in front of {original.name}: give --mean and --std, --scale, "
            f"--layout, --channels, --resize or --preprocess. `smoothcert adapt {model}` says what "
            "its file shows."
        )
    if reference.output:
        kept = [one for one in read.graph.output if one.name == original.output.name]
        read.graph.ClearField("output")
        read.graph.output.extend(kept)
    original_hash = fingerprint_file(source)
    made = _recorded(with_front(read, wanted), wanted, original_hash, original.output.name)
    with written_whole(out, overwrite) as aside:
        rows, found = _written(original, made, wanted, aside)
    return Adapted(out, wanted, original_hash, found, original.rows, rows)


def source_of(reference: ModelReference) -> Path:
    """The ONNX file of a reference; a ModelError for everything else."""
    source = reference.path
    if source is None or checked_file(source).suffix != ".onnx" or reference.architecture:
        raise ModelError(
            f"adapt takes an ONNX file; got {reference.text}. A torch model needs no new file: "
            f'write the settings to a JSON file, as {{"mean": 0.5, "std": 0.5}}, and give every '
            f"command {reference.text}+preprocess.json; `compress --to onnx` puts them inside."
        )
    return source


def _completed(original: OnnxClassifier, wanted: Preprocessing) -> Preprocessing:
    """The preprocessing, with rounding for a model that takes bytes."""
    if original.session.get_inputs()[0].type != "tensor(uint8)":
        return wanted
    if wanted.scale == 1:
        raise InvalidInput(
            f"{original.name} takes bytes (uint8): give --scale 255, and values are rounded to "
            "bytes inside the model."
        )
    return replace(wanted, whole=True)


def recorded(model: onnx.ModelProto) -> str:
    """What `adapt` says in a model's metadata, as JSON; empty for a model that it did not make."""
    return next((entry.value for entry in model.metadata_props if entry.key == RECORD), "")


def _takes_batches(original: OnnxClassifier, model: onnx.ModelProto) -> bool:
    """Whether it computes the same in batches, so that there is no batch of 1 inside to open."""
    try:
        return bool(_tried(original, original, Preprocessing(), dims_of(images_of(model))))
    except ModelError:
        return False


def _require_first(source: Path, graph: onnx.ModelProto) -> None:
    if said := recorded(graph):
        raise ModelError(
            f"{source.name} was made by adapt and has this in front: {said:.300}. Adapt its "
            "original instead."
        )


def _recorded(
    model: onnx.ModelProto, wanted: Preprocessing, original: str, output: str
) -> onnx.ModelProto:
    entry = model.metadata_props.add()
    entry.key = RECORD
    entry.value = json.dumps(
        {
            "front": wanted.record(),
            "original": original,
            "output": output,
            "smoothcert": __version__,
        }
    )
    return model


def _written(
    original: OnnxClassifier, made: onnx.ModelProto, wanted: Preprocessing, aside: Path
) -> tuple[int | None, Difference]:
    """Write the first form of a model that computes what its original does.

    Returns:
        The only batch size that it takes, and how its scores differ.
    """
    shape, failed = dims_of(images_of(made)), ModelError("")
    for rows, form, by_row in _forms(made, original.rows):
        onnx_graph.save(form, aside)
        try:
            found = _tried(original, OnnxClassifier.load(aside), wanted, shape)
        except ModelError as error:
            failed = error
            continue
        if found.allowed(wanted) and (found.by_row or not by_row):
            return rows, found
        failed = ModelError(
            f"with this in front it computes something else than after the same by hand: scores "
            f"differ by {found.single:.2g} of the largest."
        )
    raise ModelError(f"{original.name} cannot be adapted: {failed} Nothing was written.")


def _forms(
    made: onnx.ModelProto, rows: int | None
) -> list[tuple[int | None, onnx.ModelProto, bool]]:
    """(its only batch size, model, whether rows must be independent in it), the best first.

    Some graphs that state no batch size have one of 1 in them all the same.
    """
    if rows:
        return [(None, freed(made, rows), True), (rows, made, False)]
    return [(None, made, False), (None, freed(made, 1), True), (1, with_rows(made, 1), False)]


def _tried(
    original: OnnxClassifier, adapted: OnnxClassifier, wanted: Preprocessing, shape: Dims
) -> Difference:
    """The difference on images of the first size that the original takes."""
    failed = ModelError("no size of images is known to try it with.")
    for images in trial_images(shape, wanted):
        try:
            return difference(original, adapted, wanted, images)
        except ModelError as error:
            failed = error
    raise failed
