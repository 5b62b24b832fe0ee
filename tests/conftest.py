"""Shared, small and real: digits, a network trained on them, a classifier with known truth."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import smoothcert
from smoothcert import tries
from support.known_truth import PixelSum
from support.no_network_plugin import no_network  # noqa: F401 - for every test

# As the command line does, before torch is imported: its threads would spin otherwise.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
from smoothcert.data.inputs import Inputs

# A shell ignores SIGINT in what it starts in the background, and so would all that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item):
    """What is full is slow, too, so that `-m "not slow"` leaves it out."""
    if item.get_closest_marker("full"):
        item.add_marker("slow")


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True, scope="module")
def asked_nothing_in_another_module():
    """As in a process of its own: no seed was used by another test."""
    tries._here.clear()


@pytest.fixture(autouse=True)
def asked_nothing():
    """Nor by another one of the same module, or by a fixture that several share."""
    tries._here.clear()
    yield
    tries._here.clear()


@pytest.fixture(scope="session")
def digits() -> Inputs:
    return smoothcert.load_inputs("digits", limit=12)


@pytest.fixture(scope="module")
def server():
    """A real object store on this machine."""
    pytest.importorskip("moto", reason="needs a store of objects: pip install 'moto[s3]' flask")
    from support.object_store_server import serving

    with serving() as found:
        yield found


@pytest.fixture
def bucket(server):
    """The same, without trouble, counting requests from the start."""
    server.forget()
    yield server
    server.forget()


@pytest.fixture(scope="session")
def network():
    """A small network trained on digits at sigma 0.25, a few seconds."""
    from smoothcert.training.gaussian import Recipe, train

    return train(Recipe("small_cnn", 0.25, epochs=12), smoothcert.load_inputs("digits", "train"))


@pytest.fixture(scope="session")
def models(network, tmp_path_factory) -> Path:
    """The network in every format, and its approximations."""
    from smoothcert.classifiers.pytorch import save_weights
    from smoothcert.compress import compress

    folder = tmp_path_factory.mktemp("models")
    weights = folder / "net.safetensors"
    save_weights(network, "small_cnn", weights)
    data = smoothcert.load_inputs("digits", "train")
    model = f"small_cnn@{weights}"
    compress(model, "onnx", folder / "net.onnx", inputs=data)
    compress(model, "int8", folder / "int8.onnx", inputs=data, sigma=0.25)
    compress(model, "prune:0.2", folder / "prune.safetensors")
    compress(model, "bf16", folder / "bf16.pt2", inputs=data)
    return folder


@pytest.fixture(scope="session")
def tiny_inputs() -> Inputs:
    """Thirty inputs of shape (1, 2, 2) on the grid 1/16, all with true probability around 0.8."""
    images = np.full((30, 1, 2, 2), 8 / 16)
    return Inputs.from_arrays(images, np.ones(30, int), 1 / 16)


@pytest.fixture
def pixel_sum() -> PixelSum:
    return PixelSum(threshold=28)
