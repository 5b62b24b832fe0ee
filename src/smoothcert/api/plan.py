"""What recertifying a changed model can be expected to take and to prove, before it is paid for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from smoothcert.api.given import Kept, as_base, inputs_of
from smoothcert.api.recertify import matched
from smoothcert.certificate import Certificate, Certification
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.methods import planned as planned_method
from smoothcert.planning import planned
from smoothcert.planning.planned import Planner
from smoothcert.planning.wanted import Wanted, check_classes, method_settings
from smoothcert.sampling.prepare import prepare

POLICIES = ("budget:0.02", "budget:0.05", "budget:0.1", "retain:0.9")
"""What is planned by default."""


@dataclass(frozen=True)
class PlannedPolicy:
    """What is expected of a policy; nothing here is proven.

    Attributes:
        policy: as `recertify` takes it.
        evaluations: in all, the pilot's included.
        acr: average certified radius; an input counts if the original's class is its label.
        given: how many inputs get draws, rounded; none are spent where the aim of the policy is
            out of reach, or would take more than certifying the input from scratch.
    """

    policy: str
    evaluations: int
    acr: float
    given: int


def plan(
    base: Certification | Kept | str | Path,
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object | None = None,
    policies: Sequence[str] = POLICIES,
    *,
    alpha: float | None = None,
    batch_size: int | None = None,
) -> tuple[PlannedPolicy, ...]:
    """Estimate what `recertify` would take and prove, by policy, from a pilot on some inputs.

    The pilot evaluates selection draws, which no recertification counts, so a policy or a model
    may be chosen by what is expected (docs/theory.md, section 13).

    Args:
        base: the original's certification, its run, or the path of that.
        classifier: the changed one.
        inputs: as of `recertify`.
        policies: as of `recertify`.
        alpha: total error probability per input; twice the original's by default.
        batch_size: rows per forward pass; chosen from the input size by default.

    Returns:
        What is expected of each policy, in the given order.

    Raises:
        Mismatch: other inputs, another grid, or other classes than the original's.
        InvalidInput: a setting out of range.
        ModelError: not a usable classifier, or its rows depend on each other.

    Examples:
        >>> for one in smoothcert.plan("runs/base", "model-int8.onnx", policies=["budget:0.1"]):
        ...     acr = one.policy, one.evaluations, one.acr
    """
    base = as_base(base)
    base = matched(base, inputs := inputs_of(base, inputs))
    policies = (policies,) if isinstance(policies, str) else tuple(policies)
    wanted = Wanted(policy=policies[0] if policies else None, alpha=alpha)
    method = planned_method(method_settings(base.settings, base.method, wanted))
    assert method is not None  # the exact test
    loaded = load_classifier(classifier)  # type: ignore[arg-type]
    ready = prepare(loaded, inputs.item(0), base.settings, 0, batch_size)
    check_classes(ready.probe.num_classes, base.num_classes)
    cache = planned.Cache(base.certificates, base.records, base.settings)
    votes = planned.pilot(ready.sampler(base.settings), inputs, cache, method)
    labels = base.labels or (None,) * len(base.records)
    sigma, planner = base.settings.sigma, cache.planner(votes, method)
    return expected(planner, policies, base.certificates, labels, sigma)


def expected(
    planner: Planner,
    policies: Sequence[str],
    certificates: Sequence[Certificate],
    labels: Sequence[int | None],
    sigma: float,
) -> tuple[PlannedPolicy, ...]:
    """What a planner expects of each policy, for an original with these certificates and labels."""
    right = [label in (None, c.candidate) for c, label in zip(certificates, labels, strict=True)]
    rows, pilot = [], planner.pilot_evaluations
    for policy in policies:
        evaluations, radii, given = planner.expected(policy)
        acr = sigma * float(np.where(right, radii, 0).mean())
        rows.append(PlannedPolicy(policy, pilot + evaluations, acr, round(given.sum())))
    return tuple(rows)
