"""Where ONNX Runtime computes, and how: sessions on the CPU, by CUDA or by TensorRT.

The modes of an ONNX model on CUDA: `eager`, strict float32 and cuDNN's own choice of algorithms;
`fast`, TensorFloat-32 products and algorithms found by trial; `tensorrt`, engines that TensorRT
builds by trial, in its own precision, with `eager` for what it lacks. What is found by trial may
differ in another process.
"""

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from smoothcert.classifiers.quiet import prints_to_stderr
from smoothcert.errors import ONNX_FOR_GPUS, MissingExtra, ModelError, SmoothcertWarning
from smoothcert.vocabulary import MODES, TENSORRT

if TYPE_CHECKING:
    import torch

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_STRICT = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
_FAST = {"use_tf32": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"}
# Growing by powers of two would take memory that torch needs for noise.
_MEMORY = {"arena_extend_strategy": "kSameAsRequested"}
_OPTIONS = {
    MODES[0]: {CUDA: _STRICT | _MEMORY},
    "fast": {CUDA: _FAST | _MEMORY},
    TENSORRT: {_TENSORRT: {}, CUDA: _STRICT | _MEMORY},
}
"""What is asked of the providers, by mode; the first one is to compute."""

_RECORD, _PLACES = "session.record_ep_graph_assignment_info", "get_provider_graph_assignment_info"
# Sizes and places of tensors, which ONNX Runtime computes on the host even on a GPU, since its
# kernels need them there.
_OF_SHAPES = {
    *("Shape", "Size", "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Cast", "Range"),
    *("Add", "Sub", "Mul", "Div", "Mod", "Equal", "Where", "ConstantOfShape", "ReduceProd"),
}


class ComputedElsewhere(SmoothcertWarning):
    """Operators of an ONNX model are not computed by the provider that was asked for."""


@dataclass(frozen=True)
class OpenedSession:
    """A session on its device.

    Attributes:
        session: of ONNX Runtime.
        stream: in which it computes, on CUDA: its own, as it takes torch's default one for none.
    """

    session: onnxruntime.InferenceSession
    stream: "torch.cuda.Stream | None" = None


def opened_session(
    model: Path, options: onnxruntime.SessionOptions, device: str, mode: str
) -> OpenedSession:
    """Open a model file on a device.

    Args:
        model: the file.
        options: of the session.
        device: `cpu`, `cuda`, `cuda:1`, ...
        mode: `eager`; on CUDA also `fast` or `tensorrt`.

    Raises:
        ModelError: there is no such device here, or ONNX Runtime does not compute on it.
        MissingExtra: torch, which keeps what is on a GPU, is not installed.
    """
    name = model.name
    check_mode(name, mode)
    if device == "cpu":
        if mode != MODES[0]:
            raise ModelError(
                f"{name} can be {mode!r} on CUDA only: give --device cuda, or leave out {mode!r}."
            )
        return OpenedSession(onnxruntime.InferenceSession(str(model), options, providers=[CPU]))
    try:
        import torch  # first: it loads the libraries of CUDA that ONNX Runtime needs too

        from smoothcert.classifiers.pytorch import check_device
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "onnx-gpu") from error
    check_device(device)
    found = torch.device(device)
    if found.type != "cuda":
        raise ModelError(f"ONNX models run on cpu, cuda or cuda:N; got {device!r}")
    wanted = next(iter(_OPTIONS[mode]))
    require_available(wanted)
    number = torch.cuda.current_device() if found.index is None else found.index
    stream = torch.cuda.Stream(number)
    place = {"device_id": str(number), "user_compute_stream": str(stream.cuda_stream)}
    options.add_session_config_entry(_RECORD, "1")
    options.use_deterministic_compute = mode == MODES[0]
    with prints_to_stderr:  # what of CUDA's libraries torch has not loaded
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(
        str(model),
        options,
        providers=[(provider, place | more) for provider, more in _OPTIONS[mode].items()],
        enable_fallback=0,
    )
    require_active(session, wanted)
    warn_of_others(session, name, wanted)
    return OpenedSession(session, stream)


def check_mode(name: str, mode: str) -> None:
    """Raise ModelError for a mode that ONNX models do not have anywhere."""
    if mode not in _OPTIONS:
        raise ModelError(
            f"{name} cannot be {mode!r}: an ONNX model is {', '.join(_OPTIONS)}, the last two on "
            "CUDA."
        )


def require_available(provider: str) -> None:
    """Raise ModelError unless ONNX Runtime was built with a provider, and can say what it does."""
    there = onnxruntime.get_available_providers()
    if provider not in there:
        raise ModelError(
            f"The installed ONNX Runtime {onnxruntime.__version__} lacks the {provider}; it has "
            f"{', '.join(there)}. Replace it by the build for GPUs: {ONNX_FOR_GPUS}; or use "
            "--device cpu."
        )
    if not hasattr(onnxruntime.InferenceSession, _PLACES):
        raise ModelError(
            f"ONNX Runtime {onnxruntime.__version__} cannot say which provider computes what. "
            "Upgrade it: pip install -U 'onnxruntime-gpu>=1.26', or use --device cpu."
        )


def require_active(session: onnxruntime.InferenceSession, provider: str) -> None:
    """Raise ModelError if a provider could not be started: then the CPU would do its work."""
    if session.get_providers()[0] == provider:
        return
    import torch

    with_library = " and TensorRT" if provider == _TENSORRT else ""
    raise ModelError(
        f"ONNX Runtime {onnxruntime.__version__} could not start its {provider}, and would compute "
        f"by {session.get_providers()[0]}. Its libraries of CUDA, cuDNN{with_library} are missing "
        f"or of another version (torch {torch.__version__} is for CUDA {torch.version.cuda}): "
        "install the versions that onnxruntime.ai lists for this provider, or use "
        f"{'eager or fast' if with_library else '--device cpu'}."
    )


def warn_of_others(session: onnxruntime.InferenceSession, name: str, provider: str) -> None:
    """Warn of operators that a provider lacks, so that others of its session compute them."""
    subgraphs: Any = getattr(session, _PLACES)()
    places = [(one.ep_name, node.op_type) for one in subgraphs for node in one.get_nodes()]
    others = Counter(
        f"{kind} ({place.removesuffix('ExecutionProvider')})"
        for place, kind in places
        if place != provider and kind not in _OF_SHAPES
    )
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(4))
        more = " and more" if len(others) > 4 else ""
        text = (
            f"The {provider} lacks {others.total()} of the {len(places)} operators of {name}: "
            f"{kinds}{more}. Certificates hold all the same; the CPU's are slow there, and "
            "--device cpu may be faster."
        )
        warnings.warn(text, ComputedElsewhere, stacklevel=2)
