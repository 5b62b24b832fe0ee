"""One small module per method: which draws it needs, and from votes to certificates.

Every function from votes to a certificate is pure, so a stored certificate can be recomputed
without the classifier: `recheck`.
"""

from smoothcert.certificate import Certificate, Record, Settings
from smoothcert.methods import irs, rs
from smoothcert.methods.irs import Cached, Irs


def recheck(
    record: Record, settings: Settings, shape: tuple[int, ...], num_classes: int, method: Irs | None
) -> Certificate:
    """Recompute a certificate from its votes (and, recertified, the cached counts it records)."""
    old = record.certificate
    if method is None:
        return rs.certificate(old.index, old.content, record.votes, settings, shape, num_classes)
    cached = Cached(old.index, old.content, old.candidate, old.cached_k, old.cached_n)
    return irs.certificate(cached, record.votes, method, settings, shape)
