"""Channel pruning: whole filters are removed, so the network has fewer weights and operations."""

from collections.abc import Mapping

import torch

from smoothcert import zoo
from smoothcert.classifiers.pytorch import save_weights
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request, part

_OF_A_CHANNEL = ("weight", "bias", "running_mean", "running_var")


def write(request: Request) -> CompressionReport:
    """Remove a fraction of the inner channels of a zoo network, as safetensors.

    Inner channels are those that one convolution writes and one other reads: in a residual block
    those between its two convolutions, in `small_cnn` those of the first two convolutions, in
    `lenet` those of the first. In every such layer the filters with the smallest L1 norm are
    removed (Li et al. 2017, section 3.3 for residual blocks), the fraction rounded down to whole
    channels and never all of them. A removed channel counts as zero in its reader; nothing is
    retrained, but `finetune` can do so. The zoo reads the widths from the weights, so the result
    can be compressed further.
    """
    fraction = request.fraction()
    request.check_suffix(".safetensors")
    architecture, before = request.zoo_source()
    layers = zoo.inner_layers(architecture, before)
    after = slimmed(before, layers, fraction)
    save_weights(
        zoo.rebuild(architecture, after), architecture, request.out, compressed=request.target
    )
    width, left = (
        sum(len(state[f"{convolution}.weight"]) for convolution, _, _ in layers)
        for state in (before, after)
    )
    weights = ({k: t.numpy() for k, t in s.items() if t.ndim > 1} for s in (before, after))
    return CompressionReport(
        request.out,
        f"{width - left} of {width} inner channels removed (smallest L1 norm)",
        *differences(*weights),
        request.bytes_before,
        request.out.stat().st_size,
    )


def slimmed(
    state: Mapping[str, torch.Tensor], layers: tuple[tuple[str, str, str], ...], fraction: float
) -> dict[str, torch.Tensor]:
    """The tensors without the smallest filters of these layers (see `zoo.inner_layers`).

    Layer by layer: a filter's norm does not count its kernels for channels already removed (the
    greedy strategy of Li et al. 2017, section 3.2).
    """
    state = dict(state)
    for convolution, normalization, reader in layers:
        norms = state[f"{convolution}.weight"].abs().sum((1, 2, 3))
        order = norms.argsort(stable=True)
        kept = order[part(fraction, len(order)) :].sort().values
        owners = (convolution, normalization)
        names = {f"{owner}.{what}" for owner in owners for what in _OF_A_CHANNEL} & state.keys()
        state |= {name: state[name][kept] for name in names}
        state[f"{reader}.weight"] = state[f"{reader}.weight"][:, kept]
    return state
