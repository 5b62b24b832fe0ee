"""run.json: a run's identity, which determines its bytes, and its origin."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from smoothcert.certificate import Settings
from smoothcert.errors import Damaged, Mismatch, StoreError
from smoothcert.methods import BY_KIND, SCRATCH, Method, alpha_of
from smoothcert.runs.sealed import is_sealed, json_bytes, seal, why_not
from smoothcert.runs.validation import UNREADABLE, check_identity, check_origin
from smoothcert.vocabulary import MODEL_FORMATS

FORMAT = 4
"""See docs/store-format.md; increases with every change that an older reader would miss."""

READ = (3, FORMAT)
"""Formats that are read. A run of format 3 keeps no pilot."""

NAME = "run.json"

_WHAT = {
    "settings": "other settings",
    "method": "other settings of the method",
    "noise_law": "another noise law",
    "noise_hash": "other noise",
    "model": "another model (its fingerprint)",
    "num_classes": "another number of classes",
    "data": "other data (its content)",
    "indices": "another selection of inputs",
    "shape": "another input shape",
    "batch_size": "another batch size",
    "layout": "another memory layout",
    "products": "other sums of products of 8-bit integers (empty if exact)",
    "block_inputs": "another block size",
    "device": "another device",
    "versions": "other library versions",
    "base": "another base run",
}


_ELSEWHERE = (
    " Or finish it on a processor of the kind it was started on; smoothcert transfer then gives "
    "certificates of this one, for a fraction of the evaluations."
)


@dataclass(frozen=True)
class Identity:
    """Everything that determines the bytes of votes and certificates.

    Attributes:
        settings: of the certification from scratch.
        method: settings of the method; None from scratch.
        model: fingerprint of the classifier.
        data: fingerprint of the inputs' content.
        indices: indices of the inputs in their data set.
        shape: shape of one input.
        num_classes: number of the classifier's classes.
        batch_size: rows per forward pass.
        layout: order of tensors in memory, empty for the model's own.
        block_inputs: inputs per block.
        device: where the classifier ran.
        noise_hash: hash of the run's first noise.
        base: identity hash of the run that was reused, or empty.
        products: `saturating` if the processor's sums of the model's products of integers are
            inexact; empty if they are exact, or there are none.
        versions: versions of Python and the numerical libraries.
        noise_law: name of the noise law and its addressing.
    """

    settings: Settings
    method: Method
    model: str
    data: str
    indices: tuple[int, ...] = field(repr=False)
    shape: tuple[int, ...]
    num_classes: int
    batch_size: int
    block_inputs: int
    device: str
    noise_hash: str
    base: str = ""
    layout: str = ""
    products: str = ""
    versions: Mapping[str, str] = field(default_factory=lambda: library_versions())
    noise_law: str = field(kw_only=True)

    @property
    def alpha(self) -> float:
        """The proven error probability of each certificate; see `alpha_of`."""
        return alpha_of(self.settings, self.method)

    @property
    def hash(self) -> str:
        """The hash that names this run in the manifest of a run that reuses it."""
        return sha256(json.dumps(json_form(self), sort_keys=True).encode()).hexdigest()[:32]

    def require(self, other: "Identity", directory: str) -> None:
        """Raise Mismatch with every part in which the stored identity differs from `other`."""
        mine, theirs = json_form(self), json_form(other)
        pairs = {name: (mine.get(name, ""), theirs.get(name, "")) for name in {**mine, **theirs}}
        if wrong := [name for name, (one, now) in pairs.items() if one != now]:
            shown = "; ".join(_differs(_WHAT[name], *pairs[name]) for name in wrong)
            more = _more_draws(mine, theirs) and wrong == ["settings"]
            advice = " smoothcert extend adds draws to a finished run." if more else ""
            advice += _ELSEWHERE if "products" in wrong else ""
            raise Mismatch(
                f"{directory} was made with {shown}. Resume with the same, or write to a new "
                f"directory.{advice}"
            )


@dataclass(frozen=True)
class Manifest:
    """The content of run.json: the identity, references for later commands, and the format."""

    identity: Identity
    origin: Mapping[str, Any]
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        """The file's content, sealed."""
        identity = self.identity
        body = {"format": self.format, "hash": identity.hash, "identity": json_form(identity)}
        return seal(json_bytes({**body, "origin": self.origin}), NAME)

    @classmethod
    def from_bytes(cls, data: bytes, directory: str) -> Self:
        """Parse run.json.

        Raises:
            Damaged: not JSON, truncated or changed.
            StoreError: an older or newer format.
        """
        advice = "Restore it from a copy, or make the run again in a new directory."
        try:
            body = json.loads(data)
            if not isinstance(body, dict):
                raise TypeError("it is not a JSON object")
            # Before the seal, whose place may differ in another format.
            if body["format"] not in READ:
                raise StoreError(_other_format(directory, body["format"]))
            if not is_sealed(data, NAME):
                raise ValueError(why_not(data, NAME))
            raw = body["identity"]
            check_identity(raw)
            check_origin(body["origin"])
            values = raw | {
                "settings": Settings(**raw["settings"]),
                "method": _method(raw["method"]),
                "indices": tuple(raw["indices"]),
                "shape": tuple(raw["shape"]),
            }
            return cls(Identity(**values), body["origin"], body["format"])
        except UNREADABLE as error:
            raise Damaged(f"{directory}/{NAME} is damaged: {error}. {advice}") from error


