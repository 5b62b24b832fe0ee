"""One small module per method: which draws it needs, and from votes to certificates.

Every function from votes to a certificate is pure, so a stored certificate can be recomputed
without the classifier: `recheck`.
"""

from smoothcert.certificate import Certificate, Record, Settings
from smoothcert.methods import counted as counted
from smoothcert.methods import irs, reuse, rs, sequential
from smoothcert.methods.irs import Cached, Irs
from smoothcert.methods.reuse import Reuse
from smoothcert.methods.sequential import Decision
from smoothcert.tries import Try

Method = Irs | Reuse | Decision
"""Settings of a method other than certifying from scratch with a fixed n."""


def alpha_of(settings: Settings, method: Method | None) -> float:
    """The probability, proven, up to which a certificate made with these settings is wrong.

    Source: docs/theory.md: section 2 from scratch, 3 IRS, 7 and 8 beyond it, 9 a decision.
    """
    if isinstance(method, Irs):
        return method.error(settings.n)
    return method.alpha if isinstance(method, Reuse) else settings.alpha


def described(settings: Settings, method: Method | None) -> str:
    """What was asked for, in a few words."""
    if isinstance(method, Irs):
        return f"irs {method.variant}, uniform:{method.per_input}, alpha {method.alpha:g}"
    if isinstance(method, Reuse):
        fresh = "" if method.fresh_seed is None else f" seed {method.fresh_seed}"
        return f"{method.method}{fresh}, {method.policy}, alpha {method.alpha:g}"
    radius = "" if method is None else f"radius {method.radius:g}, "
    return f"{radius}n {settings.n}, alpha {settings.alpha:g}"


def asked(model: str, settings: Settings, method: Method | None) -> Try:
    """What a certification asks of the draws of its seed.

    Args:
        model: fingerprint of the classifier.
        settings: of the certification from scratch.
        method: None from scratch.
    """
    what = described(settings, method)
    if isinstance(method, Irs | Reuse):
        seed = method.seed(settings) if isinstance(method, Reuse) else settings.seed
        return Try.of("recertify", model, what, seed, method)
    kind = "certify" if method is None else "decide"
    return Try.of(kind, model, what, settings.seed, (settings, method))


def recheck(
    record: Record,
    settings: Settings,
    shape: tuple[int, ...],
    num_classes: int,
    method: Method | None,
) -> Certificate:
    """Recompute a certificate from its votes (and, recertified, the cached counts it records)."""
    old = record.certificate
    if method is None:
        return rs.certificate(old.index, old.content, record.votes, settings, shape, num_classes)
    if isinstance(method, Decision):
        return sequential.certificate(old.index, old.content, record.votes, method, settings, shape)
    cached = Cached(old.index, old.content, old.candidate, old.cached_k, old.cached_n)
    if isinstance(method, Irs):
        return irs.certificate(cached, record.votes, method, settings, shape)
    how = reuse.How(old.method)
    return reuse.certificate(cached, record.votes, how, method, settings, shape)
