"""Dataset certificates against the runner-up, on a classifier of three classes with known truth."""

import json
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.api.screen import screen
from smoothcert.bounds import binomial
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.execution.screener import asked
from smoothcert.execution.screening_tasks import make_screener, problems_of, replay_flips
from smoothcert.methods import Reuse
from smoothcert.methods import dataset as pooled
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Pool, Screening, Verdict
from smoothcert.methods.targets import Target
from smoothcert.noise.law import Stream
from smoothcert.runs import pilots
from smoothcert.runs.bases import explore
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample
from support.known_truth import LEVELS, PixelSum, probability_above

SIGMA = 0.25
RADII = np.linspace(0, 0.6, 61)
NONE = -1


@dataclass(frozen=True)
class Bands(PixelSum):
    """Class 1 up to the second threshold, 0 up to the first, 2 above; ties in between, if asked."""

    threshold: int = 22
    top: int = 33
    tie: int | None = None

    @property
    def fingerprint(self) -> str:
        return f"bands-{self.threshold}-{self.top}-{self.tie}"

    def logits(self, images):
        total = np.rint(images * self.levels).sum(axis=(1, 2, 3))
        label = (total > self.threshold).astype(int) + (total > self.top)
        logits = np.eye(3, dtype=np.float32)[label]
        logits[total == self.tie] = 0
        return logits

    def probabilities(self, pixels) -> np.ndarray:
        one, two = (probability_above(t, pixels, SIGMA) for t in (self.threshold, self.top))
        return np.array([1 - one, one - two, two])


def bands(threshold: int, top: int, tie: int | None = None) -> Bands:
    return Bands(threshold, top=top, tie=tie)


@pytest.fixture(scope="module")
def data() -> Inputs:
    """120 inputs in the middle band, of which 60 are no majority; ten have another label."""
    images = np.full((120, 1, 2, 2), 7 / LEVELS)
    images[60:, 0, 0, 0] = 8 / LEVELS
    labels = np.ones(120, int)
    labels[:10] = 2
    return Inputs.from_arrays(images, labels, 1 / LEVELS)


ORIGINAL = Bands()


@pytest.fixture(scope="module")
def base(data):
    return smoothcert.certify(ORIGINAL, data, SIGMA, n0=100, n=4000, seed=1)


def true_radii(model: Bands, data: Inputs) -> np.ndarray:
    """What an input's probabilities say of its label; 0 where that is not ahead."""
    found = []
    for item, label in zip(data, data.labels or (), strict=True):
        p = model.probabilities(item.pixels)
        z, y = stats.norm.ppf([p[label], np.delete(p, label).max()])
        found.append(SIGMA / 2 * max(0.0, z - y))
    return np.array(found)


def test_the_world_is_one_of_runner_ups(data):
    p = [ORIGINAL.probabilities(data.item(i).pixels)[1] for i in (0, 119)]
    assert max(p) < 0.51
    assert true_radii(ORIGINAL, data)[10:].min() > 0.03


@pytest.mark.slow
@pytest.mark.parametrize("form", ["runner-up", "auto"])
@pytest.mark.parametrize("model", [Bands(), bands(23, 33), bands(22, 32), bands(23, 32)])
def test_never_more_than_the_truth(model, form, base, data):
    (c,) = screen(base, [model], data, per_input=300, radii=(0.0, 0.02), form=form)
    truth = true_radii(model, data)
    assert c.pool.form == "runner-up"
    assert (c.robust(RADII) <= (truth[:, None] > RADII).sum(axis=0)).all()
    assert 0 <= c.acr <= truth.mean()
    assert all(n.robust <= (truth > n.radius).sum() for n in c.named)


def test_it_proves_what_no_majority_allows(base, data):
    binary, other = (
        screen(base, [ORIGINAL], data, per_input=300, form=form)[0] for form in ("binary", "auto")
    )
    assert binary.certified_accuracy(0.0) == 0
    assert other.certified_accuracy(0.0) > 0.8
    assert other.acr > 0.5 * true_radii(ORIGINAL, data).mean()
    assert other.flips == ((0,) * 110,)


