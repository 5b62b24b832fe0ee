"""The captions of a paper's figures and tables: what is shown, of what, and what holds of it."""

from collections.abc import Callable, Sequence
from pathlib import PurePath

from smoothcert.bounds.together import wrong_at_most
from smoothcert.methods.dataset import DatasetCertificate, screenings
from smoothcert.report.card import model_name
from smoothcert.report.claims import of_comparisons, of_new_inputs
from smoothcert.report.comparison import Comparison
from smoothcert.report.curves import PUBLISHED, Published
from smoothcert.report.figures import BETA
from smoothcert.report.naming import data_name
from smoothcert.report.spending import without_evaluations
from smoothcert.runs.store import Run
from smoothcert.text import level, many, visible

ALONE = (
    "Each certificate is wrong with probability at most α, on its own (docs/theory.md of "
    "smoothcert, sections 2 to 13, by the method)"
)

_REUSED = (
    "Certificates that reuse the original's votes hold for a model, and a policy, that were fixed "
    "without looking at them (docs/theory.md, section 6)."
)


def label(run: Run) -> str:
    """What a run is called in legends and tables."""
    return f"{visible(run.name)}, σ = {run.identity.settings.sigma:g}"


def facts(runs: Sequence[Run]) -> str:
    """Models, data, N, n₀, n, α, σ, form and method of the runs; said once what they share."""
    told: list[tuple[str, Callable[[Run], str]]] = [
        ("", _data),
        ("σ = ", lambda run: f"{run.identity.settings.sigma:g}"),
        ("n₀ = ", lambda run: f"{run.identity.settings.n0:,}"),
        ("n = ", _draws),
        ("α = ", lambda run: level(_alpha(run))),
        ("form ", _form),
        ("noise seed ", lambda run: str(run.identity.settings.seed)),
    ]
    common, own = [], []
    for name, value in told:
        values = [value(run) for run in runs]
        if len(set(values)) == 1:
            common.append(f"{name}{values[0]}")
        else:
            own.append((name, value))
    groups: dict[str, list[str]] = {}
    for run in runs:
        how = [f"{name}{value(run)}" for name, value in own]
        made = ", ".join([*how, run.identity.method.made(run.identity.settings)])
        groups.setdefault(made, []).append(_named(run))
    lines = [f"{', '.join(names)}: {made}" for made, names in groups.items()]
    shared = f"Randomized smoothing; {', '.join(common)}. " if common else "Randomized smoothing. "
    reused = f" {_REUSED}" if any(run.identity.base for run in runs) else ""
    return f"{shared}{'; '.join(lines)}.{reused}"


def accuracy(
    runs: Sequence[Run], screened: Sequence[DatasetCertificate], published: Sequence[Published]
) -> str:
    """Of the figure of certified accuracy."""
    parts = [
        f"{_share(runs)} against ℓ₂ radius, for pixels from 0 to 1. {facts(runs)}",
        f"Line: {ALONE[0].lower()}{ALONE[1:]}. {band(runs)}",
        dataset(screened),
        others(published),
    ]
    return " ".join(filter(None, parts))


def band(runs: Sequence[Run]) -> str:
    """The lower edge of a band, and what holds of several runs at once."""
    counts = sorted({(len(run.certificates), _alpha(run)) for run in runs})
    wrong = [f"{wrong_at_most(n, alpha, alpha)} of {n:,}" for n, alpha in counts]
    alphas = [_alpha(run) for run in runs]
    errors = " or ".join(dict.fromkeys(map(level, sorted(alphas))))
    return (
        "Lower edge of the band: simultaneous, all inputs of a run at all radii at once, with "
        f"probability 1 − {errors} (at most {' or '.join(dict.fromkeys(wrong))} certificates are "
        f"wrong; docs/theory.md, section 11){several(runs)}."
    )


def several(runs: Sequence[Run]) -> str:
    """What holds of several runs at once; empty for one."""
    if len(runs) == 1:
        return ""
    total = level(*(_alpha(run) for run in runs))
    return (
        f"; of all {len(runs)} runs at once, with probability at least 1 − {total}, by the union "
        "bound"
    )


def dataset(screened: Sequence[DatasetCertificate]) -> str:
    """What holds of screened models; empty if there are none."""
    groups = screenings(tuple(screened))
    if not groups:
        return ""
    total = level(*(group[0].alpha for group in groups))
    return (
        "Screened models: lower limits for all inputs together, at all radii and of all models at "
        f"once, with probability 1 − {total} (docs/theory.md, section 10)."
    )


def others(published: Sequence[Published]) -> str:
    """What is said of published figures; empty if there are none."""
    if not published:
        return ""
    shown = "; ".join(
        f"{visible(log.name)}: {many(len(log.radii), 'input')}, σ = {log.sigma:g}"
        for log in published
    )
    return f"Grey: {shown}. {PUBLISHED}"


