"""Certificates as columns of whole numbers, packed for a page that must stay small.

A column is split into its bytes by place value, which pack well; page.js puts them together.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import ABSTAIN, Certificate
from smoothcert.decimals import units_below
from smoothcert.names import visible
from smoothcert.runs.store import Run

COLUMNS = (
    *("index", "label", "candidate", "case", "radius", "q", "k", "n", "cached_k", "cached_n"),
    *("flips", "zeta", "evaluations", "thumbnail"),
)
"""Radii and limits are in millionths, cut to the safe side. -1 stands for unknown or none."""

_DIGITS = 6  # as in Certificate.figures


@dataclass(frozen=True)
class Rows:
    """A run's certificates in a page.

    Attributes:
        name: of the run.
        sigma: its noise.
        inputs: how many it has; `positions` are those of the rows.
        positions: in the run.
        cases: what several certificates share: outcome, argument, alpha and budget.
        packed: the columns.
    """

    name: str
    sigma: str
    inputs: int
    positions: tuple[int, ...]
    cases: tuple[Mapping[str, str], ...]
    packed: str

    def to_json(self) -> dict[str, Any]:
        """What page.js reads."""
        facts = {"name": self.name, "sigma": self.sigma, "inputs": self.inputs}
        return facts | {
            "count": len(self.positions),
            "columns": COLUMNS,
            "cases": self.cases,
            "packed": self.packed,
        }


def rows(run: Run, most: int, thumbnails: Mapping[str, int]) -> Rows:
    """The certificates of a run, or so many of them, evenly chosen.

    Args:
        run: a finished one.
        most: rows.
        thumbnails: number of an input's picture, by content hash.
    """
    positions = even(len(run.certificates), most)
    sigma, cases, columns = run.identity.settings.sigma, [], []
    numbers: dict[tuple, int] = {}
    for position in positions:
        certificate, label = run.certificates[position], run.labels[position]
        kind = (certificate.outcome, certificate.method, certificate.budget)
        if kind not in numbers:
            numbers[kind] = len(cases)
            cases.append(_case(certificate, sigma))
        columns.append(_row(certificate, label, numbers[kind], thumbnails))
    packed = pack(np.array(columns, dtype=np.int64).T)
    facts = (visible(run.name), f"{sigma:g}", len(run.certificates))
    return Rows(*facts, positions, tuple(cases), packed)


def even(count: int, most: int) -> tuple[int, ...]:
    """At most so many positions of `count`, evenly spread from the first on."""
    kept = min(count, max(1, most))
    return tuple(i * count // kept for i in range(kept))


def pack(columns: NDArray[np.int64]) -> str:
    """Whole numbers from -1 on, shape (columns, rows), as base64 of zlib."""
    planes = (columns + 1).astype("<u8")[..., None].view(np.uint8)
    return base64.b64encode(zlib.compress(planes.transpose(0, 2, 1).tobytes(), 9)).decode()


def unpack(packed: str, columns: int) -> NDArray[np.int64]:
    """What `pack` packed."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)
    values = planes.reshape(columns, 8, -1).transpose(0, 2, 1)
    return np.ascontiguousarray(values).view("<u8")[..., 0].astype(np.int64) - 1


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
