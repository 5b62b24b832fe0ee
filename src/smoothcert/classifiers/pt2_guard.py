"""Refuses torch.export archives that could run code when loaded or evaluated.

`torch.export.load` unpickles weights whose config says so, falls back to full unpickling for
sample inputs, evaluates symbolic expressions with sympy, and resolves any dotted name that
starts with `torch.` as an operator. `program.module()` then writes Python source from the names
in the program and executes it, and the source of its guards likewise. An archive whose every part
is on the lists below needs none of that; an ordinary export passes. So does a quantized one
(PT2E): its operators in `quantized_decomposed` are torch's own Python functions on tensors,
registered by importing `torch.ao`; an operator that nothing has registered makes the load fail,
not run.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from smoothcert.classifiers.recognized import why_unreadable
from smoothcert.errors import ModelError

_MEMBERS = re.compile(
    r"[^/]+/(data/(weights|constants)/(weight_\d+|tensor_\d+|model_(weights|constants)_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|archive_format|archive_version"
    r"|\.data/version|\.data/serialization_id|byteorder)"
)
_LOOPS = "cond|while_loop|scan|map_impl|associative_scan|flex_attention|invoke_subgraph"
_TARGETS = re.compile(
    # Not aten.from_file, which maps, and with `shared` makes, any file.
    r"torch\.ops\.(aten\.(?!from_file\b)|prims\.|quantized_decomposed\.|torchao\.)\w+(\.\w+)?"
    rf"|torch\.ops\.higher_order\.({_LOOPS}|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|math\.(ceil|floor|sqrt|trunc)|torch\.sym_\w+"
)
# A power only of a symbol, to one digit: sympy would never finish 9**9**9**9.
_SYMBOL = re.compile(r"Symbol\('[su]\d+'(, \w+=(True|False))*\)")
_POWER = re.compile(r"Pow\([su]\d+, Integer\(-?\d\)\)|[su]\d+\*\*\d(?!\d)")
_CALLS = (
    "Mul|Add|Integer|Float|Rational|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|IntTrueDiv|FloatTrueDiv"
    "|Max|Min|ModularIndexing|Where|ToFloat|TruncToInt|FloorToInt|CeilToInt|RoundToInt|Identity"
    "|Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan"
    "|And|Or|Not"
)
_NUMBER = r"\b\d{1,20}(?:\.\d{1,20})?\b"
_TOKENS = rf"\b(?:{_CALLS}|True|False|and|or|not)\b|{_NUMBER}|[\s+\-/(),<>=!%&|~]|\*(?!\*)"
_SIZE = r"L(?:\['\w+'\]|\[\d+\])+(?:\.size\(\)\[\d+\])?"
_EXPRESSION = re.compile(rf"(?:\b[su]\d+\b|{_TOKENS})*", re.ASCII)
_GUARD = re.compile(rf"(?:{_SIZE}|{_TOKENS})*", re.ASCII)
_NAME = re.compile(r"[\w.+\-]*", re.ASCII)
"""What may appear in generated source: no quotes, brackets, spaces or line ends."""

_FREE = {"as_string", "as_strings"}
"""Text that is an operator's argument: torch puts it into source with its quotes escaped."""

_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
"""Kinds of inputs and outputs; other kinds name a class to import."""

_SMALL = 2**20


_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, AttributeError, EOFError),
    *(OSError, RuntimeError),
)
"""What `zipfile` and `json` raise for anything but an archive of the expected form, including
encrypted members, unknown compressions and endless nesting (all RuntimeErrors)."""


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
        members = {name: _checked_member(path, name, data) for name, data in members.items()}
    except _UNREADABLE as error:
        raise ModelError(
            f"{path.name} is not a readable torch.export archive ({error}). "
            f"{why_unreadable(path)} Such files are written with torch.export.save."
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


def _checked_member(path: Path, name: str, data: bytes) -> bytes:
    """The member's bytes; a program's without what only a debugger reads."""
    if not _MEMBERS.fullmatch(name):
        raise _refused(path, f"the archive member {name!r}")
    if name.endswith("_config.json"):
        _check_payload(path, json.loads(data))
    elif name.endswith("models/model.json"):
        program = _without_metadata(json.loads(data))
        _check_program(path, program)
        return json.dumps(program).encode()
    elif name.endswith(".pt"):
        _check_sample_inputs(path, data)
    return data


def _check_payload(path: Path, config: Any) -> None:
    for key, entry in config["config"].items():
        if entry["use_pickle"]:
            raise _refused(path, f"the pickled tensor {key!r}")


def _without_metadata(node: Any) -> Any:
    """The program without stack traces and other free text from the exporting machine."""
    if isinstance(node, list):
        return [_without_metadata(child) for child in node]
    if not isinstance(node, dict):
        return node
    texts = [k for k, v in node.items() if k == "metadata" and isinstance(v, dict)]
    return {k: {} if k in texts else _without_metadata(v) for k, v in node.items()}


def _check_program(path: Path, program: Any) -> None:
    for key, value in _strings(program):
        if key in ("target", "as_operator"):
            if not _TARGETS.fullmatch(value):
                raise _refused(path, f"the operator {value!r}")
        elif key in ("expr_str", "range_constraints"):
            if not _EXPRESSION.fullmatch(_POWER.sub("s0", _SYMBOL.sub("s0", value))):
                raise _refused(path, f"the expression {value!r}")
        elif key == "guards_code":
            if not _GUARD.fullmatch(value):
                raise _refused(path, f"the guard {value!r}")
        elif key in ("in_spec", "out_spec"):
            _check_tree(path, json.loads(value))
        elif key not in _FREE and not _NAME.fullmatch(value):
            raise _refused(path, f"the name {value!r}")


def _strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a JSON tree with its key; keys are strings too."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield key if key == "range_constraints" else "", name
            yield from _strings(child, name)
    elif isinstance(node, list):
        for child in node:
            yield from _strings(child, key)
    elif isinstance(node, str):
        yield key, node


def _check_tree(path: Path, spec: Any) -> None:
    """Check how inputs or outputs are nested: [version, node]."""
    nodes = [spec[1]]
    while nodes:
        node = nodes.pop()
        keys = json.loads(node["context"] or "null")
        plain = all(isinstance(k, str) and _NAME.fullmatch(k) for k in keys or ())
        if node["type"] not in _CONTAINERS or not plain:
            raise _refused(path, f"the container {node['type']!r} with {keys!r}")
        nodes += node["children_spec"]


def _check_sample_inputs(path: Path, raw: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as inner:
            for name in inner.namelist():
                _read(inner, name)
        torch.load(io.BytesIO(raw), weights_only=True)
    except Exception as error:
        raise _refused(path, "sample inputs that are not plain tensors") from error


def _refused(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path.name} holds {what}, which could run code when loaded, so it is not read. "
        "Export the network again with torch.export (plain tensors and operators only), or "
        "build it in code you trust and pass package.module:factory."
    )
