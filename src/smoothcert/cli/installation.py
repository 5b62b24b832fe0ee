"""What is installed, what computes here, and what would fix what does not work: findings."""

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from smoothcert.cli import devices
from smoothcert.cli.devices import Cuda, Gpu
from smoothcert.cores import cores
from smoothcert.errors import ONNX_FOR_GPUS
from smoothcert.version import __version__

NAME = "smoothcert"


class State(StrEnum):
    """Fine; optional and not installed; could be better; required and broken."""

    OK = "ok"
    MISSING = "missing"
    WARNING = "warning"
    BROKEN = "broken"


_MARKS = {State.OK: "ok", State.MISSING: "--", State.WARNING: "! ", State.BROKEN: "!!"}
_PASSIVE = "PASSIVE"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: its name, in a word or two.
        text: what was found.
        state: how that is.
        fix: the command to type; empty if nothing is wrong.
    """

    about: str
    text: str
    state: State = State.OK
    fix: str = ""


def examine() -> Mapping[str, Sequence[Finding]]:
    """All findings, by section."""
    try:
        required = our_requirements()
    except metadata.PackageNotFoundError:
        required = None
    gpus = devices.cuda()
    return {
        f"smoothcert {__version__}": [*_packages(required), _noise()],
        "This machine": [*_machine(), *_devices(gpus, devices.has_nvidia())],
        "Extras": list(_extras(required or {})),
    }


def lines(found: Mapping[str, Sequence[Finding]]) -> Iterator[str]:
    """Lines of text, short enough for a narrow terminal."""
    for section, findings in found.items():
        yield section
        for finding in findings:
            yield f" {_MARKS[finding.state]} {finding.about}: {finding.text}"
            if finding.fix:
                yield f"    {finding.fix}"
        yield ""


def our_requirements() -> Mapping[str, tuple[Requirement, ...]]:
    """What the installed distribution requires; see `by_extra`.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    found = metadata.distribution(NAME)
    return by_extra(found.requires or (), found.metadata.get_all("Provides-Extra") or ())


def by_extra(lines: Iterable[str], extras: Iterable[str]) -> Mapping[str, tuple[Requirement, ...]]:
    """What each extra requires here, by its name; what is always required under the empty name.

    Args:
        lines: of Requires-Dist.
        extras: the names of all extras.
    """
    every = [Requirement(line) for line in lines]
    always = [r for r in every if r.marker is None or r.marker.evaluate({"extra": ""})]
    found: dict[str, list[Requirement]] = {"": always}
    for extra in extras:
        chosen = (r for r in every if r.marker and r.marker.evaluate({"extra": extra}))
        found[extra] = [r for r in chosen if r not in always]
    return {extra: tuple(_with_included(extra, found)) for extra in found}


def _with_included(extra: str, found: Mapping[str, Sequence[Requirement]]) -> Iterator[Requirement]:
    """The requirements of an extra and of the extras that it includes, each package once."""
    seen: set[str] = set()
    queue = [extra]
    while queue:
        for required in found.get(queue.pop(0), ()):
            if required.name == NAME:
                queue += sorted(required.extras)
            elif required.name not in seen:
                seen.add(required.name)
                yield required


@dataclass(frozen=True)
class Package:
    """A requirement and what is installed of it.

    Attributes:
        required: the requirement.
        version: what is installed, or None.
    """

    required: Requirement
    version: str | None

    @staticmethod
    def find(required: Requirement) -> "Package":
        """Look it up."""
        try:
            return Package(required, metadata.version(required.name))
        except metadata.PackageNotFoundError:
            return Package(required, None)

    @property
    def satisfied(self) -> bool:
        """Whether a required version is installed."""
        specifier = self.required.specifier
        return self.version is not None and specifier.contains(self.version, prereleases=True)

    @property
    def text(self) -> str:
        """The version, or what is wrong."""
        if self.version is None:
            return "is not installed"
        return (
            self.version if self.satisfied else f"{self.version} is not {self.required.specifier}"
        )


