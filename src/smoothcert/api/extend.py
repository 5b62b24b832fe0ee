"""A finished certification and its classifier in; the same with more estimation draws out."""

from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.api.certify import Work, certified
from smoothcert.api.given import Kept, as_base, inputs_of
from smoothcert.api.recertify import matched
from smoothcert.api.result import CertificationResult
from smoothcert.certificate import Certification
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Mismatch
from smoothcert.execution.describe import Choices
from smoothcert.methods import Case, Extended, method_of
from smoothcert.planning.wanted import check_base
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import prepare


def extend(
    base: Certification | Kept | str | Path,
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object | None,
    n: int,
    *,
    batch_size: int | None = None,
    progress: Progress | bool | None = None,
) -> CertificationResult:
    """Add estimation draws to a certification from scratch, keeping those that it has.

    Whether and how far to extend may be decided by looking at the certificates: with probability
    at least 1 - alpha those of all extensions of a first certification hold together, for each
    input. The first one's own are wrong with probability at most alpha besides.

    Args:
        base: from `certify` or `extend`, its run, from `Run.open`, or the path of that.
        classifier: the one that was certified.
        inputs: the same inputs; None to load them again, where the base says from where.
        n: estimation draws in all: 2, 5, 10, 20, 50, ... times those of the first certification;
            by plan, what the input with most may have.
        batch_size: rows per forward pass; chosen from the input size by default.
        progress: called with the number of evaluations after every batch.

    Returns:
        Certificates and votes of all draws, in order; `evaluations` counts the new ones.

    Raises:
        Mismatch: another classifier or other inputs.
        InvalidInput: an n that no error is set aside for, or the certification keeps margins.
        ModelError: not a usable classifier, or its rows depend on each other.

    Source: docs/theory.md, section 2, "Extensions".

    Examples:
        >>> longer = smoothcert.extend("runs/base", "model.onnx", None, n=20_000)
        >>> longer.summary().acr > smoothcert.load("runs/base").summary().acr
        True
    """
    base = as_base(base)
    base = matched(base, inputs := inputs_of(base, inputs))
    method = Extended.to(n, base.settings, method_of(base.method))
    check_base(base.method, method)
    settings = method.extended(base.settings)
    method.check(settings, inputs.shape)
    loaded = load_classifier(classifier)  # type: ignore[arg-type]
    if loaded.fingerprint != base.fingerprint:
        raise Mismatch(
            f"{loaded.name} is not the classifier that was certified (fingerprint "
            f"{loaded.fingerprint}, not {base.fingerprint}). Give that one; a changed model is "
            "recertified instead."
        )
    ready = prepare(loaded, inputs.item(0), settings, 0, batch_size)
    work = Work(Choices(loaded, ready, settings, method), inputs, classifier, base)
    return certified(work, map(Case, inputs, base.records), progress, ())
