"""A torch network as an ONNX file, float32, with a dynamic batch dimension."""

from pathlib import Path

import torch
from torch import nn

from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.record import Change
from smoothcert.compress.request import Request
from smoothcert.errors import ModelError

_OPSET = 20


def write(request: Request) -> Change:
    """Write the network behind a torch reference as ONNX; no weight changes."""
    request.no_argument()
    request.check_suffix(".onnx")
    shape, out = request.needed_inputs().shape, request.out
    module = request.torch_source().module
    to_onnx(module, shape, out)
    size = sum(p.numel() * p.element_size() for p in module.state_dict().values())
    count = len(module.state_dict())
    return Change(out, "export to ONNX", 0, count, 0.0, size, out.stat().st_size, exact=True)


def to_onnx(module: nn.Module, shape: tuple[int, ...], out: Path) -> None:
    """Export with torch.onnx (dynamo), one self-contained file.

    Raises:
        ModelError: torch cannot export the module.
    """
    example = torch.full((2, *shape), 0.5)
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=_OPSET,
                input_names=["images"],
                output_names=["logits"],
                verbose=False,
            )
            assert program is not None  # dynamo=True always returns one
            program.save(str(out), external_data=False)
    except Exception as error:  # the exporter wraps whatever the module raises
        raise ModelError(
            f"torch cannot export the network to ONNX: {str(error).strip().splitlines()[0]}"
        ) from error


def to_pt2(module: nn.Module, shape: tuple[int, ...], out: Path) -> None:
    """Export with torch.export, with a dynamic batch dimension.

    Raises:
        ModelError: torch cannot export the module.
    """
    try:
        with quiet():
            program = torch.export.export(
                module.eval(),
                (torch.full((2, *shape), 0.5),),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
            torch.export.save(program, out)
    except Exception as error:  # the exporter wraps whatever the module raises
        raise ModelError(
            f"torch cannot export the network: {str(error).strip().splitlines()[0]}"
        ) from error
