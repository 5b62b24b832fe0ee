"""Published logs: read as their programs write them, or refused with what is wrong."""

import numpy as np
import pytest
from scipy import special

from smoothcert.errors import InvalidInput
from smoothcert.simulation.logs import read_log, read_logs

HEAD = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
ROWS = (  # label, predict, radius
    (3, 3, 0.953),
    (8, 8, 0.12),
    (8, 1, 0.5),
    (0, -1, 0.0),
    (6, 6, 0.731),
)


def table(head=HEAD, rows=ROWS, delimiter="\t", end="\n", running=False):
    """A log of our own in one of the forms that are about."""
    lines, total = [head.replace("\t", delimiter)], 0
    for i, (label, predict, radius) in enumerate(rows):
        right = int(label == predict)
        total += right
        cells = (20 * i, label, predict, f"{radius:.3}", total if running else right, "0:00:01.5")
        lines.append(delimiter.join(map(str, cells)))
    return end.join([*lines, ""])


def written(tmp_path, text, name="sigma_0.25"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (table(), ""),
        ("\ufeff" + table(end="\r\n"), ""),
        (table(delimiter=","), ""),
        (table(delimiter=";"), ""),
        (table("original_idx\tlabel\tprediction\tcertified_radius\tcorrect\ttime"), ""),
        (table("idx\ttarget\tpred\tradius proved\tlevels_needed\ttime"), ""),
        (table("index\tLabel\tPredicted\tRadius\tis_correct\ttime"), ""),
        (table(running=True), "'correct' is a running total"),
        (table() + "CleanACC = 3/5 = 0.6 RACC = 2/5 = 0.4\n", "no row and was left out: 'CleanACC"),
        (HEAD + "\n" + "\n".join(table().split("\n")[:0:-1]), "not in the order of idx"),
        (table().replace("\t1\t0:", "\tTrue\t0:").replace("\t0\t0:", "\tFalse\t0:"), ""),
    ],
)
def test_the_same_log_in_every_form(tmp_path, text, word):
    plain = read_log(written(tmp_path, table(), "plain_sigma_0.25.tsv"))
    log = read_log(written(tmp_path, text))
    assert (log.name, log.sigma, log.draws, log.alpha) == ("sigma_0.25", 0.25, 100_000, 0.001)
    assert sorted(log.radius) == sorted(plain.radius) == [0.0, 0.12, 0.5, 0.731, 0.953]
    assert sorted(log.p) == sorted(plain.p)
    assert (log.correct.sum(), log.abstained.sum(), log.images) == (3, 1, 5)
    assert sorted(log.published.radii) == [-1, -1, 0.12, 0.731, 0.953]
    assert len(log.notes) == bool(word)
    assert all(word in note for note in log.notes)


def test_columns_may_state_sigma_n_and_alpha(tmp_path):
    lines = ["label,prediction,radius,sigma_test,N,alpha", "3,3,0.4,0.5,10000,0.01", "1,2,0.1"]
    lines[2] += ",0.5,10000,0.001"
    log = read_log(written(tmp_path, "\n".join(lines), "x.csv"))
    assert (log.sigma, log.draws, log.alpha) == (0.5, 10_000, 0.01)  # the largest alpha
    assert read_log(tmp_path / "x.csv", 0.25, 2000, 0.05).draws == 2000
    several = written(tmp_path, "\n".join(lines).replace("0.1,0.5", "0.1,0.25"), "y.csv")
    with pytest.raises(InvalidInput, match="several values in its column 'sigma', from 0.25 to 0"):
        read_log(several)
    assert read_log(several, sigma=0.5).sigma == 0.5
    with pytest.raises(InvalidInput, match="n must be at least 1 and its alpha .*; got 0 and 0.01"):
        read_log(tmp_path / "x.csv", draws=0)


@pytest.mark.parametrize(
    ("name", "sigma"),
    [
        ("noise_0.5.tsv", 0.5),
        ("noise_0.50_4067", 0.5),
        ("noise_0.25/test/sigma_0.50", 0.5),
        ("cifar10/noise_1.00/log.txt", 1.0),
    ],
)
def test_sigma_is_of_the_name_or_else_of_the_folder(tmp_path, name, sigma):
    assert read_log(written(tmp_path, table(), name)).sigma == sigma


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the columns label, .* this one with nothing"),
        ("idx\tlabel\tpredict\n1\t2\t3\n", "lacks the columns radius;.* with idx, label, predict"),
        (HEAD, "has no images below its header"),
        (f"{HEAD}\n0\t1\t1\tmuch\t1\t\n", "image 1, column 'radius'.*'much'"),
        (f"{HEAD}\n0\t1\t1\tnan\t1\t\n", "must be a number; got 'nan'"),
        (f"{HEAD}\n0\t1\t1\t0.5\n", "image 1, column 'correct'.* got ''"),
        (f"{HEAD}\n0\t1\t1\t0.5\t1\t\n20\t1\t1", "ends in the middle of a row.* Remove that line"),
        (f"{HEAD}\n0\t1\t1\t-0.5\t1\t\n", "radius -0.5; radii must be"),
        (f"{HEAD}\n0\t1\t1\t0.5\t2\t\n", "neither 0 nor 1, nor the running total"),
        (f"{HEAD}\n0\t1\t1\t0.5\t0\t\n", "image 1 has the label 1 and is predicted as 1, but.* 0"),
        (f"{HEAD}\n0\t1\t-1\t0\t1\t\n", "predicted as -1, but its column 'correct' says 1"),
        (f"{HEAD}\n7\t1\t1\t0.5\t1\t\n7\t1\t1\t0.5\t1\t\n", "image with idx 7 2 times"),
        ('label,predict,radius\n1,1,"' + "5" * 200_000 + '"\n', "is not a table: field larger"),
    ],
)
def test_bad_logs(tmp_path, text, message):
    with pytest.raises(InvalidInput, match=message):
        read_log(written(tmp_path, text))


