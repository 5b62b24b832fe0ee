"""Certify classifiers by randomized smoothing, and recertify their compressed versions.

Everything below is imported when first used, so that `smoothcert --help` is instant and
importing the package imports no framework.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from smoothcert.version import __version__ as __version__

# ONNX Runtime's releases send telemetry unless it is turned off before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from smoothcert.api.certify import certify as certify
    from smoothcert.api.decide import decide as decide
    from smoothcert.api.extend import extend as extend
    from smoothcert.api.predict import predict as predict
    from smoothcert.api.recertify import recertify as recertify
    from smoothcert.api.screen import screen as screen
    from smoothcert.api.smooth import Smooth as Smooth
    from smoothcert.api.transfer import transfer as transfer
    from smoothcert.certificate import ABSTAIN as ABSTAIN
    from smoothcert.certificate import Certificate as Certificate
    from smoothcert.certificate import Certification as Certification
    from smoothcert.certificate import Outcome as Outcome
    from smoothcert.certificate import Settings as Settings
    from smoothcert.certificate import Votes as Votes
    from smoothcert.classifiers.from_function import from_function as from_function
    from smoothcert.classifiers.loading import load_classifier as load_classifier
    from smoothcert.classifiers.protocol import Classifier as Classifier
    from smoothcert.data.datasets import load_inputs as load_inputs
    from smoothcert.data.inputs import Inputs as Inputs
    from smoothcert.errors import SmoothcertError as SmoothcertError
    from smoothcert.execution.estimate import Estimate as Estimate
    from smoothcert.execution.estimate import estimate as estimate
    from smoothcert.methods.dataset import DatasetCertificate as DatasetCertificate
    from smoothcert.noise.law import RoundedGaussian as RoundedGaussian
    from smoothcert.report.card import model_card as model_card
    from smoothcert.report.comparison import Comparison as Comparison
    from smoothcert.report.comparison import compare as compare
    from smoothcert.report.export import certificates_table as certificates_table
    from smoothcert.report.export import export as export
    from smoothcert.runs.store import Run as Run
    from smoothcert.searching.find import search as search
    from smoothcert.summary import Summary as Summary
    from smoothcert.summary import summarize as summarize
    from smoothcert.watchers.base import Watcher as Watcher

_HOMES = {
    "ABSTAIN": "certificate",
    "Certificate": "certificate",
    "Certification": "certificate",
    "Classifier": "classifiers.protocol",
    "Comparison": "report.comparison",
    "DatasetCertificate": "methods.dataset",
    "Estimate": "execution.estimate",
    "Inputs": "data.inputs",
    "Outcome": "certificate",
    "RoundedGaussian": "noise.law",
    "Run": "runs.store",
    "Settings": "certificate",
    "Smooth": "api.smooth",
    "SmoothcertError": "errors",
    "Summary": "summary",
    "Votes": "certificate",
    "Watcher": "watchers.base",
    "certificates_table": "report.export",
    "certify": "api.certify",
    "compare": "report.comparison",
    "decide": "api.decide",
    "estimate": "execution.estimate",
    "export": "report.export",
    "extend": "api.extend",
    "from_function": "classifiers.from_function",
    "load_classifier": "classifiers.loading",
    "load_inputs": "data.datasets",
    "model_card": "report.card",
    "predict": "api.predict",
    "recertify": "api.recertify",
    "screen": "api.screen",
    "search": "searching.find",
    "summarize": "summary",
    "transfer": "api.transfer",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'smoothcert' has no attribute {name!r}")
    value = getattr(import_module(f"smoothcert.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return [*_HOMES, "__version__"]
