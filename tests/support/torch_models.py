"""Torch models as people write them, each a classifier of 1x8x8 inputs with ten classes."""

import argparse
import array
import decimal
import enum
import fractions
import functools
import operator
import sys
import threading
import types
import warnings
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse
import torch
from torch import nn
from torch.nn.utils import prune

from smoothcert.classifiers.quiet import quiet

MEAN = [0.4]


def linear(scale=3.0):
    layer = nn.Linear(64, 10)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(10, 64, generator=generator) * scale)
        layer.bias.zero_()
    return layer


def plain():
    return nn.Sequential(nn.Flatten(), linear())


class Around(nn.Module):
    """A network with something around it."""

    def __init__(self, **attributes):
        super().__init__()
        self.net = plain()
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.net(x)


class Shifted(Around):
    """Normalization with whatever is kept as an attribute."""

    def forward(self, x):
        return self.net(x - self.mean)


class ByContainer(Around):
    def forward(self, x):
        return self.net((x - self.stats["mean"][0]) / self.stats["std"])


class ByClass(Around):
    mean = 0.25

    def forward(self, x):
        return self.net(x - self.mean)


class OtherClass(Around):
    mean = 0.5

    def forward(self, x):
        return self.net(x - self.mean)


class ByBuffer(Around):
    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)

    def forward(self, x):
        return self.net(x - self.mean)


class Extra(Around):
    def get_extra_state(self):
        return {"bits": self.bits}

    def set_extra_state(self, state):
        self.bits = state["bits"]


class SameName(Around):
    """Fills an attribute, and reads a constant of the same name."""

    def forward(self, x):
        self.MEAN.append(len(x))
        return self.net(x - MEAN[0])


def same_name(mean):
    MEAN[0] = mean
    return SameName(MEAN=[])


class Config:
    def __init__(self, shift):
        self.shift = shift


class ByConfig(Around):
    def forward(self, x):
        return self.net(x - self.config.shift)


def closed_over(mean):
    class Local(Around):
        def forward(self, x):
            return self.net(x - mean)

    return Local()


def hooked(scale):
    net = plain()
    net.register_forward_hook(lambda _module, _inputs, logits: logits * scale)
    return net


def patched(scale):
    net = Around()
    net.forward = lambda x: net.net(x * scale)
    return net


class Minus(Around):
    def forward(self, x):
        return self.net(x - 1)


class Plus(Around):
    def forward(self, x):
        return self.net(x + 1)


class Called(Around):
    """Whatever is called in front of the network."""

    def forward(self, x):
        return self.net(self.before(x))


def written(code, value, **names):
    """A network in the user's own words; `V` stands for the value in which two of them differ."""
    space = {"Around": Around, "torch": torch, "functools": functools, "__name__": "written"}
    space |= names
    text = code if "class Net" in code else f"class Net(Around):\n{code}"
    exec(text.replace("V", str(value)), space)
    return space["Net"]()


def by_code(code, **names):
    return lambda: [written(code, value, **names) for value in (0.4, 0.5)]


def by_value(kind):
    """Two networks that keep something else: `kind` of 0.4 and of 0.5."""
    return lambda: [Shifted(mean=kind(value)) for value in (0.4, 0.5)]


@dataclass(slots=True)
class Slotted:
    shift: float


class Silent(float):
    def __repr__(self):
        return "a number"


class Named(list):
    pass


class Tagged(torch.Tensor):
    pass


def with_attribute(value, **attributes):
    for name, some in attributes.items():
        setattr(value, name, some)
    return value


def tagged_weight(absmax):
    """As bitsandbytes keeps the scales of a quantized weight."""
    net = plain()
    net[1].weight.absmax = torch.tensor(absmax)
    return net


def scaler(mean):
    from sklearn.preprocessing import StandardScaler

    return StandardScaler().fit(np.full((3, 64), mean))


