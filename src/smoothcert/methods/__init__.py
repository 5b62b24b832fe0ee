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

Method = Irs | Reuse | Decision
"""Settings of a method other than certifying from scratch with a fixed n."""


def alpha_of(settings: Settings, method: Method | None) -> float:
    """The probability, proven, up to which a certificate made with these settings is wrong.

    Source: docs/theory.md: section 2 from scratch, 3 IRS, 7 and 8 beyond it, 9 a decision.
    """
    if isinstance(method, Irs):
        return method.error(settings.n)
    return method.alpha if isinstance(method, Reuse) else settings.alpha


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
