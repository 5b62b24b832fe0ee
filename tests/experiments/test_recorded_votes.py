"""The votes in experiments/results/votes: whole, of the same images, read as they were counted."""

import dataclasses

import headline
import numpy as np
import pytest
from collected_votes import CLASSES, LEVELS, ORIGINAL, SHAPE, Labels, Place, Planner, Recorded
from scipy import stats

from smoothcert.bounds import binomial
from smoothcert.certificate import Outcome, Settings, Votes
from smoothcert.methods import sequential
from smoothcert.methods.sequential import Decision
from smoothcert.sampling.answers import NO_CLASS

PLACES = Place.found(headline.VOTES)
CHANGED = [place for place in PLACES if place.network != ORIGINAL]
DRAWS = {"cifar_resnet20": (10_000, 5_000), "cifar_resnet110": (100_000, 0)}
MOST = {"fp16": 0.001, "prune30": 0.06, "prune50": 0.18}
"""Of the labels, that differ from the original's; of all other networks 4 %."""


def test_all_networks_of_the_tables_are_there():
    small = ["bf16", "fp16", "int8", "original", "prune10", "prune20", "prune5"]
    found = {}
    for place in PLACES:
        found.setdefault((place.architecture, place.sigma), []).append(place.network)
    assert found == {
        ("cifar_resnet110", 1.0): ["int8-weights", "original"],
        ("cifar_resnet20", 0.25): small,
        ("cifar_resnet20", 0.5): sorted([*small, "prune30", "prune50"]),
        ("cifar_resnet20", 1.0): small,
    }


def test_a_network_without_its_original_is_none(tmp_path):
    for name in ("a_1-0.50/original", "a_1-0.50/x", "a_1-0.50/x.npz.part", "a_1-1.00/x", "b/c/d"):
        file = tmp_path / (name if name.endswith("part") else f"{name}.npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = [(place.architecture, place.sigma, place.network) for place in Place.found(tmp_path)]
    assert found == [("a_1", 0.5, "original"), ("a_1", 0.5, "x")]


@pytest.mark.parametrize("place", CHANGED, ids=lambda place: place.title)
def test_labels_are_classes_of_the_same_images(place):
    new, old = Labels.read(place), Labels.read(place.original)
    n, fresh = DRAWS[place.architecture]
    for labels in (new, old):
        assert (labels.n0, labels.n, labels.rows.shape) == (100, n, (100, 100 + n + fresh))
        assert labels.rows.min() in (NO_CLASS, 0)
        assert labels.rows.max() == 9
        assert (labels.classes.min(), labels.classes.max()) == (0, 9)
        assert labels.indices.tolist() == list(range(0, 10_000, 100))
    assert (new.classes == old.classes).all()
    assert new.speed > 0
    # Were the difference read at another place, or not added, most labels would differ.
    assert 0 < (new.rows != old.rows).mean() < MOST.get(place.network, 0.04)


def test_labels_are_written_as_they_are_read(tmp_path):
    place = CHANGED[-1]
    for some in (place.original, place):
        Labels.read(some).write(dataclasses.replace(some, votes=tmp_path))
    copy = dataclasses.replace(place, votes=tmp_path)
    again, labels = Labels.read(copy), Labels.read(place)
    for name in ("rows", "indices", "classes"):
        assert (getattr(again, name) == getattr(labels, name)).all()
    assert (again.n0, again.n, again.speed) == (labels.n0, labels.n, labels.speed)
    assert len(list(copy.folder.iterdir())) == 2


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0])
def test_certificates_are_those_of_the_bounds(sigma):
    """The class with the most selection draws, and the limit of its estimation draws."""
    place = Place("cifar_resnet20", sigma, "prune20", headline.VOTES)
    recorded, labels = Recorded.read(place), Labels.read(place)
    certified = 0
    for row, certificate in zip(labels.rows, recorded.certification.certificates, strict=True):
        top = int(np.bincount(row[:100], minlength=10).argmax())
        votes = int((row[100:10_100] == top).sum())
        p = float(binomial.lower(votes, 10_000, 0.001))
        assert certificate.candidate == top
        radius = sigma * stats.norm.ppf(p) if p > 0.5 else 0
        assert certificate.radius == pytest.approx(radius, rel=1e-9)
        certified += certificate.radius > 0
        assert (recorded.fresh[certificate.index] == row[10_100:]).all()
    assert 30 < certified < 99


