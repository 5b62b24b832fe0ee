"""The weights of any torch network's layers, changed in a copy that is written as a program."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from smoothcert.classifiers.copies import whole_copy
from smoothcert.compress.export import to_pt2
from smoothcert.compress.request import Request
from smoothcert.errors import ModelError

Weights = Mapping[str, NDArray[Any]]

_LAYERS = ("aten.conv", "aten.linear", "aten.addmm", "aten.mm", "aten.matmul")


def rewrite(
    request: Request, change: Callable[[Weights], Weights], every: bool = False
) -> tuple[Weights, Weights]:
    """Write the network with changed weights; return them before and after.

    Args:
        request: of a torch model, to a .pt2 file.
        change: from the weights by name to the new ones, of the same shapes.
        every: all floating-point parameters and buffers, not only the weights of layers.

    Raises:
        ModelError: not a torch model, or without weights that can be changed.
    """
    request.check_suffix(".pt2")
    shape, source = request.needed_inputs().shape, request.torch_source()
    network = whole_copy(source.module, source.name)
    state = network.state_dict(keep_vars=True)
    names = layer_weights(network)
    if every:
        names = [name for name, tensor in state.items() if tensor.is_floating_point()]
    if not names:
        raise ModelError(
            f"{source.name} has no float32 weights of convolutions or linear layers, perhaps as "
            "they are quantized. Compress the network that it was made from."
        )
    before = {name: state[name].detach().float().numpy().copy() for name in names}
    after = change(before)
    with torch.no_grad():
        for name, values in after.items():
            state[name].copy_(torch.from_numpy(values))
    to_pt2(network, shape, request.out)
    return before, after


def layer_weights(network: nn.Module) -> list[str]:
    """Names of the float weights of convolutions, linear layers and attention, in order.

    Also of those in an exported program, by itself or behind its preprocessing.
    """
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)
    found = []
    for name, module in network.named_modules():
        if isinstance(module, torch.fx.GraphModule):
            used = _used_by_layers(module.graph)
            own = [(key, p) for key, p in module.named_parameters() if key in used]
        elif isinstance(module, kinds):
            own = list(module.named_parameters(recurse=False))
        else:
            continue
        found += [f"{name}.{key}" if name else key for key, p in own if _is_matrix(p)]
    return found


def _used_by_layers(graph: torch.fx.Graph) -> set[str]:
    """Names of what an exported program's layers multiply by."""
    return {
        str(argument.target)
        for node in graph.nodes
        if str(node.target).startswith(_LAYERS)
        for argument in node.args
        if isinstance(argument, torch.fx.Node) and argument.op == "get_attr"
    }


def _is_matrix(parameter: torch.Tensor) -> bool:
    return parameter.ndim > 1 and parameter.is_floating_point()
