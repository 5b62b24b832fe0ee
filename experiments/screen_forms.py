"""What `screen --form auto` proves beside `binary`, on collected votes.

python experiments/screen_forms.py

No network is run. For every changed network it writes what one screening proves in either form, at
radii that were named in advance, to screen_forms.csv.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from collected_votes import ORIGINAL, LookUpSampler, Place, Recorded, Shown
from markdown import put, table
from tables import options, write_csv

from smoothcert.execution.screener import Screener, sources
from smoothcert.methods import dataset as pooled
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Pool, Screening

ALPHA = 0.002
PER_INPUT = (100, 300)
RADII = (0.0, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Images(Shown):
    """The collected images by the numbers that a screening names."""

    @property
    def indices(self) -> tuple[int, ...]:
        """As of `Inputs`."""
        return tuple(item.index for item in self.items)


def screened(old: Recorded, new: Recorded, per_input: int, form: str) -> DatasetCertificate:
    """One candidate, as `screen` has it."""
    base, screening = old.certification, Screening(per_input, ALPHA, RADII, form=form)
    share, images = screening.alpha_cache, Images(Shown.of(base).items)
    pool = Pool.of(base, old.classes.tolist(), share, form, per_input)
    found = sources(base, images, pool, per_input)  # type: ignore[arg-type]
    screener = Screener(base, images, screening, pool, found)  # type: ignore[arg-type]
    sampler, flips, seen = LookUpSampler.of(new.lookup(), base), [], 0
    for until in screening.rounds:
        flips.append(screener.flips(sampler, seen, until))
        seen = until
    return pooled.certificate(new.certification.model, "", screening, pool, flips)


def rows(places: list[Place]) -> Iterator[dict]:
    """One for each changed network, number of draws and form."""
    for place in places:
        if place.network == ORIGINAL:
            continue
        old, new = Recorded.read(place.original), Recorded.read(place)
        facts = {"architecture": place.architecture, "sigma": place.sigma, "network": place.network}
        for per_input in PER_INPUT:
            for form in ("binary", "auto"):
                c = screened(old, new, per_input, form)
                yield facts | {
                    "per_input": per_input,
                    "form": form,
                    "evaluations": c.evaluations,
                    "acr": f"{c.acr:.4f}",
                    **{f"ca {r:g}": f"{c.certified_accuracy(r):.2f}" for r in RADII},
                }
        print(place.title, flush=True)


def text(found: list[dict]) -> str:
    """What all of them come to."""
    pairs = list(zip(found[::2], found[1::2], strict=True))
    lines = []
    for sigma in sorted({binary["sigma"] for binary, _ in pairs}):
        some = [(b, a) for b, a in pairs if b["sigma"] == sigma]
        gains = [float(a["acr"]) / float(b["acr"]) for b, a in some]
        less = sum(float(a[f"ca {r:g}"]) < float(b[f"ca {r:g}"]) for b, a in some for r in RADII)
        between = f"{min(gains):.3f} to {max(gains):.3f}"
        places = f"{less} of {len(some) * len(RADII)}"
        lines.append([f"{sigma:g}", f"{np.median(gains):.3f}", between, places])
    head = ["σ", "ACR, auto / binary", "from, to", "places with a smaller certified accuracy"]
    return table(head, lines)


def main() -> None:
    """Write the rows, and the table of the page."""
    given = options(__doc__).parse_args()
    found = list(rows(Place.found(given.votes)))
    write_csv(given.results / "pairs", "screen_forms", found)
    put(given.docs / "results-bounds.md", "screen forms", text(found))


if __name__ == "__main__":
    main()
