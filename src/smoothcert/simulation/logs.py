"""Published certification logs: the usual per-image table, and the vote shares behind it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, floor, log, log10
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.errors import InvalidInput
from smoothcert.files import read_regular, similar
from smoothcert.report.curves import Published
from smoothcert.simulation.log_table import LogTable, log_table
from smoothcert.text import ceil_to, many

DRAWS, ALPHA = 100_000, 0.001
"""The settings of the published logs (Cohen, Rosenfeld & Kolter 2019), if they say nothing."""

_BISECTIONS = 60
_LARGEST = 1e9  # radius, on whatever scale: a larger one is a mistake, and might overflow
_MOST_BYTES = 2**26  # a million images; the published logs have 500 to 10,000
_MOST_DRAWS = 10**9  # a radius that takes more has another sigma, or is not of Gaussian noise
_SUFFIXES = (".tsv", ".csv", ".txt", ".log")


@dataclass(frozen=True, eq=False)
class Log:
    """One certification, as logged.

    Attributes:
        name: the file's name without its suffix, after those of its folders where logs that were
            read together would else share it.
        sigma: noise standard deviation.
        p: plausible probability of each image's class, shape (images,); 1/2 where it abstained.
        correct: whether it was certified with the right class, shape (images,).
        abstained: whether it abstained, shape (images,).
        radius: as logged, 0 where it abstained, shape (images,).
        draws: estimation draws per image of the logged run.
        alpha: error probability of its limits.
        notes: what a reader should know of the file, a sentence each.
    """

    name: str
    sigma: float
    p: NDArray[np.float64]
    correct: NDArray[np.bool_]
    abstained: NDArray[np.bool_]
    radius: NDArray[np.float64]
    draws: int
    alpha: float
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.p)

    @property
    def published(self) -> Published:
        """Its radii, for a report."""
        return Published(self.name, self.sigma, np.where(self.correct, self.radius, -1.0))


def read_log(
    path: str | Path,
    sigma: float | None = None,
    draws: int | None = None,
    alpha: float | None = None,
) -> Log:
    """Read a log in the field's format: a line of names, then a line for each image.

    The columns label, predict and radius are needed, idx and correct are checked where they are
    there, and others are ignored. Separators may be tabs, commas or semicolons; prediction, pred,
    certified_radius and the like are understood. `correct` may be a running total.

    Args:
        path: the file.
        sigma: noise standard deviation; by default of the column `sigma`, or the number after
            `sigma` or `noise` in the file's name, else in its folders'.
        draws: estimation draws per image of the logged run; by default of the column `n`, else
            100,000.
        alpha: error probability of its limits; by default of the column `alpha`, else 0.001.

    Returns:
        The log. Its `notes` say if its largest radius is above what `draws` and `alpha` can prove.

    Raises:
        InvalidInput: no such file, no sigma, a table of another form, or one that contradicts
            itself.
    """
    path = Path(path)
    if not path.exists():
        raise InvalidInput(f"There is no log {path}{similar(path)}")
    try:
        text = read_regular(path, _MOST_BYTES, InvalidInput).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not a readable text file: {error}") from None
    table = log_table(path, text)
    columns = table.columns
    sigma = _sigma(path, table) if sigma is None else sigma
    if not 0 < sigma < np.inf:
        raise InvalidInput(f"sigma must be a positive number; got {sigma}")
    draws = int(_only(path, table, "n", "--log-n", DRAWS)) if draws is None else draws
    if alpha is None:  # what is proven of each image, and so of all: the largest
        alpha = float(columns["alpha"].max()) if "alpha" in columns else ALPHA
    if draws < 1 or not 0 < alpha < 0.5:
        raise InvalidInput(
            f"A log's n must be at least 1 and its alpha from 0 to 1/2; got {draws} and {alpha}"
        )
    radius, predict = columns["radius"], columns["predict"]
    if radius.min() < 0 or radius.max() > _LARGEST:
        wrong = radius.min() if radius.min() < 0 else radius.max()
        raise InvalidInput(f"{path} has the radius {wrong:g}; radii must be from 0 to {_LARGEST:g}")
    # -1 abstains; -2 stands for an image that was skipped or misclassified in some logs.
    abstained = (predict < 0) | (radius == 0)
    right, notes = _checked(path, table)
    notes = [*table.notes, *notes]
    if above := _above_cap(float(radius.max()), table.digits, sigma, draws, alpha):
        notes.append(above)
    p = np.where(abstained, 0.5, vote_share(radius / sigma, draws, alpha))
    radius = np.where(abstained, 0.0, radius)
    facts = (_name(path), sigma, p, right & ~abstained, abstained, radius, draws, alpha)
    return Log(*facts, tuple(notes))


def read_logs(
    paths: Sequence[str | Path],
    sigma: float | None = None,
    draws: int | None = None,
    alpha: float | None = None,
) -> tuple[Log, ...]:
    """`read_log` of several files, with different names.

    Args:
        paths: files, or patterns like `logs/*.tsv`, which stand for the files that match.
        sigma: as for `read_log`, of all of them; `draws` and `alpha` likewise.
        draws: see there.
        alpha: see there.

    Raises:
        InvalidInput: no file matches a pattern, one is named twice, or as for `read_log`.
    """
    files = [file for path in paths for file in _matching(Path(path))]
    twice = {file for file in files if files.count(file) > 1}
    if twice:
        raise InvalidInput(f"{min(twice)} is named twice. Name each log once.")
    logs = [read_log(file, sigma, draws, alpha) for file in files]
    return tuple(replace(log, name=name) for log, name in zip(logs, _distinct(files), strict=True))


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


def _checked(path: Path, table: LogTable) -> tuple[NDArray[np.bool_], list[str]]:
    """Which images are predicted right, and what is odd about the table."""
    columns, notes = table.columns, []
    label, predict = columns["label"], columns["predict"]
    right = (predict == label) & (predict >= 0)
    if "idx" in columns:
        values, counts = np.unique(columns["idx"], return_counts=True)
        if counts.max() > 1:
            raise InvalidInput(
                f"{path} has the image with idx {values[counts.argmax()]:g} {counts.max()} times, "
                "as when two runs are written to one file. Keep one line for each image."
            )
        if (np.diff(columns["idx"]) < 0).any():
            notes.append("its images are not in the order of idx, which does not matter here")
    with_radius = int(((predict < 0) & (columns["radius"] > 0)).sum())
    if with_radius:
        notes.append(
            f"{many(with_radius, 'image')} abstained (predict below 0) and yet had a radius: "
            "counted as abstained, with radius 0"
        )
    if "correct" in columns:
        notes += _correct(path, columns["correct"], right, label, predict)
    return right, notes


def _correct(
    path: Path,
    correct: NDArray[np.float64],
    right: NDArray[np.bool_],
    label: NDArray[np.float64],
    predict: NDArray[np.float64],
) -> list[str]:
    """What the column `correct` is, which must agree with label and predict."""
    if (correct == right).all():
        return []
    if correct.max() > 1 and (correct == np.cumsum(right)).all():
        return ["its column 'correct' is a running total, so label and predict say what is right"]
    if not np.isin(correct, (0, 1)).all():
        raise InvalidInput(
            f"{path} has values in the column 'correct' that are neither 0 nor 1, nor the running "
            "total of the images that are right by label and predict. Correct or remove that column"
        )
    first = int((correct != right).argmax())
    raise InvalidInput(
        f"{path} contradicts itself: image {first + 1} has the label {label[first]:g} and is "
        f"predicted as {predict[first]:g}, but its column 'correct' says {correct[first]:g}. "
        "Correct or remove that column; without it, images are right where predict equals label"
    )


def _above_cap(largest: float, digits: int, sigma: float, draws: int, alpha: float) -> str:
    """What is said of a largest radius that these draws cannot prove; empty if they can."""
    cap = float(special.ndtri(alpha ** (1 / draws)))
    # The log rounds to nearest: what it stands for may be half a unit of its last digit less.
    written = 0.5 * 10.0 ** (floor(log10(largest)) - digits + 1) if largest > 0 else 0.0
    least = (largest - max(written, 1e-9 * largest)) / sigma
    if least <= cap:
        return ""
    unanimous = float(special.log_ndtr(least))
    text = (
        f"its largest radius, {largest:g}, is {largest / sigma:.2f} σ, and n = {draws:,} draws at "
        f"α = {alpha:g} prove at most {ceil_to(cap, 3)} σ"
    )
    if unanimous == 0 or log(alpha) / unanimous > _MOST_DRAWS:
        return f"{text}; no n in use explains that: is σ = {sigma:g} right?"
    n = _two_digits_up(log(alpha) / unanimous)
    larger = _two_digits_up(exp(draws * unanimous))
    either = f"n = {n:,.0f}" + (f" or α = {larger:g}" if larger < 0.5 else "")
    return f"{text}; such a radius takes at least {either} (simulate --log-n, --log-alpha)"


def _two_digits_up(value: float) -> float:
    unit = 10.0 ** (floor(log10(value)) - 1)
    return float(f"{ceil(value / unit * (1 - 1e-12)) * unit:.6g}")


def _matching(path: Path) -> list[Path]:
    """The files that a pattern stands for; a path that exists, or no pattern, is itself."""
    if path.exists() or not any(sign in str(path) for sign in "*?["):
        return [path]
    # The folders of a pattern may be patterns too.
    found = sorted(file for file in Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    found = [file for file in found if file.is_file()]
    if not found:
        raise InvalidInput(f"No file matches {path}. Check the folder, or give the files' names.")
    return found


def _name(path: Path) -> str:
    """The file's name; `sigma_0.50` has no suffix."""
    return path.stem if path.suffix.lower() in _SUFFIXES else path.name


