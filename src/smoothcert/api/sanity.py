"""What looks wrong with a certification, before anything is spent on it and after it.

No vote, certificate or byte of a run depends on it: it evaluates draws that are never counted, and
uses labels only for its warnings.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds import binomial
from smoothcert.certificate import Certificate, Outcome, Settings
from smoothcert.classifiers.protocol import AddsIntegers, Classifier, Denoises, Exported, Named
from smoothcert.data.inputs import Inputs, to_float
from smoothcert.noise.law import Stream
from smoothcert.sampling.answers import NO_CLASS, labels_of
from smoothcert.sampling.tuning import first_size
from smoothcert.text import many

_SHARE, _MOST, _LEAST = 100, 256, 32
"""At most a hundredth of a run's evaluations, and limits of that; no check below the lower one."""
_NOISY_INPUTS, _COPIES = 16, 8
_UNUSUAL = 0.05  # an accuracy that chance reaches more rarely is above chance
_LITTLE = 0.1  # of the way from chance to always right
_PLAIN = 0.001  # and so rarely plainly so
_FEW_LABELS = 8  # too few to say anything
_SCALE = 2.0  # a sigma above it is on another scale
_FEW_GUESSES = 5
_ENOUGH = 1100  # draws; where they prove no class, alpha is too small for the limits


