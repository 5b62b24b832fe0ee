"""What is installed, and what is released: locks, pins and requirements agree; builds repeat."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import sbom
from lock import LOCKS, pins, unpinned
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = {pin: hashes for lock in LOCKS for pin, hashes in pins(lock).items()}
CONSTRAINTS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
]
PINNED = dict(line.split("==") for line in CONSTRAINTS)
VERSIONS = {canonicalize_name(name): version for name, version in PINNED.items()}


def required(extra: str) -> set[Requirement]:
    """What an extra asks for, with those that it includes."""
    found = set(map(Requirement, EXTRAS[extra]))
    own = {r for r in found if r.name == "smoothcert"}
    return (found - own).union(*(required(e) for r in own for e in r.extras))


def test_every_requirement_is_pinned_to_a_version_it_allows():
    asked = set(map(Requirement, PROJECT["dependencies"])).union(*map(required, EXTRAS))
    for requirement in asked:
        # torchvision must be the build for the torch at hand. ONNX Runtime for GPUs was not run
        # yet, and constraints.txt says what was.
        if requirement.name not in ("torchvision", "onnxruntime-gpu"):
            assert VERSIONS[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_two_builds_of_onnx_runtime_are_never_asked_for_together():
    """They have the same files, so the one installed last would break the other."""
    for extra in EXTRAS:
        names = {requirement.name for requirement in required(extra)}
        assert not {"onnxruntime", "onnxruntime-gpu"} <= names, extra
    builds = {"onnx": "onnxruntime", "onnx-gpu": "onnxruntime-gpu"}
    for extra, build in builds.items():
        assert build in {requirement.name for requirement in required(extra)}


def test_locks_and_constraints_name_the_same_versions():
    assert len(VERSIONS) == len(CONSTRAINTS)
    for pin in LOCKED:
        name, version = pin.split("==")
        assert VERSIONS[name] == version.removesuffix("+cpu"), pin
    assert {"torch==2.13.0", "torch==2.13.0+cpu"} <= LOCKED.keys()
    assert unpinned([f"{pin} \\\n" for pin in LOCKED if "+cpu" not in pin]) == []
    assert unpinned(["numpy==0.1 \\\n"]) == ["numpy==0.1"]


def test_every_entry_has_a_hash_and_no_address():
    assert all(LOCKED.values())
    for lock in LOCKS:
        text = lock.read_text()
        assert len(re.findall(r"^[^\s#]", text, re.MULTILINE)) == len(pins(lock))
        assert not re.search(r"://|@ |--(extra-)?index|file:|\.\./", text)


def test_whatever_the_development_extra_needs_here_is_locked():
    """Walks what is installed, which the locks were not made from."""
    roots = set(map(Requirement, PROJECT["dependencies"])) | required("dev")
    queue = [(canonicalize_name(r.name), frozenset(r.extras)) for r in roots]
    names, seen = {pin.split("==")[0] for pin in LOCKED}, set()
    while queue:
        here = queue.pop()
        assert here[0] in names, f"{here[0]} is in no lock: run .ci/lock.py"
        if here in seen:
            continue
        seen.add(here)
        try:
            found = sbom.wanted(*here)
        except PackageNotFoundError:
            pytest.skip(f"{here[0]} is not installed: install the extra dev")
        queue += [(canonicalize_name(r.name), frozenset(r.extras)) for r in found]
    assert len(seen) > 60


def test_ci_installs_from_the_locks_alone():
    script = (ROOT / ".ci" / "run").read_text()
    before, after = script.split("export PIP_NO_INDEX=1 PIP_FIND_LINKS=.venv-wheels")
    assert "pip download -q --require-hashes --no-deps --only-binary :all:" in before
    assert all(f"fetch {lock.name}" in before for lock in LOCKS)
    assert 'bash -c "$command"' in after


def test_a_file_with_another_hash_is_refused(tmp_path):
    """pip's own doing, which CI rests on; the file is a wheel made here, so nothing is fetched."""
    with zipfile.ZipFile(tmp_path / "thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\n")
    (tmp_path / "a.lock").write_text(f"thing==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-index", "--find-links", tmp_path]
    command += ["--require-hashes", "--no-deps", "-d", tmp_path / "new", "-r", tmp_path / "a.lock"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not list(tmp_path.glob("new/*"))


@pytest.fixture(scope="module")
def builds(tmp_path_factory) -> list[Path]:
    """Two builds of the tree as it is, from copies that differ in path, times and permissions."""
    pytest.importorskip("hatchling")
    made = []
    for name, mode in (("one", 0o600), ("two/longer/path", 0o664)):
        copy = tmp_path_factory.mktemp("build") / name
        unwanted = shutil.ignore_patterns(".*venv*", ".git", "__pycache__", ".*_cache", "dist")
        shutil.copytree(ROOT, copy, ignore=unwanted)
        for file in copy.rglob("*.py"):
            file.chmod(mode)
            os.utime(file, (mode, mode))
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel"],
            cwd=copy,
            check=True,
            capture_output=True,
            env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
        )
        made.append(copy / "dist")
    return made


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(builds):
    one, two = ({f.name: f.read_bytes() for f in folder.iterdir()} for folder in builds)
    assert one == two
    assert [Path(name).suffix for name in sorted(one)] == [".whl", ".gz"]


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(builds):
    (file,) = builds[0].glob("*.whl")
    with zipfile.ZipFile(file) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    there = {p.relative_to(source).as_posix() for p in (source / "smoothcert").rglob("*.*")}
    assert names == {name for name in there if "__pycache__" not in name}


