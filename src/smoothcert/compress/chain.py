"""Several compressions one after the other: `lowrank:0.5+int8-weights`."""

from collections.abc import Sequence
from dataclasses import astuple, replace

from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress.record import CompressionReport
from smoothcert.errors import InvalidInput, did_you_mean
from smoothcert.vocabulary import TARGETS

_SOURCES = {
    "onnx": "an ONNX model",
    "zoo": "weights of a network of the zoo",
    "torch": "a torch network",
    "program": "an exported program (.pt2)",
}
_READ_AS = {".onnx": "onnx", ".safetensors": "zoo", ".pt2": "program"}


def steps_of(target: str) -> tuple[str, ...]:
    """The steps of a target, each with its argument; a layer's name in one may have a plus in it.

    Raises:
        InvalidInput: a step is not one of `vocabulary.TARGETS`.
    """
    steps: list[str] = []
    for part in target.split("+"):
        name, equals, _ = part.partition("=")
        if steps and ":" in steps[-1] and equals and name.partition(":")[0] not in TARGETS:
            steps[-1] += f"+{part}"
        else:
            steps.append(part)
    for step in steps:
        kind = step.partition(":")[0]
        if kind not in TARGETS:
            near = did_you_mean(kind, TARGETS) or "."
            raise InvalidInput(f"There is no target {step!r}. Targets: {', '.join(TARGETS)}{near}")
    return tuple(steps)


def suffixes_of(steps: Sequence[str], model: ModelReference, end: str) -> tuple[str, ...]:
    """The suffix of the file that each step writes, the last one given.

    Between steps weights stay weights where the steps allow it, so that a later step sees the
    network; else the format of the end is taken as early as possible, then any other.

    Args:
        steps: one or more steps. A single one checks by itself what it reads and writes.
        model: the original.
        end: suffix of the file to write.

    Raises:
        InvalidInput: a step cannot read what the one before it can write, or the last cannot write
            such a file.
    """
    if len(steps) == 1:
        return (end,)
    source = _source(model)
    if found := _route(steps, source, end):
        return found
    readable, written = {source}, set[str]()
    for number, step in enumerate(steps, 1):
        written = {suffix for kind in readable for suffix in _written(step, kind)}
        if not written:
            what = " or ".join(_SOURCES[kind] for kind in sorted(readable))
            raise InvalidInput(
                f"Step {number} of {'+'.join(steps)}, {step}, cannot read {what}. Put it before "
                "the step that writes this, or start from the torch network."
            )
        readable = {_READ_AS[suffix] for suffix in written}
    raise InvalidInput(
        f"{'+'.join(steps)} writes a {' or '.join(sorted(written))} file of this model; got a name "
        f"with {end or 'no suffix'}"
    )


def whole(reports: Sequence[CompressionReport]) -> CompressionReport:
    """One report of several steps, from the original to the last file."""
    if len(reports) == 1:
        return reports[0]
    most = max(reports, key=lambda report: report.fraction_changed)
    return replace(
        most,
        path=reports[-1].path,
        method="; then ".join(report.method for report in reports),
        bytes_before=reports[0].bytes_before,
        bytes_after=reports[-1].bytes_after,
        exact=all(report.exact for report in reports),
        batch_dependent=reports[-1].batch_dependent,
        steps=len(reports),
    )


def _source(model: ModelReference) -> str:
    suffix = model.path.suffix if model.path else ""
    if suffix == ".onnx":
        return "onnx"
    if model.is_of_the_zoo and not model.preprocessing:
        return "zoo"
    return "program" if suffix == ".pt2" else "torch"


def _written(step: str, source: str) -> tuple[str, ...]:
    writes = TARGETS[step.partition(":")[0]].writes
    return dict(zip(_SOURCES, astuple(writes), strict=True))[source]


def _route(steps: Sequence[str], source: str, end: str) -> tuple[str, ...]:
    """The first way in the order of preference; empty if there is none."""
    choices = _written(steps[0], source)
    if len(steps) == 1:
        return (end,) if end in choices else ()
    for suffix in sorted(choices, key=lambda s: (s != ".safetensors", s != end)):
        if rest := _route(steps[1:], _READ_AS[suffix], end):
            return (suffix, *rest)
    return ()
