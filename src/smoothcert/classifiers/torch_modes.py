"""The arithmetic with which torch runs a network.

Its modes: `eager`, layer by layer in float32 as in IEEE 754; repeated, it gives the same bits.
`compiled`, the same by torch.compile, whose sums differ from eager's in the last bits. `fast`,
compiled and on CUDA with TensorFloat-32 products (10 bits of mantissa) and convolution algorithms
found by trial, which may differ in another process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

import torch

from smoothcert.errors import InvalidInput, did_you_mean
from smoothcert.vocabulary import MODES


def check_mode(mode: str) -> None:
    """Raise InvalidInput for anything but one of `MODES`."""
    if mode not in MODES:
        near = did_you_mean(mode, MODES)
        raise InvalidInput(f"A model's mode must be one of {', '.join(MODES)}; got {mode!r}{near}")


@contextmanager
def arithmetic(mode: str) -> Iterator[None]:
    """Torch's global settings for `mode`, and afterwards the user's again."""
    _SETTINGS.enter(mode)
    try:
        yield
    finally:
        _SETTINGS.leave()


@dataclass(eq=False)
class _Settings:
    """The settings are global: threads of one mode share them, another mode waits."""

    changed: Condition = field(default_factory=Condition)
    users: int = 0
    mode: str = ""
    before: tuple[Any, ...] = ()

    def enter(self, mode: str) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.users == 0 or self.mode == mode)
            if self.users == 0:
                self.mode, self.before = mode, _current()
                _apply(_wanted(mode))
            self.users += 1

    def leave(self) -> None:
        with self.changed:
            self.users -= 1
            if self.users == 0:
                _apply(self.before)
                self.changed.notify_all()


_SETTINGS = _Settings()


# Only the fp32_precision interface: torch refuses to read the older allow_tf32 after using it.
def _operators() -> tuple[Any, ...]:
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    return (
        *(torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn),
        *(mkldnn.matmul, mkldnn.conv, mkldnn.rnn),
    )


def _current() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    precisions = tuple(operator.fp32_precision for operator in _operators())
    return cudnn.deterministic, cudnn.benchmark, precisions


def _wanted(mode: str) -> tuple[Any, ...]:
    fast = mode == "fast"
    return True, fast, ("tf32" if fast else "ieee",) * 3 + ("ieee",) * 3


def _apply(settings: tuple[Any, ...]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.deterministic, cudnn.benchmark, precisions = settings
    for operator, precision in zip(_operators(), precisions, strict=True):
        operator.fp32_precision = precision
