"""--engine: the model itself, or its ONNX twin, measured and kept with the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier, Fronted
from smoothcert.cli import console
from smoothcert.cli.run_request import RunArguments
from smoothcert.compress import twin
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch, ModelError, did_you_mean
from smoothcert.runs.store import Run
from smoothcert.vocabulary import ENGINES

_LARGE = 100_000  # evaluations from which the time saved is worth a line


@dataclass(frozen=True)
class EngineChoice:
    """What is certified.

    Attributes:
        classifier: the model, or its twin.
        origin: what run.json says of it.
        files: what the run directory keeps of it.
    """

    classifier: Classifier
    origin: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


def check(engine: str | None, arguments: RunArguments) -> None:
    """Refuse an unknown engine, or one that the device lacks, before anything is loaded."""
    if engine not in (None, *ENGINES):
        near = did_you_mean(engine, ENGINES)
        raise InvalidInput(f"--engine must be torch or onnx; got {engine!r}{near}")
    device = arguments.compute.device.name
    if engine == "onnx" and device != "cpu":
        raise InvalidInput(
            f"--engine onnx converts and runs on the CPU; got --device {device}. Convert first "
            "(smoothcert compress MODEL --to onnx --data DATA --out net.onnx), then certify "
            "net.onnx there."
        )
    if arguments.compute.cluster is not None and engine is not None:
        raise InvalidInput(
            "--engine converts on this machine only. Convert first (smoothcert compress MODEL "
            "--to onnx), then give --cluster the converted model."
        )


def choose(
    engine: str | None,
    model: str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    arguments: RunArguments,
) -> EngineChoice:
    """The model itself, or its twin; a resumed run continues with its own twin."""
    kind, unchanged = twin.engine_of(classifier), EngineChoice(classifier, {"model": model})
    if engine == "torch" and kind != "torch":
        raise ModelError(f"{classifier.name} is not a torch model; leave out --engine torch.")
    resumed = arguments.resumed()
    if engine is None and resumed is None:
        _suggest(classifier, len(inputs) * (settings.n0 + settings.n), arguments)
    if engine != "onnx" or kind == "onnx":
        return unchanged
    if resumed is not None:
        return _resumed_twin(resumed, classifier, arguments)
    arguments.storage.require_unused()
    with console.waiting("Making the ONNX twin"):
        made = twin.onnx_twin(
            classifier,
            inputs,
            settings.sigma,
            seed=settings.seed,
            batch_size=arguments.batch_size,
            threads=arguments.compute.process_device.threads,
        )
    console.say(made.describe())
    original = {"model": model, "fingerprint": classifier.fingerprint}
    if isinstance(classifier, Fronted) and classifier.front:
        original["front"] = classifier.front
    measured = {"same_labels": made.same, "draws": made.draws}
    return EngineChoice(
        made.classifier,
        {"model": arguments.storage.uri_of(twin.FILE), "twin_of": original | measured},
        {twin.FILE: made.data},
    )


def _resumed_twin(run: Run, original: Classifier, arguments: RunArguments) -> EngineChoice:
    """The twin in a run's directory: converting again might give other bytes."""
    recorded = run.manifest.origin.get("twin_of")
    if recorded is None:
        raise Mismatch(f"{run.storage} was made without --engine onnx. Resume without it.")
    if recorded.get("fingerprint") != original.fingerprint:
        raise Mismatch(
            f"{run.storage} was made with the ONNX twin of another model, {recorded.get('model')}. "
            "Resume with that one, or write to a new directory."
        )
    model = run.storage.uri_of(twin.FILE)
    return EngineChoice(arguments.load(model), {**run.manifest.origin, "model": model})


def _suggest(classifier: Classifier, evaluations: int, arguments: RunArguments) -> None:
    """One line about the twin, where it would save time."""
    if evaluations > _LARGE and not arguments.json and twin.is_likely(classifier):
        console.say("An ONNX twin is often 1.5 times as fast or more: --engine onnx")