def _other_format(directory: str, found: object) -> str:
    newer = isinstance(found, int) and found > FORMAT
    what = "Upgrade smoothcert" if newer else "Read it with the version that wrote it"
    return (
        f"{directory} has run format {found}; this smoothcert reads formats {READ[0]} to {FORMAT}. "
        f"{what}, or "
        "make the run again in a new directory."
    )


def json_form(identity: Identity) -> dict[str, Any]:
    """The identity as plain JSON values."""
    plain = {f.name: getattr(identity, f.name) for f in fields(identity)}
    plain["settings"] = asdict(identity.settings)
    if not identity.settings.off_grid:
        del plain["settings"]["off_grid"]
    plain["method"] = method_form(identity.method)
    if not identity.products:
        del plain["products"]
    return json.loads(json.dumps(plain))


def method_form(method: Method) -> dict[str, Any] | None:
    """The settings of a method as plain values, with its kind; None from scratch."""
    if not method.kind:
        return None
    plain = {"kind": method.kind, **asdict(method)}  # type: ignore[call-overload]
    for name, before in method.added.items():
        if plain[name] == before:
            del plain[name]
    return plain


def _method(raw: Mapping[str, Any] | None) -> Method:
    if raw is None:
        return SCRATCH
    kind = BY_KIND[raw["kind"]]
    return kind(**{**kind.added, **{name: raw[name] for name in raw if name != "kind"}})


def _more_draws(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether only more estimation draws are asked for than are stored."""
    old, new = mine["settings"], theirs["settings"]
    return mine["method"] is None and new == {**old, "n": new["n"]} and new["n"] > old["n"]


def _differs(what: str, mine: Any, theirs: Any) -> str:
    """How two values differ; of several values, those that do."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        names = [n for n in {**mine, **theirs} if mine.get(n) != theirs.get(n)]
        mine, theirs = ({n: one[n] for n in names if n in one} for one in (mine, theirs))
    return f"{what}: {_short(mine)} stored, {_short(theirs)} now"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def library_versions() -> dict[str, str]:
    """Versions of what can change a logit or a limit, without libraries not installed."""
    found = {"python": platform.python_version()}
    numerical = ("smoothcert", "numpy", "scipy", "torch", "onnxruntime", "onnxruntime-gpu")
    for name in dict.fromkeys((*numerical, *(one.package for one in MODEL_FORMATS.values()))):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