def _for_pip(required: Requirement) -> str:
    return f"{required.name}{required.specifier}"


def conflicts(requirements: Mapping[str, Sequence[Requirement]]) -> list[str]:
    """Which requirements of installed packages are not met, as of a torchvision for another torch.

    Only those that hold on every platform and name a version.
    """
    found: list[str] = []
    for name in sorted({one.name for group in requirements.values() for one in group}):
        for asked in _requirements_of(name):
            if asked.marker is None and asked.url is None and asked.specifier:
                package = Package.find(asked)
                if package.version is not None and not package.satisfied:
                    wanted = f"{name} needs {_for_pip(asked)}"
                    found.append(f"{wanted}, and {package.version} is installed")
    return found


def _requirements_of(name: str) -> Iterator[Requirement]:
    """Of an installed package, without those that are not well-formed."""
    with suppress(metadata.PackageNotFoundError):
        for line in metadata.requires(name) or ():
            with suppress(InvalidRequirement):
                yield Requirement(line)


def _packages(required: Mapping[str, Sequence[Requirement]] | None) -> Iterator[Finding]:
    if required is None:
        text = "not installed but run from its source, so its extras are not known"
        yield Finding("package", text, State.WARNING, "pip install -e .")
        return
    for one in required[""]:
        package, fix = Package.find(one), f"pip install '{_for_pip(one)}'"
        state, fix = (State.OK, "") if package.satisfied else (State.BROKEN, fix)
        yield Finding(one.name, package.text, state, fix)
    for text in conflicts(required):
        fix = f"pip install -U {text.partition(' ')[0]}"
        yield Finding("versions", text, State.WARNING, fix)


def _noise() -> Finding:
    """Whether the compiled kernel makes the defined bits, and where it is kept."""
    try:
        wrong, folder = devices.compiled_noise()
    except Exception as error:  # noqa: BLE001 - a compiler's, of any kind
        text = f"cannot be compiled: {type(error).__name__}: {error}"
        return Finding("noise", text, State.BROKEN, "pip install -U --force-reinstall numba")
    if wrong:
        text = f"{wrong} values differ from the definition"
        return Finding("noise", text, State.BROKEN, "pip install -U --force-reinstall numba")
    if folder is None or not os.access(folder, os.W_OK):
        text = "right, but compiled again each time: no cache folder can be written"
        return Finding("noise", text, State.WARNING, "export NUMBA_CACHE_DIR=/a/folder/of/yours")
    return Finding("noise", "the compiled kernel makes the defined bits")


def _machine() -> Iterator[Finding]:
    system = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("Python", system)
    seen, there = cores(), os.cpu_count()
    text = f"{seen}" if seen == there else f"{seen} of {there}"
    if (allowed := _allowed_cores()) is not None and allowed < seen:
        text += f", but this container may use {allowed:g}"
        yield Finding("cores", text, State.WARNING, f"--threads {max(1, round(allowed))}")
    else:
        yield Finding("cores", text)
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Finding("memory", f"{memory / 2**30:.1f} GiB")
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    if policy.upper() != _PASSIVE:  # the command line sets it where it is not set
        text = f"{policy}: threads of torch spin while they wait"
        fix = f"export OMP_WAIT_POLICY={_PASSIVE}"
        yield Finding("OMP_WAIT_POLICY", text, State.WARNING, fix)


