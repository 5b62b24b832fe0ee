"""What is said before a run, compared with the run."""

from dataclasses import replace

import numpy as np
import pytest

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.certificate import Settings, Votes
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution import estimate as module
from smoothcert.execution.estimate import EstimateOptions, Workers, estimated
from smoothcert.execution.runner import RunOptions, execute
from smoothcert.execution.start import RunRequest
from smoothcert.methods import SCRATCH, Sized, scratch
from smoothcert.noise.law import Stream
from smoothcert.sampling.sampler import Sampler
from smoothcert.storage.opening import open_storage
from support.known_truth import PixelSum

POLICIES = ("retain:0.95", "budget:0.3", "loss:0.02", "radius:0.2")
SETTINGS = Settings(0.25, 16, n0=50, n=3000)


@pytest.fixture
def mixed():
    """Inputs from undecided to sure for `PixelSum(28)`; the label of every sixth is wrong."""
    levels = np.random.default_rng(0).integers(4, 12, 60)
    images = np.broadcast_to(levels[:, None, None, None] / 16, (60, 1, 2, 2))
    labels = (levels > 6).astype(int) ^ (np.arange(60) % 6 == 5)
    return Inputs.from_arrays(images, labels, 1 / 16)


def found(inputs, settings=SETTINGS, **options):
    return estimated(PixelSum(28), inputs, settings, EstimateOptions(**options))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "auto"])
def test_estimates_and_runs_agree(mixed, tmp_path, form):
    settings = replace(SETTINGS, form=form)
    rows = found(mixed, settings, policies=POLICIES, block_inputs=16).policies
    assert [row.policy for row in rows] == [None, *POLICIES]
    for number, row in enumerate(rows):
        method = SCRATCH if row.policy is None else Sized(row.policy)
        options = RunOptions(block_inputs=16)
        place = open_storage(tmp_path / str(number))
        run = execute(RunRequest(place, settings, method, options=options), PixelSum(28), mixed)
        real = smoothcert.summarize(run.certificates, run.labels)
        assert row.draws.tolist() == [c.n for c in run.certificates]
        assert row.evaluations == real.evaluations
        assert row.acr == pytest.approx(real.acr, rel=0.1)
        for (radius, mine), (same, theirs) in zip(row.accuracy, real.accuracy, strict=True):
            assert radius == same
            assert mine == pytest.approx(theirs, abs=0.1)
        bytes_ = sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file())
        assert row.stored == pytest.approx(bytes_, rel=0.15)


@pytest.mark.slow
def test_only_draws_that_are_never_counted_are_evaluated(mixed, monkeypatch):
    streams, labels = set(), Sampler.labels

    def spying(self, requests, *rest, **named):
        def seen():
            for request in requests:
                streams.add(request.stream)
                yield request

        return labels(self, seen(), *rest, **named)

    monkeypatch.setattr(Sampler, "labels", spying)
    found(mixed)
    assert streams == {Stream.SELECTION}


@pytest.mark.parametrize("form", ["binary", "runner-up", "auto", "multiclass"])
@pytest.mark.parametrize("off_grid", [0.0, 0.01])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_largest_radius_is_that_of_draws_that_all_agree(form, off_grid, classes):
    settings = replace(SETTINGS, form=form, off_grid=off_grid)
    zeros = [np.zeros(count, np.int32) for count in (settings.n0, settings.n)]
    votes = Votes(*zeros)
    whole = scratch.certificate(0, "", votes, settings, (1, 2, 2), classes).radius
    assert scratch.largest_radius(settings, (1, 2, 2), classes) == whole > 0
    if form == "binary":
        limit = binomial.lower(settings.n, settings.n, settings.alpha)
        assert whole == pytest.approx(float(settings.radius(limit)), abs=1e-9)


@pytest.mark.slow
def test_a_part_of_the_inputs_stands_for_all(mixed, monkeypatch):
    """Where their selection draws would take too long."""
    whole = found(mixed, policies=("retain:0.9", "budget:0.2", "budget:40000"), block_inputs=16)
    monkeypatch.setattr(module, "_SECONDS", 0.0)
    monkeypatch.setattr(module, "_FEWEST", 20)
    part = found(mixed, policies=("retain:0.9", "budget:0.2", "budget:40000"), block_inputs=16)
    assert (whole.selected, part.selected, part.inputs) == (60, 20, 60)
    for mine, all_of_them in zip(part.policies, whole.policies, strict=True):
        assert len(mine.draws) == 60
        assert mine.evaluations == pytest.approx(all_of_them.evaluations, rel=0.25)
        assert mine.acr == pytest.approx(all_of_them.acr, rel=0.35)
        assert mine.stored == pytest.approx(all_of_them.stored, rel=0.25)


def test_workers_take_blocks_as_they_are_free():
    blocks = [3.0, 1.0, 1.0, 1.0, 2.0]
    assert Workers().seconds(0.5, blocks) == pytest.approx(8.5)
    assert Workers(2).seconds(0.0, blocks) == pytest.approx(5.0)
    assert Workers(2).seconds(1.0, blocks) == pytest.approx(6.0)
    assert Workers(100).seconds(0.5, blocks) == pytest.approx(3.5)
    assert Workers(2, 0.5).seconds(0.0, blocks) == pytest.approx(10.0)


@pytest.mark.slow
def test_policies_that_cannot_be_are_refused_or_left_out(mixed):
    few = replace(SETTINGS, n=200)
    assert "budget:0.1" not in [row.policy for row in found(mixed, few).policies]
    with pytest.raises(InvalidInput, match="smaller n0"):
        found(mixed, few, policies=("budget:0.1",))
    with pytest.raises(InvalidInput, match="uniform:5"):
        found(mixed, policies=("uniform:5",))
    margins = replace(SETTINGS, keep_margins=True)
    plain, kept = found(mixed, policies=()).policies[0], found(mixed, margins).policies
    assert [row.policy for row in kept] == [None]
    assert kept[0].stored > plain.stored + 60 * 3000 / 2


@pytest.mark.slow
def test_in_python(mixed):
    bare = replace(mixed, labels=None)
    one = smoothcert.estimate(PixelSum(28), bare, 0.25, n0=50, n=3000, policies="retain:0.9")
    two = smoothcert.estimate(PixelSum(28), mixed, 0.25, n0=50, n=3000, policies=["retain:0.9"])
    assert (one.labelled, two.labelled) == (False, True)
    assert one.policies[1].evaluations == two.policies[1].evaluations
    assert one.policies[1].acr > two.policies[1].acr
    assert two.to_json()["policies"][1]["evaluations"] == two.policies[1].evaluations
