"""What a search found, as it is written and read again, and whether it is what its counts prove."""

import filecmp
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

from smoothcert.errors import InvalidInput, SmoothcertError
from smoothcert.files import read_regular, write_whole
from smoothcert.methods import Exact
from smoothcert.methods.dataset import DatasetCertificate, recheck, screening_of
from smoothcert.methods.screening import Pool, Screening, Verdict
from smoothcert.methods.targets import MeanRadius, Target
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE
from smoothcert.searching.explored import share_reached
from smoothcert.searching.language import Language, file_of, with_word

NAME = "search.json"
_FORMAT = 1
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Row:
    """A candidate of a search.

    Attributes:
        word: its code word.
        target: what `compress` was asked for.
        size: bytes as stored.
        cost: of the objective.
        flips, draws: on selection draws; an expectation, no claim.
        expected: what these let expect that a certificate states at the first target.
        certificate: at the error of its word; None if it was only explored.
        file: of the model, relative to the search's folder; empty if it was not kept.
        seconds: for a row in ONNX Runtime, measured while searching; None if it was not.
    """

    word: str
    target: str
    size: int
    cost: float
    flips: int
    draws: int
    expected: float
    certificate: DatasetCertificate | None = None
    file: str = ""
    seconds: float | None = None

    @property
    def accepted(self) -> bool:
        """Whether all targets are proven."""
        return self.certificate is not None and self.certificate.verdict is Verdict.ACCEPTED

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = self.certificate
        plain = {k: v for k, v in vars(self).items() if k != "certificate"}
        return plain | {"certificate": found and found.to_json()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read back what `to_json` made."""
        found = row["certificate"]
        return cls(**{**row, "certificate": found and DatasetCertificate.from_json(found)})


@dataclass(frozen=True)
class Found:
    """A search and its result.

    Attributes:
        model: reference of the original.
        base, base_hash: the run whose draws were replayed, and its identity.
        objective: what was made small.
        original: the bytes of its file (of its ONNX if it has none), and its cost.
        screening: the settings of one candidate that had all of alpha.
        language: what could be tried, fixed before any counted draw.
        budget, spent: evaluations.
        rows: the candidates, by cost.
        refused: targets that could not be made, and why.
        per_input: folder of the winner's certificates by input; empty without them.
        seconds: of the original for a row in ONNX Runtime; None if it was not measured.
        finished: whether the search ended, or was stopped by its time.
    """

    model: str
    base: str
    base_hash: str
    objective: str
    original: tuple[int, float]
    screening: Screening
    language: Language
    budget: int
    spent: int
    rows: tuple[Row, ...]
    refused: Mapping[str, str]
    per_input: str = ""
    seconds: float | None = None
    finished: bool = True

    @property
    def target(self) -> Target | MeanRadius:
        """The first of the targets, which figures are of."""
        return self.screening.targets[0]

    @property
    def best(self) -> Row | None:
        """The cheapest that is proven."""
        return min((r for r in self.rows if r.accepted), key=lambda r: r.cost, default=None)

    @property
    def nearest(self) -> Row | None:
        """Of those that were certified, what came nearest to the targets."""
        shares = [(share_reached(r.certificate), r) for r in self.rows if r.certificate]
        return max(shares, key=lambda pair: pair[0], default=(0.0, None))[1]

    def summary(self) -> dict[str, Any]:
        """What was found, as plain values."""
        best, nearest = self.best, self.nearest
        asked = list(map(str, self.screening.targets))
        facts = {"accept": asked, "objective": self.objective, "alpha": self.screening.alpha}
        facts |= {"original": list(self.original), "evaluations": self.spent}
        rows = {"winner": best and best.to_json(), "nearest": nearest and nearest.to_json()}
        facts |= {"candidates": len(self.rows), "finished": self.finished}
        return facts | rows | {"per_input": self.per_input}

    def write(self, folder: Path) -> None:
        """Write `search.json`."""
        body = {
            "format": _FORMAT,
            **{k: v for k, v in vars(self).items() if isinstance(v, str | int)},
            "original": list(self.original),
            "seconds": self.seconds,
            "screening": asdict(self.screening),
            "layers": list(self.language.layers),
            "refused": dict(self.refused),
            "best": self.best and self.best.word,
            "rows": [row.to_json() for row in self.rows],
        }
        write_whole(folder / NAME, (json.dumps(body, indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote; what it states is not checked, see `problems_of`.

        Raises:
            InvalidInput: it is no such file.
        """
        try:
            body = json.loads(read_regular(folder / NAME, _MOST_BYTES, InvalidInput))
            if body["format"] != _FORMAT:
                raise ValueError(f"it has format {body['format']!r:.20}, not {_FORMAT}")
            names = ("model", "base", "base_hash", "objective", "budget", "spent", "per_input")
            return cls(
                **{name: body[name] for name in names},
                original=(int(body["original"][0]), float(body["original"][1])),
                screening=screening_of(body["screening"]),
                language=Language(tuple(map(str, body["layers"]))),
                rows=tuple(map(Row.from_json, body["rows"])),
                refused={str(k): str(v) for k, v in body["refused"].items()},
                seconds=body.get("seconds"),  # earlier versions measured none
                finished=bool(body.get("finished", True)),
            )
        except (*UNREADABLE, SmoothcertError) as error:
            raise InvalidInput(
                f"{folder / NAME} is not what `smoothcert search` writes: {error}. Give such "
                "a folder."
            ) from error


def problems_of(found: Found, pool: Pool | None) -> Iterator[str]:
    """What is wrong with a search, without its models; `pool` is the base run's, if available."""
    if found.screening.candidates != 1 or not found.screening.targets:
        yield "its settings are not those of a search"
    words = [row.word for row in found.rows]
    if len(set(words)) != len(words):
        yield "it has a candidate twice"
    pools = {row.certificate.pool for row in found.rows if row.certificate is not None}
    if len(pools) > 1 or (pool and {replace(one, off_grid=0.0) for one in pools} - {pool}):
        yield "its inputs and their cached votes are not those of the base run"
    for row in found.rows:
        yield from _problems(found, row)


def _problems(found: Found, row: Row) -> Iterator[str]:
    """Of one candidate."""
    try:
        target = found.language.candidate(row.word).target(found.language.layers)
    except InvalidInput as error:
        yield str(error)
        return
    if target != row.target:
        yield f"the word {row.word} is of {target!r:.80}, not of {row.target!r:.80}"
    if found.objective == "size" and row.cost != row.size:
        yield f"{row.target!r:.80} costs {row.cost:g} where it has {row.size} bytes"
    if found.objective == "latency" and row.seconds is not None and row.cost != row.seconds:
        yield f"{row.target!r:.80} costs {row.cost:g} where {row.seconds:g} seconds were measured"
    if (one := row.certificate) is None:
        return
    if one.screening != with_word(found.screening, row.word):
        yield f"{row.target!r:.80} is not certified at the error of its word"
    elif recheck(one) != one:
        yield f"{row.target!r:.80}: it states what its counts do not prove"


def of_winner(found: Found, run: Run) -> Iterator[str]:
    """What is wrong with the winner's certificates by input, beside what `verify` finds."""
    best, method = found.best, run.identity.method
    if best is None or best.certificate is None:
        yield "there are certificates by input, but no winner"
    elif run.identity.model != best.certificate.fingerprint:
        yield "the certificates by input are not of the winner"
    elif run.identity.base != found.base_hash:
        yield "the certificates by input are not from the base run of the search"
    elif not isinstance(method, Exact) or method.share > 2.0 ** -len(best.word):
        yield "the certificates by input are not at the error of the winner's word"


def missing_files(found: Found, folder: Path) -> Iterator[str]:
    """Models of certified candidates that are missing, or have another size than is stated."""
    for row in found.rows:
        if row.certificate is None:
            continue
        if PurePosixPath(row.file).parts != ("models", file_of(row.word)):
            yield f"{row.target!r:.80} names the file {row.file!r:.80}, which is not its own"
        elif not (folder / row.file).is_file():
            yield f"the model of {row.target!r:.80} is missing: {row.file}"
        elif (folder / row.file).stat().st_size != row.size:
            yield f"the model of {row.target!r:.80} has another size than is stated"
    best = found.best
    if best is not None and not (folder / "winner.onnx").is_file():
        yield "winner.onnx is missing"
    elif best is not None and (folder / best.file).is_file() and not _same(folder, best.file):
        yield "winner.onnx is not the model that was proven"


def _same(folder: Path, file: str) -> bool:
    return filecmp.cmp(folder / "winner.onnx", folder / file, shallow=False)
