"""--engine: the model as it is, or its ONNX twin, measured and kept with the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.cli import display
from smoothcert.cli.where import RunArguments
from smoothcert.compress import twin
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch, ModelError, did_you_mean
from smoothcert.runs.store import Run
from smoothcert.vocabulary import ENGINES

_LARGE = 100_000  # evaluations from which the time saved is worth a line


@dataclass(frozen=True)
class Chosen:
    """What is certified.

    Attributes:
        classifier: the model, or its twin.
        origin: what run.json says of it.
        files: what the run directory keeps of it.
    """

    classifier: Classifier
    origin: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


def check(engine: str | None, where: RunArguments) -> None:
    """Raise for an engine that there is not, or not on this device, before anything is loaded."""
    if engine not in (None, *ENGINES):
        near = did_you_mean(engine, ENGINES)
        raise InvalidInput(f"--engine is torch or onnx; got {engine!r}{near}")
    device = where.machines.processor.device
    if engine == "onnx" and device != "cpu":
        raise InvalidInput(
            f"--engine onnx runs on the CPU; got --device {device}. Leave out one of the two."
        )


def choose(
    engine: str | None,
    model: str,
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    where: RunArguments,
) -> Chosen:
    """The model itself, or its twin; a resumed run goes on with the twin that it has."""
    kind, as_it_is = twin.engine_of(classifier), Chosen(classifier, {"model": model})
    if engine == "torch" and kind != "torch":
        raise ModelError(f"{classifier.name} is no torch model; leave out --engine torch.")
    resumed = where.resumed()
    if engine is None and resumed is None:
        _offer(classifier, len(inputs) * (settings.n0 + settings.n), where)
    if engine != "onnx" or kind == "onnx":
        return as_it_is
    if resumed is not None:
        return _kept(resumed, classifier, where)
    where.storage.require_unused()
    with display.waiting("Making the ONNX twin"):
        made = twin.onnx_twin(
            classifier,
            inputs,
            settings.sigma,
            seed=settings.seed,
            batch_size=where.batch_size,
            threads=where.machines.shared.threads,
        )
    display.say(made.describe())
    facts = {"model": model, "fingerprint": classifier.fingerprint}
    facts |= {"same_labels": made.same, "draws": made.draws}
    return Chosen(
        made.classifier,
        {"model": where.storage.uri_of(twin.FILE), "twin_of": facts},
        {twin.FILE: made.data},
    )


def _kept(run: Run, original: Classifier, where: RunArguments) -> Chosen:
    """The twin in a run's directory: converting again might give other bytes."""
    recorded = run.manifest.origin.get("twin_of")
    if recorded is None:
        raise Mismatch(f"{run.storage} was made without --engine onnx. Resume it without.")
    if recorded.get("fingerprint") != original.fingerprint:
        raise Mismatch(
            f"{run.storage} was made with the ONNX twin of another model, {recorded.get('model')}. "
            "Resume with that one, or write to a new directory."
        )
    model = run.storage.uri_of(twin.FILE)  # where it is now
    return Chosen(where.load(model), {**run.manifest.origin, "model": model})


def _offer(classifier: Classifier, evaluations: int, where: RunArguments) -> None:
    """One line about the twin, where it would save a person time."""
    if evaluations > _LARGE and not where.json and twin.is_likely(classifier):
        display.say("An ONNX twin is often 1.5 times as fast or more: --engine onnx")
