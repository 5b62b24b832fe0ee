"""Static int8 by ONNX Runtime: QDQ, per-channel int8 weights, uint8 activations.

Scales are calibrated on noisy inputs, since those are what a smoothed classifier sees, and
are fixed afterwards, so a row's result does not depend on its batch.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from smoothcert.classifiers.loading import checked_file, file_of
from smoothcert.classifiers.quiet import quiet
from smoothcert.compress.export import to_onnx
from smoothcert.compress.record import Change
from smoothcert.compress.request import Request
from smoothcert.sampling.engine import to_float
from smoothcert.sampling.inputs import Inputs
from smoothcert.sampling.noise import RoundedGaussian, Stream

_IMAGES = 256
_BATCH = 64


def write(request: Request) -> Change:
    """Quantize an ONNX model, or a torch one by way of ONNX."""
    request.no_argument()
    request.check_suffix(".onnx")
    sigma, inputs, out = request.needed_sigma(), request.needed_inputs(), request.out
    with tempfile.TemporaryDirectory() as folder:
        _, source = file_of(request.model) or ("", Path())
        if checked_file(source).suffix != ".onnx":
            source = Path(folder) / "float.onnx"
            to_onnx(request.torch_source().module, inputs.shape, source)
        prepared = Path(folder) / "prepared.onnx"
        name = onnx.load(source).graph.input[0].name
        with quiet():
            quant_pre_process(str(source), str(prepared))
            quantize_static(
                str(prepared),
                str(out),
                _Calibration(name, inputs, sigma, request.seed),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        return _change(prepared, out, source.stat().st_size)


class _Calibration(CalibrationDataReader):
    """Noisy batches of the first inputs, in the interface of ONNX Runtime."""

    def __init__(self, name: str, inputs: Inputs, sigma: float, seed: int) -> None:
        noise = RoundedGaussian(sigma, 1 / inputs.levels)
        chosen = [inputs.item(p) for p in range(min(_IMAGES, len(inputs)))]
        steps = np.stack(
            [
                i.pixels + noise.draws(seed, i.index, Stream.PROBE, [0], inputs.shape)[0]
                for i in chosen
            ]
        )
        batches = np.array_split(to_float(steps, inputs.levels), -(-len(steps) // _BATCH))
        self._feeds = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict | None:  # type: ignore[override]
        """The next batch, or None after the last."""
        return next(self._feeds, None)


def _change(before: Path, after: Path, size: int) -> Change:
    """Count the weight tensors that became int8, and the values that rounding moved."""
    originals = {
        t.name: numpy_helper.to_array(t)
        for t in onnx.load(before).graph.initializer
        if len(t.dims) > 1
    }
    now = {t.name: t for t in onnx.load(after).graph.initializer}
    quantized = [n for n in originals if f"{n}_quantized" in now]
    total = sum(w.size for w in originals.values())
    return Change(
        path=after,
        method="static int8 (QDQ, per-channel weights)",
        tensors_changed=len(quantized),
        tensors=len(originals),
        fraction_changed=sum(originals[n].size for n in quantized) / max(1, total),
        bytes_before=size,
        bytes_after=after.stat().st_size,
    )
