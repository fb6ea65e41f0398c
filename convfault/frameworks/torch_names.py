"""The names that a torch user knows for the nodes of an exported graph."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convfault.frameworks.base import Perturbation


def node_names(graph: Any) -> dict[str, str]:
    """Node name → native name, for every operator of the graph.

    What a leaf module returns has that module's path; a module that runs again gets ``@1``, ``@2``. All else, sums
    in a block's forward for one, keeps its node name.
    """
    calls = [node for node in graph.nodes if node.op == "call_function"]
    places = {node.name: _innermost(node) for node in calls}
    paths = {path for _, path in places.values()}
    parents = {path.rpartition(".")[0] for path in paths} | {""}
    inner = parents | {".".join(path.split(".")[:end]) for path in paths for end in range(1, path.count(".") + 1)}
    last = {places[node.name]: node.name for node in calls}
    names, runs = {}, Counter[str]()
    taken = {node.name for node in calls}
    for node in calls:
        place = places[node.name]
        path = place[1]
        names[node.name] = node.name
        if path in inner or last[place] != node.name:
            continue
        name = f"{path}@{runs[path]}" if runs[path] else path
        runs[path] += 1
        if name not in taken or name == node.name:
            names[node.name] = name
    return names


def _innermost(node: Any) -> tuple[str, str]:
    """Key and path of the module that the node was written in; the key tells the runs of one module apart."""
    stack = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", ""
    key, (path, _) = list(stack.items())[-1]
    return str(key), str(path)


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
