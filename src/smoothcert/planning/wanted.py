"""How a changed model is to be recertified: the settings that were asked for, as a method."""

from dataclasses import dataclass

from smoothcert.certificate import Settings, check_count
from smoothcert.errors import InvalidInput, Mismatch, require_one_of
from smoothcert.methods import BY_NAME, Exact, Method, RecertifyOptions, Reuse, method_of
from smoothcert.planning import Policy
from smoothcert.scalars import real, whole
from smoothcert.tries import Seed, number_of
from smoothcert.vocabulary import METHODS


@dataclass(frozen=True)
class Wanted:
    """How to recertify, as `recertify` takes it; None where it follows from the original."""

    per_input: int | None = None
    policy: str | None = None
    method: str = "auto"
    alpha: float | None = None
    gamma: float = 0.99
    variant: str = "budget-exact"
    form: str | None = None
    stages: int | None = None
    fresh_seed: Seed | None = None


def method_settings(settings: Settings, base: Method | None, wanted: Wanted) -> Method:
    """The settings of the requested method, for an original with these settings and method.

    Raises:
        InvalidInput: a setting out of range, or a policy that the method does not take.
        Mismatch: see `check_base`.
    """
    found = _asked_for(settings, wanted).reusing(method_of(base))
    check_base(base, found)
    return found


def _asked_for(settings: Settings, wanted: Wanted) -> Method:
    """The requested method, for an original from scratch."""
    method, per_input = wanted.method, wanted.per_input
    require_one_of("method", method, METHODS)
    if per_input is not None and wanted.policy is not None:
        raise InvalidInput("Give per_input or a policy, not both.")
    if per_input is not None:
        per_input = whole(per_input, "per_input")
        check_count(per_input, "per_input")
    text = wanted.policy or f"uniform:{per_input or max(1, settings.n // 10)}"
    rule, total = Policy.parse(text), default_alpha(settings, wanted.alpha)
    if rule.kind == "uniform" and rule.value > settings.n:
        raise InvalidInput(
            f"The original was certified with n = {settings.n} draws, of which {rule.value:g} "
            "cannot be replayed. Ask for at most the original's n per input, or certify the "
            "original with a larger n."
        )
    if wanted.fresh_seed is not None:
        return _fresh(settings, text, method, total, number_of(wanted.fresh_seed))
    options = RecertifyOptions(
        method,
        text,
        int(rule.value) if rule.kind == "uniform" else None,
        total,
        wanted.gamma,
        wanted.variant,
        wanted.form or settings.reused_form,
        wanted.stages,
    )
    return BY_NAME[method].of(options)


def _fresh(settings: Settings, policy: str, method: str, alpha: float, seed: int) -> Reuse:
    if method not in ("auto", "fresh"):
        raise InvalidInput(
            f"With a fresh seed nothing is replayed, so the method cannot be {method!r}. Leave the "
            "method or the fresh seed out."
        )
    if not isinstance(seed, int) or not 0 <= seed < 2**64 or seed == settings.seed:
        raise InvalidInput(
            f"The fresh seed must be in 0..2^64 - 1 and differ from the base's; got {seed}, and "
            f"the base has {settings.seed}. Use one that nothing has been certified with."
        )
    return Reuse(policy, "fresh", alpha, fresh_seed=seed)


def check_base(base: Method | None, method: Method) -> None:
    """Refuse a base whose votes a method cannot reuse.

    Raises:
        Mismatch: the base was not certified from scratch, or stopped by its votes.
        InvalidInput: it was certified by plan, and the method takes as many draws of every input;
            or it was extended, which the method leaves no error for.
    """
    made, counts = method_of(base), not (isinstance(method, Exact) or method.is_fresh)
    if not made.reusable:
        raise Mismatch(
            "The base was itself recertified, or decided at one radius; only a certification "
            "from scratch leaves votes that can be reused. Certify the original without --radius."
        )
    if method.continues:
        return
    if made.has_plan and counts:
        raise InvalidInput(
            "The base was certified by plan, with its own number of draws for each input, which "
            "only the exact test replays. Use the method auto, or certify the original without a "
            "policy."
        )
    if made.continues and counts:
        raise InvalidInput(
            "The base was extended when its certificates had been seen, and only the exact test "
            "leaves a part of alpha for that. Use the method auto, or the run that was extended."
        )
    if isinstance(method, Exact) and method.share > made.reuse_share:
        raise InvalidInput(
            f"The base leaves {made.reuse_share:g} of alpha to what reuses it; got a share of "
            f"{method.share:g}. Take the method from `method.reusing(base)`."
        )


def default_alpha(settings: Settings, alpha: float | None) -> float:
    """The total error probability: twice the original's, so that its limit is used unchanged."""
    return 2 * settings.alpha if alpha is None else real(alpha, "alpha")


def check_classes(found: int, expected: int) -> None:
    """Raise Mismatch unless the new classifier has the original's number of classes."""
    if found != expected:
        raise Mismatch(
            f"The original has {expected} classes and the new classifier {found}. A certificate "
            "can only be carried over between classifiers with the same classes."
        )
