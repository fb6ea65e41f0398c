"""What the converters by onnx2keras share: its options, and the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Option
from convfault.model import Model

OPTIONS: Mapping[str, Option] = {
    "name_policy": Option("how the layers are named; the tool's own: as in ONNX", None, ("short", "renumerate")),
    "change_ordering": Option("make the model NHWC instead of NCHW", False, kind="flag"),
}


def network(source: Model, options: Mapping[str, Any]) -> Any:
    """The ``keras.Model`` that onnx2keras makes of the file."""
    import onnx
    from onnx2keras import onnx_to_keras

    model = onnx.load(source.path)
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [entry.name for entry in model.graph.input if entry.name not in weights]
    return onnx_to_keras(
        model,
        names,
        name_policy=options["name_policy"],
        change_ordering=options["change_ordering"],
        verbose=False,
    )


def facts(options: Mapping[str, Any]) -> dict[str, Any]:
    """The input keeps its layout unless the option changes it."""
    return {"layout": "NHWC"} if options["change_ordering"] else {}
