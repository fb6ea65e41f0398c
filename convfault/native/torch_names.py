"""Names of an exported program's nodes as the user of the module knows them."""

from __future__ import annotations

from collections import Counter
from typing import Any


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
