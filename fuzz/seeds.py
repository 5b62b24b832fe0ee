"""Seeds of the fuzz targets: a real run of each kind, made in a second, and what they hold."""

import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Reuse
from smoothcert.runs.store import Run


@dataclass(frozen=True)
class Threshold:
    """A classifier of one line, so that no framework is loaded: is the sum above a threshold?"""

    threshold: float
    fixed_batch: None = None
    device: str = "cpu"

    @property
    def name(self) -> str:
        """For run.json."""
        return f"threshold-{self.threshold:g}"

    fingerprint = name

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Shape (images, 2)."""
        above = images.reshape(len(images), -1).sum(axis=1) - self.threshold
        return np.stack([-above, above], axis=1)


def scratch() -> Path:
    """A folder that is removed when the process ends, in memory if it can be."""
    fast = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=fast if fast.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def runs() -> tuple[Run, Run]:
    """A base run with margins and a planned one, two blocks each."""
    folder = scratch()
    data = Inputs.from_arrays(np.full((3, 1, 2, 2), 0.5), [1, 0, 1], grid=1 / 16)
    settings, how = Settings(0.25, 16, n0=10, n=40, keep_margins=True), RunOptions(16, 2)
    base = run_certify(folder / "base", Threshold(1.75), data, settings, how)
    return base, run_recertify(folder / "new", base, Threshold(1.8), data, Reuse("uniform:30"), how)


class Choices:
    """Decisions of a mutation, read from the fuzzer's bytes; zeros once they are used up."""

    def __init__(self, data: bytes) -> None:
        """Begin at the first byte."""
        self._data, self._at = data, 0

    def below(self, count: int) -> int:
        """A number in 0..count - 1, from two bytes."""
        return int.from_bytes(self.bytes(2), "little") % count

    def bytes(self, count: int) -> bytes:
        """The next bytes."""
        found = self._data[self._at : self._at + count]
        self._at += count
        return found

    def rest(self) -> bytes:
        """All that is left."""
        return self.bytes(len(self._data))

    def edited(self, data: bytes) -> bytes:
        """The data with up to eight places overwritten, cut out or put in."""
        for _ in range(1 + self.below(8)):
            start = self.below(len(data) + 1)
            kind, new = self.below(4), self.bytes(1 + self.below(8))
            if kind == 3:
                data = data[:start]
            else:
                data = data[:start] + new + data[start + (0, len(new), 2 * len(new))[kind] :]
        return data
