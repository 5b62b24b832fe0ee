"""torch networks: modules, exported programs (.pt2) and architectures with weights."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from smoothcert.classifiers.blame import THEIRS, first_line, reason
from smoothcert.classifiers.copies import copied
from smoothcert.classifiers.fingerprints import (
    fingerprint_of,
    parts_of,
    require_values,
    structure_and_weights,
)
from smoothcert.classifiers.fitting import fitting
from smoothcert.classifiers.out_of_memory import enough_memory
from smoothcert.classifiers.quiet import prints_to_stderr
from smoothcert.classifiers.recognized import why_unreadable
from smoothcert.classifiers.torch_modes import arithmetic, check_mode
from smoothcert.cores import cores
from smoothcert.errors import ModelError, OutOfMemory, SmoothcertError
from smoothcert.vocabulary import TENSORRT

METADATA = "smoothcert"
"""The safetensors metadata key under which `save_weights` writes a JSON object."""

CHANNELS_LAST = "channels-last"
"""The layout in which an image's channels are next to each other."""


@dataclass(frozen=True, eq=False)
class TorchClassifier:
    """A torch module that maps float32 (B, *shape) to logits (B, K).

    It computes in one of `vocabulary.MODES`, which is part of its identity. `front` says what was
    put before weights that do not have it, and why; `denoises` is the sigma for which a denoiser in
    front was set, if that is known.
    """

    module: nn.Module
    name: str
    fingerprint: str
    device: str = "cpu"
    fixed_batch: int | None = field(default=None, kw_only=True)
    threads: int = field(default_factory=cores, kw_only=True)
    one_core: bool = field(default=False, kw_only=True)
    turns: AbstractContextManager[Any] | None = field(default=None, kw_only=True)
    mode: str = field(default="eager", kw_only=True)
    layout: str = field(default="", kw_only=True)
    batches: range | None = field(default=None, kw_only=True)
    class_names: tuple[str, ...] = field(default=(), kw_only=True)
    takes: tuple[int, ...] = field(default=(), kw_only=True)
    front: str = field(default="", kw_only=True)
    denoises: float | None = field(default=None, kw_only=True)

    @staticmethod
    def of(module: nn.Module, name: str, device: str = "cpu") -> "TorchClassifier":
        """Wrap a module: put it on `device`, in eval mode, and hash all that determines its output.

        Raises:
            ModelError: it cannot be put there, or has parameters without values.
        """
        module = _ready(module, name, device)
        return TorchClassifier(module, name, fingerprint_of(parts_of(module)), device)

    @staticmethod
    def published(module: nn.Module, name: str, device: str = "cpu") -> "TorchClassifier":
        """Likewise for a network whose code is in a package: hash its text and saved tensors."""
        module = _ready(module, name, device)
        return TorchClassifier(module, name, structure_and_weights(module), device)

    def in_mode(self, mode: str) -> "TorchClassifier":
        """The same network with another arithmetic, hence another name and fingerprint.

        Raises:
            InvalidInput: not one of `vocabulary.MODES`.
        """
        check_mode(mode)
        if mode == TENSORRT:
            raise ModelError(
                f"Only an ONNX model on CUDA can be {mode!r}; got {self.name}. Write one by "
                "`smoothcert compress MODEL --to onnx --data DATA --out net.onnx`."
            )
        if mode == self.mode:
            return self
        if self.mode != "eager":
            raise ModelError(f"{self.name} already has a mode; got also {mode!r}. Give one of them")
        fingerprint = sha256(f"{mode}:{self.fingerprint}".encode()).hexdigest()[:32]
        return replace(self, name=f"{mode}:{self.name}", fingerprint=fingerprint, mode=mode)

    def layouts(self) -> list["TorchClassifier"]:
        """Itself and, if it has convolutions, a copy with channels last, often faster."""
        if not any(parameter.ndim == 4 for parameter in self.module.parameters()):
            return [self]
        try:
            module = copied(self.module)
            if module is None:
                return [self]
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        except (RuntimeError, TypeError):  # as some quantized tensors do
            return [self]
        return [self, replace(self, module=module, layout=CHANNELS_LAST)]

    @contextmanager
    def workers(self) -> Iterator[list["TorchClassifier"]]:
        """Copies of the module around the same parameters: a forward may store values in it.

        A module that cannot be copied is one worker, with the same votes.
        """
        before = torch.get_num_threads()
        taken = [self._spared()]
        if taken[0].turns is None:
            taken += [self._spared() for _ in range(self.threads - 1)]
        try:
            yield taken
        finally:
            self._spare.extend(taken)
            torch.set_num_threads(before)  # the last to set it, for threads still to come

    def _spared(self) -> "TorchClassifier":
        """A copy that no other run is using, made if there is none (and compiled once)."""
        try:
            return self._spare.pop()
        except IndexError:
            module = copied(self.module, share=True)
            if module is None:
                return replace(self, one_core=True, turns=self._turns)
            return replace(self, module=module, one_core=True)

    @cached_property
    def _turns(self) -> Lock:
        return Lock()

    @cached_property
    def _spare(self) -> list["TorchClassifier"]:
        return []

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Logits as float32 on the CPU."""
        if self.one_core and torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # of the calling thread
        with (
            self.turns or nullcontext(),
            torch.no_grad(),  # in which, unlike inference mode, a model may ask for gradients
            enough_memory(self.name, self.device, len(images)),
        ):
            batch = torch.tensor(images, device=self.device)  # a copy: it may change it in place
            return self.tensor_logits(batch).cpu().numpy()

    @cached_property
    def channels_last(self) -> bool:
        """Whether the weights of its convolutions are, so that no layer has to convert."""
        kernels = [p for p in self.module.parameters() if p.dim() == 4 and not p.is_contiguous()]
        return any(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)

    def tensor_logits(self, batch: torch.Tensor) -> torch.Tensor:
        """The module's logits as float32; errors name the shape that caused them."""
        if self.layout == CHANNELS_LAST and batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        try:
            with arithmetic(self.mode), prints_to_stderr:
                logits = self._forward(batch)
        except (torch.OutOfMemoryError, MemoryError, SmoothcertError):
            raise  # the first two are for whoever chose the batch size
        except THEIRS as error:
            _check_rows(self.name, len(batch), self.batches)
            if advice := fitting(self.takes, tuple(batch.shape)):
                expected = ["batch", *(n or "any" for n in self.takes[1:])]
                raise ModelError(
                    f"{self.name} failed on a batch of shape {tuple(batch.shape)}: it takes "
                    f"({', '.join(map(str, expected))}). {advice}"
                ) from error
            raise ModelError(
                f"{self.name} failed on a batch of shape {tuple(batch.shape)}: "
                f"{reason(error)}. {self._other_type}Check that it takes float32, and inputs of "
                "this shape"
                + ("." if self.mode == "eager" else f", or load it without {self.mode!r}.")
            ) from error
        if not isinstance(logits, torch.Tensor) or logits.is_complex():
            kind = "complex numbers" if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelError(
                f"{self.name} returns {kind}; a classifier returns one tensor of logits. Wrap it "
                f"in a module that {_the_tensor(logits)}."
            )
        if logits.layout != torch.strided or logits.is_quantized:
            logits = logits.dequantize() if logits.is_quantized else logits.to_dense()
        return logits.float()

    @property
    def _other_type(self) -> str:
        """Advice on weights of another type than the inputs, if they have one."""
        types = {p.dtype for p in self.module.parameters() if p.is_floating_point()}
        if not types or torch.float32 in types:
            return ""
        kind = str(min(types, key=str))
        return (
            f"Its weights are {kind}: begin its forward with x = x.to({kind}), which is then part "
            "of the certified model, or make it float32 with .float(). "
        )

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        if self.mode == "eager":
            return self.module(batch)
        if batch.shape in self._compiled_for:
            return self._compiled(batch)
        with _COMPILING:  # one thread compiles, and the others use its result
            logits = self._compiled(batch)
        self._compiled_for.add(batch.shape)
        return logits

    @property
    def rows(self) -> int | range | None:
        """The batch sizes that it takes: only one, some, or any."""
        return self.fixed_batch or self.batches

    @cached_property
    def in_training(self) -> str:
        """The operators in training mode, for an exported graph; else empty."""
        graphs = [m.graph for m in self.module.modules() if isinstance(m, torch.fx.GraphModule)]
        found = {str(node.target) for graph in graphs for node in graph.nodes if _trains(node)}
        return ", ".join(sorted(found))

    @property
    def advice(self) -> str:
        """What to do about layers that compute as in training despite eval mode."""
        for layer in self.module.modules():
            kind = type(layer).__name__
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (
                layer.training or layer.running_mean is None
            ):
                return (
                    f"Its {kind} uses the statistics of each batch: give it running statistics, "
                    "and make sure that eval() reaches it."
                )
            if layer.training and isinstance(layer, nn.modules.dropout._DropoutNd):
                return f"Its {kind} is in training mode: make sure that eval() reaches it."
            if _observes(layer):
                return (
                    f"Its {kind} still observes: in the factory, call "
                    "model.apply(torch.ao.quantization.disable_observer)."
                )
        return ""

    @cached_property
    def _compiled(self) -> Callable[[torch.Tensor], torch.Tensor]:
        # A whole graph or an error: a part that stayed eager would have another arithmetic.
        return torch.compile(self.module, fullgraph=True, dynamic=False)

    @cached_property
    def _compiled_for(self) -> set[torch.Size]:
        return set()


