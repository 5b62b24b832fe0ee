"""A changed model's run compared with its original's, input by input."""

from collections.abc import Sequence
from dataclasses import dataclass

from smoothcert.runs.store import Run
from smoothcert.summary import Summary, correct_radii


@dataclass(frozen=True)
class Pair:
    """What became of the original's certificates.

    Attributes:
        base, changed: both summaries.
        kept: inputs that are certified (of their label, if known) in both.
        lost, gained: in the original's alone, in the changed model's alone.
        form: the original's bound on the other classes, see `Settings`, if the changed model's is
            `binary`; else `binary`, as there is nothing to say.
    """

    base: Summary
    changed: Summary
    kept: int
    lost: int
    gained: int
    form: str = "binary"


def pairs(runs: Sequence[Run], summaries: Sequence[Summary]) -> tuple[Pair, ...]:
    """Every run whose base is among the runs, paired with its base."""
    known = {run.identity.hash: number for number, run in enumerate(runs)}
    found = []
    for run, summary in zip(runs, summaries, strict=True):
        if run.identity.base in known:
            number = known[run.identity.base]
            base = runs[number]
            before = correct_radii(base.certificates, base.labels) >= 0
            after = correct_radii(run.certificates, run.labels) >= 0
            found.append(
                Pair(
                    summaries[number],
                    summary,
                    kept=int((before & after).sum()),
                    lost=int((before & ~after).sum()),
                    gained=int((~before & after).sum()),
                    form=_form(run),
                )
            )
    return tuple(found)


def _form(run: Run) -> str:
    settings = run.identity.settings
    plain = run.identity.method.form_of(settings) == "binary"
    return settings.form if plain else "binary"
