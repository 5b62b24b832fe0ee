"""Write the locks: the hashes of every file that CI may install.

    requirements.lock   all but torch
    torch-cpu.lock      torch's CPU build, where there is one to be had
    torch-index.lock    torch as the index has it, with the CUDA libraries it asks for on Linux

The versions are those of constraints.txt. To change one, edit it there and run this again (it needs
`uv` and the package index, and takes seconds). A hash cannot stand in constraints.txt itself: pip
then asks for one of the project's own editable install, which is no file. Hashes are of all files
that the index has for a version, so that a lock holds for every platform.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADER = "# Made by .ci/lock.py from pyproject.toml (extra dev) and constraints.txt.\n"
LOCKS = tuple(
    ROOT / ".ci" / f"{name}.lock" for name in ("requirements", "torch-cpu", "torch-index")
)
TORCH = ("torch==", "triton==", "cuda-", "nvidia-")

# The index does not have this file, so its hash cannot be asked for: CPython 3.11, x86-64 Linux.
TORCH_CPU = """\
torch==2.13.0+cpu \\
    --hash=sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
"""


def compiled() -> list[str]:
    """One entry for each package: `name==version ; marker`, then its hashes."""
    command = "uv pip compile pyproject.toml --extra dev --constraints constraints.txt --universal"
    # mkdocs-material's own requirements ask for 3.11.5; the library alone does not.
    command += " --python-version 3.11.5 --no-python-downloads --generate-hashes"
    command += " --no-emit-index-url --no-header --no-annotate --no-config"
    found = subprocess.run(command.split(), cwd=ROOT, check=True, capture_output=True, text=True)
    return re.findall(r"^\S.*\n(?: .*\n)+", found.stdout, flags=re.MULTILINE)


def pins(lock: Path) -> dict[str, tuple[str, ...]]:
    """What a lock names: `name==version`, each with the SHA-256 of its files."""
    entries = re.findall(r"^([a-z].*\n(?: .*\n)+)", lock.read_text(), flags=re.MULTILINE)
    return {e.split()[0]: tuple(re.findall(r"--hash=sha256:(\w{64})\b", e)) for e in entries}


def unpinned(entries: list[str]) -> list[str]:
    """The pins that constraints.txt lacks."""
    known = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").split()
    return [pin for pin in (entry.split()[0] for entry in entries) if pin not in known]


if __name__ == "__main__":
    entries = compiled()
    if missing := unpinned(entries):
        sys.exit("Add to constraints.txt:\n" + "\n".join(missing))
    if not any(TORCH_CPU.startswith(entry.split()[0] + "+cpu ") for entry in entries):
        sys.exit("TORCH_CPU in .ci/lock.py is of another version than constraints.txt asks for.")
    others = [e for e in entries if not e.startswith(TORCH)]
    torch = [e for e in entries if e.startswith(TORCH)]
    for lock, chosen in zip(LOCKS, (others, [TORCH_CPU], torch), strict=True):
        lock.write_text(HEADER + "".join(chosen))
        print(f"{lock.name}: {len(chosen)} packages")
