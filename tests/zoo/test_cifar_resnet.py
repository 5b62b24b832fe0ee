"""The residual networks: the published shape, and buildable from their weights alone."""

import pytest
import torch

from smoothcert import zoo
from smoothcert.errors import ModelError
from smoothcert.zoo import cifar_resnet
from smoothcert.zoo.names import NORMALIZATIONS


@pytest.mark.parametrize(("depth", "thousands"), [(20, 270), (32, 460), (56, 850)])
def test_as_many_weights_as_published(depth, thousands):
    """He et al. (2016), table 6, counts 0.27, 0.46 and 0.85 million with parameterless
    shortcuts; the two 1x1 convolutions add 2,560 weights."""
    network = zoo.build(f"cifar_resnet{depth}", 3, 10)
    count = sum(p.numel() for p in network.parameters())
    assert count - 2560 == pytest.approx(1000 * thousands, rel=0.02)


def test_as_many_weighted_layers_as_its_name():
    network = zoo.build("cifar_resnet20", 3, 10)
    three = [m for m in network.modules() if getattr(m, "kernel_size", 0) == (3, 3)]
    assert len(three) + 1 == 20  # and the linear layer


def test_stages_halve_the_image():
    network = zoo.build("cifar_resnet8", 3, 10).eval()
    sizes = []
    for layer in network:
        if isinstance(layer, torch.nn.Sequential):
            layer.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[1:])))
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert sizes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


@pytest.mark.parametrize(("channels", "classes"), [(3, 10), (1, 7)])
def test_is_rebuilt_from_its_weights(channels, classes):
    network = zoo.build("cifar_resnet8", channels, classes).eval()
    again = zoo.rebuild("cifar_resnet8", network.state_dict())
    images = torch.rand(3, channels, 16, 16)
    assert torch.equal(network(images), again(images))


def test_the_normalization_is_inside():
    own = NORMALIZATIONS[cifar_resnet.NORMALIZATION]
    normalize = cifar_resnet.Normalize(own, 3)
    mean = torch.tensor(own.mean).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.equal(normalize(mean), torch.zeros(1, 3, 2, 2))


def test_weights_of_another_depth_do_not_fit():
    state = zoo.build("cifar_resnet8", 3, 10).state_dict()
    with pytest.raises(ModelError, match="do not fit the architecture 'cifar_resnet14'"):
        zoo.rebuild("cifar_resnet14", state)


def test_depths_are_six_n_plus_two():
    with pytest.raises(ValueError, match="6 n"):
        cifar_resnet.build(3, 10, 21)
