"""doctor: on this machine as it is, and what it says of other machines."""

import json
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import typer

import smoothcert
from smoothcert.cli import devices, installation
from smoothcert.cli.commands import doctor
from smoothcert.cli.devices import Cuda, Gpu
from smoothcert.cli.installation import State

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
LINES = [
    *PROJECT["dependencies"],
    *(
        f"{line}; extra == '{extra}'"
        for extra, lines in PROJECT["optional-dependencies"].items()
        for line in lines
    ),
]


@pytest.mark.slow
def test_this_machine_can_certify():
    done = subprocess.run(
        [sys.executable, "-m", "smoothcert", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_WAIT_POLICY": "ACTIVE"},
    )
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["version"] == smoothcert.__version__
    found = {f["about"]: f for section in report["found"].values() for f in section}
    assert found["noise"]["text"] == "the compiled kernel makes the defined bits"
    assert found["OMP_WAIT_POLICY"]["fix"] == "export OMP_WAIT_POLICY=PASSIVE"
    assert found["torch"]["state"] == "ok"
    assert found["torch"]["text"].count(metadata.version("torch"))


def test_what_each_extra_asks_for_is_read_from_the_metadata():
    required = installation.by_extra(LINES, PROJECT["optional-dependencies"])
    assert required.keys() == {"", *PROJECT["optional-dependencies"]}
    assert [str(one) for one in required[""]] == PROJECT["dependencies"]
    quant = {f"{one.name}{one.specifier}" for one in required["quant"]}
    assert quant == {"torchao>=0.18", *PROJECT["optional-dependencies"]["torch"]}
    assert {one.name for one in required["dev"]} >= {"moto", "torchao", "ray", "mkdocs-material"}


def test_what_another_platform_needs_is_not_missing():
    lines = ["a", "b; sys_platform == 'none'", "c; sys_platform == 'none' and extra == 'x'"]
    required = installation.by_extra(
        [*lines, "d (>=1); python_version > '3' and extra == 'x'"], ["x"]
    )
    assert {extra: [one.name for one in found] for extra, found in required.items()} == {
        "": ["a"],
        "x": ["d"],
    }


@pytest.fixture
def others(tmp_path, monkeypatch):
    """Installed packages that do not go together."""
    for name, version, *asked in (
        (
            "alpha",
            "1.0",
            "beta>=2",
            "gamma==1; extra == 'x'",
            "delta",
            "beta @ file:x",
            ">=no name",
        ),
        ("beta", "1.5"),
    ):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
        lines += [f"Requires-Dist: {line}" for line in asked]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)


def shown(findings) -> list[str]:
    return list(installation.lines({"": list(findings)}))[1:-1]


def test_what_is_missing_and_the_line_that_fixes_it(others):
    lines = ["alpha>=2; extra == 'one'", "gone; extra == 'two'", "beta>=1"]
    required = installation.by_extra(lines, ["one", "two"])
    assert shown(installation._extras(required)) == [
        " -- one: alpha 1.0 is not >=2",
        "    pip install 'smoothcert[one]'",
        " -- two: gone is not installed",
        "    pip install 'smoothcert[two]'",
    ]
    assert shown(installation._packages(required)) == [
        " ok beta: 1.5",
        " !  versions: alpha needs beta>=2, and 1.5 is installed",
        "    pip install -U alpha",
    ]
    broken = installation._packages(installation.by_extra(["gone>=3"], ()))
    assert shown(broken) == [" !! gone: is not installed", "    pip install 'gone>=3'"]
    assert shown(installation._packages(None))[1] == "    pip install -e ."


H200 = Gpu("cuda:0", "NVIDIA H200", 150_754_820_096, 0)


@pytest.mark.parametrize(
    ("cuda", "nvidia", "lines"),
    [
        (None, False, []),
        (
            None,
            True,
            [
                " -- cuda: there is a GPU, but torch is not installed",
                "    pip install 'smoothcert[torch]'",
            ],
        ),
        (
            Cuda("2.13.0+cpu", "", ()),
            True,
            [
                " !  cuda: there is a GPU, but torch 2.13.0+cpu is a CPU build",
                "    pip install --force-reinstall torch==2.13.0",
            ],
        ),
        (
            Cuda("2.13.0", "13.0", (), "driver too old"),
            True,
            [
                " !  cuda: torch 2.13.0 for CUDA 13.0 sees no GPU: driver too old",
                "    nvidia-smi",
            ],
        ),
        (
            Cuda("2.13.0", "13.0", ()),
            False,
            [" ok cuda: no GPU here; torch and ONNX models run on the CPU"],
        ),
        (
            Cuda("2.13.0", "13.0", (H200,)),
            True,
            [" ok cuda:0: NVIDIA H200, 140 GiB, makes the defined noise"],
        ),
        (
            Cuda("2.13.0", "13.0", (Gpu("cuda:1", "A GPU", 2**34, 7),)),
            True,
            [
                " !  cuda:1: A GPU, 16 GiB; 7 values of its noise differ from the definition",
                "    --device cpu",
            ],
        ),
    ],
)
def test_devices(cuda, nvidia, lines, monkeypatch):
    monkeypatch.setattr(devices, "onnx_providers", tuple)
    monkeypatch.setattr(devices, "saturates", lambda: None)
    assert shown(installation._devices(cuda, nvidia)) == lines