def by_module(code):
    """Constants in a user's package, which is another for the second network."""

    def make():
        for value in (0.4, 0.5):
            inner = types.ModuleType("their_package.constants")
            outer = types.ModuleType("their_package")
            inner.MEAN, outer.constants = value, inner
            sys.modules["their_package.constants"] = inner
            sys.modules["their_package"] = outer
            yield written(code, value, their_package=outer)

    return make


def unlisted(scale):
    """A layer in a plain list, which torch does not know of."""
    return Unlisted(layers=[linear(scale)])


class Unlisted(Around):
    def forward(self, x):
        return self.layers[0](x.flatten(1))


def frozen(scale):
    net = nn.Sequential(nn.Flatten(), linear(scale)).eval()
    return torch.jit.freeze(torch.jit.script(net))


class Sparse(Around):
    def forward(self, x):
        return torch.sparse.mm(self.weight, x.flatten(1).T).T


def sparse(scale=3.0):
    weight = linear(scale).weight.detach().to_sparse()
    return Sparse(weight=nn.Parameter(weight, requires_grad=False))


def heads(count):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(64, count, 8, 0.0, batch_first=True)
    )


# Quantized


def dynamic():
    with quiet():
        return torch.ao.quantization.quantize_dynamic(plain().eval(), {nn.Linear}, torch.qint8)


