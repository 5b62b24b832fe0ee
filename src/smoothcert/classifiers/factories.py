"""`package.module:factory`: the user's code, imported and called, and what it may return."""

import ast
import contextlib
import inspect
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from smoothcert.classifiers.arguments import NO_ARGUMENTS, Arguments
from smoothcert.classifiers.blame import THEIRS, reason
from smoothcert.classifiers.quiet import quiet
from smoothcert.errors import ModelError, SmoothcertError, did_you_mean
from smoothcert.vocabulary import MODEL_FORMS

_NAME = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
"""Suffix of a Python module."""


class Factory:
    """The imported object that `package.module:name` refers to.

    What it prints goes to stderr: stdout is for results.
    """

    def __init__(
        self,
        reference: str,
        arguments: Arguments = NO_ARGUMENTS,
        finish: Callable[[Any], Any] | None = None,
    ) -> None:
        """Import it.

        Args:
            reference: `package.module:name`.
            arguments: what it is called with.
            finish: makes the model of what is made, as by loading weights into it.

        Raises:
            ModelError: there is no such module or name, or importing it failed.
        """
        self.reference = reference
        self._arguments = arguments
        self._finish = finish or (lambda made: made)
        module, _, name = reference.partition(":")
        before = _seed()
        try:
            with _users_code():
                found = import_module(module)
        except SmoothcertError:
            raise
        except THEIRS as error:
            nameless = re.fullmatch(_NAME, module) is None
            absent = isinstance(error, ModuleNotFoundError) and error.name in _parents(module)
            missing = nameless or absent
            wrong = (
                f"No module named {module!r}"
                if missing
                else f"importing {module} failed: {reason(error)}"
            )
            advice = (likely(reference) or f" Give {MODEL_FORMS}") if missing else ""
            raise ModelError(f"Cannot import {reference!r}: {wrong}.{advice}") from error
        self._module, self._name, self._called = found, name, False
        try:
            self.target: Any = getattr(found, name)
        except AttributeError as error:
            callables = [key for key, value in vars(found).items() if callable(value)]
            bare = name.partition("(")[0]
            hint = did_you_mean(bare, callables) or f". Give {MODEL_FORMS}"
            if bare in callables and (called := likely(reference)):
                hint = f".{called}"
            raise ModelError(
                f"Cannot import {reference!r}: {module} has no {name!r}{hint}"
            ) from error
        # Random numbers of a module that seeds torch are the same in every process.
        self._state = sys.modules["torch"].get_rng_state() if _seeded(before) else None

    def __call__(self) -> Any:
        """What the factory returns.

        Raises:
            ModelError: it is not a function, takes other arguments, or raised an error.
        """
        if not callable(self.target):
            raise ModelError(
                f"{self.reference} is {_a(type(self.target).__name__)}, not a module, a classifier "
                "or a function that returns one."
            )
        self._arguments.require_taken(self.target, self.reference)
        self._called = True
        try:
            with _users_code():
                made = self._arguments.call(self.target)
        except (SmoothcertError, MemoryError):
            raise
        except THEIRS as error:
            raise ModelError(f"The factory {self.reference} failed: {reason(error)}") from error
        return self._finish(made)

    def made(self) -> Any:
        """The object itself, which is the model.

        Raises:
            ModelError: there are arguments.
        """
        if self._arguments:
            raise ModelError(
                f"{self.reference} is a model already and takes no arguments. Leave them out, or "
                "name a function or a class that makes it."
            )
        return self._finish(self.target)

    def again(self) -> Any:
        """What it returns in a second call; None if that fails, as if something opens only once."""
        with _random_numbers_kept():
            if self._state is not None:
                sys.modules["torch"].set_rng_state(self._state)
            return self._call(self.target)

    def afresh(self) -> Any:
        """What it returns if its file is run again, as in another process; None if that fails.

        Files that it imports are not run again.
        """
        spec = getattr(self._module, "__spec__", None)
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return None
        with _random_numbers_kept(), quiet():
            fresh = module_from_spec(spec)
            try:
                with _users_code():
                    spec.loader.exec_module(fresh)
                target = getattr(fresh, self._name)
            except THEIRS:
                return None
            return self._call(target) if self._called else self._finish(target)

    def _call(self, target: Any) -> Any:
        try:
            with _users_code():
                made = self._arguments.call(target)
        except THEIRS:
            return None
        return self._finish(made)

    @property
    def seeds_torch(self) -> bool:
        """Whether importing it seeded torch's random numbers."""
        return self._state is not None


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def refuse_others(made: Any, reference: str) -> None:
    """Say what to return from a factory that returned neither a module nor a classifier.

    Raises:
        ModelError: always.
    """
    kind = _a(type(made).__name__)
    todo = "Return the torch.nn.Module, or a Classifier."
    if made is None:
        kind = "nothing"
        todo = "End it with `return` and the torch.nn.Module."
    elif isinstance(made, type):
        kind = f"the class {made.__name__}"
        todo = f"Return {made.__name__}(), or name the class itself as the factory."
    elif inspect.iscoroutine(made):
        made.close()  # or Python warns that it was never awaited
        todo = "Make it a plain function, without async: it is not awaited."
    elif inspect.isgenerator(made):
        todo = "Return the network instead of yielding it."
    elif isinstance(made, dict) and (names := [key for key in made if _is_network(made[key])]):
        todo = f"Return only the network, its {names[0]!r}."
    elif isinstance(made, dict) and all(isinstance(key, str) for key in made):
        todo = (
            "If these are weights, build the network, load them with load_state_dict, and return "
            "the network."
        )
    elif isinstance(made, tuple | list):
        todo = "Return only the network."
    elif callable(made):
        todo = (
            "If it makes the network, return the result of calling it; if it takes a batch, "
            "return smoothcert.from_function(it, name, version)."
        )
    raise ModelError(f"The factory {reference} returns {kind}, not a model. {todo}")


