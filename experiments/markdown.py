"""Tables in Markdown, and the places of pages that scripts write."""

from pathlib import Path


def put(page: Path, mark: str, text: str) -> None:
    """Replace what stands between the marks of that name."""
    start, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, found, rest = page.read_text().partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} lacks the marks {start} and {end}")
    page.write_text(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}")


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, rounded to nearest; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def table(head: list[str], lines: list[list[str]]) -> str:
    """Markdown, the first column to the left."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))
