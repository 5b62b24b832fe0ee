"""Batches on a GPU: only pixels and addresses are sent, and only answers return.

Only reading a batch's answers waits for the device, and by then the following batches are in its
queue. All work and copies are in one stream, or wait for each other, so they happen in order.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from smoothcert.classifiers.out_of_memory import enough_memory
from smoothcert.classifiers.protocol import Classifier, TakesTensors
from smoothcert.errors import Mismatch
from smoothcert.noise.law import Addresses, RoundedGaussian
from smoothcert.noise.numba_kernel import NoisyImages
from smoothcert.noise.torch_kernel import TorchNoise, stacked
from smoothcert.sampling.answers import LABEL
from smoothcert.sampling.batches import Batch

_CHECKED_VALUES = 2**20  # of a run's first batch


class OnDevice(Classifier, TakesTensors, Protocol):
    """A classifier on a torch device."""


@contextmanager
def on_device(
    classifier: OnDevice,
    noise: RoundedGaussian,
    seed: int,
    answer: np.dtype,
    compile_noise: bool | None = None,
) -> Iterator["DeviceLabels"]:
    """The classifier's device for a run; see `cpu.on_host` for the CPU's threads.

    The noise is one compiled kernel if that is asked for, by default on CUDA.
    """
    device = torch.device(classifier.device)
    maker = TorchNoise(noise, classifier.device, compile_noise)
    yield DeviceLabels(classifier, noise, maker, seed, answer, device)


@dataclass(eq=False)
class DeviceLabels:
    """Labels under noise; everything but the labels stays on the classifier's device."""

    classifier: OnDevice
    noise: RoundedGaussian
    maker: TorchNoise
    seed: int
    answer: np.dtype
    device: torch.device
    ahead: int = field(default=4, init=False)
    _checked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Send the seed."""
        self._key = self.maker.seed(self.seed)
        last = self.classifier.channels_last
        self._layout = torch.channels_last if last else torch.contiguous_format

    @torch.no_grad()
    def submit(self, batch: Batch) -> "Launched":
        """Start a batch without waiting for it."""
        batch.addresses.check(self.seed)
        rows = len(batch.item)
        with enough_memory(self.classifier.name, self.classifier.device, rows):
            pixels, sent_pixels = self._sent(batch.pixels)
            places, sent_places = self._sent(
                np.concatenate((batch.item[None], stacked(batch.addresses)))
            )
            clean = pixels[places[0]]  # outside of the graph: their number varies
            images = self.maker.images(self._key, places[1:], clean, self._layout)
            self._check(images, batch)
            found = packed(self.classifier.tensor_logits(images), self.answer)
            return self._received(found, (sent_pixels, sent_places))

    def _sent(self, array: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """A copy under way to the device, and the memory it is read from.

        Pinned memory comes from torch's cache, which gives none of it out again before the
        copies from it are done.
        """
        here = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            here = here.pin_memory()
        return here.to(self.device, non_blocking=True), here

    def _received(self, found: torch.Tensor, held: tuple[torch.Tensor, ...]) -> "Launched":
        """The answers under way to the host, and the event of their arrival."""
        if self.device.type != "cuda":
            return Launched(found, None, self.answer, held)
        here = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        here.copy_(found, non_blocking=True)
        arrived = torch.cuda.Event(blocking=True)  # a waiting thread need not burn a core
        arrived.record(torch.cuda.current_stream(self.device))
        return Launched(here, arrived, self.answer, held)

    def _check(self, images: torch.Tensor, batch: Batch) -> None:
        """Compare the first batch with the definition: votes can be replayed only if equal.

        Raises:
            Mismatch: the device made other noise than the CPU does.
        """
        if self._checked:
            return
        self._checked = True
        rows = max(1, min(len(batch.item), _CHECKED_VALUES // prod(batch.pixels.shape[1:])))
        a = batch.addresses
        some = Addresses(a.inputs[:rows], a.streams[:rows], a.draws[:rows])
        expected = np.empty((rows, *batch.pixels.shape[1:]), dtype=np.float32)
        NoisyImages(self.noise, self.seed)(some, batch.pixels, batch.item[:rows], expected)
        wrong = int((images[:rows].cpu().numpy() != expected).sum())
        if wrong:
            raise Mismatch(
                f"The noise made on {self.classifier.device} is not the run's: {wrong} of "
                f"{expected.size} values differ from the CPU's. Use device='cpu', and report "
                f"this with the device's name and torch's version ({torch.__version__})."
            )


@dataclass(frozen=True, eq=False)
class Launched:
    """A batch whose answers the device will have.

    Attributes:
        found: int32 (columns, B), on the host once `arrived` has happened.
        arrived: the event, or None where reading `found` waits by itself.
        answer: what is kept of a draw.
        held: memory that copies are read from until then.
    """

    found: torch.Tensor
    arrived: torch.cuda.Event | None
    answer: np.dtype
    held: tuple[torch.Tensor, ...]

    def result(self) -> NDArray[Any]:
        """Wait for this batch alone, and return its answers, shape (B,)."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return unpacked(self.found.cpu().numpy(), self.answer)


def packed(logits: torch.Tensor, answer: np.dtype) -> torch.Tensor:
    """What `answers.answers_of` says of (B, K) logits, as the rows of one int32 tensor."""
    best, top = logits.max(dim=1)
    decided = (logits == best[:, None]).sum(dim=1) == 1  # a NaN equals nothing
    labels = torch.where(decided, top, -1).to(torch.int32)
    if answer == LABEL:
        return labels[None]
    if logits.dtype not in (torch.float32, torch.float64):  # as wide as where the host subtracts
        wide = torch.float32 if logits.is_floating_point() else torch.float64
        logits, best = logits.to(wide), best.to(wide)
    near, second = logits.scatter(1, top[:, None], -torch.inf).max(dim=1)
    gap = torch.nan_to_num((best - near).float(), nan=0.0)
    return torch.stack((labels, second.to(torch.int32), gap.view(torch.int32)))


def unpacked(columns: NDArray[np.int32], answer: np.dtype) -> NDArray[Any]:
    """Answers from the rows of `packed`."""
    if answer == LABEL:
        return columns[0]
    found = np.empty(columns.shape[1], dtype=answer)
    for name, column in zip(answer.names or (), columns, strict=True):
        found[name] = column.view(answer[name])
    return found
