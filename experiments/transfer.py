"""The same file on another machine: votes moved, and what `transfer` proves there, for how much.

python experiments/transfer.py

Two parts. *Two processors*: a network of the digits as an int8 file with all 8 bits for weights, on
a processor that adds products exactly and on one that clips their sums, both emulated
(processors.py): certified on the first, transferred to the second, and there from scratch. *Known
shares of moved votes*: the collected votes of ResNet-20 and of the same network in other arithmetic
or pruned, which stand for two machines. Rows go to experiments/results/pairs/transfer.csv, the
table into docs/results-machines.md.
"""

import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from collected_votes import LookUpSampler, Place, Planner, Recorded, Shown
from markdown import percent, put, table
from numpy.typing import NDArray
from processors import Emulated
from scipy import special
from screen_forms import screened

import smoothcert
from smoothcert.api.transfer import cheapest, chooser
from smoothcert.bounds import binomial
from smoothcert.certificate import Certification, Record
from smoothcert.classifiers.onnx import OnnxClassifier
from smoothcert.classifiers.pytorch import save_weights
from smoothcert.compress import compress, int8, symmetric
from smoothcert.methods import Exact
from smoothcert.planning import planned, selection
from smoothcert.summary import correct_radii
from smoothcert.training.gaussian import train
from smoothcert.training.recipe import Recipe

HERE = Path(__file__).parent
NETWORKS = ("fp16", "bf16", "prune5")
ALPHA = 0.002
SHARE = 0.02
SMALL = f"budget:{SHARE}"
IMAGES, N, SIGMA = 100, 10_000, 0.25


@dataclass(frozen=True)
class Row:
    """One pair of machines.

    Attributes:
        moved: share of the estimation draws whose labels differ between the two.
        verdicts: images of which one machine certifies the label and the other does not.
        larger: images with a larger radius on the first machine than on the second, from scratch.
        acr: of the first machine.
        scratch: of the second machine, from as many draws.
        small: of the transfer by the policy `SMALL`.
        ceiling: at most, of any method with as many evaluations; see `ceiling`.
        screened: that a dataset certificate proves for as many, at the same alpha; None if not
            screened.
        policy: that `transfer` chose.
        cost: its evaluations with both pilots, as a share of those from scratch.
        chosen: its ACR.
    """

    pair: str
    sigma: float
    images: int
    moved: float
    verdicts: int
    larger: int
    acr: float
    scratch: float
    small: float
    ceiling: float
    screened: float | None
    policy: str
    cost: float
    chosen: float


@dataclass(frozen=True)
class Transferred:
    """A transfer: its records, its policy, and all its evaluations, those of both pilots too."""

    records: Sequence[Record]
    policy: str
    evaluations: int


def row(
    pair: str,
    there: Certification,
    here: Certification,
    labels: Sequence[int],
    transfer: Callable[[str | None], Transferred],
    pooled: float | None = None,
) -> Row:
    """All figures.

    Args:
        there: from scratch on the first machine.
        here: from scratch on the second, on the same draws.
        labels: true classes.
        transfer: to the second machine, by a policy or by the one that it chooses.
        pooled: the ACR that a dataset certificate proves.
    """
    settings, whole = there.settings, len(there.records) * (there.settings.n0 + there.settings.n)
    old, new = (np.stack([r.votes.estimation for r in c.records]) for c in (there, here))
    small, chosen = transfer(SMALL), transfer(None)
    assert small.evaluations <= SHARE * whole
    radii = np.array([correct_radii(one.certificates, labels) for one in (there, here)])
    right = radii > 0
    return Row(
        *(pair, settings.sigma, len(labels), float((old != new).mean())),
        *(int((right[0] != right[1]).sum()), int((radii[0] > radii[1]).sum())),
        *(acr(one, labels) for one in (there.records, here.records, small.records)),
        ceiling(there, right[0], SHARE * whole),
        pooled,
        chosen.policy,
        chosen.evaluations / whole,
        acr(chosen.records, labels),
    )


def acr(records: Sequence[Record], labels: Sequence[int]) -> float:
    """Average radius of certificates of the label."""
    found = correct_radii([r.certificate for r in records], labels)
    return float(np.clip(found, 0, None).mean())


def ceiling(there: Certification, right: NDArray[np.bool_], evaluations: float) -> float:
    """The ACR that no method can exceed, whatever it knows and wherever it spends evaluations.

    For limits per image that do not fall as cached votes rise, a network whose new machine loses
    nothing on m evaluations cannot have one above alpha^(1/m): a smaller probability q shows no
    loss with probability q^m, also where the old machine always votes for the class. And it may be
    the old network itself, of which the cached votes prove what they prove. The best allocation is
    bounded by its dual.
    """
    k = np.array([c.k for c in there.certificates])[right]
    known = binomial.lower(k, there.settings.n, ALPHA)[:, None]
    sizes = np.unique(np.geomspace(1, there.settings.n, 400).astype(int))
    fresh = ALPHA ** (1 / np.maximum(np.append(0, sizes), 1e-9))
    gain = np.maximum(special.ndtri(np.clip(np.minimum(known, fresh), 1e-12, None)), 0)
    # A size between two of the grid costs at least the smaller, and gains at most the larger's.
    gain = np.concatenate([gain[:, 1:], gain[:, -1:]], axis=1)
    price = np.geomspace(1e-8, 1, 400)
    best = [(gain - p * np.append(0, sizes)).max(axis=1).sum() + p * evaluations for p in price]
    return there.settings.sigma * float(min(best)) / len(there.certificates)


