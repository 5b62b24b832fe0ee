"""Every error the package raises on purpose: one family, each saying what, got, and do-this."""


class SmoothcertError(Exception):
    """The common base: catch this to catch anything smoothcert raises on purpose."""


class InvalidInput(SmoothcertError, ValueError):
    """A setting, an array or a data set is not what the call needs."""


class ModelError(SmoothcertError):
    """A model cannot be loaded, or does not behave as a classifier must."""


class OutOfMemory(ModelError):
    """A device has too little memory for a batch."""


class StoreError(SmoothcertError):
    """A run directory is missing, damaged, or of a format this version cannot read."""


class Damaged(StoreError):
    """A file of a run directory is missing, or is not as it was written."""


class WorkerError(SmoothcertError):
    """A process that computed a part of a run died or failed, and doing it again did not help."""


class Mismatch(SmoothcertError):
    """Two things that must agree (a run and its model, data, or settings) do not."""


class MissingExtra(SmoothcertError, ImportError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str) -> None:
        """Name the missing `package` and the `extra` that brings it."""
        super().__init__(
            f"This needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'smoothcert[{extra}]'"
        )
