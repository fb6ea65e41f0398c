"""Takes an exported program of torch apart. Runs where a converter runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from convfault.localization.tool.reduction import Piece, Places
from convfault.model import Model


class Cutter:
    """The calls of an exported program; values that calls left out had computed become inputs."""

    def __init__(self, model: Model) -> None:
        from convfault.converters.torch_source import exported_program
        from convfault.native.torch_names import node_names

        self.source = model
        self.program = exported_program(model)
        self.module = self.program.module(check_guards=False)
        self.calls = [node for node in self.module.graph.nodes if node.op == "call_function"]
        self.nodes = [(_operator(node), node.name) for node in self.calls]
        self.place = {node.name: index for index, node in enumerate(self.calls)}
        self.native = node_names(self.program.graph)
        self.tensors = [(self.native.get(node.name, node.name),) for node in self.calls]
        self.reads = [
            tuple(self.place[item.name] for item in node.all_input_nodes if item.name in self.place)
            for node in self.calls
        ]
        self.values = {node.name: node.meta.get("val") for node in self.program.graph.nodes}

    def write(self, kept: Places, folder: Path) -> Piece | None:
        """``reduction.Cut.write``."""
        import torch

        held = self._closed(kept)
        graph, copies, examples, origins = torch.fx.Graph(), dict[Any, Any](), list[Any](), list[str]()
        chosen = [self.calls[index] for index in held]
        outside = dict.fromkeys(item for node in chosen for item in node.all_input_nodes if item not in chosen)
        for item in outside:
            if item.op == "placeholder" or item.op == "call_function":
                value = self._value(item)
                if not isinstance(value, torch.Tensor):
                    return None
                copies[item] = graph.placeholder(item.name)
                examples.append(value)
                origins.append(self.native.get(item.name, item.name))
        for item in outside:
            if item.op == "get_attr":
                copies[item] = graph.get_attr(item.target)
        for node in chosen:
            copies[node] = graph.node_copy(node, lambda item: copies[item])
        read = {item for node in chosen for item in node.all_input_nodes}
        ends = [copies[node] for node in chosen if node not in read and isinstance(self._value(node), torch.Tensor)]
        if not ends or not examples:
            return None
        graph.output(tuple(ends))
        module = torch.fx.GraphModule(self.module, graph)
        path = folder / "smallest.pt2"
        torch.export.save(torch.export.export(module, tuple(examples)), path)
        small = replace(self.source, path=str(path), format="pt2", weights=None, signature=None)
        return Piece(small, held, tuple(origins))

    def _closed(self, kept: Places) -> Places:
        """With the calls that compute what is no tensor: sizes, parts of tuples."""
        import torch

        found, pending = set(kept), list(kept)
        while pending:
            for item in self.calls[pending.pop()].all_input_nodes:
                index = self.place.get(item.name)
                if index is not None and index not in found and not isinstance(self._value(item), torch.Tensor):
                    found.add(index)
                    pending.append(index)
        return tuple(sorted(found))

    def _value(self, node: Any) -> Any:
        """A random tensor like the one that the node gave when it was traced; what is no tensor as it is."""
        import torch

        value = node.meta.get("val", self.values.get(node.name))
        if not isinstance(value, torch.Tensor):
            return value
        shape = [side if isinstance(side, int) else 2 for side in value.shape]
        return torch.randn(shape).to(value.dtype)


def _operator(node: Any) -> str:
    """``aten.conv2d`` of ``aten.conv2d.default``."""
    return ".".join(str(node.target).split(".")[:2])
