"""The machine that evaluates a classifier, as far as it can change a vote."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from smoothcert.classifiers.protocol import AddsIntegers, Classifier

UNKNOWN = "unknown"

SATURATING = "saturating"
"""The products of integers on a processor without VNNI; see `integer_products`."""

_FEATURES = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "AVX-512 VNNI": ("avx512_vnni", "avx512vnni"),
    "AVX-VNNI": ("avx_vnni",),
    "AMX": ("amx_int8", "amx_tile"),
    "dot product": ("asimddp", "hw.optional.arm.feat_dotprod"),
    "i8mm": ("i8mm", "hw.optional.arm.feat_i8mm"),
}
"""Instructions that choose a kernel, as Linux and macOS call them."""

_LISTS = ("flags", "features", "machdep.cpu.features", "machdep.cpu.leaf7_features")
"""Where they are listed."""

_VOTES = ("architecture", "vendor", "processor", "features", "gpu")
"""What is recorded of a machine that can change a vote."""


def machine_of(classifier: Classifier) -> dict[str, Any]:
    """What run.json records of this machine, for a classifier on it; plain values.

    Returns:
        `architecture`, `vendor`, `processor` and `features` of the processor; on a GPU `gpu`, its
        name, compute capability and driver; `threads`, how many batches are computed at once, and
        `providers` of ONNX Runtime, where the classifier has them.
    """
    found: dict[str, Any] = dict(_processor())
    if device_kind(classifier) == "cuda":
        found["gpu"] = _gpu(classifier.device)
    if isinstance(threads := getattr(classifier, "threads", None), int):
        found["threads"] = threads
    if isinstance(providers := getattr(classifier, "providers", None), tuple):
        found["providers"] = list(providers)
    return found


def device_kind(classifier: Classifier) -> str:
    """`cpu`, `cuda`, ...: which of several equal devices does not matter."""
    return classifier.device.partition(":")[0]


def products_of(classifier: Classifier) -> str:
    """What this processor does to the classifier's products of integers: `saturating`, or empty."""
    if device_kind(classifier) != "cpu" or not isinstance(classifier, AddsIntegers):
        return ""
    if not classifier.can_saturate:
        return ""
    from smoothcert.classifiers.integer_products import saturates  # loads ONNX Runtime

    return SATURATING if saturates() else ""


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of what can change a vote and is not the same on two machines."""
    return [name for name in _VOTES if one.get(name) != other.get(name)]


def description(machine: Mapping[str, Any], products: str = "") -> str:
    """A machine in a few words."""
    facts = [machine.get("vendor", UNKNOWN), machine.get("architecture", UNKNOWN)]
    facts += machine.get("features", ())
    facts += [f"{products} products of integers"] if products else []
    text = f"{machine.get('processor', UNKNOWN)} ({', '.join(facts)})"
    if gpu := machine.get("gpu"):
        text = f"{', '.join(f'{name} {value}' for name, value in gpu.items())}; {text}"
    return text


@cache
def _processor() -> Mapping[str, Any]:
    """Of this machine."""
    facts = _facts()
    words = {word for name in _LISTS for word in facts.get(name, "").lower().split()}
    words |= {name for name, value in facts.items() if value == "1"}
    features = [name for name, theirs in _FEATURES.items() if words & {*theirs}]
    return {
        "architecture": platform.machine().lower() or UNKNOWN,
        "vendor": _first(facts, "vendor_id", "machdep.cpu.vendor", "cpu implementer"),
        "processor": _first(facts, "model name", "machdep.cpu.brand_string", "cpu part"),
        "features": features if facts else [UNKNOWN],
    }


def _first(facts: Mapping[str, str], *names: str) -> str:
    return next((facts[name] for name in names if facts.get(name)), UNKNOWN)


def _facts() -> dict[str, str]:
    """What the system says of its first processor, by lower-case names; empty if nothing."""
    with suppress(OSError, subprocess.SubprocessError):
        if platform.system() == "Linux":
            return _pairs(Path("/proc/cpuinfo").read_text(errors="replace").splitlines())
        if platform.system() == "Darwin":
            command = ["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"]
            run = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
            return _pairs(run.stdout.splitlines())
    return {}


def _pairs(lines: Sequence[str]) -> dict[str, str]:
    """`name: value` of every line; of a name that is repeated, the first."""
    split = (line.partition(":") for line in reversed(lines))
    return {name.strip().lower(): value.strip() for name, _, value in split if value.strip()}


def _gpu(device: str) -> dict[str, str]:
    """Of a device; where torch cannot say it, as beside ONNX Runtime alone, less is known."""
    try:
        import torch

        found = torch.cuda.get_device_properties(device)
        name, capability = found.name, f"{found.major}.{found.minor}"
    except (ImportError, RuntimeError, AssertionError):
        name = capability = UNKNOWN
    return {"GPU": name, "compute capability": capability, "driver": _driver()}


def _driver() -> str:
    """The version of NVIDIA's driver."""
    with suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(errors="replace")
        numbers = (word for word in text.split() if word[:1].isdigit() and "." in word)
        return next(numbers, UNKNOWN)
    return UNKNOWN