@pytest.mark.slow
def test_replays_the_first_draws_of_all_kinds(base, data):
    """An oracle counts from all labels of both models, some of which are no class."""
    model = bands(23, 32, 29)
    tied = smoothcert.certify(Bands(tie=30), data, SIGMA, n0=100, n=4000, seed=1)
    for original in (base, tied):
        (c,) = screen(original, [model], data, per_input=200, form="runner-up")
        seen = set()
        for index, flips in zip(c.pool.indices[::9], c.flips[0][::9], strict=True):
            old = original.records[index].votes.estimation[:200]
            request = Request(data.item(index), Stream.ESTIMATION, range(200))
            (new,) = sample(model, [request], original.settings.noise, 1, 64)
            count = 0
            for f, g in zip(old.tolist(), new.tolist(), strict=True):
                lost, gained = f == 1 != g, g not in (f, 1, NONE)
                count += lost or gained
                seen.add((f, g))
            assert flips == count
        assert {(1, NONE), (1, 2), (1, 0), (0, 0)} <= seen
    assert {(NONE, 1), (NONE, NONE)} & seen


def test_limits_are_of_the_draws_that_are_not_replayed(base, data):
    """What is replayed must choose neither limits nor inputs nor groups."""
    pool = Pool.of(base, data.labels, 0.001, "runner-up", 500)
    right = [c for c in base.certificates if c.candidate == data.labels[c.index]]
    assert (pool.matching, pool.n) == (len(right), (3500,) * pool.eligible)
    votes = base.records[pool.indices[0]].votes.estimation[500:]
    counts = np.bincount(votes, minlength=3)
    share = 0.001 / 2 / len(right)
    limits = pool.bounds(0.001)
    assert (pool.k[0], pool.others[0]) == (counts[1], max(counts[0], counts[2]))
    assert limits.lower[0] == pytest.approx(float(binomial.lower(counts[1], 3500, share)), abs=1e-9)
    upper = float(binomial.upper(pool.others[0], 3500, share))
    assert limits.upper[0] == pytest.approx(min(upper, 1 - limits.lower[0]), abs=1e-9)
    assert limits.upper[0] > upper or limits.upper[0] > 1 - limits.lower[0]  # the slack
    assert (limits.lower > limits.upper).all()
    other = [
        replace(r, votes=replace(r.votes, estimation=np.r_[np.zeros(500, int), v[500:]]))
        for r, v in ((r, r.votes.estimation) for r in base.records)
    ]
    assert (
        Pool.of(replace(base, records=tuple(other)), data.labels, 0.001, "runner-up", 500) == pool
    )


def test_groups_are_of_similar_lead(base, data):
    pool = Pool.of(base, data.labels, 0.001, "runner-up", 100)
    lead = np.array(pool.k) - np.array(pool.others)
    blocks = pool.blocks(4)
    assert len(blocks) == 4
    for low, high in pairwise(blocks):
        assert lead[low].max() <= lead[high].min()


def test_noise_and_grid_are_counted(base, data):
    """Twice the slack moves each limit by it once; off the grid, radii count from the point."""
    (c,) = screen(base, [bands(23, 33)], data, per_input=300, radii=(0.02,), form="runner-up")
    limits = c.pool.bounds(0.001)
    wider = replace(c.pool, slack=c.pool.slack + 0.001).bounds(0.001)
    assert wider.lower == pytest.approx(limits.lower - 0.001, abs=1e-12)
    assert wider.upper == pytest.approx(limits.upper + 0.001, abs=1e-12)
    facts = (c.name, c.fingerprint, c.screening)
    off = pooled.certificate(*facts, replace(c.pool, off_grid=0.004), c.flips)
    assert (off.robust(RADII) == _pooled_only(c, RADII + 0.004)).all()
    assert off.acr == pytest.approx(c.acr - 0.004 * c.pool.eligible / 120, abs=1e-9)


def _pooled_only(c: DatasetCertificate, radii) -> np.ndarray:
    return replace(c, named=()).robust(radii)


