"""The identity of a torch module as hashes: everything hashable that determines its output."""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from functools import cached_property, partial
from hashlib import sha256
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from smoothcert.classifiers.blame import reason
from smoothcert.classifiers.code import (
    Method,
    called,
    changes_of,
    code_parts,
    constants_of,
    filled_by,
    functions_of,
    is_installed,
    is_library,
)
from smoothcert.classifiers.held import PLACES, PLAIN, attributes, held, text_of
from smoothcert.errors import ModelError, SmoothcertError

Parts = dict[str, str]
"""What a module consists of, by name (`1.weight`, `forward`, ...), each as a hash."""

_OURS = {
    *nn.Module().__dict__,
    *("_flat_weights", "_flat_weight_refs", "meta", "_graph", *PLACES),
} - {"training"}
"""Attributes of modules that are hashed elsewhere, or do not affect the output."""

_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_WORDS = (torch.dtype, torch.Size, torch.layout, torch.memory_format, torch.qscheme, slice, range)
_MANGLED = re.compile(rb"[./]?___torch_mangle_\d+")


def fingerprint_of(parts: Parts) -> str:
    """One hash of all parts, in the length used throughout (32 hex digits)."""
    return sha256(repr(sorted(parts.items())).encode()).hexdigest()[:32]


def structure_and_weights(module: nn.Module) -> str:
    """The fingerprint of a network whose code is in a package: its text and saved tensors.

    Raises:
        ModelError: a tensor without values.
    """
    digest = sha256(repr(module).encode())
    for key, value in module.state_dict().items():
        if type(value) is not torch.Tensor or value.is_quantized or value.layout != torch.strided:
            digest.update(f"{key}:{_Hasher().of(value)}".encode())
            continue
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{key}:{value.dtype}:{tuple(value.shape)}".encode())
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()[:32]


def parts_of(module: nn.Module) -> Parts:
    """Every part of a module that determines its output, as hashes.

    Parameters; all buffers; numbers, texts, arrays and tensors in attributes, alone or in
    containers; extra state; the classes; and the code of `forward` and of hooks with what it
    reads, except library code. Left out are values that a forward pass itself sets, and objects
    without content: locks, files, generators, devices.

    Raises:
        ModelError: a parameter without values.
    """
    return _Hasher().parts(module)


def require_values(module: nn.Module) -> None:
    """Raise ModelError for a parameter or buffer without values, as on the device `meta`."""
    for tensors in (module.named_parameters(), module.named_buffers()):
        for name, value in tensors:
            _require_value(value, name)


def _require_value(value: torch.Tensor, name: str) -> None:
    if isinstance(value, UninitializedTensorMixin) or value.device.type == "meta":
        raise ModelError(
            f"The tensor {name!r} of the model has no values yet. Load weights into it; a lazy "
            "layer gets them when the factory calls the module once on an input."
        )


def _hooks(module: nn.Module) -> list[Any]:
    return [hook for kind in _HOOKS for hook in getattr(module, kind, {}).values()]


def _contents(module: nn.Module, by_hooks: AbstractSet[str]) -> Iterator[tuple[str, Any]]:
    """The parts of one module, without those of its children."""
    kind = type(module)
    yield "class", kind
    if isinstance(module, torch.jit.ScriptModule):
        yield "program", _program(module)
        return
    yield from module._parameters.items()
    yield from module._buffers.items()
    if kind._save_to_state_dict is not nn.Module._save_to_state_dict:  # packed parameters
        packed: dict[str, Any] = {}
        module._save_to_state_dict(packed, "", True)
        yield "packed", packed
    if kind.get_extra_state is not nn.Module.get_extra_state:
        yield "extra state", module.get_extra_state()
    if isinstance(module, torch.fx.GraphModule):
        targets = [node.target for node in module.graph.nodes if node.op == "call_function"]
        yield "program", [module.code, targets]
    yield "hooks", _hooks(module)
    if kind.__module__.startswith("torch._dynamo"):
        return  # what it compiles is a child
    call = changes_of(kind.forward)
    recomputed = {
        getattr(hook, "name", getattr(hook, "_tensor_name", "")) for hook in _hooks(module)
    }
    left_out = _OURS | by_hooks | call.overwritten | {n for n in recomputed if isinstance(n, str)}
    for name, value in module.__dict__.items():
        counted = name in call.counted and type(value) is int
        grown = name in call.grown and isinstance(value, list | dict | set)
        if name not in left_out and not counted and not grown:
            yield name, value
    for name, value in _computed(module).items():
        yield name, value


