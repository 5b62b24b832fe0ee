"""Static int8 by torchao's PT2E, as a .pt2: calibrated on noisy inputs, fixed afterwards.

The archive holds int8 weights (per channel) and quantize and dequantize operators around
float32 convolutions. Loaded and run here, values are on the int8 grids and the arithmetic in
between is float32: it is simulated int8, without a gain in speed. `torch.compile` with freezing
turns the same graph into integer convolutions on x86. Certificates are about the program as
loaded. For integer arithmetic use `int8`.
"""

from collections.abc import Iterator

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.calibration import batches_of, noisy_batches
from smoothcert.compress.export import exported, save_pt2
from smoothcert.compress.record import CompressionReport, counted
from smoothcert.compress.request import Request
from smoothcert.errors import ModelError

_LAYERS = ("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.linear")


def write(request: Request) -> CompressionReport:
    """Quantize a torch network with X86InductorQuantizer's default: uint8 in, int8 weights."""
    request.no_argument()
    request.check_suffix(".pt2")
    sigma, inputs = request.needed_sigma(), request.needed_inputs()
    source = request.torch_source()
    batches = noisy_batches(inputs, sigma, request.seed)
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config())
    try:
        with quiet(), torch.no_grad():
            program = exported(source.module, inputs.shape, source.rows)
            network = prepare_pt2e(program.module(), quantizer)
            for batch in batches_of(source.fixed_batch, batches):
                network(torch.from_numpy(batch))
            before = list(_weights(network))
            network = convert_pt2e(network)
            after = list(_weights(network))
            _drop_unused(network)
            save_pt2(exported(network, inputs.shape, source.rows), request.out)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"{source.name} cannot be quantized by PT2E: {str(error).strip().splitlines()[0]}. "
            "Use int8, which quantizes via ONNX."
        ) from error
    changed = [int((a != b).sum()) for a, b in zip(before, after, strict=True)]
    said = "static int8 by PT2E (per-channel weights), simulated: floating-point arithmetic "
    size = sum(tensor.nbytes for tensor in source.module.state_dict().values())
    found = counted(changed, sum(w.numel() for w in before))
    return request.report(f"{said}on the int8 grids", found, size)


def _weights(network: GraphModule) -> Iterator[torch.Tensor]:
    """The values of each layer's weight in the graph, dequantized if it is quantized."""
    attributes = dict(network.named_parameters()) | dict(network.named_buffers())

    def value(argument: object) -> object:
        if not isinstance(argument, Node):
            return argument
        if argument.op == "get_attr":
            return attributes[str(argument.target)]
        if argument.op == "call_module":  # an observer, which passes its input on
            return value(argument.args[0])
        return argument.target(*map(value, argument.args))  # type: ignore[operator]

    for node in network.graph.nodes:
        if node.op == "call_function" and str(node.target).startswith(_LAYERS):
            yield value(node.args[1])  # type: ignore[misc]


def _drop_unused(network: GraphModule) -> None:
    """Delete the float weights, which conversion leaves in addition to the integers."""
    used = {str(node.target) for node in network.graph.nodes if node.op == "get_attr"}
    for name in [n for n, _ in network.named_parameters() if n not in used]:
        owner, _, leaf = name.rpartition(".")
        delattr(network.get_submodule(owner), leaf)
