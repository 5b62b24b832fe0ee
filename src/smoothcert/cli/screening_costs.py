"""Size and speed of the models of a screening, and of their original."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from smoothcert.certificate import Settings
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress.request import bytes_of
from smoothcert.data.inputs import Inputs
from smoothcert.errors import SmoothcertError
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.report.screened import Cost, Original
from smoothcert.runs.store import Run
from smoothcert.sampling.prepare import Prepared
from smoothcert.sampling.tuning import BatchConfig, speed

_TURNS, _TRIAL = 3, 0.05  # seconds of each model, after a batch to warm up
_WORTH = 20  # batches of a screening; the measurement takes at least six


class Costs:
    """What is known of size and speed of a screening's candidates and their original."""

    def __init__(self, models: Sequence[str], base: Run, before: Sequence[Cost] = ()) -> None:
        """Begin, or go on with what an earlier part of the screening has measured."""
        self.candidates: tuple[Cost, ...] = tuple(
            Cost(size_of(model), cost.per_second)
            for model, cost in zip(models, before or [Cost()] * len(models), strict=True)
        )
        self.original: Original = Original.of(base)
        known = before[0].original if before else None
        size = size_of(str(base.manifest.origin.get("model", "")))
        self.of_original: Cost = Cost(size, known.per_second if known else None)

    def measure(
        self,
        candidates: Sequence[Prepared],
        original: Callable[[], Prepared],
        inputs: Inputs,
        settings: Settings,
        evaluations: int,
    ) -> None:
        """Measure all models in turns, so that other work on this machine favours none.

        Args:
            candidates: prepared, in their order.
            original: loads and prepares the original, which may have moved or be code.
            inputs: to evaluate a first one of; on draws that are never counted.
            settings: of the original.
            evaluations: that each candidate may take; nothing is measured if they are few.
        """
        if all(cost.per_second for cost in self.candidates):
            return  # known from an earlier part
        models = [*candidates]
        with suppress(SmoothcertError):
            models.append(original())
        if evaluations < _WORTH * max(ready.batch_size for ready in models):
            return
        configs = [BatchConfig(ready.classifier, ready.batch_size) for ready in models]
        item, noise = inputs.item(0), settings.noise
        turns = [[speed(config, item, noise, _TRIAL) for config in configs] for _ in range(_TURNS)]
        best = [max(some) or None for some in zip(*turns, strict=True)]
        self.candidates = tuple(map(_with_speed, self.candidates, best))
        if len(best) > len(candidates):
            self.of_original = _with_speed(self.of_original, best[-1])


def _with_speed(cost: Cost, per_second: float | None) -> Cost:
    return replace(cost, per_second=per_second)


def size_of(model: str) -> int | None:
    """Bytes of a model's file, or None if it is in none on this machine."""
    try:
        file = ModelReference.parse(model).file
        if "://" in file or not file or not Path(file).is_file():
            return None
        return bytes_of(Path(file))
    except (OSError, ValueError, ImportError, SmoothcertError):
        return None


def read_costs(path: Path, found: Sequence[DatasetCertificate]) -> dict[DatasetCertificate, Cost]:
    """Size, speed and base run of the certificates in a file, which have been read already.

    They are what whoever wrote the file says, as are the names of the models.
    """
    rows = json.loads(path.read_bytes())
    return dict(zip(found, (Cost.from_json(row.get("made")) for row in rows), strict=True))
