"""Every verified entry that can be shown here, with its small model; the others with the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from known_bugs import keras_networks, onnx_networks, torch_networks
from known_bugs.bug import Shown

KEEP = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4}
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
HALVE = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}
TO_TORCH, BY_O2K = "onnx>torch:onnx2torch", "onnx>keras:onnx2keras==0.0.24"
BY_NOBUCO = "torch>keras:nobuco"
RESIZE = ("Resize", "resize", "Upsample", "interpolat")


def _onnx(name: str, middle: Any = onnx_networks.plain, **settings: Any) -> Callable[[Path], Path]:
    return lambda folder: onnx_networks.network(folder, name, middle, **settings)


def _torch(name: str, middle: Any) -> Callable[[Path], Path]:
    return lambda folder: torch_networks.network(folder, name, middle)


def _keras(name: str, middle: Any, **settings: Any) -> Callable[[Path], Path]:
    return lambda folder: keras_networks.network(folder, name, middle, **settings)


SHOWN: tuple[Shown, ...] = (
    Shown(
        "o2k-avgpool-cip",
        _onnx("cip", onnx_networks.pool(count_include_pad=1, **KEEP), batch=1),
        "onnx>tf:onnx2keras==0.0.24",
        ("AveragePool", "pool"),
        ("count_include_pad", "divisor"),
        difference="saved for TensorFlow: the Lambda layers of its Keras file hold code for Python 3.10",
    ),
    Shown(
        "o2k-names",
        _onnx("names", rename=onnx_networks.as_torch_names, batch=1),
        BY_O2K,
        ("/features/",),
        ("name",),
    ),
    Shown("o2k-clip-inputs", _onnx("clip", onnx_networks.clip, batch=1), BY_O2K, ("Clip",), ("min",)),
    Shown(
        "o2k-reduce-axes",
        _onnx("axes", pool=onnx_networks.mean_of_opset_18, opset=18, batch=1),
        BY_O2K,
        ("ReduceMean",),
        ("axes",),
    ),
    Shown("o2k-change-ordering", _onnx("ordering", batch=1), f"{BY_O2K}[change_ordering=true]", ("Lambda",)),
    Shown(
        "o2t-reducemean18",
        _onnx("reducemean18", pool=onnx_networks.mean_of_opset_18, opset=18),
        TO_TORCH,
        ("ReduceMean-18",),
    ),
    Shown(
        "o2t-identity-init",
        _onnx("identity", onnx_networks.weight_behind_identity),
        TO_TORCH,
        ("Conv", "Identity"),
        ("same_bias", "Identity"),
    ),
    Shown(
        "o2t-resize-asym",
        _onnx("asymmetric", onnx_networks.resize(2, mode="linear", coordinate_transformation_mode="asymmetric")),
        TO_TORCH,
        RESIZE,
        ("coordinate",),
    ),
    Shown(
        "o2t-resize-nearest",
        _onnx("nearest", onnx_networks.resize(0.6, mode="nearest")),
        TO_TORCH,
        RESIZE,
        ("coordinate", "rounding", "nearest_mode"),
    ),
    Shown("o2t-autopad", _onnx("autopad", onnx_networks.same_convolution), TO_TORCH, ("Conv",), ("auto_pad",)),
    Shown(
        "o2t-avgpool-asym",
        _onnx("asymmetric_pool", onnx_networks.pool(**HALVE)),
        TO_TORCH,
        ("AveragePool", "AvgPool"),
        ("padding",),
    ),
    Shown(
        "torch-divisor",
        _torch("divisor", torch_networks.average(kernel_size=2, divisor_override=1)),
        "torch>onnx:torch_onnx",
        ("pool",),
        ("divisor",),
    ),
    Shown(
        "torch-divisor",
        _torch("divisor", torch_networks.average(kernel_size=2, divisor_override=1)),
        "torch>onnx:torch_onnx_torchscript",
        ("pool",),
        ("divisor",),
    ),
    Shown(
        "tf2onnx-group-conv",
        _keras("grouped", keras_networks.grouped),
        "keras>onnx:tf2onnx",
        ("PartitionedCall",),
    ),
    Shown(
        "tflite-bicubic",
        _keras("bicubic", keras_networks.bicubic),
        "keras>tflite:tflite_converter",
        ("ResizeBicubic", "up"),
    ),
    Shown(
        "tflite2onnx-buffers",
        _keras("no_bias", keras_networks.identity, bias=False),
        "keras>tflite:tflite_converter>onnx:tflite2onnx",
        ("FULLY_CONNECTED",),
    ),
    Shown(
        "tflite2onnx-ops",
        _keras("shape", keras_networks.reshaped),
        "keras>tflite:tflite_converter>onnx:tflite2onnx",
        ("SHAPE",),
    ),
    Shown(
        "onnx2tf-shuffle-layout",
        torch_networks.shufflenet,
        "onnx>tflite:onnx2tf==2.6.9",
        ("SLICE", "RESHAPE", "CONCATENATION", "ADD", "MUL"),
    ),
    Shown(
        "nobuco-avgpool-nocip",
        _torch("nocip", torch_networks.average(kernel_size=3, stride=1, padding=1, count_include_pad=False)),
        BY_NOBUCO,
        ("pool",),
        ("count_include_pad", "divisor"),
    ),
    Shown(
        "nobuco-maxpool-dil",
        _torch("dilated", lambda: torch_networks.dilated_max()),
        BY_NOBUCO,
        ("pool",),
        ("dilation",),
    ),
    Shown(
        "nobuco-nearest",
        _torch("nobuco_nearest", torch_networks.upsampled(scale_factor=1.7, mode="nearest")),
        BY_NOBUCO,
        RESIZE,
        ("coordinate", "rounding"),
    ),
    Shown(
        "nobuco-convt-op",
        _torch("transposed", torch_networks.transposed),
        BY_NOBUCO,
        ("conv_transpose", "ConvTranspose"),
    ),
    Shown(
        "tvm-resize-nearest",
        _torch("tvm_nearest", torch_networks.upsampled(scale_factor=0.6, mode="nearest-exact")),
        "torch>onnx:torch_onnx",
        sound=True,
    ),
    Shown(
        "tvm-resize-aa",
        _torch("antialias", torch_networks.resized(size=(11, 11), mode="bilinear", antialias=True)),
        "torch>onnx:torch_onnx",
        sound=True,
    ),
    Shown(
        "tvm-torch-divisor",
        _torch("tvm_divisor", torch_networks.average(kernel_size=2, divisor_override=4)),
        "torch>onnx:torch_onnx",
        sound=True,
        difference="with the window's area for divisor, the only one that is converted right; others: torch-divisor",
    ),
    Shown(
        "tvm-torch-interp",
        _torch("tvm_bilinear", torch_networks.upsampled(scale_factor=1.7, mode="bilinear")),
        "torch>onnx:torch_onnx",
        sound=True,
    ),
    Shown(
        "tvm-upsample9",
        _onnx("upsample9", onnx_networks.upsample, opset=9),
        "",
        sound=True,
        difference="the same network with Resize, of opset 13",
        target=_onnx("resize13", onnx_networks.resize(2, **NEAREST), opset=13),
    ),
)

ABSENT: Mapping[str, str] = {}
"""Entries that cannot be shown here → why."""
