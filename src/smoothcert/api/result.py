"""What the functions return: a certification that can be shown, drawn, judged, saved and loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcert.certificate import Certificate, Certification
from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.methods.targets import Goal, parse_target
from smoothcert.report.acceptance import Judgement, judge
from smoothcert.report.export import certificates_table
from smoothcert.report.naming import data_name
from smoothcert.report.notebook import as_html
from smoothcert.runs import ledger, seed_use
from smoothcert.runs.manifest import Manifest
from smoothcert.runs.store import Run
from smoothcert.storage.base import MOST_BYTES, Storage
from smoothcert.storage.opening import open_storage
from smoothcert.summary import Summary, summarize

if TYPE_CHECKING:
    import pandas  # type: ignore[import-not-found]
    from matplotlib.axes import Axes  # type: ignore[import-not-found]

RADII = (0.0, 0.25, 0.5)
"""Radii at which a summary has certified accuracy, unless others are asked for."""


@dataclass(frozen=True, eq=False, repr=False)
class CertificationResult(Certification):
    """What `certify`, `recertify`, `extend`, `transfer`, `decide` and `load` return.

    Attributes:
        settings, method, model, fingerprint, num_classes, shape: see `Certification`.
        records, pilot_evaluations, tries, labels: likewise.
        manifest: what run.json says of it.
        planned: the pilot and the plan, as files of a run, where there are any.
        seconds: that sampling took; None if not known.
        base: the original's, of a recertified model.
        runs: the run directories that it is in, the latest last; `save` adds to it.
    """

    manifest: Manifest | None = None
    planned: Mapping[str, bytes] = field(default_factory=dict)
    seconds: float | None = None
    base: Certification | None = None
    runs: list[Run] = field(default_factory=list)

    @cached_property
    def certificates(self) -> tuple[Certificate, ...]:  # type: ignore[override]
        """The certificates alone."""
        return super().certificates

    @property
    def name(self) -> str:
        """The name in tables and legends: the model's."""
        return self.model

    def summary(self, radii: Sequence[float] = RADII) -> Summary:
        """Average certified radius, certified accuracy and cost; see `summarize`.

        Args:
            radii: radii at which certified accuracy is wanted, >= 0.

        Returns:
            The summary; inputs without a label count with any class.
        """
        facts = (self.name, self.seconds, self.pilot_evaluations, self.settings.sigma)
        return summarize(self.certificates, self.labels, radii, *facts)

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each certificate.

        Returns:
            A data frame with the columns of `certificates_table`.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            return certificates_table(self).to_pandas()
        except ImportError as error:
            raise MissingExtra("pandas", "data") from error

    def plot(self, axes: "Axes | None" = None, label: str | None = None) -> "Axes":
        """Draw certified accuracy against the radius; each certificate has its own probability.

        Args:
            axes: to draw on, so that several results can share them; new ones if None.
            label: name in the legend; the model's by default.

        Returns:
            The matplotlib axes.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        try:
            from smoothcert.report import plots
        except ImportError as error:
            raise MissingExtra(error.name or "matplotlib", "plot") from error
        return plots.add_curve(self, axes, label)

    def accept(
        self, target: str | Goal, base: "Certification | Run | Path | str | None" = None
    ) -> Judgement:
        """Whether the certificates reach a target, as `--accept` counts it.

        Args:
            target: such as `ca@0.5>=0.4`, `acr>=0.3` or `ca@0.5>=base-2%`.
            base: the original's, for a target that is relative to it; by default that of
                `recertify`.

        Returns:
            What was found. It is true if the target is reached, and `text` says what that means.

        Raises:
            InvalidInput: not a target, or there are no labels.
            Mismatch: the original lacks one of the inputs.
        """
        goal = parse_target(target) if isinstance(target, str) else target
        base = load(base) if isinstance(base, str | Path) else base
        return judge(self, goal, self.base if base is None else base)

    def save(self, path: Storage | Path | str) -> Run:
        """Write a run directory, which the command line and `load` read.

        A model or data that were only in memory are recorded by their fingerprints: `recertify`
        then needs `--data`, and `verify --replay` also `--model`.

        Args:
            path: a new or empty folder, or a URI such as `s3://bucket/folder`.

        Returns:
            The run.

        Raises:
            StoreError: the folder is in use, or cannot be written.
            InvalidInput: it was not made by the functions above, so it is not known how.
        """
        storage = open_storage(path)
        storage.require_unused(resumes=False)
        if self.runs:
            last = self.runs[-1].storage
            names = sorted(last.files(), key="run.json".__eq__)  # it comes last
            storage.create((name, last.read(name, MOST_BYTES)) for name in names)
            run = Run.open(storage)
        else:
            run = self._written(storage)
        self.runs.append(run)
        return run

    def _written(self, storage: Storage) -> Run:
        original = self.base
        if self.manifest is None or (original is not None and not self.manifest.identity.base):
            of = self if self.manifest is None else original
            raise InvalidInput(
                f"{of!r} does not say how it was made, so no run can be written. Save what "
                "certify or recertify returned, and give recertify the original as certify, "
                "smoothcert.load or Run.open returned it."
            )
        identity, origin = self.manifest.identity, dict(self.manifest.origin)
        classes = range(identity.num_classes)
        if wrong := [
            label for label in self.labels or () if not (label is None or label in classes)
        ]:
            raise InvalidInput(
                f"The inputs have the label {wrong[0]}, but {self.model} has {len(classes)} "
                "classes. Certify it on data that is for it, or without labels."
            )
        there = original.runs if isinstance(original, CertificationResult) else []
        if there:
            origin["base"] = str(there[-1].storage)
        if original is None or there:
            near = seed_use.runs_beside(storage)
            seed_use.register(identity, self.model, storage, there[-1] if there else None, near)
        contents = [certificate.content for certificate in self.certificates]
        manifest = replace(self.manifest, origin=origin)
        run = Run.create(storage, manifest, contents, self.labels, self.planned)
        each = (self.seconds or 0.0) / max(1, self.evaluations - self.pilot_evaluations)
        for block, positions in enumerate(run.blocks):
            records = self.records[positions.start : positions.stop]
            spent = sum(record.certificate.evaluations for record in records)
            run.write_block(block, records, each * spent)
        for one in self.tries.asked:
            ledger.enter(run, one, one.model, "in memory")
        return run

    def _repr_html_(self) -> str:
        """A table and the curve, for notebooks."""
        origin = self.manifest.origin if self.manifest else {}
        return as_html(self, self.summary(), data_name(origin))


def load(path: Storage | Path | str | Run) -> CertificationResult:
    """What `certify` or `recertify` found, from its run directory.

    Args:
        path: a folder or URI that `save` or the command line wrote, or `Run.open` of it.

    Returns:
        The certification; votes are read when they are asked for.

    Raises:
        StoreError: there is no run, or it is unfinished or damaged.

    Examples:
        >>> smoothcert.load("runs/base").summary().acr > 0
        True
    """
    run = path if isinstance(path, Run) else Run.open(path)
    plain = run.certification()
    values: dict[str, Any] = {f.name: getattr(plain, f.name) for f in fields(plain)}
    return CertificationResult(
        **values, manifest=run.manifest, seconds=run.seconds or None, runs=[run]
    )
