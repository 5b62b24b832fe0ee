"""Screenings that time may end: what they state after any round, by exact enumeration and in runs.

The clock is a fake one, which every batch moves.
"""

import json
from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest

import smoothcert
from smoothcert.api.screen import Unfinished, screen
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution import screener
from smoothcert.execution.screener import asked
from smoothcert.methods import dataset as pooled
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Pool, Screening, Verdict
from smoothcert.methods.standings import unfinished
from smoothcert.methods.targets import Target
from smoothcert.runs.validation import UNREADABLE
from smoothcert.sampling.time_limit import TimeLimit
from support.known_truth import LEVELS, PixelSum

THREE = (PixelSum(28), PixelSum(29), PixelSum(27))


class Clock:
    """Stands still until somebody works."""

    now = 0.0

    def __call__(self):
        return self.now

    def tick(self, count):
        self.now += count


@pytest.fixture
def clock(monkeypatch):
    """A minute is 60 evaluations."""
    found = Clock()
    monkeypatch.setattr(screener, "TimeLimit", lambda minutes: TimeLimit(minutes, found))
    return found


@pytest.fixture(scope="module")
def data() -> Inputs:
    images = np.full((60, 1, 2, 2), 9 / LEVELS)
    return Inputs.from_arrays(images, np.ones(60, int), 1 / LEVELS)


@pytest.fixture(scope="module")
def base(data):
    return smoothcert.certify(PixelSum(27), data, 0.25, n0=50, n=1000, seed=1)


HOW = {"per_input": 64, "radii": (0.1,), "batch_size": 60}


def screened(base, data, clock, minutes, resume=(), **how):
    return screen(
        base, THREE, data, **{**HOW, **how}, minutes=minutes, resume=resume, progress=clock.tick
    )


# What is stated after any round.


def limits(screening: Screening, inputs: int) -> list[list[float]]:
    """The limit of the mean flip rate after each round, by the flips so far."""
    pool = Pool(0.25, 0.0, inputs, inputs, tuple(range(inputs)), (99,) * inputs, (100,) * inputs)
    sizes = np.diff([0, *screening.rounds]).tolist()

    def limit(rounds: int, flips: int) -> float:
        rows = []
        for size in sizes[:rounds]:
            row = [min(size, max(0, flips - i * size)) for i in range(inputs)]
            flips -= sum(row)
            rows.append(row)
        return pooled.certificate("", "", screening, pool, rows).groups[0].limit

    ends = screening.rounds
    return [[limit(r + 1, s) for s in range(inputs * end + 1)] for r, end in enumerate(ends)]


def ever_wrong(screening: Screening, inputs: int, rate: Fraction, stated) -> Fraction:
    """The probability that any limit is below the rate, by recursion over the rounds."""
    right, wrong = {0: Fraction(1)}, Fraction(0)
    for size, limits_ in zip(np.diff([0, *screening.rounds]).tolist(), stated, strict=True):
        new, n = {}, size * inputs
        for flips, p in right.items():
            for x in range(n + 1):
                q = p * comb(n, x) * rate**x * (1 - rate) ** (n - x)
                new[flips + x] = new.get(flips + x, 0) + q
        below = {flips for flips in new if Fraction(limits_[flips]) < rate}
        wrong += sum(new[flips] for flips in below)
        right = {flips: p for flips, p in new.items() if flips not in below}
    return wrong


def worst(screening: Screening, inputs: int = 2) -> Fraction:
    """The largest such probability: at rates just above a limit, of few digits."""
    stated = limits(screening, inputs)
    rates = {Fraction(int(value * 1000) + 1, 1000) for some in stated for value in some}
    return max(ever_wrong(screening, inputs, r, stated) for r in sorted(rates) if r < 1)


def test_after_any_round_the_limits_hold_together(monkeypatch):
    """Exact, whatever ends it where; limits for one look, after each of several, are caught."""
    screening = Screening(16, alpha=0.4, groups=1, timed=True)
    assert (screening.rounds, screening.looks) == ((1, 2, 4, 8, 16), 5)
    share = Fraction(screening.alpha_curve)
    assert worst(screening) <= share
    monkeypatch.setattr(Screening, "looks", 1)
    assert worst(screening) > share


def test_with_time_there_are_rounds_and_looks_as_with_a_target():
    plain, target = Screening(100), Screening(100, target=Target(0.5, 0.4))
    timed = replace(plain, timed=True)
    assert (plain.rounds, plain.looks) == ((100,), 1)
    assert (timed.rounds, timed.looks) == (target.rounds, target.looks)
    with pytest.raises(InvalidInput, match="timed must be true or false; got 1"):
        Screening(100, timed=1)  # type: ignore[arg-type]


@pytest.mark.slow
def test_it_is_another_question_than_without_time(base):
    keys = {asked("m", Screening(100, timed=timed), 1).key for timed in (False, True)}
    assert len(keys) == 2
    assert asked("m", Screening(100), 1).key == "f65f7600f8c1ab8e"  # as it was


# Through the engine.


def test_candidates_get_their_rounds_in_turn(base, data, clock):
    with pytest.warns(Unfinished, match=r"0 of 3 candidates finished; .* resume= to go on") as said:
        found = screened(base, data, clock, 20.0)
    assert said[0].filename == __file__
    rounds = [len(c.flips) for c in found]
    assert max(rounds) - min(rounds) <= 1
    assert sorted(rounds, reverse=True) == rounds
    assert 0 < min(rounds) < 5
    assert clock.now <= 20 * 60 + 60
    for c in found:
        assert (c.begun, c.finished, c.verdict) == (True, False, None)
        assert pooled.recheck(c) == c
        assert DatasetCertificate.from_json(json.loads(json.dumps(c.to_json()))) == c
        assert (c.to_json()["rounds"], c.to_json()["finished"]) == (len(c.flips), False)


