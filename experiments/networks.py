"""A compressed network in a folder, made once, and the file that is run in its place."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from smoothcert import Inputs
from smoothcert.compress.compress import compress

SUFFIXES = {
    ".onnx": ("int8", "int8-dynamic", "lowrank", "onnx"),
    ".pt2": ("bf16", "fp16", "int8-pt2e"),
}


@dataclass(frozen=True)
class Network:
    """A compressed network.

    Weights can be run by ONNX Runtime, as their ONNX twin: twice as fast as torch on a CPU, and
    what is left between two networks is their weights.
    """

    file: Path
    run: Path
    fraction_changed: float
    batch_dependent: bool


@dataclass(frozen=True)
class Source:
    """What networks are made of.

    Attributes:
        model: the reference of the original.
        training: what int8 is calibrated on, and students are trained on.
        sigma: the noise on it.
        seed: of all of it.
        twins: whether weights are run as their ONNX twins.
    """

    model: str
    training: Inputs
    sigma: float
    seed: int
    twins: bool = True


def file_name(target: str) -> str:
    """A target's name, for a folder."""
    return re.sub(r"[^\w.-]+", "-", target)


def made(source: Source, target: str, folder: Path) -> Network:
    """Make the network, or find it made."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, note = target.partition(":")[0], folder / "change.json"
    suffix = next((s for s, kinds in SUFFIXES.items() if kind in kinds), ".safetensors")
    file = folder / f"model{suffix}"
    run = file.with_suffix(".onnx") if source.twins and suffix == ".safetensors" else file
    if not note.exists():
        change = compress(
            source.model,
            target,
            file,
            inputs=source.training,
            sigma=source.sigma,
            seed=source.seed,
        )
        if run != file:
            compress(str(file), "onnx", run, inputs=source.training)
        kept = {
            "fraction_changed": change.fraction_changed,
            "batch_dependent": change.batch_dependent,
        }
        note.write_text(json.dumps(kept | {"target": target, "method": change.method}))
    facts = json.loads(note.read_text())
    return Network(file, run, facts["fraction_changed"], facts["batch_dependent"])
