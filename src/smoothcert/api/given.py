"""What the functions take as a base, in the forms that people have at hand."""

from pathlib import Path
from typing import Protocol

from smoothcert.certificate import Certification
from smoothcert.errors import InvalidInput


class Kept(Protocol):
    """A run, as `Run.open` returns it."""

    def certification(self) -> Certification:
        """What `certify` returned."""
        ...


def as_base(base: Certification | Kept) -> Certification:
    """The original's certification, also from its run.

    Raises:
        InvalidInput: it is neither a certification nor a run.
    """
    if isinstance(base, Certification):
        return base
    if isinstance(base, str | Path):
        raise InvalidInput(
            f"The base is a certification or a run, and a path is neither: give "
            f"smoothcert.Run.open({str(base)!r})"
        )
    if not hasattr(base, "certification"):
        raise InvalidInput(
            "The base must be what certify returned, or Run.open of its run; got "
            f"{type(base).__name__}"
        )
    return base.certification()
