"""Makes a quantized ONNX model float, explicitly: TVM's frontend knows few of the operators on integers.

Stored integers become the real numbers that they stand for, under names that onnxruntime can show; what was done is
recorded as one ``Encoding`` a tensor. Where a range of integers ends at zero, which is how quantizers leave out a Relu,
a Relu says so. What rounding does to an activation is not modelled here: it is in the encoding.

Three ways of quantizing are read: QuantizeLinear and DequantizeLinear around float operators, operators on integers
(``onnx_forms``), and integers whose scale is found at run time (``onnx_dynamic``); half precision by ``onnx_half``.
"""

from __future__ import annotations

from typing import Any

from convfault.relax.imported import Encoding
from convfault.relax.onnx_dynamic import DYNAMIC, make_static
from convfault.relax.onnx_forms import DEQUANTIZE, FORMS, QUANTIZE
from convfault.relax.onnx_half import is_half, widen

QUANTIZED = frozenset({QUANTIZE, DEQUANTIZE, "QLinearConcat", *FORMS, *DYNAMIC})


def dequantize(proto: Any) -> dict[str, Encoding]:
    """Make the main graph of a model float in place; tensor name → its former encoding."""
    encodings = widen(proto) if is_half(proto) else {}
    if not any(node.op_type in QUANTIZED for node in proto.graph.node):
        return encodings
    from convfault.relax.onnx_integers import Integers
    from convfault.relax.onnx_scene import Scene

    scene = Scene(proto)
    make_static(scene)
    Integers(scene).rewrite()
    scene.write()
    return {**encodings, **scene.encodings}
