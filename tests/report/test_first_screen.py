"""The first screen: what it answers, to the safe side, and what it warns of."""

from dataclasses import replace

import numpy as np
import pytest

from smoothcert.certificate import Settings
from smoothcert.classifiers.from_function import from_function
from smoothcert.data.inputs import Inputs
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Irs
from smoothcert.report import overview as tables
from smoothcert.report.acceptance import claims, recorded
from smoothcert.report.axes import Axis, Chart, Mark
from smoothcert.report.card import model_card
from smoothcert.report.charts import certified_accuracy
from smoothcert.report.comparison import pairs
from smoothcert.report.curves import Curve, of_all, thinned
from smoothcert.report.head import Head, head
from smoothcert.report.naming import candidate_names, model_name
from smoothcert.report.predicted import Predicted, predicted
from smoothcert.report.tables import summarize_run
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=300)
RADII = (0.0, 0.1)


@pytest.fixture(scope="module")
def data() -> Inputs:
    """Of label 1, but for two."""
    images = np.random.default_rng(0).integers(4, 13, (40, 1, 2, 2)) / 16
    return Inputs.from_arrays(images, np.array([0, 0] + [1] * 38), 1 / 16)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """An original and a changed model, from files in folders."""
    folder = tmp_path_factory.mktemp("r")
    origin = {"model": "arch@some/folder/net.safetensors", "data": {"data": "a/b", "split": "test"}}
    base = run_certify(folder / "base", PixelSum(28), data, SETTINGS, RunOptions(origin=origin))
    origin = {**origin, "model": "some/int8.onnx"}
    new = run_recertify(
        folder / "new", base, PixelSum(29), data, Irs(100), RunOptions(origin=origin)
    )
    return base, new


def seen(runs, names=()) -> Head:
    summaries = [summarize_run(run, RADII) for run in runs]
    together = [of_all(run)[1] for run in runs]
    found = pairs(runs, summaries)
    return head(runs, summaries, together, found, [predicted(run) for run in runs], names)


def test_it_is_about_the_changed_model_and_what_it_keeps(runs):
    base, new = (summarize_run(run, RADII) for run in runs)
    first = seen(runs)
    assert (first.focus, first.title) == (1, "Certified robustness of new, compared with base")
    assert dict(first.facts) == {
        "Model": "int8.onnx, made from arch@net.safetensors",
        "Data": "b (test), 40 inputs",
        "Noise": "σ = 0.25",
        "Draws": "n = 300, n0 = 20, of the original",
        "Error": "α = 0.002 per input (original 0.001)",
    }
    robust, sure, price, kept = first.figures
    assert robust.name.endswith("up to a radius of 0.1")
    assert sure.value == f"≤ {of_all(runs[1])[1].wrong} of 40"
    assert price.value == f"{new.evaluations:,}"
    # To the safe side: less is kept, and more is paid.
    assert float(kept.value.removesuffix(" %")) <= 100 * new.acr / base.acr
    paid = float(price.note.removesuffix(" % of the original's"))
    assert paid >= 100 * new.evaluations / base.evaluations > paid - 0.1
    assert first.verdict.startswith(f"new keeps {kept.value} of the original's mean radius with")
    assert first.warnings == ()


def test_every_sentence_with_a_probability_names_its_theorem(runs):
    for figure in seen(runs).figures:
        assert "probability" not in figure.says or "docs/theory.md, section" in figure.says


def test_page_and_card_say_whether_the_targets_of_a_run_are_reached(runs, data, tmp_path):
    """Those that it was begun with, as far as they can be judged by the runs that are there."""
    base, new = runs
    assert seen(runs).gate == ()
    texts = ["acr>=0.01*base", "ca@0.1>=0.99", "ca@0.1>=<b>", 7]
    for wrong in (texts, "acr>=0.1", None):
        origin = {**new.manifest.origin, "accept": wrong}
        path = tmp_path / str(type(wrong).__name__)
        run = run_recertify(path, base, PixelSum(29), data, Irs(100), RunOptions(origin=origin))
        lines = [one.line for one in recorded(run, [base, run])]
        assert [line.partition(":")[0] for line in lines] == (
            ["accepted", "not accepted"] if wrong is texts else []
        )
        assert [line for line, _ in seen((base, run)).gate] == lines
        assert all(
            f"\n- {line.replace('*', chr(92) + '*')}" in model_card([base, run]) for line in lines
        )
        assert len(recorded(run, [run])) == len(lines[1:])  # without the original
    assert claims(recorded(run, [base])) == ""
    options = RunOptions(origin={**new.manifest.origin, "accept": texts[:1]})
    both = [
        run_recertify(tmp_path / name, base, PixelSum(29), data, Irs(100), options)
        for name in ("one", "two")
    ]
    gate = [line for line, _ in seen((base, *both)).gate]
    assert [line.partition(":")[0] for line in gate] == ["one, accepted", "two, accepted"]


def test_one_run_and_one_without_labels(runs, data, tmp_path):
    alone = seen(runs[:1])
    assert alone.title == "Certified robustness of base"
    assert "are certified of their label up to a radius of 0.1" in alone.verdict
    bare = run_certify(
        tmp_path / "bare", PixelSum(28), replace(data, labels=None), SETTINGS, RunOptions()
    )
    first = seen([bare])
    assert "label" not in first.verdict
    assert "right" not in first.figures[0].name
    assert dict(first.facts)["Model"] == "not recorded"


