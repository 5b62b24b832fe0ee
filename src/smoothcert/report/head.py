"""The first screen of a page: its title, what was certified how, the verdict and four figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from smoothcert.report.acceptance import claims, recorded
from smoothcert.report.claims import all_together, theorem
from smoothcert.report.comparison import Pair
from smoothcert.report.curves import Together
from smoothcert.report.naming import data_name, model_name, titled
from smoothcert.report.predicted import Predicted, class_name
from smoothcert.runs.store import Run
from smoothcert.summary import Summary
from smoothcert.text import ceil_to, floor_to, level, many, percent, visible


@dataclass(frozen=True)
class Figure:
    """One large figure.

    Attributes:
        name: what it is, in words of everyday use.
        value: the figure, rounded to the safe side.
        note: what it is to be compared with.
        says: what exactly it says, with its theorem.
    """

    name: str
    value: str
    note: str
    says: str


@dataclass(frozen=True)
class Head:
    """What the first screen says in words and figures.

    Attributes:
        focus: position of the run that it is about.
        title: of the page.
        facts: what was certified how, as (name, value).
        verdict: the answer in a sentence.
        gate: whether runs reach the targets that they were begun with, and what that claims.
        warnings: what forbids a simple reading, a sentence each.
        figures: how robust, how sure, at what price, compared with what.
    """

    focus: int
    title: str
    facts: tuple[tuple[str, str], ...]
    verdict: str
    gate: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    figures: tuple[Figure, ...]


def head(
    runs: Sequence[Run],
    summaries: Sequence[Summary],
    together: Sequence[Together],
    found: Sequence[Pair],
    classes: Sequence[Predicted],
    names: Sequence[str],
) -> Head:
    """About the first changed model, compared with its original; else about the first run."""
    pair = found[0] if found else None
    focus = next(i for i, s in enumerate(summaries) if pair is None or s is pair.changed)
    run, summary = runs[focus], summaries[focus]
    others = len(runs) - (2 if pair else 1)
    title = f"Certified robustness of {summary.name}"
    title += f", compared with {pair.base.name}" if pair else ""
    title += f" (and {others} more)" if others else ""
    radius = next((i for i, (r, _) in enumerate(summary.accuracy) if r > 0), 0)
    figures = _figures(run, summary, together[focus], pair, radius)
    warned = (*_sigmas(runs), *_collapses(runs, classes, names))
    verdict = _verdict(summary, pair, radius)
    gates = {one.name: judged for one in runs if (judged := recorded(one, runs))}
    facts = _facts(runs, run, pair and pair.original)
    lines = tuple(
        (one.line if len(gates) == 1 else f"{visible(name)}, {one.line}", claims(judged))
        for name, judged in gates.items()
        for one in judged
    )
    return Head(focus, title, facts, verdict, lines, warned, figures)


def _facts(runs: Sequence[Run], run: Run, base: Run | None) -> tuple[tuple[str, str], ...]:
    """Model, data, σ, n, n0 and α of the run, and of its original where they differ."""
    s, alpha = run.identity.settings, level(run.identity.alpha)
    model = model_name(run) + (f", made from {model_name(base)}" if base else "")
    draws = f"n = {s.n:,}, n0 = {s.n0:,}" + (", of the original" if base else "")
    error = f"α = {alpha} per input"
    if base:
        before = level(base.identity.alpha)
        error += f" (original {before})" if before != alpha else ""
    sigmas = ", ".join(f"{one:g}" for one in _all_sigmas(runs))
    return (
        ("Model", model),
        ("Data", f"{data_name(run.manifest.origin)}, {many(len(run.identity.indices), 'input')}"),
        ("Noise", f"σ = {sigmas}"),
        ("Draws", draws),
        ("Error", error),
    )


def _all_sigmas(runs: Sequence[Run]) -> list[float]:
    return sorted({run.identity.settings.sigma for run in runs})


def _share(summary: Summary, radius: int) -> str:
    return percent(summary.accuracy[radius][1], summary.inputs)


def _accuracy(summary: Summary, radius: int) -> str:
    r = summary.accuracy[radius][0]
    return f"{'certified accuracy' if summary.labelled else 'share certified'} at {r:g}"


def _verdict(summary: Summary, pair: Pair | None, radius: int) -> str:
    if pair is None:
        of = " of their label" if summary.labelled else ""
        return (
            f"{summary.name}: {_share(summary, radius)} of {many(summary.inputs, 'input')} are "
            f"certified{of} up to a radius of {summary.accuracy[radius][0]:g}; the mean radius is "
            f"{floor_to(summary.acr, 4)}."
        )
    before, after = _share(pair.base, radius), _share(summary, radius)
    return (
        f"{summary.name} keeps {kept(pair)} of the original's mean radius with {cost(pair)} of "
        f"its evaluations; {_accuracy(summary, radius)}: "
        f"{before.removesuffix(' %')} → {after}."
    )


def kept(pair: Pair) -> str:
    """The changed model's mean radius in percent of the original's, rounded down."""
    if not pair.base.acr:
        return "–"
    return f"{floor_to(100 * Fraction(pair.changed.acr) / Fraction(pair.base.acr), 1)} %"


def cost(pair: Pair) -> str:
    """Its evaluations in percent of the original's, rounded up."""
    if not pair.base.evaluations:
        return "–"
    share = Fraction(100 * pair.changed.evaluations, pair.base.evaluations)
    return f"{ceil_to(share, 1)} %"


