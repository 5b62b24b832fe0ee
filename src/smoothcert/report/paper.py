"""A folder for a paper: figures, LaTeX tables, CSV, the field's TSV, and captions written out."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.errors import InvalidInput
from smoothcert.files import make_folder, require_outside_runs, write_whole
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.report import latex
from smoothcert.report.citations import citations
from smoothcert.report.claims import CLAIM
from smoothcert.report.curves import Published
from smoothcert.report.page import drawing, require_different_names
from smoothcert.report.paper_tables import Table, tables
from smoothcert.report.tables import csv_table, summarize_run, tsv
from smoothcert.runs.store import Run
from smoothcert.summary import Summary
from smoothcert.text import visible
from smoothcert.version import __version__

if TYPE_CHECKING:
    from smoothcert.report.paper_figures import Picture

CAPTIONS = "captions.txt"
_FIRST = "Figures and tables by smoothcert"


def paper(
    runs: Sequence[Run],
    out: Path | str,
    radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    screened: Iterable[DatasetCertificate] = (),
    published: Sequence[Published] = (),
) -> tuple[Summary, ...]:
    """Write what a paper shows of some runs into a folder.

    The files are the figures `certified_accuracy`, `probabilities` and `acr_evaluations` as PDF and
    SVG, 3.25 inches wide, and `panels`, all three in 7 inches; `figures.tex` and `panels.tex` with
    their captions; the tables `main` and, where the
    runs have something for them, `changes`, `classes`, `new_inputs` and `seeds` as LaTeX (with
    booktabs) and CSV; `certificates.csv`, and `<run>.tsv` for runs whose labels are known;
    `captions.txt`; `references.bib`, what the methods are from; and `example.tex`, a document of
    all. Equal runs give equal bytes.

    Args:
        runs: finished runs, in directories with different names.
        out: the folder, made if it does not exist.
        radii: l2 radii at which certified accuracy is listed, >= 0.
        screened: dataset certificates to be drawn beside the runs.
        published: logs to be drawn beside the runs, as what they are.

    Returns:
        A summary of each run.

    Raises:
        StoreError: a run is unfinished or damaged, or the folder cannot be written.
        InvalidInput: no runs, two of the same name, no radii, or a folder with other files of
            these names.
        MissingExtra: matplotlib is not installed.
    """
    require_different_names(runs)
    if not radii:
        raise InvalidInput("Tables need at least one radius; got none")
    out = Path(out)
    require_paper_folder(out)
    with drawing():
        from smoothcert.report.paper_figures import pictures
    summaries = {run.name: summarize_run(run, radii) for run in runs}
    # Originals first: the others are compared with them.
    shown = sorted(runs, key=lambda run: bool(run.identity.base))
    ordered = [summaries[run.name] for run in shown]
    drawn = pictures(shown, ordered, tuple(dict.fromkeys(screened)), published)
    files: dict[str, str | bytes] = {**_drawn(drawn), **_tabled(drawn, tables(shown, ordered))}
    files["certificates.csv"] = csv_table(runs)
    cited = citations(c.method for run in runs for c in run.certificates)
    files["references.bib"] = "\n\n".join(one.bibtex for one in cited if one.bibtex) + "\n"
    files |= {f"{visible(run.name)}.tsv": tsv(run) for run in runs if None not in run.labels}
    require_paper_folder(out, list(files))
    make_folder(out)
    for name, data in files.items():
        write_whole(out / name, data.encode() if isinstance(data, str) else data)
    return tuple(summaries.values())


def _drawn(drawn: "Sequence[Picture]") -> dict[str, str | bytes]:
    """Figures, and files that include them."""
    files: dict[str, str | bytes] = {
        f"{one.key}.{kind}": data for one in drawn for kind, data in one.files.items()
    }
    for name, wide in (("figures.tex", False), ("panels.tex", True)):
        files[name] = "\n".join(
            latex.figure(f"{one.key}.pdf", one.caption, _label(one.key), wide)
            for one in drawn
            if one.wide == wide
        )
    return files


def _tabled(drawn: "Sequence[Picture]", made: Sequence[Table]) -> dict[str, str]:
    """Tables, a document of everything, and all captions."""
    fitting = [one for one in made if one.fits]
    files = {f"{one.key}.csv": one.csv for one in made}
    for one in fitting:
        facts = (one.heads, one.rows, one.caption, _label(one.key), one.texts)
        files[f"{one.key}.tex"] = latex.table(*facts)
    files["example.tex"] = latex.document(["figures", "panels", *(one.key for one in fitting)])
    captions = [f"{one.key}\n{one.caption}" for one in (*drawn, *made)]
    files[CAPTIONS] = "\n\n".join([f"{_FIRST} {__version__}", CLAIM, *captions]) + "\n"
    return files


def _label(key: str) -> str:
    return key.replace("_", "-")


def require_paper_folder(out: Path, names: Sequence[str] = ()) -> None:
    """Raise InvalidInput where files would be replaced that `paper` did not write."""
    if (out / "run.json").exists():
        raise InvalidInput(f"{out} is a run directory. Give a folder of its own.")
    require_outside_runs(out)
    captions = out / CAPTIONS
    ours = captions.is_file() and captions.read_bytes().startswith(_FIRST.encode())
    there = [name for name in (*names, CAPTIONS) if (out / name).exists()]
    if there and not ours:
        raise InvalidInput(
            f"{out / there[0]} does not belong to such a folder and would be replaced. Give a "
            "new folder."
        )
