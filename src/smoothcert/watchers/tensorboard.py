"""TensorBoard: event files in a folder, without torch."""

import re
from pathlib import Path

import numpy as np

from smoothcert.errors import MissingExtra
from smoothcert.summary import Summary
from smoothcert.watchers.base import SoFar, Start
from smoothcert.watchers.final import final

_UPPER = ("abstained", "final/zeta", "final/alpha")
"""Figures that are rounded up; all others are rounded down."""


class TensorBoard:
    """Writes scalars over the number of inputs into a subfolder for each certification.

    Args:
        folder: for `tensorboard --logdir`; the subfolder has the run's name.

    Raises:
        MissingExtra: tensorboard is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        """See the class."""
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise MissingExtra(error.name or "tensorboard", "tensorboard") from error
        self._open, self._folder, self._inputs = Writer, Path(folder), 0

    def started(self, start: Start) -> None:
        """See `Watcher`."""
        self._writer = self._open(str(self._folder / re.sub(r"[^\w.@-]", "_", start.name)))
        self._inputs = 0

    def certified(self, so_far: SoFar) -> None:
        """See `Watcher`."""
        self._inputs = so_far.inputs
        self._write(so_far.metrics)

    def finished(self, summary: Summary | None) -> None:
        """See `Watcher`."""
        if summary is not None:
            self._write(final(summary))
        self._writer.close()

    def _write(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, single(value, up=name in _UPPER), step=self._inputs)
        self._writer.flush()


def single(value: float, up: bool) -> np.float32:
    """The next float32, which is what TensorBoard stores, on the safe side."""
    near = np.float32(value)
    # As float64: NumPy compares a float32 with a Python float in the narrower of the two.
    if (float(near) < value) if up else (float(near) > value):
        return np.nextafter(near, np.float32(np.inf if up else -np.inf))
    return near
