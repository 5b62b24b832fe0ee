"""The weights of any torch network's layers, changed in a copy that is written as a program."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from smoothcert.classifiers.copies import whole_copy
from smoothcert.classifiers.protocol import Classifier
from smoothcert.compress.export import to_pt2
from smoothcert.compress.layers import Layer
from smoothcert.compress.request import Request
from smoothcert.errors import ModelError

Weights = Mapping[str, NDArray[Any]]
Change = Callable[[Weights], Weights]

_LAYERS = ("aten.conv", "aten.linear", "aten.addmm", "aten.mm", "aten.matmul")


def rewrite(request: Request, change: Change) -> tuple[Weights, Weights]:
    """Write the network with changed weights of its layers; return them before and after.

    Args:
        request: of a torch model, to a .pt2 file.
        change: from the weights by name to the new ones, of the same shapes.

    Raises:
        ModelError: not a torch model, or without weights that can be changed.
    """
    network = opened(request)
    return written(request, network, [layer.weight for layer in network_layers(network)], change)


def opened(request: Request) -> nn.Module:
    """A copy of the network, which may be changed.

    Raises:
        ModelError: not a torch model.
    """
    request.check_suffix(".pt2")
    request.needed_inputs()
    source = request.torch_source()
    return whole_copy(source.module, source.name)


def written(
    request: Request, network: nn.Module, names: Sequence[str], change: Change
) -> tuple[Weights, Weights]:
    """Change these parameters and buffers of a network and write it; return them before, after.

    Raises:
        ModelError: there are none.
    """
    if not names:
        raise ModelError(_nothing_left(request.model))
    state = network.state_dict(keep_vars=True)
    before = {name: state[name].detach().float().numpy().copy() for name in names}
    after = change(before)
    with torch.no_grad():
        for name, values in after.items():
            state[name].copy_(torch.from_numpy(values))
    to_pt2(network, request.needed_inputs().shape, request.out)
    return before, after


def layers_of(classifier: Classifier) -> list[Layer]:
    """The layers of a torch classifier, in its order.

    Raises:
        ModelError: it is none, or has no weights that can be changed.
    """
    from smoothcert.classifiers.pytorch import TorchClassifier

    found = network_layers(classifier.module) if isinstance(classifier, TorchClassifier) else []
    if not found:
        raise ModelError(_nothing_left(classifier.name))
    return found


def _nothing_left(name: str) -> str:
    return (
        f"{name} has no float32 weights of convolutions or linear layers, perhaps as they are "
        "quantized. Compress the network that it was made from."
    )


def network_layers(network: nn.Module) -> list[Layer]:
    """Convolutions, linear layers and attention with float weights, in order.

    Also those in an exported program, by itself or behind its preprocessing.
    """
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)
    state, found = network.state_dict(keep_vars=True), []
    first = {id(tensor): name for name, tensor in reversed(state.items())}
    for name, module in network.named_modules():
        if isinstance(module, torch.fx.GraphModule):
            used = _used_by_layers(module.graph)
            own = [(key, p) for key, p in module.named_parameters() if key in used]
        elif isinstance(module, kinds):
            own = list(module.named_parameters(recurse=False))
        else:
            continue
        for key, parameter in own:
            if parameter.ndim > 1 and parameter.is_floating_point():
                weight = f"{name}.{key}" if name else key
                bias = f"{weight.removesuffix('weight')}bias"
                found.append(
                    Layer(
                        node=weight.removesuffix(".weight"),
                        weight=weight,
                        axis=0,
                        parameters=parameter.numel(),
                        bias=bias if bias in state else "",
                        shared=first[id(parameter)],
                    )
                )
    return found


def matrices(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
    """Copies of the tensors with two axes or more."""
    return {k: t.detach().float().numpy().copy() for k, t in state.items() if t.ndim > 1}


def _used_by_layers(graph: torch.fx.Graph) -> set[str]:
    """Names of what an exported program's layers multiply by."""
    return {
        str(argument.target)
        for node in graph.nodes
        if str(node.target).startswith(_LAYERS)
        for argument in node.args
        if isinstance(argument, torch.fx.Node) and argument.op == "get_attr"
    }
