"""Low-rank factorization: a convolution or linear layer becomes two smaller ones.

A convolution's weights as a matrix (output channels x the rest) are reduced to rank r by the
singular value decomposition, the nearest matrix of that rank: a convolution of the same kernel to
r channels, then a 1x1 convolution (Zhang et al. 2016, section 3.1, without their data-driven
part; Denton et al. 2014). A linear layer becomes two.
"""

from typing import TypeGuard

import torch
from torch import nn

from smoothcert.classifiers.copies import whole_copy
from smoothcert.classifiers.pytorch import has_program
from smoothcert.compress.export import to_onnx, to_pt2
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request, part
from smoothcert.compress.torch_weights import matrices
from smoothcert.errors import ModelError


def write(request: Request) -> CompressionReport:
    """Factorize a torch network and export it (.pt2 or .onnx) with the smaller layers in it.

    Full rank is the smaller side of a layer's matrix; the fraction of it is rounded down, to at
    least 1. Layers stay unchanged where two would not need fewer multiplications, and so do grouped
    convolutions.
    """
    fraction = request.fraction()
    request.check_suffix(".pt2", ".onnx")
    shape, source = request.needed_inputs().shape, request.torch_source()
    if has_program(source.module):
        raise ModelError(
            f"{source.name} is an exported graph, whose layers are fixed. {request.kind} needs "
            "arch@weights.safetensors or package.module:factory."
        )
    network = factorized(source.module, fraction).eval()
    (to_onnx if request.out.suffix == ".onnx" else to_pt2)(network, shape, request.out)
    found = differences(matrices(source.module.state_dict()), matrices(network.state_dict()))
    changed, count, _ = found
    whole = f"; {count - changed} of {count} stay whole (grouped, or nothing saved)"
    said = f"layers cut to {100 * fraction:g} % of their rank"
    return request.report(said + (whole if changed < count else ""), found)


def factorized(network: nn.Module, fraction: float) -> nn.Module:
    """A copy of the network with every layer cut to the fraction of its rank where that saves."""
    network = whole_copy(network, "The network")
    for name, layer in list(network.named_modules()):
        if not _is_plain(layer):
            continue
        outputs, inputs = layer.weight.flatten(1).shape
        rank = max(1, part(fraction, min(outputs, inputs)))
        if rank * (outputs + inputs) >= outputs * inputs:
            continue
        if not name:  # the network is this one layer
            return cut(layer, rank)
        network.set_submodule(name, cut(layer, rank))
    return network


def cut(layer: nn.Conv2d | nn.Linear, rank: int) -> nn.Sequential:
    """Two layers whose product is the nearest of this rank to the layer's matrix."""
    weight, bias = layer.weight.detach(), layer.bias
    left, values, right = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False)
    root = values[:rank].sqrt()  # half to either factor, so that both have the same scale
    left, right = left[:, :rank] * root, root[:, None] * right[:rank]
    first: nn.Conv2d | nn.Linear
    second: nn.Conv2d | nn.Linear
    if isinstance(layer, nn.Conv2d):
        first = nn.Conv2d(
            layer.in_channels,
            rank,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            bias=False,
            padding_mode=layer.padding_mode,
        )
        second = nn.Conv2d(rank, layer.out_channels, 1, bias=bias is not None)
    else:
        first = nn.Linear(layer.in_features, rank, bias=False)
        second = nn.Linear(rank, layer.out_features, bias=bias is not None)
    first.weight = nn.Parameter(right.reshape(first.weight.shape).to(weight))
    second.weight = nn.Parameter(left.reshape(second.weight.shape).to(weight))
    if bias is not None:
        second.bias = nn.Parameter(bias.detach().clone())
    return nn.Sequential(first, second)


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.Linear]:
    """Whether it has exactly these types, since a subclass may differ, and is not grouped."""
    return type(layer) in (nn.Conv2d, nn.Linear) and getattr(layer, "groups", 1) == 1
