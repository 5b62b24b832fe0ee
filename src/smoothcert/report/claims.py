"""What certificates claim and how they were made, in the same words everywhere."""

from smoothcert.bounds.together import wrong_at_most
from smoothcert.certificate import Settings
from smoothcert.methods import Method
from smoothcert.text import level, many
from smoothcert.tries import SECTION, Tries

CHOSEN = (
    "A result that is chosen among several, or of a model made from results, is not covered by its "
    "α. A valid second try needs new draws: recertify --fresh-seed with a new number, or certify "
    f"--seed random ({SECTION})."
)

CLAIM = (
    "A certificate says that the smoothed classifier gives the certified class to every input on "
    "the data's grid (for image files: every 8-bit image) closer than the radius in ℓ₂ norm, and "
    "to every closer input between grid values if noise is added before it is rounded to the grid "
    "(rounding it first can move it beyond the radius); it is wrong with probability at most α, "
    "for each input on its own."
)
"""What a certificate claims: the same sentence on the page, on the card, in the README, documents
and docstrings (docs/theory.md, sections 1, 2 and 5)."""


def beside_grid(settings: Settings) -> str:
    """What is said of inputs that were given off their grid; empty where all are on it."""
    if not settings.off_grid:
        return ""
    return f"inputs up to {settings.off_grid:g} off the grid, which is subtracted from every radius"


def all_together(inputs: int, alpha: float) -> str:
    """What certificates, each at alpha, say over all their inputs (docs/theory.md, section 11)."""
    wrong = wrong_at_most(inputs, alpha, alpha)
    return (
        f"with probability 1 − {level(alpha)}, at most {wrong} of the "
        f"{many(inputs, 'certificate')} {'is' if wrong == 1 else 'are'} wrong "
        "(docs/theory.md, section 11)"
    )


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
