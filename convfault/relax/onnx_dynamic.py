"""ONNX models whose weights are integers, and whose activations are rounded to integers found at run time, in float.

The weights' real numbers are kept, the rounding that a product does in passing is left out: it differs from picture to
picture. Where DequantizeLinear makes a rounded value real again, ``onnx_integers`` records it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convfault.relax.onnx_forms import ROUNDS_AT_RUN_TIME
from convfault.relax.onnx_steps import Steps, array, attributes

if TYPE_CHECKING:
    from convfault.relax.onnx_scene import Scene

INTEGER = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
FUSED = {"DynamicQuantizeMatMul": (1, 2, 3, 4), "MatMulIntegerToFloat": (1, 3, 5, 6)}
"""Operator → where it reads weights, their scale, their zero point and a float bias."""
DYNAMIC = frozenset({ROUNDS_AT_RUN_TIME, *INTEGER, *FUSED})


def make_static(scene: Scene) -> None:
    """Replace what can be said in float; the rest stays."""
    replaced: dict[int, list[Any]] = {}
    for node in scene.nodes:
        found = None
        if node.op_type in INTEGER:
            found = _spread(scene, node)
        elif node.op_type in FUSED:
            found = _fused(scene, node)
        replaced.update(found or {})
    if replaced:
        scene.nodes = [new for node in scene.nodes for new in replaced.get(id(node), [node])]
        _drop_unread(scene)


def _spread(scene: Scene, node: Any) -> dict[int, list[Any]] | None:
    """ConvInteger or MatMulInteger → Cast → Mul by both scales: the Mul is replaced, the others go."""
    source = _rounded(scene, node.input[0])
    weights = node.input[1]
    cast = _only_reader(scene, node.output[0], "Cast")
    product = _only_reader(scene, cast.output[0], "Mul") if cast is not None else None
    if source is None or weights not in scene.constants or cast is None or product is None:
        return None
    factor = next(name for name in product.input if name != cast.output[0])
    scale = _weight_scale(scene, factor, source.output[1])
    if scale is None:
        return None
    kind = INTEGER[node.op_type]
    name = _weights(scene, node, weights, scale, kind)
    if name is None:
        return None
    made = scene.made(kind, [source.input[0], name], product.output[0], node, **attributes(node))
    return {id(node): [], id(cast): [], id(product): [made]}


def _weights(scene: Scene, node: Any, weights: str, scale: str, kind: str) -> str | None:
    zero = node.input[3] if len(node.input) > 3 else ""
    steps = scene.steps([scale, zero], (0, 1), weights)
    return None if steps is None else _real(scene, weights, steps, kind)


def _real(scene: Scene, weights: str, steps: Steps, kind: str) -> str:
    rank = len(scene.constants[weights].dims)
    steps = Steps(steps.dtype, steps.scales.ravel(), steps.zeros.ravel(), 0 if kind == "Conv" else rank - 1)
    return scene.real_constant(weights, steps, weights)


def _rounded(scene: Scene, name: str) -> Any:
    """The operator that rounds a value at run time."""
    found = scene.producers.get(name)
    return found if found is not None and found.op_type == ROUNDS_AT_RUN_TIME else None


def _only_reader(scene: Scene, name: str, kind: str) -> Any:
    readers = scene.readers.get(name, [])
    alone = len(readers) == 1 and readers[0].op_type == kind and name not in scene.pinned
    return readers[0] if alone else None


def _weight_scale(scene: Scene, factor: str, scale: str) -> str | None:
    """The constant by which the activation's scale was multiplied to make ``factor``."""
    found = scene.producers.get(factor)
    if found is None or found.op_type != "Mul" or scale not in found.input:
        return None
    other = next((name for name in found.input if name != scale), "")
    return other if other in scene.constants else None


def _fused(scene: Scene, node: Any) -> dict[int, list[Any]] | None:
    """A product with everything in one operator."""
    weights, scale, zero, bias = (node.input[slot] if slot < len(node.input) else "" for slot in FUSED[node.op_type])
    source = node.input[0]
    if node.op_type == "MatMulIntegerToFloat":
        rounding = _rounded(scene, source)
        if rounding is None:  # its scale is known: ``onnx_integers`` does it
            return None
        source = rounding.input[0]
    steps = scene.steps([scale, zero], (0, 1), weights)
    if weights not in scene.constants or steps is None:
        return None
    name, output = _real(scene, weights, steps, "MatMul"), node.output[0]
    product = scene.free(f"{output}/product") if bias else output
    nodes = [scene.made("MatMul", [source, name], product, node)]
    if bias:
        nodes.append(scene.made("Add", [product, bias], output, node))
    return {id(node): nodes}


def _drop_unread(scene: Scene) -> None:
    """Take out the rounding that nobody asks for any more, and the biases that were brought into shape as constants."""
    scene.look()
    while True:
        gone = [
            node
            for node in scene.nodes
            if node.op_type in {ROUNDS_AT_RUN_TIME, "Mul"}
            and not any(name in scene.readers or name in scene.pinned for name in node.output)
        ]
        if not gone:
            break
        identities = {id(node) for node in gone}
        scene.nodes = [node for node in scene.nodes if id(node) not in identities]
        scene.look()
    for node in [node for node in scene.nodes if node.op_type == "Reshape"]:
        _fold_shape(scene, node)


def _fold_shape(scene: Scene, node: Any) -> None:
    """``Reshape`` of a float constant, as onnxruntime's quantizer does to a bias."""
    parts = [scene.constants.get(name) for name in node.input]
    if any(part is None for part in parts) or node.output[0] in scene.pinned:
        return
    values, sides = (array(part) for part in parts)
    if values.dtype != np.float32 or 0 in sides:
        return
    scene.nodes = [each for each in scene.nodes if each is not node]
    del scene.producers[node.output[0]]
    scene.float_constant(node.output[0], values.reshape(tuple(int(side) for side in sides)))
