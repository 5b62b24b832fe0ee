"""Classifier and inputs in, certificates out: randomized smoothing from scratch."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.certificate import Certification, Record, Settings
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.methods import asked, rs
from smoothcert.sampling.answers import CONTEST, LABEL
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import Progress, sample
from smoothcert.sampling.inputs import Inputs, Item
from smoothcert.sampling.probe import probe
from smoothcert.sampling.tuning import Arrangement, arranged, first_size
from smoothcert.scalars import rows
from smoothcert.tries import Seed, number_of, warn_if_used
from smoothcert.verbs.given import as_inputs
from smoothcert.watching import Start, Watcher, collected


def certify(
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object,
    sigma: float,
    *,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    seed: Seed = 0,
    form: str = "binary",
    keep_margins: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
    watchers: Sequence[Watcher] = (),
) -> Certification:
    """Certify every input by randomized smoothing.

    Args:
        classifier: a `Classifier`, or anything `load_classifier` takes.
        inputs: `Inputs`; an array or tensor as for `Inputs.from_arrays` (8-bit grid); a list of
            images of one size; or what `load_inputs` takes. Labels are for watchers alone.
        sigma: noise standard deviation on the [0, 1] scale.
        n0: selection draws.
        n: estimation draws.
        alpha: probability of a wrong certificate, for each input on its own.
        seed: noise seed, or `random`, for a model that was chosen by results. One with which this
            process has recertified or screened the model is warned of (`SeedReused`).
        form: `binary` or `multiclass`, see `Settings`.
        keep_margins: keep a byte more per draw, which makes recertification cheaper.
        batch_size: rows per forward pass; by default what the input size suggests, or the
            fastest found where the run is long.
        progress: called with the number of evaluations after every batch.
        watchers: told of certificates as they are finished; see `watching.Watcher`.

    Returns:
        Certificates and votes, in the order of the inputs; `Certificate` says what they claim.

    Raises:
        InvalidInput: a setting or the inputs are out of range.
        ModelError: the classifier is not one, or its rows depend on each other.

    Source: Cohen, Rosenfeld & Kolter, ICML 2019; docs/theory.md, sections 1, 2 and 5.
    """
    inputs = as_inputs(inputs)
    draws = (n0, n, alpha, number_of(seed))
    settings = Settings(sigma, inputs.levels, *draws, form, keep_margins, inputs.off_grid)
    evaluations = len(inputs) * (n0 + n)
    loaded, size, classes = prepared(classifier, inputs, settings, evaluations, batch_size)
    warn_if_used(asked(loaded.fingerprint, settings, None))
    records = certify_items(loaded, inputs, settings, classes, size, progress)
    start = Start(loaded.name, loaded.fingerprint, len(inputs), settings, None)
    return Certification(
        settings,
        None,
        loaded.name,
        loaded.fingerprint,
        classes,
        inputs.shape,
        collected(records, watchers, start, inputs.labels),
    )


def prepared(
    model: Classifier | object,
    inputs: Inputs,
    settings: Settings,
    evaluations: int,
    batch_size: int | None,
) -> tuple[Classifier, int, int]:
    """A model loaded, arranged and probed: the classifier, rows per batch, number of classes."""
    item, noise = inputs.item(0), settings.noise
    loaded = load_classifier(model)  # type: ignore[arg-type]
    batch_size = rows(batch_size)
    size = batch_size or first_size(loaded, inputs.shape)
    run = Arrangement(loaded, size)
    if batch_size is None:
        run = arranged(run, item, noise, evaluations)
    found = probe(run.classifier, item, noise, settings.seed, run.batch_size)
    return run.classifier, run.batch_size, found.num_classes


def certify_items(
    classifier: Classifier,
    items: Iterable[Item],
    settings: Settings,
    num_classes: int,
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Record]:
    """Certify items one after the other, all their draws in common batches, already probed."""
    waiting: list[Item] = []

    def requests() -> Iterator[Request]:
        for item in items:
            waiting.append(item)
            yield from rs.requests(item, settings)

    answer = CONTEST if settings.keep_margins else LABEL
    answers = sample(
        classifier, requests(), settings.noise, settings.seed, batch_size, progress, answer
    )
    for selection, estimation in zip(answers, answers, strict=True):
        item = waiting.pop(0)
        votes = rs.votes(selection, estimation)
        certificate = rs.certificate(
            item.index, item.content, votes, settings, item.pixels.shape, num_classes
        )
        yield Record(certificate, votes)
