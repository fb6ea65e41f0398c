"""Brings what onnxruntime keeps in blocks of channels, as wide as the processor's registers, into the standard's order.

Its operators of ``com.microsoft.nchwc`` become those of the standard; the names of the values in between, which hold
blocks in the file, are not those of the file any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from convfault.relax.graph import Array
from convfault.relax.onnx_forms import given
from convfault.relax.onnx_fused import ACTIVATION, BLOCKED_DOMAIN, Chain
from convfault.relax.onnx_steps import attributes

UNKNOWN = -1
"""Channels of what came out of no convolution; those of the filters that read it tell."""


class Blocks:
    """The part of a model that onnxruntime keeps in blocks of channels; ``channels``: value in blocks → how many."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.width = _block_width()
        self.channels: dict[str, int] = {}

    def readable(self) -> bool:
        """Whether filters can be brought into their order again: this machine's blocks are the file's."""
        filters = [
            node.input[1] for node in self.scene.nodes if node.domain == BLOCKED_DOMAIN and node.op_type == "Conv"
        ]
        held = [self.scene.value(name) for name in filters]
        return self.width > 0 and all(value is not None and len(value) % self.width == 0 for value in held)

    def pass_on(self, node: Any) -> None:
        """An operator of the standard on values in blocks gives values in blocks."""
        counts = [self.channels[name] for name in node.input if name in self.channels]
        if counts:
            total = sum(counts) if node.op_type == "Concat" and UNKNOWN not in counts else max(counts)
            self.channels.update({name: total for name in node.output if name})

    def written(self, node: Any) -> Iterator[Any]:
        """The standard's operator, or operators."""
        settings, chain, kind = attributes(node), Chain(self.scene, node), node.op_type
        plain = {name: value for name, value in settings.items() if name not in (*ACTIVATION, "channels_last")}
        if kind in {"ReorderInput", "ReorderOutput"}:
            last = bool(settings.get("channels_last"))
            order = [0, 3, 1, 2] if kind == "ReorderInput" else [0, 2, 3, 1]
            chain.then("Transpose" if last else "Identity", node.input[0], **({"perm": order} if last else {}))
        elif kind == "Conv":
            yield from self._convolution(node, plain, chain, settings)
            return
        elif kind == "Upsample":
            scales = np.asarray(plain.pop("scales"), np.float32)
            name = self.scene.float_constant(f"{node.output[0]}/scales", scales)
            chain.then("Resize", node.input[0], "", name, **plain)
        else:
            chain.then(kind, node.input[0], **plain)
        if kind == "ReorderInput":
            self.channels[node.output[0]] = UNKNOWN
        elif kind != "ReorderOutput":
            self.pass_on(node)
        yield from chain.nodes(node.output[0])

    def _convolution(self, node: Any, plain: Any, chain: Chain, settings: Mapping[str, Any]) -> Iterator[Any]:
        inputs = list(node.input)
        stored = np.asarray(self.scene.value(inputs[1]))
        blocked = inputs[0] in self.channels
        single = stored.shape[1] == 1 and int(plain.get("group", 1)) > 1
        filters = _filters(stored, self.width, both=blocked and not single)
        bias = self.scene.value(given(inputs, 2)) if given(inputs, 2) else None
        count = _count(filters, bias, self.width)
        filters = filters[:count]
        if blocked and not single and int(plain.get("group", 1)) == 1:
            read_channels = self.channels[inputs[0]]
            if read_channels == UNKNOWN:
                read_channels = _count(filters.transpose(1, 0, 2, 3), None, self.width)
            filters = filters[:, :read_channels]
        if single:
            plain["group"] = count
        read = [inputs[0], self.scene.float_constant(f"{inputs[1]}/nchw", filters)]
        if bias is not None:
            read.append(self.scene.float_constant(f"{inputs[2]}/nchw", np.asarray(bias)[:count]))
        chain.then("Conv", *read, **plain)
        if given(inputs, 3):
            chain.then("Add", inputs[3])
        chain.activate(settings)
        self.channels[node.output[0]] = count
        yield from chain.nodes(node.output[0])

    def rename(self) -> None:
        """Give the values in blocks names that are not the file's, as what the file has there has another layout."""
        names = {name: self.scene.free(f"{name}/nchw") for name in self.channels if name not in self.scene.outputs}
        for node in self.scene.nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]


def _filters(stored: Array, width: int, both: bool) -> Array:
    """Filters (O, I, H, W) from blocks of outputs, or of outputs and inputs, ``width`` wide."""
    outputs, inputs, height, wide = stored.shape
    if both:
        blocks = stored.reshape(outputs // width, inputs // width, height, wide, width, width)
        return blocks.transpose(0, 5, 1, 4, 2, 3).reshape(stored.shape)
    return stored.reshape(outputs // width, inputs, height, wide, width).transpose(0, 4, 1, 2, 3).reshape(stored.shape)


def _count(filters: Array, bias: Array | None, width: int) -> int:
    """How long the first axis is without the zeros that fill up the last block."""
    count = len(filters)
    while count > len(filters) - width + 1 and not filters[count - 1].any() and (bias is None or not bias[count - 1]):
        count -= 1
    return count


def _block_width() -> int:
    """How many channels a block has on this processor, as onnxruntime shows by putting some in order; 0: unknown."""
    from onnx import TensorProto, helper

    channels, size = 32, 2
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain=BLOCKED_DOMAIN)
    shape = [1, channels, size, size]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([node], "blocks", ends[:1], ends[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(BLOCKED_DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    try:
        import onnxruntime

        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        picture = np.broadcast_to(np.arange(channels, dtype=np.float32)[:, None, None], shape).copy()
        found = session.run(None, {"x": picture})[0].reshape(-1)
    except Exception:  # another processor, or another runtime
        return 0
    return int(np.argmax(found[1:] == 0)) + 1  # channel 0 comes again at the next pixel