def collected() -> Iterator[Row]:
    """Pairs of known shares."""
    for sigma in (0.25, 0.5, 1.0):
        for network in NETWORKS:
            place = Place("cifar_resnet20", sigma, network, HERE / "results" / "votes")
            there, here = Recorded.read(place.original), Recorded.read(place).with_stand_ins()
            base = there.certification
            planner = Planner(base, here.lookup(), ALPHA)
            yield row(
                *(f"ResNet-20, float32 and {network}", base, here.certification),
                there.classes.tolist(),
                partial(looked_up, planner),
                screened_within(there, here),
            )


def screened_within(there: Recorded, here: Recorded) -> float:
    """The ACR that screening the second machine proves for at most `SHARE` of the evaluations."""
    base, per_input = there.certification, 100
    most = SHARE * len(base.records) * (base.settings.n0 + base.settings.n)
    first = screened(there, here, per_input, "binary")
    found = screened(there, here, int(per_input * most / first.evaluations), "binary")
    assert found.evaluations <= most
    return found.acr


def looked_up(planner: Planner, policy: str | None) -> Transferred:
    """`transfer` on collected votes."""
    base, pilot = planner.base, 0
    if policy is None:
        cache = planned.Cache(base.certificates, base.records, base.settings)
        method = chooser(base.settings, base.method, ALPHA)
        sampler = LookUpSampler.of(planner.lookup, base)
        votes = planned.pilot(sampler, Shown.of(base), cache, method)  # type: ignore[arg-type]
        policy, pilot = cheapest(cache.planner(votes, method)), votes.evaluations
    records, again = planner.recertify(policy, "exact")
    return Transferred(records, policy, pilot + again + spent(records))


def spent(records: Sequence[Record]) -> int:
    """Evaluations after the pilots."""
    return sum(record.certificate.evaluations for record in records)


class Served(Emulated):
    """The file on one of the two processors, under the fingerprint that it has on both."""

    @property
    def fingerprint(self) -> str:
        """Of the file."""
        return OnnxClassifier.load(self.path).fingerprint


def emulated(folder: Path) -> Row:
    """The network of the digits on two processors."""
    path, weights = folder / "int8.onnx", folder / "w.safetensors"
    data = smoothcert.load_inputs("digits", "train")
    save_weights(train(Recipe("small_cnn", SIGMA, epochs=12), data), "small_cnn", weights)
    seven = int8.pair_scales
    int8.pair_scales = lambda w, axis: symmetric.scales(w, axis, "int8")  # all 8 bits
    try:
        compress(f"small_cnn@{weights}", "int8", path, inputs=data, sigma=SIGMA)
    finally:
        int8.pair_scales = seven
    images = smoothcert.load_inputs("digits", limit=IMAGES)
    there, here = (
        smoothcert.certify(Served(path, clips), images, SIGMA, n=N) for clips in (False, True)
    )
    assert images.labels is not None
    transfer = partial(evaluated, there, path, images)
    return row("digits, exact and clipped sums", there, here, images.labels, transfer)


def evaluated(
    there: Certification, path: Path, images: smoothcert.Inputs, policy: str | None
) -> Transferred:
    """`transfer` to the processor that clips."""
    found = smoothcert.transfer(there, Served(path, saturating=True), images, policy=policy)
    method = found.method
    assert isinstance(method, Exact)
    pilots = found.pilot_evaluations
    if policy is None:  # the pilot that chose
        cache = planned.Cache(there.certificates, there.records, there.settings)
        positions = cache.pilot_positions(chooser(there.settings, there.method, ALPHA)).tolist()
        pilots += sum(len(selection.draws(there.records[p])[0]) for p in positions)
    return Transferred(found.records, method.policy, pilots + spent(found.records))


def main() -> None:
    """Write rows and table."""
    with tempfile.TemporaryDirectory() as folder:
        found = [emulated(Path(folder)), *collected()]
    with (HERE / "results" / "pairs" / "transfer.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([f.name for f in fields(Row)])
        values = ([round(v, 6) if isinstance(v, float) else v for v in astuple(r)] for r in found)
        out.writerows(values)
    heads = ["machines", "σ", "votes moved %", "other verdicts", "smaller radii", "ACR there"]
    heads += ["here, from scratch", "2 %: ACR kept %", "at most, by any method"]
    heads += ["2 %, dataset certificate", "default", "cost %", "ACR kept %"]
    lines = [
        [
            *(r.pair, f"{r.sigma:g}", percent(r.moved, 2), str(r.verdicts), str(r.larger)),
            *(f"{r.acr:.4f}", f"{r.scratch:.4f}", percent(r.small / r.acr)),
            *(percent(r.ceiling / r.acr), percent(r.screened / r.acr) if r.screened else ""),
            *(r.policy, percent(r.cost), percent(r.chosen / r.acr)),
        ]
        for r in found
    ]
    put(HERE.parent / "docs" / "results-machines.md", "transfer", table(heads, lines))


if __name__ == "__main__":
    main()