def with_selection(base, selection):
    records = tuple(
        replace(r, votes=replace(r.votes, selection=np.array(selection, np.int32)))
        for r in base.records
    )
    return replace(base, records=records)


def test_auto_looks_at_selection_votes_alone(base, data):
    two = with_selection(base, [1] * 1200 + [2] * 800)
    three = with_selection(base, [1] * 1200 + [2] * 400 + [0] * 400)
    of = [Pool.of(b, data.labels, 0.001, "auto", 100).form for b in (two, three)]
    assert of == ["binary", "runner-up"]
    swapped = tuple(
        replace(r, votes=replace(r.votes, estimation=np.zeros(4000, np.int32)))
        for r in three.records
    )
    other = replace(three, records=swapped)
    assert Pool.of(other, data.labels, 0.001, "auto", 100).form == "runner-up"


def test_the_default_is_the_form_of_the_original(base, data):
    (c,) = screen(base, [ORIGINAL], data)
    assert (c.screening.form, c.pool.form) == ("binary", "binary")
    forms = {"auto": "auto", "runner-up": "runner-up", "multiclass": "runner-up"}
    for given, expected in forms.items():
        other = replace(base, settings=replace(base.settings, form=given))
        (c,) = screen(other, [ORIGINAL], data)
        assert (c.screening.form, c.pool.form) == (expected, "runner-up")


def test_two_classes_are_binary():
    data = Inputs.from_arrays(np.full((30, 1, 2, 2), 9 / LEVELS), np.ones(30, int), 1 / LEVELS)
    base = smoothcert.certify(PixelSum(28), data, SIGMA, n0=50, n=1000)
    found = [screen(base, [PixelSum(29)], data, form=f)[0] for f in ("binary", "auto", "runner-up")]
    assert {c.pool.form for c in found} == {"binary"}
    assert len({(c.acr, c.flips, c.pool) for c in found}) == 1


def test_files_of_the_binary_form_say_nothing_new(base, data):
    """They are those of earlier versions, which are read."""
    easy = Inputs.from_arrays(np.full((30, 1, 2, 2), 7 / LEVELS), np.ones(30, int), 1 / LEVELS)
    sure = smoothcert.certify(bands(10, 60), easy, SIGMA, n0=50, n=1000)
    (c,) = screen(sure, [bands(12, 60)], easy)
    row = c.to_json()
    assert not {"form", "others"} & (set(row["screening"]) | set(row["pool"]))
    assert c.acr > 0
    assert DatasetCertificate.from_json(json.loads(json.dumps(row))) == c


@pytest.mark.slow
@pytest.mark.parametrize("form", ["runner-up", "auto"])
@pytest.mark.parametrize("accept", [None, "ca@0.01>=0.3", "ca@0.3>=0.9"])
def test_recheck_and_json(form, accept, base, data):
    models = [bands(23, 33), bands(25, 31)]
    for c in screen(base, models, data, radii=(0.02,), accept=accept, form=form):
        assert pooled.recheck(c) == c
        assert pooled.stops_when_due(c)
        row = json.loads(json.dumps(c.to_json()))
        assert (row["screening"]["form"], row["pool"]["form"]) == (form, "runner-up")
        assert DatasetCertificate.from_json(row) == c
        if accept == "ca@0.3>=0.9":
            assert c.verdict is Verdict.UNREACHABLE


def test_no_flips_are_the_best_that_can_still_happen(base, data):
    """UNREACHABLE is said only where no later counts could have proven the target."""
    rng = np.random.default_rng(0)
    screening = Screening(64, target=Target(0.02, 0.5), form="runner-up")
    pool = Pool.of(base, data.labels, screening.alpha_cache, "runner-up", 64)
    sizes = np.diff([0, *screening.rounds])
    first = [rng.binomial(size, 0.05, pool.eligible) for size in sizes[:2]]
    zeros = [np.zeros(pool.eligible, int)] * (len(sizes) - 2)
    best = pooled.certificate("", "", screening, pool, [*first, *zeros])
    assert best.acr > 0
    for rate in (0.001, 0.01, 0.1):
        later = [rng.binomial(size, rate, pool.eligible) for size in sizes[2:]]
        other = pooled.certificate("", "", screening, pool, [*first, *later])
        assert (other.robust(RADII) <= best.robust(RADII)).all()
        assert other.acr <= best.acr


