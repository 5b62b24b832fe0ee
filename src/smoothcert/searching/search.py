"""The search: candidates made, explored on draws that nothing counts, and proven by the cache."""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from smoothcert.execution.screener import Screener
from smoothcert.files import make_folder
from smoothcert.methods import dataset as pooled
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Verdict
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared
from smoothcert.searching.explored import Explored, Explorer, share_reached
from smoothcert.searching.journal import Journal
from smoothcert.searching.language import Candidate, Language, with_word
from smoothcert.searching.made import Made, Workshop

_RUNGS = (4, 16, 64)  # selection draws of an input that a candidate is explored with
_KEPT = 0.5  # of the candidates after each rung, the cheapest that may still do


@dataclass(frozen=True, eq=False)
class Tried:
    """A candidate and what became of it.

    Attributes:
        made: the candidate.
        explored: its flips on selection draws; expected figures follow from them, no claim.
        found: its dataset certificate, at the error of its word; None if it was only explored.
    """

    made: Made
    explored: Explored
    found: DatasetCertificate | None = None

    @property
    def accepted(self) -> bool:
        """Whether all targets are proven."""
        return self.found is not None and self.found.verdict is Verdict.ACCEPTED


@dataclass(eq=False)
class Purse:
    """The evaluations that may be spent.

    Attributes:
        left: of them.
        progress: called with what is spent.
    """

    left: int
    progress: Progress | None = None

    def spend(self, count: int) -> None:
        """Take so many."""
        self.left -= count
        if self.progress is not None:
            self.progress(count)


