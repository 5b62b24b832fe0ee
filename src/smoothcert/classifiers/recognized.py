"""What a file is that cannot be read as the model it is named as, told by its content."""

import json
import zipfile
from contextlib import suppress
from pathlib import Path

_HEAD = 4096
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How torch.save began a file before it wrote zip archives."""

_MOST_RECORD = 2**26

_FACTORY = "pass package.module:factory, a function of yours that returns the network"
_CHECKPOINT = (
    "In code of yours, read the weights with torch.load(..., weights_only=True) and put them into "
    f"the network; then {_FACTORY}, or save it with torch.export.save as x.pt2. Weights of the "
    "zoo: save them with safetensors.torch.save_file and pass arch@weights.safetensors."
)
_CODE = "which can run code when loaded, so it is not read."
_AGAIN = "Copy or download it again."

PICKLED = {
    ".pt": "",
    ".pth": "",
    ".th": "",
    ".ckpt": "",
    ".bin": "",
    ".tar": "",
    ".pkl": "",
    ".pickle": "",
    ".joblib": "For a scikit-learn model, convert it with skl2onnx and pass x.onnx; else ",
}
"""Suffixes under which pickles go, and what to say before the advice on checkpoints."""

_FOREIGN = {
    ".h5": "a Keras model",
    ".keras": "a Keras model",
    ".pb": "a TensorFlow graph",
    ".tflite": "a TensorFlow Lite model",
    ".mlmodel": "a Core ML model",
    ".mlpackage": "a Core ML model",
    ".engine": "a TensorRT engine",
    ".pdmodel": "a Paddle model",
    ".ort": "a model in ONNX Runtime's own format",
}


def named_for(path: Path) -> str:
    """A sentence that says what a file is, and what to do; empty where that is not known.

    Args:
        path: of a file; one that is not there is judged by its suffix.
    """
    with suppress(OSError, ValueError):
        if path.is_file() and (found := _by_content(path)):
            return f"{path.name} is {found}"
    if path.suffix in PICKLED:
        return f"{path.name} is a pickle, {_CODE} {PICKLED[path.suffix]}{_CHECKPOINT}"
    if path.suffix in _FOREIGN:
        return f"{path.name} is {_FOREIGN[path.suffix]}, which is not read. Convert it to ONNX."
    return ""


def why_unreadable(path: Path) -> str:
    """A sentence on a file that its own reader refused: another format, cut off, or damaged."""
    if what := named_for(path):
        return what
    with suppress(OSError):
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
        stated = int.from_bytes(head[:8], "little") + 8
        begins = {
            ".pt2": head[:4] == b"PK\x03\x04",
            ".safetensors": head[8:9] == b"{" and stated < 2**27,
            ".onnx": head[:1] == b"\x08",
        }
        if not begins.get(path.suffix, True):
            return f"{path.name} does not begin as {path.suffix} files do: it has another format."
        if path.suffix == ".pt2" and not zipfile.is_zipfile(path):
            return f"{path.name} is truncated: it has no end. {_AGAIN}"
        if path.suffix == ".safetensors" and (needed := _end_of_tensors(path, stated)) > size:
            return f"{path.name} is truncated: {size} bytes, and {needed} are needed. {_AGAIN}"
    return f"{path.name} may be truncated or damaged. {_AGAIN}"


def _end_of_tensors(path: Path, header: int) -> int:
    """Bytes that a safetensors file must have, as far as its header can be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        with path.open("rb") as file:
            facts = json.loads(file.read(header)[8:])
        ends = [f["data_offsets"][1] for name, f in facts.items() if name != "__metadata__"]
        return header + max(ends, default=0)
    return header


def _by_content(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return f"empty: 0 bytes. It may be truncated, or was never written. {_AGAIN}"
    start = head.lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself. Fetch that with: git lfs pull"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"a web page saved under that name, most often an error. {_AGAIN}"
    if head[:4] == b"PK\x03\x04":
        return _of_zip(path)
    if head.startswith(b"\x89HDF\r\n"):
        return "an HDF5 file, as Keras writes; not read. Convert the model to ONNX (tf2onnx)."
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model, which is not read. Convert it to ONNX (tf2onnx)."
    if head[:2] == b"\x1f\x8b":
        return "compressed with gzip. Unpack it first."
    if head[257:262] == b"ustar":
        return f"a tar archive. Unpack it; if torch.save wrote it, it holds pickles. {_CHECKPOINT}"
    if head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5":
        torch = " (a checkpoint of an old torch.save)" if _LEGACY in head else ""
        return f"a pickle{torch}, {_CODE} {PICKLED.get(path.suffix, '')}{_CHECKPOINT}"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length < 2**27 and path.suffix != ".safetensors":
        return "a safetensors file. Name it x.safetensors and pass arch@x.safetensors."
    return ""


def _of_zip(path: Path) -> str:
    """What kind of archive; nothing for a torch.export program under its own suffix."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            record = next((n for n in names if n.split("/")[-1] == "data.pkl"), "")
            facts = archive.getinfo(record) if record else None
            small = facts is not None and facts.file_size < _MOST_RECORD
            pickled = archive.read(record) if small else b""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        if path.suffix == ".pt2":
            return ""
        return f"the beginning of a zip archive without its end: truncated or damaged. {_AGAIN}"
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        return f"a TorchScript program, {_CODE} If you trust it, {_FACTORY}: torch.jit.load(...)."
    if "models/model.json" in inside:
        return "" if path.suffix == ".pt2" else "a torch.export program. Name it x.pt2."
    if record:
        kind = "Lightning" if b"pytorch-lightning_version" in pickled else "torch.save"
        return f"a pickle (a checkpoint of {kind}), {_CODE} {_CHECKPOINT}"
    if "config.json" in names and "model.weights.h5" in names:
        return "a Keras model, which is not read. Convert it to ONNX (tf2onnx)."
    if names and all(name.endswith(".npy") for name in names):
        return f"an archive of NumPy arrays (.npz), no model. {_FACTORY.capitalize()}."
    return ""
