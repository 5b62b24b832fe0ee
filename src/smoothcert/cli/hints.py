"""What looks odd about a run, said before anything is spent on it and when it is there."""

from smoothcert.api import sanity
from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier, Exported, Named
from smoothcert.cli import display, verbosity
from smoothcert.cli.where import RunArguments
from smoothcert.data.inputs import Inputs
from smoothcert.runs.store import Run


def of_settings(settings: Settings, alpha: float | None = None) -> None:
    """Say what is odd about settings; see `sanity.of_settings`."""
    _say(sanity.of_settings(settings, alpha))


def look(
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    evaluations: int,
    where: RunArguments,
) -> None:
    """Say how a classifier does on a few inputs, unless a part of the run is there already."""
    if verbosity.is_quiet() or where.shard or where.storage.occupied:
        return
    _say(sanity.of_labels(inputs.labels, len(inputs.classes)))
    if isinstance(classifier, Exported) and classifier.in_training:
        _say((sanity.of_training(classifier.name, classifier.in_training),))
    if isinstance(classifier, Named):
        _say(sanity.of_classes(classifier.class_names, inputs.classes))
    with display.waiting("Looking at a few inputs"):
        try:
            found = sanity.look(classifier, inputs, settings, evaluations)
        except Exception:  # noqa: BLE001 - a model's: it is said where the run needs the model
            return
    if found is not None:
        _say(sanity.of_count(inputs, found.classes))
        wrong, seen = sanity.said(found, settings.sigma)
        _say(wrong)
        if not wrong:
            display.say(f"A first look: {seen}.")


def of_sigma(sigma: float) -> None:
    """Say what is odd about a sigma."""
    _say(sanity.of_sigma(sigma))


def of_alpha(alpha: float) -> None:
    """Say what is odd about an error probability."""
    _say(sanity.of_alpha(alpha))


def of_result(run: Run, base: Run | None = None) -> None:
    """Say what is odd about a finished run, beside its base if it has one."""
    if base is not None:
        _say(sanity.of_recertified(base.certificates, run.certificates))
    _say(sanity.of_result(run.certificates, run.labels, run.identity.num_classes))


def _say(hints: tuple[str, ...]) -> None:
    for hint in hints:
        display.say(f"Note: {hint}")
