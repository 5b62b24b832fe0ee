"""From a reference (a file, an architecture, a factory, a module) to a classifier."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    import torch

_PICKLED = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"}
_FORMS = "x.onnx, x.pt2, arch@weights.safetensors or package.module:factory"


def load_classifier(
    model: "str | Path | torch.nn.Module | Classifier",
    device: str = "cpu",
    threads: int | None = None,
) -> Classifier:
    """Make a classifier of a model.

    Args:
        model: `x.onnx`; `x.pt2` (torch.export); `arch@weights.safetensors`, or
            `weights.safetensors` if it was written by this package; `package.module:factory`,
            a function without arguments that returns a module or a classifier; a
            `torch.nn.Module`; or an object that already is a `Classifier`.
        device: `cpu`, or for torch models also `cuda`, `cuda:1`, ...
        threads: CPU threads for ONNX Runtime; the number of cores by default.

    Raises:
        ModelError: the file is missing, damaged, of another format, or one that would run
            code when loaded.
        MissingExtra: the model needs a package that is not installed.
    """
    if isinstance(model, str | Path):
        return _from_reference(str(model), device, threads)
    if _is_module(model):
        return _pytorch().TorchClassifier.of(model, type(model).__name__, device)  # type: ignore[arg-type]
    if hasattr(model, "logits") and hasattr(model, "fingerprint"):
        return model  # type: ignore[return-value]
    raise ModelError(
        f"A model is a reference ({_FORMS}), a torch.nn.Module or a Classifier; "
        f"got {type(model).__name__}"
    )


def fingerprint_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in the length used throughout (32 hex digits)."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()[:32]


def _from_reference(reference: str, device: str, threads: int | None) -> Classifier:
    architecture, at, weights = reference.rpartition("@")
    path = Path(weights if at else reference)
    if path.suffix in _PICKLED:
        raise ModelError(
            f"{path.name} is a pickle, which can run code when loaded, so it is not read. Save "
            "the weights with safetensors.torch.save_file and pass arch@weights.safetensors, or "
            "save the whole network with torch.export.save as x.pt2."
        )
    if path.suffix in (".onnx", ".pt2", ".safetensors"):
        if not path.is_file():
            raise ModelError(f"There is no model file {path}")
        if path.suffix == ".onnx":
            return _load_onnx(path, device, threads)
        if path.suffix == ".pt2":
            return _pytorch().load_pt2(path, device)
        return _pytorch().load_weights(path, architecture, device)
    if ":" in reference and not at:
        return _from_factory(reference, device)
    raise ModelError(f"{reference!r} names no model: give {_FORMS}")


def _load_onnx(path: Path, device: str, threads: int | None) -> Classifier:
    if device != "cpu":
        raise ModelError(f"ONNX models run on device 'cpu'; got {device!r}")
    try:
        from smoothcert.classifiers.onnx import OnnxClassifier
    except ImportError as error:
        raise MissingExtra(error.name or "onnxruntime", "onnx") from error
    return OnnxClassifier.load(path, threads)


def _pytorch() -> Any:
    try:
        from smoothcert.classifiers import pytorch
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "torch") from error
    return pytorch


def _from_factory(reference: str, device: str) -> Classifier:
    module_name, _, function = reference.partition(":")
    with _working_directory_importable():
        try:
            factory = getattr(import_module(module_name), function)
        except (ImportError, AttributeError) as error:
            raise ModelError(f"Cannot import {reference!r}: {error}. Give {_FORMS}") from error
        made = factory()
    if _is_module(made):
        return _pytorch().TorchClassifier.of(made, reference, device)
    return load_classifier(made, device)


@contextmanager
def _working_directory_importable() -> Iterator[None]:
    """Let `mymodel:make` find mymodel.py beside the user, as `python -m` would."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.pop(0)


def _is_module(model: object) -> bool:
    """Whether it is a torch module, without importing torch for those who have none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)
