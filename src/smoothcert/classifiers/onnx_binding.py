"""A session of ONNX Runtime on torch tensors: it reads and writes their memory, on any device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import torch

from smoothcert.classifiers.onnx_providers import OpenedSession
from smoothcert.errors import ModelError

_TYPES: dict[str, tuple[type, torch.dtype]] = {
    "tensor(float)": (np.float32, torch.float32),
    "tensor(float16)": (np.float16, torch.float16),
    "tensor(double)": (np.float64, torch.float64),
}


@dataclass(frozen=True, eq=False)
class BoundSession:
    """A session with one input and one output that are bound to tensors, so nothing is copied.

    On CUDA it computes in its own stream, which waits for torch's current one and then lets that
    wait, so that the order is torch's and the host waits for neither. A tensor freed meanwhile can
    be used again only by work in torch's current stream, hence after the session's.

    Attributes:
        opened: the session and its stream.
        output: the name of its output.
        device: of the tensors.
    """

    opened: OpenedSession
    output: str
    device: torch.device
    _shapes: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict, init=False)
    _ends: tuple[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Look the two ends up once.

        Raises:
            ModelError: the output is not a tensor of floats.
        """
        session = self.opened.session
        end = next(one for one in session.get_outputs() if one.name == self.output)
        if end.type not in _TYPES:
            raise ModelError(
                f"The output {end.name!r} is a {end.type}, which only the CPU gives; on a GPU it "
                "must be a tensor of floats. Use --device cpu, or convert the model again with "
                "scores in floats (scikit-learn's with options={'zipmap': False})."
            )
        object.__setattr__(self, "_ends", (session.get_inputs()[0], end))

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """What the session makes of a batch, in the order of torch's current stream."""
        batch = batch.to(_TYPES[self._ends[0].type][1]).contiguous()
        shape = self._shape(batch)
        made = torch.empty(shape, dtype=_TYPES[self._ends[1].type][1], device=self.device)
        binding = self._bound(batch)
        place, kind = self._place, _TYPES[self._ends[1].type][0]
        binding.bind_output(self.output, *place, kind, shape, made.data_ptr())
        with self._in_turn():
            self.opened.session.run_with_iobinding(binding, _WITHOUT_WAITING)
        return made

    def _shape(self, batch: torch.Tensor) -> tuple[int, ...]:
        """The shape of the output, which a file may leave open: found by running it once."""
        asked = tuple(batch.shape)
        if asked not in self._shapes:
            binding = self._bound(batch)
            binding.bind_output(self.output)  # in memory of its own, on the host
            with self._in_turn():
                self.opened.session.run_with_iobinding(binding)
            self._shapes[asked] = tuple(binding.get_outputs()[0].shape())
        return self._shapes[asked]

    def _bound(self, batch: torch.Tensor) -> onnxruntime.IOBinding:
        binding, (end, _) = self.opened.session.io_binding(), self._ends
        kind = _TYPES[end.type][0]
        binding.bind_input(end.name, *self._place, kind, tuple(batch.shape), batch.data_ptr())
        return binding

    @property
    def _place(self) -> tuple[str, int]:
        """The device as ONNX Runtime names it."""
        index = self.opened.stream.device_index if self.opened.stream else 0
        return self.device.type, index

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        stream = self.opened.stream
        if stream is None:
            yield
            return
        current = torch.cuda.current_stream(self.device)
        stream.wait_stream(current)
        try:
            yield
        finally:
            current.wait_stream(stream)


def _without_waiting() -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


_WITHOUT_WAITING = _without_waiting()
