"""Convert numbers as callers have them (NumPy's, torch's, 1e5 for a count) to Python's own."""

from numbers import Real
from typing import Any

from smoothcert.errors import InvalidInput


def plain(value: Any) -> Any:
    """The number in an array or tensor without axes; anything else unchanged."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _is_real(number: Any) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool)


def whole(value: Any, name: str) -> int:
    """A whole number as an int: also NumPy's, and a float that is whole.

    Raises:
        InvalidInput: it is not a whole number.
    """
    number = plain(value)
    if not _is_real(number) or number % 1 != 0:
        raise InvalidInput(f"{name} must be a whole number; got {value!r:.60}")
    return int(number)


def real(value: Any, name: str) -> float:
    """A number as Python's own, of the same value: also NumPy's, and a fraction.

    Raises:
        InvalidInput: it is not a number.
    """
    number = plain(value)
    if not _is_real(number):
        raise InvalidInput(f"{name} must be a number; got {value!r:.60}")
    # An int stays an int: in run.json, and so in a run's hash, 1 is not 1.0.
    return number if isinstance(number, int) else float(number)


def rows(value: Any) -> int | None:
    """A batch size, at least 1, or None to choose one.

    Raises:
        InvalidInput: something else.
    """
    if value is None:
        return None
    found = whole(value, "batch_size")
    if found < 1:
        raise InvalidInput(f"batch_size must be at least 1; got {found}")
    return found


def settle(frozen: object, wholes: tuple[str, ...], reals: tuple[str, ...] = ()) -> None:
    """Convert these fields of a frozen dataclass to Python's own numbers."""
    for take, names in ((whole, wholes), (real, reals)):
        for name in names:
            object.__setattr__(frozen, name, take(getattr(frozen, name), name))
