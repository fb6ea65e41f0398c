"""Adapters of the frameworks, each imported on first use."""

from convfault.frameworks.base import Framework
from convfault.registry import Registry

FRAMEWORKS: Registry[Framework] = Registry(
    "framework",
    {
        "torch": "convfault.frameworks.torch:TORCH",
        "keras": "convfault.frameworks.keras:KERAS",
        "tf": "convfault.frameworks.tensorflow:TENSORFLOW",
        "tflite": "convfault.frameworks.tflite:TFLITE",
        "onnx": "convfault.frameworks.onnx:ONNX",
        "tvm": "convfault.frameworks.tvm:TVM",
    },
    Framework,
)
