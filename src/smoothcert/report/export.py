"""All certificates as one table: in memory, and as Parquet, CSV or TSV."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from smoothcert.certificate import Certificate, Certification
from smoothcert.errors import InvalidInput
from smoothcert.files import make_folder, write_whole
from smoothcert.methods import alpha_of
from smoothcert.runs.manifest import method_form
from smoothcert.runs.store import Run
from smoothcert.text import cell, delimited, visible

Result = Run | Certification
"""A finished run, or what `certify` and `recertify` return."""

_NAMED = ("label", "predicted")
"""The columns of classes, whose names have columns too where they are known."""

FORMAT = 1
"""Version of the table: increases when a column changes its meaning or is removed."""

COLUMNS = pa.schema(
    [
        ("run", pa.string()),
        ("index", pa.int64()),
        ("label", pa.int32()),
        ("predicted", pa.int32()),
        ("candidate", pa.int32()),
        ("outcome", pa.string()),
        ("radius", pa.float64()),
        ("q", pa.float64()),
        ("method", pa.string()),
        ("k", pa.int64()),
        ("n", pa.int64()),
        ("cached_k", pa.int64()),
        ("cached_n", pa.int64()),
        ("flips", pa.int64()),
        ("zeta", pa.float64()),
        ("alpha", pa.float64()),
        ("evaluations", pa.int64()),
        ("sigma", pa.float64()),
    ]
)
"""One list for all formats. `label` is null where unknown, `predicted` is -1 for an abstention, and
`outcome` is the name of an `Outcome`; `sigma` is of the noise, and the others are fields of a
`Certificate`."""


def certificates_table(
    *results: Result, labels: Sequence[int | None] | None = None, classes: Sequence[str] = ()
) -> pa.Table:
    """Every certificate of one or more results, a row each; `.to_pandas()` makes a data frame.

    Args:
        results: finished runs, or what `certify` and `recertify` return.
        labels: true classes of the inputs, for results that do not know theirs.
        classes: names of the classes, for results that do not know theirs.

    Returns:
        A table of `COLUMNS`; where names of classes are known, also with `label_name` and
        `predicted_name`, null where there is none. The schema's metadata `smoothcert` is JSON: the
        format, and for each result its name, model, fingerprint, settings, method and alpha.

    Raises:
        StoreError: a run is unfinished or damaged.
        InvalidInput: no results, two with the same name, or labels that do not match.
    """
    names = [visible(name_of(result)) for result in results]
    if not results or len(set(names)) < len(names):
        raise InvalidInput(f"A table needs one or more results with different names; got {names}")
    columns, called = {name: [] for name in COLUMNS.names}, {f"{name}_name": [] for name in _NAMED}
    facts = [_facts(name, result) for name, result in zip(names, results, strict=True)]
    for fact, result in zip(facts, results, strict=True):
        known = [visible(name) for name in _classes(result) or classes]
        for certificate, label in labelled(result, labels):
            row = {"run": fact["run"], "label": label, "outcome": certificate.outcome.name}
            row["sigma"] = fact["sigma"]
            for column, values in columns.items():
                values.append(row[column] if column in row else getattr(certificate, column))
            for column in _NAMED:
                called[f"{column}_name"].append(_named(columns[column][-1], known))
    note = json.dumps({"format": FORMAT, "runs": facts})
    table = pa.table(columns, COLUMNS.with_metadata({"smoothcert": note}))
    for column, values in called.items() if any(map(any, called.values())) else ():
        table = table.append_column(column, pa.array(values, pa.string()))
    return table


def _named(number: int | None, classes: Sequence[str]) -> str | None:
    return classes[number] if number is not None and 0 <= number < len(classes) else None


def _classes(result: Result) -> Sequence[str]:
    """The names of the classes that a result knows."""
    manifest = getattr(result, "manifest", None)
    return () if manifest is None else manifest.origin.get("classes", ())


def export(
    results: Sequence[Result] | Result,
    path: Path | str,
    labels: Sequence[int | None] | None = None,
) -> pa.Table:
    """Write `certificates_table` to a file: Parquet, CSV or TSV by its suffix; replaces it.

    Radii and limits have full precision in all formats. In CSV and TSV, names that a spreadsheet
    would read as a formula are marked as text.

    Args:
        results: one or more, as for `certificates_table`.
        path: ends in .parquet, .csv or .tsv; its folder is made if it does not exist.
        labels: see `certificates_table`.

    Returns:
        The path that was written.

    Raises:
        InvalidInput: another suffix; or as for `certificates_table`.
        StoreError: as there, or the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in _FORMS or "://" in str(path):
        raise InvalidInput(
            f"Certificates are written to a local file that ends in {', '.join(_FORMS)}; "
            f"got {str(path)!r}"
        )
    many = (results,) if isinstance(results, Run | Certification) else results
    table = certificates_table(*many, labels=labels)
    path = Path(path)
    make_folder(path.parent)
    write_whole(path, _FORMS[suffix](table))
    return table


def separated(table: pa.Table, delimiter: str) -> str:
    """A `certificates_table` as text; numbers in full precision, unknown labels empty.

    A result's name is the only untrusted text; see `text.cell`.
    """
    columns = [_texts(column) for column in table.columns]
    return delimited([table.column_names, *zip(*columns, strict=True)], delimiter)


def _texts(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    if pa.types.is_string(column.type):
        return ["" if value is None else cell(value) for value in values]
    if pa.types.is_floating(column.type):
        return [repr(value) for value in values]
    return ["" if value is None else value for value in values]


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


_FORMS = {
    ".parquet": _parquet,
    ".csv": lambda table: separated(table, ",").encode(),
    ".tsv": lambda table: separated(table, "\t").encode(),
}


def name_of(result: Result) -> str:
    """The name of a run, or of the classifier of a result in memory."""
    return result.name if isinstance(result, Run) else result.model


def labelled(
    result: Result, labels: Sequence[int | None] | None
) -> list[tuple[Certificate, int | None]]:
    """Certificates with true classes: a run's own, else those given, else None.

    Raises:
        InvalidInput: another number of labels than of certificates.
        StoreError: a run is unfinished or damaged.
    """
    if isinstance(result, Run):
        result.require_complete()
    labels = result.labels if labels is None or isinstance(result, Run) else labels
    known = labels if labels is not None else [None] * len(result.certificates)
    if len(known) != len(result.certificates):
        raise InvalidInput(
            f"There are {len(result.certificates)} certificates and {len(known)} labels. Give one "
            "label for each certificate."
        )
    return list(zip(result.certificates, known, strict=True))


def _facts(name: str, result: Result) -> dict[str, Any]:
    if isinstance(result, Run):
        of = result.identity
        settings, method, model = of.settings, of.method, result.manifest.origin.get("model", "")
        fingerprint = of.model
    else:
        settings, method, model = result.settings, result.method, result.model
        fingerprint = result.fingerprint
    return {
        "run": name,
        "model": visible(str(model)),
        "fingerprint": fingerprint,
        "sigma": settings.sigma,
        "alpha": alpha_of(settings, method),
        "settings": asdict(settings),
        "method": method and method_form(method),
    }