@dataclass(frozen=True, eq=False)
class Look:
    """Predictions on some inputs.

    Attributes:
        labels: true classes of the m inputs, None where unknown.
        clean: classes predicted without noise, shape (m,); -1 for none.
        rows: which of these inputs were evaluated under noise too, shape (k,).
        noisy: classes predicted of their noisy copies, shape (k, copies).
        classes: number of the classifier's classes.
    """

    labels: tuple[int | None, ...]
    clean: NDArray[np.int64]
    rows: NDArray[np.int64]
    noisy: NDArray[np.int64]
    classes: int

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which inputs have a label, shape (m,)."""
        return np.array([label is not None for label in self.labels], bool)

    @property
    def truth(self) -> NDArray[np.int64]:
        """The labels, -2 where unknown, shape (m,)."""
        return np.array([-2 if label is None else label for label in self.labels], np.int64)


def look(
    classifier: Classifier, inputs: Inputs, settings: Settings, evaluations: int
) -> Look | None:
    """Evaluate a classifier on a few inputs, evenly spread, without noise and with it.

    Args:
        classifier: the classifier to be certified.
        inputs: the inputs to certify it on.
        settings: of the run; draws come from its probe stream, which is never counted.
        evaluations: about how many the run takes; None is returned if they are few.
    """
    spent = min(_MOST, evaluations // _SHARE)
    if spent < _LEAST:
        return None
    clean = spent // 2
    noisy = min(_NOISY_INPUTS, clean, len(inputs))
    copies = min(_COPIES, max(1, (spent - min(clean, len(inputs))) // noisy))
    return look_at(classifier, inputs, settings, clean, noisy, copies)


def look_at(
    classifier: Classifier, inputs: Inputs, settings: Settings, clean: int, noisy: int, copies: int
) -> Look:
    """The same, at most so many inputs without noise, and of them some with noisy copies."""
    picks = _spread(len(inputs), clean)
    rows = _spread(len(picks), noisy)
    items = [inputs.item(int(pick)) for pick in picks]
    shape, noise = inputs.shape, settings.noise
    steps = [item.pixels for item in items]
    for row in rows:
        drawn = noise.draws(settings.seed, items[row].index, Stream.PROBE, np.arange(copies), shape)
        steps += list(items[row].pixels + drawn)
    found, classes = _predicted(classifier, steps, inputs)
    known = inputs.labels or (None,) * len(inputs)
    return Look(
        tuple(known[pick] for pick in picks),
        found[: len(picks)],
        rows,
        found[len(picks) :].reshape(len(rows), copies),
        classes,
    )


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` positions, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _predicted(
    classifier: Classifier, steps: Sequence[NDArray[np.int32]], inputs: Inputs
) -> tuple[NDArray[np.int64], int]:
    """The classes of images in grid steps, in batches of one size, and how many there are."""
    size = first_size(classifier, inputs.shape)
    found, classes = [], 0
    for start in range(0, len(steps), size):
        some = np.stack(steps[start : start + size])
        full = some[np.arange(size) % len(some)]
        logits = np.asarray(classifier.logits(to_float(full, inputs.levels)), np.float64)
        classes = logits.shape[1]
        found.append(labels_of(logits)[: len(some)])
    return np.concatenate(found).astype(np.int64), classes


def of_pair(classifier: Classifier, inputs: Inputs, sigma: float) -> tuple[str, ...]:
    """Warnings about a classifier and its inputs that need no evaluation."""
    hints = of_labels(inputs.labels, len(inputs.classes))
    if isinstance(classifier, Exported) and classifier.in_training:
        hints = (*hints, of_training(classifier.name, classifier.in_training))
    if isinstance(classifier, AddsIntegers) and classifier.can_saturate:
        hints = (*hints, of_saturation(classifier.name))
    if isinstance(classifier, Named):
        hints = (*hints, *of_classes(classifier.class_names, inputs.classes))
    if isinstance(classifier, Denoises) and classifier.denoises not in (None, sigma):
        hints = (*hints, of_denoiser(classifier.denoises, sigma))
    return hints


def of_saturation(name: str) -> str:
    """The warning for integer products whose sums x86 processors without VNNI clip."""
    return (
        f"Sums of integer products in {name} can exceed 16 bits, and x86 processors without VNNI "
        "clip them: its labels, and so its certificates, may differ between processors. Certify it "
        "where it is served, or make it again from its original with `smoothcert compress --to "
        "int8`, whose sums fit. `smoothcert doctor` says what this processor does."
    )


def of_denoiser(meant: float, sigma: float) -> str:
    """The warning for a denoiser that was set for another noise than that of the certification."""
    return (
        f"The denoiser in front is set for sigma {meant:g}, and the noise has sigma {sigma:g}. "
        "Certificates hold all the same, but it may remove too much or too little: set "
        f"denoiser_sigma to {sigma:g} if it is made for that."
    )


def of_training(name: str, operators: str) -> str:
    """The warning for a graph exported in training mode, which may still run steadily here."""
    return (
        f"{name} was exported in training mode ({operators}). The certificates are about how it "
        "runs here; elsewhere it may be random or depend on the batch. Export it again after "
        "model.eval()."
    )


def of_classes(model: Sequence[str], data: Sequence[str]) -> tuple[str, ...]:
    """A warning if a model's class names disagree with the data's; empty if nothing is odd.

    Args:
        model: class names of the model, in order; empty where unknown.
        data: class names of the data, likewise.
    """
    mine, theirs = ([_plain(name) for name in names] for names in (model, data))
    moved = [
        number for number, name in enumerate(theirs) if name in mine and mine.index(name) != number
    ]
    if not moved or len(set(mine)) < len(mine):
        return ()
    first = moved[0]
    wrong = (
        f"The model and the data number {len(moved)} classes differently: {data[first]!r} is "
        f"class {first} of the data and class {mine.index(theirs[first])} of the model. Correct "
        "predictions count as wrong there. List the classes in the model's order (in a classes.txt "
        "next to the data's folders, or a table's columns file), or renumber the labels."
    )
    return (wrong,)


def of_count(inputs: Inputs, classes: int) -> tuple[str, ...]:
    """A warning if the data's named classes are fewer than the classifier's."""
    known = len(inputs.classes)
    if inputs.labels is None or not 0 < known < classes:
        return ()
    wrong = (
        f"The data has {known} classes and the model {classes}: they count as its first {known}. "
        "If not, list all of the model's classes in a classes.txt next to the data's folders."
    )
    return (wrong,)


def of_labels(labels: Sequence[int] | None, classes: int) -> tuple[str, ...]:
    """A warning if a selection of many inputs has only one class of several."""
    if labels is None or len(labels) < _FEW_LABELS or len(set(labels)) > 1 or classes < 2:
        return ()
    wrong = (
        f"All {len(labels)} inputs are of class {labels[0]} of {classes}: --limit N uses the first "
        "N inputs. To use every N-th input, give --every N."
    )
    return (wrong,)


def _plain(name: str) -> str:
    """A class's name in a common spelling; the first of several names."""
    return " ".join(name.split(",")[0].replace("_", " ").replace("-", " ").casefold().split())


