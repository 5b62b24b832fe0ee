"""A certification on one machine and its classifier on this one in; certificates of this one out.

Another machine is another program under the same name, which is what recertification is for.
"""

from collections.abc import Sequence
from pathlib import Path

from numpy.typing import ArrayLike

from smoothcert.api.given import Kept, as_base, inputs_of
from smoothcert.api.recertify import matched, recertify
from smoothcert.api.result import CertificationResult
from smoothcert.certificate import Certification, Settings
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Mismatch
from smoothcert.methods import Exact, Method
from smoothcert.planning import PricedPlanner, planned
from smoothcert.planning.planned import Planner
from smoothcert.planning.wanted import Wanted, method_settings
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import prepare
from smoothcert.watchers import bars
from smoothcert.watchers.base import Watcher

KEPT = 0.98
"""Of the original's average radius, as far as a budget is expected to keep it."""

PILOT = "budget:1"
"""The policy whose pilot chooses, the largest one."""

SHARES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)
"""The budgets that are tried, in fractions of the cached draws."""


def transfer(
    base: Certification | Kept | str | Path,
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object | None = None,
    *,
    policy: str | None = None,
    alpha: float | None = None,
    batch_size: int | None = None,
    progress: Progress | bool | None = None,
    watchers: Sequence[Watcher] = (),
) -> CertificationResult:
    """Certify on this machine a classifier that was certified on another, by its votes there.

    Processors round differently, and those without VNNI saturate sums of 8-bit products, so a
    certificate is about the classifier as one kind of machine computes it.

    Args:
        base: from `certify` or `extend` on the other machine, its run,
            from `Run.open`, or the path of that.
        classifier: the same one, loaded here.
        inputs: the same inputs; loaded again if left out, where the base says from where.
        policy: how much to spend where, see `recertify`; by default the cheapest budget that is
            expected to keep 98 % of the average radius, by selection draws alone.
        alpha: total error probability per input; twice the base's by default.
        batch_size, progress, watchers: see `certify`.

    Returns:
        Certificates of the classifier as this machine computes it.

    Raises:
        Mismatch: another classifier, which `recertify` takes; other inputs; or the base was itself
            recertified, or decided at one radius.
        InvalidInput: a setting out of range.
        ModelError: not a usable classifier, or its rows depend on each other.

    Source: docs/theory.md, section 13.
    """
    base = as_base(base)
    base = matched(base, inputs := inputs_of(base, inputs))
    loaded = load_classifier(classifier)  # type: ignore[arg-type]
    check_same(loaded, base.fingerprint, "the certification")
    if policy is None:
        method = chooser(base.settings, base.method, alpha)
        ready = prepare(loaded, inputs.item(0), base.settings, 0, batch_size)
        cache = planned.Cache(base.certificates, base.records, base.settings)
        with bars.shown(progress, "Pilot", planned.pilot_evaluations(method)) as tick:
            votes = planned.pilot(ready.sampler(base.settings, tick), inputs, cache, method)
        policy = cheapest(cache.planner(votes, method))
    return recertify(
        *(base, loaded, inputs),
        policy=policy,
        alpha=alpha,
        batch_size=batch_size,
        progress=progress,
        watchers=watchers,
    )


def check_same(classifier: Classifier, fingerprint: str, made: str) -> None:
    """Raise Mismatch unless it is the certified classifier, whatever this machine makes of it."""
    if classifier.fingerprint != fingerprint:
        raise Mismatch(
            f"{classifier.name} has the fingerprint {classifier.fingerprint}, and {made} is of a "
            f"model with {fingerprint}. A transfer is of the same file to another machine; a "
            "changed model is recertified: smoothcert recertify, with this as its base."
        )


def chooser(settings: Settings, base: Method | None, alpha: float | None) -> Exact:
    """The method whose pilot, on selection draws alone, chooses the policy."""
    found = method_settings(settings, base, Wanted(policy=PILOT, alpha=alpha))
    assert isinstance(found, Exact)
    return found


def cheapest(planner: Planner) -> str:
    """The smallest budget that is expected to keep `KEPT` of the original's average radius; half of
    its draws if none is.

    For the exact test what is expected follows from selection draws, so this may choose.
    """
    assert isinstance(planner, PricedPlanner)  # of the exact test

    def expected(share: float) -> float:
        return float(planner.expected(f"budget:{share:g}")[1].sum())

    enough = KEPT * float(planner.original(planner.settings.alpha).sum())
    return f"budget:{next((s for s in SHARES[:-1] if expected(s) >= enough), SHARES[-1]):g}"
