"""Which channels of a network only one layer reads, found in its exported graph.

A convolution or linear layer may lose outputs if they go through operations on each channel by
itself, and then into one other such layer and nowhere else. All other layers stay as they are:
whatever is added, concatenated, multiplied with another tensor, grouped or used twice.
"""

import math
import operator
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx import GraphModule, Node

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution")
_NORMALIZATIONS = ("batch_norm", "_native_batch_norm_legit_no_training", "instance_norm")
OF_A_CHANNEL = ("weight", "bias", "running_mean", "running_var")
_UNARY = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardtanh"),
    *("hardswish", "hardsigmoid", "sigmoid", "tanh", "softplus", "softsign", "logsigmoid"),
    *("threshold", "hardshrink", "softshrink", "log_sigmoid", "clamp", "clamp_min", "clamp_max"),
    *("abs", "neg", "exp", "sqrt", "square", "sin", "cos", "erf", "pow", "add", "sub", "rsub"),
    *("mul", "div", "clone", "contiguous", "detach", "alias", "to", "_to_copy"),
)
"""Functions of one number, where they have no second tensor."""

_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_OF_A_PLANE = re.compile(
    r"(max_pool|avg_pool|adaptive_avg_pool|adaptive_max_pool|_adaptive_avg_pool|lp_pool|"
    r"upsample_nearest|_upsample_nearest_exact|upsample_linear|upsample_bilinear|upsample_bicubic|"
    r"upsample_trilinear)(\d)d(_with_indices)?"
)
_PADS = ("pad", "constant_pad_nd")
_MEANS = ("mean", "sum", "amax", "amin")
_SHAPES = ("flatten", "view", "reshape", "_unsafe_view", "squeeze")


@dataclass(frozen=True)
class InnerLayer:
    """A layer whose outputs only one other layer reads.

    Attributes:
        weight: name of its weights (channels, ...).
        others: names of tensors with one value per channel: its bias, a normalization.
        reader: name of the weights (outputs, columns, ...) that read them.
        columns: how many columns of the reader there are per channel, one after the other.
        flattened: names of the graph's nodes that make rows of the channels' planes.
    """

    weight: str
    others: tuple[str, ...]
    reader: str
    columns: int = 1
    flattened: tuple[str, ...] = ()


@dataclass(frozen=True)
class Widths:
    """What a graph has of inner layers, in the order of computation.

    Attributes:
        layers: those that may lose channels.
        kept: the other convolutions and linear layers, each with the reason.
    """

    layers: tuple[InnerLayer, ...]
    kept: tuple[str, ...]


def widths(program: GraphModule) -> Widths:
    """Find the inner layers of an exported program."""
    uses: Counter[int] = Counter()
    for node in program.graph.nodes:
        if node.op == "get_attr":
            uses[_place(program, node)] += len(node.users)
    layers, kept = [], []
    for node in program.graph.nodes:
        if _name(node) not in (*_CONVOLUTIONS, "linear"):
            continue
        try:
            layers.append(_Walk(program, uses).from_layer(node))
        except _Kept as reason:
            weight = _argument(node, "weight")
            name = weight.target if isinstance(weight, Node) else node.name
            kept.append(f"{name} {reason}")
    return Widths(tuple(layers), tuple(kept))


class _Kept(Exception):
    """Why a layer keeps its width."""


@dataclass(frozen=True)
class _At:
    """A tensor on the way from a layer to its reader.

    Attributes:
        node: what computes it.
        axis: where its channels are.
        layer: what is known by now; its reader is empty.
    """

    node: Node
    axis: int
    layer: InnerLayer


