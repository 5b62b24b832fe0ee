"""Reduced-precision arithmetic: weights and activations in bfloat16 or float16, as a .pt2."""

import torch
from torch import nn

from smoothcert.classifiers.copies import whole_copy
from smoothcert.classifiers.denoised import Denoised
from smoothcert.classifiers.preprocessed import Preprocessed
from smoothcert.compress.export import to_pt2
from smoothcert.compress.record import CompressionReport, counted
from smoothcert.compress.request import Request
from smoothcert.errors import ModelError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class _Reduced(nn.Module):
    """Images in float32, everything in between in the reduced type, logits in float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, images: torch.Tensor, *times: torch.Tensor) -> torch.Tensor:
        return self.network(images.to(self.dtype), *times).to(torch.float32)


def _reduced(network: nn.Module, dtype: torch.dtype, name: str) -> nn.Module:
    """A network whose weights are in the reduced type already, with what converts its images.

    What is in front stays in float32: 16 bits would round the differences to the mean.
    """
    if isinstance(network, Denoised):
        denoiser = _reduced(network.denoiser, dtype, name)
        return Denoised(denoiser, _reduced(network.network, dtype, name), network.wanted)
    if isinstance(network, Preprocessed):
        return Preprocessed(_reduced(network.network, dtype, name), network.wanted)
    if isinstance(network, torch.fx.GraphModule):
        raise ModelError(
            f"{name} is an exported graph, whose types are fixed, or its denoiser is. This target "
            "needs arch@weights.safetensors or package.module:factory for both."
        )
    return _Reduced(network.to(dtype), dtype)


def write(request: Request) -> CompressionReport:
    """Convert a torch network to `bf16` or `fp16` and export it with a dynamic batch."""
    request.no_argument()
    request.check_suffix(".pt2")
    shape, source = request.needed_inputs().shape, request.torch_source()
    dtype = _DTYPES[request.target]
    copy = whole_copy(source.module, source.name)
    to_pt2(_reduced(copy, dtype, source.name), shape, request.out)
    before = {k: v for k, v in source.module.state_dict().items() if v.is_floating_point()}
    after = copy.state_dict()
    changed = [int((value != after[key].to(value.dtype)).sum()) for key, value in before.items()]
    said = f"weights and arithmetic in {str(dtype).removeprefix('torch.')}"
    found = counted(changed, sum(v.numel() for v in before.values()))
    return request.report(said, found, sum(v.nbytes for v in before.values()))
