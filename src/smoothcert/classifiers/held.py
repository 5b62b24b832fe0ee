"""What an object holds, as far as it is data that determines what a model computes."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch

from smoothcert.classifiers.code import is_library

PLAIN = (bool, int, float, complex, str, bytes, type(None))

PLACES = ("name_or_path", "_name_or_path")
"""Attributes that say where a Hugging Face model was loaded from, which has no effect."""

_OF_DATA = (
    *("numpy", "scipy", "sklearn", "torchao", "torchvision", "PIL"),
    *("torch.ao", "torch.distributions", "torch.nn"),
    *("argparse", "array", "builtins", "collections", "datetime", "decimal", "fractions"),
    *("functools", "operator", "types"),
)
"""Libraries whose objects are data. Those of others (locks, files, devices, loggers, handles) have
no content, or one that differs between processes."""


def text_of(value: Any) -> str:
    """A number or text as Python writes it, whatever `repr` of a subclass says."""
    kind: Any = next(kind for kind in PLAIN if isinstance(value, kind))
    return kind.__repr__(value)


def attributes(value: Any) -> dict[str, Any]:
    """Attributes in its dictionary and slots, and the default of a defaultdict."""
    found = {}
    for base in type(value).__mro__:
        slots = () if is_library(base) and not _is_data(base) else vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                found[name] = getattr(value, name)
    if isinstance(value, defaultdict):
        found["default_factory"] = value.default_factory
    inside = getattr(value, "__dict__", None)
    found |= inside if isinstance(inside, dict) else {}
    return {name: some for name, some in found.items() if name not in PLACES}


def held(value: Any) -> Any:
    """The content of an object of a user's class, or of a library's that holds data.

    Its attributes or, without any, what copying it would pass on. Empty if it has no content.
    """
    kind = type(value)
    if isinstance(value, torch.autocast):  # it also keeps the previous state
        return {"type": value.device, "dtype": value.fast_dtype, "enabled": value._enabled}
    if is_library(kind) and not _is_data(kind):
        return _name(value)
    if found := attributes(value):
        return found
    if isinstance(value, Iterator):
        return {}
    try:
        reduced = value.__reduce_ex__(2)
    except Exception:  # noqa: BLE001 - whatever says that it cannot be copied
        return _name(value)
    if isinstance(reduced, str):
        return reduced
    arguments = [part for part in reduced[1] if part is not kind]
    rest = [list(part) if isinstance(part, Iterator) else part for part in reduced[2:]]
    return [arguments, rest] if arguments or any(part is not None for part in rest) else {}


def _name(value: Any) -> Any:
    """The name of a library's function or operator, which has no other content."""
    named = getattr(value, "__qualname__", "") or getattr(value, "__name__", "")
    return named if callable(value) and isinstance(named, str) and named else {}


def _is_data(kind: type) -> bool:
    within = f"{kind.__module__}."
    random = within.startswith("numpy.random.")  # its state is not part of a model
    return not random and any(within.startswith(f"{library}.") for library in _OF_DATA)
