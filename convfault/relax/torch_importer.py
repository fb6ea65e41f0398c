"""TVM's importer of exported programs, made to fix the batch and to leave out the operators that it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.relax import known_torch
from convfault.relax.imported import OperatorRefusedError, first_line
from convfault.relax.torch_nodes import static_number, static_shape
from convfault.relax.torch_operators import OPERATORS, refusal
from convfault.relax.torch_parts import parts
from convfault.relax.torch_views import writes

Place = int | None


def tensors_of(node: Any) -> dict[Place, Any]:
    """The traced tensors that a node gives: one under None, or those of a tuple by their place in it."""
    value = node.meta.get("val")
    if hasattr(value, "shape"):
        return {None: value}
    members = value if isinstance(value, (tuple, list)) else ()
    return {place: member for place, member in enumerate(members) if hasattr(member, "shape")}


def type_of(value: Any, batch: int) -> tuple[tuple[int, ...], str]:
    """Shape and type of a traced tensor when the batch is fixed."""
    return static_shape(value, batch), str(value.dtype).removeprefix("torch.")


def importer_class() -> Any:
    """The class; its instances take the batch and, of the operators to leave out, name → reason."""
    from tvm import relax
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    class NamedImporter(ExportedProgramImporter):  # type: ignore[misc]
        convert_map: dict[str, Any]

        def __init__(self, batch: int, refused: Mapping[str, str]) -> None:
            super().__init__()
            self.batch, self._refused = batch, refused
            self._parameters: list[Any] = []
            self._left_out: dict[str, Any] = {}

        def create_input_vars(self, exported_program: Any) -> Any:
            """The model's inputs, then the outputs of what is left out in the order in which it was refused."""
            parameters, inputs, _ = super().create_input_vars(exported_program)
            nodes = {node.name: node for node in exported_program.graph.nodes}
            fixed = {name: self._variable(name, nodes[name].meta["val"]) for name in inputs}
            for name in self._refused:
                found = tensors_of(nodes[name])
                titles = {place: _variable_name(name, place) for place in found}
                made = {place: self._variable(titles[place], value) for place, value in found.items()}
                fixed.update({titles[place]: variable for place, variable in made.items()})
                self._left_out[name] = made[None] if None in made else _whole(made)
            self._parameters = list(parameters.items())
            return parameters, fixed, {}

        def _variable(self, name: str, value: Any) -> Any:
            try:
                shape, dtype = type_of(value, self.batch)
            except (TypeError, ValueError) as error:
                raise OperatorRefusedError(name, "the shape of its result depends on the picture") from error
            return relax.Var(name, relax.TensorType(shape, dtype))

        def _check_unsupported_func_type(self, nodes: Any) -> None:
            """Each node is tried by itself."""

        def _translate_fx_graph(self, graph_module: Any, nodes: Any, inputs_vars: Any, custom_ops: Any = None) -> Any:
            convert = self.convert_map

            def one(name: str) -> Any:
                return lambda node: self._one(convert, name, node)

            self.convert_map = {
                node.target.__name__: one(node.target.__name__) for node in nodes if callable(node.target)
            }
            try:
                return super()._translate_fx_graph(graph_module, nodes, inputs_vars, custom_ops)
            finally:
                self.convert_map = convert

        def _one(self, convert: Mapping[str, Any], name: str, node: Any) -> Any:
            if node.name in self._refused:
                return self._left_out[node.name]
            number = static_number(node, self.batch)
            if number is not None:
                return number
            if reason := refusal(name, node):
                raise OperatorRefusedError(node.name, reason)
            if name == "cond":
                raise OperatorRefusedError(node.name, "which branch runs depends on the picture")
            given = node.args[0] if writes(node) else None
            before = self.env.get(given)
            if given is not None and name not in convert and name not in OPERATORS:
                name = name.replace("_.", ".", 1)  # the same into a tensor of its own
            try:
                if name in convert or name in OPERATORS:
                    return OPERATORS[name](self, node) if name in OPERATORS else convert[name](node)
                return None if node.meta.get("val") is None else self._by_parts(convert, node)
            except OperatorRefusedError:
                raise
            except Exception as error:
                raise OperatorRefusedError(node.name, first_line(error)) from error
            finally:
                if before is not None:  # TVM gives the node that was written to the new value, too
                    self.env[given] = before

        def _by_parts(self, convert: Mapping[str, Any], node: Any) -> Any:
            """The result of an operator that TVM lacks, by those that torch itself makes of it."""
            graph = None if is_known(node, self.batch) else parts(node, self.batch)
            names = [inner.target.__name__ for inner in graph.nodes if inner.op == "call_function"] if graph else []
            if graph is None or any(name not in convert and name not in OPERATORS for name in names):
                raise OperatorRefusedError(node.name, "TVM's importer does not know this operator")
            given = iter(node.all_input_nodes)
            try:
                for inner in graph.nodes:
                    if inner.op == "placeholder":
                        self.env[inner] = self.env[next(given)]
                    elif inner.op == "call_function":
                        self.env[inner] = self._inner(convert, node, inner)
                (result,) = next(inner for inner in graph.nodes if inner.op == "output").args
                several = isinstance(result, (tuple, list))
                return tuple(self.env[item] for item in result) if several else self.env[result]
            finally:  # the inner nodes are nobody's, and must not be taken for the model's own
                for inner in graph.nodes:
                    self.env.pop(inner, None)

        def _inner(self, convert: Mapping[str, Any], node: Any, inner: Any) -> Any:
            name = inner.target.__name__
            if reason := refusal(name, inner):
                raise OperatorRefusedError(node.name, reason)
            return OPERATORS[name](self, inner) if name in OPERATORS else convert[name](inner)

        def bound_constants(self, module: Any) -> dict[str, Any]:
            """Placeholder name → constant: what the calls of the finished module have where ours had a variable."""
            mine = {hash(variable): name for name, variable in self._parameters}
            found: dict[str, Any] = {}
            for before, after in zip(self._bindings(self.block_builder.get()), self._bindings(module), strict=True):
                pairs = zip(getattr(before.value, "args", ()), getattr(after.value, "args", ()), strict=True)
                found.update({mine[hash(old)]: new for old, new in pairs if hash(old) in mine})
            return found

        def _bindings(self, module: Any) -> list[Any]:
            return [binding for block in module["main"].body.blocks for binding in block.bindings]

    return NamedImporter


def is_known(node: Any, batch: int) -> bool:
    """Whether convfault itself has a layer for the operator."""
    found, arguments = tensors_of(node), known_torch.given_arguments(node)
    if None not in found:
        return False
    return known_torch.known(node.target.__name__, arguments, static_shape(found[None], batch)) is not None


def _variable_name(name: str, place: Place) -> str:
    return name if place is None else f"{name}_output_{place}"


def _whole(members: Mapping[Place, Any]) -> tuple[Any, ...]:
    """The tuple that a node gives, with nothing where it has no tensor."""
    last = max((place for place in members if place is not None), default=-1)
    return tuple(members.get(place) for place in range(last + 1))