def said(found: Look, sigma: float) -> tuple[tuple[str, ...], str]:
    """What looks wrong, one warning each, and what was seen, in one line."""
    truth, known = found.truth, found.known
    copies = found.noisy.size
    seen = f"{many(len(np.unique(found.clean)), 'class')} predicted on "
    seen += f"{many(len(truth), 'input')} without noise"
    seen += f", {len(np.unique(found.noisy))} of {copies} noisy"
    if (none := int((found.noisy == NO_CLASS).sum())) > copies / 2:
        wrong = (
            f"The model gives no class to {none} of {copies} noisy copies: their scores contain a "
            "NaN or tie at the top, for example at infinity or at 1. Such draws vote for no class."
        )
        return (wrong,), seen
    collapsed = _collapsed(found)
    if known.sum() < _FEW_LABELS:
        return collapsed, seen
    right, labelled = int((found.clean == truth)[known].sum()), int(known.sum())
    noisy = found.noisy[known[found.rows]]
    hits = int((noisy == truth[found.rows][known[found.rows]][:, None]).sum())
    seen = f"right on {right} of {many(labelled, 'input')} without noise, on {hits} of "
    seen += f"{noisy.size} noisy"
    chance = f"The model is {seen}; by chance it would be right on about one in {found.classes}."
    if moved := _permuted(found):
        order = ", ".join(f"class {k} as {p}" for k, p in list(moved.items())[:4])
        wrong = (
            f"The model nearly always predicts {order}: its classes seem to be in a different "
            "order from the data's. List them in the model's order (in a classes.txt next to the "
            "data's folders, or a table's columns file), or renumber the labels."
        )
    elif _near_chance(right, labelled, found.classes):
        wrong = (
            f"{chance} Does it take inputs in [0, 1], with the normalization inside (if not, see "
            "`smoothcert adapt`, or +preprocess.json behind the model; for a table, its columns "
            "file), and are its classes the data's?"
        )
    elif _by_chance(right, labelled, found.classes) < _PLAIN and _is_lost(
        hits, noisy, found.classes
    ):
        wrong = (
            f"{chance} Was it trained with noise? If not, train it with sigma {sigma:g} first, or "
            "use a smaller sigma."
        )
    else:
        return collapsed, seen
    return (wrong, *collapsed), seen


def _is_lost(hits: int, noisy: NDArray[np.int64], classes: int) -> bool:
    """Whether accuracy under noise is near chance; copies of an input count as one."""
    return _near_chance(round(hits / noisy.shape[1]), len(noisy), classes)


def _near_chance(hits: int, count: int, classes: int) -> bool:
    """Whether guessing gives this many hits, or nearly as many."""
    chance = 1 / max(2, classes)
    little = hits / count <= chance + _LITTLE * (1 - chance)
    return little or _by_chance(hits, count, classes) > _UNUSUAL


def _by_chance(hits: int, count: int, classes: int) -> float:
    """The probability of at least this many hits when guessing uniformly among the classes."""
    if hits == 0:
        return 1.0
    return float(special.bdtrc(hits - 1, count, 1 / max(2, classes)))


def _collapsed(found: Look) -> tuple[str, ...]:
    """A warning if nearly all noisy copies get one class that few inputs have."""
    (top, votes), *_ = Counter(found.noisy.ravel().tolist()).most_common(1)
    share = float((found.truth == top).mean())
    if votes < 0.95 * found.noisy.size or share > 0.6 or len(found.rows) < _FEW_LABELS:
        return ()
    of = f", which {share:.0%} of these inputs are" if found.known.any() else ""
    return (
        (
            f"The model gives class {top} to {votes} of {found.noisy.size} noisy copies{of}: "
            "it seems to have collapsed to one class under this noise, and certificates of that "
            "class say little."
        ),
    )


def _permuted(found: Look) -> Mapping[int, int]:
    """Labels predicted as others, one to one; empty unless this is clear."""
    groups = {int(k): found.clean[found.truth == k] for k in np.unique(found.truth[found.known])}
    tops = {k: Counter(g.tolist()).most_common(1)[0] for k, g in groups.items() if len(g) >= 3}
    plain = {k: top for k, (top, votes) in tops.items() if 3 * votes >= 2 * len(groups[k])}
    moved = {k: top for k, top in plain.items() if k != top}
    one_to_one = len(set(plain.values())) == len(plain)
    enough = len(moved) >= 2 and sum(len(groups[k]) for k in moved) >= 8
    return moved if enough and one_to_one and 2 * len(plain) > len(tops) else {}


