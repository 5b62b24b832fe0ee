"""Refuses torch.export archives that could run code when loaded or evaluated.

`torch.export.load` unpickles weights whose config says so, falls back to full unpickling for
sample inputs, evaluates symbolic expressions with sympy, and resolves any dotted name that
starts with `torch.` as an operator. An archive whose every part is on the lists below needs
none of that; an ordinary export passes. So does a quantized one (PT2E): its operators in
`quantized_decomposed` are torch's own Python functions on tensors, registered by importing
`torch.ao`; an operator that nothing has registered makes the load fail, not run.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from smoothcert.errors import ModelError

_MEMBERS = re.compile(
    r"[^/]+/(data/(weights|constants)/(weight_\d+|tensor_\d+|model_(weights|constants)_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|archive_format|archive_version"
    r"|\.data/version|\.data/serialization_id|byteorder)"
)
_TARGETS = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchao|higher_order)\.\w+(\.\w+)?"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|math\.(ceil|floor|sqrt|trunc)|torch\.sym_\w+"
)
_SYMBOL = re.compile(r"Symbol\('[su]\d+'(, \w+=(True|False))*\)")
_EXPRESSION = re.compile(r"([su]\d+|[A-Z][A-Za-z]*|\d+(\.\d+)?|[\s+\-*/(),<>=%])*")
_SMALL = 2**20


def checked_pt2(path: Path) -> io.BytesIO:
    """A copy of the archive in memory, of exactly what was checked.

    The copy matters: two zip readers can see different members in one crafted file, and what
    torch reads must be what was looked at.

    Raises:
        ModelError: damaged, or not everything in it is plain tensors and tensor operators.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: _read(archive, name) for name in archive.namelist()}
        for name, data in members.items():
            _check_member(path, name, data)
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, OSError) as error:
        raise ModelError(
            f"{path.name} is not a readable torch.export archive ({error}). It may be "
            "truncated, or a file of another format; write it with torch.export.save."
        ) from error
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    copy.seek(0)
    return copy


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member; torch stores without compression, so nothing may grow when unpacked."""
    facts = archive.getinfo(name)
    if facts.file_size > max(_SMALL, 4 * facts.compress_size):
        raise ValueError(f"{name} would unpack to {facts.file_size} bytes")
    return archive.read(name)


def _check_member(path: Path, name: str, data: bytes) -> None:
    if not _MEMBERS.fullmatch(name):
        raise _refused(path, f"the archive member {name!r}")
    if name.endswith("_config.json"):
        _check_payload(path, json.loads(data))
    elif name.endswith("models/model.json"):
        _check_program(path, json.loads(data))
    elif name.endswith(".pt"):
        _check_sample_inputs(path, data)


def _check_payload(path: Path, config: Any) -> None:
    for key, entry in config["config"].items():
        if entry["use_pickle"]:
            raise _refused(path, f"the pickled tensor {key!r}")


def _check_program(path: Path, program: Any) -> None:
    for key, value in _strings(program):
        if key == "target" and not _TARGETS.fullmatch(value):
            raise _refused(path, f"the operator {value!r}")
        if key == "expr_str" and not _EXPRESSION.fullmatch(_SYMBOL.sub("s0", value)):
            raise _refused(path, f"the expression {value!r}")


def _strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a JSON tree with the key it stands under."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _strings(child, name)
    elif isinstance(node, list):
        for child in node:
            yield from _strings(child, key)
    elif isinstance(node, str):
        yield key, node


def _check_sample_inputs(path: Path, raw: bytes) -> None:
    try:
        torch.load(io.BytesIO(raw), weights_only=True)
    except Exception as error:
        raise _refused(path, "sample inputs that are not plain tensors") from error


def _refused(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path.name} holds {what}, which could run code when loaded, so it is not read. "
        "Export the network again with torch.export (plain tensors and operators only), or "
        "build it in code you trust and pass package.module:factory."
    )
