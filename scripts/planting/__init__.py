"""Plants known faults in model files: the answer key of the benchmark that proves fault localization.

``plant(path, kinds, seed, out)`` copies a TFLite, ONNX, Keras, TensorFlow or torch model with one or several faults
planted at random fitting layers and returns a record of each. Nothing here uses convfault: files are edited with their
formats' own libraries only, so that the analyzers and the answer key cannot share a mistake.
"""

from __future__ import annotations

from planting.catalogue import KINDS, formats_of
from planting.network import Network, Unfit
from planting.planter import effective, plant
from planting.record import Record
from planting.runtimes import run, samples

__all__ = ["KINDS", "Network", "Record", "Unfit", "effective", "formats_of", "plant", "run", "samples"]