def of_settings(
    settings: Settings, alpha: float | None = None, form: str = "binary"
) -> tuple[str, ...]:
    """Warnings about settings, one each.

    Args:
        settings: of a certification from scratch.
        alpha: the total error of a recertification, if it is one.
        form: how a recertification bounds the other classes.
    """
    hints = []
    share = settings.alpha if settings.form in ("binary", "auto") else settings.alpha / 2
    if alpha is None and proves_nothing(settings.n, share):
        enough = (n for n in range(settings.n, _ENOUGH) if not proves_nothing(n, share))
        least = next(enough, None)
        advice = f"--n {least} at the very least; 100,000" if least else "a larger --alpha; 0.001"
        hints.append(
            f"With n = {settings.n} at alpha {settings.alpha:g} every input will abstain: even if "
            f"all draws agree, nothing is proven. Use {advice} is usual."
        )
    if alpha is None and settings.n0 < _FEW_GUESSES:
        hints.append(
            f"With n0 = {settings.n0}, the class to certify is chosen from only "
            f"{many(settings.n0, 'draw')}. Where it is not the most likely class, nothing is "
            "proven. 100 is usual."
        )
    if alpha is not None and settings.form != "binary" == form:
        hints.append(
            f"The original's runner-ups are bounded (form {settings.form}), and those of the "
            "changed model by 1 - q, so its radii are smaller for that reason alone. To compare "
            "the two, recertify with the method auto, or certify the original with --form binary."
        )
    return (*hints, *of_sigma(settings.sigma), *of_alpha(alpha or settings.alpha))


def of_sigma(sigma: float) -> tuple[str, ...]:
    """A warning about an unusual sigma."""
    wrong = (
        f"Sigma is on the [0, 1] scale of the inputs, and {sigma:g} drowns any image: 64 of 255 "
        f"grey levels are 64/255 = 0.25. Did you mean {sigma:g}/255?"
    )
    return (wrong,) if sigma > _SCALE else ()


def of_alpha(alpha: float) -> tuple[str, ...]:
    """A warning about an unusual error probability."""
    wrong = (
        f"Alpha is the probability that what is stated is wrong, and {alpha:g} is above one half: "
        "such statements say nothing. 0.001 is usual."
    )
    return (wrong,) if alpha > 0.5 else ()


def proves_nothing(n: int, alpha: float) -> bool:
    """Whether n draws cannot prove a class at alpha, even if all vote for it."""
    return float(binomial.lower(n, n, alpha)) <= 0.5


def of_recertified(before: Sequence[Certificate], after: Sequence[Certificate]) -> tuple[str, ...]:
    """Warnings about a finished recertification, compared with its original."""
    had, has = (sum(c.outcome is Outcome.CERTIFIED for c in some) for some in (before, after))
    if had < _FEW_LABELS or has > _LITTLE * had:
        return ()
    wrong = (
        f"Only {has} of the original's {had} certificates are left. Does this model take the same "
        "inputs, and are its classes the original's, in the same order?"
    )
    return (wrong,)


def of_result(
    certificates: Sequence[Certificate], labels: Sequence[int | None], classes: int
) -> tuple[str, ...]:
    """Warnings about a finished run, one each."""
    pairs = [(c, k) for c, k in zip(certificates, labels, strict=True) if k is not None]
    proven = [(c, k) for c, k in pairs if c.outcome is Outcome.CERTIFIED]
    if len(pairs) < _FEW_LABELS:
        return ()
    right = sum(c.candidate == k for c, k in pairs)
    if len(proven) >= 3 and all(c.candidate != k for c, k in proven):
        seen = f"All {len(proven)} certificates are for a class other than the label."
        return (f"{seen} Are the model's classes in the same order as the data's?",)
    if _near_chance(right, len(pairs), classes):
        seen = f"Under noise the model is right on {right} of {len(pairs)} inputs, near chance."
        return (f"{seen} Was it trained with such noise, and are its classes the data's?",)
    return ()
