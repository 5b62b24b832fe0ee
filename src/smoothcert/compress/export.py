"""A torch network as an ONNX file, float32, with a dynamic batch dimension."""

from pathlib import Path

import torch
from torch import nn

from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.compress import check_suffix, torch_source
from smoothcert.compress.record import Change
from smoothcert.errors import ModelError
from smoothcert.sampling.inputs import Inputs

_OPSET = 20


def export(model: str, out: Path, inputs: Inputs) -> Change:
    """Write the network behind a torch reference as ONNX; no weight changes."""
    check_suffix(out, ".onnx", "onnx")
    module = torch_source(model).module
    to_onnx(module, inputs.shape, out)
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
