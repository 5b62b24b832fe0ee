"""One file per method, from votes to certificates, all pure; each method is registered here."""

from smoothcert.certificate import Settings
from smoothcert.methods.base import Allocation, Bound, Case, Method, RecertifyOptions, Stored
from smoothcert.methods.exact import Exact
from smoothcert.methods.extended import Extended
from smoothcert.methods.irs import Irs
from smoothcert.methods.replay import Reuse
from smoothcert.methods.scratch import Scratch
from smoothcert.methods.sequential import Decision
from smoothcert.methods.sized import Sized

__all__ = [
    "BY_KIND",
    "BY_NAME",
    "SCRATCH",
    "Allocation",
    "Bound",
    "Case",
    "Decision",
    "Exact",
    "Extended",
    "Irs",
    "Method",
    "Planned",
    "RecertifyOptions",
    "Reuse",
    "Scratch",
    "Sized",
    "Stored",
    "alpha_of",
    "by_input",
    "method_of",
    "planned",
    "stated",
]

SCRATCH = Scratch()

BY_KIND: dict[str, type[Method]] = {
    method.kind: method for method in (Irs, Reuse, Exact, Decision, Sized, Extended)
}
"""The other methods by their names in run.json."""


BY_NAME: dict[str, type[Method]] = {
    name: method for method in BY_KIND.values() for name in method.names
}
"""The methods of `recertify` by what it calls them."""


def method_of(stated: Method | None) -> Method:
    """The method of a result, whose own field is None for a certification from scratch."""
    return SCRATCH if stated is None else stated


def stated(method: Method) -> Method | None:
    """A method as results store it."""
    return None if method == SCRATCH else method


Planned = Reuse | Exact
"""Methods that follow a plan made from a pilot on the base's draws."""


def planned(method: Method) -> Planned | None:
    """The method, if it follows a plan made from a pilot on the base's draws."""
    return method if isinstance(method, Planned) else None


def by_input(method: Method | None) -> bool:
    """Whether what is proven of an input depends on the draws of no other input.

    A plan is made from all inputs' selection draws, or from a pilot on some of them.
    """
    return isinstance(method_of(method), Scratch | Irs | Decision)


def alpha_of(settings: Settings, method: Method | None) -> float:
    """The proven upper bound on the probability that a certificate with these settings is wrong.

    Source: docs/theory.md: section 2 from scratch, 3 IRS, 7, 8 and 13 beyond it, 9 a decision.
    """
    return method_of(method).proven_alpha(settings)
