"""The scales of a quantized torch program, which stand in its graph as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convfault.frameworks.base import Perturbation


def perturb_scales(graph: Any, perturbation: Perturbation) -> None:
    """Change the scales that a quantized program's graph carries as numbers; its weights are integers.

    Only those of weights: ``dequantize`` of a parameter.
    """
    import numpy as np

    for index, node in enumerate(graph.nodes):
        is_dequantize = node.op == "call_function" and "dequantize_per_tensor" in str(node.target)
        if is_dequantize and node.args[0].op == "get_attr" and isinstance(node.args[1], float):
            scale = perturbation.apply(np.asarray([node.args[1]]), 1_000_003 + index)[0]
            node.args = (node.args[0], float(scale), *node.args[2:])
