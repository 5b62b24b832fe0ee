"""What a file really is if it cannot be read as the model its name says, from its content."""

import json
import zipfile
from contextlib import suppress
from pathlib import Path

from smoothcert.vocabulary import CHECKPOINTS

_HEAD = 4096
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How torch.save began a file before it wrote zip archives."""

_FACTORY = "pass package.module:factory, a function of your own that returns the network"
_CHECKPOINT = (
    "If you trust it, load it with the code that it came from, and save the weights alone: "
    "torch.save(network.state_dict(), 'weights.pth'); then pass arch@weights.pth or "
    "package.module:Class@weights.pth."
)
_RENAMED = "checkpoint of torch.save. Name it x.pth and pass arch@x.pth."
_CODE = "which can run code when loaded, so it is not read."
_AGAIN = "Copy or download it again."

PICKLED = {
    ".pkl": "",
    ".pickle": "",
    ".joblib": "For a scikit-learn model, convert it with skl2onnx and pass x.onnx; else ",
}
"""Suffixes of pickles that are no checkpoints, and what to say before the advice."""

_KERAS = "a Keras model, which is not read. Convert it to ONNX (tf2onnx)."
_TENSORFLOW = "a TensorFlow graph, which is not read. Convert it to ONNX (tf2onnx)."
_COREML = "a Core ML model, which is not read. Export the model that it was made from to ONNX."
_TENSORRT = "a TensorRT engine, which is not read. Use the ONNX model that it was built from."
_PADDLE = "a Paddle model, which is not read. Convert it to ONNX (paddle2onnx)."
_MADE_FROM = "which is not read. Export the network it was made from to ONNX or by torch.export."

_FOREIGN = {
    ".h5": _KERAS,
    ".hdf5": _KERAS,
    ".keras": _KERAS,
    ".pb": _TENSORFLOW,
    ".pbtxt": _TENSORFLOW,
    ".tflite": "a TensorFlow Lite model, which is not read. Convert it to ONNX (tf2onnx).",
    ".mlmodel": _COREML,
    ".mlpackage": _COREML,
    ".engine": _TENSORRT,
    ".trt": _TENSORRT,
    ".plan": _TENSORRT,
    ".pdmodel": _PADDLE,
    ".pdiparams": _PADDLE,
    ".pdparams": _PADDLE,
    ".ort": "in ONNX Runtime's format, which is not read. Use the ONNX model it was made from.",
    ".gguf": f"a GGUF file, {_MADE_FROM}",
    ".mar": f"a TorchServe archive, {_MADE_FROM}",
    ".rknn": f"a Rockchip model, {_MADE_FROM}",
    ".mnn": f"an MNN model, {_MADE_FROM}",
    ".param": f"an ncnn model, {_MADE_FROM}",
    ".params": f"an MXNet model, {_MADE_FROM}",
    ".caffemodel": f"a Caffe model, {_MADE_FROM}",
    ".prototxt": f"a Caffe model, {_MADE_FROM}",
    ".msgpack": f"a Flax file, {_MADE_FROM}",
    ".so": f"compiled code, {_CODE} Export the network with torch.export.",
    ".dll": f"compiled code, {_CODE} Export the network with torch.export.",
}


def named_for(path: Path) -> str:
    """A sentence that says what a file is, and what to do; empty if unknown.

    Args:
        path: path of a file; one that does not exist is judged by its suffix.
    """
    with suppress(OSError, ValueError):
        if path.is_dir():
            return _folder(path)
        if path.is_file() and (found := _by_content(path)):
            return f"{path.name} is {found}"
    suffix = path.suffix.lower()
    if suffix in CHECKPOINTS and path.suffix != suffix:
        return f"{path.name}: write the suffix in small letters, {suffix}"
    if suffix in PICKLED:
        kind = f"is not read: {suffix} is usually a pickle" if path.exists() else "is a pickle"
        return f"{path.name} {kind}, {_CODE} {PICKLED[suffix]}{_CHECKPOINT}"
    if suffix in _FOREIGN:
        return f"{path.name} is {_FOREIGN[suffix]}"
    return ""


def _folder(path: Path) -> str:
    """What a folder is, and which file in it to pass."""
    names = {file.name for file in path.iterdir()}
    if "saved_model.pb" in names:
        return (
            f"{path} is a TensorFlow SavedModel, which is not read. Convert it to ONNX (tf2onnx)."
        )
    if "config.json" in names:
        return f"{path} is a folder. If transformers wrote it, pass hf:{path.absolute()}"
    models = sorted(name for name in names if Path(name).suffix in (".onnx", ".pt2"))
    if models:
        listed = " or ".join(str(path / name) for name in models[:3])
        return f"{path} is a folder. Pass a model in it: {listed}"
    if path.suffix in _FOREIGN:
        return f"{path.name} is {_FOREIGN[path.suffix]}"
    return f"{path} is a folder without a model in it (x.onnx, x.pt2)."


def why_unreadable(path: Path) -> str:
    """A sentence on a file that its reader refused: another format, truncated, or damaged."""
    if what := named_for(path):
        return what
    with suppress(OSError):
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
        stated = int.from_bytes(head[:8], "little") + 8
        begins = {
            ".pt2": head[:4] == b"PK\x03\x04",
            **dict.fromkeys(CHECKPOINTS, head[:4] == b"PK\x03\x04" or head[:1] == b"\x80"),
            ".safetensors": head[8:9] == b"{" and stated < 2**27,
            ".onnx": head[:1] == b"\x08",
        }
        if not begins.get(path.suffix, True):
            return f"{path.name} does not begin like a {path.suffix} file: it has another format."
        if head[:4] == b"PK\x03\x04" and not zipfile.is_zipfile(path):
            return f"{path.name} is truncated: its end is missing. {_AGAIN}"
        if path.suffix == ".safetensors" and (needed := _end_of_tensors(path, stated)) > size:
            return f"{path.name} is truncated: it has {size} bytes and needs {needed}. {_AGAIN}"
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
        return "a Git LFS pointer, not the file itself. Fetch the file with: git lfs pull"
    if start.startswith(b"<?xml") and b"<net" in start:
        return f"an OpenVINO model, {_MADE_FROM}"
    if start.startswith(b"<?xml") and b"<pmml" in start:
        return "a PMML model, which is not read. Convert the estimator with skl2onnx."
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"a web page saved under that name, usually an error page. {_AGAIN}"
    if head[:4] == b"PK\x03\x04":
        return _of_zip(path)
    if head.startswith(b"\x89HDF\r\n"):
        return "an HDF5 file, the format of Keras, not read. Convert it to ONNX (tf2onnx)."
    if head[:4] == b"GGUF":
        return _FOREIGN[".gguf"]
    if head[:4] in (b"\x7fELF", b"MZ\x90\0"):
        return _FOREIGN[".so"]
    if path.suffix != ".onnx" and head[:1] == b"\x08" and _is_onnx(path):
        return "an ONNX model. Name it x.onnx."
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model, which is not read. Convert it to ONNX (tf2onnx)."
    if head[:2] == b"\x1f\x8b":
        return "compressed with gzip. Unpack it first."
    if head[257:262] == b"ustar":
        return "a tar archive. Unpack it, and pass the checkpoint in it."
    if head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5":
        if _LEGACY in head[:32]:
            return "" if path.suffix in CHECKPOINTS else f"an old {_RENAMED}"
        return f"a pickle, {_CODE} {PICKLED.get(path.suffix, '')}{_CHECKPOINT}"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length < 2**27 and path.suffix != ".safetensors":
        return "a safetensors file. Name it x.safetensors and pass arch@x.safetensors."
    return ""


def _of_zip(path: Path) -> str:
    """What kind of archive it is; empty for a torch.export program with its own suffix."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            record = next((n for n in names if n.split("/")[-1] == "data.pkl"), "")
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        if path.suffix in (".pt2", *CHECKPOINTS):
            return ""
        return f"a zip archive without its end: truncated or damaged. {_AGAIN}"
    inside = {name.partition("/")[2] for name in names}
    if any("/aotinductor/" in name for name in names):
        return (
            "compiled by AOTInductor, which runs code when loaded, so it is not read. Save the "
            "program that it was made from with torch.export.save."
        )
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        return (
            f"a TorchScript program, {_CODE} Not even its weights can be had without. Export the "
            "network it was made from with torch.export (x.pt2) or to ONNX, or pass its class "
            "with a saved state_dict: package.module:Class@weights.pth. If you trust the file, "
            f"{_FACTORY}: torch.jit.load(...)."
        )
    if "models/model.json" in inside:
        return "" if path.suffix == ".pt2" else "a torch.export program. Name it x.pt2."
    if record:
        return "" if path.suffix in CHECKPOINTS else f"a {_RENAMED}"
    if "config.json" in names and "model.weights.h5" in names:
        return "a Keras model, which is not read. Convert it to ONNX (tf2onnx)."
    if names and all(name.endswith(".npy") for name in names):
        return f"an archive of NumPy arrays (.npz), not a model. {_FACTORY.capitalize()}."
    if path.suffix in _FOREIGN:
        return _FOREIGN[path.suffix]
    parts = ("models/model.json", "data/weights/weight_0")
    if path.suffix == ".pt2" and any(name.endswith(parts) for name in names):
        return ""  # its reader decides
    listed = ", ".join(sorted(names)[:3])
    if found := sorted(name for name in names if name.endswith((".onnx", ".pt2", ".safetensors"))):
        return f"a zip archive. Unpack it, and pass {found[0]}"
    return f"a zip archive without a model in it (it holds {listed or 'nothing'})."


def _is_onnx(path: Path) -> bool:
    """Whether a file that begins with a version is an ONNX model, as far as onnx can tell."""
    try:
        import onnx
    except ImportError:
        return False
    with suppress(Exception):  # protobuf has its own error types
        return bool(onnx.load(path, load_external_data=False).graph.output)
    return False
