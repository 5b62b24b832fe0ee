"""Preprocessing put into a model's file, so that certificates hold for what is deployed."""

from smoothcert.adapt.adapt import adapt as adapt
from smoothcert.adapt.adapt import seen as seen
from smoothcert.adapt.adapted import Adapted as Adapted
