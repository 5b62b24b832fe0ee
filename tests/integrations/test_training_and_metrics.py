"""The parts for Lightning and for Hugging Face's evaluate, by the real ones where installed."""

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest

import smoothcert
from smoothcert.errors import InvalidInput
from support import linear


@pytest.fixture
def standing_in(monkeypatch):
    """Gives a module what of another package it imports, where that is not installed."""

    def put(name, **values):
        if find_spec(name.partition(".")[0]) is None:
            module = ModuleType(name)
            vars(module).update(values)
            monkeypatch.setitem(sys.modules, name.partition(".")[0], ModuleType(name))
            monkeypatch.setitem(sys.modules, name, module)

    return put


class Logged:
    """A logger of Lightning, as far as it is used."""

    def __init__(self):
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))


@pytest.mark.slow
def test_the_callback_certifies_a_copy_of_the_network_every_few_validations(standing_in):
    import torch

    standing_in("lightning.pytorch", Callback=type("Callback", (), {}))
    from smoothcert.integrations.lightning import certify_callback

    digits = smoothcert.load_inputs("digits", limit=5)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).train()
    module = SimpleNamespace(network=network, device=torch.device("cpu"))
    logged, before = Logged(), torch.random.get_rng_state()
    trainer = SimpleNamespace(loggers=[logged], global_step=7, sanity_checking=True)
    callback = certify_callback(digits, 0.25, network="network", every=2, radii=(0.1,), n=50)
    for sanity in (True, False, False, False, False):
        trainer.sanity_checking = sanity
        callback.on_validation_end(trainer, module)
    assert [step for step, _ in logged.rows] == [7, 7]
    assert all(row.keys() == {"certified/acr", "certified/ca@0.1"} for _, row in logged.rows)
    assert network.training and torch.equal(before, torch.random.get_rng_state())


def test_the_metric_counts_as_a_summary_does(standing_in):
    metric = type("Metric", (), {"compute": lambda self, **given: self._compute(**given)})
    standing_in("evaluate", Metric=metric, MetricInfo=dict)
    from smoothcert.integrations.evaluate import certified_accuracy

    digits = smoothcert.load_inputs("digits", limit=20)
    found = smoothcert.certify(linear.good(), digits, 0.25, n=200)
    classes = [certificate.predicted for certificate in found.certificates]
    radii = [certificate.radius for certificate in found.certificates]
    given = {"predictions": classes, "radii": radii, "references": digits.labels}
    got = certified_accuracy().compute(**given, at=[0.0, 0.1])
    summary = found.summary((0.0, 0.1))
    assert got["acr"] == pytest.approx(summary.acr)
    assert got["certified_accuracy@0.1"] == pytest.approx(summary.accuracy[1][1])
    wrong = {**given, "predictions": [-1] * 20}  # abstentions are never right
    assert certified_accuracy().compute(**wrong, at=[0.0])["certified_accuracy@0"] == 0


def test_assert_certified_says_what_was_found(tmp_path):
    from smoothcert.testing import assert_certified

    digits = smoothcert.load_inputs("digits", limit=12)
    base = assert_certified(linear.good(), digits, "ca@0.1>=0.4", sigma=0.25, n=300)
    base.save(tmp_path / "base")
    facts = {"base": tmp_path / "base", "policy": "uniform:100"}
    found = assert_certified(linear.good(), None, "ca@0.1>=base-20%", "acr>=0.01", **facts)
    assert found.base is not None
    with pytest.raises(AssertionError, match=r"not accepted: .* the target is 12") as failed:
        assert_certified(linear.permuted(), digits, "ca@0.1>=1", **facts, out=tmp_path / "run")
    assert "docs/theory.md, section 11" in str(failed.value)
    assert smoothcert.load(tmp_path / "run").base is None  # kept, to be looked at
    with pytest.raises(InvalidInput, match=r"got \['acr>=0.01'\]. Give each target by itself"):
        assert_certified(linear.good(), digits, ["acr>=0.01"], base=base)
    with pytest.raises(InvalidInput, match="nothing to assert"):
        assert_certified(linear.good(), digits, base=base)
    for wrong in ({}, {"base": base, "sigma": 0.25}):
        with pytest.raises(InvalidInput, match="Give a base"):
            assert_certified(linear.good(), digits, "acr>=0.1", **wrong)
