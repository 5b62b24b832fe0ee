"""The method in fifty lines is the package's method: equal noise, equal votes, radii as safe."""

import re
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import smoothcert

PAGE = Path(__file__).parents[2] / "docs" / "method.md"
CODE = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))
SETTINGS = {"sigma": 0.25, "n0": 100, "n": 1000, "alpha": 0.001}  # as on the page
ROUNDING = 1e-6  # more than last digits and the noise's slack come to


@pytest.fixture(scope="module")
def page(models, tmp_path_factory):
    """What the page defines, run beside the two models it loads."""
    folder = tmp_path_factory.mktemp("method")
    shutil.copy(models / "net.onnx", folder / "model.onnx")
    shutil.copy(models / "int8.onnx", folder / "model-int8.onnx")
    names = {}
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()) as printed:
        patched.chdir(folder)
        exec(compile(CODE, str(PAGE), "exec"), names)
    return SimpleNamespace(**names, printed=printed.getvalue(), folder=folder)


@pytest.fixture(scope="module")
def original(page):
    return smoothcert.certify(str(page.folder / "model.onnx"), page.images, **SETTINGS)


def as_safe(package: float, simple: float) -> bool:
    """Whether the package claims no more, and less by its safe rounding alone."""
    return simple - ROUNDING <= package <= simple


@pytest.fixture(scope="module")
def by_hand(page):
    """Class, radius and votes of each image, by the page's code."""
    model = smoothcert.load_classifier(str(page.folder / "model.onnx"))
    return [page.certify(model, image) for image in page.images]


def test_it_is_under_fifty_lines_of_code():
    assert len([line for line in CODE.splitlines() if line.strip()]) < 50


@pytest.mark.slow
@pytest.mark.parametrize("stream", [0, 1])
def test_its_noise_is_the_packages(page, stream):
    law = smoothcert.RoundedGaussian(SETTINGS["sigma"], 1 / page.images.levels)
    for draw in (0, 1, 999):
        found = page.noise(2, stream, draw, (1, 8, 8))
        assert np.array_equal(found, law.draws(0, 2, stream, [draw], (1, 8, 8))[0])


def test_its_votes_and_radii_are_the_packages(original, by_hand):
    for (c, radius, votes), record in zip(by_hand, original.records, strict=True):
        assert np.array_equal(record.votes.estimation, votes)
        assert record.certificate.candidate == c
        assert as_safe(record.certificate.radius, radius)
    assert len({radius for _, radius, _ in by_hand}) > 1  # the images are not all unanimous


def test_its_recertification_is_irs_by_replays_alone(page, original, by_hand):
    int8, m = smoothcert.load_classifier(str(page.folder / "model-int8.onnx")), 200
    changed = smoothcert.recertify(
        original, int8, page.images, method="irs", per_input=m, gamma=1.0
    )
    for image, (c, _, votes), record in zip(page.images, by_hand, changed.records, strict=True):
        radius, replayed = page.recertify(int8, image, c, votes, m)
        assert np.array_equal(record.votes.estimation, replayed)
        assert as_safe(record.certificate.radius, radius)
        assert record.certificate.alpha == 2 * SETTINGS["alpha"]
    assert any(record.certificate.flips for record in changed.records)


def test_it_prints_a_radius_per_image_and_one_of_the_changed_model(page):
    assert page.printed.count("radius") == len(page.images) + 1


@pytest.mark.parametrize(("package", "simple"), [(0.5, 0.4999), (0.5, 0.4999999), (0.49, 0.5)])
def test_a_radius_that_is_larger_or_another_is_seen(package, simple):
    """The control."""
    assert not as_safe(package, simple)
