"""Classifier, inputs and a radius in; for each input, whether it is certified at that radius."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.certificate import Certification, Record, Settings, Votes
from smoothcert.classifiers.protocol import Classifier
from smoothcert.methods import asked, rs, sequential
from smoothcert.methods.sequential import Decision, Thresholds
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import Progress, sample
from smoothcert.sampling.inputs import Inputs, Item
from smoothcert.tries import Seed, number_of, warn_if_used
from smoothcert.verbs.certify import prepared
from smoothcert.verbs.given import as_inputs
from smoothcert.watching import Start, Watcher, collected


def decide(
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object,
    sigma: float,
    radius: float,
    *,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    seed: Seed = 0,
    batch_size: int | None = None,
    progress: Progress | None = None,
    watchers: Sequence[Watcher] = (),
) -> Certification:
    """Decide for every input whether it is certified at a radius, with as few draws as that takes.

    Args:
        classifier: a `Classifier`, or anything `load_classifier` takes.
        inputs: as of `certify`.
        sigma: noise standard deviation on the [0, 1] scale.
        radius: the l2 radius to decide, on the [0, 1] scale.
        n0: selection draws.
        n: the most estimation draws; who is not decided by then abstains.
        alpha: probability of a wrong decision, whether proven or excluded, for each input.
        seed: as of `certify`, whose estimation draws these are.
        batch_size: rows per forward pass; chosen from the input size by default.
        progress: called with the number of evaluations after every batch.
        watchers: told of certificates as they are finished; see `watching.Watcher`.

    Returns:
        Certificates and votes, in the order of the inputs: CERTIFIED with this radius, EXCLUDED
        (the chosen class is proven too unlikely for it), or UNDECIDED.

    Raises:
        InvalidInput: a setting or the inputs are out of range, or n draws cannot prove the
            radius.
        ModelError: the classifier is not one, or its rows depend on each other.

    Source: Voracek, NeurIPS 2024; docs/theory.md, section 9.
    """
    inputs = as_inputs(inputs)
    draws = (n0, n, alpha, number_of(seed))
    settings = Settings(sigma, inputs.levels, *draws, off_grid=inputs.off_grid)
    decision = Decision(radius)
    sequential.thresholds(decision, settings, inputs.shape)  # before any evaluation
    evaluations = len(inputs) * n // 10
    loaded, size, classes = prepared(classifier, inputs, settings, evaluations, batch_size)
    warn_if_used(asked(loaded.fingerprint, settings, decision))
    records = decide_items(loaded, inputs, settings, decision, size, progress)
    start = Start(loaded.name, loaded.fingerprint, len(inputs), settings, decision)
    return Certification(
        settings,
        decision,
        loaded.name,
        loaded.fingerprint,
        classes,
        inputs.shape,
        collected(records, watchers, start, inputs.labels),
    )


@dataclass
class _Watched:
    """An input and its labels so far."""

    item: Item
    thresholds: Thresholds
    selection: NDArray[np.int32]
    estimation: list[NDArray[np.int32]] = field(default_factory=list)
    candidate: int = field(init=False)
    hits: int = 0
    draws: int = 0
    stopped: bool = False

    def __post_init__(self) -> None:
        self.candidate = rs.candidate(self.selection)

    def watch(self, labels: NDArray[np.int32]) -> None:
        """Take labels in, up to the first that decides."""
        wins = labels == self.candidate
        stop = self.thresholds.stop(wins, self.hits, self.draws)
        self.stopped = stop is not None
        self.estimation.append(labels[:stop])
        self.hits += int(wins[:stop].sum())
        self.draws += len(labels[:stop])

    @property
    def votes(self) -> Votes:
        return Votes(selection=self.selection, estimation=np.concatenate(self.estimation))


def decide_items(
    classifier: Classifier,
    items: Iterable[Item],
    settings: Settings,
    decision: Decision,
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Record]:
    """Decide items in rounds over all that are undecided, in common batches, already probed.

    All items are held until the last is decided: pass them in blocks.
    """

    def labels(requests: Iterable[Request]) -> Iterator[NDArray[np.int32]]:
        return sample(classifier, requests, settings.noise, settings.seed, batch_size, progress)

    items = list(items)
    first = labels(r for item in items for r in sequential.requests(item, decision, settings))
    watched = []
    for item, selection, estimation in zip(items, first, first, strict=True):
        tested = sequential.thresholds(decision, settings, item.pixels.shape)
        watched.append(_Watched(item, tested, selection))
        watched[-1].watch(estimation)
    while open_ := [w for w in watched if not w.stopped and w.draws < settings.n]:
        more = (sequential.request(w.item, w.draws, decision, settings) for w in open_)
        for w, estimation in zip(open_, labels(more), strict=True):
            w.watch(estimation)
    for w in watched:
        shape = w.item.pixels.shape
        certificate = sequential.certificate(
            w.item.index, w.item.content, w.votes, decision, settings, shape
        )
        yield Record(certificate, w.votes)
