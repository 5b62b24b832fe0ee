"""Candidates' files, made by one process or by two."""

import math
from dataclasses import replace

import pytest
import torch

import smoothcert
from smoothcert.compress import onnx_graph
from smoothcert.compress.compress import compress
from smoothcert.errors import InvalidInput
from smoothcert.execution.processes import Processes
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.searching import making
from smoothcert.searching.journal import Journal
from smoothcert.searching.language import Candidate, Language
from smoothcert.searching.made import Workshop
from smoothcert.searching.making import Given, Making, Order

LAYERS = ("/0/Conv", "/3/Conv")
CANDIDATES = (
    Candidate("int8"),
    Candidate(("int4", "fp32")),  # of a layer that the network has not
    Candidate("onnx", shrink="prune-channels", fraction=0.1, epochs=4),
    Candidate("onnx"),
    Candidate("int4-weights", shrink="prune-channels", fraction=0.1, epochs=4),
    Candidate("int8", shrink="prune-channels", fraction=0.1, epochs=4),
)


@pytest.fixture(scope="module")
def workshop(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    calibration = smoothcert.load_inputs("digits", "train", limit=60)
    compress(models / "net.safetensors", "onnx", folder / "plain.onnx", inputs=calibration)

    def one(name, executor=None, limit=None):
        (folder / name).mkdir(exist_ok=True)
        journal = Journal(folder / name / "steps", {}, limit)
        journal.folder.mkdir(exist_ok=True)
        model, plain = str(models / "net.safetensors"), folder / "plain.onnx"
        made = Workshop(
            model, plain, folder / name, Language(LAYERS), calibration, 0.25, 0, journal
        )
        return made if executor is None else replace(made, executor=executor)

    return one


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_processes_or_threads(workshop):
    data = Given.of(workshop("one").calibration)
    found = [workshop("one"), workshop("two", Processes(data, 2, math.inf))]
    made, before = [], torch.get_num_threads()
    for each, threads in zip(found, (1, 2), strict=True):
        torch.set_num_threads(threads)
        made.append(each.make(CANDIDATES))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert [m and (m.word, m.size) for m in made[0]] == [m and (m.word, m.size) for m in made[1]]
    for one, two in zip(*made, strict=True):
        assert (one is None) == (two is None)
        assert one is None or one.file.read_bytes() == two.file.read_bytes()
    assert [m is None for m in made[0]] == [False, True, False, False, False, False]
    assert found[0].refused == found[1].refused
    assert len(found[0].refused) == 1
    assert all(each.journal.steps == len(CANDIDATES) for each in found)


@pytest.mark.slow
def test_formats_of_one_shrunk_network_are_those_of_compress_by_hand(
    workshop, models, monkeypatch, tmp_path
):
    asked = []

    def counted(source, target, out, **how):
        asked.append(target)
        return compress(source, target, out, **how)

    monkeypatch.setattr(making, "compress", counted)
    shop = workshop("shrunk")
    made = shop.make([CANDIDATES[4], CANDIDATES[5]])
    shrunk = "prune-channels:0.1+finetune:4+onnx"
    assert asked == [shrunk, "int4-weights", "int8"]
    for one in made:
        assert one.target.startswith(f"{shrunk}+")
        alone = Making.of([Order(shop.model, one.target, tmp_path / one.file.name)], 0.25, 0)
        assert replace(alone, calibration=shop.calibration).compute(0) == [[one.size, ""]]
        whole = tmp_path / f"whole-{one.file.name}"
        how = {"inputs": shop.calibration, "sigma": 0.25, "seed": 0}
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        compress(shop.model, one.target, whole, **how)
        torch.set_num_threads(before)
        onnx_graph.save(onnx_graph.without_notes(whole), whole)
        assert whole.read_bytes() == one.file.read_bytes()


@pytest.mark.slow
def test_what_is_made_is_not_made_again(workshop):
    first = workshop("again").make(CANDIDATES[3:4])

    def nothing(work, stop):
        assert work.blocks == ()
        return {}

    assert workshop("again", nothing).make(CANDIDATES[3:4]) == first


def test_nothing_is_begun_when_the_time_is_over(workshop):
    with pytest.raises(TimeIsUp):
        workshop("late", limit=TimeLimit(1e-9)).make(CANDIDATES)


def test_no_process_at_all_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="at least 1; got 0"):
        smoothcert.search(
            "base", "net.onnx", "digits", tmp_path, accept="", calibration="", workers=0
        )
