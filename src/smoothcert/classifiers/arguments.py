"""Keyword arguments in a reference: `package.module:factory,width=24,pretrained=false`."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smoothcert.errors import ModelError, did_you_mean

Value = int | float | bool | str | None
"""What can be written in a reference."""

_WORDS = {"true": True, "false": False, "none": None}
_WHOLE = r"-?(?:0|[1-9]\d{0,299})"
_DECIMAL = r"-?(?:\d+\.\d*|\.\d+|\d+(?=e))(?:e-?\d{1,2})?"
_FORM = "package.module:factory,width=24,pretrained=false"


@dataclass(frozen=True)
class Arguments:
    """What a factory or a class is called with; true if there are any.

    Attributes:
        items: names and values, in the order in which they are written.
    """

    items: tuple[tuple[str, Value], ...] = ()

    @staticmethod
    def parse(text: str, reference: str) -> "Arguments":
        """Read `width=24,pretrained=false`: whole numbers, decimals, true, false, none, or text.

        Raises:
            ModelError: a part is not `name=value`, a name is there twice, or a value is empty or
                has a character that means something else in a reference.
        """
        found: dict[str, Value] = {}
        for part in text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals:
                raise ModelError(
                    f"{part!r} in {reference!r} has no name. Arguments are given as name=value, as "
                    f"in {_FORM}; a value cannot have a comma in it."
                )
            if not name.isidentifier():
                near = name.replace("-", "_")
                hint = f" Did you mean {near!r}?" if near.isidentifier() else ""
                raise ModelError(f"{name!r} in {reference!r} is no name of an argument.{hint}")
            if name in found:
                raise ModelError(f"{reference!r} has the argument {name!r} twice. Give it once.")
            found[name] = _value(value, name, reference)
        return Arguments(tuple(found.items()))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.items)

    @property
    def text(self) -> str:
        """The same whatever their order and spelling: `depth=3,width=24`; strings in quotes."""
        return ",".join(f"{name}={value!r}" for name, value in sorted(self.items))

    def call(self, target: Callable[..., Any]) -> Any:
        """Call it with them."""
        return target(**dict(self.items))

    def require_taken(self, target: Any, code: str) -> None:
        """Refuse arguments that a function or class does not have, and the lack of needed ones.

        Raises:
            ModelError: an argument is unknown, missing, or can only be given by its position.
        """
        try:
            parameters = list(inspect.signature(target).parameters.values())
        except (ValueError, TypeError):  # a C function, which has no signature
            return
        given = dict(self.items)
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        takes = ", ".join(map(_shown, named)) or "no arguments"
        unknown = given.keys() - {p.name for p in named}
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            name = min(unknown)
            near = did_you_mean(name, [p.name for p in named]) or "."
            raise ModelError(f"{code} has no argument {name!r}{near} It takes {takes}.")
        optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p for p in parameters if p.default is p.empty and p.kind not in optional]
        lacking = [p for p in needed if p not in named or p.name not in given]
        if bare := [p.name for p in lacking if p not in named]:
            raise ModelError(
                f"{code} takes {', '.join(bare)} by position only, and arguments are given by "
                "name. Name a function without the '/' in its arguments."
            )
        if lacking:
            names = [p.name for p in lacking]
            what = "argument" if len(names) == 1 else "arguments"
            have = "".join(f",{name}={value}" for name, value in self.items)
            form = code + have + "".join(f",{name}=..." for name in names)
            raise ModelError(
                f"{code} needs the {what} {', '.join(names)}. Give {form} (it takes {takes}), or "
                "defaults."
            )


NO_ARGUMENTS = Arguments()


def _shown(parameter: inspect.Parameter) -> str:
    """`width` or `width=24`, as in its signature."""
    if parameter.default is parameter.empty:
        return parameter.name
    return f"{parameter.name}={parameter.default!r:.40}"


def _value(text: str, name: str, reference: str) -> Value:
    where = f"The argument {name!r} in {reference!r}"
    if not text:
        raise ModelError(f"{where} has no value. Give {name}=..., or leave it out.")
    if found := re.search(r"[+@'\"()\[\]{}]", text):
        why = {
            "+": " After a '+' comes what stands before the model: a JSON file, or with the "
            "weights of a file a normalization (1e5 needs no '+').",
            "@": " After an '@' comes the file of weights.",
        }.get(found[0], " Texts are given without quotes, and lists cannot be given.")
        raise ModelError(f"{where} has {found[0]!r} in its value.{why}")
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if re.fullmatch(_WHOLE, text, re.ASCII):
        return int(text)
    if re.fullmatch(_DECIMAL, text, re.ASCII | re.IGNORECASE):
        return float(text)
    return text