def test_a_collapsed_network_at_another_sigma_is_told(runs, data, tmp_path):
    """Its radii are larger, and no sentence of the page calls it better."""
    flat = from_function(lambda x: np.stack([9 + x[:, 0, 0, 0], x[:, 0, 1, 1]], 1), "flat", "1")
    other = replace(SETTINGS, sigma=0.5)
    collapsed = run_certify(tmp_path / "flat", flat, data, other, RunOptions())
    mind = seen([runs[0], collapsed], ("cat", "dog")).warnings
    assert len(mind) == 2
    assert "These runs have different noise (σ = 0.25, 0.5)" in mind[0]
    assert "flat (σ = 0.5) gives class 0 (cat) to 40 of its 40 certificates, and 2 of 40" in mind[1]
    both = [runs[0], collapsed]
    summaries = [summarize_run(run, RADII) for run in both]
    together = [of_all(run)[1] for run in both]
    table = tables.overview(both, summaries, together, (), [predicted(r) for r in both], ())
    column = table.heads.index("most frequent class")
    assert table.rows[1][2][column] == "class 0: 100 %"
    assert [row[2][table.heads.index("σ")] for row in table.rows] == ["0.25", "0.5"]


def test_what_counts_as_collapsed():
    whole = Predicted(certified=40, top=1, count=36, labelled=4, inputs=40, mixed_up=())
    assert whole.collapsed
    assert not replace(whole, count=35).collapsed
    assert not replace(whole, labelled=24).collapsed
    assert not replace(whole, certified=7, count=7).collapsed
    assert replace(whole, labelled=None).collapsed


def test_what_is_taken_for_what_is_counted(runs):
    found = predicted(runs[0])
    wrong = [
        (label, c.predicted)
        for c, label in zip(runs[0].certificates, runs[0].labels, strict=True)
        if c.predicted not in (-1, label)
    ]
    assert sum(count for *_, count in found.mixed_up) == len(wrong) > 0
    assert all(count == wrong.count((label, p)) for label, p, count in found.mixed_up)


def test_loss_is_rounded_up_and_a_gain_down(runs):
    base = summarize_run(runs[0], RADII)
    assert tables._loss(replace(base, acr=base.acr * 0.99999), base) == "0.1 %"
    assert tables._loss(replace(base, acr=base.acr * 1.0199), base) == "−1.9 %"
    assert tables._loss(base, base) == "0.0 %"
    assert tables._loss(base, None) == ""


def test_columns_stand_below_their_groups(runs):
    summaries = [summarize_run(run, RADII) for run in runs]
    together = [of_all(run)[1] for run in runs]
    found = pairs(runs, summaries)
    table = tables.overview(runs, summaries, together, found, [predicted(r) for r in runs], ())
    assert sum(count for _, count in table.groups) == len(table.heads)
    assert all(len(cells) == len(table.heads) for *_, cells in table.rows)
    start = 0
    for name, count in table.groups:
        part = table.heads[start : start + count]
        assert (name == "certified accuracy at") == (part == ("0.1",))
        start += count


def test_names_never_have_the_folders_of_files(runs):
    assert [model_name(run) for run in runs] == ["arch@net.safetensors", "int8.onnx"]


class Candidate:
    def __init__(self, name):
        self.name = name


def test_candidates_of_one_name_keep_their_endings():
    names = ["a@x.safetensors", "int8.onnx", "int8.pt2", "timm:vit"]
    found = candidate_names([Candidate(name) for name in names])  # type: ignore[misc]
    assert found == ["x", "int8.onnx", "int8.pt2", "timm:vit"]


def test_the_axis_goes_to_the_data_where_that_is_low(runs, data, tmp_path):
    high, _ = certified_accuracy(runs, ())
    assert high.y.high < 1  # 0.6 of the inputs at most
    easy = replace(data, read=lambda index: np.full((1, 2, 2), 12), labels=(1,) * 40)
    run = run_certify(tmp_path / "easy", PixelSum(28), easy, SETTINGS, RunOptions())
    assert certified_accuracy([run], ())[0].y.high == 1


def test_names_of_marks_do_not_lie_on_each_other():
    x, y = Axis("x", 1, 10, 0, 1000), Axis("y", 0, 1, 1000, 0)
    marks = tuple(Mark(f"run-{i}", i, 9.0, 0.5, "") for i in range(8))
    chart = Chart("c", "c", x, y, (), marks)
    labels = chart.labels
    assert len(labels) == 8
    assert not any(a.meets(b) for i, a in enumerate(labels) for b in labels[:i])
    assert all(label.span[0] >= 0 and label.span[1] <= 1000 for label in labels)
    assert Chart("c", "c", x, y, (), marks * 2).labels == ()


@pytest.mark.parametrize("most", [2, 7, 50])
def test_a_thinned_curve_is_nowhere_above_the_whole_one(most):
    rng = np.random.default_rng(1)
    x = np.concatenate([[0.0], np.sort(rng.random(40))])
    whole = Curve("c", x, np.linspace(1, 0, 41))
    some = thinned(whole, most)
    assert len(some.x) == min(most, 41)
    for at in rng.random(200) * x[-1]:
        mine, theirs = (c.y[np.searchsorted(c.x, at, side="left")] for c in (some, whole))
        assert mine <= theirs
