"""Networks with the structure and names of those in the public code of the field.

Written for these tests, from the papers. `CifarResNet` is that of Cohen et al. (2019), of any
depth; `ImageNetResNet` has the names of torchvision's; `FieldLeNet` is that of MACER and CAT-RS.
`NormalizeLayer` keeps its constants as plain attributes, so that a state dict does not have them.
"""

import torch
from torch import nn

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class NormalizeLayer(nn.Module):
    def __init__(self, means, sds, saved=False):
        super().__init__()
        if saved:
            self.register_buffer("means", torch.tensor(means))
            self.register_buffer("sds", torch.tensor(sds))
        else:
            self.means, self.sds = torch.tensor(means), torch.tensor(sds)

    def forward(self, images):
        return (images - self.means[:, None, None]) / self.sds[:, None, None]


class InputCenterLayer(nn.Module):
    def __init__(self, means):
        super().__init__()
        self.means = torch.tensor(means)

    def forward(self, images):
        return images - self.means[:, None, None]


def shortcut(channels, width, stride):
    if channels == width and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))


class Basic(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(channels, width, stride)

    def forward(self, x):
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(inner + (self.downsample(x) if self.downsample else x))


class CifarResNet(nn.Module):
    def __init__(self, depth, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        channels = 16
        for stage, width in enumerate((16, 32, 64), 1):
            blocks = []
            for place in range((depth - 2) // 6):
                blocks.append(Basic(channels, width, 2 if stage > 1 and place == 0 else 1))
                channels = width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool = nn.AvgPool2d(8)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class Neck(nn.Module):
    def __init__(self, channels, inner, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(channels, width, stride)

    def forward(self, x):
        inner = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        return self.relu(
            self.bn3(self.conv3(inner)) + (self.downsample(x) if self.downsample else x)
        )


class ImageNetResNet(nn.Module):
    """ResNet-50, as wide inside as `narrow` says, to have smaller files."""

    def __init__(self, num_classes=1000, narrow=0):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, width in enumerate((64, 128, 256, 512), 1):
            blocks = []
            for place in range((3, 4, 6, 3)[stage - 1]):
                stride = 2 if stage > 1 and place == 0 else 1
                blocks.append(Neck(channels, narrow or width, 4 * width, stride))
                channels = 4 * width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class FieldLeNet(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, num_classes)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.pool(self.relu(self.conv2(self.pool(self.relu(self.conv1(x))))))
        return self.fc2(self.relu(self.fc1(x.reshape(len(x), 800))))


def settled(network):
    """The network with running statistics of noise and classes that all win, in eval mode."""
    network.train()
    with torch.no_grad():
        for _ in range(20):
            logits = network(torch.randn(8, 3, 32, 32))
        logits = network.eval()(torch.randn(64, 3, 32, 32))
        network.fc.weight /= logits.std()
        network.fc.bias -= network(torch.randn(64, 3, 32, 32)).mean(0)
    return network
