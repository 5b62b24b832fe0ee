"""Dynamic int8 by ONNX Runtime: int8 weights of 7 bits, activation scales computed in every batch.

One scale serves the whole batch, so a row's result depends on its neighbours. Draws labelled
together would not be independent and no certificate would hold: the probe before every run
refuses such a model except with `--batch-size 1`. Use `int8`, whose scales are fixed, unless the
model to be certified is this one.
"""

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.int8 import prepared, quantized_change, refusals
from smoothcert.compress.record import CompressionReport
from smoothcert.compress.request import Request


def write(request: Request) -> CompressionReport:
    """Quantize the convolutions and matrix products of an ONNX model, or of a torch one."""
    request.no_argument()
    request.check_suffix(".onnx")
    with tempfile.TemporaryDirectory() as folder:
        source, size = prepared(request, Path(folder))
        with quiet(), refusals(request):
            quantize_dynamic(
                *(source, request.out),
                per_channel=True,
                reduce_range=True,  # so that no processor clips sums, as in `int8`
                weight_type=QuantType.QInt8,
            )
        method = "dynamic int8 (per-channel weights of 7 bits, one activation scale per batch)"
        return quantized_change(request, onnx.load(source), size, method, batch_dependent=True)