def _distinct(files: Sequence[Path]) -> list[str]:
    """Names of files, each with as many of its folders as make all of them different."""
    most = max((len(file.absolute().parts) for file in files), default=1)
    for folders in range(most):
        names = ["/".join([*_folders(file, folders), _name(file)]) for file in files]
        if len(set(names)) == len(names):
            return names
    return [str(file) for file in files]


def _folders(file: Path, count: int) -> tuple[str, ...]:
    parts = file.absolute().parts[1:-1]
    return parts[len(parts) - count :] if count else ()


def _sigma(path: Path, table: LogTable) -> float:
    """Of the column, the file's name, or the name of the nearest folder that has it."""
    if "sigma" in table.columns:
        return _only(path, table, "sigma", "--sigma")
    for name in (path.name, *(folder.name for folder in path.absolute().parents)):
        found = re.findall(r"(?:sigma|noise)[_=-]?(\d+(?:\.\d+)?)", name)
        if found:
            return float(found[-1])
    raise InvalidInput(
        f"{path.name} does not name its noise as in 'sigma_0.50': rename it so, or give it with "
        "--sigma where a command has that (in Python sigma=)."
    )


def _only(path: Path, table: LogTable, name: str, option: str, default: float = 0.0) -> float:
    """The one value of a column, or the default if there is no such column."""
    values = table.columns.get(name, np.array([default]))
    if values.min() < values.max():
        raise InvalidInput(
            f"{path} has several values in its column {name!r}, from {values.min():g} to "
            f"{values.max():g}. Split the log, so that each has one, or give one with {option}."
        )
    return float(values[0])
