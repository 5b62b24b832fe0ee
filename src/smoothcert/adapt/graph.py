"""Preprocessing in front of an ONNX file, and what the file shows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from smoothcert.adapt.adapted import Adapted, nothing
from smoothcert.adapt.compared import Difference, difference, trial_images
from smoothcert.adapt.denoiser import DenoiserGraph, denoiser_graph
from smoothcert.adapt.front import dims_of, freed, with_front, with_rows
from smoothcert.adapt.joined import joined
from smoothcert.adapt.seen import Seen, beside
from smoothcert.adapt.shapes import Dims
from smoothcert.classifiers.denoising import Denoising
from smoothcert.classifiers.onnx import OnnxClassifier
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress import onnx_graph
from smoothcert.compress.onnx_graph import inputs_of
from smoothcert.compress.written import written_whole
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.files import fingerprint_file
from smoothcert.version import __version__

RECORD = "smoothcert.adapt"
"""The key of an adapted model's metadata that says what was put in front, as JSON."""

_NORMALIZES = {"Sub", "Div", "Mul", "Add", "BatchNormalization"}
_PASSES = {"Cast", "Identity", "Transpose", "Reshape", "Gather", "Squeeze", "Unsqueeze"}
_MOST_STEPS = 8


@dataclass(frozen=True)
class _Trial:
    """What an adapted model is run against.

    Attributes:
        original: the model.
        wanted: the preprocessing in front of it.
        first: the denoiser before that; None for none.
        dims: of the adapted model's input.
        output: that the reference names.
    """

    original: OnnxClassifier
    wanted: Preprocessing
    first: DenoiserGraph | None
    dims: Dims
    output: str = ""

    def of(self, file: Path) -> Difference:
        """How an adapted file differs, on images of the first size that the original takes."""
        failed = ModelError("no size of images is known to try it with.")
        last = self.original.session.get_inputs()[0].shape[-1:]
        row = last if self.wanted.layout == "flat" else []
        values = row[0] if row and isinstance(row[0], int) else 0
        for images in trial_images(self.dims, self.wanted, values):
            try:
                clean = self.first.by_hand(images) if self.first else None
                adapted = OnnxClassifier.load(file, self.output, whole=True)
                return difference(self.original, adapted, self.wanted, images, clean)
            except ModelError as error:
                failed = error
        raise failed

    def allows(self, found: Difference) -> bool:
        """Whether rounding explains it: also that of a denoiser, before rounding to bytes."""
        rounded = self.first is not None and (self.first.rounds or self.wanted.whole)
        return found.allowed(self.wanted, rounded=rounded)


def write(
    reference: ModelReference,
    source: Path,
    out: Path,
    wanted: Preprocessing,
    overwrite: bool,
    denoiser: Denoising | None = None,
) -> Adapted:
    """Write an ONNX model with preprocessing in front; see `adapt.adapt`."""
    original = OnnxClassifier.load(source, reference.output, whole=True)
    wanted = _completed(original, wanted)
    read = onnx_graph.read(source)
    _require_first(source, read)
    if not (wanted or denoiser or original.rows) and _takes_batches(original, read, source):
        raise nothing(reference.text, original.name)
    if reference.output:
        kept = [one for one in read.graph.output if one.name == original.output.name]
        read.graph.ClearField("output")
        read.graph.output.extend(kept)
    original_hash, made, rows = fingerprint_file(source), with_front(read, wanted), original.rows
    record = {"front": wanted.record(), "original": original_hash, "output": original.output.name}
    said, first = "", None
    if denoiser is not None:
        first = denoiser_graph(denoiser, dims_of(inputs_of(made)[0]))
        made, rows = _behind(first, made, rows)
        record["denoiser"] = {"fingerprint": first.fingerprint} | denoiser.record()
        said = f"{denoiser.model}, {denoiser.describe()}"
    trial = _Trial(original, wanted, first, dims_of(inputs_of(made)[0]), reference.output)
    with written_whole(out, overwrite) as aside:
        rows_after, found = _written(trial, _recorded(made, record), rows, aside)
    return Adapted(out, wanted, original_hash, found, rows, rows_after, said)


