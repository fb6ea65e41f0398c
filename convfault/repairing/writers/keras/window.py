"""Windows of Keras' layers, which know ``same`` and ``valid``: what else is padded by a layer before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convfault.relax.graph import Layer
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Node
from convfault.repairing.writers.keras.document import KerasDocument
from convfault.repairing.writers.tflite.window import NO_PADS, SAME, VALID, native_padding

Pads = tuple[tuple[int, int], tuple[int, int]]
LOWEST = float(np.finfo(np.float32).min)
NAMES = {SAME: "same", VALID: "valid"}


def padding_of(layer: Layer, size: tuple[int, int]) -> tuple[str, Pads]:
    """``same`` or ``valid``, and what must be padded before. Raises ``Refusal``."""
    if layer.kind != "convolution" and tuple(layer.hyperparameters.get("dilation", (1, 1))) != (1, 1):
        raise Refusal("Keras' pools have no dilation")
    (top, bottom), (left, right) = layer["padding"]
    pairs: Pads = ((int(top), int(bottom)), (int(left), int(right)))
    found = native_padding(layer, size)
    counted = layer.kind == "average_pool" and bool(layer["count_padding"])
    if found is not None and not (found == SAME and counted and pairs != NO_PADS):
        return NAMES[found], NO_PADS
    if min(map(min, pairs)) < 0:
        raise Refusal(f"Keras cannot pad by less than nothing: {pairs}")
    return "valid", pairs


def set_window(document: KerasDocument, node: Node, own: list[Node], after: Layer, source: tuple[int, ...]) -> bool:
    """Give a layer the window of ``after``, on a picture of shape ``source``; False where it needs more layers.

    ``own`` are the calls that belong to it: padding before it is changed, or no longer read.
    """
    own_count = any(after.hyperparameters.get(name) is not None for name in ("divisor", "uncounted"))
    dilated = after.kind != "convolution" and tuple(after.hyperparameters.get("dilation", (1, 1))) != (1, 1)
    if own_count or dilated:
        return False
    name, pairs = padding_of(after, (source[1], source[2]))
    if pairs != NO_PADS and after.kind != "convolution":
        return False
    pad = _pad_before(document, node, own)
    _connect_pad(document, node, pad, pairs, after.id)
    settings = document.own(node).settings
    wanted: dict[str, Any] = {"padding": name, "strides": [int(step) for step in after["strides"]]}
    if after.kind == "convolution":
        wanted["dilation_rate"] = [int(step) for step in after["dilation"]]
    else:
        wanted["pool_size"] = [int(side) for side in after["size"]]
    for key, value in wanted.items():
        if settings.get(key) != value:
            document.note(node.name, key, settings.get(key), value)
            settings[key] = value
    return True


def _pad_before(document: KerasDocument, node: Node, own: list[Node]) -> Node | None:
    """The first of the paddings that belong to a layer."""
    found, producer = None, document.producer(node.inputs[0])
    while producer is not None and producer in own and producer.type == "ZeroPadding2D":
        found, producer = producer, document.producer(producer.inputs[0])
    return found


def _connect_pad(document: KerasDocument, node: Node, pad: Node | None, pairs: Pads, layer: str) -> None:
    """Let a layer read its picture padded by ``pairs``: by the padding that there is, or by a new one.

    ``layer`` is the id of the layer that it then is a part of.
    """
    first = pad.inputs[0] if pad is not None else node.inputs[0]
    if pairs == NO_PADS:
        wanted = first
    elif pad is not None and document.readers(pad.outputs[0]) == [node] and node.inputs[0] == pad.outputs[0]:
        settings = document.own(pad).settings
        widths = [list(pair) for pair in pairs]
        if settings.get("padding") != widths:
            document.note(pad.name, "padding", settings.get("padding"), widths)
            settings["padding"] = widths
        return
    else:
        layout = node.native.stored.settings.get("data_format") or "channels_last"
        wanted = document.make("ZeroPadding2D", [first], (), {"padding": pairs, "data_format": layout})
        document.parts.setdefault(layer, []).append(document.nodes[-1])
    if node.inputs[0] != wanted:
        document.connect(node, 0, wanted)


def padded(document: KerasDocument, pairs: Pads, value: float) -> Callable[[Any], Any]:
    """A picture padded by ``pairs`` with ``value``."""
    library = document.file.library
    if pairs == NO_PADS:
        return lambda tensor: tensor
    if value == 0:
        return library.layers.ZeroPadding2D(pairs)  # type: ignore[no-any-return]
    widths = [[0, 0], list(pairs[0]), list(pairs[1]), [0, 0]]
    if document.file.old:
        import tensorflow as tf

        return lambda tensor: tf.pad(tensor, widths, constant_values=value)
    return lambda tensor: library.ops.pad(tensor, widths, constant_values=value)
