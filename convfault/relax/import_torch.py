"""torch → Relax by TVM's frontend from an exported program, as it was exported: its nodes keep their names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convfault.errors import ShapeError, TrustError
from convfault.model import Model, TensorSpec
from convfault.native import torch_names
from convfault.relax import known_torch
from convfault.relax.imported import (
    Imported,
    OperatorRefusedError,
    Origin,
    UnsupportedOperator,
    first_line,
    import_around,
)
from convfault.relax.torch_operators import OPERATORS, refusal, static_number, static_shape


def import_exported(model: Model, batch: int) -> Imported:
    """Import a ``.pt2``; native names are those of the exported graph's nodes, and of parameters in the state dict."""
    import torch

    program = torch.export.load(model.path)
    return import_around(lambda refused: _attempt(program, batch, refused))


def import_function(model: Model, batch: int) -> Imported:
    """Import the module that ``module:function`` makes, by exporting it first; executes the user's code."""
    import torch

    if not model.trusted:
        raise TrustError(f"{model.path} executes code: pass --trust if you trust it")
    module_name, _, function = model.path.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    module = getattr(__import__(module_name, fromlist=[function]), function)()
    if model.weights:
        module.load_state_dict(torch.load(model.weights, map_location="cpu", weights_only=True))
    program = torch.export.export(module.eval(), (torch.zeros(_example_shape(model, batch)),))
    return import_around(lambda refused: _attempt(program, batch, refused))


def _example_shape(model: Model, batch: int) -> tuple[int, ...]:
    if model.signature is not None:
        shape = (batch, *model.signature.inputs[0].shape[1:])
    elif model.preprocessing is not None:
        shape = (batch, model.preprocessing.depth, *model.preprocessing.size)
    else:
        raise ShapeError(f"the input size of {model.path} is unknown: give its preprocessing")
    return tuple(int(side or 224) for side in shape)


def _attempt(program: Any, batch: int, refused: Mapping[str, str]) -> Imported:
    import torch

    importer = _importer_class()(batch, refused)
    module = importer.from_exported_program(
        program,
        keep_params_as_input=False,
        unwrap_unit_return_tuple=True,
        no_bind_return_tuple=False,
        custom_convert_map=None,
    )
    signature = program.graph_signature
    nodes = {node.name: node for node in program.graph.nodes}
    targets = {spec.arg.name: spec.target for spec in signature.input_specs if spec.target}
    native = torch_names.node_names(program.graph)
    names = {targets.get(node.name, native.get(node.name, node.name)): value for node, value in importer.env.items()}
    names.update(_constants(module, importer, program, targets))
    outputs = [name for name in signature.user_outputs if name is not None]
    kind = torch.export.graph_signature.InputKind.USER_INPUT
    inputs = [spec.arg.name for spec in signature.input_specs if spec.kind == kind]
    return Imported(
        module=module,
        names=names,
        inputs=tuple(_spec(nodes[name], batch) for name in inputs),
        outputs=tuple(replace(_spec(nodes[name], batch), name=native.get(name, name)) for name in outputs),
        layout="NCHW",
        origins={native[name]: _origin(node) for name, node in nodes.items() if name in native},
        unsupported=tuple(
            _unsupported(nodes[name], batch, reason, targets | native) for name, reason in refused.items()
        ),
    )


def _constants(module: Any, importer: Any, program: Any, targets: Mapping[str, str]) -> dict[str, Any]:
    """Parameter name → its constant, found where TVM's importer bound it in place of a variable."""
    stored = {**dict(program.named_parameters()), **dict(program.named_buffers()), **program.constants}
    bound = importer.bound_constants(module)
    return {target: bound[name] for name, target in targets.items() if name in bound and target in stored}


def _spec(node: Any, batch: int) -> TensorSpec:
    value = node.meta["val"]
    return TensorSpec(node.name, static_shape(value, batch), str(value.dtype).removeprefix("torch."))


def _origin(node: Any) -> Origin:
    modules = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    frames = [
        line.strip() for line in (node.meta.get("stack_trace") or "").splitlines() if line.strip().startswith("File")
    ]
    own = [frame for frame in frames if "/torch/nn/" not in frame] or frames  # the user's line, not torch's own layer
    return Origin(node.name, str(node.target), (modules[-1] if modules else "", own[-1] if own else ""))


def _unsupported(node: Any, batch: int, reason: str, names: Mapping[str, str]) -> UnsupportedOperator:
    """``names``: node → what the tensor is called in the imported model."""
    inputs = tuple(names.get(item.name, item.name) for item in node.all_input_nodes)
    output = replace(_spec(node, batch), name=names.get(node.name, node.name))
    shape = static_shape(node.meta["val"], batch)
    layer = known_torch.known(node.target.__name__, known_torch.arguments_of(node), shape)
    return UnsupportedOperator(output.name, str(node.target), inputs, (output,), reason, layer)


def _importer_class() -> Any:
    """TVM's importer with a static batch, and able to leave operators out."""
    from tvm import relax
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    class NamedImporter(ExportedProgramImporter):  # type: ignore[misc]
        def __init__(self, batch: int, refused: Mapping[str, str]) -> None:
            super().__init__()
            self.batch, self._refused = batch, refused
            self._parameters: list[Any] = []

        def create_input_vars(self, exported_program: Any) -> Any:
            parameters, inputs, _ = super().create_input_vars(exported_program)
            fixed = {}
            for name, variable in inputs.items():
                fixed[name] = variable
            for node in exported_program.graph.nodes:
                if node.name in inputs or node.name in self._refused:
                    spec = _spec(node, self.batch)
                    fixed[node.name] = relax.Var(node.name, relax.TensorType(spec.shape, spec.dtype))
            self._parameters = list(parameters.items())
            self._inputs = fixed
            return parameters, fixed, {}

        def _check_unsupported_func_type(self, nodes: Any) -> None:
            """Each node is tried by itself."""

        convert_map: dict[str, Any]

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
                return self._inputs[node.name]
            number = static_number(node, self.batch)
            if number is not None:
                return number
            if name not in convert and name not in OPERATORS:
                raise OperatorRefusedError(node.name, "TVM's importer does not know this operator")
            if reason := refusal(name, node):
                raise OperatorRefusedError(node.name, reason)
            try:
                return OPERATORS[name](self, node) if name in OPERATORS else convert[name](node)
            except Exception as error:
                raise OperatorRefusedError(node.name, first_line(error)) from error

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
