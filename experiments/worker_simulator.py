"""How long a run takes on many workers that fail: a prediction, before any machine is rented.

A discrete-event simulation of `smoothcert.execution.scheduler`: workers take block after block; one
that fails (or is preempted) loses its block and comes back later; at the end an idle worker does a
straggler's block too. `best_block_seconds` is the same on paper, for the default size of blocks.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

from smoothcert.errors import InvalidInput
from smoothcert.execution import scheduler as crew
from smoothcert.execution.scheduler import SLOW, START


@dataclass(frozen=True)
class Fleet:
    """Workers, and what goes wrong with them.

    Attributes:
        workers: how many.
        speed: evaluations per second of one.
        start_seconds: from a worker's start to its first evaluation.
        block_overhead: seconds per block beside its evaluations (scheduling, writing).
        failures_per_hour: of one worker, preemptions included.
        away_seconds: from a failure until the replacement starts.
        spread: standard deviation of the logarithm of a block's duration.
        price: per worker and hour, charged while a worker is there.
    """

    workers: int
    speed: float
    start_seconds: float = 20.0
    block_overhead: float = 0.02
    failures_per_hour: float = 0.0
    away_seconds: float = 60.0
    spread: float = 0.02
    price: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no fleet."""
        rest = (self.start_seconds, self.block_overhead, self.failures_per_hour, self.away_seconds)
        if self.workers < 1 or not self.speed > 0 or min(*rest, self.spread, self.price) < 0:
            raise InvalidInput(f"A fleet has workers, a speed, and nothing negative; got {self}")


@dataclass(frozen=True)
class Forecast:
    """What a run is expected to take.

    Attributes:
        seconds: from the first start to the last block.
        cost: of all workers until then.
        lost: evaluations begun and not stored, over those of the run.
        efficiency: evaluations of the run over what all workers could have made in that time.
        failures: of workers.
    """

    seconds: float
    cost: float
    lost: float
    efficiency: float
    failures: int


def forecast(fleet: Fleet, blocks: int, block_evaluations: float, seed: int = 0) -> Forecast:
    """Simulate one run.

    Args:
        fleet: the workers.
        blocks: of the run.
        block_evaluations: in each of them.
        seed: of the failures; the mean over several seeds is the prediction.

    Raises:
        InvalidInput: no blocks, or blocks that no worker lives long enough to finish.
    """
    usual = fleet.block_overhead + block_evaluations / fleet.speed
    if blocks < 1 or block_evaluations <= 0:
        raise InvalidInput(f"A run has blocks with evaluations; got {blocks}, {block_evaluations}")
    if fleet.failures_per_hour * usual / 3600 > 10:
        raise InvalidInput(
            f"A block takes {usual:.0f} s and workers fail {fleet.failures_per_hour:g} times an "
            "hour: hardly one is ever finished. Make blocks smaller."
        )
    found = _Simulation(fleet, blocks, usual, block_evaluations, np.random.default_rng(seed))
    found.run()
    seconds = found.now
    hours = (fleet.workers * seconds - found.away) / 3600
    work, possible = blocks * block_evaluations, fleet.workers * seconds * fleet.speed
    return Forecast(
        seconds, hours * fleet.price, found.lost / work, work / possible, found.failures
    )


class _Simulation:
    """The state of a simulated run; events are (time, number, worker, what happens to it)."""

    def __init__(
        self, fleet: Fleet, blocks: int, usual: float, evaluations: float, rng: np.random.Generator
    ) -> None:
        self.fleet, self.usual, self.evaluations, self.rng = fleet, usual, evaluations, rng
        self.waiting, self.unfinished = deque(range(blocks)), set(range(blocks))
        self.doers: dict[int, dict[int, float]] = {}  # block: worker: since when
        self.idle: set[int] = set()
        self.events: list[tuple[float, int, int, Callable[[int], None]]] = []
        self.numbers = count()
        self.ends = [self._life() for _ in range(fleet.workers)]
        self.now = self.lost = self.away = 0.0
        self.failures = 0

    def run(self) -> None:
        """Until the last block is stored."""
        for worker in range(self.fleet.workers):
            self._at(self.fleet.start_seconds, worker, self._free)
        while self.unfinished:
            self.now, _, worker, happens = heapq.heappop(self.events)
            happens(worker)

    def _at(self, time: float, worker: int, happens: Callable[[int], None]) -> None:
        heapq.heappush(self.events, (time, next(self.numbers), worker, happens))

    def _free(self, worker: int) -> None:
        """Take a block, or wait until there is one or one is late."""
        if self.waiting:
            block = self.waiting.popleft()
        elif self.doers:
            block = min(self.doers, key=lambda b: max(self.doers[b].values()))
            late = max(self.doers[block].values()) + SLOW * self.usual + START
            if self.now < late:
                self.idle.add(worker)
                self._at(late, worker, self._look)
                return
        else:
            return
        self.doers.setdefault(block, {})[worker] = self.now
        end = self.now + self.usual * math.exp(self.rng.normal(0, self.fleet.spread))
        failing = end > self.ends[worker]
        what = partial(self._fail, block) if failing else partial(self._done, block)
        self._at(max(self.now, min(end, self.ends[worker])), worker, what)

    def _look(self, worker: int) -> None:
        """Whether one that waited still does."""
        if worker in self.idle:
            self.idle.remove(worker)
            self._free(worker)

    def _done(self, block: int, worker: int) -> None:
        if block in self.unfinished:
            self.unfinished.remove(block)
            del self.doers[block]
        else:
            self.lost += self.evaluations  # another was faster
        self._free(worker)

    def _fail(self, block: int, worker: int) -> None:
        fleet = self.fleet
        self.failures += 1
        doers = self.doers.get(block, {})
        began = doers.pop(worker, self.now)
        self.lost += min(self.evaluations, (self.now - began) * fleet.speed)
        if block in self.unfinished and not doers:
            self.doers.pop(block, None)
            self.waiting.appendleft(block)
            if self.idle:
                self._look(min(self.idle))
        back = self.now + fleet.away_seconds
        self.away += fleet.away_seconds
        self.ends[worker] = back + self._life()
        self._at(back + fleet.start_seconds, worker, self._free)

    def _life(self) -> float:
        """Seconds until a worker fails."""
        if not self.fleet.failures_per_hour:
            return math.inf
        return float(self.rng.exponential(3600 / self.fleet.failures_per_hour))


def best_block_seconds(fleet: Fleet, evaluations: float) -> float:
    """`crew.best_block_seconds` for a run of so many evaluations."""
    work, facts = evaluations / fleet.speed, (fleet.block_overhead, fleet.failures_per_hour)
    return crew.best_block_seconds(work, *facts, fleet.workers)
