"""What is read of a processor on each system, and what of it counts as another machine."""

import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import smoothcert
from smoothcert.classifiers import hardware
from smoothcert.errors import Damaged
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.runs.store import Run
from support.known_truth import PixelSum
from support.run_files import edit

LINUX = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz
flags\t\t: fpu sse4_2 avx2 avx512f avx512_vnni
vmx flags\t: amx_tile

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: another
flags\t\t: fpu
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
MAC = """machdep.cpu.brand_string: Apple M2
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 0
"""


def processor(monkeypatch, system, text, machine="x86_64"):
    """What is found where the system says this."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", lambda self, **how: text)
    done = subprocess.CompletedProcess([], 0, text)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: done)
    return hardware._processor.__wrapped__()


def test_linux(monkeypatch):
    assert processor(monkeypatch, "Linux", LINUX) == {
        "architecture": "x86_64",
        "vendor": "GenuineIntel",
        "processor": "Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz",
        "features": ["AVX2", "AVX-512", "AVX-512 VNNI"],
    }
    found = processor(monkeypatch, "Linux", ARM, "aarch64")
    assert found["features"] == ["dot product", "i8mm"]
    assert (found["vendor"], found["processor"]) == ("0x41", "0xd40")


def test_macos(monkeypatch):
    found = processor(monkeypatch, "Darwin", MAC, "arm64")
    assert found["processor"] == "Apple M2"
    assert found["features"] == ["dot product"]
    assert found["vendor"] == "unknown"


@pytest.mark.parametrize(("system", "text"), [("Windows", LINUX), ("Linux", ""), ("Plan 9", MAC)])
def test_elsewhere_it_is_unknown(system, text, monkeypatch):
    found = processor(monkeypatch, system, text)
    assert (found["vendor"], found["processor"], found["features"]) == (
        *("unknown", "unknown"),
        ["unknown"],
    )


def test_this_machine_is_described():
    here = hardware.machine_of(PixelSum(28))
    assert {"architecture", "vendor", "processor", "features"} <= here.keys()
    assert here["processor"] in hardware.description(here)
    assert hardware.differences(here, dict(here)) == []
    gpu = {"GPU": "Name", "compute capability": "9.0", "driver": "1"}
    assert hardware.differences(here, {**here, "gpu": gpu}) == ["gpu"]
    assert hardware.description({**here, "gpu": gpu}).startswith("GPU Name, compute capability 9.0")
    assert hardware.differences(here, {**here, "threads": -1, "providers": []}) == []
    assert hardware.description({}) == "unknown (unknown, unknown)"


def test_a_gpu_of_which_torch_knows_nothing_is_unknown():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("torch knows the GPU")
    found = hardware.machine_of(replace(PixelSum(28), device="cuda:0"))
    assert found["gpu"]["GPU"] == found["gpu"]["compute capability"] == "unknown"


@pytest.mark.parametrize(
    "machine",
    [
        [],
        "x",
        {"vendor": 1.5},
        {"vendor": "x" * 10**5},
        {"features": [["x"]]},
        {"features": ["x"] * 100},
        {"features": 3.5},
        {"vendor": ["x"]},
        {"threads": True},
        {"gpu": {"name": None}},
    ],
)
def test_a_machine_of_another_form_is_refused(machine, tmp_path, tiny_inputs):
    settings = smoothcert.Settings(0.25, 16, n0=20, n=100)
    run = run_certify(tmp_path / "run", PixelSum(28), tiny_inputs, settings, RunOptions(16, 7))
    edit(run.path, lambda body: body["origin"].update(machine=machine))
    with pytest.raises(Damaged, match=r"run\.json is damaged"):
        Run.open(run.path)
