"""Torch models as people bring them: certified with their own votes, told apart, or one line."""

import importlib
import sys

import numpy as np
import pytest
import torch

import smoothcert
import support.torch_models as cases
from smoothcert import zoo
from smoothcert.api import sanity
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.compress import compress
from smoothcert.data.inputs import to_float
from smoothcert.errors import ModelError

SETTINGS = {"sigma": 0.25, "n0": 16, "n": 400, "batch_size": 32}


def fingerprint(module):
    return TorchClassifier.of(module, "module").fingerprint


def forward(module, images):
    with torch.no_grad():
        return module(torch.tensor(images)).float().numpy()


def counts(model, digits):
    found = smoothcert.certify(model, digits, **SETTINGS).certificates
    return [(c.candidate, c.k) for c in found]


@pytest.fixture(scope="module")
def three():
    return smoothcert.load_inputs("digits", limit=3)


@pytest.mark.slow
@pytest.mark.parametrize("row", cases.CERTIFIED)
def test_certified_with_its_own_votes(row, three):
    """In threads, from copies or in turns, a module votes as it does in a plain loop."""
    make = cases.CERTIFIED[row]
    if "torchao" in row or row == "NF4":
        pytest.importorskip("torchao")
    model = smoothcert.load_classifier(make(), threads=4)
    alone = make()
    alone = alone if isinstance(alone, torch.fx.GraphModule) else alone.eval()
    expected = counts(smoothcert.from_function(lambda x: forward(alone, x), "alone", "1"), three)
    assert counts(model, three) == expected
    assert fingerprint(make()) == model.fingerprint  # in another process, or after votes


@pytest.mark.parametrize(
    "row",
    [
        "counts its calls",
        "keeps its features",
        "spectral norm of old",
        "weight norm of old",
        "a hook keeps what the head reads",
        "a cached property",
    ],
)
def test_a_forward_pass_does_not_change_the_fingerprint(row):
    module = cases.CERTIFIED[row]().eval()
    before = fingerprint(module)
    forward(module, np.zeros((2, 1, 8, 8), np.float32))
    assert fingerprint(module) == before


@pytest.mark.slow
@pytest.mark.parametrize("row", cases.PAIRS)
def test_two_networks_have_two_fingerprints(row):
    one, other = [fingerprint(module) for module in cases.PAIRS[row]()]
    again, *_ = [fingerprint(module) for module in cases.PAIRS[row]()]
    assert (one == other, one == again) == (False, True)


def test_what_leads_through_an_installed_package_is_no_part_of_a_fingerprint(tmp_path, monkeypatch):
    """As a configuration of Hugging Face, whose methods reach process numbers and whose folder."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    prints = {}
    for process, place, heads in ((1, "a", 2), (2, "b", 2), (2, "b", 4)):
        (folder / "hub_models.py").write_text(
            f"class State:\n  process = {process}\nstate = State()\nclass Config:\n"
            "  def __init__(self, **values): self.__dict__ |= values\n"
            "  def download(self): return state.process\n"
        )
        sys.modules.pop("hub_models", None)
        importlib.invalidate_caches()
        config = importlib.import_module("hub_models").Config(name_or_path=place, heads=heads)
        prints[process, heads] = fingerprint(cases.Around(config=config, name_or_path=place))
    assert prints[1, 2] == prints[2, 2] != prints[2, 4]


def test_a_constant_is_not_taken_for_the_list_of_that_name():
    prints = [fingerprint(cases.same_name(mean)) for mean in (0.4, 0.5, 0.4)]
    assert (prints[0] == prints[2], prints[0] == prints[1]) == (True, False)


def test_comments_and_places_are_no_part_of_a_fingerprint(tmp_path, monkeypatch):
    """The same code in another file, further down, with another docstring."""
    code = (
        "import torch\n{}\nclass Net(torch.nn.Module):\n    def forward(self, x):\n"
        "        '''{}'''\n        return x.flatten(1) * {}\n"
    )
    monkeypatch.chdir(tmp_path)
    for name, parts in (
        ("one_net", ("", "Logits.", 2)),
        ("same_net", ("# later\n\n", "The logits.", 2)),
        ("other_net", ("", "Logits.", 3)),
    ):
        (tmp_path / f"{name}.py").write_text(code.format(*parts))
    one, same, other = (
        smoothcert.load_classifier(f"{n}:Net").fingerprint
        for n in ("one_net", "same_net", "other_net")
    )
    assert (one == same, one == other) == (True, False)


def test_a_file_edited_between_two_sessions_is_another_model(tmp_path, monkeypatch):
    """`self.means` as in the code of 2019: a run resumed with other constants is refused."""
    from smoothcert.certificate import Settings
    from smoothcert.errors import Mismatch
    from smoothcert.execution.runner import RunOptions, run_certify

    monkeypatch.chdir(tmp_path)
    digits = smoothcert.load_inputs("digits", limit=2)
    for mean in (0.5, 0.25):
        (tmp_path / "edited_net.py").write_text(EDITED.replace("MEAN", str(mean)))
        sys.modules.pop("edited_net", None)
        importlib.invalidate_caches()
        model = smoothcert.load_classifier("edited_net:make")
        settings, how = (
            Settings(0.25, 256, n0=8, n=32),
            RunOptions(batch_size=16, resume=mean == 0.25),
        )
        if mean == 0.5:
            run_certify(tmp_path / "run", model, digits, settings, how)
            continue
        with pytest.raises(Mismatch, match="model"):
            run_certify(tmp_path / "run", model, digits, settings, how)


EDITED = """
import torch
class Normalize(torch.nn.Module):
    def __init__(self, means):
        super().__init__()
        self.means = torch.tensor(means)
    def forward(self, x):
        return (x - self.means.view(1, -1, 1, 1)).flatten(1)[:, :10]
