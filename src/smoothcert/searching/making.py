"""The files of candidates, written by this process or by several."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
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

    @property
    def shrunk(self) -> str:
        """What makes the ONNX file that its format is applied to; empty if that is the source."""
        head, mark, _ = self.target.partition("+onnx")
        return head + mark


@dataclass(frozen=True)
class Making:
    """Makes files, by numbers of groups; see `scheduler.TaskSpec` and `scheduler.BlockTask`.

    Each is made with one thread of torch, so that its bytes do not depend on how many processes or
    cores there are: sums of several threads differ in their last bits.

    Attributes:
        groups: files that are formats of the same shrunk network, which is made once.
        sigma: noise on the data to calibrate and train on.
        seed: of everything drawn at random.
        calibration: that data; None as it is sent, where the receiver has its own.
    """

    groups: tuple[tuple[Order, ...], ...]
    sigma: float
    seed: int
    calibration: Inputs | None = None

    @staticmethod
    def of(orders: Sequence[Order], sigma: float, seed: int) -> "Making":
        """Files in their groups, in the order in which these begin."""
        groups: dict[tuple[str, ...], list[Order]] = {}
        for order in orders:
            alone = () if order.shrunk else (str(order.file),)
            groups.setdefault((order.source, order.shrunk, *alone), []).append(order)
        return Making(tuple(map(tuple, groups.values())), sigma, seed)

    def start(self, models: None, inputs: Inputs, progress: Progress) -> "Making":
        """With a process's own copy of the data."""
        return replace(self, calibration=inputs)

    def compute(self, block: int) -> list[list[Any]]:
        """Of each file its bytes as stored and an empty text, or 0 and why it cannot be made."""
        group = self.groups[block]
        with _one_thread(), TemporaryDirectory() as folder:
            shrunk = Path(folder) / "shrunk.onnx"
            if group[0].shrunk:
                _, why = self._made(Order(group[0].source, group[0].shrunk, shrunk))
                if why:
                    return [[0, why] for _ in group]
            return [self._made(_after(order, shrunk)) for order in group]

    def _made(self, order: Order) -> list[Any]:
        try:
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


def _after(order: Order, shrunk: Path) -> Order:
    """What is left of an order once its shrunk network is made."""
    if not order.shrunk:
        return order
    rest = order.target.removeprefix(order.shrunk).removeprefix("+")
    return Order(str(shrunk), rest or "onnx", order.file)


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
