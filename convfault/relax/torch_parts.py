"""What an ATen operator is made of, as torch itself says: so that one unknown to TVM can be imported by its parts."""

from __future__ import annotations

import operator
from typing import Any

from convfault.relax.torch_nodes import static_number, static_shape


def parts(node: Any, batch: int) -> Any:
    """The traced graph of simpler operators that a node of the program stands for; None where torch has none.

    Its placeholders are the node's ``all_input_nodes`` in their order. Nothing is computed of real values: an operator
    whose result has a shape that depends on them has no such graph.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    inputs = node.all_input_nodes
    if not isinstance(node.target, torch._ops.OpOverload):
        return None

    def run(*values: Any) -> Any:
        given = dict(zip(inputs, values, strict=True))
        arguments, named = torch.fx.map_arg((node.args, node.kwargs), given.__getitem__)
        return node.target(*arguments, **named)

    table = dict(torch.export.default_decompositions().items())
    try:
        examples = [_example(item, batch) for item in inputs]
        graph = make_fx(run, decomposition_table=table, tracing_mode="fake")(*examples).graph
    except Exception:  # whatever torch cannot split, or not without looking at values
        return None
    inner = [item.target for item in graph.nodes if item.op not in {"placeholder", "output"}]
    plain = all(isinstance(target, torch._ops.OpOverload) or target is operator.getitem for target in inner)
    return graph if plain and node.target not in inner else None


def _example(node: Any, batch: int) -> Any:
    import torch

    number = static_number(node, batch)
    if number is not None:
        return number
    value = node.meta["val"]
    return torch.zeros(static_shape(value, batch), dtype=value.dtype)