def _allowed_cores() -> float | None:
    """How many cores a container may use; None without a limit."""
    try:
        quota, _, period = Path("/sys/fs/cgroup/cpu.max").read_text().partition(" ")
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _devices(cuda: Cuda | None, nvidia: bool) -> Iterator[Finding]:
    if cuda is None:
        if nvidia:
            text = "there is a GPU, but torch is not installed"
            yield Finding("cuda", text, State.MISSING, "pip install 'smoothcert[torch]'")
    elif cuda.gpus:
        yield from map(_gpu, cuda.gpus)
    elif cuda.built_for and nvidia:
        text = f"torch {cuda.torch} for CUDA {cuda.built_for} sees no GPU: {cuda.problem}"
        yield Finding("cuda", text, State.WARNING, "nvidia-smi")
    elif nvidia:
        text = f"there is a GPU, but torch {cuda.torch} is a CPU build"
        fix = f"pip install --force-reinstall torch=={cuda.torch.partition('+')[0]}"
        yield Finding("cuda", text, State.WARNING, fix)
    else:
        yield Finding("cuda", "no GPU here; torch and ONNX models run on the CPU")
    if providers := devices.onnx_providers():
        gpu = cuda.gpus[0].name if cuda and cuda.gpus else ""
        yield _onnx(providers, devices.onnx_builds(), gpu)
    if (clipped := devices.saturates()) is not None:
        yield _int8(clipped)


def _onnx(providers: Sequence[str], builds: Sequence[str], gpu: str) -> Finding:
    """Where ONNX models run."""
    there = ", ".join(providers)
    if len(builds) > 1:
        text = f"{' and '.join(builds)} are both installed, and have overwritten each other's files"
        return Finding("onnxruntime", text, State.WARNING, ONNX_FOR_GPUS)
    if not gpu:
        return Finding("onnxruntime", f"{there}; the CPU's is used")
    if "CUDAExecutionProvider" not in providers:
        text = f"{there}; without CUDA's, ONNX models do not run on {gpu}"
        return Finding("onnxruntime", text, State.MISSING, ONNX_FOR_GPUS)
    if problem := devices.onnx_problem(gpu):
        return Finding("onnxruntime", problem, State.WARNING, "--device cpu")
    return Finding("onnxruntime", f"{there}; CUDA's computes on {gpu}")


def _int8(clipped: bool) -> Finding:
    if not clipped:
        text = "products are added exactly here; x86 processors without VNNI clip large sums"
        return Finding("int8", text)
    text = (
        "this processor clips large sums of products (no VNNI): int8 models give other labels here "
        "than elsewhere, unless they are made by"
    )
    fix = "smoothcert compress MODEL --to int8 --data DATA --sigma SIGMA --out OUT.onnx"
    return Finding("int8", text, State.WARNING, fix)


def _gpu(gpu: Gpu) -> Finding:
    text = f"{gpu.model}, {gpu.memory / 2**30:.0f} GiB"
    if gpu.wrong:
        text += f"; {gpu.wrong} values of its noise differ from the definition"
        return Finding(gpu.name, text, State.WARNING, "--device cpu")
    return Finding(gpu.name, f"{text}, makes the defined noise")


def _extras(required: Mapping[str, Sequence[Requirement]]) -> Iterator[Finding]:
    for extra in filter(None, required):
        packages = [Package.find(one) for one in required[extra]]
        shown = [f"{package.required.name} {package.text}" for package in packages]
        lacking = [t for t, p in zip(shown, packages, strict=True) if not p.satisfied]
        if lacking and _has_rival(packages):
            continue
        if lacking:
            more = f" and {len(lacking) - 2} more" if len(lacking) > 2 else ""
            fix = f"pip install 'smoothcert[{extra}]'"
            yield Finding(extra, ", ".join(lacking[:2]) + more, State.MISSING, fix)
        elif packages:
            short = shown if len(shown) <= 5 else [f"all {len(shown)} packages"]
            yield Finding(extra, ", ".join(short))


def _has_rival(packages: Iterable[Package]) -> bool:
    """Whether the build of ONNX Runtime that is lacking would overwrite the one that is there;
    where a GPU wants it, `_onnx` says so."""
    lacking = {p.required.name for p in packages if p.version is None} & {*devices.ONNX_BUILDS}
    return bool(lacking and {*devices.onnx_builds()} - lacking)
