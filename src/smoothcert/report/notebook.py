"""What a notebook shows of a result: a small table, and the curve as SVG; nothing is fetched."""

from html import escape

from smoothcert.certificate import Certification
from smoothcert.methods import method_of
from smoothcert.report.axes import Axis, Chart, step_line
from smoothcert.report.claims import of_alphas, theorem
from smoothcert.report.curves import Curve, axis_name, of_certificates
from smoothcert.report.tables import summary_table
from smoothcert.summary import Summary
from smoothcert.text import level, many, visible

_WIDTH, _HEIGHT = 360.0, 190.0
_POINTS = 200
_CLAIM = (
    "Each certificate holds with probability at least 1 − α on its own ({theorem}). "
    "Figures are rounded to the safe side."
)


def as_html(result: Certification, summary: Summary, data: str) -> str:
    """A table and the curve of certified accuracy; names are escaped."""
    heads, (row,) = summary_table([summary])
    kept = [i for i, head in enumerate(heads) if head not in ("σ", "seconds")]
    top = "".join(f"<th>{escape(heads[i].replace('run', 'model'))}</th>" for i in kept)
    below = "".join(f"<td>{escape(visible(row[i]))}</td>" for i in kept)
    table = f"<table><thead><tr>{top}</tr></thead><tbody><tr>{below}</tr></tbody></table>"
    curve = of_certificates(result.model, result.certificates, result.labels, _POINTS)
    chart = _chart(curve, axis_name(result.labels))
    return (
        f"<div><div>{escape(_made(result, data))}</div>"
        f'<div style="overflow-x: auto; white-space: nowrap">{table}</div>'
        f"{_svg(chart)}<div><small>{escape(_claim(result))}</small></div></div>"
    )


def _made(result: Certification, data: str) -> str:
    """The data, and how it was certified."""
    settings, method = result.settings, method_of(result.method)
    made = f"{many(len(result.certificates), 'input')} of {data}: {method.made(settings)}"
    return f"{made}, at σ = {settings.sigma:g}, α = {level(method.proven_alpha(settings))}."


def _claim(result: Certification) -> str:
    """What the figures say, with the theorem."""
    why = of_alphas(result.settings, result.method, result.certificates)
    return f"{_CLAIM.format(theorem=theorem(result.certificates))} {why}".strip()


def _chart(curve: Curve, of: str) -> Chart:
    farthest = float(curve.x[-1]) or 1.0
    x = Axis("ℓ₂ radius", 0, farthest * 1.02, 46.0, _WIDTH - 10)
    y = Axis(of, 0, 1, _HEIGHT - 36, 10.0)
    line = step_line(curve, 0, False, x, y)
    return Chart("accuracy", f"{of.capitalize()} of {curve.name}", x, y, (line,))


def _svg(chart: Chart) -> str:
    """A chart with its ticks and labels, in the text's own colour."""
    x, y = chart.x, chart.y
    parts = [f'<path d="M{x.start} {y.end}V{y.start}H{x.end}" fill="none" stroke="currentColor"/>']
    for at, text in x.ticks:
        parts.append(f'<text x="{at}" y="{y.start + 14}" text-anchor="middle">{text}</text>')
    for at, text in y.ticks:
        parts.append(f'<text x="{x.start - 6}" y="{at + 4}" text-anchor="end">{text}</text>')
        parts.append(
            f'<path d="M{x.start} {at}H{x.end}" stroke="currentColor" stroke-opacity=".15"/>'
        )
    middle = (x.start + x.end) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{x.label}</text>')
    parts.append(
        f'<text transform="rotate(-90)" x="{-(y.start + y.end) / 2}" y="12" '
        f'text-anchor="middle">{y.label}</text>'
    )
    parts += [
        f'<path d="{line.path}" fill="none" stroke="#0072B2" stroke-width="2"/>'
        for line in chart.lines
    ]
    title = escape(chart.title, quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" width="{_WIDTH:g}" role="img" '
        f'aria-label="{title}" font-size="11" font-family="sans-serif" fill="currentColor" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{title}</title>{"".join(parts)}</svg>'
    )
