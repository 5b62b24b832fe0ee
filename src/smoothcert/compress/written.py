"""Models are written completely or not at all, and tried once before they are kept."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.compress.request import Request
from smoothcert.data.inputs import Inputs
from smoothcert.errors import ModelError, SmoothcertError, StoreError
from smoothcert.files import require_new_file

_ANY_SIDE = 28  # which lenet needs; the zoo's other networks take images of any size
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""Errors of a writer that are not the model's fault."""


@contextmanager
def written_whole(out: Path, overwrite: bool) -> Iterator[Path]:
    """A path of the same name elsewhere; its folder's files are moved next to `out` at the end.

    The model itself comes last, so it never exists without the files of its tensors.

    Raises:
        InvalidInput: a file exists that may not be replaced.
        StoreError: the operating system refuses.
    """
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    with _refusals(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _refusals(out):
            folder = TemporaryDirectory(prefix=f".{out.name[:40]}.", suffix=".tmp", dir=out.parent)
        yield from _filled(out, folder, overwrite)
    except BaseException:
        with suppress(OSError):
            for parent in made:
                parent.rmdir()
        raise


def _filled(out: Path, folder: TemporaryDirectory[str], overwrite: bool) -> Iterator[Path]:
    with folder as name:
        with _refusals(out, _FULL):
            yield Path(name) / out.name
        with _refusals(out):
            probe = Path(name) / ".mode"
            probe.touch()  # by the umask; some writers make files that only the owner can read
            mode = probe.stat().st_mode & 0o777
            probe.unlink()
            files = sorted(Path(name).iterdir(), key=lambda file: file.name == out.name)
            for file in files:
                require_new_file(out.with_name(file.name), overwrite)
            for file in files:
                file.chmod(mode)
                _synced(file)
                file.replace(out.with_name(file.name))


@contextmanager
def _refusals(out: Path, only: Sequence[int] = ()) -> Iterator[None]:
    """Turn errors of the operating system into a StoreError: all, or only these numbers."""
    try:
        yield
    except OSError as error:
        if only and error.errno not in only:
            raise
        raise StoreError(
            f"Cannot write {out}: {error.strerror or error}. Nothing was written. Free some space "
            "or fix the permissions."
        ) from error


def _synced(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def tried(request: Request) -> Classifier:
    """The written model, loaded as by every other command and run on two grey images.

    Raises:
        ModelError: it cannot be loaded or run, or gives NaN.
    """
    try:
        classifier = load_classifier(request.written)
        run_on_grey(classifier, request.inputs)
    except SmoothcertError as error:
        raise ModelError(
            f"{request.target} made a model from {request.model} that cannot be used, so it is "
            f"not kept: {error}"
        ) from error
    return classifier


def run_on_grey(classifier: Classifier, inputs: Inputs | None) -> None:
    """Run a classifier on two grey images, if the shape of its inputs is known.

    Raises:
        ModelError: it cannot be run, or does not return a row of logits without NaN for each.
    """
    shape = inputs.shape if inputs else _shape_of(classifier)
    if not shape:
        return
    grey = np.full((classifier.fixed_batch or 2, *shape), 0.5, np.float32)
    logits = classifier.logits(grey)
    name = classifier.name
    if logits.ndim != 2 or len(logits) != len(grey):
        raise ModelError(f"{name} gives shape {logits.shape} for a batch of {len(grey)} rows.")
    if np.isnan(logits).all():
        raise ModelError(f"{name} gives NaN for a grey image.")


def _shape_of(classifier: Classifier) -> tuple[int, ...]:
    """The shape of an input if the model states it; else empty."""
    if hasattr(classifier, "session"):
        shape = classifier.session.get_inputs()[0].shape[1:]  # type: ignore[attr-defined]
        return tuple(shape) if all(isinstance(size, int) and size > 0 for size in shape) else ()
    parameters = classifier.module.parameters() if hasattr(classifier, "module") else ()  # type: ignore[attr-defined]
    first = next((p for p in parameters if p.ndim == 4), None)
    return () if first is None else (first.shape[1], _ANY_SIDE, _ANY_SIDE)