def _calibrated(prepared):
    prepared(torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    return prepared


def static(scale=3.0):
    import torch.ao.quantization as ao

    with quiet():
        net = nn.Sequential(ao.QuantStub(), nn.Flatten(), linear(scale), ao.DeQuantStub()).eval()
        net.qconfig = ao.get_default_qconfig("fbgemm")
        return ao.convert(_calibrated(ao.prepare(net)))


def static_conv():
    import torch.ao.quantization as ao

    with quiet():
        conv = nn.Conv2d(1, 1, 1)
        nn.init.ones_(conv.weight), nn.init.zeros_(conv.bias)
        net = nn.Sequential(ao.QuantStub(), conv, nn.Flatten(), linear(), ao.DeQuantStub()).eval()
        net.qconfig = ao.get_default_qconfig("fbgemm")
        return ao.convert(_calibrated(ao.prepare(net)))


def by_fx():
    import torch.ao.quantization as ao
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    with quiet():
        mapping = ao.get_default_qconfig_mapping("fbgemm")
        prepared = prepare_fx(plain().eval(), mapping, (torch.rand(1, 1, 8, 8),))
        return convert_fx(_calibrated(prepared))


def with_torchao(config):
    import torchao.quantization as ao

    with quiet():
        net = plain().eval()
        ao.quantize_(net, getattr(ao, config)())
        return net


def nf4():
    from torchao.quantization.quantize_.workflows.nf4.nf4_tensor import to_nf4

    net = NF4(weight=nn.Parameter(to_nf4(linear().weight.detach().reshape(-1, 64), 64, 2), False))
    return net


class NF4(Around):
    def forward(self, x):
        return x.flatten(1) @ self.weight.get_original_weight().T


# What torch or Python cannot copy


def pruned():
    net = plain()
    prune.l1_unstructured(net[1], "weight", 0.2)
    return net


def weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = plain()
        net[1] = nn.utils.weight_norm(net[1])
        return net


def spectral_norm():
    torch.manual_seed(0)
    net = plain()
    net[1] = nn.utils.spectral_norm(net[1])
    return net


class Locked(Around):
    def forward(self, x):
        with self.lock:
            return self.net(x)


def locked():
    return Locked(lock=threading.Lock())


def generated():
    return Around(generator=torch.Generator().manual_seed(0))


def iterating():
    return Around(rows=(i for i in range(3)))


class Keeps(Around):
    """Keeps its features, with and without a branch."""

    def forward(self, x):
        self.features = self.net[0](x)
        self.calls = getattr(self, "calls", 0)
        return self.net[1](self.features)


class Counts(Around):
    def forward(self, x):
        self.calls += 1
        self.seen["last"] = x.mean()
        self.history.append(len(x))
        return self.net(x)


def kept_by_a_hook():
    """The head reads what a hook put into a dictionary that copies would share."""
    features = {}
    net = Around()

    def keep(_module, _inputs, output):
        features["flat"] = output

    net.net[0].register_forward_hook(keep)
    net.forward = lambda x: (net.net(x), net.net[1](features["flat"]))[1]
    return net


def noted_by_a_hook():
    net, notes = plain(), []
    net[1].register_forward_hook(lambda *_: notes.append(1))
    return net


# In place, and hard votes


class InPlace(Around):
    def forward(self, x):
        return self.net(x.sub_(0.5).div_(0.5))


class ClampsInPlace(Around):
    def forward(self, x):
        x.clamp_(0, 1)
        return self.net(x)


class Reuses(Around):
    """Writes its logits into the same memory in every call."""

    def forward(self, x):
        out = self.room[: len(x)]
        return torch.mm(x.flatten(1), self.net[1].weight.T, out=out)


class HardVote(Around):
    def forward(self, x):
        return nn.functional.one_hot(self.net(x).argmax(1), 10).float()


class Sharp(Around):
    def forward(self, x):
        return (self.net(x - 0.5) * 1e4).softmax(1)


class Constant(Around):
    def forward(self, x):
        return torch.zeros(len(x), 10) + torch.arange(10)


class Collapsed(Around):
    def forward(self, x):
        return nn.functional.one_hot((self.net(x) * 0).argmax(1), 10).float()


class Post(Around):
    """Whatever is made of the logits."""

    def forward(self, x):
        return self.post(self.net(x))


def post(function):
    return lambda: Post(post=function)


def in_half():
    net = plain().half()
    return Called(net=net, before=lambda x: x.to(torch.float16))


class AlwaysTrains(nn.Dropout):
    def train(self, mode=True):
        return super().train(True)


def observing(stop=False):
    import torch.ao.quantization as ao

    with quiet():
        net = plain().train()
        net.qconfig = ao.get_default_qat_qconfig("fbgemm")
        net = _calibrated(ao.prepare_qat(net))
        return net.apply(ao.disable_observer) if stop else net


CERTIFIED = {
    "fake quantization, fixed": partial(observing, stop=True),
    "half precision, cast inside": in_half,
    "logits in float64": post(torch.Tensor.double),
    "whole numbers": post(lambda y: (100 * y).long()),
    "torch.ao static": static,
    "torch.ao static, convolution": static_conv,
    "torch.ao FX": by_fx,
    "torchao weight-only": partial(with_torchao, "Int8WeightOnlyConfig"),
    "torchao dynamic, per row": partial(with_torchao, "Int8DynamicActivationInt8WeightConfig"),
    "NF4": nf4,
    "sparse weights": sparse,
    "pruned": pruned,
    "weight norm of old": weight_norm,
    "spectral norm of old": spectral_norm,
    "a lock": locked,
    "a generator of random numbers": generated,
    "a Python generator": iterating,
    "keeps its features": Keeps,
    "counts its calls": lambda: Counts(calls=0, seen={}, history=[]),
    "a hook keeps what the head reads": kept_by_a_hook,
    "a hook takes notes": noted_by_a_hook,
    "normalizes in place": InPlace,
    "clamps in place": ClampsInPlace,
    "reuses its output": lambda: Reuses(room=torch.zeros(512, 10)),
    "one-hot votes": HardVote,
    "sharp softmax": Sharp,
    "TorchScript, frozen": partial(frozen, 3.0),
    "a complex buffer": lambda: Around(c=nn.Buffer(torch.zeros(2, dtype=torch.complex64))),
    "an empty buffer": lambda: Around(e=nn.Buffer(torch.zeros(0))),
    "a cached property": lambda: written(
        "  @functools.cached_property\n  def mean(self): return torch.tensor(V)\n"
        "  def forward(self, x): return self.net(x - self.mean)",
        0.4,
    ),
    "a dtype as an attribute": lambda: Around(kind=torch.float16, shape=torch.Size([1])),
}
"""Row to a factory: certified, with the votes that the module gives by itself."""

PAIRS = {
    "tensor": lambda: [Shifted(mean=torch.tensor(v)) for v in (0.4, 0.5)],
    "float": lambda: [Shifted(mean=v) for v in (0.4, 0.5)],
    "int or float": lambda: [Shifted(mean=v) for v in (1, 1.0)],
    "NumPy scalar": lambda: [Shifted(mean=np.float32(v)) for v in (0.4, 0.5)],
    "dictionary": lambda: [ByContainer(stats={"mean": [v], "std": 1}) for v in (0.4, 0.5)],
    "nested tensor": lambda: [
        ByContainer(stats={"mean": [0], "std": torch.ones(v)}) for v in (1, 8)
    ],
    "object": lambda: [ByConfig(config=Config(v)) for v in (0.4, 0.5)],
    "class attribute": lambda: [ByClass(), OtherClass()],
    "buffer that is not saved": lambda: [ByBuffer(v) for v in (0.4, 0.5)],
    "extra state": lambda: [Extra(bits=v) for v in (3, 4)],
    "closure": lambda: [closed_over(v) for v in (0.4, 0.5)],
    "hook": lambda: [hooked(v) for v in (1.0, 2.0)],
    "forward put on the object": lambda: [patched(v) for v in (1.0, 2.0)],
    "code": lambda: [Minus(), Plus()],
    "unlisted layer": lambda: [unlisted(v) for v in (1.0, 2.0)],
    "frozen TorchScript": lambda: [frozen(v) for v in (1.0, 2.0)],
    "sparse weights": lambda: [sparse(v) for v in (1.0, 2.0)],
    "quantized weights": lambda: [static(v) for v in (1.0, 2.0)],
    "attention heads": lambda: [heads(v) for v in (2, 4)],
    "slope, which is in no weights": lambda: [nn.CELU(v) for v in (1.0, 2.0)],
    # Objects of libraries, and what has no dictionary
    "SimpleNamespace": by_value(lambda v: types.SimpleNamespace(shift=v)),
    "options of argparse": by_value(lambda v: argparse.Namespace(shift=v)),
    "fraction": by_value(fractions.Fraction),
    "decimal": by_value(decimal.Decimal),
    "array.array": by_value(lambda v: array.array("d", [v])),
    "bytearray": by_value(lambda v: bytearray([int(10 * v)])),
    "scaler of scikit-learn": by_value(scaler),
    "sparse matrix of SciPy": by_value(lambda v: scipy.sparse.csr_matrix([[v]])),
    "distribution": by_value(lambda v: torch.distributions.Normal(v, 1.0)),
    "masked array": by_value(lambda v: np.ma.masked_array([1.0, 2.0], [v > 0.45, 0])),
    "dataclass with slots": by_value(Slotted),
    "float that shows something else": by_value(Silent),
    "default of a dictionary": by_value(lambda v: defaultdict(lambda: v)),
    "attribute of a list": by_value(lambda v: with_attribute(Named([1]), shift=v)),
    "attribute of a weight": lambda: [tagged_weight(v) for v in (0.4, 0.5)],
    "attribute of a subclass of tensors": by_value(
        lambda v: with_attribute(torch.ones(3).as_subclass(Tagged), scale=v)
    ),
    "value of an enum": by_value(lambda v: enum.Enum("Kind", {"MEAN": v}).MEAN),
    "enum": by_value(lambda v: enum.Enum("Kind", {"MEAN": v})),
    "function of torch": lambda: [Called(before=f) for f in (torch.relu, torch.tanh)],
    "operator of torch": lambda: [
        Called(before=f) for f in (torch.ops.aten.relu, torch.ops.aten.tanh)
    ],
    "function of NumPy": lambda: [Called(before=f) for f in (np.exp, np.log)],
    "partial": lambda: [Called(before=partial(torch.sub, other=v)) for v in (0.4, 0.5)],
    "method with arguments": lambda: [
        Called(before=operator.methodcaller("sub", v)) for v in (0.4, 0.5)
    ],
    "traced function": lambda: [
        Called(before=torch.jit.trace(lambda x, v=v: x - v, torch.ones(2))) for v in (0.4, 0.5)
    ],
    "function over arrays": lambda: [
        Called(before=np.vectorize(lambda x, v=v: x - v)) for v in (0.4, 0.5)
    ],
    # What the code reads, wherever it stands
    "constant of a class": by_code(
        "class Config:\n  MEAN = V\nclass Net(Around):\n"
        "  def forward(self, x): return self.net(x - Config.MEAN)"
    ),
    "class in a class": by_code(
        "class Config:\n  class norm:\n    MEAN = V\nclass Net(Around):\n"
        "  def forward(self, x): return self.net(x - Config.norm.MEAN)"
    ),
    "constant of another module": by_code(
        "class Other(torch.nn.Module):\n  MEAN = V\nclass Net(Around):\n"
        "  def forward(self, x): return self.net(x - Other.MEAN)"
    ),
    "cached function": by_code(
        "@functools.lru_cache\ndef mean(): return V\nclass Net(Around):\n"
        "  def forward(self, x): return self.net(x - mean())"
    ),
    "cached property": by_code(
        "  @functools.cached_property\n  def mean(self): return V\n"
        "  def forward(self, x): return self.net(x - self.mean)"
    ),
    "property": by_code(
        "  @property\n  def mean(self): return V\n"
        "  def forward(self, x): return self.net(x - self.mean)"
    ),
    "partial method": by_code(
        "  def of(self, x, mean): return x - mean\n  before = functools.partialmethod(of, mean=V)\n"
        "  def forward(self, x): return self.net(self.before(x))"
    ),
    "getattr": by_code("  mean = V\n  def forward(self, x): return x - getattr(self, 'mean')"),
    "globals": by_code(
        "MEAN = V\nclass Net(Around):\n"
        "  def forward(self, x): return self.net(x - globals()['MEAN'])"
    ),
    "super": by_code(
        "class Base(Around):\n  def forward(self, x): return self.net(x - V)\n"
        "class Net(Base):\n  def forward(self, x): return super().forward(x)"
    ),
    "argument of a decorator": by_code(
        "def shifted(v):\n  def around(f): return functools.wraps(f)(lambda s, x: f(s, x - v))\n"
        "  return around\nclass Net(Around):\n  @shifted(V)\n"
        "  def forward(self, x): return self.net(x)"
    ),
    "autocast": lambda: [
        written(
            f"  @torch.autocast('cpu', dtype=torch.{kind})\n"
            "  def forward(self, x): return self.net(x)",
            0,
        )
        for kind in ("bfloat16", "float16")
    ],
    "instance of a module": by_code(
        "class Before:\n  def __init__(self, v): self.v = v\n"
        "  def __call__(self, x): return x - self.v\nbefore = Before(V)\nclass Net(Around):\n"
        "  def forward(self, x): return self.net(before(x))"
    ),
    "layer of a class": by_code(
        "  act = torch.nn.CELU(V)\n  def forward(self, x): return self.net(type(self).act(x))"
    ),
    "metaclass": by_code(
        "class Kind(type):\n  @property\n  def MEAN(cls): return V\n"
        "class Config(metaclass=Kind): pass\nclass Net(Around):\n"
        "  def forward(self, x): return self.net(x - Config.MEAN)"
    ),
    "parametrization": by_code(
        "class Scaled(torch.nn.Module):\n  def forward(self, w): return w * V\n"
        "def Net():\n  net = Around()\n  torch.nn.utils.parametrize.register_parametrization("
        "net.net[1], 'weight', Scaled())\n  return net # class Net"
    ),
    "constant of a package": by_module(
        "  def forward(self, x): return self.net(x - their_package.constants.MEAN)"
    ),
    "constant that forward imports": by_module(
        "  def forward(self, x):\n    from their_package.constants import MEAN\n"
        "    return self.net(x - MEAN)"
    ),
    "module that forward imports": by_module(
        "  def forward(self, x):\n    import their_package.constants as c\n"
        "    return self.net(x - c.MEAN)"
    ),
}
"""Row to two networks that are not the same, and had one fingerprint or none."""
