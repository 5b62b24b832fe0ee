"""Where data was loaded from: the arguments of `load_inputs`, as a run records them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Self

from smoothcert.errors import InvalidInput

AS_FIRST = 0
"""Instead of 1 or 3 channels: those of the first image, as for runs that recorded none."""

_ALWAYS: dict[str, Any] = {
    "data": str,
    "split": str,
    "grid": str | None,
    "limit": int | None,
    "every": int,
}
_LATER: dict[str, Any] = {
    "size": int | None,
    "channels": int | None,
}  # which earlier runs do not record


@dataclass(frozen=True)
class DataReference:
    """A data reference with its selection; see `load_inputs`.

    Attributes:
        data: what names the data set.
        split, limit, every, size, channels: as of `load_inputs`.
        grid: the step between neighbouring values as text, such as `1/256`; None for the usual.
    """

    data: str
    split: str = "test"
    grid: str | None = None
    limit: int | None = None
    every: int = 1
    size: int | None = None
    channels: int | None = None

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> Self:
        """What a run recorded, if each value has the right type.

        Raises:
            InvalidInput: it is not such a record.
        """
        kinds = _ALWAYS | _LATER
        unknown = record.keys() - kinds.keys()
        wrong = [n for n, kind in kinds.items() if n in record and not isinstance(record[n], kind)]
        if unknown or wrong or not record.keys() >= _ALWAYS.keys():
            raise InvalidInput(
                f"The run's record of its data is invalid: {dict(record)!r:.200}. "
                "Make the run again, or use the Python API."
            )
        # Earlier runs record no channels: the first image decided for all.
        return cls(**{"channels": AS_FIRST, **record})

    @property
    def step(self) -> Fraction | None:
        """The grid's step as a number.

        Raises:
            InvalidInput: the text is none.
        """
        if self.grid is None:
            return None
        try:
            return Fraction(self.grid)
        except (ValueError, ZeroDivisionError):
            raise InvalidInput(f"--grid must be a step such as 1/255; got {self.grid!r}") from None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