def make():
    return Normalize([MEAN     ])
"""


@pytest.mark.parametrize("architecture", ["small_cnn", "cifar_resnet8", "cifar_resnet14"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_weights_saved_by_their_owner(architecture, prefix, tmp_path):
    """safetensors puts the names in alphabetical order; wrappers put theirs before each."""
    from safetensors.torch import save_file

    network = zoo.build(architecture, 1, 10).eval()
    state = {prefix + key: value for key, value in network.state_dict().items()}
    save_file(state, tmp_path / "mine.safetensors")
    loaded = smoothcert.load_classifier(f"{architecture}@{tmp_path / 'mine.safetensors'}")
    images = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    assert (loaded.logits(images) == forward(network, images)).all()
    assert loaded.fingerprint == TorchClassifier.published(network, "").fingerprint


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (cases.dynamic, "is batch-dependent: .* or pass --batch-size 1"),
        (
            cases.post(lambda y: y[:, :1]),
            "the columns -s and s; if it is a probability",
        ),
        (cases.post(lambda y: y[:, 0]), "the columns -s and s"),
        (cases.post(lambda y: y.argmax(1)), "return the scores before argmax"),
        (cases.post(lambda y: y[:, :, None, None]), r"Return .flatten\(1\) of it"),
        (cases.post(lambda y: y.T), "Was it transposed"),
        (cases.post(lambda y: {"a": y, "logits": y}), r"returns dict; .* returns its \['logits'\]"),
        (cases.post(lambda y: (y, y[0])), r"returns tuple; .* in a module that returns its \[0\]"),
        (cases.post(lambda y: None), "returns NoneType; a classifier returns one tensor"),
        (cases.post(lambda y: y + 1e-6 * torch.randn_like(y)), "is random .*Leave dropout"),
        (
            cases.post(lambda y: torch.eye(10)[(y + 9 * torch.randn_like(y)).argmax(1)]),
            "is random",
        ),
        (
            lambda: cases.plain().double(),
            r"weights are torch.float64: begin its forward with x = x.to",
        ),
        (
            lambda: cases.plain().half(),
            r"weights are torch.float16: begin its forward with x = x.to",
        ),
        (
            lambda: torch.nn.Sequential(cases.AlwaysTrains(0.2), cases.plain()),
            "Its AlwaysTrains is in training mode: make sure that eval",
        ),
        (
            lambda: torch.nn.Sequential(
                torch.nn.BatchNorm2d(1, track_running_stats=False), cases.plain()
            ),
            "batch-dependent: .* Its BatchNorm2d uses the statistics of each batch",
        ),
        (
            cases.observing,
            "is random .*still observes: .*apply.torch.ao.quantization.disable",
        ),
        (cases.Constant, "the same logits for different inputs, 64 of them far apart"),
        (cases.Collapsed, "the same logits for different inputs"),
        (lambda: torch.nn.LazyLinear(10), "'weight' of the model has no values yet. Load weights"),
        (lambda: torch.nn.Linear(64, 10, device="meta"), "has no values yet. Load weights"),
    ],
)
def test_refused(module, message, three):
    with pytest.raises(ModelError, match=message):
        counts(module(), three)


def test_what_forward_prints_does_not_mix_with_results(three, capsys):
    model = smoothcert.load_classifier(cases.post(lambda y: (print("seen"), y)[1])(), threads=4)
    counts(model, three)
    out, err = capsys.readouterr()
    assert (out, "seen" in err) == ("", True)
    print("results")
    assert capsys.readouterr().out == "results\n"


def test_dynamic_quantization_row_by_row(three):
    model = smoothcert.load_classifier(cases.dynamic())
    assert len(
        smoothcert.certify(model, three, **SETTINGS | {"batch_size": 1, "n": 20}).certificates
    )


def test_scikit_learn_votes_by_trees_and_neighbours(three):
    sklearn_tree = pytest.importorskip("sklearn.tree")
    neighbors = pytest.importorskip("sklearn.neighbors")
    train = smoothcert.load_inputs("digits", "train", limit=300)
    pixels = np.stack([item.pixels.ravel() / train.levels for item in train])
    for model in (
        sklearn_tree.DecisionTreeClassifier(random_state=0),
        neighbors.KNeighborsClassifier(1),
    ):
        model.fit(pixels, train.labels)
        scores = lambda x, model=model: model.predict_proba(x.reshape(len(x), -1))  # noqa: E731
        found = smoothcert.certify(smoothcert.from_function(scores, "s", "1"), three, **SETTINGS)
        assert len(found.certificates) == 3


BROKEN = '''"""Factories that fail, as people write them."""
import threading
import torch
from torch import nn
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()
class Missing(Net):
    def forward(self, x): return {}["stem"]
class Two(Net):
    def forward(self, x, labels): return self.net(x)
class Adds(Net):
    def forward(self, x): return self.net(x) + None
class Index(Net):
    def forward(self, x): return self.net(x)[:, [0, 99]]
class Asserts(Net):
    def forward(self, x):
        assert x.shape[1] == 3, "three channels"
class Exits(Net):
    def forward(self, x): raise SystemExit("bye")
class Named(Net):
    def forward(self, x): return {"logits": self.net(x)}
class Complex(Net):
    def forward(self, x): return torch.complex(self.net(x), self.net(x))
class NoForward(nn.Module): pass
class Odd(Exception):
    def __str__(self): raise self
class Shows(Net):
    def forward(self, x): raise Odd
class Leaves(Net):
    def forward(self, x): raise GeneratorExit
def raises(): raise FileNotFoundError("no checkpoint at /models/x.bin")
def exits(): raise SystemExit("bye")
def wide(width): return net()
def two(width, *, depth): return net()
def weights(): return net().state_dict()
def nothing(): net()
def the_class(): return Net
def pair(): return net(), None
def number(): return 3
def unseeded(): return torch.seed() and nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
async def later(): return net()
def yields(): yield net()
def the_function(): return net
def checkpoint(): return {"epoch": 3, "model": net()}
def loops(): return "broken_models:loops"
def clock():
    import time
    made = net()
    made.made_at = time.time_ns()
    return made
SETTINGS = {"width": 3}
instance = net()
'''

LINES = [
    ("Missing", r"KeyError: 'stem', in broken_models.py, line 13: def forward.*\{\}\[\"stem\"\]"),
    ("Two", r"TypeError: .*missing 1 required positional argument: 'labels'"),
    ("Adds", r"TypeError: unsupported operand .*, in broken_models.py, line 17"),
    ("Index", r"IndexError: index 99 is out of bounds .*, in broken_models.py, line 19"),
    ("Asserts", r"failed on a batch of shape .*: three channels, in broken_models.py, line 22"),
    ("Exits", r"SystemExit: bye, in broken_models.py, line 24"),
    ("Shows", r"failed on a batch of shape .*: Odd, in broken_models.py, line 33"),
    ("Leaves", r"failed on a batch of shape .*: GeneratorExit, in broken_models.py, line 35"),
    ("Named", r"returns dict; a classifier returns one tensor"),
    ("Complex", r"returns complex numbers; a classifier returns one tensor"),
    ("NoForward", r"NotImplementedError|missing the required \"forward\""),
    (
        "raises",
        r"factory broken_models:raises failed: FileNotFoundError: no checkpoint at .*line 36",
    ),
    ("exits", r"factory broken_models:exits failed: SystemExit: bye"),
    ("wide", r"needs the argument width. Give broken_models:wide,width=\.\.\. "),
    ("two", r"needs the arguments width, depth\. .*\(it takes width, depth\), or defaults"),
    ("weights", r"returns an OrderedDict, not a model. If these are weights, build the network"),
    ("nothing", r"returns nothing, not a model. End it with `return`"),
    ("the_class", r"returns the class Net, not a model. Return Net\(\)"),
    ("pair", r"returns a tuple, not a model. Return only the network"),
    ("later", r"returns a coroutine, not a model. Make it a plain function, without async"),
    ("yields", r"returns a generator, not a model. Return the network instead"),
    ("the_function", r"returns a function, not a model. If it makes the network, return the"),
    ("checkpoint", r"returns a dict, not a model. Return only the network, its 'model'"),
    ("number", r"returns an int, not a model"),
    (
        "unseeded",
        r"a different model in each call: 1.weight, 1.bias differed .*\(torch.manual_seed, ",
    ),
    ("loops", r"returns a str, not a model"),
    ("clock", r"a different model in each call: made_at differed"),
    ("SETTINGS", r"broken_models:SETTINGS is a dict, not a module, a classifier"),
    ("rases", r"broken_models has no 'rases'. Did you mean 'raises'"),
]


@pytest.fixture
def broken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_models.py").write_text(BROKEN)
    (tmp_path / "torn.py").write_text("import torch\nx = {}['gone']\ndef make(): return 1\n")
    (tmp_path / "wrong.py").write_text("def make(:\n")
    (tmp_path / "needing.py").write_text("import no_such_package_here\n")
    (tmp_path / "seeded.py").write_text(
        "import torch\ntorch.manual_seed(3)\ndef make():\n    print('Loading')\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )


@pytest.mark.parametrize(("name", "line"), LINES)
def test_one_line_about_their_code(name, line, broken, three):
    with pytest.raises(ModelError, match=line) as caught:
        counts(smoothcert.load_classifier(f"broken_models:{name}"), three)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("torn:make", r"importing torn failed: KeyError: 'gone', in torn.py, line 2: x = "),
        ("wrong:make", r"importing wrong failed: SyntaxError: "),
        ("needing:make", r"importing needing failed: ModuleNotFoundError: .*no_such_package_here"),
        ("./broken_models.py:net", r"Did you mean 'broken_models:net'\?"),
        ("broken_models.py:net", r"Did you mean 'broken_models:net'\?"),
        ("broken_models.net", r"Did you mean 'broken_models:net'\?"),
        ("broken_models:net()", r"has no 'net\(\)'\. Did you mean 'broken_models:net'\?"),
        ("broken_models:wide(24)", r"Did you mean 'broken_models:wide,width=24'\?"),
        ("broken_models:two(24, depth='x')", r"mean 'broken_models:two,width=24,depth=x'\?"),
        ("broken_models:Net(3)", r"Did you mean 'broken_models:Net,NAME=3'\?"),
        ("broken_models:nothing_like(3)", r"has no 'nothing_like\(3\)'(?!.*nothing_like,)"),
        ("./broken_models.py:wide,width=24", r"Did you mean 'broken_models:wide,width=24'\?"),
        ("broken_models.wide,width=24", r"Did you mean 'broken_models:wide,width=24'\?"),
        ("broken_models::net", r"Did you mean|has no"),
        ("seeded.py", r"Did you mean 'seeded:make'\?"),
        (
            "cifar_resnet20",
            r"give cifar_resnet20@weights.safetensors or cifar_resnet20@pretrained-",
        ),
    ],
)
def test_a_reference_that_is_nearly_right(reference, line, broken):
    with pytest.raises(ModelError, match=line):
        smoothcert.load_classifier(reference)


@pytest.mark.parametrize(
    "reference", ["broken_models:instance", "broken_models:net", "seeded:make"]
)
def test_a_factory_may_be(reference, broken, three, capsys):
    """A module, a function, or of a file that seeds torch when imported; stdout stays clean."""
    sys.modules.pop("seeded", None)
    torch.manual_seed(99)
    assert len(counts(smoothcert.load_classifier(reference), three)) == 3
    assert capsys.readouterr().out == ""


RANDOM = """import random
import numpy, torch
SEED
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.tensor(DRAW).float()
    def forward(self, x):
        return x.flatten(1) @ self.weight
