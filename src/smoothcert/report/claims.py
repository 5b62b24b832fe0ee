"""What certificates claim and how they were made, in the same words everywhere."""

from collections.abc import Sequence

from smoothcert.bounds.paired import LEVEL, POWER, detectable
from smoothcert.bounds.together import wrong_at_most
from smoothcert.certificate import Certificate, Settings
from smoothcert.methods import Method, alpha_of, method_of
from smoothcert.report.comparison import Comparison, family
from smoothcert.text import ceil_to, floor_to, level, many
from smoothcert.tries import SECTION, Tries
from smoothcert.vocabulary import RESULTS

A_TENTH = 0.1
"""A share of inputs that may change, for what can be found before anything is known."""

_BONFERRONI = ", by Bonferroni's correction for these tests"

CHOSEN = (
    "A result that is chosen among several, or of a model made from results, is not covered by its "
    "α. A valid second try needs new draws: recertify --fresh-seed random, or certify "
    f"--seed random ({SECTION})."
)

CLAIM = (
    "A certificate says that the smoothed classifier gives the certified class to every input "
    "on the data's grid (for image files: every 8-bit image) that is closer than the radius in "
    "ℓ₂ norm. A closer input between grid values gets this class, too, if noise is added before "
    "anything is rounded to the grid; rounding it first can move it beyond the radius. The "
    "certificate is wrong with probability at most α, for each input on its own."
)
"""What a certificate claims: the same sentences on the page, on the card, in the README, documents
and docstrings (docs/theory.md, sections 1, 2 and 5)."""


def beside_grid(settings: Settings) -> str:
    """What is said of inputs that were given off their grid; empty where all are on it."""
    if not settings.off_grid:
        return ""
    return f"inputs up to {settings.off_grid:g} off the grid, which is subtracted from every radius"


def theorem(certificates: Sequence[Certificate]) -> str:
    """Where the theory proves them."""
    sections = sorted({RESULTS[c.method].section for c in certificates})
    listed = ", ".join(map(str, sections))
    return f"docs/theory.md, section{'s' if len(sections) > 1 else ''} {listed}"


def of_alphas(
    settings: Settings, method: Method | None, certificates: Sequence[Certificate]
) -> str:
    """Why a recertified model has another α than its original; empty if it has not."""
    made, alpha = method_of(method), alpha_of(settings, method)
    if not made.needs_base or made.continues or alpha == settings.alpha:
        return ""
    draws = "new draws alone" if made.is_fresh else "cached and new draws together"
    return (
        f"α is {level(alpha)} for each certificate, on {draws} ({theorem(certificates)}); the "
        f"original's {level(settings.alpha)} is for its own."
    )


def all_together(inputs: int, alpha: float) -> str:
    """What certificates, each at alpha, say over all their inputs (docs/theory.md, section 11)."""
    wrong = wrong_at_most(inputs, alpha, alpha)
    return (
        f"with probability 1 − {level(alpha)}, at most {wrong} of the "
        f"{many(inputs, 'certificate')} {'is' if wrong == 1 else 'are'} wrong "
        "(docs/theory.md, section 11)"
    )


def of_new_inputs(beta: float, labelled: bool) -> str:
    """What the limits for new inputs say (docs/theory.md, section 15)."""
    return (
        f"with probability 1 − {level(beta)}, each limit on its own, the smoothed classifier gives "
        f"{'its label' if labelled else 'one class'} to at least this share of new inputs and to "
        "everything closer than the radius, or does so up to at least this radius on average "
        "(docs/theory.md, section 15). The run's inputs must be a random sample of the same "
        "population, and no model made from them"
    )


def of_comparisons(compared: Sequence[Comparison]) -> str:
    """What the p-values of comparisons say, and why some have none (docs/theory.md, section 15)."""
    alike, several = [one for one in compared if one.alike], family(compared)
    said = []
    if alike:
        level = alike[0].level
        most = (
            f"{level:g}/{several} = {floor_to(level / several, 6)}" if several > 1 else f"{level:g}"
        )
        said.append(
            "p asks whether both certify the same share of a population, of which these inputs are "
            "a random sample (McNemar's exact test; docs/theory.md, section 15). *: significant at "
            f"{level:g} (p at most {most}{_BONFERRONI if several > 1 else ''})."
        )
    if not all(one.exact for one in alike):
        said.append("It is approximate where a plan shares draws out among inputs.")
    if len(alike) < len(compared):
        said.append(
            "There is no p where σ, n, α or the method differ: with fewer draws, or a smaller α, "
            "certificates are lost whatever the model. To compare models as such, certify each "
            "from scratch with the same σ, n and α."
        )
    return " ".join((*said, "Each certificate holds with its own α, whatever is said here."))


def of_sample(inputs: int) -> str:
    """What a comparison of two models on so many inputs can find (docs/theory.md, section 15)."""
    if_lost, changed = detectable(inputs), detectable(inputs, A_TENTH)
    if if_lost is None:
        return (
            f"{many(inputs, 'input')} are too few to compare two models by McNemar's exact test at "
            f"{LEVEL:g} (docs/theory.md, section 15)."
        )
    more = "" if changed is None else f", or {_points(changed)} if one input in ten changes"
    return (
        f"Two models compared on {many(inputs, 'input')}: a loss of {_points(if_lost)} of "
        f"certified accuracy is found with probability {POWER:g} if nothing is gained{more} "
        f"(McNemar's exact test at {LEVEL:g}; docs/theory.md, section 15)."
    )


def sample_json(inputs: int) -> dict[str, dict[str, float | None]]:
    """The figures of `of_sample`, as JSON has them."""
    found = {"if_lost": detectable(inputs), "if_a_tenth_changes": detectable(inputs, A_TENTH)}
    return {"detectable": {"inputs": inputs, "level": LEVEL, "power": POWER, **found}}


def _points(share: float) -> str:
    return f"{ceil_to(share * 100, 2)} points"


def tried(
    tries: Tries | None,
    model: str = "",
    method: Method | None = None,
    beside: str = "",
    advice: bool = True,
) -> str:
    """How often a cache was used and, if more than once, what that means; empty if never.

    Args:
        tries: what the cache was asked, or None if that is unknown.
        model: fingerprint of a model whose own tries are also counted.
        method: of the current result; one from a fresh seed has its own draws.
        beside: the current result, where it is not among the tries.
        advice: end with `CHOSEN` where it applies.
    """
    if tries is None or not tries.results:
        return ""
    results, of = many(tries.results, "result"), many(tries.models, "model")
    own = f", {tries.of(model)} of them for this one" if model else ""
    cache = f"Beside {beside}, this cache" if beside else "This cache"
    text = f"{cache} has given {results} for {of}{own}."
    if method is not None and method.is_fresh:
        return (
            f"{text} This result is from draws of a fresh seed: a model chosen by the others is "
            f"covered, unless it was also chosen among several fresh seeds ({SECTION})."
        )
    return f"{text} {CHOSEN}" if advice and (beside or tries.results > 1) else text
