"""The code of users' functions: what it is, what it reads, and what it sets when called."""

import dis
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partialmethod
from importlib import import_module
from inspect import getattr_static
from itertools import pairwise
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_LIBRARIES = {
    *sys.stdlib_module_names,
    *("torch", "torchao", "torchvision", "numpy", "scipy", "sklearn", "smoothcert"),
} - {"__main__"}
_GROWING = {
    "append",
    "appendleft",
    "extend",
    "insert",
    "add",
    "update",
    "setdefault",
    "pop",
    "__setitem__",
}
_MISSING = object()


def is_library(value: Any) -> bool:
    """Whether a function, class or module belongs to Python or a library of known version."""
    named = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return str(named).partition(".")[0] in _LIBRARIES


def is_installed(value: Any) -> bool:
    """Whether a class belongs to an installed package, whoever published it."""
    file = str(getattr(sys.modules.get(value.__module__), "__file__", ""))
    return "site-packages" in file or "dist-packages" in file


def functions_of(kind: type, names: Sequence[str]) -> list[FunctionType]:
    """The functions of these names in a class and its bases, except a library's."""
    found = []
    for base in kind.__mro__:
        if is_library(base):
            continue
        for name in names:
            value = base.__dict__.get(name)
            if isinstance(function := _function_in(value), FunctionType):
                found.append(function)
    return found


def _function_in(value: Any) -> Any:
    """The function of a property, static, class, cached or partial method; else the value."""
    if isinstance(value, property):
        return value.fget
    if isinstance(value, cached_property | partialmethod):
        return value.func
    value = getattr(value, "__func__", value)
    return value if isinstance(value, FunctionType) else getattr(value, "__wrapped__", value)


def constants_of(kind: type, names: Sequence[str]) -> list[Any]:
    """The values of these names in a class and its bases that are not functions."""
    found: list[Any] = []
    for base in kind.__mro__:
        for name in names if not is_library(base) else ():
            value = base.__dict__.get(name, _MISSING)
            if isinstance(value, partialmethod):
                found.append([value.args, value.keywords])
            elif value is not _MISSING and not isinstance(_function_in(value), FunctionType):
                found.append(value)
    return found


def code_parts(function: Any, owner: type | None) -> Iterator[Any]:
    """What a function does: bytes of its code, and the values and functions that it reads.

    Args:
        function: a Python function.
        owner: the class whose method it is; attributes that it reads are also looked up there.
    """
    function = function.__func__ if isinstance(function, MethodType) else function
    yield from (function.__defaults__, function.__kwdefaults__)
    grown = _changes(function.__code__).filled
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield _content(name, cell.cell_contents, grown)
        except ValueError:  # not set yet
            continue
    codes = list(_nested(function.__code__))
    steps = (step for code in codes for step in dis.get_instructions(code))
    stored = {i.argval for i in steps if i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")}
    for code in codes:
        constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
        if constants and constants[0] == function.__doc__ and isinstance(constants[0], str):
            constants = constants[1:]
        yield code.co_code
        yield constants
        yield code.co_names
        spaces: list[Any] = _imported(code)
        texts = [text for text in constants if isinstance(text, str) and text.isidentifier()]
        for name in (*code.co_names, *texts):
            if name.startswith("__") or name in stored:
                continue
            found = [getattr_static(space, name) for space in spaces if _has(space, name)]
            if name in function.__globals__ and (name not in texts or "globals" in code.co_names):
                found.append(function.__globals__[name])
            for value in found:
                if isinstance(value, ModuleType | type) and not is_library(value):
                    spaces.append(value)
                if not isinstance(value, ModuleType):
                    yield _content(name, value, grown)
            if owner is not None:
                yield from _of_class(owner, name, function)


def _of_class(owner: type, name: str, function: Any) -> Iterator[Any]:
    """Methods and constants of a class with a name that a method reads."""
    for method in functions_of(owner, (name,)):
        if method is not function:
            yield Method(method, owner)
    yield from constants_of(owner, (name,))


def _has(space: Any, name: str) -> bool:
    return any(name in vars(base) for base in getattr(space, "__mro__", (space,)))


def _imported(code: CodeType) -> list[ModuleType]:
    """Users' modules that a function imports inside."""
    found = []
    for name in (s.argval for s in dis.get_instructions(code) if s.opname == "IMPORT_NAME"):
        with suppress(Exception):  # forward will say why
            found.append(import_module(name))
            found += [
                sys.modules[".".join(name.split(".")[:end])]
                for end in range(1, name.count(".") + 1)
            ]
    return [module for module in found if not is_library(module)]


@dataclass(frozen=True, eq=False)
class Method:
    """A function with the class in which it looks up names."""

    function: FunctionType
    owner: type


def _content(name: str, value: Any, grown: set[str]) -> Any:
    """A value, or only its type for a container that calls fill."""
    return type(value) if name in grown and isinstance(value, list | dict | set) else value


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


@dataclass(frozen=True)
class Changes:
    """Names that a call changes.

    Attributes:
        overwritten: attributes set by every call, whatever their value was.
        counted: attributes that a call adds to.
        grown: containers in attributes that a call fills.
        filled: containers in variables of a closure or a module that a call fills.
    """

    overwritten: set[str] = field(default_factory=set)
    counted: set[str] = field(default_factory=set)
    grown: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)

    def fill(self, step: dis.Instruction) -> None:
        """Record the container that this instruction loads."""
        if step.opname in ("LOAD_ATTR", *_VARIABLES):
            (self.grown if step.opname == "LOAD_ATTR" else self.filled).add(step.argval)


