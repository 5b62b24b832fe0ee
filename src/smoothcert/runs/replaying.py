"""Replay: a random part of a run's draws evaluated again, and compared with the stored labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Record
from smoothcert.classifiers import hardware
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Mismatch
from smoothcert.methods import Exact, replay
from smoothcert.noise.law import Stream
from smoothcert.planning import selection
from smoothcert.runs import pilots
from smoothcert.runs.manifest import library_versions
from smoothcert.runs.store import Run
from smoothcert.sampling.batches import Request
from smoothcert.sampling.prepare import Prepared
from smoothcert.sampling.sampler import Sampler
from smoothcert.sampling.tuning import BatchConfig, speed
from smoothcert.text import ceil_to

_TRIALS, _TRIAL, _TRIAL_SHARE = 3, 1.0, 0.03  # seconds, and of the time, of each at most
_NO_VOTES = ("smoothcert", "python", "scipy")  # no version of these changes a vote
_USED = 0.9  # of the time, by what is expected to fit


def fitting(
    run: Run, ready: Prepared, inputs: Inputs, fraction: float, left: Callable[[], float]
) -> tuple[float, bool]:
    """The fraction of the draws that fits into the time, and whether the pilot fits beside it."""
    config, noise = BatchConfig(ready.classifier, ready.batch_size), run.identity.settings.noise
    seconds = min(_TRIAL, left() * _TRIAL_SHARE)
    # Other work only slows a trial down, and a part that is too large is stopped in time.
    per_second = max(speed(config, inputs.item(0), noise, seconds) for _ in range(_TRIALS))
    fits = per_second * max(0.0, left()) * _USED
    pilot = run.pilot_evaluations <= fits / 2
    fits -= run.pilot_evaluations if pilot else 0
    drawn = sum(c.evaluations for c in run.certificates)
    return max(min(fraction, fits / max(1, drawn)), 1e-12), pilot


def again(
    run: Run, sampler: Sampler, inputs: Inputs, fraction: float, left: Callable[[], float]
) -> tuple[int, int, int]:
    """How many draws were evaluated again, how many have a different label, of how many inputs."""
    rng = np.random.default_rng()  # the checked part must not be predictable
    seed = run.identity.method.seed(run.identity.settings)
    total = differing = seen = 0
    for block in rng.permutation(len(run.blocks)).tolist():
        if left() <= 0:
            break
        positions = run.blocks[block]
        seen += len(positions)
        stored = [
            (position, *evaluated)
            for position, record in zip(positions, run.records(positions), strict=True)
            for evaluated in _evaluated(record)
        ]
        picks = [_pick(rng, len(labels), fraction) for _, _, _, labels in stored]
        requests = (
            Request(inputs.item(position), stream, draws[pick])
            for (position, stream, draws, _), pick in zip(stored, picks, strict=True)
        )
        anew = sampler.labels(requests, seed)
        for (_, _, _, labels), pick, (_, new) in zip(stored, picks, anew, strict=True):
            total += len(pick)
            differing += int((labels[pick] != new).sum())
    return total, differing, seen


@dataclass(frozen=True)
class Moved:
    """Votes of two runs on the same draws.

    Attributes:
        compared: draws that both have evaluated.
        differing: those whose labels differ.
    """

    compared: int
    differing: int

    def __str__(self) -> str:
        """In words, the share rounded up."""
        if not self.compared:
            return "no vote was compared"
        share = ceil_to(100 * self.differing / self.compared, 2)
        return f"{self.differing:,} of {self.compared:,} votes moved ({share} %)"


def moved(old: Run, new: Run) -> Moved:
    """How many votes differ between two runs of the same inputs and noise, the pilot's too."""
    compared = differing = 0
    everything = range(len(old.identity.indices))
    pairs = zip(old.records(everything), new.records(everything), strict=True)
    planned_from = _pilot(new) if isinstance(new.identity.method, Exact) else {}
    for position, (one, other) in enumerate(pairs):
        known = {stream: (draws, labels) for stream, draws, labels in _evaluated(one)}
        now = list(_evaluated(other))
        if position in planned_from and len(one.votes.selection):
            now.append((Stream.SELECTION, selection.draws(one)[0], planned_from[position]))
        for stream, draws, labels in now:
            before, votes = known.get(stream, (draws[:0], labels[:0]))
            _, a, b = np.intersect1d(before, draws, assume_unique=True, return_indices=True)
            compared += len(a)
            differing += int((votes[a] != labels[b]).sum())
    return Moved(compared, differing)


def _pilot(run: Run) -> dict[int, NDArray[np.int32]]:
    """The labels of the pilot of the exact test, on selection draws, by position."""
    votes = pilots.read_pilot(run).votes
    return dict(zip(votes.positions.tolist(), votes.labels, strict=True))


def machine(run: Run) -> str:
    """The machine on which a run was begun, in words; empty if it does not say."""
    recorded = run.manifest.origin.get("machine")
    return hardware.description(recorded, run.identity.products) if recorded else ""


def elsewhere(run: Run, classifier: Classifier) -> list[str]:
    """What was not as here when a run was begun, of what can change a vote, as far as it says."""
    identity, here = run.identity, hardware.machine_of(classifier)
    recorded, installed = run.manifest.origin.get("machine"), library_versions()
    found = [] if recorded is None else hardware.differences(recorded, here)
    if recorded is not None and identity.products != hardware.products_of(classifier):
        found.append("products of integers")
    if identity.device != hardware.device_kind(classifier):
        found.append("device")
    ours = {name: of for name, of in identity.versions.items() if name not in _NO_VOTES}
    return found + [f"version of {n}" for n, of in ours.items() if of != installed.get(n)]


def of_model(run: Run, ready: Prepared) -> Iterator[str]:
    """Whether the model's logits on the run's first noise differ."""
    try:
        run.require_answers(ready.probe.answers)
    except Mismatch as error:
        yield str(error)


def of_data(run: Run, inputs: Inputs) -> Iterator[str]:
    """Where the data has other classes than the run states, or is farther from the grid."""
    if inputs.labels is not None:
        wrong = sum(a not in (None, b) for a, b in zip(run.labels, inputs.labels, strict=True))
        if wrong:
            yield f"{wrong} true classes in inputs.parquet are not those of {inputs.name}"
    stated = run.identity.settings.off_grid
    if inputs.off_grid > stated:
        yield (
            f"its inputs are said to be at most {stated:g} from the grid, but {inputs.name} is up "
            f"to {inputs.off_grid:g} from it, so its radii are too large"
        )


_Evaluated = tuple[Stream, NDArray[np.int64], NDArray[np.int32]]


def _evaluated(record: Record) -> Iterator[_Evaluated]:
    """Streams, draws and labels of a record that its own classifier evaluated."""
    votes = record.votes
    replayed = np.arange(len(votes.estimation))
    if len(votes.roles):
        replayed = replay.evaluated(votes.roles)
    for stream, draws, labels in (
        (Stream.SELECTION, np.arange(len(votes.selection)), votes.selection),
        (Stream.ESTIMATION, replayed, votes.estimation),
        (Stream.FRESH, np.arange(len(votes.fresh)), votes.fresh),
    ):
        if len(labels):
            yield stream, draws, labels


def _pick(rng: np.random.Generator, count: int, fraction: float) -> NDArray[np.int64]:
    size = max(1, round(fraction * count))
    return np.sort(rng.choice(count, size, replace=False)).astype(np.int64)