def panels(
    runs: Sequence[Run], screened: Sequence[DatasetCertificate], published: Sequence[Published]
) -> str:
    """Of the three figures side by side; the runs' facts are said once."""
    first = accuracy(runs, screened, published)
    return f"(a) {first} (b) {probabilities(runs, '')} (c) {evaluations(runs, '')}"


def probabilities(runs: Sequence[Run], told: str | None = None) -> str:
    """Of the figure of probabilities; `told` stands in place of the runs' facts."""
    return (
        "Share of inputs whose class has at least a given probability under noise. "
        f"{_told(runs, told)}Line: lower limits, each of which holds with probability 1 − α on its "
        "own (docs/theory.md, sections 2 to 13, by the method). Lower edge of the band: "
        "simultaneous, a lower limit of the share at all probabilities at once, with probability "
        f"1 − α of each run (docs/theory.md, sections 11 and 15){several(runs)}."
    )


def evaluations(runs: Sequence[Run], told: str | None = None) -> str:
    """Of the figure of ACR against evaluations; `told` as for `probabilities`."""
    return (
        "Average certified radius (ACR) against evaluations per input. Marks: the runs. Lines: the "
        "first draws of the same votes from scratch, what a run with that n gives (docs/theory.md, "
        f"section 15); no n or model may be chosen by them. {_told(runs, told)}{ALONE}."
    )


def main(runs: Sequence[Run], radii: Sequence[float]) -> str:
    """Of the table of runs."""
    return (
        f"Average certified radius (ACR), median radius and {_share(runs).lower()} (CA, in %) at "
        f"ℓ₂ radius {', '.join(f'{r:g}' for r in radii)}, rounded down; an input that abstains or "
        f"is misclassified counts 0. Abst.: inputs without certificate{_undrawn(runs)}. Cap: right "
        "inputs whose counted draws all agree, so that n and α limit their radius. Eval.: "
        f"evaluations per input, rounded up. {facts(runs)} {ALONE}."
    )


def _undrawn(runs: Sequence[Run]) -> str:
    """How many inputs a plan gave no draws, which says nothing of the model."""
    counts = [(_named(run), len(without_evaluations(run.certificates))) for run in runs]
    told = [f"{name}: {count:,}" for name, count in counts if count]
    return f", of which a plan gave no draws to some ({'; '.join(told)})" if told else ""


def classes(runs: Sequence[Run], radius: float) -> str:
    """Of the table of classes."""
    return (
        f"Certified accuracy by class, in %, at ℓ₂ radius {radius:g}, rounded down. "
        f"{facts(runs)} {ALONE}."
    )


def new_inputs(runs: Sequence[Run]) -> str:
    """Of the table of new inputs."""
    says = of_new_inputs(BETA, _labelled(runs))
    return f"Lower limits for new inputs, of shares in %: {says}. {facts(runs)}"


def changes(runs: Sequence[Run], compared: Sequence[Comparison]) -> str:
    """Of the table of comparisons."""
    level, power = compared[0].level, compared[0].power
    rounded = "p is rounded up. " if any(one.alike for one in compared) else ""
    return (
        "Certificates kept, lost and gained from a first model to a second, by ℓ₂ radius. "
        f"{of_comparisons(compared)} {rounded}Detectable: the smallest difference, in points, that "
        f"one test at {level:g} finds on this many inputs with probability {power:g} "
        f"(docs/theory.md, section 15), if as many change as here. {facts(runs)}"
    )


def seeds() -> str:
    """Of the table of seeds."""
    return (
        "Mean ± standard deviation over runs of one model with several seeds of the noise: a "
        "description of these runs, not a confidence interval."
    )


def _told(runs: Sequence[Run], told: str | None) -> str:
    return f"{facts(runs)} " if told is None else told


def _labelled(runs: Sequence[Run]) -> bool:
    return any(label is not None for run in runs for label in run.labels)


def _share(runs: Sequence[Run]) -> str:
    if _labelled(runs):
        return "Certified accuracy"
    return "Share of inputs certified (no labels: any class counts)"


def _named(run: Run) -> str:
    """A run with its model, where its name does not say it."""
    name, model = visible(run.name), visible(model_name(run))
    return name if name in (model, PurePath(model).stem) else f"{name} ({model})"


def _draws(run: Run) -> str:
    return f"{run.identity.settings.n:,}{' (of the original)' if run.identity.base else ''}"


def _alpha(run: Run) -> float:
    return run.identity.alpha


def _form(run: Run) -> str:
    return run.identity.method.form_of(run.identity.settings)


def _data(run: Run) -> str:
    return f"N = {len(run.certificates):,} inputs of {data_name(run.manifest.origin)}"
