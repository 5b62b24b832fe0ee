"""A report folder: one self-contained page, figures, a CSV, and the usual TSV for each run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, MissingExtra, StoreError
from smoothcert.files import make_folder, write_whole
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.report import charts
from smoothcert.report.curves import PUBLISHED, Published, Together
from smoothcert.report.naming import class_names
from smoothcert.report.screened import Cost
from smoothcert.report.tables import csv_table, summarize_run, tsv
from smoothcert.runs.store import Run
from smoothcert.summary import Summary
from smoothcert.text import level, visible

PAGE = "index.html"


def report(
    runs: Sequence[Run],
    out: Path,
    radii: Sequence[float],
    screened: Iterable[DatasetCertificate] = (),
    pictures: Sequence[Inputs] = (),
    costs: Mapping[DatasetCertificate, Cost] | None = None,
    published: Sequence[Published] = (),
) -> tuple[Summary, ...]:
    """Write a page, two figures, a CSV and the usual TSV of each run into a folder.

    The files are `index.html`, `certified_accuracy` and `acr_evaluations` as PNG and SVG,
    `certificates.csv`, and `<run>.tsv` for runs whose labels are known.

    Args:
        runs: finished runs, in directories with different names.
        out: the folder, made if it does not exist.
        radii: radii at which certified accuracy is listed, >= 0.
        screened: dataset certificates of one screening or more, to be shown with the runs; the
            page states the alpha of each screening, and their sum (docs/theory.md, section 10).
        pictures: data sets; inputs of the runs that are found in them are shown as thumbnails, and
            page and CSV name the classes as they do.
        costs: size, speed and original's run of screened candidates, where known.
        published: logs whose curves are drawn beside the runs, as what they are.

    Raises:
        StoreError: a run is unfinished or damaged, or the folder cannot be written.
        InvalidInput: no runs, or two of the same name.
        MissingExtra: matplotlib or jinja2 is not installed.
    """
    require_different_names(runs)
    with drawing():
        from smoothcert.report import html, plots
    summaries = tuple(summarize_run(run, radii) for run in runs)
    screened = tuple(dict.fromkeys(screened))
    found, together = charts.all_of(runs, summaries, screened, published)
    facts = (summaries, tuple(radii), found, together, screened, tuple(pictures))
    content = html.Content(tuple(runs), *facts, costs or {})
    table = csv_table(runs, class_names(pictures)).encode()
    files = {PAGE: html.page(content).encode(), "certificates.csv": table}
    for name, chart, note in (
        ("certified_accuracy", found.accuracy, _claims(summaries, together, published)),
        ("acr_evaluations", found.cost, "Lines: fewer draws of the same run from scratch"),
    ):
        files |= {f"{name}.{kind}": data for kind, data in plots.drawn(chart, note).items()}
    labelled = [run for run in runs if None not in run.labels]
    files |= {f"{visible(run.name)}.tsv": tsv(run).encode() for run in labelled}
    make_folder(out)
    for name, data in files.items():
        write_whole(out / name, data)
    return summaries


@contextmanager
def drawing() -> Iterator[None]:
    """For the import of what draws.

    Raises:
        MissingExtra: matplotlib or jinja2 is not installed.
        StoreError: matplotlib finds no folder for its files.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(error.name or "matplotlib", "plot") from error
    except OSError as error:
        raise StoreError(
            "matplotlib, which draws the charts, found no folder that it can write to, neither in "
            "the home folder nor a temporary one. Set MPLCONFIGDIR to a folder it can write to."
        ) from error


def require_different_names(runs: Sequence[Run]) -> None:
    """Raise InvalidInput for no runs, or two of the same name."""
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise InvalidInput(
            f"A report needs one or more runs, in directories with different names; got {names}"
        )


def _claims(
    summaries: Sequence[Summary],
    together: Sequence[Together],
    published: Sequence[Published],
) -> str:
    """What the curves of certified accuracy say, as a note for a figure on its own."""
    alphas = " or ".join(map(level, sorted({t.beta for t in together})))
    counted = "" if all(s.labelled for s in summaries) else "; without labels, any class counts"
    return (
        f"Line: each certificate holds with probability 1 − α, α = {alphas}{counted}. Band: "
        "down to what holds for all inputs of a run together, at all radii at once, likewise "
        f"(docs/theory.md, section 11){f'. {PUBLISHED}' if published else ''}"
    )
