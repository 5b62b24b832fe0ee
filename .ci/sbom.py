"""Write what a release is made of and was tested with, as CycloneDX 1.6, to standard output.

    .venv/bin/python .ci/sbom.py dist > dist/smoothcert.cdx.json

What is installed here for the extra `all` is listed, with licenses and who needs whom; the hashes
are those of the locks, so that what is installed must be what they name. Nothing depends on the
time or the machine.
"""

import hashlib
import json
import sys
from importlib.metadata import distribution
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from lock import LOCKS, pins
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "src" / "smoothcert" / "zoo" / "pretrained"


def wanted(name: str, extras: frozenset[str]) -> list[Requirement]:
    """What an installed distribution requires here, with these extras of it."""
    found = [Requirement(text) for text in distribution(name).requires or []]
    settings = [{"extra": extra} for extra in ("", *extras)]
    return [r for r in found if not r.marker or any(r.marker.evaluate(s) for s in settings)]


def dependencies(name: str, extras: frozenset[str]) -> dict[str, set[str]]:
    """Who requires whom, from a distribution with some extras on."""
    graph: dict[str, set[str]] = {}
    seen, queue = set(), [(name, extras)]
    while queue:
        here = queue.pop()
        if here in seen:
            continue
        seen.add(here)
        needs = graph.setdefault(here[0], set())
        for requirement in wanted(*here):
            other = canonicalize_name(requirement.name)
            needs.add(other)
            queue.append((other, frozenset(requirement.extras)))
    graph[name].discard(name)
    return graph


def reference(name: str) -> str:
    """A package URL."""
    version = distribution(name).version.replace("+", "%2B")
    return f"pkg:pypi/{canonicalize_name(name)}@{version}"


def license_of(name: str) -> list[dict]:
    """As the distribution states it: an SPDX expression, a name, or the file that says it."""
    facts = distribution(name).metadata
    if expression := facts.get("License-Expression"):
        return [{"expression": expression}]
    named = [c.split(" :: ")[-1] for c in facts.get_all("Classifier", []) if "License ::" in c]
    stated = (facts.get("License") or "").strip()
    if not named and stated and "\n" not in stated:
        named = [stated]
    named = named or [f"as in its {file}" for file in facts.get_all("License-File", [])]
    return [{"license": {"name": one}} for one in named]


def hashed(path: Path) -> list[dict]:
    """The SHA-256 of a file."""
    return [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]


def component(name: str, scope: str, locked: dict[str, tuple[str, ...]]) -> dict:
    """A library: its version, licenses, and the hashes of its files as locked.

    Raises:
        SystemExit: the version installed here is not the one that is locked.
    """
    version = distribution(name).version
    if f"{name}=={version}" not in locked:
        sys.exit(f"{name} {version} is installed here, which no lock names; see .ci/run.")
    files = [{"alg": "SHA-256", "content": one} for one in locked[f"{name}=={version}"]]
    return {
        "type": "library",
        "bom-ref": reference(name),
        "name": name,
        "version": version,
        "purl": reference(name),
        "scope": scope,
        "licenses": license_of(name),
        "externalReferences": [{"type": "distribution", "url": reference(name), "hashes": files}],
    }


def bill(dist: Path) -> dict:
    """The whole document, for the wheel and the sdist in a folder."""
    graph = dependencies("smoothcert", frozenset({"all"}))
    always = dependencies("smoothcert", frozenset())
    locked = {pin: hashes for lock in LOCKS for pin, hashes in pins(lock).items()}
    made = [*sorted(dist.glob("*.whl")), *sorted(dist.glob("*.tar.gz"))]
    files = [{"type": "distribution", "url": f.name, "hashes": hashed(f)} for f in made]
    libraries = sorted(graph.keys() - {"smoothcert"})
    scopes = ["required" if name in always else "optional" for name in libraries]
    weights = [
        {"type": "machine-learning-model", "bom-ref": f.name, "name": f.name, "hashes": hashed(f)}
        for f in sorted(WEIGHTS.glob("*.safetensors"))
    ]
    edges = {name: sorted(map(reference, needs)) for name, needs in sorted(graph.items())}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps(files))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": reference("smoothcert"),
                "name": "smoothcert",
                "version": distribution("smoothcert").version,
                "purl": reference("smoothcert"),
                "licenses": license_of("smoothcert"),
                "externalReferences": files,
            }
        },
        "components": [
            *(component(n, s, locked) for n, s in zip(libraries, scopes, strict=True)),
            *weights,
        ],
        "dependencies": [{"ref": reference(n), "dependsOn": on} for n, on in edges.items()],
    }


if __name__ == "__main__":
    print(json.dumps(bill(Path(sys.argv[1])), indent=1))
