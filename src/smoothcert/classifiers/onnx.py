"""ONNX models, run by ONNX Runtime on the CPU."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from smoothcert.classifiers.fitting import adapting, fitting
from smoothcert.classifiers.integer_products import can_saturate, has_integer_products
from smoothcert.classifiers.onnx_files import in_training, not_loaded, opened
from smoothcert.classifiers.onnx_outputs import Output, chosen_output
from smoothcert.classifiers.reference import ModelReference
from smoothcert.cores import cores
from smoothcert.errors import ModelError

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_WHOLE = {"tensor(uint8)": np.uint8}


@dataclass(frozen=True, eq=False)
class OnnxClassifier:
    """A session whose only input is the images, with one output that is the logits.

    A session computes on one core; the engine runs `threads` of them at once. One that takes only
    batches of `rows` gets a larger batch in parts, the last filled up with repeats.
    """

    session: onnxruntime.InferenceSession
    name: str
    fingerprint: str
    rows: int | None
    reference: str
    device: str = "cpu"
    threads: int = field(default_factory=cores, kw_only=True)
    output: Output = field(kw_only=True)
    in_training: str = field(default="", kw_only=True)
    can_saturate: bool = field(default=False, kw_only=True)

    @property
    def fixed_batch(self) -> int | None:
        """None: it takes batches of any size, whatever its session takes."""
        return None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of its classes, if its file has them."""
        return self.output.classes

    @staticmethod
    def load(path: Path, output: str = "", *, whole: bool = False) -> "OnnxClassifier":
        """Open a model file.

        Args:
            path: path of the file; tensors in files next to it are also read.
            output: name of the output with the logits; empty for the only possible one.
            whole: whether one that takes bytes (uint8) is opened too, to be adapted; it casts
                what it is given.

        Raises:
            ModelError: not a readable ONNX model, not one float tensor in, or several outputs
                that can be the logits.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # its errors are raised too
        try:
            model, fingerprint = opened(path)
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except ModelError:
            raise
        except Exception as error:  # protobuf and the runtime each have their own kinds
            raise not_loaded(path, error) from error
        reference = f"{path}#{output}" if output else str(path)
        rows = _rows_of(reference, session.get_inputs(), _DTYPES | (_WHOLE if whole else {}))
        found = chosen_output(path.name, model, session.get_outputs(), output)
        name = path.name
        if not found.first:  # a plain reference always meant the first one
            fingerprint = sha256(f"{fingerprint}#{found.name}".encode()).hexdigest()[:32]
            name = f"{name}#{found.name}"
        return OnnxClassifier(
            *(session, name, fingerprint, rows, reference),
            output=found,
            in_training=in_training(model),
            can_saturate=has_integer_products(path) and can_saturate(path),
        )

    @contextmanager
    def workers(self) -> Iterator[list["OnnxClassifier"]]:
        """The session itself: many threads may call it, and it computes in the caller's thread."""
        yield [self] * self.threads

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Run the session on one batch, in parts if it takes fewer rows at once."""
        rows = self.rows
        if rows in (None, len(images)):
            return self._run(images)
        parts = [images[start : start + rows] for start in range(0, len(images), rows)]
        found = [self._run(np.resize(part, (rows, *part.shape[1:]))) for part in parts]
        for scores in found:
            if scores.ndim == 0 or len(scores) != rows:
                raise ModelError(
                    f"{self.name} returns shape {scores.shape} for a batch of {rows}, the only "
                    f"size it takes; a classifier returns logits of shape ({rows}, classes)."
                )
        return np.concatenate(found)[: len(images)]

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        name, dtype, outputs = self._ends
        try:
            logits: Any = self.session.run(outputs, {name: images.astype(dtype, copy=False)})[0]
        except Exception as error:  # the runtime's exceptions have no common public base
            expected = self.session.get_inputs()[0].shape
            advice = fitting(expected, images.shape, self.reference)
            if not advice and len(images) > 1 and self._takes_one(images[:1]):
                asked = adapting(self.reference, "")
                advice = (
                    "It takes one row alone: its graph has a batch of 1 inside. Open it by "
                    f"{asked}, or give --batch-size 1. "
                )
            raise ModelError(
                f"{self.name} failed on a batch of shape {images.shape}: it expects {expected}. "
                f"{advice}({str(error).strip().splitlines()[0]})"
            ) from error

        if keys := self.output.keys:
            return np.array([[row[key] for key in keys] for row in logits], np.float32)
        if logits.ndim == 1 and self.rows == 1 and logits.size > 1:
            return logits.reshape(1, -1)  # squeezed
        if logits.ndim > 2 and sum(size != 1 for size in logits.shape[1:]) == 1:
            return logits.reshape(len(logits), -1)  # (B, K, 1, 1) and the like
        return logits

    def _takes_one(self, row: NDArray[np.float32]) -> bool:
        try:
            return len(self._run(row)) == 1
        except ModelError:
            return False

    @cached_property
    def _ends(self) -> tuple[str, type, list[str]]:
        """The input's name and type and the output's name; asking costs as much as a row."""
        tensor = self.session.get_inputs()[0]
        return tensor.name, (_DTYPES | _WHOLE)[tensor.type], [self.output.name]


def load_file(path: Path, device: str, reference: ModelReference) -> OnnxClassifier:
    """Open the model file of a reference; see `OnnxClassifier.load`."""
    if device != "cpu":
        raise ModelError(f"ONNX models run on device 'cpu'; got {device!r}")
    return OnnxClassifier.load(path, reference.output)


def _rows_of(reference: str, inputs: Sequence[Any], types: Mapping[str, type]) -> int | None:
    """The only batch size that a session takes, if there is only one.

    Raises:
        ModelError: it does not take exactly one tensor of these types.
    """
    file = Path(reference).name
    found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
    if len(inputs) != 1:
        columns = len(inputs) > 1 and all(list(one.shape[1:]) == [1] for one in inputs)
        raise ModelError(
            f"{file} must take one tensor of floats, the images; it takes {found or 'nothing'}. "
            + (
                "Convert it with all columns in one tensor, as skl2onnx does with "
                f"initial_types=[('x', FloatTensorType([None, {len(inputs)}]))]."
                if columns
                else "Make the other inputs constants of the graph (initializers)."
            )
        )
    if inputs[0].type not in types:
        raise ModelError(
            f"{file} must take one tensor of floats (normalization inside); it takes {found}. "
            f"Images with noise are fractions: {_of_type(reference, inputs[0].type)}"
        )
    batch = inputs[0].shape[0] if inputs[0].shape else None
    if batch == 0:
        raise ModelError(f"{file} takes batches of 0 rows; export it with a dynamic batch axis.")
    return batch if isinstance(batch, int) and batch > 0 else None


def _of_type(reference: str, kind: str) -> str:
    if kind in _WHOLE:
        return f"{adapting(reference, '--scale 255')} rounds them to bytes inside the model."
    return "export it with a float32 input for values in [0, 1]."
