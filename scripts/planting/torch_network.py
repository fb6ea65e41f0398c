"""Exported programs (``.pt2``), edited through their FX graph. Operators go by the graph's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from planting import torch_tables as tables
from planting.network import NO_PADS, Network, Operator, Parameter, Unfit, Window
from planting.torch_program import Program


class TorchNetwork(Network):
    """The graph of an exported program, before it is decomposed."""

    format = "torch"
    layout = "NCHW"

    def __init__(self, path: Path) -> None:
        self.program = Program(path)
        self.graph = self.program.graph

    # reading

    def _operator(self, node: Any) -> Operator:
        code = str(node.target)
        kind = tables.KINDS.get(tables.plain(code), "other")
        if kind == "conv" and tables.argument(node, "groups") == node.meta["val"].shape[1] > 1:
            kind = "depthwise"
        if kind == "hardtanh":
            kind = "relu6" if [float(each) for each in node.args[1:3]] == [0.0, 6.0] else "other"
        data = tuple(each.name for each in self.program.data_inputs(node))
        if kind in ("add", "mul", "sub", "max") and len(data) < 2:
            kind = "other"
        modules = node.meta.get("nn_module_stack") or {}
        module = str(list(modules.values())[-1][0]) if modules else ""
        return Operator(node.name, kind, code, data, (node.name,), node, module)

    def operators(self) -> list[Operator]:
        return [self._operator(node) for node in self.graph.nodes if node.op == "call_function"]

    def inputs(self) -> list[str]:
        return list(self.program.signature.user_inputs)

    def outputs(self) -> list[str]:
        return [each.name for each in self.graph.output_node().args[0]]

    def set_outputs(self, tensors: list[str]) -> None:
        self.program.set_outputs(tensors)

    def shape(self, tensor: str) -> tuple[int, ...]:
        value = self.program.node(tensor).meta.get("val")
        return tuple(size if isinstance(size, int) else -1 for size in getattr(value, "shape", ()))

    # parameters

    def parameters(self) -> list[Parameter]:
        found = []
        for operator in self.operators():
            roles = tables.DEPTHWISE if operator.kind == "depthwise" else tables.PARAMETERS.get(operator.kind, ())
            for (role, axes), argument in zip(roles, operator.handle.args[1:], strict=False):
                name = self.program.parameters.get(getattr(argument, "name", ""))
                if name is not None:
                    shape = tuple(self.program.values(name).shape)
                    found.append(Parameter(operator.name, operator.kind, name, role, axes, shape))
        return found

    def read(self, parameter: Parameter) -> np.ndarray:
        return self.program.values(parameter.tensor).astype(np.float32)

    def write(self, parameter: Parameter, values: np.ndarray) -> None:
        self.program.put(parameter.tensor, values)

    def drop(self, parameter: Parameter) -> None:
        node = self.find(parameter.operator).handle
        place = next(number for number, each in enumerate(node.args) if self._named(each) == parameter.tensor)
        node.update_arg(place, None)

    def _named(self, argument: Any) -> str | None:
        return self.program.parameters.get(getattr(argument, "name", ""))

    def regroup(self, operator: Operator, weight: Parameter, values: np.ndarray) -> None:
        self.program.put(weight.tensor, values)
        tables.set_argument(operator.handle, "groups", 2)

    # settings

    def window(self, operator: Operator) -> Window:
        node = operator.handle
        strides, dilations, pads = (tables.pair(node, name) for name in ("stride", "dilation", "padding"))
        if operator.kind in ("conv", "depthwise"):
            kernel = tuple(node.args[1].meta["val"].shape[2:])
        else:
            kernel = tables.pair(node, "kernel_size") or (1, 1)
            strides = strides or kernel
        window = Window(kernel, strides or (1, 1), dilations or (1, 1), NO_PADS)
        height, width = pads or (0, 0)
        return window.with_pads(((height, height), (width, width)))

    def put_window(self, operator: Operator, window: Window) -> bool:
        node, pads = operator.handle, window.pads
        uneven = any(before != after for before, after in pads)
        if uneven and operator.kind in ("conv", "depthwise"):
            return False
        if (
            any(before > after or 2 * before > size for (before, after), size in zip(pads, window.kernel, strict=True))
            and uneven
        ):
            return False
        settings = {"stride": window.strides, "padding": [before for before, _ in pads]}
        if operator.kind.endswith("pool"):
            settings["kernel_size"] = window.kernel
            tables.set_argument(node, "ceil_mode", uneven)
        if operator.kind != "average_pool":
            settings["dilation"] = window.dilations
        for name, value in settings.items():
            tables.set_argument(node, name, list(value))
        return True

    def attribute(self, operator: Operator, name: str) -> Any:
        return tables.read_setting(operator.kind, operator.handle, name)

    def set_attribute(self, operator: Operator, name: str, value: Any) -> None:
        tables.write_setting(operator.kind, operator.handle, name, value)

    # the graph

    def rewire(self, operator: Operator, position: int, tensor: str) -> None:
        self.program.rewire(operator.handle, position, tensor)

    def create(self, kind: str, tensor: str, **settings: Any) -> str:
        if kind in ("scale", "shift"):
            extra: tuple[Any, ...] = (self.program.constant(np.asarray(settings["values"], np.float32)),)
        else:
            extra = tables.extra_arguments(kind, settings)
        return self.program.call(tables.TARGETS[kind], tensor, extra)

    def replace(self, operator: Operator, kind: str) -> None:
        node = operator.handle
        if operator.kind.endswith("pool"):
            kept = [tables.argument(node, name) for name in ("kernel_size", "stride", "padding")]
            rounded_up = bool(tables.argument(node, "ceil_mode"))
            between = ([1, 1],) if kind == "max_pool" else ()
            node.args = (node.args[0], *kept, *between, rounded_up)
        elif kind in ("add", "sub", "mul", "max"):
            node.args = node.args[:2]
        else:
            node.args = node.args[:1]
        node.kwargs = {}
        node.target = self.program.target(tables.TARGETS[kind])

    def remove(self, operator: Operator) -> None:
        if operator.handle.users:
            raise Unfit(f"{operator.name} is still read")
        self.graph.erase_node(operator.handle)

    def save(self, path: Path) -> None:
        self.program.save(path)
