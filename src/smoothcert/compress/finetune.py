"""Fine-tuning: the original's training continues for some epochs, on noisy inputs."""

from functools import partial

import torch
from torch import nn

from smoothcert.classifiers.pytorch import save_weights
from smoothcert.compress.export import to_pt2
from smoothcert.compress.learning import epochs_of, recipe_for
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request
from smoothcert.compress.torch_weights import matrices
from smoothcert.compress.trainee import trainable
from smoothcert.text import many
from smoothcert.training.gaussian import train

SLOWER = 10
"""The peak rate is the recipe's divided by this."""


def write(request: Request) -> CompressionReport:
    """Continue the training of a torch network: weights for one of the zoo, else a program.

    Zero weights stay zero, so a pruned network stays as sparse as it is (Han et al. 2015), and a
    slimmed one keeps its widths.
    """
    epochs = epochs_of(request, request.argument, "finetune:4")
    request.check_suffix(".safetensors", ".pt2")
    data, sigma = request.needed_inputs(), request.needed_sigma()
    architecture = request.zoo_source()[0] if request.out.suffix == ".safetensors" else ""
    recipe = recipe_for(architecture, data, sigma, request.seed, epochs, slower=SLOWER)
    source = request.torch_source()
    network = trainable(source, data)
    before, zeros = matrices(network.state_dict()), keep_zeros(network)
    train(recipe, data, progress=request.progress, network=network)
    if architecture:
        save_weights(network, architecture, request.out, compressed=request.target)
    else:
        to_pt2(network, data.shape, request.out)
    kept = f", the {zeros:,} weights that were zero kept at zero" if zeros else ""
    said = f"fine-tuned for {many(epochs, 'epoch')} at a rate of {recipe.rate:g} and "
    said += f"sigma {sigma:g}{kept}"
    return request.report(said, differences(before, matrices(network.state_dict())))


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
