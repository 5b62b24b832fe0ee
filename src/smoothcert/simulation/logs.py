"""Published certification logs: the usual per-image table, and the vote shares behind it."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.errors import InvalidInput
from smoothcert.files import read_regular, similar

DRAWS, ALPHA = 100_000, 0.001
"""The settings of the published logs (Cohen, Rosenfeld & Kolter 2019)."""

_COLUMNS = ("idx", "label", "predict", "radius", "correct")  # and time, which is not read
_BISECTIONS = 60
_LARGEST = 1e9  # radius, on whatever scale: a larger one is a mistake, and might overflow
_MOST_BYTES = 2**26  # a million images; the published logs have 500 to 10,000


@dataclass(frozen=True, eq=False)
class Log:
    """One certification, as logged.

    Attributes:
        name: the file's name without its suffix.
        sigma: noise standard deviation.
        p: plausible probability of each image's class, shape (images,); 1/2 where it abstained.
        correct: whether it was certified with the right class, shape (images,).
        abstained: whether it abstained, shape (images,).
    """

    name: str
    sigma: float
    p: NDArray[np.float64]
    correct: NDArray[np.bool_]
    abstained: NDArray[np.bool_]

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.p)


def read_log(
    path: str | Path, sigma: float | None = None, draws: int = DRAWS, alpha: float = ALPHA
) -> Log:
    """Read a tab-separated log with the columns idx, label, predict, radius, correct, time.

    Args:
        path: the file; the time column is ignored and may be missing.
        sigma: noise standard deviation; by default the number after `sigma_` in the file's name.
        draws: estimation draws per image of the logged run.
        alpha: error probability of its limits.

    Raises:
        InvalidInput: no such file, no sigma, or a table of another form.
    """
    path = Path(path)
    if not path.exists():
        raise InvalidInput(f"There is no log {path}{similar(path)}")
    sigma = _sigma_of(path.name) if sigma is None else sigma
    if not 0 < sigma < np.inf:
        raise InvalidInput(f"sigma must be a positive number; got {sigma}")
    try:
        lines = read_regular(path, _MOST_BYTES, InvalidInput).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not a readable text file: {error}") from None
    table = _table(path, lines)
    predict, radius, correct = (table[name] for name in ("predict", "radius", "correct"))
    if radius.min() < 0 or radius.max() > _LARGEST:
        wrong = radius.min() if radius.min() < 0 else radius.max()
        raise InvalidInput(f"{path} has the radius {wrong:g}; radii must be from 0 to {_LARGEST:g}")
    if not np.isin(correct, (0, 1)).all():
        raise InvalidInput(f"{path} has values in the column 'correct' that are neither 0 nor 1")
    # -1 abstains; -2 stands for an image that was skipped or misclassified in some logs.
    abstained = (predict < 0) | (radius == 0)
    p = np.where(abstained, 0.5, vote_share(radius / sigma, draws, alpha))
    return Log(path.stem, sigma, p, (correct == 1) & ~abstained, abstained)


def vote_share(z: ArrayLike, draws: int, alpha: float) -> NDArray[np.float64]:
    """The probability that a logged radius suggests: the median-unbiased estimate of its votes.

    The votes k solve lower(k, draws, alpha) = Phi(z), k real; then P[Bin(draws, p) >= k] = 1/2.

    Args:
        z: logged radii over sigma, any shape, >= 0.
        draws: draws of the logged run.
        alpha: error probability of its limits.

    Returns:
        Probabilities in (1/2, 1), shape of z; radii above any vote count's are read as unanimous.
    """
    limit = special.ndtr(np.asarray(z, float))
    low, high = np.zeros(limit.shape), np.full(limit.shape, float(draws))
    for _ in range(_BISECTIONS):
        k = (low + high) / 2
        # The tail at the limit falls as the votes grow.
        few = special.betainc(k, draws - k + 1, limit) > alpha
        low, high = np.where(few, k, low), np.where(few, high, k)
    return special.betaincinv(high, draws - high + 1, 0.5)


def _sigma_of(name: str) -> float:
    found = re.search(r"sigma[_=-]?(\d+(?:\.\d+)?)", name)
    if found is None:
        raise InvalidInput(
            f"{name} does not name its noise as in 'sigma_0.50': give it with --sigma (in Python "
            "sigma=)."
        )
    return float(found.group(1))


def _table(path: Path, lines: list[str]) -> dict[str, NDArray[np.float64]]:
    rows = [line.split("\t") for line in lines if line.strip()]
    header = [cell.strip() for cell in rows[0]] if rows else []
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise InvalidInput(
            f"{path} lacks the columns {', '.join(missing)}; a log starts with a line of the tab-"
            f"separated names {', '.join(_COLUMNS)}, but this one with {found}"
        )
    if len(rows) == 1:
        raise InvalidInput(f"{path} has no images below its header")
    columns = {name: header.index(name) for name in _COLUMNS}
    values = np.empty((len(rows) - 1, len(_COLUMNS)))
    for number, row in enumerate(rows[1:]):
        for place, (name, column) in enumerate(columns.items()):
            cell = row[column] if column < len(row) else ""
            values[number, place] = _number(cell, f"{path}, image {number + 1}, column {name!r}")
    return dict(zip(columns, values.T, strict=True))


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InvalidInput(f"{where} must be a number; got {cell!r}")
    return value
