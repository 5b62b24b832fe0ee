"""A section for a model card: what was certified, the figures, what they say and what they do not.

Names of models and data are untrusted: Markdown has them in code spans that nothing in them can
close, and YAML in quotes, in ASCII.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from smoothcert.errors import InvalidInput
from smoothcert.methods import alpha_of
from smoothcert.report.acceptance import in_words, recorded
from smoothcert.report.citations import citations
from smoothcert.report.claims import (
    CHOSEN,
    CLAIM,
    all_together,
    beside_grid,
    tried,
)
from smoothcert.report.tables import summarize_run, summary_table
from smoothcert.runs import seed_use
from smoothcert.runs.replaying import machine
from smoothcert.runs.store import Run
from smoothcert.storage.local import LocalFolder
from smoothcert.summary import Summary
from smoothcert.text import floor_to, level, visible
from smoothcert.version import __version__

_SAYS = """\
Radii are on the [0, 1] scale of the inputs, and α is the one above. ACR is the average radius,
where an input without a certificate of its label counts 0; CA@r is the share of inputs with a
certificate of their label at radius r or more. Figures are rounded to the safe side."""

_UNKNOWN = "Where labels are unknown, every certificate counts as one of its label."

_CHECK = """\
The votes behind every certificate are stored with the runs. This command recomputes all
certificates (with a base run, also which draws were counted) and lists what it did not check; with
`--replay 1%` it evaluates part of the draws again. Put in
the runs' folders as they are where you are:"""

_CITE = "To cite: smoothcert, and the papers whose theorems these certificates rest on."

_NOT = """\
Not claimed: that all certificates hold at once; anything about another norm, other inputs, the
model without noise, or a machine on which it gives other answers (`smoothcert transfer`). The
certificates are about the smoothed classifier: predict with the same σ (`smoothcert predict`)."""

_REUSED = """\
Certificates that reuse the original's cache hold only for a model that was made, and chosen,
without looking at that cache; those of the method `exact` also only for a policy chosen so."""


def model_card(
    runs: Sequence[Run],
    radii: Sequence[float] = (0.0, 0.25, 0.5),
    *,
    model_index: bool = False,
) -> str:
    """A Markdown section about the certificates of finished runs.

    Args:
        runs: one or more.
        radii: at which certified accuracy is given, >= 0.
        model_index: begin with the metadata of a model card on Hugging Face.

    Returns:
        The text, ending with a line break.

    Raises:
        InvalidInput: no runs.
        StoreError: a run is unfinished or damaged.
    """
    if not runs:
        raise InvalidInput("A model card needs at least one run; got none")
    summaries = [summarize_run(run, radii) for run in runs]
    labelled = all(summary.labelled for summary in summaries)
    parts = [
        "## Certified robustness",
        f"Certified by randomized smoothing with smoothcert {__version__}.",
        _table(runs, summaries),
        "\n".join(_what(run) for run in runs),
        *(said for run in runs if (said := _gate(run, runs))),
        _joined(CLAIM, _SAYS, "" if labelled else _UNKNOWN),
        _joined(_NOT, _several(runs), _reused(runs)),
        _joined(_CHECK),
        "```sh\n" + "\n".join(_check(run, runs) for run in runs) + "\n```",
        _CITE,
        "\n".join(f"- {source}" for source in _sources(runs)),
    ]
    text = "\n\n".join(parts) + "\n"
    return _metadata(runs, summaries) + text if model_index else text


def model_name(run: Run) -> str:
    """The model as a card names it: without its local folder."""
    reference = str(run.manifest.origin.get("model", run.name))
    if "://" in reference:
        return reference.rpartition("/")[2]
    value = r"(?<==)\.{0,2}/([^,@]*/)?"  # of a factory's argument
    return re.sub(rf"{value}|(^|(?<=[@:]))\.{{0,2}}/(.*/)?", "", reference)


def data_name(run: Run) -> str:
    """The data set likewise; one on Hugging Face keeps its owner."""
    data = run.manifest.origin.get("data")
    name = str(data.get("data", "")) if isinstance(data, dict) else ""
    return name if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) else Path(name).name


