"""The converters, in order of preference for a pair, each imported on first use."""

from convfault.converters.base import Converter
from convfault.registry import Registry

CONVERTERS: Registry[Converter] = Registry(
    "converter",
    {
        "torch_onnx": "convfault.converters.onnx_from_torch:CONVERTER",
        "torch_onnx_torchscript": "convfault.converters.onnx_from_torch_by_torchscript:CONVERTER",
        "keras_export": "convfault.converters.tensorflow_from_keras:CONVERTER",
        "tflite_converter/keras": "convfault.converters.tflite_from_keras:CONVERTER",
        "tflite_converter/tf": "convfault.converters.tflite_from_tensorflow:CONVERTER",
        "tf2onnx/keras": "convfault.converters.onnx_from_keras:CONVERTER",
        "tf2onnx/tf": "convfault.converters.onnx_from_tensorflow:CONVERTER",
        "tf2onnx/tflite": "convfault.converters.onnx_from_tflite:CONVERTER",
        "onnx2torch": "convfault.converters.torch_from_onnx:CONVERTER",
        "onnx2tf/tf": "convfault.converters.tensorflow_from_onnx:CONVERTER",
        "onnx2tf/tflite": "convfault.converters.tflite_from_onnx:CONVERTER",
        "onnx2tf/keras": "convfault.converters.keras_from_onnx_by_onnx2tf:CONVERTER",
        "onnx2keras/keras": "convfault.converters.keras_from_onnx:CONVERTER",
        "onnx2keras/tf": "convfault.converters.tensorflow_from_onnx_by_onnx2keras:CONVERTER",
        "litert-torch": "convfault.converters.tflite_from_torch:CONVERTER",
        "nobuco/keras": "convfault.converters.keras_from_torch:CONVERTER",
        "nobuco/tf": "convfault.converters.tensorflow_from_torch:CONVERTER",
        "tflite2onnx": "convfault.converters.onnx_from_tflite_by_tflite2onnx:CONVERTER",
    },
    Converter,
)
