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
        acr: average certified radius; an input that abstains or is misclassified counts 0.
        accuracy: (radius, share of inputs certified correct at that radius or more).
        zeta: mean upper limit of the disparity over the replayed inputs; None if there are none.
        evaluations: forward passes of this classifier.
        seconds: time spent sampling, or None if not recorded.
        alpha: the proven upper bound on the probability that a certificate is wrong; the largest
            over the inputs (docs/theory.md; over all inputs together: section 11).
        unlabelled: number of inputs whose true class is unknown.
        wrong: number of inputs certified of another class than their label.
        capped: number of inputs certified correct on which all draws that count agree: the number
            of draws and alpha limit their radius, and not the model. 0 where one radius was
            decided.
        median: median certified radius, rounded down; an input that abstains or is misclassified
            counts 0.
        sigma: of the noise, or None if not recorded.
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
    wrong: int = 0
    capped: int = 0
    median: float = 0.0
    sigma: float | None = None

    @property
    def abstained(self) -> int:
        """The number of inputs without a certificate."""
        return self.inputs - self.certified

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
    sigma: float | None = None,
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
        sigma: of the noise, to show.

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
    certified = sum(c.outcome is Outcome.CERTIFIED for c in certificates)
    replayed = [c.zeta for c in certificates if RESULTS[c.method].disparity and c.n]
    return Summary(
        name=name,
        inputs=len(certificates),
        certified=certified,
        labelled=labels is not None and None not in labels,
        acr=float(np.clip(correct, 0, None).mean()),
        accuracy=tuple((r, float((correct >= r).mean())) for r in radii),
        zeta=float(np.mean(replayed)) if replayed else None,
        evaluations=pilot_evaluations + sum(c.evaluations for c in certificates),
        seconds=seconds,
        alpha=max(c.alpha for c in certificates),
        unlabelled=len(certificates) if labels is None else list(labels).count(None),
        wrong=certified - int((correct >= 0).sum()),
        capped=sum(unanimous(c) for c, r in zip(certificates, correct, strict=True) if r > 0),
        median=_lower_median(np.clip(correct, 0, None)),
        sigma=sigma,
    )


@dataclass(frozen=True)
class ClassSummary:
    """What was achieved on the inputs of one true class.

    Attributes:
        label: the class.
        inputs: number of inputs of this class.
        acr: their average certified radius, as in `Summary`.
        accuracy: (radius, share of them certified correct at that radius or more).
    """

    label: int
    inputs: int
    acr: float
    accuracy: tuple[tuple[float, float], ...]


def by_class(
    certificates: Sequence[Certificate],
    labels: Sequence[int | None],
    radii: Sequence[float] = (0.0, 0.25, 0.5),
) -> tuple[ClassSummary, ...]:
    """Certified accuracy of each class that occurs, by ascending class.

    Args:
        certificates: as for `summarize`.
        labels: true classes in the same order; inputs with None are left out.
        radii: radii at which certified accuracy is wanted, >= 0.

    Raises:
        InvalidInput: labels that do not match the certificates.
    """
    certificates = getattr(certificates, "certificates", certificates)
    correct = correct_radii(certificates, labels)
    groups: dict[int, list[float]] = {}
    for label, radius in zip(labels, correct.tolist(), strict=True):
        if label is not None:
            groups.setdefault(whole(label, "a label"), []).append(radius)
    found = []
    for label, members in sorted(groups.items()):
        own = np.array(members)
        accuracy = tuple((float(r), float((own >= r).mean())) for r in radii)
        found.append(ClassSummary(label, len(own), float(np.clip(own, 0, None).mean()), accuracy))
    return tuple(found)


@dataclass(frozen=True)
class Spread:
    """How a figure differs between runs: a description of these runs, not a confidence interval.

    Attributes:
        mean: over the runs.
        deviation: sample standard deviation over the runs (divided by their number less one).
        least, most: over the runs.
    """

    mean: float
    deviation: float
    least: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """The spread of two values or more."""
        mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
        return Spread(mean, deviation, float(min(values)), float(max(values)))


@dataclass(frozen=True)
class SeedSpread:
    """Mean and spread over runs that differ in a seed: of the noise, or of the training.

    Attributes:
        names: of the runs.
        acr: of the average certified radius.
        accuracy: (radius, spread of the certified accuracy there).
    """

    names: tuple[str, ...]
    acr: Spread
    accuracy: tuple[tuple[float, Spread], ...]


def over_seeds(summaries: Sequence[Summary]) -> SeedSpread:
    """Mean and spread of ACR and certified accuracy over runs with different seeds.

    It describes these runs. It is no confidence interval, and no certificate becomes more or less
    sure by it.

    Args:
        summaries: of two runs or more on the same inputs, with the same radii.

    Raises:
        InvalidInput: fewer than two, or with other numbers of inputs or other radii.
    """
    radii = [tuple(radius for radius, _ in s.accuracy) for s in summaries]
    if len(summaries) < 2 or len(set(radii)) > 1 or len({s.inputs for s in summaries}) > 1:
        raise InvalidInput(
            "A spread over seeds needs two runs or more on the same inputs, summarized at the same "
            f"radii; got {len(summaries)} with {sorted({s.inputs for s in summaries})} inputs"
        )
    shares = [[share for _, share in s.accuracy] for s in summaries]
    accuracy = zip(radii[0], map(Spread.of, zip(*shares, strict=True)), strict=True)
    names = tuple(s.name for s in summaries)
    return SeedSpread(names, Spread.of([s.acr for s in summaries]), tuple(accuracy))


def unanimous(c: Certificate) -> bool:
    """Whether all draws that count are for the candidate, so that more draws would prove more."""
    if c.method == "sequential" or not c.n:
        return False
    replays = RESULTS[c.method].replays
    return c.cached_k == c.cached_n and not c.flips if replays else c.k == c.n


def _lower_median(values: NDArray[np.float64]) -> float:
    """The median; of an even number, the lower one of the two in the middle."""
    return float(np.sort(values)[(len(values) - 1) // 2])


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