def test_bad_forms_and_too_many_draws(base, data):
    with pytest.raises(InvalidInput, match="form"):
        screen(base, [ORIGINAL], data, form="multiclass")
    with pytest.raises(InvalidInput, match="the original has 4000 in all"):
        screen(base, [ORIGINAL], data, form="runner-up", per_input=4000)
    (fewer,) = screen(base, [ORIGINAL], data, form="runner-up", per_input=3999, batch_size=4096)
    assert fewer.pool.eligible == 0  # one draw proves nothing, and costs nothing
    with pytest.raises(InvalidInput, match="has counts of other classes for 0"):
        Pool(SIGMA, 0.0, 1, 1, (0,), (90,), (100,), form="runner-up")
    with pytest.raises(InvalidInput, match="more votes for two classes than votes in all"):
        Pool(SIGMA, 0.0, 1, 1, (0,), (90,), (100,), form="runner-up", others=(11,))
    with pytest.raises(InvalidInput, match="form"):
        Pool(SIGMA, 0.0, 1, 1, (0,), (90,), (100,), form="auto")


def test_tries_of_the_binary_form_are_those_of_before():
    """A ledger that knows a screening knows it still."""
    assert asked("m", Screening(100), 0).key == "f65f7600f8c1ab8e"
    others = {asked("m", Screening(100, form=form), 0).key for form in ("auto", "runner-up")}
    assert len(others | {asked("m", Screening(100), 0).key}) == 3


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    settings = Settings(SIGMA, LEVELS, n0=100, n=4000, seed=1)
    return run_certify(
        tmp_path_factory.mktemp("x") / "r", ORIGINAL, data, settings, RunOptions(256)
    )


def screened(run, data, **options):
    stage = make_screener(run, data, Screening(60, **options), 256)
    (found,) = stage.screen([stage.prepared(bands(23, 33))])
    return stage, found, (found.name, found.fingerprint, found.screening, found.pool)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["auto", "runner-up"])
def test_its_run_confirms_it(form, run, data):
    stage, found, facts = screened(run, data, form=form)
    assert list(problems_of([found], run)) == []
    assert replay_flips(found, stage, stage.prepared(bands(23, 33)), 1.0)[1] == 0
    forged = pooled.certificate(*facts, [[0] * found.pool.eligible])
    assert replay_flips(forged, stage, stage.prepared(bands(23, 33)), 1.0)[1] > 0


def test_limits_of_chosen_draws_or_another_form_are_refused(run, data):
    """All draws, those replayed included; and the form that proves more after all."""
    _, found, facts = screened(run, data, form="runner-up")
    for per_input in (0, 30):
        pool = Pool.of(run.certification(), data.labels, 0.001, "runner-up", per_input)
        flips = [[0] * pool.eligible]
        forged = pooled.certificate(*facts[:3], pool, flips)
        assert any("are not those of the base run" in p for p in problems_of([forged], run))
    other = replace(found.screening, form="binary")
    forged = pooled.certificate(*facts[:2], other, found.pool, found.flips)
    assert any("another form than was asked for" in p for p in problems_of([forged], None))


@pytest.mark.slow
def test_what_a_plan_has_shown_is_not_replayed(run, data, tmp_path):
    settings = run.identity.settings
    base = run_certify(tmp_path / "r", ORIGINAL, data, settings, RunOptions(256))
    explore(base, bands(23, 33), data, Reuse("uniform:3600", "joint"), 256)
    (name,) = pilots.shown(base)
    positions = pilots.read_pilot(base, name).votes.positions.tolist()
    first = min(int(pilots.pilot_draws(base.stored_records[p])[0].min()) for p in positions)
    make_screener(base, data, Screening(first, form="runner-up"), 256)
    with pytest.raises(
        InvalidInput, match=f"Ask for at most {first} per input, or use another form"
    ):
        make_screener(base, data, Screening(first + 1, form="runner-up"), 256)
