"""What an ONNX graph says of its values: attributes as Python's, constants as arrays, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def attributes_of(node: Any) -> dict[str, Any]:
    """Attribute name → value; text is bytes."""
    import onnx

    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def constants_of(model: Any) -> dict[str, Any]:
    """Constant values by name."""
    import onnx

    found = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        value = attributes_of(node).get("value") if node.op_type == "Constant" else None
        if value is not None:
            found[node.output[0]] = onnx.numpy_helper.to_array(value)
    return found


def shapes_of(model: Any) -> Mapping[str, tuple[int, ...]]:
    """Sizes of values by name, 0 for an open one."""
    return {name: shape for name, (_, shape) in kinds_of(model).items()}


def kinds_of(model: Any) -> Mapping[str, tuple[int, tuple[int, ...]]]:
    """The element type (of ``TensorProto``) and the sizes of values by name, 0 for an open one."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {item.name: (int(item.data_type), tuple(item.dims)) for item in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        found[value.name] = (int(kind.elem_type), tuple(side.dim_value for side in kind.shape.dim))
    return found
