"""doctor: what is installed, what computes here, what is missing and the command that fixes it."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import typer

from smoothcert import __version__
from smoothcert.classifiers.cores import cores
from smoothcert.cli import devices, display, installed
from smoothcert.cli.devices import Cuda, Gpu


class State(StrEnum):
    """How something stands: well; optional and not there; could be better; needed and broken."""

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
        about: what it is, in a word or two.
        text: what was found.
        state: how that is.
        fix: the line to type; empty if nothing need be done.
    """

    about: str
    text: str
    state: State = State.OK
    fix: str = ""


def doctor(as_json: bool) -> None:
    """Look, and say what was found; exit with 1 if nothing can be certified."""
    with display.waiting("Looking"):
        found = examined()
    healthy = not any(f.state is State.BROKEN for section in found.values() for f in section)
    if as_json:
        told = {name: [asdict(finding) for finding in some] for name, some in found.items()}
        display.show_json({"version": __version__, "ok": healthy, "found": told})
    else:
        for line in lines(found):
            display.show(line)
        display.show("Ready to certify." if healthy else "Broken: see the lines that begin with !!")
    if not healthy:
        raise typer.Exit(1)


def examined() -> Mapping[str, Sequence[Finding]]:
    """All findings, by section."""
    try:
        needs = installed.needs()
    except metadata.PackageNotFoundError:
        needs = None
    gpus = devices.cuda()
    return {
        f"smoothcert {__version__}": [*_package(needs), _noise()],
        "This machine": [*_machine(), *_devices(gpus, devices.has_nvidia())],
        "Extras": list(_extras(needs or {})),
    }


def lines(found: Mapping[str, Sequence[Finding]]) -> Iterator[str]:
    """For a person, short ones: a phone's terminal shows them too."""
    for section, findings in found.items():
        yield section
        for finding in findings:
            yield f" {_MARKS[finding.state]} {finding.about}: {finding.text}"
            if finding.fix:
                yield f"    {finding.fix}"
        yield ""


def _package(needs: Mapping[str, Sequence[installed.Wanted]] | None) -> Iterator[Finding]:
    if needs is None:
        text = "not installed but run from its source, so its extras are not known"
        yield Finding("package", text, State.WARNING, "pip install -e .")
        return
    for part in installed.parts(needs[""]):
        state, fix = (State.OK, "") if part.good else (State.BROKEN, f"pip install '{part.wanted}'")
        yield Finding(part.name, part.text, state, fix)
    for text in installed.clashes(needs):
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
        text = f"{wrong} values are not those of the definition"
        return Finding("noise", text, State.BROKEN, "pip install -U --force-reinstall numba")
    if folder is None or not os.access(folder, os.W_OK):
        text = "right, but compiled anew each time: no folder that it is kept in can be written"
        return Finding("noise", text, State.WARNING, "export NUMBA_CACHE_DIR=/a/folder/of/yours")
    return Finding("noise", "the compiled kernel makes the defined bits")


def _machine() -> Iterator[Finding]:
    system = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("Python", system)
    seen, there = cores(), os.cpu_count()
    text = f"{seen}" if seen == there else f"{seen} of {there}"
    if (allowed := _allowed_cores()) is not None and allowed < seen:
        text += f", but this container gets the time of {allowed:g}"
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
    """What a container's share of time amounts to; None where nothing limits it."""
    try:
        quota, _, period = Path("/sys/fs/cgroup/cpu.max").read_text().partition(" ")
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _devices(cuda: Cuda | None, nvidia: bool) -> Iterator[Finding]:
    if cuda is None:
        if nvidia:
            text = "a GPU is there, but no torch"
            yield Finding("cuda", text, State.MISSING, "pip install 'smoothcert[torch]'")
    elif cuda.gpus:
        yield from map(_gpu, cuda.gpus)
    elif cuda.built_for and nvidia:
        text = f"torch {cuda.torch} for CUDA {cuda.built_for} sees no GPU: {cuda.problem}"
        yield Finding("cuda", text, State.WARNING, "nvidia-smi")
    elif nvidia:
        text = f"a GPU is there, but torch {cuda.torch} is a build for the CPU"
        fix = f"pip install --force-reinstall torch=={cuda.torch.partition('+')[0]}"
        yield Finding("cuda", text, State.WARNING, fix)
    else:
        yield Finding("cuda", "no GPU here; torch and ONNX models run on the CPU")
    if providers := devices.onnx_providers():
        yield Finding("onnxruntime", f"{', '.join(providers)}; the CPU's is used")


def _gpu(gpu: Gpu) -> Finding:
    text = f"{gpu.model}, {gpu.memory / 2**30:.0f} GiB"
    if gpu.wrong:
        text += f"; {gpu.wrong} values of its noise are not those of the definition"
        return Finding(gpu.name, text, State.WARNING, "--device cpu")
    return Finding(gpu.name, f"{text}, makes the defined noise")


def _extras(needs: Mapping[str, Sequence[installed.Wanted]]) -> Iterator[Finding]:
    for extra, wanted in needs.items():
        parts = installed.parts(wanted) if extra else ()
        if lacking := [f"{part.name} {part.text}" for part in parts if not part.good]:
            more = f" and {len(lacking) - 2} more" if len(lacking) > 2 else ""
            fix = f"pip install 'smoothcert[{extra}]'"
            yield Finding(extra, ", ".join(lacking[:2]) + more, State.MISSING, fix)
        elif parts:
            there = [f"{part.name} {part.text}" for part in parts]
            shown = there if len(there) <= 5 else [f"all {len(there)} packages"]
            yield Finding(extra, ", ".join(shown))