@dataclass(frozen=True)
class _Walk:
    program: GraphModule
    uses: Counter[int]

    def from_layer(self, node: Node) -> InnerLayer:
        """Follow a layer's output to the only layer that reads it; `_Kept` if there is none."""
        weight = self._weights(node)
        spatial = _shape(weight)[2:]
        axis = 1 if spatial else len(_shape(node)) - 1
        if spatial and len(_shape(node)) != 2 + len(spatial):
            raise _Kept("takes no batches")
        others = self._own(_argument(node, "bias"))
        at = _At(node, axis, InnerLayer(str(weight.target), others, ""))
        while True:
            user = _only_user(at.node)
            if _name(user) in (*_CONVOLUTIONS, "linear"):
                return self._read(at, user)
            at = self._after(at, user)

    def _weights(self, node: Node) -> Node:
        """The weights of an ungrouped layer, which nothing else uses."""
        if _argument(node, "groups") not in (None, 1) or _argument(node, "transposed"):
            raise _Kept("is grouped or transposed")
        weight = _argument(node, "weight")
        self._own(weight)
        if not _tensor(self.program, weight).is_floating_point():
            raise _Kept("has quantized weights")
        return weight

    def _own(self, node: Any) -> tuple[str, ...]:
        """The name of a stored tensor that is used once; empty for none."""
        if node is None:
            return ()
        if not isinstance(node, Node) or node.op != "get_attr":
            raise _Kept("has computed weights")
        if self.uses[_place(self.program, node)] != 1:
            raise _Kept("has weights that are used twice")
        return (str(node.target),)

    def _read(self, at: _At, user: Node) -> InnerLayer:
        """The layer, if this one reads its channels as its own inputs."""
        try:
            weight = self._weights(user)
        except _Kept as reason:
            raise _Kept(f"is read by {user.name}, which {reason}") from reason
        spatial = len(_shape(weight)) - 2
        axis = 1 if spatial else len(_shape(at.node)) - 1
        batched = not spatial or len(_shape(at.node)) == 2 + spatial
        if _argument(user, "input") is not at.node or at.axis != axis or not batched:
            raise _Kept(f"is read along another axis by {user.name}")
        if _shape(weight)[1] != _shape(at.node)[axis] or (spatial and at.layer.columns != 1):
            raise _Kept(f"is read in another order by {user.name}")
        return replace(at.layer, reader=str(weight.target))

    def _after(self, at: _At, user: Node) -> _At:
        """The next tensor, after an operation on each channel by itself."""
        name, inputs, layer = _name(user), user.all_input_nodes, at.layer
        first = bool(user.args) and user.args[0] is at.node
        plane = _OF_A_PLANE.fullmatch(name)
        numbers = (int, float, torch.SymInt)
        tensors_in = [node for node in inputs if not isinstance(node.meta.get("val"), numbers)]
        alone = first and tensors_in == [at.node]
        if first and name in _NORMALIZATIONS and at.axis == 1 and layer.columns == 1:
            if _argument(user, "training"):
                raise _Kept("is normalized by its batch")
            more = [_argument(user, each) for each in OF_A_CHANNEL]
            others = [name for node in more for name in self._own(node)]
            return _At(user, 1, replace(layer, others=(*layer.others, *others)))
        if first and name == "prelu":
            slopes = _argument(user, "weight")
            single = math.prod(_shape(slopes)) == 1
            if single or (at.axis == 1 and layer.columns == 1):
                others = () if single else self._own(slopes)
                return _At(user, at.axis, replace(layer, others=(*layer.others, *others)))
        if alone and name in _DROPOUTS and not _argument(user, "train"):
            return replace(at, node=user)
        if alone and (name in _UNARY or (user.target is operator.getitem and user.args[1] == 0)):
            return replace(at, node=user)
        if alone and plane and at.axis == 1 and len(_shape(at.node)) == 2 + int(plane[2]):
            return replace(at, node=user)
        pads = len(_argument(user, "pad") or ()) if name in _PADS else 0
        if alone and at.axis == 1 and 0 < pads <= 2 * (len(_shape(at.node)) - 2):
            return replace(at, node=user)
        if alone and name in _MEANS:
            return replace(at, node=user, axis=_axis_after(at, user))
        if first and name in _SHAPES and at.axis == 1:
            return _flattened(at, user)
        raise _Kept(f"goes into {name}")


def _axis_after(at: _At, user: Node) -> int:
    """Where the channels are after a mean over other axes."""
    dims = _argument(user, "dim")
    count = len(_shape(at.node))
    gone = {dim % count for dim in ([dims] if isinstance(dims, int) else dims or range(count))}
    if at.axis in gone or 0 in gone:
        raise _Kept(f"goes into {_name(user)} over channels")
    return at.axis if _argument(user, "keepdim") else at.axis - sum(d < at.axis for d in gone)


def _flattened(at: _At, user: Node) -> _At:
    """Rows of the channels' planes, one channel after the other."""
    before, after = _shape(at.node), _shape(user)
    sizes = before[1:]
    known = all(isinstance(size, int) for size in sizes)
    if not known or len(after) != 2 or str(after[0]) != str(before[0]):
        raise _Kept(f"goes into {_name(user)} of another shape")
    columns = at.layer.columns * math.prod(sizes[1:])
    layer = replace(at.layer, columns=columns, flattened=(*at.layer.flattened, user.name))
    return _At(user, 1, layer)


def _only_user(node: Node) -> Node:
    users = [user for user in node.users if not _asks_only(user)]
    if not users or users[0].op == "output":
        raise _Kept("is what the network returns")
    if len(users) > 1:
        raise _Kept(f"is read by {len(users)} operations")
    return users[0]


def _asks_only(user: Node) -> bool:
    """Whether it asks for the batch size or the type of a tensor alone, or for what none uses."""
    if user.target is operator.getitem:
        return not user.users
    if _name(user) == "sym_size":
        return _argument(user, "dim") == 0
    sizes = (_argument(user, "size"), _argument(user, "stride"))
    return _name(user) == "_assert_tensor_metadata" and all(one is None for one in sizes)


def _name(node: Node) -> str:
    """An operation's name without `aten.`, its variant and the mark of in place; else as it is."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return target._schema.name.removeprefix("aten::").removesuffix("_")
    return node.op if node.op != "call_function" else getattr(target, "__name__", str(target))


def _argument(node: Node, name: str) -> Any:
    """What an operation gets under a name of its schema; None if it has none."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    for place, one in enumerate(node.target._schema.arguments):
        if one.name == name:
            given = node.args[place] if place < len(node.args) else node.kwargs.get(name)
            return one.default_value if given is None else given
    return None


def _shape(node: Node) -> tuple[Any, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _tensor(program: GraphModule, node: Node) -> torch.Tensor:
    found: Any = program
    for part in str(node.target).split("."):
        found = getattr(found, part)
    return found


def _place(program: GraphModule, node: Node) -> int:
    """Where a stored tensor is in memory: the same for two names of one; 0 for no tensor."""
    found = _tensor(program, node)
    return found.untyped_storage().data_ptr() if isinstance(found, torch.Tensor) else 0


def tensors(program: GraphModule) -> Iterator[tuple[str, torch.Tensor]]:
    """Every stored tensor that the graph uses, by name."""
    for node in program.graph.nodes:
        if node.op == "get_attr" and isinstance(found := _tensor(program, node), torch.Tensor):
            yield str(node.target), found.detach()
