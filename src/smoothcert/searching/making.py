"""The files of candidates, written by this process or by several."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smoothcert.compress import onnx_graph
from smoothcert.compress.compress import compress
from smoothcert.compress.request import bytes_of
from smoothcert.compress.written import written_whole
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, MissingExtra, ModelError
from smoothcert.sampling.engine import Progress


@dataclass(frozen=True)
class Order:
    """A file to be made.

    Attributes:
        source: reference of the model that it is made from.
        target: what `compress` is asked for, or `onnx` for a copy.
        file: where it goes.
    """

    source: str
    target: str
    file: Path


@dataclass(frozen=True)
class Making:
    """Makes files by their numbers; see `scheduler.TaskSpec` and `scheduler.BlockTask`.

    Each is made with one thread of torch, so that its bytes do not depend on how many processes or
    cores there are: sums of several threads differ in their last bits.

    Attributes:
        orders: the files.
        sigma: noise on the data to calibrate and train on.
        seed: of everything drawn at random.
        calibration: that data; None as it is sent, where the receiver has its own.
    """

    orders: tuple[Order, ...]
    sigma: float
    seed: int
    calibration: Inputs | None = None

    def start(self, models: None, inputs: Inputs, progress: Progress) -> "Making":
        """With a process's own copy of the data."""
        return replace(self, calibration=inputs)

    def compute(self, block: int) -> list[Any]:
        """The bytes of a file as stored and an empty text, or 0 and why it cannot be made."""
        order = self.orders[block]
        try:
            with _one_thread():
                self._write(order)
        except (ModelError, InvalidInput, MissingExtra) as error:
            return [0, str(error)]
        return [bytes_of(order.file), ""]

    def _write(self, order: Order) -> None:
        if order.target == "onnx":
            shutil.copy(order.source, order.file)
            return
        how = {"inputs": self.calibration, "sigma": self.sigma, "seed": self.seed}
        with written_whole(order.file, overwrite=True) as aside:
            compress(order.source, order.target, aside, **how)
            onnx_graph.save(onnx_graph.without_notes(aside), aside)


@dataclass(frozen=True)
class Given:
    """Hands data to another process; see `processes.Load`."""

    inputs: Inputs

    @staticmethod
    def of(inputs: Inputs) -> "Given":
        """With all values in memory: what reads them here may not be picklable."""
        rows = {item.index: item.pixels for item in inputs}
        return Given(replace(inputs, read=rows.__getitem__, called=None))

    def __call__(self, worker: int) -> tuple[None, Inputs]:
        """The data, and no model: candidates are made from files."""
        return None, self.inputs


@contextmanager
def _one_thread() -> Iterator[None]:
    try:
        import torch
    except ImportError:  # an ONNX model needs none
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
