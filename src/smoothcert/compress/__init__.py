"""Approximations of a model: each writes a file the other commands read, and says what changed."""

from smoothcert.compress.compress import compress as compress
from smoothcert.compress.energy import EnergyProxy as EnergyProxy
from smoothcert.compress.energy import energy_proxy as energy_proxy
from smoothcert.compress.latency import Latency as Latency
from smoothcert.compress.latency import measure_latency as measure_latency
from smoothcert.compress.layers import Layer as Layer
from smoothcert.compress.listing import model_layers as model_layers
from smoothcert.compress.record import Accuracy as Accuracy
from smoothcert.compress.record import CompressionReport as CompressionReport
