"""Replay: a random part of a run's draws evaluated again, and compared with the stored labels."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Record
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Mismatch
from smoothcert.methods import replay
from smoothcert.noise.law import Stream
from smoothcert.runs.store import Run
from smoothcert.sampling.batches import Request
from smoothcert.sampling.prepare import Prepared
from smoothcert.sampling.sampler import Sampler
from smoothcert.sampling.tuning import BatchConfig, speed

_TRIALS, _TRIAL, _TRIAL_SHARE = 3, 1.0, 0.03  # seconds, and of the time, of each at most
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