@dataclass(frozen=True, eq=False)
class Search:
    """Candidates against one cache.

    Attributes:
        screener: inputs and counted draws; its settings are those of one candidate with all of
            alpha.
        explorer: of the same inputs.
        workshop: makes candidates.
        purse: evaluations.
        begin: called with a candidate's fingerprint and name before its first counted evaluation.
        journal: keeps what was evaluated.
        known: the candidates by their words, with what is known of them so far.
    """

    screener: Screener
    explorer: Explorer
    workshop: Workshop
    purse: Purse
    begin: Callable[[str, str], None]
    journal: Journal
    known: dict[str, Tried] = field(default_factory=dict)

    @property
    def tried(self) -> list[Tried]:
        """The candidates so far, the cheapest first."""
        return sorted(self.known.values(), key=lambda t: t.made.cost)

    @property
    def best(self) -> Tried | None:
        """The cheapest that is proven so far."""
        return next((t for t in self.tried if t.accepted), None)

    def explore(self, candidates: Sequence[Made], spend: int) -> None:
        """What selection draws say of candidates, by successive halving."""
        none = Explored.none(self.explorer.inputs)
        self.known.update({m.word: Tried(m, none) for m in candidates})
        left, floor = sorted(candidates, key=lambda m: m.cost), self.purse.left - spend
        for until in _RUNGS:
            for made in left:
                if self.purse.left - until * self.explorer.inputs < floor:
                    break
                self._more(made.word, until)
            may = [m for m in left if self.share(self.known[m.word], optimistic=True) >= 1]
            left = may[: max(3, round(len(may) * _KEPT))]

    def _more(self, word: str, until: int) -> None:
        tried = self.known[word]
        explored = self.looked_at(self.explorer, tried.made, tried.explored, until)
        self.known[word] = replace(tried, explored=explored)

    def looked_at(self, explorer: Explorer, made: Made, known: Explored, until: int) -> Explored:
        """What is known of a candidate, with each input's selection draws up to this number."""

        def look() -> list[list[int]]:
            sampler = self._prepared(made).sampler(self.screener.base.settings, self.purse.spend)
            seen = explorer.more(sampler, known, until)
            return [seen.flips.tolist(), seen.draws.tolist()]

        inputs = [source.position for source in explorer.sources]
        found = self.step(f"explored {made.target} on {inputs} until {until}", look)
        return Explored(*(np.array(each, np.int64) for each in found))

    def step(self, name: str, compute: Callable[[], Any]) -> Any:
        """A step of the journal, with the evaluations that it spent, now or when it was done."""
        before = self.purse.left

        def computed() -> Any:
            found = compute()
            return [found, before - self.purse.left]

        found, spent = self.journal.step(name, computed)
        self.purse.left = before - spent
        return found

    def _prepared(self, made: Made) -> Prepared:
        return self.screener.prepared(self.workshop.load(str(made.file)))

    def share(self, tried: Tried, optimistic: bool = False) -> float:
        """The share of its targets that it is expected to reach."""
        return share_reached(self.expected(tried, tried.explored.least if optimistic else 1.0))

    def expected(self, tried: Tried, scale: float = 1.0) -> DatasetCertificate:
        """The certificate that is expected, at flip rates times a scale."""
        screening = with_word(self.screener.screening, tried.made.word)
        return self.explorer.expected(tried.made.target, screening, tried.explored, scale)

    def prove(self) -> None:
        """Prove candidates by counted draws, upwards from the cheapest that is expected to do.

        When one is proven, cheaper ones that may do are tried downwards, until two fail. Where none
        is proven, the likeliest is certified, for a figure of what can be.
        """
        order = [t.made.word for t in self.tried if t.explored.draws.sum()]
        best = self._first(order)
        if best is None:
            rest = [w for w in order if self.known[w].found is None]
            cheaper = sorted(rest, key=lambda w: self.share(self.known[w]), reverse=True)[:1]
        else:
            open_ = (w for w in reversed(order[:best]) if self.known[w].found is None)
            cheaper = [w for w in open_ if self.share(self.known[w], optimistic=True) >= 1]
        failed = 0
        for word in cheaper:
            if failed == 2:
                break
            self.certify(word)
            failed += not self.known[word].accepted

    def improve(self, proposed: Callable[[Made], Sequence[Made]]) -> None:
        """Go on from the winner to what is next to it, until nothing cheaper is proven."""
        while (best := self.best) is not None:
            new = [m for m in proposed(best.made) if m.cost < best.made.cost]
            new = [m for m in new if m.word not in self.known]
            self.explore(new, self.purse.left // 2)
            order = [m.word for m in sorted(new, key=lambda m: m.cost)]
            if self._first([w for w in order if self.known[w].explored.draws.sum()]) is None:
                return

    def _first(self, order: Sequence[str]) -> int | None:
        """The place of the cheapest candidate that is expected to do and is proven."""
        for place, word in enumerate(order):
            if self.share(self.known[word]) < 1:
                continue
            if self.purse.left >= _RUNGS[-1] * self.explorer.inputs:
                self._more(word, _RUNGS[-1])
            if self.share(self.known[word]) >= 1:
                self.certify(word)
                if self.known[word].accepted:
                    return place
        return None

    def certify(self, word: str) -> None:
        """Prove a candidate for the data set, by rounds while it is open and there is a budget."""
        tried = self.known[word]
        ready = self._prepared(tried.made)
        sampler = ready.sampler(self.screener.base.settings, self.purse.spend)
        screening = with_word(self.screener.screening, word)
        self.begin(ready.classifier.fingerprint, tried.made.target)
        flips: list[list[int]] = []
        pool, fingerprint = self.screener.pool, ready.classifier.fingerprint
        facts = (tried.made.target, fingerprint, screening, pool, flips)
        seen, found = 0, pooled.certificate(*facts)
        for until in screening.rounds:
            if found.decided or self.purse.left < (until - seen) * pool.eligible:
                break
            name = f"counted {fingerprint} of {word} from {seen} until {until}"
            flips.append(self.step(name, partial(self.screener.flips, sampler, seen, until)))
            seen, found = until, pooled.certificate(*facts)
            self.known[word] = replace(tried, found=found)
        self.known[word] = replace(tried, found=found)


def by_sensitivity(search: Search, spend: int) -> Language:
    """The language with the layers that lose most for what 4 bits save in them first.

    Each layer alone is rounded to 4 bits and its flips on selection draws are counted, of inputs
    that selection draws choose: the language may not depend on a counted vote.
    """
    names, plain = search.workshop.language.layers, search.workshop.plain.stat().st_size
    # Apart, as the same word is another candidate in the language that comes of it.
    workshop = replace(search.workshop, folder=search.workshop.folder / "layers")
    make_folder(workshop.folder)
    explorer = Explorer.of_matching(search.screener)
    each = max(1, min(20, spend // max(1, len(names) * explorer.inputs)))
    loss: dict[str, float] = {}
    alone = [Candidate(tuple("int4" if one == name else "fp32" for one in names)) for name in names]
    for name, made in zip(names, workshop.make(alone), strict=True):
        if made is None:
            loss[name] = math.inf
            continue
        seen = search.looked_at(explorer, made, Explored.none(explorer.inputs), each)
        loss[name] = (seen.rate + 1e-6) / max(1, plain - made.size)
        made.file.unlink(missing_ok=True)  # a search that goes on has none
    shutil.rmtree(workshop.folder)
    return Language(tuple(sorted(names, key=lambda name: loss[name], reverse=True)))
