"""Candidates as files, each made once, with what it costs to store and to run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress.energy import energy_proxy
from smoothcert.compress.latency import measure_latency
from smoothcert.compress.request import bytes_of
from smoothcert.data.inputs import Inputs
from smoothcert.execution.scheduler import Executor, Work, run_serially
from smoothcert.searching.journal import Journal
from smoothcert.searching.language import FRACTIONS, LEVELS, Candidate, Language, file_of
from smoothcert.searching.making import Making, Order

_SECONDS = 0.5  # of measuring the latency of each candidate, where it is the objective
_BRIEF = 0.1  # where it is only shown
_SOME = 24  # at most so many cuts of falling levels
_GROUPED = ("int4-weights:64", "int4-weights:32", "int4-weights:16")
_SMALLER = (
    *("onnx", "bf16-weights", "int8-weights", "int4-weights:16", "int4-weights:32"),
    *("int4-weights:64", "int4-weights", "int3-weights"),
)
"""Formats whose files get smaller."""
_CUTS = ("lowrank", "prune-channels")  # shrinks that make files smaller
_EPOCHS = 4  # of fine-tuning


@dataclass(frozen=True)
class Made:
    """A candidate that was written.

    Attributes:
        candidate: which.
        word: its code word.
        target: what `compress` was asked for.
        file: where it is.
        size: bytes as stored.
        cost: of the objective; equal to the size, seconds for a row, or a proxy of energy.
        seconds: for a row in ONNX Runtime on one core, measured here; None before.
    """

    candidate: Candidate
    word: str
    target: str
    file: Path
    size: int
    cost: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Workshop:
    """Where candidates are made.

    Attributes:
        model: reference of the original.
        plain: the original in float32 as an ONNX file.
        folder: for files.
        language: names layers and words.
        calibration: data that is not certified, for calibration and training.
        sigma: noise on it.
        seed: of everything drawn at random while candidates are made.
        journal: keeps what was made and measured.
        executor: makes several at once.
        load: loads a candidate's file.
        refused: the targets that cannot be made, and why.
    """

    model: str
    plain: Path
    folder: Path
    language: Language
    calibration: Inputs
    sigma: float
    seed: int
    journal: Journal
    executor: Executor = run_serially
    load: Callable[[str], Classifier] = load_classifier
    refused: dict[str, str] = field(default_factory=dict)

    def make(self, candidates: Sequence[Candidate]) -> list[Made | None]:
        """Candidates with their files; None for one that cannot be made, which is remembered."""
        orders = list(map(self._order, candidates))
        missing = [order for order in orders if not self.journal.has(self._step(order))]
        spec, limit = Making.of(missing, self.sigma, self.seed), self.journal.limit

        def kept(number: int, made: list[list[Any]]) -> tuple[int, ...]:
            for order, one in zip(spec.groups[number], made, strict=True):
                self.journal.keep(self._step(order), one)
            return ()

        local, blocks = replace(spec, calibration=self.calibration), tuple(range(len(spec.groups)))
        work = Work(spec, blocks, lambda evaluations: None, local, then=kept)
        self.executor(work, lambda: limit is not None and limit.over)
        return list(map(self._made, candidates, orders))

    def _step(self, order: Order) -> str:
        return f"made {order.target} as {self.folder.name}/{order.file.stem}"

    def _order(self, candidate: Candidate) -> Order:
        target = candidate.target(self.language.layers)
        source = self.model if candidate.shrink else str(self.plain)
        return Order(source, target, self.folder / file_of(self.language.word(candidate)))

    def _made(self, candidate: Candidate, order: Order) -> Made | None:
        # It is made, or the time is over, which this raises.
        size, refused = self.journal.step(self._step(order), lambda: None)
        if refused:
            self.refused[order.target] = refused
            return None
        word = self.language.word(candidate)
        return Made(candidate, word, order.target, order.file, size, float(size))

    def price(self, original: Made, made: Sequence[Made], objective: str) -> list[Made]:
        """The original and candidates with their latencies, measured in turns, and their costs.

        What the original took when it was measured before, if it was, is the unit of all later
        measurements: the machine may be busier then.
        """
        files = [one.file for one in (original, *made)]
        long = _SECONDS if objective == "latency" else _BRIEF

        def measure() -> list[float]:
            rows = self.load(str(self.plain)).fixed_batch or 1
            found = measure_latency(files, self.calibration, batch_size=rows, seconds=long)
            return [one.seconds for one in found]

        seconds = self.journal.step(f"latency of {[one.word for one in made]}", measure)
        unit = seconds[0] if original.seconds is None else original.seconds
        timed = [
            replace(one, seconds=unit * (each / seconds[0]))
            for one, each in zip((original, *made), seconds, strict=True)
        ]
        return [replace(one, cost=self._cost(one, objective)) for one in timed]

    def _cost(self, made: Made, objective: str) -> float:
        if objective == "energy-proxy":
            return energy_proxy(made.file, self.calibration).picojoules
        if objective == "latency" and made.seconds is not None:
            return made.seconds
        return float(made.size)

    @property
    def original(self) -> Made:
        """The original itself, which is no candidate: its own file, or its ONNX if it has none."""
        own = ModelReference.parse(self.model).path
        size = bytes_of(own if own is not None and own.is_file() else self.plain)
        return Made(Candidate("onnx"), "", "the original", self.plain, size, float(size))

    def all_of(self, candidates: Sequence[Candidate]) -> list[Made]:
        """Those that can be made."""
        return [made for made in self.make(candidates) if made is not None]


def proposals(language: Language, objective: str, trains: bool) -> tuple[Candidate, ...]:
    """What is tried first; a search may try anything else of the language."""
    count = len(language.layers)
    tuned = (0, _EPOCHS) if trains else (0,)
    cut = [Candidate(f, s, x, e) for s, x, f in _shrunk(objective) for e in tuned]
    if objective == "latency":
        kept = sorted({k for k in (1, 2, 4, count // 4, count // 2) if 0 < k < count})
        return (
            Candidate("onnx"),
            Candidate("int8"),
            *(Candidate("int8", kept=k) for k in kept),
            *cut,
        )
    cuts = sorted({round(k * count / _SOME) for k in range(1, _SOME)} & set(range(1, count)))
    ladder = [language.falling((0, 0, k)) for k in cuts]
    ladder += [language.falling((k, k, count)) for k in cuts[:: max(1, len(cuts) // 4)]]
    plain = [
        Candidate(f) for f in ("onnx", "bf16-weights", "int8-weights", "int4-weights", *_GROUPED)
    ]
    return (*plain, Candidate("int8"), *ladder, *cut)


def neighbours(best: Candidate, trains: bool) -> Iterator[Candidate]:
    """What is a step further than a candidate: a layer's level, the next format, or shrink."""
    formats, last = best.formats, len(LEVELS) - 1
    if not isinstance(formats, str):
        for i, level in enumerate(map(LEVELS.index, formats)):
            if level < last:
                yield Candidate((*formats[:i], LEVELS[level + 1], *formats[i + 1 :]))
        return
    if best.kept:
        yield replace(best, kept=best.kept - 1)
        return
    if formats in _SMALLER[:-1]:
        yield replace(best, formats=_SMALLER[_SMALLER.index(formats) + 1])
    for shrink in (best.shrink,) if best.shrink else _CUTS:
        # Of ranks a share is kept, of weights and channels a share goes.
        order = (0.0, *(FRACTIONS[::-1] if shrink == "lowrank" else FRACTIONS))
        if (place := order.index(best.fraction) + 1) < len(order):
            one = replace(best, shrink=shrink, fraction=order[place])
            yield one
            if trains and not best.epochs:
                yield replace(one, epochs=_EPOCHS)


def _shrunk(objective: str) -> Iterator[tuple[str, float, str]]:
    formats = ("onnx", "int8") if objective == "latency" else ("int8-weights", "int4-weights")
    for shrink, fractions in (("lowrank", (0.5, 0.7)), ("prune-channels", (0.1, 0.2, 0.3))):
        for fraction in fractions:
            for each in formats:
                yield shrink, fraction, each
