"""What `adapt` has done."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcert.adapt.compared import Difference
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.errors import InvalidInput


@dataclass(frozen=True)
class Adapted:
    """A model that was written with preprocessing in front.

    Attributes:
        path: the file.
        preprocessing: what is in front, also for bytes.
        original: SHA-256 of the original file, 32 hex digits.
        difference: how its scores differ from the original's after the same by hand.
        rows_before: the only batch size that the original, or its denoiser, takes; None for any.
        rows: the only batch size that the new file takes; None for any.
        denoiser: what gets the images before all that, in words; empty for none.
    """

    path: Path
    preprocessing: Preprocessing
    original: str
    difference: Difference
    rows_before: int | None
    rows: int | None
    denoiser: str = ""

    def record(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "path": str(self.path),
            "front": self.preprocessing.record(),
            **({"denoiser": self.denoiser} if self.denoiser else {}),
            "original": self.original,
            "largest_difference": self.difference.single,
            "rows_independent": self.difference.by_row,
            "batch": self.rows,
            "batch_before": self.rows_before,
        }

    def describe(self) -> str:
        """What was done, a sentence a line."""
        front = self.preprocessing.describe() or "nothing in front"
        inputs = "Rows" if self.preprocessing.ranges else "Images (B, C, H, W)"
        lines = [f"First, the denoiser {self.denoiser}."] if self.denoiser else []
        lines += [
            f"{inputs} in [0, 1] are: {front}.",
            f"Checked against the original after the same by hand: {self.difference.describe()}.",
        ]
        if self.rows:
            lines.append(
                f"It still takes only batches of {self.rows}: with an open batch axis it does not "
                "compute the same. The commands here run it in parts."
                if self.path.suffix == ".onnx"
                else f"It takes only batches of {self.rows}, as the original."
            )
        elif self.rows_before:
            lines.append(f"Its batch axis is open now; it was fixed at {self.rows_before}.")
        if not self.difference.by_row:
            lines.append(
                "A row's scores depend on its batch, as in the original: certify it with "
                "--batch-size 1."
            )
        return "\n".join(lines)


def nothing(reference: str, name: str) -> InvalidInput:
    """The error for a model that needs no new file."""
    return InvalidInput(
        f"There is nothing to put in front of {name}: give --mean and --std, --scale, --layout, "
        f"--channels, --resize or --preprocess. `smoothcert adapt {shlex.quote(reference)}` says "
        "what its file shows."
    )
