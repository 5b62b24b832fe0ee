"""Untrained networks of the zoo whose normalization statistics are not the trivial ones."""

from pathlib import Path

import numpy as np
import torch

import smoothcert
from smoothcert import zoo
from smoothcert.classifiers.pytorch import save_weights


def random_network(architecture: str, channels: int = 1, seed: int = 0) -> torch.nn.Module:
    """A fresh network with random normalization, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = zoo.build(architecture, channels, 10)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.weight, 1.0, 0.3)
                torch.nn.init.normal_(module.bias, 0.0, 0.3)
                torch.nn.init.normal_(module.running_mean, 0.0, 0.3)
                torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


def saved(network: torch.nn.Module, architecture: str, path: Path) -> Path:
    """The network's weights as a file that says its architecture."""
    save_weights(network, architecture, path)
    return path


def logits(model, shape=(1, 8, 8), count: int = 100, seed: int = 0) -> np.ndarray:
    """What a model says of random images."""
    images = np.random.default_rng(seed).random((count, *shape), dtype=np.float32)
    return smoothcert.load_classifier(model).logits(images)


def weights(path: Path) -> dict[str, np.ndarray]:
    """The convolution and linear weights of a file, read without this package's reader."""
    from safetensors.numpy import load_file

    return {key: tensor for key, tensor in load_file(path).items() if tensor.ndim > 1}
