"""Text and tables as LaTeX: nothing in a name is a command, and any engine can read the file."""

import unicodedata
from collections.abc import Sequence

from smoothcert.text import visible

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "σ": r"\ensuremath{\sigma}",
    "α": r"\ensuremath{\alpha}",
    "β": r"\ensuremath{\beta}",
    "ζ": r"\ensuremath{\zeta}",
    "ℓ": r"\ensuremath{\ell}",
    "₀": r"\textsubscript{0}",
    "₂": r"\textsubscript{2}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
    "±": r"\ensuremath{\pm}",
    "−": r"\ensuremath{-}",
    "–": "–",  # see `tex`
}
# Accented letters that pdflatex typesets in every encoding.
_ACCENTED = {chr(code) for code in range(0xC0, 0x180)} - set("×÷ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")


def tex(text: str) -> str:
    """Text that LaTeX typesets as it is; what its fonts lack is spelled as a code point."""
    shown = visible(unicodedata.normalize("NFC", text))
    escaped = (_SPECIAL.get(c, c if c.isascii() or c in _ACCENTED else _code(c)) for c in shown)
    # Two hyphens would become one dash, and so would ours that stands for one.
    return "".join(escaped).replace("--", "-{}-").replace("--", "-{}-").replace("–", "--")


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str, texts: int = 1
) -> str:
    """A table as wide as the page, with booktabs.

    Args:
        heads, rows: as plain text.
        caption: what it says, likewise.
        label: its name after `tab:`.
        texts: how many of the first columns are text; the others are set flush right.
    """
    columns = "l" * texts + "r" * (len(heads) - texts)
    lines = [" & ".join(map(tex, row)) + r" \\" for row in (heads, *rows)]
    return "\n".join(
        (
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{{tex(caption)}}}",
            rf"\label{{tab:{label}}}",
            r"\small",
            rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        )
    )


def figure(file: str, caption: str, label: str, wide: bool = False) -> str:
    """A figure as wide as a column, or as the page.

    Args:
        file: the picture's name; no part of it is escaped.
        caption: what it shows, as plain text.
        label: its name after `fig:`.
        wide: whether it goes over two columns.
    """
    kind, width = ("figure*", "textwidth") if wide else ("figure", "columnwidth")
    return "\n".join(
        (
            rf"\begin{{{kind}}}[t]",
            r"\centering",
            rf"\includegraphics[width=\{width}]{{{file}}}",
            rf"\caption{{{tex(caption)}}}",
            rf"\label{{fig:{label}}}",
            rf"\end{{{kind}}}",
            "",
        )
    )


def document(inputs: Sequence[str]) -> str:
    """A document of two columns that shows the files."""
    return "\n".join(
        (
            r"\documentclass[twocolumn]{article}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage{textcomp}",
            r"\usepackage{graphicx}",
            r"\usepackage{booktabs}",
            r"\begin{document}",
            *(rf"\input{{{name}}}" for name in inputs),
            r"\nocite{*}  % all of references.bib: bibtex example",
            r"\bibliographystyle{plain}",
            r"\bibliography{references}",
            r"\end{document}",
            "",
        )
    )


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"
