"""Changes in the layers that a Keras model has: weights, windows, activations inside of layers, plain settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convfault.relax.graph import Array, Graph, Layer
from convfault.repairing.writers.document import Node
from convfault.repairing.writers.flattening import flattened_rows, in_canonical_rows, in_native_rows, keeps_rows
from convfault.repairing.writers.keras.document import KerasDocument, fused
from convfault.repairing.writers.keras.resize import resizing
from convfault.repairing.writers.keras.window import set_window
from convfault.repairing.writers.site_of import Linear, puts_for

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOWS = {
    "convolution": {"Conv2D", "DepthwiseConv2D"},
    "max_pool": {"MaxPooling2D"},
    "average_pool": {"AveragePooling2D"},
}
CHANGEABLE = {"strides", "padding", "dilation", "size", "count_padding"}
SETTINGS: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("leaky_relu", "LeakyReLU"): {"slope": ("negative_slope", "alpha")},
    ("elu", "ELU"): {"alpha": ("alpha",)},
    ("softmax", "Softmax"): {"axis": ("axis",)},
    ("concat", "Concatenate"): {"axis": ("axis",)},
    ("normalize", "LayerNormalization"): {"epsilon": ("epsilon",)},
    ("normalize", "GroupNormalization"): {"epsilon": ("epsilon",)},
}
"""Kind and class of a layer → hyperparameter → the names that its setting has had."""
KERNELS = {"Conv1D", "Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense"}
FUNCTIONS = {"nn.convolution", "nn.conv2d", "nn.depthwise_conv2d", "linalg.matmul", "compat.v1.nn.conv2d"}
"""Functions of TensorFlow that Keras 2 calls with weights that are written into the configuration."""


def patch(document: KerasDocument, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
    """See ``Document.patch``."""
    if before.parameters.keys() != after.parameters.keys():
        return False
    if any(before.parameters[n].values.shape != after.parameters[n].values.shape for n in before.parameters):
        return False
    changed = _changed(before, after)
    if before.kind == "clip":
        return _patch_clip(document, before, after)
    if changed and before.kind not in WINDOWS:
        return not before.parameters and _patch_settings(document, before, after, changed)
    if before.kind not in {*WINDOWS, "dense", "affine", "transposed_convolution"} or not changed <= CHANGEABLE:
        return False
    return _patch_linear(document, graph, after_graph, before, after)


def _changed(before: Layer, after: Layer) -> set[str]:
    names = {*before.hyperparameters, *after.hyperparameters}
    return {name for name in names if before.hyperparameters.get(name) != after.hyperparameters.get(name)}


def _patch_linear(document: KerasDocument, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
    """Weights and window together: both can be written, or nothing is."""
    if not keeps_rows(graph, after_graph, before, after):
        return False
    old = flattened_rows(graph, before)
    sizes = [each[layer.inputs[0]].shape for each, layer in ((graph, before), (after_graph, after))]
    moved = bool(_changed(before, after)) or before.shape != after.shape or sizes[0] != sizes[1]
    node = next((node for node in document.of(before) if node.type in WINDOWS.get(before.kind, set())), None)
    if moved and before.kind in WINDOWS and node is None:
        return False
    puts = puts_for(document, lambda each: linear(document, before, each, old), before, after)
    if puts is None:
        return False
    if moved and node is not None and not set_window(document, node, document.of(before), after, sizes[1]):
        return False
    for put in puts:
        document.put(put.node, put.slot, put.values)
    return True


# weights


def linear(document: KerasDocument, layer: Layer, node: Node, rows: Array | None) -> Linear | None:
    """The call as a place of weights, None if it is no such. Keras stores them as the graph has them."""
    if node.type in KERNELS:
        slot = len(node.inputs) - 2
        native = document.constant(node.inputs[slot])
    elif node.type in FUNCTIONS:
        constants = [place for place, name in enumerate(node.inputs) if document.constant(name) is not None]
        slot = constants[0] if len(constants) == 1 else -1
        native = document.constant(node.inputs[slot]) if slot > 0 else None
    else:
        return None
    if native is None:
        return None
    canonical, stored = _orders(layer, native.shape, rows)
    return Linear(node, 0, slot, slot + 1 if node.type in KERNELS else None, canonical, stored)


def _orders(
    layer: Layer, native: tuple[int, ...], rows: Array | None
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    shape = layer.parameters["weights"].values.shape

    return (
        lambda values: in_canonical_rows(values, rows).reshape(shape),
        lambda values: in_native_rows(values.reshape(native), rows),
    )


# activations


def _patch_clip(document: KerasDocument, before: Layer, after: Layer) -> bool:
    """Another bound of an activation inside a layer, or of a layer that is one."""
    own = [node for node in document.of(before) if node.type in {"ReLU", "Activation"} or fused(node) is not None]
    if len(own) != 1 or len(document.of(before)) != 1:
        return False
    node, low, high = own[0], float(after["minimum"]), float(after["maximum"])
    name = {(0.0, np.inf): "relu", (0.0, 6.0): "relu6"}.get((low, high))
    if node.type == "ReLU":
        if low != 0:
            return False
        settings = document.own(node).settings
        wanted = {"max_value": None if high == np.inf else high, "threshold": 0.0}
        wanted |= {each: 0.0 for each in ("negative_slope",) if each in settings}
        _set(document, node, wanted)
        return True
    if name is None or not hasattr(document.file.library.activations, name):
        return False
    _set(document, node, {"activation": name})
    return True


def _set(document: KerasDocument, node: Node, wanted: dict[str, Any]) -> None:
    """Give a layer other settings."""
    settings = document.own(node).settings
    for name, value in wanted.items():
        if settings.get(name) != value:
            document.note(node.name, name, settings.get(name), value)
            settings[name] = value


# plain settings


def _patch_settings(document: KerasDocument, before: Layer, after: Layer, changed: set[str]) -> bool:
    own = [node for node in document.of(before) if (before.kind, node.type) in SETTINGS]
    if before.kind in {"pad", "resize"}:
        return _patch_picture(document, before, after)
    if len(own) != 1 or len(document.of(before)) != 1 or before.native.permutation is not None:
        return False
    node, table = own[0], SETTINGS[before.kind, own[0].type]
    if not changed <= table.keys():
        return False
    settings = document.own(node).settings
    wanted: dict[str, Any] = {}
    for name in changed:
        key = next((each for each in table[name] if each in settings), table[name][0])
        value = after[name]
        wanted[key] = int(value) if name == "axis" else float(value)
    _set(document, node, wanted)
    return True


def _patch_picture(document: KerasDocument, before: Layer, after: Layer) -> bool:
    """Padding and resizing of pictures."""
    own = document.of(before)
    if len(own) != 1 or before.native.permutation is not None:
        return False
    if before.kind == "resize" and own[0].type == "Resizing":
        method = resizing(after)
        if method is None:
            return False
        height, width = (int(side) for side in after["size"])
        _set(document, own[0], {"interpolation": method, "height": height, "width": width})
        return True
    if before.kind != "pad" or own[0].type != "ZeroPadding2D" or len(after["padding"]) != 4:
        return False
    pairs = [[int(width) for width in pair] for pair in after["padding"]]
    plain = after["mode"] == "constant" and not after["value"] and min(map(min, pairs)) >= 0
    if not plain or any(map(any, (pairs[0], pairs[3]))):
        return False
    _set(document, own[0], {"padding": pairs[1:3]})
    return True
