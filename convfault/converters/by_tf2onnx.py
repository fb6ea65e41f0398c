"""What the three converters by tf2onnx share: its options, and the call that all of them end in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convfault.converters.base import Option

PLATFORMS = ("rs4", "rs5", "rs6", "caffe2", "tensorrt", "nhwc")

OPTIONS: Mapping[str, Option] = {
    "opset": Option("version of the ONNX operator set", kind="integer"),
    "inputs_as_nchw": Option("transpose the picture input to NCHW", False, kind="flag"),
    "outputs_as_nchw": Option("transpose four-dimensional outputs to NCHW", False, kind="flag"),
    "target": Option("workarounds for a platform", (), PLATFORMS, many=True),
}


def arguments(options: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, Any]:
    """The options as keyword arguments of tf2onnx, which wants the names of the tensors to transpose."""
    return {
        "opset": options["opset"],
        "target": list(options["target"]),
        "inputs_as_nchw": list(inputs) if options["inputs_as_nchw"] else None,
        "outputs_as_nchw": list(outputs) if options["outputs_as_nchw"] else None,
    }


def facts(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options do to the input: it keeps the source's layout unless it was asked to become NCHW."""
    return {"layout": "NCHW"} if options["inputs_as_nchw"] else {}
