"""Which editor opens which format."""

from __future__ import annotations

from pathlib import Path

from planting.network import Network
from planting.runtimes import format_of


def _tflite(path: Path) -> Network:
    from planting.tflite_network import TFLiteNetwork

    return TFLiteNetwork(path)


def _onnx(path: Path) -> Network:
    from planting.onnx_network import OnnxNetwork

    return OnnxNetwork(path)


def _torch(path: Path) -> Network:
    from planting.torch_network import TorchNetwork

    return TorchNetwork(path)


def _keras(path: Path) -> Network:
    from planting.keras_network import KerasNetwork

    return KerasNetwork(path)


def _tensorflow(path: Path) -> Network:
    from planting.tensorflow_network import TensorFlowNetwork

    return TensorFlowNetwork(path)


EDITORS = {"tflite": _tflite, "onnx": _onnx, "torch": _torch, "keras": _keras, "tensorflow": _tensorflow}


def open_network(path: Path) -> Network:
    """The model at ``path``, opened for editing."""
    return EDITORS[format_of(path)](path)