def _computed(module: nn.Module) -> dict[str, Any]:
    """What cached properties that were not read yet will hold."""
    found = {}
    for base in type(module).__mro__:
        for name, value in vars(base).items():
            if isinstance(value, cached_property) and not is_library(base):
                with suppress(Exception), torch.no_grad():  # then forward will say why
                    found.setdefault(name, value.func(module))
    return {name: value for name, value in found.items() if name not in module.__dict__}


def _program(module: Any) -> list[tuple[bytes, bytes]]:
    """The files of a TorchScript program, without line numbers and arbitrary names."""
    with zipfile.ZipFile(io.BytesIO(module.save_to_buffer())) as archive:
        return sorted(
            (_MANGLED.sub(b"", name.encode()), _MANGLED.sub(b"", archive.read(name)))
            for name in archive.namelist()
            if not name.endswith((".debug_pkl", "serialization_id"))
        )


class _Hasher:
    """Hashes of values; values seen before are named by number, so that cycles end."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, Any]] = {}  # with the object, whose id stays its own
        self._functions: dict[int, str] = {}
        self._within: dict[int, str] = {}
        self._filled: list[Any] = []

    def parts(self, module: nn.Module) -> Parts:
        """See `parts_of`."""
        self._within |= {id(some): path for path, some in module.named_modules()}
        by_hooks = set[str]()
        for some in module.modules():
            for hook in _hooks(some):
                by_hooks |= changes_of(hook).overwritten
            self._filled += [filled for function in called(some) for filled in filled_by(function)]
        found: Parts = {}
        programs: tuple[str, ...] = ()
        for path, some in module.named_modules():
            if path.startswith(programs):
                continue
            prefix = f"{path}." if path else ""
            if isinstance(some, torch.jit.ScriptModule):
                programs = (*programs, prefix)
            try:
                for name, value in _contents(some, by_hooks):
                    found[prefix + name] = self.of(value, prefix + name)
            except SmoothcertError:
                raise
            except Exception as error:
                raise ModelError(
                    f"{type(some).__name__} {path or 'of the model'} cannot be hashed for the "
                    f"fingerprint: {reason(error)}. Keep only readable values in it, or wrap the "
                    "model with smoothcert.from_function, with a name and version of your own."
                ) from error
        return found

    def of(self, value: Any, name: str = "") -> str:
        """The hash of any value; `name` is for errors."""
        if isinstance(value, PLAIN) and not isinstance(value, Enum):
            return _hash(type(value).__name__, text_of(value))
        if isinstance(value, np.ma.MaskedArray):
            return _hash("masked", *map(self.of, (value.data, np.ma.getmaskarray(value))))
        if isinstance(value, np.generic | np.ndarray) and value.dtype != object:
            array = np.ascontiguousarray(value)
            return _hash("array", array.dtype.str, str(np.shape(value)), array.tobytes())
        if isinstance(value, _WORDS):
            return _hash("word", str(value))
        if id(value) in self._seen:
            return self._seen[id(value)][0]
        self._seen[id(value)] = (f"seen {len(self._seen)}", value)
        found = self._of_object(value, name)
        self._seen[id(value)] = (found, value)
        return found

    def _of_object(self, value: Any, name: str) -> str:
        if isinstance(value, torch.Tensor):
            return self._of_tensor(value, name)
        if any(value is filled for filled in self._filled):
            return _hash("filled by calls", type(value).__name__)
        if isinstance(value, Mapping):
            pairs = ((self.of(key), self.of(item, name)) for key, item in value.items())
            texts = [text for pair in pairs for text in pair]
            return _hash("map", *texts, *self._own(value, name))
        if isinstance(value, AbstractSet):
            return _hash("set", *sorted(self.of(item, name) for item in value))
        if isinstance(value, list | tuple | np.ndarray) or type(value).__name__ == "deque":
            return _hash("list", *(self.of(item, name) for item in value), *self._own(value, name))
        if isinstance(value, nn.Module):
            if id(value) in self._within:
                return _hash("module of the network", self._within[id(value)])
            return _hash("module", fingerprint_of(self.parts(value)))
        if isinstance(value, Enum):
            return _hash(type(value).__qualname__, str(value.name), self.of(value.value, name))
        if isinstance(value, partial):
            return _hash("partial", *map(self.of, (value.func, value.args, value.keywords)))
        if isinstance(value, MethodType):
            return _hash("method", self.of(value.__func__, name), self.of(value.__self__, name))
        if isinstance(value, FunctionType | type | ModuleType):
            return self._of_code(value, name)
        if isinstance(getattr(value, "__wrapped__", None), FunctionType):  # by functools.cache
            return _hash("wrapped", self.of(value.__wrapped__, name))
        if isinstance(value, torch.ScriptObject):
            return _hash("packed", self.of(_unpacked(value), name))
        return self._of_instance(value, name)

    def _of_code(self, value: Any, name: str) -> str:
        full = getattr(value, "__qualname__", getattr(value, "__name__", ""))
        if is_library(value):
            return _hash("library", getattr(value, "__module__", ""), full)
        if isinstance(value, ModuleType):
            return _hash("module", full)
        if not isinstance(value, type):
            return self._of_function(value, None, name)
        if issubclass(value, Enum):
            return _hash("enum", full, *(self.of(member, name) for member in value))
        names, constants = ("forward", "__call__", "__getattr__"), list[Any]()
        if not issubclass(value, nn.Module):  # for modules only what is read counts
            names = tuple(key for base in value.__mro__ for key in vars(base))
            constants = constants_of(value, [key for key in names if not key.startswith("__")])
            if is_installed(value):  # its methods lead through whole packages
                names, constants = (), [some for some in constants if isinstance(some, PLAIN)]
        texts = [self._of_function(some, value, name) for some in functions_of(value, names)]
        kind = [] if is_library(type(value)) else [type(value)]
        return _hash("code", full, *texts, *(self.of(some, name) for some in constants + kind))

    def _of_function(self, function: Any, owner: type | None, name: str) -> str:
        if id(function) in self._functions:
            return self._functions[id(function)]
        self._functions[id(function)] = f"function {len(self._functions)}"
        texts: list[str | bytes] = []
        for part in code_parts(function, owner):
            if isinstance(part, Method):
                texts.append(self._of_function(part.function, part.owner, name))
            else:
                texts.append(part if isinstance(part, bytes) else self.of(part, name))
        self._functions[id(function)] = _hash(*texts)
        return self._functions[id(function)]

    def _of_tensor(self, value: torch.Tensor, name: str) -> str:
        _require_value(value, name)
        kind = _hash("tensor", str(value.dtype), str(tuple(value.shape)), str(value.layout))
        if hasattr(value, "__tensor_flatten__"):
            value = value.detach()
            names, context = value.__tensor_flatten__()  # type: ignore[operator]
            inner = [getattr(value, inner) for inner in names]
            return _hash(kind, type(value).__qualname__, self.of(inner, name), self.of(context))
        own = self._own(value, name)
        if not is_library(type(value)):
            own.append(self.of(type(value), name))
        return _hash(kind, *(_bytes_of(some) for some in _dense(value.detach())), *own)

    def _own(self, value: Any, name: str) -> list[str]:
        """The hash of attributes set on a tensor or a container, if there are any."""
        inside = attributes(value)
        return [self.of(inside, name)] if inside else []

    def _of_instance(self, value: Any, name: str) -> str:
        kind = type(value)
        if isinstance(value, io.BytesIO):
            return _hash("bytes", value.getvalue())
        if isinstance(value, torch.jit.ScriptFunction):
            return _hash("program", self.of(_program(value)))
        inside = held(value)
        if is_library(kind) and not is_dataclass(kind) and not inside:
            return _hash("instance", kind.__qualname__)
        return _hash("instance", self.of(kind), self.of(inside, name))


def _dense(value: torch.Tensor) -> list[torch.Tensor]:
    """The ordinary tensors that make up a quantized tensor or one of another layout."""
    if value.layout == torch.sparse_coo:
        value = value.coalesce()
        return [value.indices(), value.values()]
    if value.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [value.crow_indices(), value.col_indices(), value.values()]
    if value.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [value.ccol_indices(), value.row_indices(), value.values()]
    if value.layout != torch.strided:
        return [value.to_dense()]
    if not value.is_quantized:
        return [value]
    if value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        scale, zero = torch.tensor(value.q_scale()), torch.tensor(value.q_zero_point())
        return [value.int_repr(), scale, zero]
    scales, zeros = value.q_per_channel_scales(), value.q_per_channel_zero_points()
    return [value.int_repr(), scales, zeros, torch.tensor(value.q_per_channel_axis())]


def _bytes_of(value: torch.Tensor) -> bytes:
    plain = value.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes()


def _unpacked(value: Any) -> Any:
    """The state that a compiled object, such as a layer's packed weights, saves."""
    try:
        return value.__getstate__()
    except RuntimeError:  # it has no state to save
        return str(value._type())


def _hash(*texts: str | bytes) -> str:
    digest = sha256()
    for text in texts:
        raw = text.encode() if isinstance(text, str) else text
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()
