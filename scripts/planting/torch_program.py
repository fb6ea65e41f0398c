"""An exported program's nodes, tensors and signature, kept in step with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from planting.network import Unfit


class Program:
    """Holds the program; names are those of the FX graph, and for weights those of the state dict."""

    def __init__(self, path: Path) -> None:
        import torch

        self.torch = torch
        self.exported = torch.export.load(path)
        self.graph = self.exported.graph_module.graph
        signature = self.exported.graph_signature
        self.parameters: dict[str, str] = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}

    @property
    def signature(self) -> Any:
        return self.exported.graph_signature

    def node(self, name: str) -> Any:
        return next(each for each in self.graph.nodes if each.name == name)

    def _carries(self, node: Any) -> bool:
        constants = {*self.parameters, *self.signature.inputs_to_lifted_tensor_constants}
        return node.name not in constants

    def data_inputs(self, node: Any) -> list[Any]:
        """Nodes that carry data into this one, those in lists too."""
        flat: list[Any] = []
        for argument in node.args:
            listed = argument if isinstance(argument, list | tuple) else [argument]
            flat.extend(each for each in listed if hasattr(each, "users") and self._carries(each))
        return flat

    def rewire(self, node: Any, position: int, tensor: str) -> None:
        """Exchanges one data input."""
        count, made = 0, []
        for argument in node.args:
            listed = list(argument) if isinstance(argument, list | tuple) else [argument]
            for number, each in enumerate(listed):
                if hasattr(each, "users") and self._carries(each):
                    if count == position:
                        listed[number] = self.node(tensor)
                    count += 1
            made.append(listed if isinstance(argument, list | tuple) else listed[0])
        node.args = tuple(made)
        self._sort(node, tensor)

    def _sort(self, node: Any, tensor: str) -> None:
        names = [each.name for each in self.graph.nodes]
        if names.index(tensor) > names.index(node.name):
            raise Unfit(f"{tensor} is made after {node.name}")

    def values(self, name: str) -> np.ndarray:
        return np.array(self.exported.state_dict[name].detach().numpy())

    def put(self, name: str, values: np.ndarray) -> None:
        old = self.exported.state_dict[name]
        tensor = self.torch.from_numpy(np.ascontiguousarray(values)).to(old.dtype)
        wrapped = self.torch.nn.Parameter(tensor, False) if isinstance(old, self.torch.nn.Parameter) else tensor
        self.exported.state_dict[name] = wrapped
        placeholder = self.node(next(node for node, known in self.parameters.items() if known == name))
        if tuple(old.shape) != tuple(tensor.shape):
            placeholder.meta["val"] = self._fake().from_tensor(tensor, static_shapes=True)

    def _fake(self) -> Any:
        value = next(each.meta["val"] for each in self.graph.nodes if hasattr(each.meta.get("val"), "fake_mode"))
        return value.fake_mode

    def constant(self, values: np.ndarray) -> Any:
        """A new buffer; answers its placeholder."""
        from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

        first = self.node(self.signature.user_inputs[0])
        number = sum(name.startswith("planted") for name in self.exported.state_dict)
        tensor = self.torch.from_numpy(values)
        with self.graph.inserting_before(first):
            placeholder = self.graph.placeholder(f"b_planted_{number}")
        placeholder.meta["val"] = self._fake().from_tensor(tensor, static_shapes=True)
        self.exported.state_dict[f"planted_{number}"] = tensor
        specs = self.signature.input_specs
        place = next(index for index, each in enumerate(specs) if each.kind == InputKind.USER_INPUT)
        spec = InputSpec(InputKind.BUFFER, TensorArgument(placeholder.name), f"planted_{number}", persistent=True)
        specs.insert(place, spec)
        self.parameters[placeholder.name] = f"planted_{number}"
        return placeholder

    def target(self, code: str) -> Any:
        """``aten.relu.default`` and the like."""
        found: Any = self.torch.ops
        for part in code.split("."):
            found = getattr(found, part)
        return found

    def call(self, code: str, tensor: str, extra: tuple[Any, ...]) -> str:
        """A new node right behind ``tensor``; inputs are only read behind the last of them."""
        source = self.node(tensor)
        after = source
        if source.op == "placeholder":
            after = [each for each in self.graph.nodes if each.op == "placeholder"][-1]
        target = self.target(code)
        with self.graph.inserting_after(after):
            node = self.graph.call_function(target, (source, *extra))
        values = [each.meta["val"] if hasattr(each, "meta") else each for each in node.args]
        with self._fake():
            node.meta["val"] = target(*values)
        return str(node.name)

    def set_outputs(self, tensors: list[str]) -> None:
        from torch.export.graph_signature import OutputKind, OutputSpec, TensorArgument
        from torch.utils import _pytree

        self.graph.output_node().args = (tuple(self.node(each) for each in tensors),)
        others = [each for each in self.signature.output_specs if each.kind != OutputKind.USER_OUTPUT]
        specs = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(name), None) for name in tensors]
        before = len(self.signature.output_specs) - len(others)
        self.signature.output_specs[:] = [*others, *specs]
        if before != len(tensors):
            self.exported.module_call_graph[0].signature.out_spec = _pytree.tree_structure(tuple(tensors))

    def save(self, path: Path) -> None:
        self.graph.lint()
        self.exported.graph_module.recompile()
        self.torch.export.save(self.exported, path)
