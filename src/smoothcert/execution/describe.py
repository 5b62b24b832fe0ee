"""What a run is, from what computes it: the same for runs and for certifications in memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smoothcert.certificate import Settings
from smoothcert.classifiers.hardware import device_kind, machine_of, products_of
from smoothcert.classifiers.protocol import Classifier, Fronted
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.scheduler import best_block_seconds
from smoothcert.methods import Allocation, Method
from smoothcert.runs import pilots, plan_file
from smoothcert.runs.manifest import Identity, Manifest
from smoothcert.runs.validation import MOST_DRAWS
from smoothcert.sampling.prepare import Prepared
from smoothcert.sampling.tuning import layout_of

# Draws per block: at most a few megabytes of labels in memory.
_MAX_BLOCK_DRAWS = 2**21
_MAX_BLOCK_INPUTS = 256
# Where the speed is known, they give the length of a block: seconds to schedule and store one, and
# failures of a preemptible worker.
_BLOCK_OVERHEAD = 0.02
_FAILURES_PER_HOUR = 1 / 20


@dataclass(frozen=True, eq=False)
class Choices:
    """What certifies, and how.

    Attributes:
        classifier: as it was loaded.
        ready: as it will run.
        settings: of the certification from scratch.
        method: settings of the method.
    """

    classifier: Classifier
    ready: Prepared
    settings: Settings
    method: Method


def described(
    choices: Choices,
    inputs: Inputs,
    data: str,
    block_inputs: int,
    base: str = "",
    products: str | None = None,
) -> Manifest:
    """What run.json says of a certification, also of one in memory, without references."""
    classifier, ready = choices.classifier, choices.ready
    identity = Identity(
        settings=choices.settings,
        method=choices.method,
        model=classifier.fingerprint,
        data=data,
        indices=inputs.indices,
        shape=inputs.shape,
        num_classes=ready.probe.num_classes,
        batch_size=ready.batch_size,
        block_inputs=block_inputs,
        device=device_kind(classifier),
        noise_hash=ready.probe.noise_hash,
        base=base,
        layout=layout_of(ready.classifier),
        products=products_of(classifier) if products is None else products,
        noise_law=choices.settings.noise.name,
    )
    origin: dict[str, Any] = {"batches_too_large": list(ready.too_large)} if ready.too_large else {}
    if isinstance(classifier, Fronted) and classifier.front:
        origin["front"] = classifier.front
    if inputs.unit:
        origin["unit"] = inputs.unit
    if inputs.classes:
        origin["classes"] = list(inputs.classes)
    origin["machine"] = machine_of(classifier)
    origin |= {"row_exact": ready.probe.row_exact, "probe_answers": ready.probe.answers}
    return Manifest(identity, origin)


def planned_files(
    pilot: pilots.StoredPilot, plan: Sequence[Allocation], identity: Identity
) -> dict[str, bytes]:
    """A pilot and the plan made from it, as files of a run, to be sealed."""
    indices, columns = identity.indices, identity.method.plan_columns
    return {
        pilots.NAME: pilots.pilot_bytes(pilot, indices),
        plan_file.NAME: plan_file.plan_bytes(plan, indices, columns),
    }


def block_inputs(
    settings: Settings,
    draws: int,
    inputs: int,
    speed: float,
    asked: int | None = None,
    most: float = math.inf,
) -> int:
    """Inputs of a block: as asked for, or what wastes least; never more than can be read.

    Args:
        settings: of the certification from scratch.
        draws: about how many each input gets.
        inputs: of the run.
        speed: evaluations per second, 0 if not measured.
        asked: a number of inputs that was asked for.
        most: seconds that a block may take.
    """
    each = settings.n0 + settings.n
    usual = min(_MAX_BLOCK_INPUTS, _MAX_BLOCK_DRAWS // draws, MOST_DRAWS // each)
    if speed > 0:
        work = inputs * draws / speed
        seconds = min(most, best_block_seconds(work, _BLOCK_OVERHEAD, _FAILURES_PER_HOUR))
        # A power of two, so that small changes of speed seldom change the run of a command.
        usual = min(usual, 2 ** int(math.log2(max(1.0, seconds * speed / draws))))
    found = asked or max(1, usual)
    if min(found, inputs) * each > MOST_DRAWS:
        raise InvalidInput(
            f"A block of {min(found, inputs)} inputs with {each} draws each has more than the "
            f"{MOST_DRAWS} draws that a block may have. Use a smaller --block-inputs, or a "
            "smaller n."
        )
    return found
