"""Writes out the operators into which onnxruntime's optimizer melts several of the standard, in a model that it saved.

Which they are and what they compute is from the operators' documentation of onnxruntime (``com.microsoft``). Those of
``com.microsoft.nchwc`` keep pictures and filters in blocks of channels, as wide as the processor's registers; here they
are those of the standard, and the names of the values in between, which hold blocks, are not those of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Array
from convfault.relax.onnx_steps import attributes

DOMAIN, BLOCKED_DOMAIN = "com.microsoft", "com.microsoft.nchwc"
UNKNOWN = -1
"""Channels of what came out of no convolution; those of the filters that read it tell."""
ACTIVATION = ("activation", "activation_params")
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "LeakyRelu": ("alpha",),
    "Clip": ("min", "max"),
    "HardSigmoid": ("alpha", "beta"),
    "Elu": ("alpha",),
}
"""Activation → what its ``activation_params`` are, in order."""


def write_out(proto: Any) -> None:
    """Replace them in place by operators of the standard, as far as they are known."""
    from convfault.relax.onnx_scene import Scene

    if not any(node.domain in {DOMAIN, BLOCKED_DOMAIN} for node in proto.graph.node):
        return
    scene = Scene(proto)
    blocks = Blocks(scene) if any(node.domain == BLOCKED_DOMAIN for node in scene.nodes) else None
    if blocks is not None and not blocks.readable():
        blocks = None
    scene.nodes = [made for node in scene.nodes for made in _written(scene, node, blocks)]
    if blocks is not None:
        blocks.rename()
    scene.look()
    scene.write()


def _written(scene: Any, node: Any, blocks: Blocks | None) -> Iterator[Any]:
    if node.domain == BLOCKED_DOMAIN:
        yield from blocks.written(node) if blocks is not None else (node,)
        return
    if blocks is not None:
        blocks.pass_on(node)
    yield from FORMS[node.op_type](scene, node) if node.domain == DOMAIN and node.op_type in FORMS else (node,)


def _given(inputs: Sequence[str], slot: int) -> str:
    return inputs[slot] if slot < len(inputs) else ""


class Chain:
    """Operators one behind the other, made for a native one: the last one makes the native one's output."""

    def __init__(self, scene: Any, native: Any) -> None:
        self.scene, self.native = scene, native
        self.steps: list[tuple[str, list[str], dict[str, Any]]] = []

    def then(self, kind: str, *inputs: str, **settings: Any) -> None:
        """Another operator; the value before it stands for ``""`` among its inputs, and is its first if none does."""
        self.steps.append((kind, list(inputs), settings))

    def nodes(self, output: str) -> Iterator[Any]:
        before = ""
        for number, (kind, inputs, settings) in enumerate(self.steps):
            last = number + 1 == len(self.steps)
            name = output if last else self.scene.free(f"{output}/{kind.lower()}_{number}")
            read = [*inputs] if number == 0 else [before, *inputs]
            yield self.scene.made(kind, read, name, self.native, **settings)
            before = name

    def activate(self, settings: Mapping[str, Any]) -> None:
        """What ``activation`` and ``activation_params`` ask for."""
        kind = _text(settings.get("activation", b""))
        if not kind:
            return
        values = dict(zip(PARAMETERS.get(kind, ()), settings.get("activation_params", ()), strict=False))
        if kind == "Clip":
            bounds = [values.get("min", -np.inf), values.get("max", np.inf)]
            names = [self.scene.float_constant(f"{self.native.output[0]}/bound", np.float32(each)) for each in bounds]
            self.then(kind, *names)
        else:
            self.then(kind, **values)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _convolution(scene: Any, node: Any) -> Iterator[Any]:
    """A convolution, a value that is added, an activation."""
    settings, chain = attributes(node), Chain(scene, node)
    plain = {name: value for name, value in settings.items() if name not in ACTIVATION}
    inputs = list(node.input)
    chain.then("Conv", *_trimmed(inputs[:3]), **plain)
    if _given(inputs, 3):
        chain.then("Add", inputs[3])
    chain.activate(settings)
    return chain.nodes(node.output[0])


def _trimmed(inputs: list[str]) -> list[str]:
    return inputs[:-1] if inputs and not inputs[-1] else inputs


def _gemm(scene: Any, node: Any) -> Iterator[Any]:
    settings, chain = attributes(node), Chain(scene, node)
    plain = {name: value for name, value in settings.items() if not name.startswith("activation")}
    chain.then("Gemm", *node.input, **plain)
    kind = _text(settings.get("activation", b""))
    given = [settings[name] for name in ("activation_alpha", "activation_beta") if name in settings]
    chain.activate({"activation": kind, "activation_params": given})
    return chain.nodes(node.output[0])


def _matmul(scene: Any, node: Any) -> Iterator[Any]:
    """alpha * A B, either side's last two axes swapped before; swapped batches are left as they are."""
    settings = attributes(node)
    if settings.get("transBatchA") or settings.get("transBatchB"):
        yield node
        return
    sides = list(node.input)
    for slot, name in enumerate(("transA", "transB")):
        if settings.get(name):
            rank = _rank(scene, sides[slot])
            if rank is None:
                yield node
                return
            turned = scene.free(f"{node.output[0]}/{name}")
            order = [*range(rank - 2), rank - 1, rank - 2]
            yield scene.made("Transpose", [sides[slot]], turned, node, perm=order)
            sides[slot] = turned
    chain = Chain(scene, node)
    chain.then("MatMul", *sides)
    if (alpha := float(settings.get("alpha", 1.0))) != 1:
        chain.then("Mul", scene.float_constant(f"{node.output[0]}/alpha", np.float32(alpha)))
    yield from chain.nodes(node.output[0])


def _rank(scene: Any, name: str) -> int | None:
    """How many axes a value has, as far as the file says it."""
    if (held := scene.value(name)) is not None:
        return int(held.ndim)
    for value in (*scene.graph.value_info, *scene.graph.input, *scene.graph.output):
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return len(value.type.tensor_type.shape.dim)
    return None


def _skip_normalization(scene: Any, node: Any) -> Iterator[Any]:
    """Two values, and a bias, added and normalized; the sum may be an output, too."""
    inputs, total = list(node.input), (node.output[3] if len(node.output) > 3 else "")
    if any(node.output[1:3]):  # statistics, for training
        yield node
        return
    total = total or scene.free(f"{node.output[0]}/sum")
    partial = scene.free(f"{node.output[0]}/added") if _given(inputs, 4) else total
    chain = Chain(scene, node)
    chain.then("LayerNormalization", total, *_trimmed(inputs[2:4]), axis=-1, epsilon=_epsilon(node))
    normalized = list(chain.nodes(node.output[0]))
    yield scene.made("Add", inputs[:2], partial, node)
    if partial != total:
        yield scene.made("Add", [partial, inputs[4]], total, node)
    yield from normalized


def _epsilon(node: Any) -> float:
    return float(attributes(node).get("epsilon", 1e-12))


FORMS: Mapping[str, Callable[[Any, Any], Iterator[Any]]] = {
    "FusedConv": _convolution,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "TransposeMatMul": _matmul,
    "SkipLayerNormalization": _skip_normalization,
}


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
        bias = self.scene.value(_given(inputs, 2)) if _given(inputs, 2) else None
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
        if _given(inputs, 3):
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