def test_the_advice_on_a_contradicting_column_works(tmp_path):
    text = "label\tpredict\tradius\tcorrect\n1\t1\t0.5\t1\n2\t3\t0.5\t1\n"
    with pytest.raises(InvalidInput, match="image 2 .* Correct or remove that column"):
        read_log(written(tmp_path, text))
    log = read_log(written(tmp_path, text.replace("\tcorrect", "\tflag")))
    assert log.correct.tolist() == [True, False]


def test_an_abstention_with_a_radius_counts_as_one(tmp_path):
    log = read_log(written(tmp_path, f"{HEAD}\n0\t1\t-1\t0.4\t0\t\n"))
    assert log.notes[0].startswith("1 image abstained (predict below 0) and yet had a radius")
    assert (log.radius[0], log.p[0], log.correct[0]) == (0, 0.5, False)


@pytest.mark.parametrize("sigma", [0.12, 0.25, 0.5, 1.0])
def test_a_radius_above_the_cap_is_named_with_what_would_allow_it(tmp_path, sigma):
    """The largest radius of n unanimous draws fits, as its log rounds it; of more it does not."""

    def largest(draws, alpha):
        return sigma * float(special.ndtri(alpha ** (1 / draws)))

    def notes(radius, *given):
        return read_log(written(tmp_path, table(rows=[(1, 1, radius)])), sigma, *given).notes

    assert notes(largest(100_000, 0.001)) == ()  # 1.9057 is written as 1.91, which is above it
    (word,) = notes(largest(150_000, 0.001))  # as Cohen et al.'s of 2019 reach
    assert "3.9" in word and "prove at most 3.812 σ" in word
    assert "takes at least n = 150,000 or α = 0.0" in word
    alpha = float(word.split("α = ")[2].split()[0])
    assert 0.008 < alpha <= 0.01
    assert notes(largest(150_000, 0.001), 150_000) == ()
    assert notes(largest(150_000, 0.001), None, alpha) == ()
    assert notes(largest(150_000, 0.001), None, 0.8 * alpha) != ()
    (word,) = notes(sigma * 17)
    assert f"no n in use explains that: is σ = {sigma:g} right?" in word


def test_several_logs_by_a_pattern_with_different_names(tmp_path):
    for name in ("noise_0.25/sigma_0.25", "noise_0.50/sigma_0.50", "noise_1.00/sigma_0.50"):
        written(tmp_path, table(), name)
    found = read_logs([tmp_path / "noise_*/sigma_*"])
    assert [log.name for log in found] == [
        "noise_0.25/sigma_0.25",
        "noise_0.50/sigma_0.50",
        "noise_1.00/sigma_0.50",
    ]
    assert [log.sigma for log in found] == [0.25, 0.5, 0.5]
    with pytest.raises(InvalidInput, match="No file matches .*gone"):
        read_logs([tmp_path / "gone*"])
    with pytest.raises(InvalidInput, match="is named twice"):
        read_logs([tmp_path / "noise_0.25/sigma_0.25"] * 2)


def test_a_log_that_is_not_there_or_names_no_sigma(tmp_path):
    with pytest.raises(InvalidInput, match="There is no log"):
        read_log(tmp_path / "gone_sigma_0.50.tsv")
    other = written(tmp_path, table(), "log.tsv")
    with pytest.raises(InvalidInput, match="does not name its noise .*: rename it so, or give"):
        read_log(other)
    assert read_log(other, sigma=0.5).images == 5
    with pytest.raises(InvalidInput, match="sigma must be a positive number; got -1"):
        read_log(other, sigma=-1)


def test_full_precision_is_read_as_it_is(tmp_path):
    z = float(special.ndtri(0.001**1e-5))
    text = f"label\tpredict\tradius\n1\t1\t{z!r}\n"
    assert read_log(written(tmp_path, text), 1.0).notes == ()
    above = text.replace(repr(z), repr(float(np.nextafter(z, 9) + 1e-6)))
    assert "prove at most" in read_log(written(tmp_path, above), 1.0).notes[0]