net = Net()
def make():
    return net
def new():
    return Net()
"""


@pytest.mark.parametrize("name", ["net", "make", "new"])
@pytest.mark.parametrize(
    ("library", "draw"),
    [
        ("torch.manual_seed(2)", "torch.randn(64, 10).tolist()"),
        ("numpy.random.seed(2)", "numpy.random.randn(64, 10)"),
        ("random.seed(2)", "[[random.random() for _ in range(10)] for _ in range(64)]"),
    ],
)
def test_random_weights_of_a_file(name, library, draw, tmp_path, monkeypatch):
    """Refused, also of one object in the file, unless the file itself seeds what it draws from."""
    monkeypatch.chdir(tmp_path)
    for seed in ("", library):
        (tmp_path / "random_net.py").write_text(RANDOM.replace("SEED", seed).replace("DRAW", draw))
        sys.modules.pop("random_net", None)
        importlib.invalidate_caches()
        if seed:
            assert smoothcert.load_classifier(f"random_net:{name}").fingerprint
            continue
        with pytest.raises(ModelError, match="a different model in each call: weight differed"):
            smoothcert.load_classifier(f"random_net:{name}")


def test_errors_of_functions_and_of_classifiers_of_ones_own(three):
    broken = smoothcert.from_function(lambda x: {}["w"], "mine", "1")
    with pytest.raises(ModelError, match=r"mine failed on a batch .*KeyError: 'w', in test_torch"):
        counts(broken, three)

    class Own:
        name, fingerprint, device, fixed_batch = "own", "1", "cpu", None

        def logits(self, images):
            raise ZeroDivisionError("by zero")

    with pytest.raises(ModelError, match="own failed on a batch .*ZeroDivisionError: by zero"):
        counts(Own(), three)


@pytest.mark.parametrize(
    ("model", "data", "moved"),
    [
        (["cat", "dog"], ["cat", "dog"], 0),
        (["tabby_cat", "Sea-Lion"], ["tabby cat", "sea lion"], 0),
        (["cat, tabby", "dog"], ["cat", "dog"], 0),
        (["dog", "cat"], ["cat", "dog"], 2),
        (["plane", "cat", "dog"], ["cat", "dog"], 2),
        (["a", "b"], ["c", "d"], 0),
        ([], ["cat", "dog"], 0),
        (["cat", "dog"], [], 0),
        (["cat", "cat"], ["dog", "cat"], 0),
    ],
)
def test_class_names_of_model_and_data_are_compared(model, data, moved):
    said = sanity.of_classes(model, data)
    assert len(said) == bool(moved)
    assert all(f"number {moved} classes differently" in text for text in said)


@pytest.mark.slow
@pytest.mark.parametrize("make", ["pruned", "weight_norm"])
def test_bf16_of_modules_that_torch_does_not_copy(make, tmp_path):
    """Their weight is computed from others, and deepcopy refuses such tensors."""
    path = tmp_path / "m.pt2"
    digits = smoothcert.load_inputs("digits", limit=8)
    compress(f"support.torch_models:{make}", "bf16", path, inputs=digits)
    whole = smoothcert.load_classifier(f"support.torch_models:{make}")
    images = np.stack([to_float(item.pixels, digits.levels) for item in digits])
    logits = [model.logits(images) for model in (whole, smoothcert.load_classifier(path))]
    assert np.abs(logits[0] - logits[1]).max() < 0.05 * np.abs(logits[0]).max()


def test_a_copy_that_there_is_not_is_said(tmp_path):
    digits = smoothcert.load_inputs("digits", limit=8)
    with pytest.raises(ModelError, match="holds something that cannot be copied"):
        compress("support.torch_models:locked", "bf16", tmp_path / "m.pt2", inputs=digits)


@pytest.mark.parametrize("model", [cases.plain, cases.Around, lambda x: x])
def test_what_makes_a_model_is_none(model):
    for take in (smoothcert.load_classifier, lambda model: smoothcert.Smooth(model, 10, 0.25)):
        with pytest.raises(ModelError, match="If it makes the model, call it; if it takes a batch"):
            take(model)


@pytest.mark.parametrize(
    ("logits", "said"),
    [
        (lambda y: (y > -9).float(), True),
        (lambda y: torch.where(y > -9, torch.inf, y), True),
        (lambda y: y, False),
    ],
)
def test_scores_with_ties_are_said_to_vote_for_nothing(logits, said, three):
    from smoothcert.certificate import Settings

    model = smoothcert.load_classifier(cases.post(logits)())
    found = sanity.look(model, three, Settings(0.25, 256, n=10**5), 10**5)
    assert ("gives no class to 24 of 24" in "".join(sanity.said(found, 0.25)[0])) == said


def test_a_selection_of_one_class_is_said():
    assert "class 2 of 4: --limit N uses the first" in sanity.of_labels([2] * 10, 4)[0]
    for labels, classes in ((None, 4), ([2] * 9 + [1], 4), ([2], 4), ([0] * 10, 1)):
        assert sanity.of_labels(labels, classes) == ()
