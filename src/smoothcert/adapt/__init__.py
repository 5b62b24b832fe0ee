"""Preprocessing put into a model's file, so that certificates hold for what is deployed."""

from smoothcert.adapt.adapt import Adapted as Adapted
from smoothcert.adapt.adapt import adapt as adapt
