"""Makes a half-precision exported program single precision: parameters, types in arguments; what was half is told."""

from __future__ import annotations

from typing import Any


def widen(program: Any) -> frozenset[str]:
    """Make an ``ExportedProgram`` float32 in place; the nodes whose values were float16, or read only as such."""
    import torch

    coarse = {torch.float16, torch.bfloat16}
    half = {node.name for node in program.graph.nodes if _type(node) == torch.float16}
    casts = {
        node.args[0].name
        for node in program.graph.nodes
        if node.name in half and node.op == "call_function" and _is_cast(node) and _read_once(node.args[0])
    }
    if not any(_type(node) in coarse for node in program.graph.nodes):
        return frozenset()
    for held in (program.state_dict, program.constants):
        for name, tensor in list(held.items()):
            if isinstance(tensor, torch.Tensor) and tensor.dtype in coarse:
                single = tensor.detach().float()
                held[name] = torch.nn.Parameter(single, False) if isinstance(tensor, torch.nn.Parameter) else single
    for node in program.graph.nodes:
        node.args = torch.fx.node.map_aggregate(node.args, lambda value: _wider(value, coarse))
        node.kwargs = torch.fx.node.map_aggregate(node.kwargs, lambda value: _wider(value, coarse))
        if "val" in node.meta:
            node.meta["val"] = torch.utils._pytree.tree_map(lambda value: _wider(value, coarse), node.meta["val"])
    return frozenset(half | casts)


def _type(node: Any) -> Any:
    return getattr(node.meta.get("val"), "dtype", None)


def _is_cast(node: Any) -> bool:
    from torch.fx import Node

    given = node.args[0] if node.args else None
    return isinstance(given, Node) and node.target.__name__.split(".")[0] in {"to", "_to_copy", "type_as"}


def _read_once(node: Any) -> bool:
    """Checks of a value's type do not count."""
    return sum(not str(reader.target).startswith("aten._assert") for reader in node.users) == 1


def _wider(value: Any, coarse: set[Any]) -> Any:
    """A type or a tensor in single precision, anything else as it is."""
    import torch

    if isinstance(value, torch.dtype):
        return torch.float32 if value in coarse else value
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in coarse else value
