"""Writes out the operators into which onnxruntime's optimizer melts several of the standard, in a model that it saved.

Which they are and what they compute is from the operators' documentation of onnxruntime (``com.microsoft``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convfault.relax.graph import Array
from convfault.relax.onnx_forms import given
from convfault.relax.onnx_steps import attributes
from convfault.relax.rounding import unpacked

if TYPE_CHECKING:
    from convfault.relax.onnx_blocks import Blocks

DOMAIN, BLOCKED_DOMAIN = "com.microsoft", "com.microsoft.nchwc"
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
    from convfault.relax.onnx_blocks import Blocks
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


class Chain:
    """Operators one behind the other, made for a native one: the last one makes the native one's output."""

    def __init__(self, scene: Any, native: Any) -> None:
        self.scene, self.native = scene, native
        self.steps: list[tuple[str, list[str], dict[str, Any]]] = []

    def then(self, kind: str, *inputs: str, **settings: Any) -> None:
        """Another operator; from the second on, the value before it is read ahead of these inputs."""
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
    if given(inputs, 3):
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


def _matmul_of_blocks(scene: Any, node: Any) -> Iterator[Any]:
    """A product with a matrix in few bits, (out, in), of which every block of a row has a scale."""
    settings, inputs = attributes(node), list(node.input)
    bits, size, depth = (int(settings[name]) for name in ("bits", "block_size", "K"))
    stored, scales = scene.value(inputs[1]), scene.value(inputs[2])
    zeros = scene.value(inputs[3]) if given(inputs, 3) else np.zeros(0, np.uint8)
    known = stored is not None and scales is not None and zeros is not None and zeros.dtype == np.uint8
    # the fifth input brings rows into another order
    if not known or bits not in {4, 8} or given(inputs, 4):
        yield node
        return
    count = -(-depth // size)
    codes = unpacked(stored.reshape(-1, count, stored.size // scales.size), bits).reshape(-1, count * size)[:, :depth]
    levels = unpacked(zeros.reshape(len(codes), -1), bits)[:, :count]
    levels = levels if zeros.size else np.full((len(codes), count), 1 << bits - 1, np.uint8)
    names = [
        scene.float_constant(f"{inputs[1]}/{kind}", values)
        for kind, values in (
            ("stored", _of_bits(codes.T, bits)),
            ("scales", scales.reshape(len(codes), count).T),
            ("zeros", _of_bits(levels.T, bits)),
        )
    ]
    real = scene.free(f"{inputs[1]}/real")
    yield scene.made("DequantizeLinear", names, real, node, axis=0, block_size=size)
    chain = Chain(scene, node)
    chain.then("MatMul", inputs[0], real)
    if given(inputs, 5):
        chain.then("Add", inputs[5])
    yield from chain.nodes(node.output[0])


def _of_bits(values: Array, bits: int) -> Array:
    import ml_dtypes

    return values.astype(ml_dtypes.uint4 if bits == 4 else np.uint8)


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
    partial = scene.free(f"{node.output[0]}/added") if given(inputs, 4) else total
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
    "MatMulNBits": _matmul_of_blocks,
    "TransposeMatMul": _matmul,
    "SkipLayerNormalization": _skip_normalization,
}