CPUS, GPUS = ("CPUExecutionProvider",), ("CUDAExecutionProvider", "CPUExecutionProvider")
BOTH = "onnxruntime and onnxruntime-gpu are both installed, and have overwritten each other's files"
REPLACE = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'smoothcert[onnx-gpu]'"


@pytest.mark.parametrize(
    ("providers", "builds", "gpu", "problem", "lines"),
    [
        (CPUS, 1, "", "", [f" ok onnxruntime: {CPUS[0]}; the CPU's is used"]),
        (GPUS, 1, "", "", [f" ok onnxruntime: {', '.join(GPUS)}; the CPU's is used"]),
        (
            CPUS,
            1,
            "cuda:0",
            "",
            [
                f" -- onnxruntime: {CPUS[0]}; without CUDA's, ONNX models do not run on cuda:0",
                f"    {REPLACE}",
            ],
        ),
        (
            GPUS,
            1,
            "cuda:0",
            "",
            [f" ok onnxruntime: {', '.join(GPUS)}; CUDA's computes on cuda:0"],
        ),
        (GPUS, 1, "cuda:0", "it fails", [" !  onnxruntime: it fails", "    --device cpu"]),
        (
            CPUS,
            2,
            "",
            "",
            [
                f" !  onnxruntime: {BOTH}",
                f"    {REPLACE}",
            ],
        ),
    ],
)
def test_onnx_runtime(providers, builds, gpu, problem, lines, monkeypatch):
    monkeypatch.setattr(devices, "onnx_problem", lambda _: problem)
    assert shown([installation._onnx(providers, devices.ONNX_BUILDS[:builds], gpu)]) == lines


def test_onnx_runtime_is_tried():
    assert devices.onnx_problem("cpu") == ""
    assert "run on cpu, cuda or cuda:N" in devices.onnx_problem("meta")
    assert devices.onnx_builds()


@pytest.mark.parametrize(("one", "other"), [devices.ONNX_BUILDS, devices.ONNX_BUILDS[::-1]])
def test_a_build_of_onnx_runtime_is_never_put_beside_the_other(one, other, monkeypatch):
    """The two have files of the same names, so the other is not called missing."""
    monkeypatch.setattr(devices, "onnx_builds", lambda: (one,))
    versions = {one: "1.32.0", "onnx": "1.23.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(installation.metadata, "version", version)
    lines = [f"{one}>=1.24; extra == 'here'", f"{other}>=1.24; extra == 'there'"]
    required = installation.by_extra([*lines, "gone; extra == 'more'"], ["here", "there", "more"])
    assert shown(installation._extras(required)) == [
        f" ok here: {one} 1.32.0",
        " -- more: gone is not installed",
        "    pip install 'smoothcert[more]'",
    ]


def test_what_this_processor_does_to_int8(monkeypatch):
    monkeypatch.setattr(devices, "cuda", lambda: None)
    from smoothcert.classifiers.integer_products import saturates

    assert devices.saturates() is saturates()
    for clipped, lines in (
        (False, [" ok int8: products are added exactly here; x86 processors without VNNI"]),
        (
            True,
            [
                " !  int8: this processor clips large sums of products (no VNNI): int8 models",
                "    smoothcert compress MODEL --to int8 ",
            ],
        ),
    ):
        assert [
            line.startswith(start)
            for line, start in zip(shown([installation._int8(clipped)]), lines, strict=True)
        ] == [True] * len(lines)


def test_the_noise_is_compared_with_its_definition():
    assert devices.compiled_noise()[0] == 0
    assert devices.torch_noise("cpu") == 0
    right = []

    def off_by_one_value(addresses, pixels):
        right.append(pixels.size)
        out = np.empty(pixels.shape, np.float32)
        from smoothcert.noise.numba_kernel import NoisyImages

        NoisyImages(devices._LAW, devices._SEED)(addresses, pixels, np.arange(len(out)), out)
        out[3, 1, 2, 3] += np.float32(1 / 255)
        return out

    assert devices._wrong(off_by_one_value) == 1


def test_broken_is_exit_code_1(monkeypatch, capsys):
    monkeypatch.setattr(devices, "compiled_noise", lambda: (5, Path()))
    with pytest.raises(typer.Exit) as end:
        doctor(False)
    assert end.value.exit_code == 1
    out = capsys.readouterr().out
    assert " !! noise: 5 values differ from the definition\n    pip install -U" in out
    assert out.endswith("Broken: see the lines that begin with !!\n")


def test_a_kernel_that_cannot_be_compiled_or_kept(monkeypatch, tmp_path):
    def fails():
        raise RuntimeError("no locator")

    monkeypatch.setattr(devices, "compiled_noise", fails)
    found = installation._noise()
    assert found.state is State.BROKEN
    assert found.text == "cannot be compiled: RuntimeError: no locator"
    monkeypatch.setattr(devices, "compiled_noise", lambda: (0, tmp_path / "gone"))
    assert installation._noise().fix == "export NUMBA_CACHE_DIR=/a/folder/of/yours"


def test_cores_of_a_container(monkeypatch):
    monkeypatch.setattr(installation, "cores", lambda: 64)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(installation, "_allowed_cores", lambda: 2.5)
    text = " !  cores: 64 of 128, but this container may use 2.5"
    assert shown(installation._machine())[1:3] == [text, "    --threads 2"]
