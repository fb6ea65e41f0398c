"""What ONNX calls the things that the catalogue speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np

from planting.network import Operator, Unfit
from planting.onnx_constants import Constants

KINDS = {
    "Conv": "conv",
    "Gemm": "dense",
    "MatMul": "dense",
    "BatchNormalization": "norm",
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Max": "max",
    "Concat": "concat",
    "MaxPool": "max_pool",
    "AveragePool": "average_pool",
    "ReduceMean": "mean",
    "Relu": "relu",
    "Clip": "relu6",
    "LeakyRelu": "leaky",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "Reshape": "reshape",
    "Flatten": "reshape",
    "Transpose": "transpose",
    "Pad": "pad",
    "Resize": "resize",
    "Dropout": "dropout",
}
CODES = {kind: code for code, kind in reversed(KINDS.items())} | {"scale": "Mul", "shift": "Add", "reverse": "Gather"}

PARAMETERS = {
    "Conv": (("kernel", "OIHW"), ("bias", "O")),
    "MatMul": (("kernel", "IO"),),
    "BatchNormalization": (("gamma", "O"), ("beta", "O"), ("mean", "O"), ("variance", "O")),
}

ATTRIBUTES: dict[tuple[str, str], tuple[str, Any]] = {
    ("BatchNormalization", "epsilon"): ("epsilon", 1e-5),
    ("LeakyRelu", "slope"): ("alpha", 0.01),
    ("Softmax", "axis"): ("axis", -1),
    ("Concat", "axis"): ("axis", None),
    ("AveragePool", "count_include_pad"): ("count_include_pad", 0),
    ("Resize", "coordinates"): ("coordinate_transformation_mode", b"half_pixel"),
    ("Resize", "method"): ("mode", b"nearest"),
    ("Resize", "rounding"): ("nearest_mode", b"round_prefer_floor"),
}
"""A setting's attribute and the default that the operator's schema gives it."""


def get(node: Any, name: str, default: Any) -> Any:
    """An attribute's value, as ``onnx`` keeps it."""
    import onnx

    found = [each for each in node.attribute if each.name == name]
    return onnx.helper.get_attribute_value(found[0]) if found else default


def put(node: Any, name: str, value: Any) -> None:
    import onnx

    keep_only(node, {each.name for each in node.attribute} - {name})
    node.attribute.append(onnx.helper.make_attribute(name, value))


def keep_only(node: Any, names: set[str]) -> None:
    kept = [each for each in node.attribute if each.name in names]
    copies = [type(each).FromString(each.SerializeToString()) for each in kept]
    del node.attribute[:]
    node.attribute.extend(copies)


def read_setting(operator: Operator, name: str, constants: Constants) -> Any:
    """The value of a setting, or None."""
    node = operator.handle
    if (node.op_type, name) in ATTRIBUTES:
        value = get(node, *ATTRIBUTES[node.op_type, name])
        if name == "rounding" and get(node, "mode", b"nearest") != b"nearest":
            return None
        return value.decode() if isinstance(value, bytes) else value
    if (node.op_type, name) == ("ReduceMean", "axes"):
        constant = len(node.input) > 1 and node.input[1] in constants
        return constants.values(node.input[1]).tolist() if constant else get(node, "axes", None)
    if (node.op_type, name) == ("Pad", "value"):
        return float(constants.values(node.input[2])) if len(node.input) > 2 and node.input[2] in constants else 0.0
    if (node.op_type, name) == ("Pad", "pads"):
        return _read_pads(node, constants)
    if (node.op_type, name) == ("Dropout", "training"):
        return bool(constants.values(node.input[2])) if len(node.input) > 2 else False
    return None


def _read_pads(node: Any, constants: Constants) -> tuple[tuple[int, int], ...] | None:
    """Height's and width's (before, after), where all else is not padded."""
    if len(node.input) > 3 or len(node.input) < 2 or node.input[1] not in constants:
        return None
    pads = constants.values(node.input[1]).tolist()
    if len(pads) != 8 or any(pads[each] for each in (0, 1, 4, 5)):
        return None
    return (pads[2], pads[6]), (pads[3], pads[7])


def write_setting(operator: Operator, name: str, value: Any, constants: Constants) -> None:
    """Changes a setting; those that are constant inputs get a constant of their own."""
    node, key = operator.handle, (operator.handle.op_type, name)
    if key in ATTRIBUTES:
        put(node, ATTRIBUTES[key][0], int(value) if isinstance(value, bool) else value)
    elif key == ("ReduceMean", "axes") and len(node.input) > 1:
        node.input[1] = constants.add(f"{operator.name}_axes", np.asarray(value, np.int64))
    elif key == ("ReduceMean", "axes"):
        put(node, "axes", value)
    elif key == ("Pad", "value"):
        extra = constants.add(f"{operator.name}_value", np.asarray(value, np.float32))
        node.input[:] = [*node.input[:2], extra, *node.input[3:]]
    elif key == ("Pad", "pads"):
        (top, bottom), (left, right) = value
        node.input[1] = constants.add(f"{operator.name}_pads", np.asarray([0, 0, top, left, 0, 0, bottom, right]))
    elif key == ("Dropout", "training"):
        ratio = node.input[1] if len(node.input) > 1 else ""
        node.input[:] = [node.input[0], ratio, constants.add(f"{operator.name}_training", np.asarray(value))]
        put(node, "seed", 1)
    else:
        raise Unfit(f"{node.op_type} has no {name}")


def recipe(kind: str, shape: tuple[int, ...], settings: dict[str, Any]) -> tuple[str, list[np.ndarray], dict[str, Any]]:
    """Operator, constant inputs and attributes of a new node that reads a tensor of this shape."""
    code = CODES[kind]
    if kind == "transpose":
        return code, [], {"perm": settings["permutation"]}
    if kind == "pad":
        (top, bottom), (left, right) = settings["pads"]
        pads = np.asarray([0, 0, top, left, 0, 0, bottom, right], np.int64)
        return code, [pads, np.asarray(settings.get("value", 0.0), np.float32)], {}
    if kind in ("scale", "shift"):
        return code, [np.asarray(settings["values"], np.float32)], {}
    if kind == "reverse":
        return code, [np.arange(shape[settings["axis"]])[::-1].copy()], {"axis": settings["axis"]}
    if kind == "relu6":
        return "Clip", [np.asarray(0, np.float32), np.asarray(6, np.float32)], {}
    return code, [], {"softmax": {"axis": -1}}.get(kind, {})


def grown(kind: str, shape: tuple[int, ...], settings: dict[str, Any]) -> tuple[int, ...]:
    """The shape of what such a node makes."""
    if kind == "transpose":
        return tuple(shape[axis] for axis in settings["permutation"]) if shape else ()
    if kind == "pad" and shape:
        (top, bottom), (left, right) = settings["pads"]
        return (*shape[:2], shape[2] + top + bottom, shape[3] + left + right)
    return shape
