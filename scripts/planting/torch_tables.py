"""What torch's operators call the things that the catalogue speaks of."""

from __future__ import annotations

from typing import Any

from planting.network import Unfit

KINDS = {
    "conv2d": "conv",
    "linear": "dense",
    "batch_norm": "norm",
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "maximum": "max",
    "cat": "concat",
    "max_pool2d": "max_pool",
    "avg_pool2d": "average_pool",
    "mean": "mean",
    "relu": "relu",
    "relu6": "relu6",
    "hardtanh": "hardtanh",
    "leaky_relu": "leaky",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
    "flatten": "reshape",
    "view": "reshape",
    "reshape": "reshape",
    "permute": "transpose",
    "pad": "pad",
    "constant_pad_nd": "pad",
    "upsample_nearest2d": "resize",
    "_upsample_nearest_exact2d": "resize",
    "upsample_bilinear2d": "resize",
    "dropout": "dropout",
}
TARGETS = {
    "relu": "aten.relu.default",
    "relu6": "aten.relu6.default",
    "sigmoid": "aten.sigmoid.default",
    "tanh": "aten.tanh.default",
    "softmax": "aten.softmax.int",
    "transpose": "aten.permute.default",
    "pad": "aten.constant_pad_nd.default",
    "scale": "aten.mul.Tensor",
    "shift": "aten.add.Tensor",
    "reverse": "aten.flip.default",
    "add": "aten.add.Tensor",
    "sub": "aten.sub.Tensor",
    "mul": "aten.mul.Tensor",
    "max": "aten.maximum.default",
    "max_pool": "aten.max_pool2d.default",
    "average_pool": "aten.avg_pool2d.default",
}
PARAMETERS = {
    "conv": (("kernel", "OIHW"), ("bias", "O")),
    "dense": (("kernel", "OI"), ("bias", "O")),
    "norm": (("gamma", "O"), ("beta", "O"), ("mean", "O"), ("variance", "O")),
}
DEPTHWISE = (("kernel", "OMHW"), ("bias", "O"))
SETTINGS = {
    ("norm", "epsilon"): "eps",
    ("norm", "training"): "training",
    ("dropout", "training"): "train",
    ("leaky", "slope"): "negative_slope",
    ("softmax", "axis"): "dim",
    ("concat", "axis"): "dim",
    ("mean", "axes"): "dim",
    ("average_pool", "count_include_pad"): "count_include_pad",
    ("pad", "value"): "value",
}


def plain(code: str) -> str:
    """``relu`` of ``aten.relu_.default``."""
    return code.removeprefix("aten.").split(".")[0].removesuffix("_")


def _place(node: Any, name: str) -> tuple[int, Any]:
    """Number and default of an argument, as the operator's schema has them."""
    arguments = node.target._schema.arguments
    for number, each in enumerate(arguments):
        if each.name == name:
            return number, each.default_value
    raise Unfit(f"{node.target} has no {name}")


def argument(node: Any, name: str) -> Any:
    """An argument's value, wherever it stands."""
    place, default = _place(node, name)
    if name in node.kwargs:
        return node.kwargs[name]
    return node.args[place] if place < len(node.args) else default


def set_argument(node: Any, name: str, value: Any) -> None:
    """Sets it, filling in the schema's defaults before it."""
    place, _ = _place(node, name)
    if node.target._schema.arguments[place].kwarg_only:
        node.kwargs = {**node.kwargs, name: value}
        return
    names = [each.name for each in node.target._schema.arguments[: place + 1]]
    kept = [argument(node, each) for each in names]
    kept[place] = value
    node.args = (*kept, *node.args[place + 1 :])
    node.kwargs = {key: each for key, each in node.kwargs.items() if key not in names}


def pair(node: Any, name: str) -> tuple[int, int] | None:
    """A setting for height and width; None where it is left out."""
    try:
        value = argument(node, name)
    except Unfit:
        return None
    if isinstance(value, str):
        raise Unfit("padding in words is not edited")
    if value is None or (isinstance(value, list | tuple) and not value):
        return None
    listed = list(value) if isinstance(value, list | tuple) else [value, value]
    return listed[0], listed[-1]


def read_setting(kind: str, node: Any, name: str) -> Any:
    """The value of a setting, or None."""
    code = plain(str(node.target))
    if kind == "resize":
        nearest = code != "upsample_bilinear2d"
        if name == "rounding" and nearest:
            return "round_prefer_ceil" if "exact" in code else "floor"
        if name == "coordinates" and not nearest:
            return "align_corners" if argument(node, "align_corners") else "half_pixel"
        return {"method": "nearest" if nearest else "linear"}.get(name)
    if (kind, name) == ("pad", "pads"):
        pads = list(argument(node, "pad"))
        return ((pads[2], pads[3]), (pads[0], pads[1])) if len(pads) == 4 else None
    if (kind, name) not in SETTINGS:
        return None
    value = argument(node, SETTINGS[kind, name])
    return (0.0 if value is None else float(value)) if name == "value" else list(value) if name == "axes" else value


def write_setting(kind: str, node: Any, name: str, value: Any) -> None:
    if name == "pads":
        set_argument(node, "pad", [*value[1], *value[0]])
    elif kind != "resize":
        set_argument(node, SETTINGS[kind, name], value)
    elif name == "coordinates" and value != "asymmetric":
        set_argument(node, "align_corners", value == "align_corners")
    elif name == "rounding" and value in ("floor", "round_prefer_ceil"):
        _resize(node, "upsample_nearest2d" if value == "floor" else "_upsample_nearest_exact2d")
    elif name == "method":
        _resize(node, "upsample_nearest2d" if value == "nearest" else "upsample_bilinear2d")
    else:
        raise Unfit(f"torch has no {name} {value}")


def _resize(node: Any, code: str) -> None:
    """Another resizing operator with the same size and scales."""
    import torch

    size, scales = argument(node, "output_size"), argument(node, "scale_factors")
    node.target = getattr(torch.ops.aten, code).vec
    node.args = (node.args[0], size, *((False,) if code == "upsample_bilinear2d" else ()), scales)
    node.kwargs = {}


def extra_arguments(kind: str, settings: dict[str, Any]) -> tuple[Any, ...]:
    """What a new operator gets besides its data."""
    if kind == "transpose":
        return (settings["permutation"],)
    if kind == "pad":
        (top, bottom), (left, right) = settings["pads"]
        return [left, right, top, bottom], settings.get("value", 0.0)
    return {"softmax": (1,), "reverse": ([settings.get("axis", 1)],)}.get(kind, ())
