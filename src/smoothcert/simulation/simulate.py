"""`simulate`: certification and recertification simulated on a published log, method by method.

A simulation: images are as logged, label changes are drawn from a stated law, and no model is run.
It shows how the methods compare on real vote shares, not what a particular model gains.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng

from smoothcert.certificate import check_alpha, check_count
from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.methods.irs import Irs
from smoothcert.methods.replay import Reuse
from smoothcert.simulation import contenders
from smoothcert.simulation.curves import Curve, area_ratio
from smoothcert.simulation.logs import Log
from smoothcert.simulation.world import FlipModel, World
from smoothcert.vocabulary import ACCOUNTINGS

NOTICE = (
    "SIMULATION: vote shares from a published log, label changes drawn from a stated law; no "
    "model was run and nothing is certified."
)

METHODS = ("irs", "irs-published", "joint-uniform", "joint-planned", "auto-planned")
"""The methods that are compared with certifying from scratch."""

# auto-planned takes ten times as long as all others together, and minutes from n = 100,000.
_QUICK = METHODS[:4]


_SIZES = tuple(percent / 100 for percent in range(1, 11))
_TOTALS = tuple(float(share) for share in np.geomspace(0.0005, 0.1, 14))
_SEPARATELY = (50, 100_000, 40)  # sizes of the curve compared with dataset certificates


@dataclass(frozen=True)
class Study:
    """The settings of a simulation.

    Args:
        flips: the law of label changes.
        n: cached draws per image.
        methods: which of METHODS; by default all except `auto-planned`, which is slow.
        screen: replayed winners per correct image, for dataset certificates.
        alpha: error probability of every method, per image (for a dataset certificate: in all).
            `irs-published` is tested at alpha and proven at up to twice alpha (docs/theory.md,
            section 3).
        gamma: gamma of IRS.
        accounting: `all` counts every forward pass of the new model: 100 selection draws per
            image from scratch, the pilot, and nothing where the cache proves nothing.
            `published` counts only estimation draws, the same number on every image for methods
            that do not plan.
        repetitions: simulated caches and replays, which are averaged.
        seed: seed of the first repetition.
    """

    flips: FlipModel
    n: int = 10_000
    methods: tuple[str, ...] = _QUICK
    screen: tuple[int, ...] = (20, 50, 100)
    alpha: float = 0.002
    gamma: float = 0.99
    accounting: str = "all"
    repetitions: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        check_count(self.n, "n")
        check_count(self.repetitions, "repetitions")
        check_alpha(self.alpha)
        if self.n < 1000:
            raise InvalidInput(f"n must be at least 1000, of which 1 % are replayed; got {self.n}")
        if not set(self.methods) <= set(METHODS):
            raise InvalidInput(
                f"methods must be among {', '.join(METHODS)}; got {', '.join(self.methods)}"
            )
        require_one_of("accounting", self.accounting, ACCOUNTINGS)
        if not all(1 <= m <= self.n // 2 for m in self.screen):
            raise InvalidInput(f"screen must be counts from 1 to n/2; got {self.screen}")
        _ = Irs(1, self.alpha, self.gamma)

    @property
    def selection(self) -> int:
        """Selection draws per image that count for certifying from scratch."""
        return 100 if self.accounting == "all" else 0


@dataclass(frozen=True)
class Screened:
    """A simulated dataset certificate.

    Attributes:
        per_input: replayed winners per correct image.
        evaluations: total evaluations.
        acr: proven average certified radius.
        from_scratch: evaluations of every image, in all, with which certifying from scratch
            reaches that ACR; None if it takes more than 100,000 per image or fewer than 50.
    """

    per_input: int
    evaluations: float
    acr: float
    from_scratch: float | None

    @property
    def times(self) -> float | None:
        """Evaluations from scratch over those of the dataset certificate."""
        return None if self.from_scratch is None else self.from_scratch / self.evaluations


@dataclass(frozen=True, eq=False)
class Simulation:
    """The result of `simulate`; print `NOTICE` wherever it is shown.

    Attributes:
        log: the log it was simulated on.
        study: the settings.
        baseline: the curve of certifying from scratch.
        curves: one per method of the study.
        screened: one per size of the study.
    """

    log: Log
    study: Study
    baseline: Curve
    curves: tuple[Curve, ...]
    screened: tuple[Screened, ...]

    @property
    def ratios(self) -> dict[str, float | None]:
        """Area ratio of every method: evaluations from scratch over the method's own."""
        return {curve.method: area_ratio(self.baseline, curve) for curve in self.curves}

    def _proven(self, method: str) -> float:
        """The error that would be proven for its certificates (docs/theory.md, section 3)."""
        study = self.study
        if method != "irs-published":
            return study.alpha
        return Irs(1, study.alpha, study.gamma, "published").error(study.n)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the notice."""
        study = self.study
        ratios = self.ratios
        return {
            "notice": NOTICE,
            "log": self.log.name,
            "images": self.log.images,
            "sigma": self.log.sigma,
            "log_n": self.log.draws,
            "log_alpha": self.log.alpha,
            "notes": list(self.log.notes),
            "disparity": study.flips.disparity,
            "away": study.flips.away,
            "n": study.n,
            "alpha": study.alpha,
            "accounting": study.accounting,
            "repetitions": study.repetitions,
            "seed": study.seed,
            "methods": [
                {
                    "method": curve.method,
                    "area_ratio": ratios.get(curve.method, 1.0),
                    "alpha": self._proven(curve.method),
                    "evaluations": curve.evaluations.tolist(),
                    "acr": curve.acr.tolist(),
                }
                for curve in (self.baseline, *self.curves)
            ],
            "screened": [
                {
                    "per_input": row.per_input,
                    "evaluations": row.evaluations,
                    "acr": row.acr,
                    "from_scratch": row.from_scratch,
                    "times": row.times,
                }
                for row in self.screened
            ],
        }


def simulate(log: Log, study: Study) -> Simulation:
    """Simulate a study on a log; the same seed gives the same result.

    Returns:
        Curves of certifying from scratch and of every method, each the mean of the repetitions,
        and dataset certificates with their equivalent from scratch.

    Raises:
        InvalidInput: the flip model does not fit into the log's probabilities.

    Examples:
        >>> study = Study(FlipModel(0.01), methods=("irs", "joint-planned"))
        >>> irs, planned = simulate(read_log("cohen_sigma_0.25.tsv"), study).ratios.values()
    """
    worlds = [
        World.draw(log, study.n, study.flips, _rng(study, repetition, 0))
        for repetition in range(study.repetitions)
    ]
    baseline, *curves = (_curve(name, study, worlds) for name in ("from-scratch", *study.methods))
    return Simulation(log, study, baseline, tuple(curves), _screen(study, worlds))


def _rng(study: Study, repetition: int, place: int) -> Generator:
    # A generator for each use: leaving a method out does not change the others.
    return default_rng([study.seed, repetition, place])


def _curve(name: str, study: Study, worlds: list[World]) -> Curve:
    place = 1 + METHODS.index(name) if name in METHODS else 1 + len(METHODS)
    points = [
        _points(name, study, world, _rng(study, repetition, place))
        for repetition, world in enumerate(worlds)
    ]
    acr, evaluations = (np.mean(column, axis=0) for column in zip(*points, strict=True))
    # Small totals can lead to the same plan: the curve keeps the first of them.
    ahead = np.append(True, np.diff(np.maximum.accumulate(evaluations)) > 0)
    return Curve(name, evaluations[ahead], acr[ahead])


def _points(name: str, study: Study, world: World, rng: Generator) -> contenders.Points:
    sizes = np.array([round(share * study.n) for share in _SIZES], dtype=np.int64)
    if name == "from-scratch":
        return contenders.from_scratch(world, sizes, study.alpha, study.selection, rng)
    if name.endswith("-planned"):
        totals = [max(1, round(share * study.n * world.log.images)) for share in _TOTALS]
        method = name.removesuffix("-planned")
        (acr, spent), piloted = contenders.planned(world, totals, method, study.alpha, rng)
        return acr, spent + piloted if study.accounting == "all" else spent
    if name == "joint-uniform":
        acr, spent = contenders.uniform(world, sizes, Reuse("uniform:1", alpha=study.alpha), rng)
    else:
        variant = "published" if name == "irs-published" else "budget-exact"
        irs = Irs(1, study.alpha, study.gamma, variant)
        acr, spent = contenders.incremental(world, sizes, irs, rng)
    return acr, spent if study.accounting == "all" else world.log.images * sizes


def _screen(study: Study, worlds: list[World]) -> tuple[Screened, ...]:
    if not study.screen:
        return ()
    place = 2 + len(METHODS)
    rngs = [_rng(study, repetition, place) for repetition in range(len(worlds))]
    sizes = np.unique(np.geomspace(*_SEPARATELY).astype(np.int64))
    pairs = list(zip(worlds, rngs, strict=True))
    points = [
        contenders.from_scratch(world, sizes, study.alpha, study.selection, rng)
        for world, rng in pairs
    ]
    acr, evaluations = (np.mean(column, axis=0) for column in zip(*points, strict=True))
    scratch = Curve("from-scratch", evaluations, acr)
    return tuple(_screened(m, study, pairs, scratch) for m in study.screen)


def _screened(
    m: int, study: Study, pairs: list[tuple[World, Generator]], scratch: Curve
) -> Screened:
    found = [contenders.screened(world, m, study.alpha, rng) for world, rng in pairs]
    acr, evaluations = (float(x) for x in np.mean(found, axis=0))
    return Screened(m, evaluations, acr, scratch.evaluations_for(acr))
