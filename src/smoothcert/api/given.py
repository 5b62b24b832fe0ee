"""What the functions take as a base, in the forms that people have at hand."""

from pathlib import Path
from typing import Any, Protocol

from smoothcert.api.result import CertificationResult, load
from smoothcert.certificate import Certification
from smoothcert.data.datasets import load_reference
from smoothcert.data.given import as_inputs
from smoothcert.data.inputs import Inputs
from smoothcert.data.source import DataReference
from smoothcert.errors import InvalidInput
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.tries import Try


class Kept(Protocol):
    """What has a certification, such as `Run.open` of its run."""

    def certification(self) -> Certification:
        """What `certify` returned."""
        ...


def as_base(base: Certification | Kept | str | Path) -> Certification:
    """The original's certification, also from its run or the path of that.

    Raises:
        InvalidInput: it is none of these.
        StoreError: there is no finished run at the path.
    """
    if isinstance(base, Certification):
        return base
    if isinstance(base, str | Path | Run):
        return load(base)
    if not hasattr(base, "certification"):
        raise InvalidInput(
            "The base must be what certify returned, its run, or the path of that; got "
            f"{type(base).__name__}"
        )
    return base.certification()


def inputs_of(base: Certification, inputs: Any) -> Inputs:
    """The inputs that were given, or else those that the base says it was made on.

    Raises:
        InvalidInput: none were given, and the base does not say where they are.
    """
    if inputs is not None:
        return as_inputs(inputs)
    manifest = base.manifest if isinstance(base, CertificationResult) else None
    recorded = None if manifest is None else manifest.origin.get("data")
    if not isinstance(recorded, dict):
        raise InvalidInput(
            "The base does not say where its inputs are, as they were in memory. Give them too."
        )
    return load_reference(DataReference.recorded(recorded))


def run_of(base: Certification) -> Run | None:
    """The run directory that a base is in, if it is in one."""
    return base.runs[-1] if isinstance(base, CertificationResult) and base.runs else None


def ask(base: Certification, one: Try, name: str) -> None:
    """Count a question about the base's draws, also in the ledger of its run.

    Args:
        base: whose draws are asked.
        one: the question.
        name: of the classifier that it is about.
    """
    base.tries.add(one)
    if (run := run_of(base)) is not None:
        ledger.enter(run, one, name, "in memory")
