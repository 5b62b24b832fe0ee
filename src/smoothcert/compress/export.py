"""A torch network as an ONNX file, float32, with a dynamic batch dimension, or as a program."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothcert.classifiers.blame import first_line, root_of
from smoothcert.classifiers.pytorch import set_training
from smoothcert.classifiers.quiet import quiet
from smoothcert.compress import onnx_graph
from smoothcert.compress.record import CompressionReport
from smoothcert.compress.request import Request
from smoothcert.errors import ModelError

_OPSET = 20


def write(request: Request) -> CompressionReport:
    """Write the network behind a torch reference as ONNX; no weight changes."""
    request.no_argument()
    request.check_suffix(".onnx")
    shape, source = request.needed_inputs().shape, request.torch_source()
    to_onnx(source.module, shape, request.out, source.rows)
    state = source.module.state_dict().values()
    size = sum(tensor.nbytes for tensor in state)
    return request.report("export to ONNX", (0, len(state), 0.0), size, exact=True)


Rows = int | range | None
"""The batch sizes that a network takes: only one, some, or any."""


def to_onnx(module: nn.Module, shape: tuple[int, ...], out: Path, rows: Rows = None) -> None:
    """Export with torch.onnx (dynamo), one self-contained file without notes of its source.

    Raises:
        ModelError: torch cannot export the module.
    """
    example, dynamic = _batch(shape, rows)
    with quiet(), exporting("the network to ONNX"):
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=dynamic,
            opset_version=_OPSET,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None  # dynamo=True always returns one
        program.save(str(out), external_data=False)
    onnx_graph.save(onnx_graph.without_notes(out), out)


def to_pt2(module: nn.Module, shape: tuple[int, ...], out: Path) -> None:
    """Export with torch.export, with a dynamic batch dimension.

    Raises:
        ModelError: torch cannot export the module.
    """
    with quiet(), exporting("the network"):
        save_pt2(exported(set_training(module, False), shape), out)


def exported(
    module: nn.Module, shape: tuple[int, ...], rows: Rows = None
) -> torch.export.ExportedProgram:
    """The program of a module for inputs of a shape."""
    example, dynamic = _batch(shape, rows)
    return torch.export.export(module, (example,), dynamic_shapes=dynamic)


def save_pt2(program: torch.export.ExportedProgram, out: Path) -> None:
    """Write a program via memory: torch's own writer ends the process when the disk is full."""
    archive = io.BytesIO()
    torch.export.save(program, archive)
    out.write_bytes(archive.getvalue())


def _batch(shape: tuple[int, ...], rows: Rows) -> tuple[torch.Tensor, Any]:
    """An example, and which of its dimensions is dynamic."""
    if isinstance(rows, int):
        return torch.full((rows, *shape), 0.5), None
    limits = {"min": rows.start, "max": rows[-1]} if rows else {}
    count = max(2, rows.start) if rows else 2  # one row would become a constant
    return torch.full((count, *shape), 0.5), ({0: torch.export.Dim("batch", **limits)},)


@contextmanager
def exporting(what: str) -> Iterator[None]:
    """What an exporter raises, as a ModelError with the first cause."""
    try:
        yield
    except OSError:
        raise  # a full disk is not the network's fault
    except Exception as error:  # the exporter wraps whatever the module raises
        why = first_line(root_of(error))
        raise ModelError(
            f"torch cannot export {what}: {why}. Its forward must be one graph: no branch on the "
            "values of tensors, no NumPy inside. certify takes it unchanged."
        ) from error