@pytest.mark.slow
def test_the_sdist_holds_what_its_tests_need(builds):
    (file,) = builds[0].glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {".ci/run", ".ci/requirements.lock", "SECURITY.md", "tests/test_supply.py"} <= names
    assert not any("__pycache__" in name or ".venv" in name for name in names)


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel(builds, tmp_path):
    (sdist,) = builds[0].glob("*.tar.gz")
    (wheel,) = builds[0].glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=folder,
        check=True,
        capture_output=True,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
    )
    (again,) = folder.glob("dist/*.whl")
    assert again.read_bytes() == wheel.read_bytes()


@pytest.fixture(scope="module")
def installed(builds, tmp_path_factory) -> Path:
    """The wheel as pip installs it, in a folder of its own."""
    site = tmp_path_factory.mktemp("installed")
    (wheel,) = builds[0].glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", site, wheel], check=True, capture_output=True)
    return site


@pytest.mark.slow
def test_the_installed_wheel_works_from_end_to_end(installed, tmp_path):
    """Its command, its weights, its page's template, and types; nothing comes from the source."""
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3, 32, 32)), y=np.zeros(2, int))
    path = os.pathsep.join([str(installed), os.environ["PYTHONPATH"]])

    def said(*command) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        return done.stdout

    smoothcert = installed / "bin" / "smoothcert"
    assert said(smoothcert, "--version") == f"smoothcert {PROJECT['version']}\n"
    model = ("cifar_resnet20@pretrained-0.50", "--data", "x.npz", "--sigma", "0.5")
    said(smoothcert, "certify", *model, "--n0", "10", "--n", "50", "--out", "run")
    said(smoothcert, "report", "run", "--out", "report")
    assert "<html" in (tmp_path / "report" / "index.html").read_text()
    assert (installed / "smoothcert" / "py.typed").is_file()
    look = "from smoothcert.cli import verification, installation; import sys; "
    look += "print(*[m.__file__ for n, m in "
    look += "sys.modules.items() if n.partition('.')[0] == 'smoothcert'], sep='\\n')"
    files = said("-c", look).splitlines()
    assert len(files) > 50
    assert all(file.startswith(str(installed)) for file in files)


@pytest.mark.slow
def test_the_bill_of_materials_is_what_is_installed_and_locked(builds):
    try:
        bill = sbom.bill(builds[0])
    except PackageNotFoundError as error:
        pytest.skip(f"the extra all is not installed: {error}")
    libraries = {c["name"]: c for c in bill["components"] if c["type"] == "library"}
    for name, component in libraries.items():
        assert component["version"] == distribution(name).version
        (files,) = component["externalReferences"]
        assert [h["content"] for h in files["hashes"]] == [
            *LOCKED[f"{name}=={component['version']}"]
        ]
        assert component["licenses"], name
    scopes = {c["scope"] for n, c in libraries.items() if n in ("numpy", "llvmlite")}
    assert scopes == {"required"}
    assert libraries["torch"]["scope"] == "optional"
    assert not {"pytest", "ruff", "hatchling"} & libraries.keys()
    references = {c["bom-ref"] for c in bill["components"]}
    depended = {on for node in bill["dependencies"] for on in node["dependsOn"]}
    assert depended <= references
    assert {f["url"] for f in bill["metadata"]["component"]["externalReferences"]} == {
        f.name for f in builds[0].iterdir()
    }


def test_what_no_lock_names_is_in_no_bill():
    with pytest.raises(SystemExit, match="which no lock names"):
        sbom.component("numpy", "required", {"numpy==0.1": ()})
