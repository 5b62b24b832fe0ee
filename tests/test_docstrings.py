"""Public docstrings are whole: every parameter, what is returned, what is raised, whose theorem."""

import ast
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import pytest

import smoothcert
from smoothcert import bounds, errors

ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type)}
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Source)\b:", re.MULTILINE)
ELSEWHERE = re.compile(r"(?:[Ss]ee|as for) (?:`[\w.]+`|the class)")
BOUNDS = [
    import_module(f"smoothcert.bounds.{m.name}") for m in pkgutil.iter_modules(bounds.__path__)
]


def public() -> Iterator[tuple[str, Any]]:
    """Every public function, class and method by its full name."""
    for name in smoothcert._HOMES:
        value = getattr(smoothcert, name)
        if inspect.isclass(value):
            yield name, value
            for inner, made in vars(value).items():
                function = made.__func__ if isinstance(made, staticmethod | classmethod) else made
                if not inner.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{inner}", function
        elif callable(value):
            yield name, value
    for module in BOUNDS:
        for name, value in vars(module).items():
            mine = getattr(value, "__module__", "") == module.__name__
            if mine and not name.startswith("_") and callable(value):
                yield f"{module.__name__.removeprefix('smoothcert.')}.{name}", value


PUBLIC = dict(public())


def sections(text: str) -> dict[str, str]:
    """The docstring's parts by their heads; what is before the first under an empty one."""
    pieces = SECTION.split(inspect.cleandoc(text))
    return {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}


def parameters(value: Any) -> list[str]:
    """The names that a caller gives."""
    if inspect.isclass(value):
        if is_dataclass(value):
            return [f.name for f in fields(value) if f.init and not f.name.startswith("_")]
        if "__init__" not in vars(value) or getattr(value, "_is_protocol", False):
            return []
        value = value.__init__
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]


def undescribed(value: Any) -> list[str]:
    """Parameters that the docstring does not describe."""
    found = sections(value.__doc__)
    listed = found.get("Args", found.get("Attributes"))
    if listed is None:  # a short one: named in its sentences, or told to be as elsewhere
        if ELSEWHERE.search(found[""]):
            return []
        return [n for n in parameters(value) if not re.search(rf"\b{n}\b", value.__doc__)]
    return [name for name in parameters(value) if name not in described(listed)]


def described(listed: str) -> list[str]:
    """The names that a list of parameters has; several may share a line."""
    heads = re.findall(r"^    ([\w*]+(?:, [\w*]+)*):", listed, re.MULTILINE)
    return re.findall(r"\w+", " ".join(heads))


def strange(value: Any) -> list[str]:
    """Parameters that the docstring describes and that are none."""
    listed = sections(value.__doc__).get("Args", "")
    return [name for name in described(listed) if name not in parameters(value)]


def raised(value: Any) -> set[str]:
    """Errors of the package that the body raises itself."""
    body = value.__post_init__ if hasattr(value, "__post_init__") else value
    if inspect.isclass(body):
        return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(body)))
    named = {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }
    return named & ERRORS


def unnamed(value: Any) -> list[str]:
    """Errors that are raised and not named."""
    return sorted(name for name in raised(value) if not re.search(rf"\b{name}\b", value.__doc__))


def silent(value: Any) -> bool:
    """Whether a function with a list of arguments does not say what it returns."""
    if inspect.isclass(value) or "Args" not in (found := sections(value.__doc__)):
        return False
    returned = inspect.signature(value).return_annotation
    return returned not in (None, "None") and not found.keys() & {"Returns", "Yields"}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_docstring_is_whole(name):
    value = PUBLIC[name]
    assert value.__doc__, "has no docstring"
    assert undescribed(value) == []
    assert strange(value) == []
    assert unnamed(value) == []
    assert not silent(value), "does not say what it returns"


@pytest.mark.parametrize("module", BOUNDS, ids=lambda module: module.__name__)
def test_a_bound_names_its_source(module):
    """A theorem's year, or the section of the theory that proves it."""
    assert re.search(r"\b(19|20)\d\d\b|docs/theory\.md, section", module.__doc__)


def test_the_check_sees_what_is_missing():
    """The control."""

    def example(votes: int, alpha: float) -> float:
        """Do something.

        Args:
            votes, level: how many.
        """
        raise errors.InvalidInput(f"{votes} {alpha}")

    def other(votes: int) -> None:
        """Do something."""
        from smoothcert.errors import InvalidInput

        raise InvalidInput(f"{votes}")

    checks: tuple[Callable[[Any], Any], ...] = (undescribed, strange, silent)
    assert [check(example) for check in checks] == [["alpha"], ["level"], True]
    assert (undescribed(other), unnamed(other)) == (["votes"], ["InvalidInput"])
