"""Programs of torch.export (.pt2)."""

from importlib import import_module
from pathlib import Path

import torch

from smoothcert.classifiers.blame import first_line
from smoothcert.classifiers.pt2_ends import Ends, batches, sizes_of, with_plain_ends, with_time
from smoothcert.classifiers.pt2_guard import checked_pt2
from smoothcert.classifiers.pytorch import TorchClassifier, check_device
from smoothcert.classifiers.quiet import quiet
from smoothcert.classifiers.reference import ModelReference
from smoothcert.errors import ModelError
from smoothcert.files import fingerprint_file


def load_file(path: Path, device: str, _reference: ModelReference) -> TorchClassifier:
    """Load a torch.export archive, after checking that it holds only tensors and tensor ops.

    Raises:
        ModelError: damaged, in an older format, or containing anything that can run code.
    """
    return _loaded(path, device, with_plain_ends)


def load_timed(path: Path, device: str) -> TorchClassifier:
    """Likewise a denoiser of images and a time (or sigma) for each.

    Raises:
        ModelError: see `load_file`; or it takes and returns something else.
    """
    return _loaded(path, device, with_time)


def _loaded(path: Path, device: str, with_ends: Ends) -> TorchClassifier:
    check_device(device)
    archive = checked_pt2(path)
    try:
        with quiet():
            if b"quantized_decomposed" in archive.getvalue():
                # Registers those operators: torch's own code, none of the archive's.
                import_module("torch.ao.quantization.fx._decomposed")
            program = torch.export.load(archive)
            module = with_ends(program, path.name).to(device)
    except ModelError:
        raise
    except Exception as error:  # torch raises many kinds; all mean that the file is unusable
        if "CUDA" in str(error):
            raise ModelError(
                f"{path.name} was exported on a GPU, but there is none here. Export it again after "
                f"model.cpu(), with the example on the CPU too. ({first_line(error)})"
            ) from error
        raise ModelError(
            f"{path.name} cannot be loaded as a torch.export program: {first_line(error)}. "
            "It was made by another version or is damaged: export it again with the installed "
            f"torch ({torch.__version__}): torch.export.save(torch.export.export(...), 'x.pt2')."
        ) from error
    takes = sizes_of(module)
    sizes = batches(program, takes)
    fixed = sizes if isinstance(sizes, int) else None
    return TorchClassifier(
        *(module, path.name, fingerprint_file(path), device),
        fixed_batch=fixed,
        batches=sizes if isinstance(sizes, range) else None,
        takes=tuple(n if isinstance(n, int) else 0 for n in takes),
    )
