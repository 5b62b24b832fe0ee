"""What a run directory may contain: whoever seals an untrusted run can write anything into it.

Each check raises ValueError, TypeError or a SmoothcertError that says what is wrong; readers turn
the first two into Damaged.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Certificate, Settings, Votes
from smoothcert.methods import Method
from smoothcert.sampling import known_answers
from smoothcert.text import is_plain_file

MOST_MANIFEST_BYTES = 2**27
"""Byte limit of a JSON file: run.json has about ten bytes for each input."""

MOST_DRAWS = 2**27
"""Draws of the inputs of one block together, so that reading it takes at most 2 GiB for labels."""

MOST_LABELS = 4 * MOST_DRAWS
"""Labels of one block: for each draw the new one, the original's, its role, or its margin."""

MOST_STEPS = 4096
"""Numbers of a plan by cached votes; see `methods.exact.Steps`."""

MOST_CLASSES = 2**20
"""Classes are counted in an array; the largest image data sets have 2^15."""

MOST_VALUES = 2**28
"""Values of one input: a gigabyte as int32."""

MOST_TEXT = 2**12
"""Characters of a text in a table; the longest one written is a budget, of about 100."""

UNREADABLE = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError),
    *(RecursionError, MemoryError, OSError),
)
"""What json, pyarrow (whose errors are also ValueErrors, OSErrors and MemoryErrors) and access to
what they return raise for content that was not written by this package."""

