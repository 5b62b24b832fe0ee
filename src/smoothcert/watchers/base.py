"""Callbacks: watchers are called with certificates as they are finished, and change none.

A watcher sees what is finished (in a run: already stored) and returns nothing. One that fails is
not called again, with a warning, and the certification continues.
"""

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from smoothcert.certificate import Certificate, Outcome, Record, Settings
from smoothcert.errors import SmoothcertWarning
from smoothcert.methods import Method, alpha_of
from smoothcert.summary import Summary, correct_radii, summarize

RADII = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Radii at which a watcher's final summary has certified accuracy."""

_MIN_INTERVAL = 1.0  # seconds between two calls, so that a slow watcher costs little


class WatcherFailed(SmoothcertWarning):
    """A watcher raised an error; certificates are not affected."""


@dataclass(frozen=True)
class Start:
    """What is about to be certified.

    Attributes:
        name: name of the run, or of the model if there is no run.
        fingerprint: hash of the model.
        inputs: number of inputs.
        settings: of the certification from scratch (of the original, for a recertified model).
        method: None from scratch, else the settings of the method.
    """

    name: str
    fingerprint: str
    inputs: int
    settings: Settings
    method: Method | None

    @property
    def facts(self) -> dict[str, Any]:
        """All fields as plain values by name; `proven_alpha` is the error that is proven.

        `alpha` and `irs.alpha` are settings (`methods.alpha_of`; docs/theory.md, section 3).
        """
        facts = {"fingerprint": self.fingerprint, "inputs": self.inputs, **asdict(self.settings)}
        facts["proven_alpha"] = alpha_of(self.settings, self.method)
        if self.method is None:
            return facts
        kind = type(self.method).__name__.lower()
        method = {f"{kind}.{name}": value for name, value in asdict(self.method).items()}
        return facts | method


@dataclass(frozen=True)
class SoFar:
    """The progress of a certification, and what is new.

    Attributes:
        certificates: finished since the last call; blocks finish in any order.
        labels: their true classes, None where unknown.
        inputs: total number of inputs that have a result.
        certified: how many of these have a certificate.
        acr: average certified radius of these, as in a `Summary`.
        evaluations: forward passes that these took, the pilot's included.
        speed: evaluations per second since the start.
    """

    certificates: tuple[Certificate, ...]
    labels: tuple[int | None, ...]
    inputs: int
    certified: int
    acr: float
    evaluations: int
    speed: float

    @property
    def metrics(self) -> dict[str, float]:
        """What a logger plots against `inputs`; shares are of the inputs that have a result."""
        return {
            "acr": self.acr,
            "certified": self.certified / self.inputs,
            "abstained": (self.inputs - self.certified) / self.inputs,
            "evaluations": self.evaluations,
            "evaluations_per_second": self.speed,
        }


class Watcher(Protocol):
    """Follows one certification after another; called by one thread at a time."""

    def started(self, start: Start, /) -> None:
        """A certification begins, or is resumed; `start` describes it."""
        ...

    def certified(self, so_far: SoFar, /) -> None:
        """Inputs have results, see `so_far`; called about once a second, and once at the end."""
        ...

    def finished(self, summary: Summary | None, /) -> None:
        """It is over. The summary is None if it was interrupted, and of its part for a shard."""
        ...


class Notifier:
    """Adds up the certificates of one certification, and calls its watchers."""

    def __init__(self, watchers: Sequence[Watcher], start: Start, pilot_evaluations: int) -> None:
        """Call `started` of all watchers; see `notifying`."""
        self._watchers = list(watchers)
        self._start, self._pilot = start, pilot_evaluations
        self._certificates: list[Certificate] = []
        self._labels: list[int | None] = []
        self._certified = self._sent = self._earlier = self._evaluations = 0
        self._radii = 0.0
        self._lock = threading.Lock()
        self._began = self._last = time.perf_counter()
        self._notify(lambda watcher: watcher.started(start))

    def add(
        self,
        certificates: Sequence[Certificate],
        labels: Sequence[int | None],
        earlier: bool = False,
    ) -> None:
        """Add finished certificates; from any thread.

        Args:
            certificates: of inputs not added before.
            labels: their true classes.
            earlier: finished before the start, so they do not count for the speed.
        """
        with self._lock:
            self._certificates += certificates
            self._labels += labels
            spent = sum(c.evaluations for c in certificates)
            self._evaluations += spent
            self._earlier += spent if earlier else 0
            self._certified += sum(c.outcome is Outcome.CERTIFIED for c in certificates)
            self._radii += float(correct_radii(certificates, labels).clip(0).sum())
            if time.perf_counter() - self._last >= _MIN_INTERVAL:
                self._flush()

    def finish(self, seconds: float | None = None) -> None:
        """Report what is left, then the summary of what there is."""
        with self._lock:
            if len(self._certificates) > self._sent:
                self._flush()
            summary = None
            if self._certificates:
                took = time.perf_counter() - self._began if seconds is None else seconds
                summary = summarize(
                    self._certificates,
                    self._labels,
                    RADII,
                    self._start.name,
                    took,
                    self._pilot,
                    self._start.settings.sigma,
                )
            self._notify(lambda watcher: watcher.finished(summary))

    def abort(self) -> None:
        """The certification ended early."""
        with self._lock:
            self._notify(lambda watcher: watcher.finished(None))

    def _flush(self) -> None:
        now, inputs = time.perf_counter(), len(self._certificates)
        so_far = SoFar(
            tuple(self._certificates[self._sent :]),
            tuple(self._labels[self._sent :]),
            inputs,
            self._certified,
            self._radii / inputs,
            self._pilot + self._evaluations,
            (self._evaluations - self._earlier) / (now - self._began),
        )
        self._sent, self._last = inputs, now
        self._notify(lambda watcher: watcher.certified(so_far))

    def _notify(self, what: Callable[[Watcher], None]) -> None:
        for watcher in tuple(self._watchers):
            try:
                what(watcher)
            except Exception as error:  # noqa: BLE001 - a user's code: no work is lost for it
                self._watchers.remove(watcher)
                warnings.warn(
                    f"{type(watcher).__name__} failed and is no longer called for "
                    f"{self._start.name}: {type(error).__name__}: {error}. "
                    "Certificates are not affected.",
                    WatcherFailed,
                    stacklevel=3,
                )


@contextmanager
def notifying(
    watchers: Sequence[Watcher], start: Start, pilot_evaluations: int = 0
) -> Iterator[Notifier]:
    """Notify watchers of what is done inside: it calls `add`, and `finish` unless interrupted."""
    notifier = Notifier(watchers, start, pilot_evaluations)
    try:
        yield notifier
    except BaseException:
        notifier.abort()
        raise


def collected(
    records: Iterable[Record],
    watchers: Sequence[Watcher],
    start: Start,
    labels: Sequence[int | None] | None,
    pilot_evaluations: int = 0,
) -> tuple[Record, ...]:
    """All records; watchers are called as they come.

    Args:
        records: one per input, in order.
        watchers, start, pilot_evaluations: see `notifying`.
        labels: true classes in the same order, or None; seen by the watchers alone.
    """
    if not watchers:
        return tuple(records)
    found = []
    with notifying(watchers, start, pilot_evaluations) as notifier:
        for record in records:
            label = None if labels is None else labels[len(found)]
            found.append(record)
            notifier.add([record.certificate], [label])
        notifier.finish()
    return tuple(found)
