"""Which classes a run's certificates are of: the most frequent one, and what is taken for what."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from smoothcert.certificate import ABSTAIN
from smoothcert.runs.store import Run

_NEARLY_ALL, _MUCH = 0.9, 0.6  # of the certificates; of the labels, where that is no wonder
_FEW = 8  # certificates too few to say so
_MOST_MIXED_UP = 6


@dataclass(frozen=True)
class Predicted:
    """The classes that a run certifies.

    Attributes:
        certified: number of inputs with a certificate.
        top: the class of most of them; -1 if there are none.
        count: how many are of that class.
        labelled: how many inputs have it as their label, None where labels are missing.
        inputs: number of inputs.
        mixed_up: (label, certified class, number of inputs), the most frequent first.
    """

    certified: int
    top: int
    count: int
    labelled: int | None
    inputs: int
    mixed_up: tuple[tuple[int, int, int], ...]

    @property
    def collapsed(self) -> bool:
        """Whether nearly all certificates are of one class that most inputs are not of."""
        most = self.count >= _NEARLY_ALL * self.certified and self.certified >= _FEW
        return most and (self.labelled is None or self.labelled < _MUCH * self.inputs)


def predicted(run: Run) -> Predicted:
    """Count the certified classes of a finished run."""
    found = [c.predicted for c in run.certificates]
    certified = [p for p in found if p != ABSTAIN]
    counts = Counter(certified)
    top = min(counts, key=lambda number: (-counts[number], number), default=ABSTAIN)
    labels = run.labels
    known = None if None in labels else list(labels).count(top)
    wrong = Counter(
        (label, p)
        for label, p in zip(labels, found, strict=True)
        if label is not None and p not in (ABSTAIN, label)
    )
    ordered = sorted(wrong.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_MIXED_UP]
    mixed = tuple((label, p, n) for (label, p), n in ordered)
    return Predicted(len(certified), top, counts[top], known, len(found), mixed)


def class_name(number: int, classes: Sequence[str]) -> str:
    """A class by its number and, where known, its name."""
    named = 0 <= number < len(classes)
    return (
        f"{number} ({classes[number]})" if named and classes[number] != str(number) else str(number)
    )