def changes_of(function: Any) -> Changes:
    """What a call of a function changes, as far as its code shows; nothing for library code."""
    plain = _plain(function)
    return Changes() if plain is None else _changes(plain.__code__)


def called(module: Any) -> list[Any]:
    """What a forward pass of a module calls: `forward`, hooks, and functions put on it."""
    own = [value for value in module.__dict__.values() if callable(value)]
    kinds = (module._forward_pre_hooks, module._forward_hooks)
    hooks = [hook for kind in kinds for hook in kind.values()]
    return [getattr(type(module), "forward", None), *own, *hooks]


def filled_by(function: Any) -> list[Any]:
    """Containers of a closure or a module that calls of a user's function fill."""
    plain = _plain(function)
    if plain is None:
        return []
    outer = dict(plain.__globals__)
    for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True):
        with suppress(ValueError):  # not set yet
            outer[name] = cell.cell_contents
    found = [outer.get(name) for name in _changes(plain.__code__).filled]
    return [value for value in found if isinstance(value, list | dict | set)]


def _plain(function: Any) -> FunctionType | None:
    """A user's function without its decorators."""
    function = function.__func__ if isinstance(function, MethodType) else function
    while isinstance(function, FunctionType) and hasattr(function, "__wrapped__"):
        function = function.__dict__["__wrapped__"]
    return function if isinstance(function, FunctionType) and not is_library(function) else None


def shares_state(function: Any) -> bool:
    """Whether calls of a user's function write to variables outside it, or of a closure.

    Two threads with separate copies of its object would still write to the same variables.
    """
    plain = _plain(function)
    if plain is None:
        return False
    outer = {*plain.__code__.co_freevars, *plain.__globals__}
    for inner in _nested(plain.__code__):
        changed = _changes(inner)
        steps = list(dis.get_instructions(inner))
        stored = {s.argval for s in steps if s.opname in ("STORE_GLOBAL", "STORE_DEREF")}
        if (changed.filled | stored) & outer or _sets_outer(steps):
            return True
    return False


def _sets_outer(steps: list[dis.Instruction]) -> bool:
    """Whether it sets an attribute or an item of a closure's or a global variable."""
    return any(
        step.opname == "STORE_ATTR" and before.opname in ("LOAD_GLOBAL", "LOAD_DEREF")
        for before, step in pairwise(steps)
    )


def _changes(code: CodeType) -> Changes:
    found = Changes()
    read = set[str]()
    certain = True  # no branch was passed, so every call gets here
    own = code.co_varnames[:1]
    before: list[dis.Instruction] = []
    for step in dis.get_instructions(code):
        certain = certain and "JUMP" not in step.opname and step.opname != "FOR_ITER"
        if step.opname == "STORE_ATTR":
            if certain and step.argval not in read and _reads(before[-1], own):
                found.overwritten.add(step.argval)
            if any(b.opname == "BINARY_OP" and b.argrepr.endswith("=") for b in before[-3:]):
                found.counted.add(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            if step.argval in _GROWING:
                found.fill(before[-1])
            read.add(step.argval)
        elif step.opname in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            container = _container(before)
            if container is not None:
                found.fill(container)
        before.append(step)
    return found


def _reads(step: dis.Instruction, names: tuple[str, ...]) -> bool:
    """Whether the last value loaded is one of these local variables."""
    loaded = step.argval if isinstance(step.argval, tuple) else (step.argval,)
    return step.opname.startswith("LOAD_FAST") and loaded[-1:] == names


def _container(before: list[dis.Instruction]) -> dis.Instruction | None:
    """The target of a store with a key that is one name or constant: `c[k] = v`, `c[k] += v`."""
    end = len(before)
    if end and before[-1].opname == "SWAP":
        copies = [i for i, b in enumerate(before) if b.opname == "COPY"]
        end = copies[-2] if len(copies) > 1 else 0
    return before[end - 2] if end > 1 else None


_VARIABLES = ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME")
