"""What a certification from scratch is expected to take and to prove, before it is paid for."""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.certificate import Settings
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.given import as_inputs
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.describe import block_inputs
from smoothcert.methods import SCRATCH, Method, Sized, scratch
from smoothcert.planning import Policy, Sizes, sized
from smoothcert.planning.forecast import Forecast
from smoothcert.planning.pilot import PilotVotes
from smoothcert.runs.footprint import Footprint
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared, prepare
from smoothcert.sampling.tuning import BatchConfig, speed
from smoothcert.scalars import real
from smoothcert.tries import Seed, number_of

SHOWN = ("retain:0.99", "retain:0.95", "retain:0.9", "budget:0.3", "budget:0.1")
"""The policies that are shown by default."""

_SECONDS, _FEWEST = 5.0, 10  # for the selection draws, and inputs whatever these take


@dataclass(frozen=True)
class Workers:
    """Processes that share the blocks of a run.

    Args:
        count: how many.
        speed: of each, as a share of the speed measured here.
    """

    count: int = 1
    speed: float = 1.0

    def seconds(self, alone: float, blocks: Sequence[float]) -> float:
        """Until the last block is done: each worker takes the next one when it is free.

        Args:
            alone: seconds of work here before the first block, which one worker does.
            blocks: seconds of work here, by block.
        """
        free = [alone / self.speed] * self.count
        for block in blocks:
            heapq.heapreplace(free, free[0] + block / self.speed)
        return max(free)