_COMPILING = Lock()


def _observes(layer: nn.Module) -> bool:
    """Whether it is a fake quantization that adapts to its inputs."""
    enabled = getattr(layer, "observer_enabled", None)
    return isinstance(enabled, torch.Tensor) and bool(enabled.any())


def _the_tensor(made: Any) -> str:
    """Which part of a dictionary or tuple the logits may be, for a message."""
    named = isinstance(made, dict)
    parts = made.items() if named else enumerate(made) if isinstance(made, tuple | list) else ()
    found = [at for at, part in parts if isinstance(part, torch.Tensor) and part.ndim == 2]
    found = ["logits"] if "logits" in found else found
    which = " or ".join(f"[{at!r}]" for at in found[:4])
    return f"returns its {which}" if found else "does"


_UNREADABLE = (OSError, ValueError, TypeError, AttributeError, RecursionError, MemoryError)


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a safetensors file in file order, and what `save_weights` recorded.

    Weights stored in a 16-bit type are converted to float32, in which the architectures compute.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(json.loads((file.metadata() or {}).get(METADATA, "{}")).items())
            order = metadata.get("order", file.keys())
            if sorted(order) != sorted(file.keys()):
                raise ValueError("the order it records is not that of its tensors")
            return {key: _widened(file.get_tensor(key)) for key in order}, metadata
    except (SafetensorError, *_UNREADABLE) as error:
        raise ModelError(
            f"{path.name} is not a readable safetensors file: {first_line(error)}. "
            f"{why_unreadable(path)}"
        ) from error


