"""For tests of models: assert that a model is certified as robust as it must be.

from smoothcert.testing import assert_certified

def test_the_int8_model_is_robust_enough():
    assert_certified("int8.onnx", "images", "ca@0.25>=base-2%", base="runs/base")
"""

from pathlib import Path
from typing import Any

from smoothcert.api.certify import certify
from smoothcert.api.recertify import recertify
from smoothcert.api.result import CertificationResult
from smoothcert.certificate import Certification
from smoothcert.errors import InvalidInput
from smoothcert.methods.targets import Goal, read
from smoothcert.report.acceptance import in_words, judge
from smoothcert.runs.store import Run


def assert_certified(
    model: Any,
    data: Any,
    *targets: str | Goal,
    base: Certification | Run | Path | str | None = None,
    sigma: float | None = None,
    out: Path | str | None = None,
    **options: Any,
) -> CertificationResult:
    """Certify a model, or recertify it where there is a base, and assert that it reaches targets.

    Args:
        model: anything `load_classifier` takes.
        data: inputs with labels, as for `certify`; with a base None reads its own again.
        targets: one or more, such as `ca@0.5>=0.4`, `acr>=0.2` or, with a base, `ca@0.5>=base-2%`.
        base: the original's run, its path, or what `certify` returned.
        sigma: noise standard deviation, without a base.
        out: a new folder to write the run to, also when the assertion fails.
        options: further ones of `certify`, or with a base of `recertify`.

    Returns:
        The certification.

    Raises:
        AssertionError: a target is not reached; the text says what was found and what that means.
        InvalidInput: no target, a base and a sigma or neither, or a setting out of range.
        Mismatch: the base is of other inputs.
        ModelError: not a usable classifier, or its rows depend on each other.
    """
    __tracebackhide__ = True
    goals = read(targets)
    if not goals:
        raise InvalidInput("There is nothing to assert: give a target, such as 'ca@0.5>=0.4'.")
    if (base is None) == (sigma is None):
        raise InvalidInput("Give a base, which is recertified, or else sigma, to certify at.")
    if base is None:
        found = certify(model, data, sigma, **options)  # type: ignore[arg-type]
    else:
        found = recertify(base, model, data, **options)
    if out is not None:
        found.save(out)
    failed = [one for one in (judge(found, goal, found.base) for goal in goals) if not one]
    if failed:
        raise AssertionError(in_words(failed))  # no assert statement, which -O leaves out
    return found
