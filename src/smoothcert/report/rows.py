"""Certificates as columns of whole numbers, packed for a page that must stay small.

A column is split into its bytes by place value, which compress well; page.js puts them together.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import ABSTAIN, Certificate
from smoothcert.runs.store import Run
from smoothcert.text import units_below, visible

COLUMNS = (
    *("index", "label", "candidate", "case", "radius", "q", "k", "n", "cached_k", "cached_n"),
    *("flips", "zeta", "evaluations", "thumbnail"),
)
"""Radii and limits are in millionths, rounded to the safe side. -1 means unknown or none."""

_DIGITS = 6  # as in Certificate.figures


@dataclass(frozen=True, eq=False)
class Rows:
    """A run's certificates as columns.

    Attributes:
        name: name of the run.
        sigma: its noise.
        inputs: number of its inputs; if there are fewer rows, they are evenly chosen.
        cases: what several certificates share: outcome, argument, alpha and budget.
        columns: whole numbers from -1, shape (columns, rows).
    """

    name: str
    sigma: str
    inputs: int
    cases: tuple[Mapping[str, str], ...]
    columns: NDArray[np.int64]

    @property
    def count(self) -> int:
        """The number of rows."""
        return self.columns.shape[1]

    def thinned(self, most: int) -> Self:
        """At most `most` of the rows, evenly chosen."""
        return replace(self, columns=self.columns[:, even(self.count, most)])

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What page.js reads."""
        facts = {"name": self.name, "sigma": self.sigma, "inputs": self.inputs}
        facts |= {"count": self.count, "columns": COLUMNS, "cases": self.cases}
        return facts | {"packed": pack(self.columns)}


def rows(run: Run, thumbnails: Mapping[str, int]) -> Rows:
    """All certificates of a run."""
    sigma, cases = run.identity.settings.sigma, []
    numbers: dict[tuple, int] = {}
    lines = []
    for certificate, label in zip(run.certificates, run.labels, strict=True):
        kind = (certificate.outcome, certificate.method, certificate.budget)
        if kind not in numbers:
            numbers[kind] = len(cases)
            cases.append(_case(certificate, sigma))
        lines.append(_row(certificate, label, numbers[kind], thumbnails))
    facts = (visible(run.name), f"{sigma:g}", len(lines), tuple(cases))
    return Rows(*facts, np.array(lines, dtype=np.int64).T)


def even(count: int, most: int) -> tuple[int, ...]:
    """At most `most` positions of `count`, evenly spread from the first."""
    kept = min(count, max(1, most))
    return tuple(i * count // kept for i in range(kept))


def pack(columns: NDArray[np.int64]) -> str:
    """Whole numbers from -1, shape (columns, rows), as base64 of zlib."""
    planes = (columns + 1).astype("<u8")[..., None].view(np.uint8)
    return base64.b64encode(zlib.compress(planes.transpose(0, 2, 1).tobytes(), 9)).decode()


def _case(certificate: Certificate, sigma: float) -> dict[str, str]:
    figures = certificate.figures(sigma)
    return {
        "outcome": certificate.outcome.name.lower().replace("_", " "),
        "argument": certificate.argument,
        "alpha": figures["alpha"],
        "budget": figures["budget"],
    }


def _row(
    c: Certificate, label: int | None, case: int, thumbnails: Mapping[str, int]
) -> Sequence[int]:
    return (
        *(c.index, ABSTAIN if label is None else label, c.candidate, case),
        *(units_below(c.radius, _DIGITS), units_below(c.q, _DIGITS)),
        *(c.k, c.n, c.cached_k, c.cached_n, c.flips, -units_below(-c.zeta, _DIGITS)),
        *(c.evaluations, thumbnails.get(c.content, -1)),
    )
