"""The table of a screening: candidates, best first, with size and speed, and their original."""

from collections.abc import Mapping, Sequence

from smoothcert.cli.screening_costs import Costs
from smoothcert.methods.dataset import DatasetCertificate, ranked
from smoothcert.report.screened import Cost
from smoothcert.text import floor_to, percent


def screen_table(
    found: Sequence[DatasetCertificate],
    radii: Sequence[float],
    costs: Mapping[DatasetCertificate, Cost] | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Heads and rows, best first, with size and speed where they are given."""
    heads = ["model", "ACR ≥", *(f"CA@{r:g} ≥" for r in radii), "evaluations"]
    heads += ["size", "per second"] if costs else []
    judged, partial_ = any(c.verdict_name for c in found), not all(c.finished for c in found)
    rows = []
    for c in sorted(ranked(found), key=lambda c: not c.begun):
        curve = [percent(float(share), c.pool.inputs) for share in c.certified_accuracy(radii)]
        figures = [floor_to(c.acr, 4), *curve] if c.begun else ["–"] * (1 + len(curve))
        row = [c.name, *figures, f"{c.evaluations:,}", *(costs[c].cells if costs else ())]
        row += [f"{len(c.flips)} of {len(c.screening.rounds)}"] if partial_ else []
        rows.append([*row, c.verdict_name.lower()] if judged else row)
    return [*heads, *(["rounds"] if partial_ else []), *(["verdict"] if judged else [])], rows


def original_row(costs: Costs, radii: Sequence[float], columns: int) -> list[str]:
    """The original's row of a table of candidates, which has no verdict."""
    one = costs.original
    shares = (percent(share, one.inputs) for share in one.accuracy(radii))
    row = [f"original: {one.name}", floor_to(one.acr, 4), *shares, f"{one.evaluations:,}"]
    row += costs.of_original.cells
    return row + [""] * (columns - len(row))