_MOST_FACTS = 64  # of one kind about a machine
_BUDGET = re.compile(r"[A-Za-z][A-Za-z _-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTENT = re.compile(r"[0-9a-f]{16}")


def whole(value: object, name: str, least: int, most: int) -> int:
    """The value, if it is a whole number (not True) in a range; or ValueError."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}; got {value!r:.60}")
    return value


def number(value: object, name: str, least: float, most: float) -> float:
    """The value, if it is a number in a range, hence finite; or ValueError."""
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number from {least} to {most}; got {value!r:.60}")
    return value  # type: ignore[return-value]


def _texts(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if not isinstance(value, str) or len(value) > MOST_TEXT:
            raise ValueError(f"{name} must be a short text; got {value!r:.60}")


def check_identity(raw: Mapping[str, Any]) -> None:
    """Types and ranges of run.json's `identity`, beyond what Settings and methods check."""
    settings, method = raw["settings"], raw["method"]
    for part in (settings, method or {}):
        for name, value in part.items():
            kinds = (bool, int, float, str, type(None))
            if type(value) not in kinds or (isinstance(value, float) and not isfinite(value)):
                raise ValueError(f"{name} must be a plain value; got {value!r:.60}")
    whole(settings["levels"], "levels", 1, 2**20)
    whole(settings["seed"], "seed", 0, 2**64 - 1)
    for name in ("n0", "n"):
        whole(settings[name], name, 1, 10**9)
    for name in ("sigma", "alpha"):
        number(settings[name], name, 0, 2.0**20)
    number(settings.get("off_grid", 0), "off_grid", 0, 2.0**20)
    whole(settings["keep_margins"] + 0, "keep_margins", 0, 1)
    for value in raw["indices"]:
        whole(value, "an index", 0, 2**63 - 1)
    if not raw["indices"] or len(set(raw["indices"])) < len(raw["indices"]):
        raise ValueError("it has no inputs, or one twice")
    for value in raw["shape"]:
        whole(value, "a side of the shape", 1, MOST_VALUES)
    if not 1 <= len(raw["shape"]) <= 32 or prod(raw["shape"]) > MOST_VALUES:
        raise ValueError(f"{raw['shape']!r:.60} is not the shape of an input")
    whole(raw["num_classes"], "num_classes", 1, MOST_CLASSES)
    for name in ("batch_size", "block_inputs"):
        whole(raw[name], name, 1, 2**31 - 1)
    names = ("model", "data", "device", "noise_hash", "base", "layout", "noise_law")
    _texts({name: raw[name] for name in names} | {"products": raw.get("products", "")})
    _texts(dict(raw["versions"].items()))


def check_origin(origin: Any) -> None:
    """Types of run.json's `origin`, and names of attached files that stay in the run."""
    if not isinstance(origin, dict):
        raise TypeError("its origin is not an object")
    _texts(
        {
            name: origin[name]
            for name in ("model", "name", "base", "front", "unit", "probe_answers")
            if name in origin
        }
    )
    whole(origin.get("pilot_evaluations", 0), "pilot_evaluations", 0, 2**63 - 1)
    known_answers.read(origin.get("probe_answers", "1x1:AAAAAA=="))
    check_attached(origin.get("files", {}))
    for name in ("data", "twin_of", "machine"):
        if not isinstance(origin.get(name, {}), dict):
            raise TypeError(f"{name} is not an object")
    if not isinstance(classes := origin.get("classes", []), list):
        raise TypeError("classes is not a list")
    _texts({f"class {number}": name for number, name in enumerate(classes)})
    _check_machine(origin.get("machine", {}))


def _check_machine(machine: Mapping[str, Any]) -> None:
    """Texts, lists of them, and of a GPU an object of them; members may be absent."""
    kinds = {"features": list, "providers": list, "gpu": dict, "threads": int}
    for name, value in machine.items():
        kind = kinds.get(name, str)
        if type(value) is not kind or (kind in (list, dict) and len(value) > _MOST_FACTS):
            raise TypeError(f"{name} of its machine is {value!r:.60}")
        inner = value if kind is list else value.values() if kind is dict else [str(value)]
        for text in inner:
            _texts({f"{name} of its machine": text})


def check_attached(files: Mapping[str, str]) -> None:
    """Names and digests of the files that are stored with a run."""
    for name, digest in files.items():
        if not is_plain_file(name) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{name!r:.60} is not the name of a file stored with a run")


def check_contents(contents: list[Any]) -> None:
    """Content hashes: 16 hexadecimal digits each."""
    if not all(isinstance(c, str) and _CONTENT.fullmatch(c) for c in contents):
        raise ValueError("it has an invalid content hash")


def budget_of(text: str) -> dict[str, float]:
    """The error budget of a certificate, from its column."""
    budget = json.loads(text)
    for name, share in budget.items():
        number(share, "a share of the budget", 0, 1)
        if not _BUDGET.fullmatch(name):
            raise ValueError(f"the budget names {name!r:.60}")
    return budget


def check_certificate(c: Certificate, settings: Settings, method: Method, most: int) -> None:
    """Ranges of what a certificate says, for `most` classes."""
    if c.method not in method.results:
        raise ValueError(f"it has certificates by the method {c.method!r:.60}")
    whole(c.candidate, "candidate", -1, most - 1)
    for name in ("k", "n", "cached_k", "cached_n", "flips", "losers"):
        whole(getattr(c, name), name, 0, settings.n)
    whole(c.evaluations, "evaluations", 0, 4 * (settings.n0 + settings.n))
    for name in ("radius", "zeta"):
        number(getattr(c, name), name, 0, 2.0**30)
    for name in ("q", "runner_up"):
        number(getattr(c, name), name, -1, 2)
    check_contents([c.content])


def check_votes(votes: Votes, method: Method, num_classes: int) -> None:
    """Labels of existing classes, and parts that match each other and the method."""
    for name in ("selection", "estimation", "original", "fresh"):
        _within(getattr(votes, name), -1, num_classes - 1, f"labels in {name}")
    _within(votes.margins, 0, 254, "margins")
    _within(votes.roles, 0, 2, "roles")
    for name in ("plan", "cached"):
        _within(getattr(votes, name), 0, 10**9, name)
    for field in fields(votes):
        if field.name not in method.vote_kinds and len(getattr(votes, field.name)):
            raise ValueError(f"there are {field.name} that its method does not have")
    draws, margins = len(votes.estimation), len(votes.margins)
    old, roles = len(votes.original), len(votes.roles)
    misfit = method.needs_base and method.replayed(votes) != draws
    if margins not in (0, draws) or roles not in (0, old) or misfit:
        raise ValueError(
            f"{draws} estimation draws do not match {margins} margins, {old} labels of the "
            f"original and {roles} roles"
        )


def check_labels(labels: NDArray[np.int32], num_classes: int) -> None:
    """Labels of existing classes."""
    _within(labels, -1, num_classes - 1, "labels")


def _within(values: NDArray[np.int32], least: int, most: int, name: str) -> None:
    if len(values) and not (least <= values.min() and values.max() <= most):
        raise ValueError(
            f"{name} range from {values.min()} to {values.max()}, outside {least}..{most}"
        )
