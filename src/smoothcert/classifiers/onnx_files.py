"""The files of an ONNX model: its hash, its external tensors, and why it cannot be loaded."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import onnx
import onnxruntime
from google.protobuf.message import DecodeError, Message
from onnx import numpy_helper

from smoothcert.classifiers.recognized import why_unreadable
from smoothcert.errors import ModelError
from smoothcert.files import fingerprint_file, require_regular

_MOST_BYTES = 2**40  # of a file of external tensors
_KNOWN = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "com.microsoft", "com.microsoft.nchwc"}
_Part = TypeVar("_Part", onnx.TensorProto, onnx.NodeProto)
_AGAIN = "Copy or download it again."


def opened(path: Path) -> tuple[onnx.ModelProto, str]:
    """The graph without external tensors, and the hash of the file and of these tensors.

    Raises:
        ModelError: tensors that are missing, truncated, or outside the file's folder.
    """
    model = onnx.load(path, load_external_data=False)
    digest = sha256(fingerprint_file(path).encode())
    for beside in files_beside(path, model):
        digest.update(fingerprint_file(beside).encode())
    return model, digest.hexdigest()[:32]


def files_beside(path: Path, model: onnx.ModelProto) -> list[Path]:
    """The files that hold a model's large tensors, in the order of their names.

    Raises:
        ModelError: missing, too short for their tensors, or outside the model's folder.
    """
    ends: dict[str, int] = {}
    for tensor in parts_of(model, onnx.TensorProto):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if "location" in entries:
            numbers = [entries.get(key, "") for key in ("offset", "length")]
            end = sum(int(n) if n.isdecimal() and len(n) < 20 else 0 for n in numbers)
            ends[entries["location"]] = max(end, ends.get(entries["location"], 0))
    return [_beside(path, place, ends[place]) for place in sorted(ends)]


def _beside(path: Path, place: str, end: int) -> Path:
    beside = (path.parent / place).resolve()
    # A hub's cache links a model and its tensors to another folder, where they are together.
    if not any(beside.is_relative_to(f) for f in (path.parent.resolve(), path.resolve().parent)):
        raise ModelError(
            f"{path.name} keeps tensors outside its folder ({place}), so it is not read. Put both "
            "into one folder."
        )
    if not beside.exists():
        raise ModelError(
            f"{path.name} cannot be loaded: it keeps its tensors in {place}, which is not in the "
            "same folder. Put both files into one folder, under their original names."
        )
    require_regular(beside, _MOST_BYTES, ModelError)
    if (size := beside.stat().st_size) < end:
        raise ModelError(
            f"{place}, which holds the tensors of {path.name}, is truncated: it has {size} bytes "
            f"and needs {end}. {_AGAIN}"
        )
    return beside


def not_loaded(path: Path, error: Exception) -> ModelError:
    """The error to raise for a file that onnx or the runtime refused."""
    start = f"{path.name} cannot be loaded as an ONNX model"
    text = " ".join(str(error).split())
    if isinstance(error, DecodeError) or "No graph was found" in text:
        return ModelError(f"{start}: {why_unreadable(path)}")
    if foreign := _foreign(path):
        return ModelError(
            f"{start}: it uses operators from {foreign}, which ONNX Runtime does not have. Export "
            "it with standard operators, or run it in package.module:factory."
        )
    if "Unsupported model IR version" in text or "ValidateOpsetForDomain" in text:
        return ModelError(
            f"{start}: its version is newer than onnxruntime {onnxruntime.__version__} reads. "
            "Upgrade onnxruntime, or export the model again with a smaller opset_version."
        )
    return ModelError(f"{start}: {text:.500}".rstrip(". ") + ".")


def _foreign(path: Path) -> str:
    """Operators outside ONNX Runtime's domains for which the model has no function."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # noqa: BLE001 - then that is not why
        return ""
    own = {(f.domain, f.name) for f in model.functions}
    nodes = [n for n in model.graph.node if n.domain not in _KNOWN]
    found = {f"{n.domain}::{n.op_type}" for n in nodes if (n.domain, n.op_type) not in own}
    return ", ".join(sorted(found)[:3])


def in_training(model: onnx.ModelProto) -> str:
    """The operators of a graph that were exported in training mode, or empty."""
    stored = constants(model)
    nodes = parts_of(model, onnx.NodeProto)
    return ", ".join(sorted({n.op_type for n in nodes if _trains(n, stored)}))


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The tensors in a model, by every name that they have in its graphs."""
    found = {t.name: t for t in parts_of(model, onnx.TensorProto) if t.name}
    for node in parts_of(model, onnx.NodeProto):
        if node.op_type == "Constant":
            values = [a.t for a in node.attribute if a.name == "value"]
            found |= dict.fromkeys(node.output, *values) if values else {}
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _trains(node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]) -> bool:
    if node.op_type == "BatchNormalization":
        # Up to operator set 13, only additional outputs show it.
        return any(a.name == "training_mode" and a.i for a in node.attribute) or (
            sum(map(bool, node.output)) > 3
        )
    mode = stored.get(node.input[2]) if len(node.input) > 2 else None
    if node.op_type != "Dropout" or mode is None or mode.external_data:
        return False
    return bool(numpy_helper.to_array(mode).any())


def parts_of(message: Any, wanted: type[_Part]) -> Iterator[_Part]:
    """Every tensor, or node, of a model: of its graph and functions, and of graphs inside nodes."""
    for kind, value in message.ListFields():
        if kind.message_type is None:
            continue
        for part in (value,) if isinstance(value, Message) else value:
            if isinstance(part, wanted):
                yield part
            yield from parts_of(part, wanted)
