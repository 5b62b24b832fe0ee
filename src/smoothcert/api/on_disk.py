"""What is done with runs and models on disk: verify, report, compress; by path or object alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from smoothcert.api.result import CertificationResult
from smoothcert.classifiers.loading import load_classifier
from smoothcert.compress.compress import compress
from smoothcert.compress.record import CompressionReport
from smoothcert.data.given import as_inputs
from smoothcert.errors import InvalidInput
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.report.page import report
from smoothcert.runs import seed_use
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Verification, evaluate_again, still_unchecked
from smoothcert.runs.verify import verify as recompute
from smoothcert.summary import Summary

Kept = Run | CertificationResult | Path | str
"""A run, by its path, as `Run.open` gives it, or as a result that was saved or loaded."""


def as_run(kept: Kept) -> Run:
    """The run itself.

    Raises:
        InvalidInput: a result that was not saved.
        StoreError: there is no run at the path.
    """
    if isinstance(kept, str | Path):
        return Run.open(kept)
    if isinstance(kept, Run):
        return kept
    if not isinstance(kept, CertificationResult) or not kept.runs:
        raise InvalidInput(f"{kept!r:.200} is not in a run directory yet: give it to .save(path).")
    return kept.runs[-1]


def verify(
    run: Kept,
    base: Kept | None = None,
    *,
    replay: float = 0.0,
    classifier: Any = None,
    inputs: Any = None,
) -> Verification:
    """Recompute what a run proves from its votes, and evaluate some of its draws again.

    Args:
        run: a run, its path, or a result that was saved.
        base: the run of the original, for one that was recertified; by default the recorded one.
        replay: the fraction of every input's draws to evaluate again, in [0, 1].
        classifier, inputs: what it was made with, needed for a replay.

    Returns:
        What was checked: `problems` is empty if all is as stored, `unchecked` says what is left.

    Raises:
        InvalidInput: a replay without classifier or inputs, or a fraction out of range.
        Mismatch: another classifier or other inputs than the run's.

    Examples:
        >>> smoothcert.verify("runs/int8", base="runs/base").problems
        ()
    """
    found = as_run(run)
    original = as_run(base) if base is not None else None
    if original is None and found.identity.base:
        original = seed_use.recorded_base(found)
    checked = recompute(found, original)
    if not replay:
        return checked
    if classifier is None or inputs is None:
        raise InvalidInput("A replay evaluates draws again. Give it the classifier and the inputs.")
    loaded = load_classifier(classifier)
    again = evaluate_again(found, loaded, as_inputs(inputs), replay, base=original)
    return replace(
        again,
        certificates=checked.certificates,
        problems=(*checked.problems, *again.problems),
        unchecked=still_unchecked(checked.unchecked, again.share, again.pilot),
    )


def write_report(
    runs: Kept | Sequence[Kept],
    out: Path | str,
    radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    *,
    screened: Iterable[DatasetCertificate] = (),
    pictures: Any = None,
) -> tuple[Summary, ...]:
    """Write a page, figures and tables of one run or several into a folder.

    Args:
        runs: runs, their paths, or results that were saved, with different names.
        out: the folder, made if it does not exist.
        radii: radii at which certified accuracy is listed, >= 0.
        screened: dataset certificates, to be shown with the runs.
        pictures: the runs' inputs, to be shown as thumbnails.

    Returns:
        The summary of each run.

    Raises:
        InvalidInput: no runs, two of the same name, or a result that was not saved.
        StoreError: a run is unfinished or damaged, or the folder cannot be written.
        MissingExtra: matplotlib or jinja2 is not installed.

    Examples:
        >>> base, changed = smoothcert.write_report(["runs/base", "runs/int8"], "report")
        >>> base.evaluations > changed.evaluations
        True
    """
    several = [runs] if isinstance(runs, Run | CertificationResult | Path | str) else runs
    shown = [] if pictures is None else [as_inputs(pictures)]
    return report([as_run(one) for one in several], Path(out), radii, screened, shown)


def compress_model(
    model: str | Path,
    target: str,
    out: str | Path,
    *,
    inputs: Any = None,
    sigma: float | None = None,
    seed: int = 0,
    held_out: Any = None,
    overwrite: bool = False,
    progress: Callable[[int, float], None] | None = None,
) -> CompressionReport:
    """Write a smaller or faster approximation of a model, and say what changed.

    Args:
        model: a file or a factory, as `load_classifier` takes.
        target: such as `int8`, `prune:0.2` or `lowrank:0.5+int8-weights`.
        out: the file to write.
        inputs: data to calibrate or train on, preferably the training split, as for `certify`.
        sigma: noise on that data.
        seed: of everything that is drawn at random.
        held_out: labelled data that was not used for it: the accuracy is measured on it.
        overwrite: replace an existing file.
        progress: called with (epochs done, mean loss), by targets that train.

    Returns:
        A report of what was changed; its `path` is a model for `recertify`.

    Raises:
        InvalidInput, ModelError, StoreError, MissingExtra: see `compress.compress`.

    Examples:
        >>> data = {"inputs": "images/", "sigma": 0.25}
        >>> report = smoothcert.compress_model("model.onnx", "int8", "int8.onnx", **data)
        >>> changed = smoothcert.recertify("runs/base", report.path)
    """
    if not isinstance(model, str | Path):
        raise InvalidInput(
            f"A model is compressed from a file or a factory (module:function); got "
            f"{type(model).__name__}. Save it, for instance by torch.export.save as .pt2."
        )
    given = [None if one is None else as_inputs(one) for one in (inputs, held_out)]
    return compress(
        *(model, target, out),
        inputs=given[0],
        sigma=sigma,
        seed=seed,
        held_out=given[1],
        overwrite=overwrite,
        progress=progress,
    )
