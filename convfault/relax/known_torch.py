"""ATen operators that TVM would misread, as canonical layers: poolings with a divisor of their own, resizing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convfault.relax.imported import KnownLayer

METHODS = {"bilinear": "linear", "nearest": "nearest_neighbor", "bicubic": "cubic"}


def known(name: str, arguments: Mapping[str, Any], shape: Sequence[int]) -> KnownLayer | None:
    """What the operator computes from ``arguments`` (by name), its output being of this ``shape``; None: unknown."""
    if len(shape) != 4:
        return None
    if name.startswith("avg_pool2d") and arguments.get("divisor_override"):
        return _average_pool(arguments)
    if name.startswith(("upsample_", "_upsample_")) and "2d" in name:
        return _resize(name, arguments, tuple(shape[2:]))
    return None


def refusal(name: str, arguments: Mapping[str, Any]) -> str | None:
    """Why TVM must not import this pooling or resizing."""
    if name.startswith("avg_pool") and arguments.get("divisor_override"):
        return "TVM ignores divisor_override"
    if not name.startswith(("upsample", "_upsample")):
        return None
    if "_aa" in name:
        return "TVM ignores antialiasing"
    if any(not factor.is_integer() for factor in factors(arguments) or ()):
        return "TVM turns a broken scale factor into a size"
    return None


def factors(arguments: Mapping[str, Any]) -> tuple[float, float] | None:
    """The factors by which height and width are scaled, where they were given."""
    given = arguments.get("scale_factors") or (arguments.get("scales_h"), arguments.get("scales_w"))
    height, width = given[0], given[-1]
    return None if height is None or width is None else (float(height), float(width))


def given_arguments(node: Any) -> dict[str, Any]:
    """The arguments of a node that were given, by name."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _pair(value: Any) -> tuple[int, int]:
    first, last = (value, value) if isinstance(value, int) else (value[0], value[-1])
    return int(first), int(last)


def _average_pool(arguments: Mapping[str, Any]) -> KnownLayer:
    size = _pair(arguments["kernel_size"])
    values: dict[str, Any] = {
        "size": size,
        "strides": _pair(arguments.get("stride") or size),
        "padding": tuple((width, width) for width in _pair(arguments.get("padding", 0))),
        "dilation": (1, 1),
        "count_padding": True,
        "divisor": int(arguments["divisor_override"]),
    }
    return KnownLayer("average_pool", values)


def _resize(name: str, arguments: Mapping[str, Any], size: tuple[int, ...]) -> KnownLayer:
    method, smooth = next(word for word in METHODS if word in name), "_aa" in name
    coordinates = "align_corners" if arguments.get("align_corners") else "half_pixel"
    if method == "nearest":
        coordinates = "tf_half_pixel_for_nn" if "_exact" in name else "asymmetric"
    values: dict[str, Any] = {
        "size": size,
        "method": METHODS[method],
        "coordinates": coordinates,
        "rounding": "floor" if method == "nearest" else "",
        "cubic_alpha": (-0.5 if smooth else -0.75) if method == "bicubic" else 0.0,
    }
    scales = factors(arguments)
    if scales is not None:
        values["scales"] = scales
    if smooth:
        values["antialias"] = True
    return KnownLayer("resize", values)