def test_what_goes_on_proves_what_was_never_stopped_proves(base, data, clock):
    whole = screened(base, data, clock, 1e5)
    assert not unfinished(whole)
    found, times = (), 0
    while not found or unfinished(found):
        times += 1
        assert times < 50
        with pytest.warns(Unfinished) if times < 3 else _maybe():
            found = screened(base, data, clock, 50.0, found)
    assert times > 2
    assert found == whole
    assert screened(base, data, clock, 1.0, found) == whole  # there is nothing to do
    assert len(base.tries.asked) == len({c.fingerprint for c in whole})


def _maybe():
    import warnings

    return warnings.catch_warnings(action="ignore")


def test_without_time_nothing_is_said_of_a_candidate(base, data, clock):
    with pytest.warns(Unfinished, match=r"pixel-sum-27 has 0|not begun: "):
        found = screened(base, data, clock, 5.0)
    first, *_, last = found
    assert (first.begun, last.begun) == (True, False)
    row = json.loads(json.dumps(last.to_json()))
    assert (row["acr"], row["certified_accuracy"], row["curve"], row["rounds"]) == (None, [], [], 0)
    assert DatasetCertificate.from_json(row) == last
    row["flips"] = [[0] * last.pool.eligible] * 2  # a stranger's: what they prove is computed
    assert pooled.recheck(DatasetCertificate.from_json(row)).acr > 0


def test_targets_end_it_as_ever(base, data, clock):
    how = {"accept": ["ca@0.1>=0.2", "acr>=0.01"]}
    easy = screened(base, data, clock, 1e5, **how)
    assert [c.verdict for c in easy] == [Verdict.ACCEPTED] * 3
    with pytest.warns(Unfinished):
        some = screened(base, data, clock, 10.0, accept="ca@0.1>=0.6")
    assert [v for c in some for _, v in pooled.verdicts(c)] == [c.verdict for c in some]
    assert Verdict.UNFINISHED in {c.verdict for c in some}
    (hopeless, *_) = screened(base, data, clock, 10.0, accept="ca@0.9>=0.9")
    assert (hopeless.verdict, hopeless.begun, hopeless.finished) == (
        Verdict.UNREACHABLE,
        True,
        True,
    )


def test_an_unfinished_candidate_is_right_only_where_time_may_end_it(base, data, clock):
    """The deliberately wrong variant: a screening without time that stops where it likes."""
    with pytest.warns(Unfinished):
        (c, *_) = screened(base, data, clock, 20.0)
    assert pooled.stops_when_due(c)
    untimed = replace(c.screening, timed=False)
    forged = pooled.certificate(c.name, c.fingerprint, untimed, c.pool, c.flips)
    assert pooled.recheck(forged) == forged
    assert not pooled.stops_when_due(forged)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"per_input": 32}, "has another per_input"),
        ({"radii": (0.2,), "alpha": 0.01}, "has another alpha, radii"),
        ({"accept": "ca@0.1>=0.5"}, "has another target"),
        ({"classifiers": THREE[:2]}, "has another candidates"),
        ({"classifiers": THREE[::-1]}, "fingerprint pixel-sum-28; pixel-sum has pixel-sum-27"),
    ],
)
def test_it_goes_on_with_the_same_alone(other, message, base, data, clock):
    with pytest.warns(Unfinished):
        before = screened(base, data, clock, 20.0)
    how = {**HOW, "classifiers": THREE, "base": base, **other}
    with pytest.raises(Mismatch, match=message):
        screen(inputs=data, **how, resume=before, minutes=1.0)


def test_it_does_not_go_on_with_another_original(base, data, clock):
    with pytest.warns(Unfinished):
        before = screened(base, data, clock, 20.0)
    other = smoothcert.certify(PixelSum(27), data, 0.25, n0=50, n=1000, seed=2)
    with pytest.raises(Mismatch, match="inputs and the original that it was begun on"):
        screened(other, data, clock, 1.0, before)


def test_certificates_of_two_screenings_are_not_one(base, data, clock):
    with pytest.warns(Unfinished):
        before = screened(base, data, clock, 20.0)
    odd = replace(before[2], screening=replace(before[2].screening, alpha=0.01))
    with pytest.raises(Mismatch, match="are of several screenings"):
        screened(base, data, clock, 1.0, (*before[:2], odd))


@pytest.mark.parametrize("timed", [1, "yes", None, [True]])
def test_a_strangers_word_for_time_is_refused(timed, base, data, clock):
    row = json.loads(json.dumps(screened(base, data, clock, 1e5)[0].to_json()))
    assert row["screening"]["timed"] is True
    row["screening"]["timed"] = timed
    with pytest.raises(UNREADABLE):
        DatasetCertificate.from_json(row)


def test_files_of_screenings_without_time_say_nothing_new(base, data):
    (c,) = screen(base, [PixelSum(28)], data, per_input=20)
    row = c.to_json()
    assert "timed" not in row["screening"]
    assert not {"rounds", "finished"} & set(row)


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_no_time_is_refused(minutes, base, data):
    with pytest.raises(InvalidInput, match="must be above 0"):
        screen(base, THREE, data, per_input=20, minutes=minutes)
