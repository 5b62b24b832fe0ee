"""ONNX models, run by ONNX Runtime on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import Message
from numpy.typing import NDArray

from smoothcert.classifiers.cores import cores
from smoothcert.classifiers.loading import fingerprint_file
from smoothcert.errors import ModelError
from smoothcert.regular import require_regular

_MOST_BYTES = 2**40  # of a file of tensors beside a model
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


@dataclass(frozen=True, eq=False)
class OnnxClassifier:
    """A session whose first input is the images and whose first output is the logits.

    A session computes on one core, and `threads` of them at once when the engine runs it.
    """

    session: onnxruntime.InferenceSession
    name: str
    fingerprint: str
    fixed_batch: int | None
    device: str = "cpu"
    threads: int = field(default_factory=cores, kw_only=True)

    @staticmethod
    def load(path: Path) -> "OnnxClassifier":
        """Open a model file.

        Raises:
            ModelError: not a readable ONNX model, or not one float tensor in.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            fingerprint = _fingerprint(path)
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except ModelError:
            raise
        except Exception as error:  # protobuf and the runtime each have their own kinds
            raise ModelError(
                f"{path.name} cannot be loaded as an ONNX model: {error}. "
                "It may be truncated, or a file of another format."
            ) from error
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _DTYPES:
            found = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise ModelError(
                f"{path.name} must take one tensor of floats (normalization inside); "
                f"it takes {found}"
            )
        if not session.get_outputs():
            raise ModelError(f"{path.name} has no output; a classifier's first one is its logits.")
        batch = inputs[0].shape[0] if inputs[0].shape else None
        fixed = batch if isinstance(batch, int) else None
        return OnnxClassifier(session, path.name, fingerprint, fixed)

    @contextmanager
    def workers(self) -> Iterator[list["OnnxClassifier"]]:
        """The session itself: it takes calls from many threads, and computes in the caller's."""
        yield [self] * self.threads

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Run the session on one batch."""
        name, dtype, outputs = self._ends
        try:
            logits = self.session.run(outputs, {name: images.astype(dtype, copy=False)})[0]
        except Exception as error:  # the runtime's exceptions have no common public base
            raise ModelError(
                f"{self.name} failed on a batch of shape {images.shape}: it expects "
                f"{self.session.get_inputs()[0].shape}. ({str(error).strip().splitlines()[0]})"
            ) from error

        if not isinstance(logits, np.ndarray):
            raise ModelError(f"{self.name} returns a {type(logits).__name__}, not one tensor.")
        return logits

    @cached_property
    def _ends(self) -> tuple[str, type, list[str]]:
        """The input's name and type and the output's name; asking costs as much as a row."""
        tensor = self.session.get_inputs()[0]
        return tensor.name, _DTYPES[tensor.type], [self.session.get_outputs()[0].name]


def _fingerprint(path: Path) -> str:
    """Hash of the file, and of the files beside it that hold its large tensors."""
    model = onnx.load(path, load_external_data=False)
    digest = sha256(fingerprint_file(path).encode())
    places = {
        entry.value
        for tensor in _tensors(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for place in sorted(places):
        beside = (path.parent / place).resolve()
        if not beside.is_relative_to(path.parent.resolve()):
            raise ModelError(f"{path.name} keeps tensors outside its folder ({place}); refused.")
        require_regular(beside, _MOST_BYTES, ModelError)
        digest.update(fingerprint_file(beside).encode())
    return digest.hexdigest()[:32]


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: of its graph, of its nodes' attributes, of graphs inside these."""
    for kind, value in message.ListFields():
        if kind.message_type is None:
            continue
        for part in (value,) if isinstance(value, Message) else value:
            if isinstance(part, onnx.TensorProto):
                yield part
            else:
                yield from _tensors(part)
