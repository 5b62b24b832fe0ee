"""The inputs and outputs of a torch.export program, as a graph of one tensor in and one out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves, tree_structure, treespec_dumps

from smoothcert.errors import ModelError

_PLAIN = treespec_dumps(tree_structure(((0,), {})))
"""How a call with one positional argument is nested."""

_TIMED = treespec_dumps(tree_structure(((0, 0), {})))

Ends = Callable[[torch.export.ExportedProgram, str], GraphModule]
"""What makes a module of a program with this name."""

_CAST = (torch.float16, torch.float64, torch.bfloat16)


def with_plain_ends(program: torch.export.ExportedProgram, name: str) -> GraphModule:
    """The program's module, called with only the images and returning only the logits.

    Numbers and None passed with the images keep their values from the export. Images in a
    keyword, a tuple or a dictionary, or in another float type, are passed that way.

    Raises:
        ModelError: several tensors in or out, or images of whole numbers.
    """
    module = program.module()
    assert isinstance(module, GraphModule)
    graph = module.graph
    given = [node for node in graph.nodes if node.op == "placeholder"]
    images = _only(given, name, "takes", "the images: make the others part of the module")
    dtype = images.meta["val"].dtype
    if not dtype.is_floating_point:
        raise ModelError(
            f"{name} takes {dtype}. Images with noise are fractions: export it with a float32 "
            "input for values in [0, 1]."
        )
    end = next(node for node in graph.nodes if node.op == "output")
    results = [node for node in tree_leaves(end.args) if isinstance(node, Node)]
    result = _only(results, name, "returns", "the class scores: export only these")
    plain = treespec_dumps(program.call_spec.in_spec) == _PLAIN  # type: ignore[arg-type]
    if plain and dtype == torch.float32 and program.call_spec.out_spec.is_leaf():  # type: ignore[union-attr]
        return module
    for other in given:
        if other is not images:
            _fix(other)
            graph.erase_node(other)
    if dtype in _CAST:
        _cast(images)
    images.args = ()
    end.args = (result,)
    graph.set_codegen(CodeGen())
    module._forward_pre_hooks.clear()  # they check the original inputs and outputs
    module.recompile()
    return module


def with_time(program: torch.export.ExportedProgram, name: str) -> GraphModule:
    """The module of a program that takes images and a number for each, and returns images.

    Raises:
        ModelError: it takes or returns something else, or takes them in another way.
    """
    module = program.module()
    assert isinstance(module, GraphModule)
    given = [node for node in module.graph.nodes if node.op == "placeholder"]
    spec = program.call_spec
    leaf = spec.out_spec.is_leaf()  # type: ignore[union-attr]
    plain = leaf and treespec_dumps(spec.in_spec) == _TIMED  # type: ignore[arg-type]
    values = [node.meta.get("val") for node in given]
    tensors = plain and all(isinstance(value, torch.Tensor) for value in values)
    if not tensors or values[0].dtype != torch.float32 or values[1].ndim != 1:
        raise ModelError(
            f"{name} must take two tensors, float32 images (B, C, H, W) and a time (B,), and "
            "return one: export it as torch.export.export(network, (images, time)), with a "
            "dynamic B."
        )
    _cast(given[1])
    module.recompile()
    return module


def sizes_of(module: GraphModule) -> tuple[Any, ...]:
    """The shape of a batch of images that a program states, numbers or symbols."""
    images = next(n for n in module.graph.nodes if n.op == "placeholder")
    return tuple(images.meta["val"].shape)


def batches(program: torch.export.ExportedProgram, sizes: Sequence[Any]) -> int | range | None:
    """The batch sizes that an export takes: only one, up to a maximum, or any."""
    size = sizes[0] if sizes else None
    if isinstance(size, int) or size is None:
        return size
    limits = program.range_constraints.get(size.node.expr)
    if limits is None or not limits.upper.is_Integer:
        return None
    return range(int(limits.lower), int(limits.upper) + 1)


def _only(nodes: Sequence[Node], name: str, does: str, meant: str) -> Node:
    """The only tensor among these nodes; a ModelError if there is not exactly one."""
    tensors = [n for n in nodes if isinstance(n.meta.get("val"), torch.Tensor)]
    if len(tensors) == 1:
        return tensors[0]
    shapes = ([s if isinstance(s, int) else "batch" for s in n.meta["val"].shape] for n in tensors)
    listed = ", ".join(
        f"{n.name} ({', '.join(map(str, shape))})"
        for n, shape in zip(tensors[:6], shapes, strict=False)
    )
    raise ModelError(
        f"{name} {does} {len(tensors)} tensors ({listed}); a classifier has one, {meant}."
    )


def _cast(node: Node) -> None:
    """Convert an argument to the type that it had at export, whatever type is passed."""
    users = list(node.users)
    with node.graph.inserting_after(node):
        cast = node.graph.call_function(torch.ops.aten.to.dtype, (node, node.meta["val"].dtype))
    for user in users:
        user.replace_input_with(node, cast)


def _fix(node: Node) -> None:
    """Put the value that an argument had at export into its users."""
    for user in list(node.users):
        user.args = map_arg(user.args, lambda arg: node.meta["val"] if arg is node else arg)
        user.kwargs = map_arg(user.kwargs, lambda arg: node.meta["val"] if arg is node else arg)
