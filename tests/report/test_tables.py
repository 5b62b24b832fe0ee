"""Figures of merit, by hand and never rounded up."""

import csv
import io
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smoothcert
from smoothcert.certificate import Certificate, Outcome, Settings
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.report import tables
from smoothcert.text import ceil_to, floor_to, level, percent


def certificate(index, candidate, radius):
    outcome = Outcome.CERTIFIED if radius > 0 else Outcome.UNDECIDED
    return Certificate(
        index, "c", "rs", candidate, outcome, radius, 0.9, 0.1, 90, 100, evaluations=110
    )


CERTIFICATES = [certificate(0, 3, 0.5), certificate(1, 2, 0.4), certificate(2, 1, 0.0)]


def test_summary_by_hand():
    s = smoothcert.summarize(CERTIFICATES, [3, 3, 1], radii=(0, 0.25, 0.5, 0.51))
    assert s.acr == pytest.approx(0.5 / 3)
    assert [share for _, share in s.accuracy] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert (s.inputs, s.certified, s.labelled, s.evaluations, s.zeta) == (3, 2, True, 330, None)
    assert (s.abstained, s.wrong, s.capped, s.median) == (1, 1, 0, 0.0)


def test_the_median_is_the_lower_one_in_the_middle():
    assert smoothcert.summarize(CERTIFICATES).median == 0.4
    assert smoothcert.summarize(CERTIFICATES[:2]).median == 0.4
    assert smoothcert.summarize(CERTIFICATES[:1]).median == 0.5


def test_capped_is_where_all_draws_agree():
    first = CERTIFICATES[0]
    replayed = replace(first, method="exact", k=50, n=50, cached_k=100, cached_n=100)
    for one, capped in (
        (first, 0),
        (replace(first, k=100), 1),
        (replace(first, k=100, radius=0.0, outcome=Outcome.UNDECIDED), 0),
        (replayed, 1),
        (replace(replayed, flips=1, k=49), 0),
        (replace(replayed, cached_k=99), 0),
        (replace(replayed, method="exact-fresh", cached_k=90), 1),
        (replace(first, method="sequential", k=100), 0),
    ):
        assert smoothcert.summarize([one]).capped == capped
    assert smoothcert.summarize([replace(first, k=100)], [0]).capped == 0  # wrong


def test_without_labels_every_certificate_counts():
    s = smoothcert.summarize(CERTIFICATES)
    assert s.acr == pytest.approx(0.3)
    assert not s.labelled


def test_bad_arguments():
    with pytest.raises(InvalidInput, match="There are no certificates"):
        smoothcert.summarize([])
    with pytest.raises(InvalidInput, match="3 certificates and 1 labels"):
        smoothcert.summarize(CERTIFICATES, [1])


@given(st.floats(0, 10), st.integers(1, 8))
def test_floor_never_exceeds(value, digits):
    text = floor_to(value, digits)
    assert 0 <= Fraction(value) - Fraction(text) < Fraction(1, 10**digits)
    assert Fraction(ceil_to(value, digits)) >= Fraction(value)


@given(st.lists(st.floats(1e-12, 0.5, allow_subnormal=False), min_size=1, max_size=5))
def test_an_error_is_never_stated_smaller_than_it_is(alphas):
    stated, exact = Fraction(level(*alphas)), sum(Fraction(repr(a)) for a in alphas)
    assert min(exact, 1) <= stated <= exact * (1 + Fraction(1, 10**5))


def test_errors_in_words():
    assert level(0.002) == "0.002"
    assert level(0.1, 0.2) == "0.3"
    assert level(0.00123456444) == "0.00123457"  # 0.00123456 to the nearest
    assert level(1e-9) == "1e-09"
    assert level(0.7, 0.7) == "1"


def test_the_published_slip():
    """The 2019 script stores 0.49961 as 0.5, which claims what is not proven."""
    assert floor_to(0.49961, 3) == "0.499"
    assert percent(0.29, 100) == "29.0 %"
    assert percent(2 / 3, 3) == "66.6 %"


@pytest.fixture
def run(tmp_path, tiny_inputs, pixel_sum):
    return run_certify(
        tmp_path / "run", pixel_sum, tiny_inputs, Settings(0.25, 16, n0=20, n=500), RunOptions()
    )


def test_tsv_is_the_fields(run):
    lines = tables.tsv(run).splitlines()
    assert lines[0] == "idx\tlabel\tpredict\tradius\tcorrect\ttime\talpha"
    for line, c in zip(lines[1:], run.certificates, strict=True):
        idx, label, predict, radius, correct, time, alpha = line.split("\t")
        assert float(alpha) == 0.001
        assert (int(idx), int(label), int(predict)) == (c.index, 1, c.predicted)
        assert float(radius) <= c.radius < float(radius) + 1e-6 + (c.radius == 0)
        assert int(correct) == (c.predicted == 1)
        assert time.count(":") == 2


def test_the_fields_analysis_runs_on_it(run, tmp_path):
    """Certified accuracy as the 2019 analysis computes it from the file, with pandas."""
    pandas = pytest.importorskip("pandas")
    (tmp_path / "r.tsv").write_text(tables.tsv(run))
    frame = pandas.read_csv(tmp_path / "r.tsv", delimiter="\t")
    for radius in (0.0, 0.1, 0.2):
        theirs = (frame["correct"] & (frame["radius"] >= radius)).mean()
        ours = tables.summarize_run(run, [radius]).accuracy[0][1]
        assert theirs == pytest.approx(ours)


def test_csv_has_every_certificate_in_full_precision(run):
    rows = list(csv.DictReader(io.StringIO(tables.csv_table([run]))))
    assert len(rows) == 30
    assert [float(row["radius"]) for row in rows] == [c.radius for c in run.certificates]


def test_from_scratch_curve_is_what_shorter_runs_give(tiny_inputs, pixel_sum):
    settings = Settings(0.25, 16, n0=20, n=500)
    whole = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=500)
    votes = [record.votes for record in whole.records]
    labels = list(tiny_inputs.labels)
    curve = tables.from_scratch_curve(votes, labels, settings, tiny_inputs.shape, [50, 500])
    for acr, n in zip(curve, (50, 500), strict=True):
        shorter = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=n)
        assert acr == pytest.approx(smoothcert.summarize(shorter.certificates, labels).acr)
        # Bit by bit: the noise's slack is taken off here too.
        alone = [tables.from_scratch_curve([v], [None], settings, (1, 2, 2), [n]) for v in votes]
        assert [float(acr[0]) for acr in alone] == [c.radius for c in shorter.certificates]
    facts = (votes, labels, settings, tiny_inputs.shape)
    needed = tables.evaluations_for(float(curve[0]), *facts)
    assert 20 < needed <= 20 + 50
    assert tables.evaluations_for(9.0, *facts) is None


def test_summaries_of_replays_show_the_disparity():
    replayed = replace(CERTIFICATES[0], method="irs", zeta=0.25)
    assert smoothcert.summarize([replayed, CERTIFICATES[1]]).zeta == 0.25