def save_weights(module: nn.Module, architecture: str, path: Path | str, **facts: object) -> None:
    """Write a module's weights with the architecture's name and JSON facts about them."""
    from safetensors.torch import save

    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    record = {"architecture": architecture, "order": list(state), **facts}
    Path(path).write_bytes(save(state, metadata={METADATA: json.dumps(record)}))


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _check_rows(name: str, rows: int, allowed: range | None) -> None:
    if allowed is not None and rows not in allowed:
        raise ModelError(
            f"{name} was exported for batches of {allowed.start} to {allowed[-1]} rows; got "
            f"{rows}. Pass --batch-size {allowed[-1]}, or export it again with "
            "torch.export.Dim('batch'), without a maximum."
        )


_MODE_ARGUMENT = {"aten.dropout.": 2, "aten.batch_norm.": 5, "aten.native_dropout.": 2}
"""Operators with an argument that is true in training, and the argument's position."""


def _trains(node: torch.fx.Node) -> bool:
    name = str(node.target)
    place = next((at for start, at in _MODE_ARGUMENT.items() if name.startswith(start)), None)
    return place is not None and len(node.args) > place and node.args[place] is True


def differing(one: nn.Module, other: nn.Module) -> list[str]:
    """Names of the parts that determine a module's output and differ from another module's."""
    parts, others = parts_of(one), parts_of(other)
    return [name for name in {**parts, **others} if parts.get(name) != others.get(name)]


def _ready(module: nn.Module, name: str, device: str) -> nn.Module:
    """The module on its device and in eval mode."""
    check_device(device)
    require_values(module)
    try:
        return set_training(module.to(device), False)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"{device} has too little memory for {name}.") from error
    except Exception as error:
        raise ModelError(f"{name} cannot be put on {device}: {reason(error)}") from error


def set_training(module: nn.Module, training: bool) -> nn.Module:
    """Put a module in training or eval mode; exported programs in it stay as they were exported."""
    if not has_program(module):
        return module.train(training)
    if not isinstance(module, torch.fx.GraphModule):
        module.training = training
        for part in module.children():
            set_training(part, training)
    return module


def has_program(module: nn.Module) -> bool:
    """Whether it is an exported program, or has one in it, as behind its preprocessing."""
    return any(isinstance(part, torch.fx.GraphModule) for part in module.modules())


def check_device(device: str) -> None:
    """Raise ModelError unless torch has the device."""
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"{device!r} is not a device; give cpu, cuda or cuda:N") from error
    if asked.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise ModelError("device 'cuda' was asked for, but torch sees no CUDA device; use cpu")
    if (asked.index or 0) >= (count := torch.cuda.device_count()):
        raise ModelError(
            f"device {device!r} was asked for, but the last CUDA device that torch sees is "
            f"'cuda:{count - 1}'"
        )
