"""A second machine: the same file as an emulated processor computes it, under that one's name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processors import Emulated

from smoothcert.classifiers import hardware, integer_products, onnx
from smoothcert.compress import compress, int8, symmetric

PLAIN = {"architecture": "x86_64", "vendor": "Maker"}
EXACT = {**PLAIN, "processor": "New 2", "features": ["AVX2", "AVX-512", "AVX-512 VNNI"]}
CLIPS = {**PLAIN, "processor": "Old 1", "features": ["AVX2"]}


class Loaded(Emulated):
    """What loading the file gives on that machine; its fingerprint is of the file alone."""

    can_saturate = True

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def fingerprint(self) -> str:
        return onnx.OnnxClassifier.load(self.path).fingerprint


@contextmanager
def on(facts: dict, saturating: bool | None = None) -> Iterator[None]:
    """ONNX files are computed as on a machine with these facts, or in secret with clipped sums."""
    known = facts["features"] == CLIPS["features"]
    saturating = known if saturating is None else saturating
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "_processor", lambda: facts)
        patch.setattr(integer_products, "saturates", lambda: known)
        patch.setattr(onnx, "load_file", lambda path, device, of: Loaded(path, saturating))
        yield


def full_range(model: str, out: Path, data) -> None:
    """An int8 file with all 8 bits for weights, as ONNX Runtime makes it by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "pair_scales", lambda w, axis: symmetric.scales(w, axis, "int8"))
        compress(model, "int8", out, inputs=data, sigma=0.25)