def code(text: str) -> str:
    """A CommonMark code span that holds any text and interprets none of it."""
    shown = visible(text) or " "
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _table(runs: Sequence[Run], summaries: Sequence[Summary]) -> str:
    """The summary's table with the model, without seconds and without empty columns."""
    heads, rows = summary_table(summaries)
    shown = (i for i, head in enumerate(heads) if head not in ("run", "seconds"))
    keep = [i for i in shown if any(row[i] for row in rows)]
    table = [["run", "model", *(heads[i] for i in keep)], ["---", "---", *(["---:"] * len(keep))]]
    for run, row in zip(runs, rows, strict=True):
        names = (code(name).replace("|", "\\|") for name in (row[0], model_name(run)))
        table.append([*names, *(row[i] for i in keep)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def _gate(run: Run, runs: Sequence[Run]) -> str:
    """Whether it reaches the targets that it was begun with; empty without any."""
    if not (said := in_words(recorded(run, runs))):
        return ""
    lines = (f"- {line.replace('*', chr(92) + '*')}" for line in said.splitlines())
    return f"Targets of {code(run.name)}:\n\n" + "\n".join(lines)


def _joined(*texts: str) -> str:
    return " ".join(" ".join(texts).split())


def _what(run: Run) -> str:
    identity = run.identity
    settings, method = identity.settings, identity.method
    data, alpha = data_name(run), alpha_of(settings, method)
    of = f" of {code(data)}" if data else ""
    facts = [
        f"{code(model_name(run))}, fingerprint {code(identity.model)}",
        f"{len(identity.indices)} inputs{of} (content {code(identity.data)})",
        f"σ = {settings.sigma:g}, α = {level(alpha)} per input, noise seed {settings.seed}",
        code(method.made(settings)) if method.kind else method.made(settings),
        all_together(len(identity.indices), alpha),
        f"evaluated on {code(where)}" if (where := machine(run)) else "",
        beside_grid(settings),
    ]
    model = identity.model if identity.base else ""
    asked = tried(seed_use.tries_of_run(run), model, method, advice=False)
    said = f"- {code(run.name)}: " + "; ".join(filter(None, facts)) + "."
    return f"{said} {asked}" if asked else said


def _reused(runs: Sequence[Run]) -> str:
    """What certificates that reuse a cache assume, and what holds for a chosen result."""
    reused = _REUSED if any(run.identity.base for run in runs) else ""
    return reused if all(run.identity.method.is_fresh for run in runs) else f"{reused} {CHOSEN}"


def _several(runs: Sequence[Run]) -> str:
    """What holds for several runs at once (docs/theory.md, section 11)."""
    if len(runs) == 1:
        return ""
    alphas = [run.identity.alpha for run in runs]
    return (
        f"Each statement is about one run alone; all {len(runs)} hold at once with "
        f"probability at least 1 − {level(*alphas)}, by the union bound."
    )


def _check(run: Run, runs: Sequence[Run]) -> str:
    """The command that checks a run, with its base run where it has one."""
    command = f"smoothcert verify {_word(run)}"
    if not run.identity.base:
        return command
    here = [_word(other) for other in runs if other.identity.hash == run.identity.base]
    return f"{command} --base {here[0] if here else 'BASE'}"


def _word(run: Run) -> str:
    """The run as a shell word: as a path from here, or by its name alone if it is not below.

    So the command works where the card was written, and no card tells a machine's folders.
    """
    shown, storage = visible(run.name), run.storage
    if isinstance(storage, LocalFolder):
        path, here = Path(storage.path).absolute(), Path.cwd()
        shown = visible(path.relative_to(here).as_posix()) if path.is_relative_to(here) else shown
    return shown if re.fullmatch(r"[\w.,+=@%/-]+", shown, re.ASCII) and shown[0] != "-" else "RUN"


def _sources(runs: Sequence[Run]) -> list[str]:
    """The papers; results proven in this package's documents are cited as the package."""
    found = citations(c.method for run in runs for c in run.certificates)
    return [f"{citation.source}." for citation in found if citation.bibtex]


def _metadata(runs: Sequence[Run], summaries: Sequence[Summary]) -> str:
    """`model-index` of a model card's metadata; JSON values, which are also YAML."""
    lines = ["---", "model-index:"]
    for run, summary in zip(runs, summaries, strict=True):
        images = len(run.identity.shape) == 3
        data = data_name(run) or "unknown"
        lines += [
            f"- name: {_quoted(model_name(run))}",
            "  results:",
            "  - task:",
            f"      type: {'image-classification' if images else 'other'}",
            "    dataset:",
            f"      name: {_quoted(data)}",
            f"      type: {_quoted(data)}",
            "    metrics:",
        ]
        sigma = run.identity.settings.sigma
        for kind, name, value in _metrics(summary):
            lines += [
                f"    - type: {kind}",
                f"      name: {_quoted(f'{name}, sigma {sigma:g}')}",
                f"      value: {value}",
            ]
    return "\n".join([*lines, "---", "", ""])


def _metrics(summary: Summary) -> list[tuple[str, str, str]]:
    kind, title, of = "certified_accuracy", "Certified accuracy", ""
    if summary.unlabelled:
        kind, title, of = "certified_share", "Certified share", f" ({summary.counted})"
    accuracy = [
        (kind, f"{title} at l2 radius {r:g}{of}", _share(share, summary))
        for r, share in summary.accuracy
    ]
    radius = f"Average certified l2 radius{of}"
    return [("average_certified_radius", radius, floor_to(summary.acr, 4)), *accuracy]


def _share(share: float, summary: Summary) -> str:
    """A share of the inputs, rounded down to four decimals."""
    whole = round(share * summary.inputs) * 10**4 // summary.inputs
    return f"{whole // 10**4}.{whole % 10**4:04d}"


def _quoted(text: str) -> str:
    """A double-quoted scalar of YAML, in ASCII."""
    plain = json.dumps(visible(text), ensure_ascii=False)
    return "".join(
        c if c.isascii() else f"\\u{ord(c):04x}" if ord(c) < 2**16 else f"\\U{ord(c):08x}"
        for c in plain
    )
