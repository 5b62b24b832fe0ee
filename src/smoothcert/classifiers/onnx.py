"""ONNX models, run by ONNX Runtime on the CPU or on CUDA."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from smoothcert.classifiers.fitting import adapting, fitting
from smoothcert.classifiers.integer_products import can_saturate, has_integer_products
from smoothcert.classifiers.onnx_files import in_training, not_loaded, opened
from smoothcert.classifiers.onnx_outputs import Output, chosen_output
from smoothcert.classifiers.onnx_providers import OpenedSession, check_mode, opened_session
from smoothcert.classifiers.out_of_memory import enough_memory, ran_out
from smoothcert.classifiers.reference import ModelReference
from smoothcert.cores import cores
from smoothcert.errors import ModelError, OutOfMemory, SmoothcertError
from smoothcert.vocabulary import MODES

if TYPE_CHECKING:
    import torch

    from smoothcert.classifiers.onnx_binding import BoundSession

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_WHOLE = {"tensor(uint8)": np.uint8}
_Run = Callable[[Any], Any]  # from a batch to its logits, both arrays or both tensors


@dataclass(frozen=True, eq=False)
class OnnxClassifier:
    """A session whose only input is the images, with one output that is the logits.

    A session on the CPU computes on one core; the engine runs `threads` of them at once. One that
    takes only batches of `rows` gets a larger batch in parts, the last filled up with repeats.
    `mode` is one of `onnx_providers`, and part of its identity.
    """

    session: onnxruntime.InferenceSession
    name: str
    fingerprint: str
    rows: int | None
    reference: str
    device: str = "cpu"
    mode: str = field(default=MODES[0], kw_only=True)
    stream: "torch.cuda.Stream | None" = field(default=None, kw_only=True)
    threads: int = field(default_factory=cores, kw_only=True)
    output: Output = field(kw_only=True)
    in_training: str = field(default="", kw_only=True)
    can_saturate: bool = field(default=False, kw_only=True)

    @property
    def fixed_batch(self) -> int | None:
        """None: it takes batches of any size, whatever its session takes."""
        return None

    @property
    def providers(self) -> tuple[str, ...]:
        """What executes it."""
        return tuple(self.session.get_providers())

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of its classes, if its file has them."""
        return self.output.classes

    @staticmethod
    def load(
        path: Path,
        output: str = "",
        *,
        whole: bool = False,
        device: str = "cpu",
        mode: str = MODES[0],
    ) -> "OnnxClassifier":
        """Open a model file.

        Args:
            path: path of the file; tensors in files next to it are also read.
            output: name of the output with the logits; empty for the only possible one.
            whole: whether one that takes bytes (uint8) is opened too, to be adapted; it casts
                what it is given.
            device: `cpu`, `cuda`, `cuda:1`, ...
            mode: see `onnx_providers.opened_session`.

        Raises:
            ModelError: not a readable ONNX model, not one float tensor in, several outputs that
                can be the logits, or the device cannot run it.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # its errors are raised too
        try:
            model, fingerprint = opened(path)
            ready = opened_session(path, options, device, mode)
        except SmoothcertError:
            raise
        except Exception as error:  # protobuf and the runtime each have their own kinds
            if ran_out(error):
                raise OutOfMemory(f"{device} has too little memory for {path.name}.") from error
            raise not_loaded(path, error) from error
        reference = f"{path}#{output}" if output else str(path)
        session = ready.session
        rows = _rows_of(reference, session.get_inputs(), _DTYPES | (_WHOLE if whole else {}))
        found = chosen_output(path.name, model, session.get_outputs(), output)
        name = path.name
        if not found.first:  # a plain reference always meant the first one
            fingerprint = sha256(f"{fingerprint}#{found.name}".encode()).hexdigest()[:32]
            name = f"{name}#{found.name}"
        if mode != MODES[0]:
            fingerprint = sha256(f"{mode}:{fingerprint}".encode()).hexdigest()[:32]
            name = f"{mode}:{name}"
        loaded = OnnxClassifier(
            *(session, name, fingerprint, rows, reference, device),
            mode=mode,
            stream=ready.stream,
            output=found,
            in_training=in_training(model),
            can_saturate=has_integer_products(model) and can_saturate(path),
        )
        if device != "cpu":
            _ = loaded._bound  # what it lacks is said now
        return loaded

    def in_mode(self, mode: str) -> "OnnxClassifier":
        """The same model with another arithmetic, opened again.

        Raises:
            ModelError: ONNX models do not have it, this one already has another, or it is on the
                CPU.
        """
        check_mode(self.name, mode)
        if mode == self.mode:
            return self
        if self.mode != MODES[0]:
            raise ModelError(f"{self.name} already has a mode; got also {mode!r}. Give one of them")
        found = ModelReference.parse(self.reference)
        path = found.path or Path(self.reference)
        return OnnxClassifier.load(path, found.output, device=self.device, mode=mode)

    @contextmanager
    def workers(self) -> Iterator[list["OnnxClassifier"]]:
        """The session itself: many threads may call it, and it computes in the caller's thread."""
        yield [self] * self.threads

    channels_last: ClassVar[bool] = False
    """How its file takes images does not change with their order in memory."""

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Run the session on one batch."""
        if self.device == "cpu":
            return self._in_parts(images, self._run, np.concatenate)
        import torch

        return self.tensor_logits(torch.tensor(images, device=self.device)).cpu().numpy()

    def tensor_logits(self, batch: "torch.Tensor") -> "torch.Tensor":
        """The same on tensors of its device, bound to their memory."""
        import torch

        return self._in_parts(batch, self._run_bound, torch.cat)

    def _in_parts(self, images: Any, run: _Run, joined: Callable[[Any], Any]) -> Any:
        """Logits of an array or a tensor, in parts if the session takes fewer rows at once."""
        rows = self.rows
        with enough_memory(self.name, self.device, len(images)):
            if rows in (None, len(images)):
                return run(images)
            parts = [images[start : start + rows] for start in range(0, len(images), rows)]
            last = parts[-1]
            parts[-1] = last if len(last) == rows else last[np.arange(rows) % len(last)]
            found = [run(part) for part in parts]
        for scores in found:
            if scores.ndim == 0 or len(scores) != rows:
                raise ModelError(
                    f"{self.name} returns shape {tuple(scores.shape)} for a batch of {rows}, the "
                    f"only size it takes; a classifier returns logits of shape ({rows}, classes)."
                )
        return joined(found)[: len(images)]

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        name, dtype, outputs = self._ends
        with self._explained(images, self._run):
            logits: Any = self.session.run(outputs, {name: images.astype(dtype, copy=False)})[0]
        if keys := self.output.keys:
            return np.array([[row[key] for key in keys] for row in logits], np.float32)
        return self._by_row(logits)

    def _run_bound(self, images: "torch.Tensor") -> "torch.Tensor":
        bound = self._bound
        with self._explained(images, self._run_bound):
            return self._by_row(bound(images))

    @contextmanager
    def _explained(self, images: Any, run: _Run) -> Iterator[None]:
        """Say what the runtime's error on a batch is about."""
        try:
            yield
        except Exception as error:  # the runtime's exceptions have no common public base
            if ran_out(error):
                raise
            shape = tuple(images.shape)
            expected = self.session.get_inputs()[0].shape
            advice = fitting(expected, shape, self.reference)
            if not advice and len(images) > 1 and _takes_one(images[:1], run):
                asked = adapting(self.reference, "")
                advice = (
                    "It takes one row alone: its graph has a batch of 1 inside. Open it by "
                    f"{asked}, or give --batch-size 1. "
                )
            raise ModelError(
                f"{self.name} failed on a batch of shape {shape}: it expects {expected}. "
                f"{advice}({str(error).strip().splitlines()[0]})"
            ) from error

    def _by_row(self, logits: Any) -> Any:
        """An array or a tensor of logits without the axes of one."""
        if logits.ndim == 1 and self.rows == 1 and len(logits) > 1:
            return logits.reshape(1, -1)  # squeezed
        if logits.ndim > 2 and sum(size != 1 for size in logits.shape[1:]) == 1:
            return logits.reshape(len(logits), -1)  # (B, K, 1, 1) and the like
        return logits

    @cached_property
    def _bound(self) -> "BoundSession":
        import torch

        from smoothcert.classifiers.onnx_binding import BoundSession

        opened = OpenedSession(self.session, self.stream)
        return BoundSession(opened, self.output.name, torch.device(self.device))

    @cached_property
    def _ends(self) -> tuple[str, type, list[str]]:
        """The input's name and type and the output's name; asking costs as much as a row."""
        tensor = self.session.get_inputs()[0]
        return tensor.name, (_DTYPES | _WHOLE)[tensor.type], [self.output.name]


def load_file(path: Path, device: str, reference: ModelReference) -> OnnxClassifier:
    """Open the model file of a reference; see `OnnxClassifier.load`."""
    return OnnxClassifier.load(path, reference.output, device=device, mode=reference.mode)


def _takes_one(row: Any, run: _Run) -> bool:
    try:
        return len(run(row)) == 1
    except ModelError:
        return False


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