@pytest.mark.slow
def test_stored_votes_give_the_certificates_of_their_run():
    """ACR and changed labels as the run itself had them; a shifted difference would show."""
    original, new = (
        Labels.read(Place("cifar_resnet110", 1.0, name, headline.VOTES))
        for name in ("original", "int8-weights")
    )
    assert (original.rows != new.rows).mean() == 0.008425574425574426
    for network, acr in (("original", 0.37437), ("int8-weights", 0.37280)):
        whole = headline.read(network)
        radii = [c.radius for c in whole.certification.certificates]
        right = [c.predicted for c in whole.certification.certificates] == whole.classes
        assert abs(np.where(right, radii, 0).mean() - acr) < 1e-5


def test_stand_ins_come_after_the_fresh_draws_and_before_no_replayed_one():
    for place in (CHANGED[0], CHANGED[-1]):
        recorded = Recorded.read(place)
        more = recorded.with_stand_ins()
        for record in recorded.certification.records:
            index, estimation = record.certificate.index, record.votes.estimation
            fresh = len(recorded.fresh[index])
            assert fresh == DRAWS[place.architecture][1]
            assert (more.fresh[index][:fresh] == recorded.fresh[index]).all()
            assert (more.fresh[index][fresh:][:1000] == estimation[-1000:][::-1]).all()


def test_stand_ins_change_little():
    """A plan with 1 % of n asks for no more than was collected, so both are there."""
    place = Place("cifar_resnet20", 1.0, "prune20", headline.VOTES)
    base, new = Recorded.read(place.original).certification, Recorded.read(place)
    alone = dataclasses.replace(new, fresh={index: some[:0] for index, some in new.fresh.items()})
    acr, taken = [], set()
    for recorded in (new, alone.with_stand_ins()):
        records, _ = Planner(base, recorded.lookup(), 0.002).recertify("budget:10000", "joint")
        found = [r.certificate for r in records]
        right = [c.predicted for c in found] == new.classes
        acr.append(np.where(right, [c.radius for c in found], 0).mean())
        taken |= {c.method for c in found}
    assert "fresh" in taken
    assert acr[0] != acr[1]
    assert acr[1] == pytest.approx(acr[0], rel=0.005)
    with pytest.raises(LookupError, match="and 0 were collected"):
        Planner(base, alone.lookup(), 0.002).recertify("budget:10000", "joint")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "auto"])
@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_the_exact_test_keeps_budgets_and_proves_more_than_the_joint_bound(sigma, form):
    """All evaluations counted, on the networks that change most."""
    place = Place("cifar_resnet20", sigma, "prune20", headline.VOTES)
    base, new = Recorded.read(place.original).certification, Recorded.read(place)
    for budget in (3000, 20_000):
        found = {}
        for method in ("joint", "exact"):
            planner = Planner(base, new.lookup(), 0.002, form)
            records, pilot = planner.recertify(f"budget:{budget}", method)
            some = [r.certificate for r in records]
            right = [c.predicted for c in some] == new.classes
            acr = np.where(right, [c.radius for c in some], 0).mean()
            found[method] = acr, pilot + sum(c.evaluations for c in some)
        assert found["exact"][1] == pytest.approx(budget, rel=0.02)
        assert found["exact"][0] > 1.01 * found["joint"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "form", "proven", "excluded", "evaluations"),
    [
        ("selection", "binary", 39, 54, 1238),
        ("selection", "runner-up", 52, 38, 1836),
        ("selection", "auto", 52, 38, 1837),
        # As of earlier versions, whose runs are still verified.
        ("none", "binary", 39, 54, 1316),
        ("none", "runner-up", 52, 37, 2089),
        ("none", "auto", 52, 37, 2088),
    ],
)
def test_decisions_of_the_guide(prior, form, proven, excluded, evaluations):
    """The part at sigma = 1 and radius 0.5 of the figures in docs/choosing.md."""
    (place,) = [p for p in PLACES if p.title == "cifar_resnet20 sigma 1 original"]
    labels = Labels.read(place)
    settings = Settings(1.0, LEVELS, n0=labels.n0, n=10_000, form=form)
    found = [
        sequential.certificate(
            0,
            "",
            Votes(selection=row[: labels.n0], estimation=row[labels.n0 :]),
            Decision(0.5, prior=prior),
            settings,
            SHAPE,
            CLASSES,
        )
        for row in labels.rows
    ]
    outcomes = [c.outcome for c in found]
    assert outcomes.count(Outcome.CERTIFIED) == proven
    assert outcomes.count(Outcome.EXCLUDED) == excluded
    assert round(np.mean([c.evaluations for c in found])) == evaluations
