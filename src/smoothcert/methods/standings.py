"""What the candidates of a screening prove so far, and which round of which of them is next."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from smoothcert.errors import Mismatch
from smoothcert.methods.dataset import DatasetCertificate, certificate
from smoothcert.methods.screening import Pool, Screening
from smoothcert.text import many, visible


@dataclass(frozen=True)
class Model:
    """A candidate's model.

    Attributes:
        name: of its file.
        fingerprint: its hash; empty while only another machine has loaded it.
    """

    name: str
    fingerprint: str


@dataclass(frozen=True)
class Evaluated:
    """What the evaluation of a candidate gave.

    Attributes:
        model: the candidate's.
        pool: the inputs.
        flips: of the rounds that were evaluated, (rounds, eligible).
    """

    model: Model
    pool: Pool
    flips: tuple[tuple[int, ...], ...]


class Standings:
    """How far the candidates of a screening are.

    What is evaluated at once, a block, is a round of a candidate if time may end the screening, so
    that all candidates get as many rounds as there is time for; else a candidate, until it is
    decided. Its number is the candidate's, plus the number of candidates times its rounds so far.
    """

    def __init__(self, found: Sequence[DatasetCertificate]) -> None:
        """Go on from certificates of all candidates, in order."""
        self._found = list(found)

    @staticmethod
    def of(
        screening: Screening,
        pool: Pool,
        models: Sequence[Model],
        before: Sequence[DatasetCertificate] = (),
    ) -> "Standings":
        """Begin, or go on.

        Args:
            screening, pool: what the candidates are screened on.
            models: of the candidates.
            before: certificates of the same screening, if the time was over before its end.

        Raises:
            Mismatch: these are of another screening.
        """
        if not before:
            facts = (screening, pool, ())
            return Standings([certificate(m.name, m.fingerprint, *facts) for m in models])
        _require_same(screening, before)
        found = Standings(before)
        for number, model in enumerate(models):
            found._require_model(number, model)
        if any(c.flips and c.pool != pool for c in before):
            raise Mismatch(_OTHER_POOL)
        return found

    @property
    def certificates(self) -> tuple[DatasetCertificate, ...]:
        """What the candidates prove, in their order."""
        return tuple(self._found)

    @property
    def blocks(self) -> tuple[int, ...]:
        """What is to be evaluated first: the candidates with the fewest rounds come first."""
        # One without rounds that is finished, as none can decide it, is still to be identified.
        open_ = (n for n, c in enumerate(self._found) if not (c.finished and c.flips))
        return tuple(sorted(map(self._block, open_)))

    def place(self, block: int) -> tuple[int, int]:
        """The candidate of a block, and how many rounds it has."""
        rounds, number = divmod(block, len(self._found))
        return number, rounds

    def add(self, block: int, new: Evaluated) -> tuple[int, ...]:
        """Add what a block gave.

        Returns:
            The block that may follow: none once the candidate is finished.

        Raises:
            Mismatch: it is of another model or of other inputs.
        """
        number, _ = self.place(block)
        self._require_model(number, new.model)
        self._adopt(new.pool)
        old, model = self._found[number], new.model
        facts = (old.screening, old.pool, (*old.flips, *new.flips))
        found = certificate(model.name, model.fingerprint, *facts)
        self._found[number] = found
        return () if found.finished else (self._block(number),)

    def _block(self, number: int) -> int:
        return number + len(self._found) * len(self._found[number].flips)

    def _require_model(self, number: int, model: Model) -> None:
        old = self._found[number]
        if old.fingerprint and model.fingerprint and old.fingerprint != model.fingerprint:
            raise Mismatch(
                f"{visible(old.name)} was screened with the fingerprint {old.fingerprint}; "
                f"{visible(model.name)} has {model.fingerprint}. A screening goes on with the same "
                "models in the same order."
            )

    def _adopt(self, pool: Pool) -> None:
        """Take over how far from the grid the inputs are, which only those who read them know."""
        if pool == self._found[0].pool:
            return
        if any(c.flips for c in self._found):
            raise Mismatch(_OTHER_POOL)
        self._found = [
            certificate(c.name, c.fingerprint, c.screening, pool, ()) for c in self._found
        ]


_OTHER_POOL = (
    "A screening goes on with the inputs and the original that it was begun on, and these are "
    "others. Give the same data and the same base run."
)


def unfinished(found: Sequence[DatasetCertificate]) -> str:
    """How far candidates are that are not finished, as a sentence; empty if all are."""
    done = sum(c.finished for c in found)
    if done == len(found):
        return ""
    begun = [
        f"{visible(c.name)} has {len(c.flips)} of {many(len(c.screening.rounds), 'round')}"
        for c in found
        if c.begun and not c.finished
    ]
    not_begun = [visible(c.name) for c in found if not c.begun]
    if not_begun:
        begun.append(f"not begun: {', '.join(not_begun)}")
    return f"{done} of {many(len(found), 'candidate')} finished; {'; '.join(begun)}"


def _require_same(screening: Screening, before: Sequence[DatasetCertificate]) -> None:
    """Raise Mismatch unless certificates are all those of a screening."""
    old = before[0].screening
    named = [f.name for f in fields(Screening)]
    other = [name for name in named if getattr(old, name) != getattr(screening, name)]
    if len(before) != screening.candidates and "candidates" not in other:
        other.append("candidates")
    if other:
        raise Mismatch(
            f"What was screened before has another {', '.join(other)}. A screening goes on with "
            "the settings that it was begun with; for others begin a new one."
        )
    if any((c.screening, c.pool) != (old, before[0].pool) for c in before):
        raise Mismatch("The certificates to go on from are of several screenings. Give one's.")