def _is_network(value: Any) -> bool:
    return isinstance(value, sys.modules["torch"].nn.Module) if "torch" in sys.modules else False


def refuse_random(reference: str, differing: list[str]) -> None:
    """Raise ModelError for a factory that made two different models; it names what differs."""
    shown = ", ".join(differing[:3]) + (", ..." if len(differing) > 3 else "")
    raise ModelError(
        f"The factory {reference} makes a different model in each call: "
        f"{shown or 'its fingerprint'} differed between two calls. Another process could not "
        "resume or verify a run of it. In the factory, load weights, or seed its random numbers "
        "(torch.manual_seed, numpy.random.seed, random.seed) before anything random."
    )


def likely(reference: str) -> str:
    """` Did you mean 'm:f'?` for a reference that nearly names a factory, or nothing.

    Such as `./m.py:f`, `m.py`, `pkg/m:f`, `m.f`, `m:f()` or `m:f(24)`; nothing is imported.
    """
    text, _, given = reference.partition(",")
    if reference.endswith(")"):
        text, _, given = reference[:-1].partition("(")
    module, _, name = text.replace("::", ":").partition(":")
    module = re.sub(r"\.py$", "", module.replace("\\", "/").removeprefix("./")).replace("/", ".")
    if not name and not text.endswith(".py") and "." in module:
        module, _, name = module.rpartition(".")
    if not re.fullmatch(_NAME, module) or not _source(module).is_file():
        return ""
    tree = _parsed(_source(module))
    names = [name] if name else _without_arguments(tree)[:3]
    some = [f"{module}:{name}{_by_name(given, _parameters(tree, name))}" for name in names]
    found = [form for form in some if form != reference]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def _by_name(given: str, parameters: list[str]) -> str:
    """`,width=24` for the `24` of a call, or for `width=24`."""
    parts = [re.sub(r"[\s'\"]", "", part) for part in given.split(",") if part.strip()]
    names = [*parameters, *["NAME"] * len(parts)]
    return "".join(
        f",{part}" if "=" in part else f",{name}={part}"
        for part, name in zip(parts, names, strict=False)
    )


def _source(module: str) -> Path:
    path = Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_name(f"{path.name}.py")


def _parsed(path: Path) -> list[ast.stmt]:
    try:
        return ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []


def _without_arguments(tree: list[ast.stmt]) -> list[str]:
    """Names of a file's functions that need no arguments."""
    functions = [node for node in tree if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if len(f.args.args) <= len(f.args.defaults)]


def _parameters(tree: list[ast.stmt], name: str) -> list[str]:
    """Names of the arguments of a function, or of a class."""
    for node in tree:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _parameters(node.body, "__init__")[1:]
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return [argument.arg for argument in node.args.args]
    return []


def _parents(module: str) -> set[str]:
    """`a`, `a.b` and `a.b.c` for `a.b.c`."""
    parts = module.split(".")
    return {".".join(parts[:end]) for end in range(len(parts) + 1)}


def _seed() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else torch.initial_seed()


def _seeded(before: int | None) -> bool:
    """Whether torch was seeded; it seeds itself with 53 random bits when first imported."""
    now = _seed()
    return now is not None and (now < 2**32 if before is None else now != before)


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


@contextmanager
def _users_code() -> Iterator[None]:
    """Let `mymodel:make` find mymodel.py in the current folder, as `python -m` would."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)
