"""Fine-tuning: the original's training continues for some epochs, on noisy inputs."""

from functools import partial

import numpy as np
import torch
from torch import nn

from smoothcert.classifiers.pytorch import save_weights
from smoothcert.compress.learning import epochs_of, recipe_for
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request
from smoothcert.errors import InvalidInput
from smoothcert.text import many
from smoothcert.training.gaussian import train

SLOWER = 10
"""The peak rate is the recipe's divided by this."""


def write(request: Request) -> CompressionReport:
    """Continue the training of a zoo network, from safetensors to safetensors.

    Zero weights stay zero, so a pruned network stays as sparse as it is (Han et al. 2015), and a
    slimmed one keeps its widths.
    """
    epochs = epochs_of(request, request.argument, "finetune:4")
    request.check_suffix(".safetensors")
    data, sigma = request.needed_inputs(), request.needed_sigma()
    architecture, state = request.zoo_source()
    recipe = recipe_for(architecture, data, sigma, request.seed, epochs, slower=SLOWER)
    source = request.torch_source()
    classes = source.logits(np.full((1, *data.shape), 0.5, np.float32)).shape[1]
    if data.labels is not None and max(data.labels) >= classes:
        raise InvalidInput(
            f"{data.name} has the label {max(data.labels)}, but the network has {classes} classes."
        )
    network, zeros = source.module, keep_zeros(source.module)
    train(recipe, data, progress=request.progress, network=network)
    save_weights(network, architecture, request.out, compressed=request.target)
    weights = (
        {k: t.numpy() for k, t in tensors.items() if t.ndim > 1}
        for tensors in (state, network.state_dict())
    )
    kept = f", the {zeros:,} weights that were zero kept at zero" if zeros else ""
    return CompressionReport(
        request.out,
        f"fine-tuned for {many(epochs, 'epoch')} at a rate of {recipe.rate:g} and "
        f"sigma {sigma:g}{kept}",
        *differences(*weights),
        request.bytes_before,
        request.out.stat().st_size,
    )


def keep_zeros(network: nn.Module) -> int:
    """Block gradients of the convolution and linear weights that are zero; return their number.

    Without a gradient, neither momentum nor weight decay moves a weight from zero.
    """
    count = 0
    for weight in network.parameters():
        if weight.ndim > 1:
            used = weight.detach() != 0
            weight.register_hook(partial(torch.mul, used))
            count += int((~used).sum())
    return count
