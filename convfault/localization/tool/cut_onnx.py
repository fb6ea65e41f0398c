"""Takes an ONNX model apart. Runs where a converter runs: standard library and ``convfault.model`` at the top."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from convfault.localization.tool.reduction import Piece, Places
from convfault.model import Model


class Cutter:
    """An ONNX model's nodes; values that nodes left out had computed become inputs, values that nobody reads outputs.

    What depends on weights only stays with who reads it: an operator may want to find its weights in the model.
    """

    def __init__(self, model: Model) -> None:
        import onnx

        self.source = model
        self.proto = onnx.load(model.path)
        try:
            inferred = onnx.shape_inference.infer_shapes(self.proto, data_prop=True)
        except Exception:  # too large, or not valid: what it says of itself has to do
            inferred = self.proto
        graph = self.proto.graph
        self.nodes = [(node.op_type, node.name or next(iter(node.output), "")) for node in graph.node]
        self.tensors = [tuple(name for name in node.output if name) for node in graph.node]
        self.known = {item.name: item for item in (*inferred.graph.value_info, *graph.input, *graph.output)}
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.maker = {name: index for index, node in enumerate(graph.node) for name in node.output}
        self.reads = [
            tuple(dict.fromkeys(self.maker[name] for name in _reads(node) if name in self.maker)) for node in graph.node
        ]
        self.constant: set[int] = set()
        for index, node in enumerate(graph.node):
            if all(not name or name in self.weights or self.maker.get(name) in self.constant for name in node.input):
                self.constant.add(index)

    def write(self, kept: Places, folder: Path) -> Piece | None:
        """``reduction.Cut.write``."""
        import onnx

        held = self._closed(kept)
        nodes = [self.proto.graph.node[index] for index in held]
        made = {name for node in nodes for name in node.output if name}
        read = list(dict.fromkeys(name for node in nodes for name in _reads(node)))
        inputs = [name for name in read if name not in made and name not in self.weights]
        whole = {item.name for item in self.proto.graph.output}
        outputs = [n for node in nodes for n in node.output if n and (n not in read or n in whole)]
        if not nodes or not outputs or any(name not in self.known for name in (*inputs, *outputs)):
            return None
        small = onnx.ModelProto()
        small.CopyFrom(self._frame())
        small.graph.node.extend(nodes)
        small.graph.initializer.extend(self.weights[name] for name in read if name in self.weights)
        small.graph.input.extend(self.known[name] for name in inputs)
        small.graph.output.extend(self.known[name] for name in outputs)
        path = folder / "smallest.onnx"
        onnx.save(small, str(path))
        return Piece(replace(self.source, path=str(path), signature=None), held, tuple(inputs))

    def _closed(self, kept: Places) -> Places:
        found, pending = set(kept), list(kept)
        while pending:
            for name in _reads(self.proto.graph.node[pending.pop()]):
                index = self.maker.get(name)
                if index is not None and index in self.constant and index not in found:
                    found.add(index)
                    pending.append(index)
        return tuple(sorted(found))

    def _frame(self) -> Any:
        """The model without its graph's content."""
        import onnx

        frame = onnx.ModelProto()
        frame.ir_version = self.proto.ir_version
        frame.opset_import.extend(self.proto.opset_import)
        frame.functions.extend(self.proto.functions)
        frame.graph.name = self.proto.graph.name
        return frame


def _reads(node: Any) -> list[str]:
    """Names that a node reads, those that its branches and bodies take from outside included."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            inner = {name for item in graph.node for name in item.output}
            inner |= {item.name for item in (*graph.input, *graph.initializer)}
            found += [name for item in graph.node for name in _reads(item) if name not in inner]
    return found
