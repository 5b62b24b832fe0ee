"""Where data was loaded from: the arguments of `load_inputs`, as a run records them."""

from dataclasses import asdict, dataclass
from typing import Any


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

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
