"""Reads the arithmetic with constants round an operator as ``Step``s."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convfault.relax.graph import Array
from convfault.repairing.writers.document import Document, Node
from convfault.repairing.writers.folding import Put, Step

KINDS = {
    "ADD": "add", "SUB": "subtract", "MUL": "multiply", "DIV": "divide",
    "Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide",
    "add.Tensor": "add", "sub.Tensor": "subtract", "mul.Tensor": "multiply", "div.Tensor": "divide",
    "AddV2": "add", "BiasAdd": "add", "RealDiv": "divide",
    "add_.Tensor": "add", "sub_.Tensor": "subtract", "mul_.Tensor": "multiply", "div_.Tensor": "divide",
}  # fmt: skip
"""Native operator → what it does."""

NORMALIZATIONS = {
    "BatchNormalization", "batch_norm.default", "_native_batch_norm_legit_no_training.default",
    "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3",
}  # fmt: skip
"""Operators on a value, its scale, shift, mean and variance, in this order."""


def step_of(document: Document, node: Node, count: int) -> tuple[Step, int] | None:
    """What an operator does to each of ``count`` channels, and which input carries the data; None if it is no such."""
    own = document.step(node, count)
    if own is not None:
        return own
    if node.type in NORMALIZATIONS:
        return _normalization(document, node, count)
    kind = KINDS.get(node.type)
    if kind is None or len(node.inputs) != 2:
        return None
    constants = [document.constant(name) for name in node.inputs]
    slot = next((place for place, values in enumerate(constants) if values is not None), None)
    if slot is None or constants[1 - slot] is not None:
        return None
    native = constants[slot]
    assert native is not None
    if native.size not in {1, count} or sum(side != 1 for side in native.shape) > 1:
        return None
    values = np.broadcast_to(native.reshape(-1).astype(np.float64), (count,))
    step = _step(kind, slot, values, _putter(document, node, slot, native))
    return None if step is None else (step, 1 - slot)


def _step(kind: str, slot: int, values: Array, put: Callable[[Array], list[Put]]) -> Step | None:
    one, zero = np.ones(len(values)), np.zeros(len(values))
    if kind == "add":
        return Step(one, values, put_shift=lambda step: put(step.shift))
    if kind == "subtract" and slot == 1:
        return Step(one, -values, put_shift=lambda step: put(-step.shift))
    if kind == "subtract":
        return Step(-one, values, put_shift=lambda step: put(step.shift))
    if kind == "multiply":
        return Step(values, zero, put_scale=lambda step: put(step.scale))
    if slot == 0:
        return None
    with np.errstate(all="ignore"):
        return Step(1 / values, zero, put_scale=lambda step: put(1 / step.scale))


def _putter(document: Document, node: Node, slot: int, native: Array) -> Callable[[Array], list[Put]]:
    """Writes one value a channel in the constant's own shape, or as one value where that is all there is."""

    def put(values: Array) -> list[Put]:
        if native.size == values.size:
            return [Put(node, slot, values.reshape(native.shape).astype(np.float32))]
        if np.all(values == values[0]):
            return [Put(node, slot, np.full(native.shape, values[0], np.float32))]
        return [Put(node, slot, values.reshape(document.by_channel(node, len(values))).astype(np.float32))]

    return put


def _normalization(document: Document, node: Node, count: int) -> tuple[Step, int] | None:
    constants = [document.constant(name) for name in node.inputs[1:5]]
    if len(constants) < 4 or any(values is None or values.size != count for values in constants):
        return None
    gamma, beta, mean, variance = (np.asarray(values, np.float64).reshape(-1) for values in constants)
    root = np.sqrt(variance + document.epsilon(node))
    scale = gamma / root
    return Step(
        scale,
        beta - mean * scale,
        put_scale=lambda step: [Put(node, 1, (step.scale * root).astype(np.float32))],
        put_shift=lambda step: [Put(node, 2, (step.shift + mean * step.scale).astype(np.float32))],
        mean=mean,
    ), 0