def _figures(
    run: Run, summary: Summary, together: Together, pair: Pair | None, radius: int
) -> tuple[Figure, ...]:
    r, inputs = summary.accuracy[radius][0], many(summary.inputs, "input")
    alpha = level(together.beta)
    proof = theorem(run.certificates)
    right = "right and robust" if summary.labelled else "robust"
    of = "of their label " if summary.labelled else ""
    robust = Figure(
        f"{right} up to a radius of {r:g}",
        _share(summary, radius),
        f"original {_share(pair.base, radius)}" if pair else f"of {inputs}",
        f"Share of the inputs with a certificate {of}and a radius of {r:g} or more (certified "
        f"accuracy). Each certificate is wrong with probability at most {alpha}, for each input on "
        f"its own ({proof}).",
    )
    sure = Figure(
        "certificates may be wrong",
        f"≤ {together.wrong} of {together.inputs}",
        f"except with probability {alpha}",
        f"Over all inputs together: {all_together(together.inputs, together.beta)}. It assumes a "
        "model that was fixed without looking at the noise of the cache it was certified on.",
    )
    note = f"{summary.evaluations / summary.inputs:,.0f} per input"
    says = "Forward passes of this model on noisy inputs, those of planning included."
    if pair:
        note = f"{cost(pair)} of the original's"
        says += " The votes of the original are reused, not paid again."
    price = Figure("evaluations", f"{summary.evaluations:,}", note, says)
    wrong = "or is misclassified " if summary.labelled else ""
    mean = (
        "The average certified radius (ACR), in ℓ₂ norm on the [0, 1] scale. An input that "
        f"abstains {wrong}counts 0. Each radius is wrong with probability at most {alpha} on its "
        f"own ({proof})."
    )
    if pair is None:
        compared = Figure("mean radius", floor_to(summary.acr, 4), "no original to compare", mean)
    else:
        before, after = floor_to(pair.base.acr, 4), floor_to(summary.acr, 4)
        compared = Figure("of the original's mean radius", kept(pair), f"{before} → {after}", mean)
    return robust, sure, price, compared


def _sigmas(runs: Sequence[Run]) -> tuple[str, ...]:
    """That runs at several σ are no rivals."""
    if len(found := _all_sigmas(runs)) < 2:
        return ()
    listed = ", ".join(f"{sigma:g}" for sigma in found)
    said = (
        f"These runs have different noise (σ = {listed}). A larger σ allows larger radii and makes "
        "more inputs misclassified or undecided: compare mean radii only at one σ, and look at the "
        "share that is right."
    )
    return (said,)


def _collapses(
    runs: Sequence[Run], classes: Sequence[Predicted], names: Sequence[str]
) -> tuple[str, ...]:
    """What is seen of runs that give nearly all inputs one class."""
    return tuple(_seen(run, p, names) for run, p in zip(runs, classes, strict=True) if p.collapsed)


def _seen(run: Run, p: Predicted, names: Sequence[str]) -> str:
    of = "" if p.labelled is None else f", and {p.labelled} of {many(p.inputs, 'input')} are of it"
    return (
        f"{titled(run)} gives class {class_name(p.top, names)} to {p.count} of its "
        f"{many(p.certified, 'certificate')}{of}. It seems to have collapsed to one class under "
        "this noise: its radii say little."
    )
