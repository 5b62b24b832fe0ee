"""Simulated certificates: right on average where the probabilities are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from smoothcert.bounds import binomial
from smoothcert.certificate import Settings
from smoothcert.planning import Sizes, forecast
from smoothcert.planning.forecast import Forecast

N, INPUTS, CLASSES = 5000, 300, 10
SETTINGS = Settings(0.5, 255, n0=100, n=N)
FORMS = ("binary", "runner-up", "auto", "multiclass")


def votes(mean, deviation, seed=0, n0=100):
    """Probabilities of classes, normal on the scale of Phi^-1, and their selection votes."""
    rng = np.random.default_rng(seed)
    p = special.ndtr(rng.normal(mean, deviation, INPUTS))
    won = rng.binomial(n0, p)
    return p, np.stack([won, rng.binomial(n0 - won, 0.6)], axis=1)


def proven(p, n, form, settings=SETTINGS, seed=1):
    """Radii of one run with these probabilities; the best other class has 0.6 of the rest."""
    rng = np.random.default_rng(seed)
    k = rng.binomial(n, p)
    other, size = rng.binomial(n - k, 0.6), np.maximum(n, 1)
    if form == "binary":
        found = settings.radius(binomial.lower(k, size, settings.alpha))
    else:
        parts = CLASSES - 1 if form == "multiclass" else 1
        half = settings.alpha / 2
        limits = binomial.lower(k, size, half), binomial.upper(other, size, half / parts)
        found = settings.radius(*limits)
    return np.where(n > 0, found, 0)


def figures(radii):
    return np.array([radii.mean(), *((radii >= r).mean() for r in (0.25, 0.5, 1.0))])


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("mean", "deviation"), [(0.7, 0.8), (1.5, 1.0), (2.6, 0.8)])
def test_forecasts_are_right_on_average(form, mean, deviation):
    forecasts, runs = [], []
    for seed in range(6):
        p, selected = votes(mean, deviation, seed)
        settings = replace(SETTINGS, form=form)
        draws = Sizes(settings, selected, CLASSES).sizes[-3:][np.arange(INPUTS) % 3]
        forecasts.append(figures(Forecast(settings, selected, CLASSES).radii(draws)))
        forms = ("binary", "runner-up") if form == "auto" else (form,)
        radii = [proven(p, draws, one, seed=seed) for one in forms]
        runs.append(figures(np.max(radii, axis=0)))
    mine, theirs = np.mean(forecasts, axis=0), np.mean(runs, axis=0)
    assert mine[0] == pytest.approx(theirs[0], rel=0.03)
    assert mine[1:] == pytest.approx(theirs[1:], abs=0.03)


def test_what_one_input_alone_says_is_too_little_where_most_are_sure(monkeypatch):
    """Without what all votes say, the forecast would miss what is measured above."""
    p, selected = votes(2.6, 0.8)
    draws = np.full(INPUTS, N)
    truth = proven(p, draws, "binary").mean()
    monkeypatch.setattr(forecast, "_START", (0.0, 1.2))
    monkeypatch.setattr(forecast, "_WEIGHT", 1e12)
    assert Forecast(SETTINGS, selected, CLASSES).radii(draws).mean() < 0.95 * truth


@pytest.mark.parametrize("won", [0, 37, 100])
@pytest.mark.parametrize("inputs", [1, 40])
def test_votes_that_are_all_equal(won, inputs):
    selected = np.tile([won, 100 - won], (inputs, 1))
    radii = Forecast(SETTINGS, selected, CLASSES).radii(np.full(inputs, N))
    assert np.isfinite(radii).all()
    assert (radii.mean() > 0.5) == (won == 100)


def test_no_draws_prove_nothing_and_the_same_draws_the_same():
    _, selected = votes(1.5, 1.0)
    found = Forecast(SETTINGS, selected, CLASSES)
    assert (found.radii(np.zeros(INPUTS, np.int64)) == 0).all()
    again = Forecast(SETTINGS, selected, CLASSES)
    draws = np.full(INPUTS, 400)
    assert (found.radii(draws) == again.radii(draws)).all()


def test_the_distance_from_the_grid_is_taken_off():
    _, selected = votes(1.5, 1.0)
    draws = np.full(INPUTS, N)
    on = Forecast(SETTINGS, selected, CLASSES).radii(draws)
    off = Forecast(replace(SETTINGS, off_grid=0.1), selected, CLASSES).radii(draws)
    assert off == pytest.approx(np.maximum(on - 0.1, 0), abs=1e-9)