@dataclass(frozen=True, eq=False)
class PolicyEstimate:
    """What is expected of one policy; nothing here is proven.

    Attributes:
        policy: as `certify` takes it, None for n draws of every input.
        draws: estimation draws of each input, shape (inputs,).
        evaluations: in all, selection draws included.
        seconds: that they take here, at the measured speed.
        seconds_shared: on the workers that were given, simulated.
        stored: bytes of the run on disk.
        acr: average certified radius, where an input counts if its selection class is its label.
        accuracy: (radius, certified accuracy) in the same way.
    """

    policy: str | None
    draws: NDArray[np.int64] = field(repr=False)
    evaluations: int
    seconds: float
    seconds_shared: float
    stored: int
    acr: float
    accuracy: tuple[tuple[float, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the draws of each input."""
        names = ("policy", "evaluations", "seconds", "seconds_shared")
        expected = {"expected_acr": self.acr, "expected_accuracy": self.accuracy}
        return {name: getattr(self, name) for name in names} | {"bytes": self.stored} | expected


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a certification is expected to take and to prove, by policy.

    Attributes:
        model, fingerprint, device: of the classifier.
        settings: of the certification.
        inputs: how many are to be certified.
        selected: of how many of them the selection draws were evaluated.
        labelled: whether true classes are known; if not, every class counts as correct.
        batch_size: rows per forward pass.
        block_inputs: inputs per block of a run.
        speed: evaluations per second here, noise included.
        largest_radius: what n draws that all agree prove; no input gets more.
        policies: the estimates, n draws of every input first.
    """

    model: str
    fingerprint: str
    device: str
    settings: Settings
    inputs: int
    selected: int
    labelled: bool
    batch_size: int
    block_inputs: int
    speed: float
    largest_radius: float
    policies: tuple[PolicyEstimate, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        names = ("model", "fingerprint", "device", "inputs", "selected", "labelled", "batch_size")
        names += ("block_inputs", "largest_radius")
        settings = {name: getattr(self.settings, name) for name in ("sigma", "n0", "n", "alpha")}
        plain = settings | {"form": self.settings.form, "seed": self.settings.seed}
        plain |= {"evaluations_per_second": self.speed}
        rows = [one.to_json() for one in self.policies]
        return {name: getattr(self, name) for name in names} | plain | {"policies": rows}


def estimate(
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object,
    sigma: float,
    *,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    seed: Seed = 0,
    form: str = "binary",
    policies: Sequence[str] | None = None,
    keep_margins: bool = False,
    radii: Sequence[float] = (0.0, 0.25, 0.5),
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate what `certify` would take and prove, by policy, from selection draws alone.

    The selection draws of all inputs are evaluated if that takes a few seconds, else those of an
    evenly spread part. They are never counted as estimation draws, so n, a policy, sigma or a model
    may be chosen by what is estimated, and then be certified with the same seed (docs/theory.md,
    section 2). Nothing is written.

    Args:
        classifier: a `Classifier`, or anything `load_classifier` takes.
        inputs: as for `certify`. Their labels only tell which inputs count as correct.
        sigma: noise standard deviation on the [0, 1] scale.
        n0: selection draws.
        n: estimation draws; with a policy, the most that an input gets.
        alpha: probability of a wrong certificate, for each input on its own.
        seed: noise seed, or `random`.
        form: `binary`, `runner-up`, `auto` or `multiclass`, see `Settings`.
        policies: as of `certify`; by default several.
        keep_margins: as of `certify`, which then takes no policy.
        radii: radii at which certified accuracy is wanted, >= 0.
        batch_size: rows per forward pass; by default as `certify` chooses.
        progress: called with the number of evaluations after every batch.

    Returns:
        Evaluations, seconds at the speed measured here, bytes, average radius and certified
        accuracy to expect of each policy; and the largest radius that n draws prove.

    Raises:
        InvalidInput: a setting, a policy or the inputs are out of range.
        ModelError: not a usable classifier, or its rows depend on each other.
    """
    inputs = as_inputs(inputs)
    draws = (n0, n, alpha, number_of(seed))
    settings = Settings(sigma, inputs.levels, *draws, form, keep_margins, inputs.off_grid)
    options = EstimateOptions(policies, tuple(radii), batch_size=batch_size, progress=progress)
    return estimated(load_classifier(classifier), inputs, settings, options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class EstimateOptions:
    """What to estimate, and how.

    Attributes:
        policies, radii, batch_size, progress: as of `estimate`.
        block_inputs: inputs per block of the run, or None as a run chooses.
        workers: what computes the run.
    """

    policies: Sequence[str] | None = None
    radii: tuple[float, ...] = (0.0, 0.25, 0.5)
    workers: Workers = field(default_factory=Workers)
    batch_size: int | None = None
    block_inputs: int | None = None
    progress: Progress | None = None

    def methods(self, settings: Settings, inputs: Inputs) -> tuple[Sized, ...]:
        """The policies as methods; of the default ones those that these settings allow."""
        if self.policies is None:
            default = (Sized(policy) for policy in SHOWN)
            return tuple(one for one in default if _is_possible(one, settings, inputs))
        given = (self.policies,) if isinstance(self.policies, str) else self.policies
        found = tuple(Sized(policy) for policy in given)
        for one in found:
            _check(one, settings, inputs)
        return found


def _check(method: Sized, settings: Settings, inputs: Inputs) -> None:
    """Refuse what `certify` refuses."""
    sized.by_policy(method.policy)
    method.check(settings, inputs.shape)
    sized.check_budget(method, settings, len(inputs))


def _is_possible(method: Sized, settings: Settings, inputs: Inputs) -> bool:
    try:
        _check(method, settings, inputs)
    except InvalidInput:
        return False
    return True


def estimated(
    classifier: Classifier, inputs: Inputs, settings: Settings, options: EstimateOptions
) -> Estimate:
    """`estimate` of a loaded classifier, with settings and options."""
    methods = options.methods(settings, inputs)  # before any evaluation
    radii = tuple(real(radius, "a radius") for radius in options.radii)
    total, each = len(inputs), settings.n0 + settings.n
    ready = prepare(classifier, inputs.item(0), settings, total * each, options.batch_size)
    votes, rate = _selected(ready, inputs, settings, options.progress)
    block = block_inputs(settings, each, total, ready.speed, options.block_inputs)
    rows = _Rows(settings, inputs, votes, ready.probe.num_classes, rate, block, options.workers)
    of_all = rows.of(SCRATCH, np.full(len(votes.positions), settings.n), radii)
    return Estimate(
        model=classifier.name,
        fingerprint=classifier.fingerprint,
        device=classifier.device,
        settings=settings,
        inputs=total,
        selected=len(votes.positions),
        labelled=inputs.labels is not None,
        batch_size=ready.batch_size,
        block_inputs=min(block, total),
        speed=rate,
        largest_radius=scratch.largest_radius(settings, inputs.shape, ready.probe.num_classes),
        policies=(of_all, *(rows.of(one, rows.plan(one.policy), radii) for one in methods)),
    )


def _selected(
    ready: Prepared, inputs: Inputs, settings: Settings, progress: Progress | None
) -> tuple[PilotVotes, float]:
    """Selection votes of all inputs or of an evenly spread part, and evaluations per second."""
    used = BatchConfig(ready.classifier, ready.batch_size)
    trial = ready.speed or speed(used, inputs.item(0), settings.noise)
    count = min(len(inputs), max(_FEWEST, int(trial * _SECONDS / settings.n0)))
    picks = np.linspace(0, len(inputs) - 1, count).round().astype(np.int64)
    start = time.perf_counter()
    found = sized.select(ready.sampler(settings, progress), inputs.select(picks.tolist()))
    seconds = time.perf_counter() - start
    # Other work on the machine only slows either down, so the faster one counts.
    return PilotVotes(picks, found.labels), max(trial, found.evaluations / seconds)


@dataclass(frozen=True, eq=False)
class _Rows:
    """What the estimates of all policies share; `votes` are of some of the inputs."""

    settings: Settings
    inputs: Inputs
    votes: PilotVotes
    classes: int
    speed: float
    block: int
    workers: Workers

    def plan(self, policy: str) -> NDArray[np.int64]:
        """The estimation draws of the inputs with votes, if all inputs are like them."""
        rule = Policy.parse(policy, scratch=True)
        if rule.kind == "budget" and rule.value > 1:  # evaluations of all inputs
            rule = replace(rule, value=rule.value * len(self.votes.positions) / len(self.inputs))
        return self._sizes.plan(rule)

    def of(
        self, method: Method, some: NDArray[np.int64], radii: tuple[float, ...]
    ) -> PolicyEstimate:
        """What is expected of a method with these estimation draws of the inputs with votes."""
        found = self._forecast.radii(some)
        correct = np.where(self._right[:, None] & (found > 0), found, -1.0)
        draws, n0 = some[self._nearest], self.settings.n0
        alone, each = (n0 * len(draws), draws) if method.has_plan else (0, draws + n0)
        blocks = np.add.reduceat(each, np.arange(0, len(each), self.block))
        evaluations = int(draws.sum()) + n0 * len(draws)
        seconds = (blocks / self.speed).tolist()
        return PolicyEstimate(
            policy=method.policy if isinstance(method, Sized) else None,
            draws=draws,
            evaluations=evaluations,
            seconds=evaluations / self.speed,
            seconds_shared=self.workers.seconds(alone / self.speed, seconds),
            stored=self._footprint.stored(method, draws),
            acr=float(np.maximum(correct, 0).mean()),
            accuracy=tuple((radius, float((correct >= radius).mean())) for radius in radii),
        )

    @cached_property
    def _selected(self) -> NDArray[np.int64]:
        return sized.selected(self.votes)

    @cached_property
    def _sizes(self) -> Sizes:
        return Sizes(self.settings, self._selected, self.classes)

    @cached_property
    def _forecast(self) -> Forecast:
        return Forecast(self.settings, self._selected, self.classes)

    @cached_property
    def _nearest(self) -> NDArray[np.int64]:
        """For each input the one with votes that stands for it."""
        last = len(self.votes.positions) - 1
        return np.linspace(0, last, len(self.inputs)).round().astype(np.int64)

    @cached_property
    def _right(self) -> NDArray[np.bool_]:
        """Whether the class of the selection votes is the label, of the inputs with votes."""
        known = self.inputs.labels
        pairs = zip(self.votes.positions.tolist(), self.votes.labels, strict=True)
        return np.array([known is None or known[p] == scratch.candidate(v) for p, v in pairs])

    @cached_property
    def _footprint(self) -> Footprint:
        shares, nearest = self._forecast.shares, self._nearest
        trials = np.random.default_rng(0).integers(shares.shape[1], size=len(nearest))
        labels = tuple(self.votes.labels[p] for p in nearest.tolist())
        whole = PilotVotes(np.arange(len(nearest)), labels)
        found = (self.settings, self.inputs, whole, shares[nearest, trials])
        return Footprint(*found, self.classes, self.block)
