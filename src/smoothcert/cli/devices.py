"""What computes here, found by trying it: the compiled noise, CUDA by torch, ONNX Runtime."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.inputs import to_float
from smoothcert.errors import MissingExtra, SmoothcertError
from smoothcert.noise.law import Addresses, RoundedGaussian, Stream

ONNX_BUILDS = ("onnxruntime", "onnxruntime-gpu")
_LAW = RoundedGaussian(0.5, Fraction(1, 255))
_SEED = 2**63 + 11
_SHAPE = (3, 32, 32)
_ROWS = 8


@dataclass(frozen=True)
class Gpu:
    """A device of torch.

    Attributes:
        name: torch's, `cuda:0`.
        model: its product name.
        memory: in bytes.
        wrong: how many values, of a sample of its noise, differ from the definition.
    """

    name: str
    model: str
    memory: int
    wrong: int


@dataclass(frozen=True)
class Cuda:
    """What torch can do with GPUs.

    Attributes:
        torch: its version.
        built_for: the version of CUDA that it was built for; empty for a build for the CPU.
        gpus: those that it sees.
        problem: why it sees none, in its own words; empty if it does, or was not asked.
    """

    torch: str
    built_for: str
    gpus: tuple[Gpu, ...]
    problem: str = ""


def compiled_noise() -> tuple[int, Path | None]:
    """How many values of the compiled noise are wrong, and the folder that its code is kept in."""
    from smoothcert.noise import numba_kernel

    def make(addresses: Addresses, pixels: NDArray[np.int32]) -> NDArray[np.float32]:
        out = np.empty((_ROWS, *_SHAPE), np.float32)
        numba_kernel.NoisyImages(_LAW, _SEED)(addresses, pixels, np.arange(_ROWS), out)
        return out

    return _wrong(make), numba_kernel.kept_in()


def torch_noise(device: str) -> int:
    """How many values of noise made by torch on a device are wrong."""
    import torch

    from smoothcert.noise.torch_kernel import TorchNoise, stacked

    def make(addresses: Addresses, pixels: NDArray[np.int32]) -> NDArray[np.float32]:
        maker = TorchNoise(_LAW, device)
        there = torch.from_numpy(stacked(addresses)).to(device)
        clean = torch.from_numpy(pixels).to(device)
        return maker.images(maker.seed(_SEED), there, clean).cpu().numpy()

    return _wrong(make)


def _wrong(make: Callable[[Addresses, NDArray[np.int32]], NDArray[np.float32]]) -> int:
    """Compare noisy images with the definition, at addresses over their whole range."""
    numbers = 2 ** np.arange(_ROWS, dtype=np.int64) - 1
    streams = np.full(_ROWS, Stream.PROBE, np.int64)
    addresses = Addresses(numbers * 2**30, streams, numbers * 2**20 + 1)
    pixels = np.arange(_ROWS * 3072, dtype=np.int32).reshape(_ROWS, *_SHAPE) % 256
    steps = _LAW.rows(_SEED, addresses, pixels[0].size).reshape(pixels.shape)
    return int((make(addresses, pixels) != to_float(pixels + steps, _LAW.levels)).sum())


def has_nvidia() -> bool:
    """Whether this machine has an NVIDIA GPU with a driver, whatever torch was built for."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def cuda() -> Cuda | None:
    """What torch sees; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    built_for = str(torch.version.cuda or "")
    if not torch.cuda.is_available():
        return Cuda(torch.__version__, built_for, (), _why_not() if built_for else "")
    gpus = []
    for number in range(torch.cuda.device_count()):
        name = f"cuda:{number}"
        properties = torch.cuda.get_device_properties(number)
        gpus.append(Gpu(name, properties.name, properties.total_memory, torch_noise(name)))
    return Cuda(torch.__version__, built_for, tuple(gpus))


def _why_not() -> str:
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).partition("\n")[0]
    return "no device"


def onnx_problem(device: str) -> str:
    """Why ONNX Runtime does not compute on a device, by trying it; empty if it does."""
    try:
        from onnx import TensorProto, helper, save
    except ImportError as error:
        return str(MissingExtra(error.name or "onnx", "onnx-gpu"))
    from smoothcert.classifiers.loading import load_classifier

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", ends[:1], ends[1:])
    sets = [helper.make_opsetid("", 17)]
    ones = np.ones((3, 2), np.float32)
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "twice.onnx"
            save(helper.make_model(graph, opset_imports=sets, ir_version=8), path)
            found = load_classifier(path, device).logits(ones)
    except SmoothcertError as error:
        return str(error)
    return "" if (found == 2 * ones).all() else "it computes 1 + 1 wrongly"


def onnx_builds() -> tuple[str, ...]:
    """The distributions of ONNX Runtime that are installed; of two, one has broken the other."""
    return tuple(name for name in ONNX_BUILDS if _is_installed(name))


def _is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def onnx_providers() -> tuple[str, ...]:
    """Of ONNX Runtime; empty without it."""
    try:
        import onnxruntime
    except ImportError:
        return ()
    return tuple(onnxruntime.get_available_providers())


def saturates() -> bool | None:
    """Whether this processor clips sums of int8 products; None without ONNX Runtime."""
    try:
        from smoothcert.classifiers import integer_products
    except ImportError:
        return None
    return integer_products.saturates()
