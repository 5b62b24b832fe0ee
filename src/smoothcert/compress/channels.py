"""Channel pruning: whole filters are removed, so the network has fewer weights and operations."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.fx import GraphModule

from smoothcert import zoo
from smoothcert.classifiers.pytorch import save_weights, set_training
from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.channel_graph import OF_A_CHANNEL, InnerLayer, Widths, tensors, widths
from smoothcert.compress.export import exported, exporting, save_pt2
from smoothcert.compress.record import CompressionReport, differences
from smoothcert.compress.request import Request, part
from smoothcert.compress.torch_weights import matrices
from smoothcert.errors import ModelError

_MOST_REASONS = 3

State = dict[str, torch.Tensor]


def write(request: Request) -> CompressionReport:
    """Remove a fraction of the inner channels of a network of the zoo, or of any torch network.

    Inner channels are those that one layer writes and one other reads. In every such layer the
    filters with the smallest L1 norm are removed (Li et al. 2017, section 3.3 for residual blocks),
    the fraction rounded down to whole channels and never all of them. A removed channel counts as
    zero in its reader; nothing is retrained, but `finetune` can do so.

    Weights of the zoo stay weights (safetensors): in a residual block its inner channels are those
    between its two convolutions, in `small_cnn` those of the first two, in `lenet` those of the
    first. The zoo reads these widths from the weights. Every other torch network becomes a program
    (.pt2), and `channel_graph` finds its inner channels, also those before its last layer. Either
    result can be compressed further.
    """
    fraction = request.fraction()
    if request.file.suffix == ".onnx":
        raise ModelError(
            f"prune-channels takes torch models; got {request.model!r}. Prune the network that it "
            "was exported from, and write that by `--to onnx`."
        )
    if request.reference.is_of_the_zoo and request.out.suffix != ".pt2":
        return _of_the_zoo(request, fraction)
    return _of_any(request, fraction)


def _of_the_zoo(request: Request, fraction: float) -> CompressionReport:
    request.check_suffix(".safetensors")
    architecture, before = request.zoo_source()
    layers = [
        InnerLayer(
            f"{convolution}.weight",
            tuple(name for name in _owned(convolution, normalization) if name in before),
            f"{reader}.weight",
        )
        for convolution, normalization, reader in zoo.inner_layers(architecture, before)
    ]
    after = slimmed(before, layers, fraction)
    save_weights(
        zoo.rebuild(architecture, after), architecture, request.out, compressed=request.target
    )
    return _report(request, layers, before, after)


def _owned(convolution: str, normalization: str) -> list[str]:
    """What a channel has besides its filter; a normalization may be missing."""
    bias = [f"{convolution}.bias"]
    return bias + [f"{normalization}.{name}" for name in OF_A_CHANNEL if normalization]


def _of_any(request: Request, fraction: float) -> CompressionReport:
    request.check_suffix(".pt2")
    shape, source = request.needed_inputs().shape, request.torch_source()
    with quiet(), exporting("the network"):
        program = exported(set_training(source.module, False), shape, source.rows).module()
    assert isinstance(program, GraphModule)
    found = widths(program)
    if not found.layers:
        raise ModelError(_refusal(source.name, found))
    before = dict(tensors(program))
    after = slimmed(before, found.layers, fraction)
    _replace(program, found.layers, after)
    with quiet(), exporting("the network without these channels"):
        save_pt2(exported(program, shape, source.rows), request.out)
    return _report(request, found.layers, before, after)


def _refusal(name: str, found: Widths) -> str:
    if not found.kept:
        return (
            f"{name} has no convolutions or linear layers, perhaps only products of matrices. "
            "Export it without run_decompositions()."
        )
    more = len(found.kept) - _MOST_REASONS
    reasons = "; ".join([*found.kept[:_MOST_REASONS], *([f"and {more} more"] if more > 0 else [])])
    return (
        f"{name} has no channels that one layer writes and only one other reads, through "
        f"operations on each channel by itself: {reasons}. "
        "prune-layers or lowrank make its layers smaller without this."
    )


def slimmed(
    state: Mapping[str, torch.Tensor], layers: Sequence[InnerLayer], fraction: float
) -> State:
    """The tensors without the smallest filters of these layers.

    Layer by layer: a filter's norm does not count its kernels for channels already removed (the
    greedy strategy of Li et al. 2017, section 3.2).
    """
    state = dict(state)
    for layer in layers:
        weight = state[layer.weight]
        norms = weight.abs().sum(tuple(range(1, weight.ndim)))
        order = norms.argsort(stable=True)
        kept = order[part(fraction, len(order)) :].sort().values
        state |= {name: state[name][kept] for name in (layer.weight, *layer.others)}
        columns = kept[:, None] * layer.columns + torch.arange(layer.columns)
        state[layer.reader] = state[layer.reader][:, columns.flatten()]
    return state


def _replace(program: GraphModule, layers: Sequence[InnerLayer], state: State) -> None:
    """Put narrower tensors into a program, and shapes that do not name the old widths."""
    for name in {n for x in layers for n in (x.weight, *x.others, x.reader)}:
        owner, _, own = name.rpartition(".")
        module = program.get_submodule(owner)
        if own in module._parameters:
            setattr(module, own, nn.Parameter(state[name].contiguous(), requires_grad=False))
        else:
            module.register_buffer(own, state[name].contiguous())
    rows = {name for layer in layers for name in layer.flattened}
    for node in list(program.graph.nodes):
        if node.name in rows:
            node.target, node.kwargs = torch.ops.aten.flatten.using_ints, {}
            node.args = (node.args[0], 1)
    program.recompile()


def _report(
    request: Request, layers: Sequence[InnerLayer], before: State, after: State
) -> CompressionReport:
    width, left = (sum(len(state[x.weight]) for x in layers) for state in (before, after))
    said = f"{width - left} of {width} inner channels removed (smallest L1 norm)"
    return request.report(said, differences(matrices(before), matrices(after)))
