"""What a set of certificates achieves: average certified radius, certified accuracy, cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Certificate, Outcome
from smoothcert.errors import InvalidInput
from smoothcert.scalars import real, whole
from smoothcert.vocabulary import RESULTS


@dataclass(frozen=True)
class Summary:
    """What one certification achieved.

    Attributes:
        name: name of the run or model.
        inputs: number of inputs, certified or not.
        certified: number of inputs with a certificate.
        labelled: whether true classes were known; if not, every certificate counts as correct.
        acr: average certified radius; an input that abstains or is wrong counts 0.
        accuracy: (radius, share of inputs certified correct at that radius or more).
        zeta: mean upper limit of the disparity over the replayed inputs; None if there are none.
        evaluations: forward passes of this classifier.
        seconds: time spent sampling, or None if not recorded.
        alpha: the proven upper bound on the probability that a certificate is wrong; the largest
            over the inputs (docs/theory.md; over all inputs together: section 11).
        unlabelled: number of inputs whose true class is unknown.
    """

    name: str
    inputs: int
    certified: int
    labelled: bool
    acr: float
    accuracy: tuple[tuple[float, float], ...]
    zeta: float | None
    evaluations: int
    seconds: float | None
    alpha: float
    unlabelled: int = 0

    @property
    def counted(self) -> str:
        """What else counts as correct than a certificate of the label; empty if nothing does."""
        if not self.unlabelled:
            return ""
        few = self.unlabelled < self.inputs
        without = f"{self.unlabelled} inputs without label" if few else "no labels"
        return f"{without}: any class counts"


def summarize(
    certificates: Sequence[Certificate],
    labels: Sequence[int | None] | None = None,
    radii: Sequence[float] = (0.0, 0.25, 0.5),
    name: str = "",
    seconds: float | None = None,
    pilot_evaluations: int = 0,
) -> Summary:
    """Average certified radius and certified accuracy.

    Args:
        certificates: at least one certificate; or what `certify` returned, or a `Run`.
        labels: true classes in the same order; None (or a None among them) for unknown. Those of
            a result or a run, if it has them, need not be given again.
        radii: radii at which certified accuracy is wanted, >= 0.
        name: the name to show.
        seconds: the time to show.
        pilot_evaluations: spent on planning, added to the certificates' own.

    Returns:
        The summary; its figures are rounded to the safe side when they are printed.

    Raises:
        InvalidInput: no certificates, or labels that do not match them.
    """
    labels = getattr(certificates, "labels", None) if labels is None else labels
    certificates = getattr(certificates, "certificates", certificates)
    radii = [real(radius, "a radius") for radius in np.atleast_1d(np.asarray(radii, object))]
    if labels is not None:
        labels = [None if label is None else whole(label, "a label") for label in labels]
    if not certificates:
        raise InvalidInput("There are no certificates to summarize.")
    correct = correct_radii(certificates, labels)
    replayed = [c.zeta for c in certificates if RESULTS[c.method].disparity and c.n]
    return Summary(
        name=name,
        inputs=len(certificates),
        certified=sum(c.outcome is Outcome.CERTIFIED for c in certificates),
        labelled=labels is not None and None not in labels,
        acr=float(np.clip(correct, 0, None).mean()),
        accuracy=tuple((r, float((correct >= r).mean())) for r in radii),
        zeta=float(np.mean(replayed)) if replayed else None,
        evaluations=pilot_evaluations + sum(c.evaluations for c in certificates),
        seconds=seconds,
        alpha=max(c.alpha for c in certificates),
        unlabelled=len(certificates) if labels is None else list(labels).count(None),
    )


def correct_radii(
    certificates: Sequence[Certificate], labels: Sequence[int | None] | None
) -> NDArray[np.float64]:
    """Radius of every input, -1 where it abstains or its class is not the label."""
    if labels is not None and len(labels) != len(certificates):
        raise InvalidInput(
            f"There are {len(certificates)} certificates and {len(labels)} labels. Give one label "
            "for each certificate."
        )
    known = labels if labels is not None else [None] * len(certificates)
    return np.array(
        [
            c.radius if c.outcome is Outcome.CERTIFIED and label in (None, c.candidate) else -1.0
            for c, label in zip(certificates, known, strict=True)
        ]
    )