def _behind(
    first: DenoiserGraph, made: onnx.ModelProto, rows: int | None
) -> tuple[onnx.ModelProto, int | None]:
    """A graph behind a denoiser's, and the only batch size that both take."""
    if rows and first.rows and rows != first.rows:
        raise ModelError(
            f"The denoiser takes only batches of {first.rows}, and the classifier of {rows}. Open "
            "the batch axis of one by `smoothcert adapt`, or export it with a dynamic one."
        )
    both = rows or first.rows
    made = joined(first.model, made)
    return (with_rows(made, both) if both else made), both


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


def _takes_batches(original: OnnxClassifier, model: onnx.ModelProto, source: Path) -> bool:
    """Whether it computes the same in batches, so that there is no batch of 1 inside to open."""
    trial = _Trial(original, Preprocessing(), None, dims_of(inputs_of(model)[0]))
    try:
        return bool(trial.of(source))
    except ModelError:
        return False


def _require_first(source: Path, graph: onnx.ModelProto) -> None:
    if said := recorded(graph):
        raise ModelError(
            f"{source.name} was made by adapt and has this in front: {said:.300}. Adapt its "
            "original instead."
        )


def _recorded(model: onnx.ModelProto, record: Mapping[str, Any]) -> onnx.ModelProto:
    entry = model.metadata_props.add()
    entry.key = RECORD
    entry.value = json.dumps({**record, "smoothcert": __version__})
    return model


def _written(
    trial: _Trial, made: onnx.ModelProto, fixed: int | None, aside: Path
) -> tuple[int | None, Difference]:
    """Write the first form of a model that computes what its original does.

    Returns:
        The only batch size that it takes, and how its scores differ.
    """
    failed = ModelError("")
    for rows, form, by_row in _forms(made, fixed):
        onnx_graph.save(form, aside)
        try:
            found = trial.of(aside)
        except ModelError as error:
            failed = error
            continue
        if trial.allows(found) and (found.by_row or not by_row):
            return rows, found
        failed = ModelError(
            f"with this in front it computes something else than after the same by hand: scores "
            f"differ by {found.single:.2g} of the largest."
        )
    name = trial.original.name
    raise ModelError(f"{name} cannot be adapted: {failed} Nothing was written.")


def _forms(
    made: onnx.ModelProto, rows: int | None
) -> list[tuple[int | None, onnx.ModelProto, bool]]:
    """(its only batch size, model, whether rows must be independent in it), the best first.

    Some graphs that state no batch size have one of 1 in them all the same.
    """
    if rows:
        return [(None, freed(made, rows), True), (rows, made, False)]
    return [(None, made, False), (None, freed(made, 1), True), (1, with_rows(made, 1), False)]


def look(reference: ModelReference, source: Path) -> Seen:
    """What an ONNX file shows, without computing anything; see `seen.Seen`."""
    classifier = OnnxClassifier.load(source, reference.output, whole=True)
    model = onnx.load(source, load_external_data=False)
    images = inputs_of(model)[0]
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    return Seen(
        reference.text,
        images.name,
        dims_of(images),
        classifier.session.get_inputs()[0].type == "tensor(uint8)",
        _first_arithmetic(model.graph, images.name),
        makers.get(classifier.output.name) in ("Softmax", "Sigmoid"),
        *beside(source, dims_of(images)),
        recorded(model),
    )


def _first_arithmetic(graph: onnx.GraphProto, start: str) -> tuple[str, ...]:
    """The arithmetic with constants between the images and the first other operation."""
    stored = {tensor.name for tensor in graph.initializer}
    stored |= {output for n in graph.node if n.op_type == "Constant" for output in n.output}
    found, current = [], start
    for _ in range(_MOST_STEPS):
        users = [node for node in graph.node if current in node.input]
        if len(users) != 1:
            break
        node = users[0]
        others = [name for name in node.input if name and name != current]
        if node.op_type in _NORMALIZES and others and stored.issuperset(others):
            found.append(node.op_type)
        elif node.op_type not in _PASSES:
            break
        current = node.output[0]
    return tuple(found)
