"""What certificates claim and how they were made, in the same words everywhere."""

from smoothcert.bounds.together import wrong_at_most
from smoothcert.certificate import Settings
from smoothcert.decimals import level
from smoothcert.methods import Decision, Irs, Method, Reuse


def made(settings: Settings, method: Method | None) -> str:
    """How certificates were made."""
    draws = f"{settings.n0} selection and {settings.n} estimation draws"
    if isinstance(method, Irs):
        how = f"IRS, {method.variant}, {method.per_input} evaluations per input"
        return f"recertified ({how}) from an original with {draws}"
    if isinstance(method, Reuse):
        how = f"{method.method}, {method.policy}"
        return f"recertified ({how}) from an original with {draws}"
    if isinstance(method, Decision):
        return f"decided at radius {method.radius:g} with at most {settings.n} draws"
    return f"certified from scratch with {draws}"


def all_together(inputs: int, alpha: float) -> str:
    """What certificates at alpha each say of all their inputs (docs/theory.md, section 11)."""
    wrong = wrong_at_most(inputs, alpha, alpha)
    return (
        f"with probability 1 − {level(alpha)}, at most {wrong} of the {inputs} certificates "
        f"{'is' if wrong == 1 else 'are'} wrong (docs/theory.md, section 11)"
    )
