"""The package's errors, one family: each says what is wrong, what was given and what to do."""

from collections.abc import Iterable


class SmoothcertError(Exception):
    """The base class of all errors that smoothcert raises on purpose."""


class SmoothcertWarning(UserWarning):
    """The base class of the package's warnings; the command line shows each in one line."""


class InvalidInput(SmoothcertError, ValueError):
    """A setting, an array or a data set is invalid for this call."""


class ModelError(SmoothcertError):
    """A model cannot be loaded, or does not behave as a classifier must."""


class OutOfMemory(ModelError):
    """A device has too little memory for a batch."""


class StoreError(SmoothcertError):
    """A run directory is missing, damaged, or of a format this version cannot read."""


class Damaged(StoreError):
    """A file of a run directory is missing, or has changed since it was written."""


class WorkerError(SmoothcertError):
    """A process that computed part of a run died or failed, and retrying did not help."""


class WorkerCrash(WorkerError):
    """A process that computed part of a run raised an unexpected error: a bug of this package.

    Its notes hold the traceback.
    """


class Mismatch(SmoothcertError):
    """Two things that must match (a run and its model, data or settings) do not."""


class MissingExtra(SmoothcertError, ImportError):
    """An optional dependency is needed but not installed."""

    def __init__(self, package: str, extra: str) -> None:
        """Name the missing `package` and the `extra` that installs it."""
        super().__init__(
            f"This needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'smoothcert[{extra}]'"
        )


ONNX_FOR_GPUS = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'smoothcert[onnx-gpu]'"
"""The command that replaces ONNX Runtime by its build for GPUs, whose files have the same names."""


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """The end of a message: `. Did you mean 'certify'?`, or nothing if no name is similar.

    Args:
        got: what was written.
        known: the valid names; case does not matter, at most three are shown.
    """
    from difflib import get_close_matches

    names = {name.lower(): name for name in known}
    near = [names[key] for key in get_close_matches(got.lower(), names)]
    return f". Did you mean {' or '.join(map(repr, near))}?" if near else ""


def require_one_of(name: str, got: str, known: Iterable[str]) -> None:
    """Raise InvalidInput unless a setting is one of its names, and suggest similar ones."""
    names = tuple(known)
    if got not in names:
        hint = did_you_mean(got, names)
        raise InvalidInput(f"{name} must be one of {', '.join(names)}; got {got!r}{hint}")
