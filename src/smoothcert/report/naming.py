"""What runs, models and data are called on pages and charts: not by folders of their files."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from smoothcert.data.inputs import Inputs
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.runs.store import Run
from smoothcert.text import visible

_FOLDERS = re.compile(r"[^@+:]*[/\\]")


def titled(run: Run) -> str:
    """A run's name with its noise, which no comparison may leave out."""
    return f"{visible(run.name)} (σ = {run.identity.settings.sigma:g})"


def model_name(run: Run) -> str:
    """The model that a run certified, without the folders of its file."""
    return visible(_FOLDERS.sub("", str(run.manifest.origin.get("model", "not recorded"))))


def data_name(origin: Mapping[str, Any]) -> str:
    """The data that a run of this origin certified on, without its folders."""
    recorded = origin.get("data")
    if not isinstance(recorded, dict):
        return "not recorded"
    name = PurePath(str(recorded.get("data", ""))).name or "not recorded"
    return visible(f"{name} ({recorded['split']})" if recorded.get("split") else name)


def facts(run: Run) -> dict[str, Any]:
    """What a run is of, as `--json` has it everywhere; of a changed model `n` is the original's."""
    data = run.manifest.origin.get("data")
    return {
        "model": run.model,
        "fingerprint": run.identity.model,
        "data": data.get("data") if isinstance(data, dict) else None,
        "n": run.identity.settings.n,
    }


def candidate_names(candidates: Sequence[DatasetCertificate]) -> list[str]:
    """Names of screened models: of their files without the ending, where that leaves them apart."""
    whole = [visible(c.name) for c in candidates]
    short = [PurePath(name.rpartition("@")[2]).stem or name for name in whole]
    files: dict[str, set[str]] = {}
    for name, full in zip(short, whole, strict=True):
        files.setdefault(name, set()).add(full)
    return [s if len(files[s]) == 1 else w for s, w in zip(short, whole, strict=True)]


def class_names(data: Sequence[Inputs]) -> tuple[str, ...]:
    """Names of the classes, where all given data sets agree on them."""
    known = {inputs.classes for inputs in data}
    return tuple(map(visible, known.pop())) if len(known) == 1 else ()
