"""How many rows fit a GPU."""

import numpy as np
import torch

from smoothcert.classifiers.out_of_memory import enough_memory
from smoothcert.errors import OutOfMemory
from smoothcert.sampling.gpu import OnDevice
from smoothcert.sampling.memory import fitting

_VALUES = 2**27  # float32 values in the largest batch: 512 MB, which keeps any GPU busy
_MOST_ROWS, _FIRST_ROWS = 4096, 16
_SHARE = 0.8  # of the free memory: noise, answers and fragments need some


def fitting_batch(classifier: OnDevice, shape: tuple[int, ...]) -> int:
    """The largest batch of the sizes tried that the classifier's device has memory for.

    Sizes are powers of two, from one by the input's shape downwards. Free memory, and so the
    result, depends on what else is on the device, and the batch size is part of a run's identity: a
    resumed run uses the recorded size instead of asking again.

    Raises:
        OutOfMemory: not even one row fits.
    """
    if classifier.fixed_batch is not None:
        return classifier.fixed_batch

    def attempt(rows: int) -> None:
        _release(classifier)  # what the attempt before has left, whose error is gone by now
        _forward(classifier, shape, rows)

    size = min(_most_rows(shape), _by_free_memory(classifier, shape))
    return fitting(attempt, size, free=True)[1]


def _most_rows(shape: tuple[int, ...]) -> int:
    return _power_of_two(int(np.clip(_VALUES // np.prod(shape), 1, _MOST_ROWS)))


def _power_of_two(rows: int) -> int:
    """The largest one that is not above `rows`; 1 for less."""
    return 1 << max(0, rows.bit_length() - 1)


def _by_free_memory(classifier: OnDevice, shape: tuple[int, ...]) -> int:
    """Rows that should fit into memory, estimated from a small batch.

    ONNX Runtime's own memory is not seen: for its models the attempts alone find the size.
    """
    device = torch.device(classifier.device)
    if device.type != "cuda":
        return _MOST_ROWS
    try:
        _forward(classifier, shape, _FIRST_ROWS)  # what is allocated once, such as workspaces
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        _forward(classifier, shape, _FIRST_ROWS)
    except OutOfMemory:
        _release(classifier)
        return _FIRST_ROWS
    row = (torch.cuda.max_memory_allocated(device) - before) / _FIRST_ROWS
    _release(classifier)
    free, _ = torch.cuda.mem_get_info(device)
    return _power_of_two(int(_SHARE * free / max(row, 1)))


def _forward(classifier: OnDevice, shape: tuple[int, ...], rows: int) -> None:
    with torch.no_grad(), enough_memory(classifier.name, classifier.device, rows):
        batch = torch.full((rows, *shape), 0.5, device=classifier.device)
        classifier.tensor_logits(batch).sum().item()  # waits until it has run


def _release(classifier: OnDevice) -> None:
    """Release what the attempts left in torch's cache, after the error that held it is gone."""
    if torch.device(classifier.device).type == "cuda":
        torch.cuda.empty_cache()
