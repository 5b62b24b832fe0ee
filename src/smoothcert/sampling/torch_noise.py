"""The same draws as `noise`, made by torch on any device: same addresses, same bits.

torch has no unsigned 64-bit arithmetic, so Philox4x64-10 (Salmon et al., SC 2011) is written
in int64 with wrap-around products, and unsigned order is signed order with the top bit flipped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from smoothcert.sampling.batches import Batch
from smoothcert.sampling.noise import Addresses, RoundedGaussian

if TYPE_CHECKING:
    from smoothcert.classifiers.pytorch import TorchClassifier

_ROUNDS = 10
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = 0xFFFFFFFF
_TOP_BIT = -(2**63)


def _signed(word: int) -> int:
    word &= 2**64 - 1
    return word - 2**64 if word >= 2**63 else word


def _high_product(a: torch.Tensor, m: int) -> torch.Tensor:
    """The upper 64 bits of the unsigned product of a and the constant m."""
    a_low, a_high = a & _LOW, (a >> 32) & _LOW
    m_low, m_high = m & _LOW, m >> 32
    carry = a_high * m_low + ((a_low * m_low >> 32) & _LOW)
    middle = a_low * m_high + (carry & _LOW)
    return a_high * m_high + ((carry >> 32) & _LOW) + ((middle >> 32) & _LOW)


def _philox(counter: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    c0, c1, c2, c3 = counter
    for round_ in range(_ROUNDS):
        key0, key1 = _signed(seed + round_ * _WEYL[0]), _signed(round_ * _WEYL[1])
        high0, low0 = _high_product(c0, _MULTIPLIERS[0]), c0 * _signed(_MULTIPLIERS[0])
        high1, low1 = _high_product(c2, _MULTIPLIERS[1]), c2 * _signed(_MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
    return [c0, c1, c2, c3]


class TorchNoise:
    """`RoundedGaussian.rows` on a torch device."""

    def __init__(self, noise: RoundedGaussian, device: str) -> None:
        """Copy the law's thresholds to `device`, in signed order."""
        self.device = torch.device(device)
        ordered = noise.table.view(np.int64) ^ np.int64(_TOP_BIT)
        self._table = torch.from_numpy(ordered).to(self.device)

    def rows(self, seed: int, addresses: Addresses, size: int) -> torch.Tensor:
        """int32 tensor of shape (len(addresses), size), equal to `RoundedGaussian.rows`."""
        blocks = torch.arange(-(-size // 4), device=self.device)
        places = (addresses.draws, addresses.inputs, addresses.streams)
        address = [torch.from_numpy(a).to(self.device)[:, None] for a in places]
        counter = list(torch.broadcast_tensors(blocks[None, :], *address))
        bits = torch.stack(_philox(counter, seed), dim=-1).reshape(len(addresses), -1)[:, :size]
        found = torch.searchsorted(self._table, bits.contiguous() ^ _TOP_BIT, right=True)
        return (found - len(self._table) // 2).to(torch.int32)


class DeviceLabels:
    """Labels under noise with everything but the label on the classifier's device."""

    ahead = 2

    def __init__(
        self, classifier: "TorchClassifier", noise: RoundedGaussian, seed: int, answer: np.dtype
    ) -> None:
        """Prepare for batches of one run; see `host.HostLabels` for the CPU's."""
        self._classifier, self._seed, self._answer = classifier, seed, answer
        self._noise = TorchNoise(noise, classifier.device)
        self._scale = float(np.float32(1 / noise.levels))

    @torch.inference_mode()
    def submit(self, batch: Batch) -> "Launched":
        """Start a batch; nothing waits for the device."""
        noise = self._noise.rows(self._seed, batch.addresses, prod(batch.pixels.shape[1:]))
        clean = torch.from_numpy(batch.pixels).to(self._noise.device)[batch.item]
        images = (clean + noise.view(clean.shape)).to(torch.float32) * self._scale
        return Launched(self._answers(self._classifier.module_logits(images)), self._answer)

    def _answers(self, logits: torch.Tensor) -> list[torch.Tensor]:
        """The columns of `answers.answers_of`, on the device."""
        best, top = logits.max(dim=1)
        decided = (logits == best[:, None]).sum(dim=1) == 1  # a NaN equals nothing
        labels = torch.where(decided, top, -1).to(torch.int32)
        if self._answer.names is None:
            return [labels]
        near, second = logits.scatter(1, top[:, None], -torch.inf).max(dim=1)
        return [labels, second, torch.nan_to_num(best - near, nan=0.0).float()]


@dataclass(frozen=True)
class Launched:
    """A batch whose answers the device will have."""

    columns: list[torch.Tensor]
    answer: np.dtype

    def result(self) -> NDArray:
        """Fetch them, shape (B,)."""
        host = [column.cpu().numpy() for column in self.columns]
        if self.answer.names is None:
            return host[0]
        found = np.empty(len(host[0]), dtype=self.answer)
        for name, column in zip(self.answer.names, host, strict=True):
            found[name] = column
        return found


@contextmanager
def on_device(
    classifier: "TorchClassifier", noise: RoundedGaussian, seed: int, answer: np.dtype
) -> Iterator[DeviceLabels]:
    """The device for a run."""
    yield DeviceLabels(classifier, noise, seed, answer)
