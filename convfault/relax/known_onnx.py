"""ONNX operators that TVM would misread or cannot read, as canonical layers: resizing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convfault.relax.graph import Array
from convfault.relax.imported import KnownLayer

RESIZES = ("Resize", "Upsample")
METHODS = {"nearest": "nearest_neighbor", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}


def known_node(proto: Any, node: Any, shape: Sequence[int | None]) -> KnownLayer | None:
    """What a node of the model computes, its output being of this ``shape``; None: unknown."""
    import onnx

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for item in proto.graph.node:
        if item.op_type == "Constant" and item.attribute[0].name == "value":
            constants[item.output[0]] = item.attribute[0].t
    values = [onnx.numpy_helper.to_array(constants[name]) if name in constants else None for name in node.input]
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    return known(node.op_type, values, attributes, shape)


def known(
    operator: str, values: Sequence[Array | None], attributes: Mapping[str, Any], shape: Sequence[int | None]
) -> KnownLayer | None:
    """The same; ``values`` are the inputs where they are constants."""
    method = METHODS.get(_text(attributes.get("mode", "nearest")))
    if operator not in RESIZES or len(shape) != 4 or None in shape[2:] or method is None:
        return None
    coordinates = _text(attributes.get("coordinate_transformation_mode", "half_pixel"))
    policy = _text(attributes.get("keep_aspect_ratio_policy", "stretch"))
    if attributes.get("axes") or coordinates == "tf_crop_and_resize" or policy != "stretch":
        return None
    old = len(values) < 3 and "coordinate_transformation_mode" not in attributes  # no choice of coordinates yet
    scales = attributes.get("scales", values[1] if len(values) == 2 else values[2] if len(values) > 2 else None)
    rounding = "floor" if old else _text(attributes.get("nearest_mode", "round_prefer_floor"))
    found: dict[str, Any] = {
        "size": tuple(int(side or 0) for side in shape[2:]),
        "method": method,
        "coordinates": "asymmetric" if old else coordinates,
        "rounding": rounding if method == "nearest_neighbor" else "",
        "cubic_alpha": float(attributes.get("cubic_coeff_a", -0.75)) if method == "cubic" else 0.0,
    }
    if scales is not None and len(scales) == 4:
        found["scales"] = (float(scales[2]), float(scales[3]))
    if attributes.get("antialias"):
        found["antialias"] = True
    if bool(attributes.get("exclude_outside")) != bool(attributes.get("antialias")) and method != "nearest_neighbor":
        found["exclude_outside"] = bool(attributes.get("exclude_outside"))
    return KnownLayer("resize", found)


def refusal(attributes: Mapping[str, Any], scales: Array | None) -> str | None:
    """Why TVM must not import this Resize."""
    if attributes.get("antialias") or attributes.get("exclude_outside"):
        return "TVM ignores antialias and exclude_outside"
    whole = scales is None or all(float(scale).is_integer() for scale in scales.reshape(-1))
    return None if whole else "TVM turns a broken scale into a size"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
