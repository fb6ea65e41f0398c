"""torch → Relax by TVM's frontend from an exported program, as it was exported: its nodes keep their names."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from convfault.errors import ShapeError, TrustError
from convfault.model import Model, TensorSpec
from convfault.native import torch_archive, torch_function, torch_names
from convfault.relax import known_torch
from convfault.relax.imported import Encoding, Imported, Origin, UnsupportedOperator, import_around
from convfault.relax.torch_half import widen
from convfault.relax.torch_importer import importer_class, tensors_of, type_of
from convfault.relax.torch_nodes import static_shape
from convfault.relax.torch_views import lead_writes


def import_exported(model: Model, batch: int) -> Imported:
    """Import a ``.pt2``; native names are those of the exported graph's nodes, and of parameters in the state dict."""
    return _imported(torch_archive.load(model), batch)


def import_function(model: Model, batch: int) -> Imported:
    """Import the module that ``module:function`` makes, by exporting it first; executes the user's code."""
    import torch

    if not model.trusted:
        raise TrustError(f"{model.path} executes code: pass --trust if you trust it")
    module = torch_function.load(model)
    examples = tuple(torch_function.example(spec).to(getattr(torch, spec.dtype)) for spec in _inputs(model, batch))
    return _imported(torch.export.export(module, examples), batch)


def _imported(program: Any, batch: int) -> Imported:
    native = torch_names.node_names(program.graph)
    half = [native.get(name, name) for name in widen(program)]
    lead_writes(program)
    imported = import_around(lambda refused: _attempt(program, batch, refused, native))
    return replace(imported, encodings={name: Encoding.half(name, False) for name in half})


def _inputs(model: Model, batch: int) -> tuple[TensorSpec, ...]:
    """All inputs with the batch fixed."""
    if model.signature is not None:
        return tuple(TensorSpec(spec.name, (batch, *spec.shape[1:]), spec.dtype) for spec in model.signature.inputs)
    if model.preprocessing is None:
        raise ShapeError(f"the input size of {model.path} is unknown: give its preprocessing")
    return (TensorSpec("input", (batch, model.preprocessing.depth, *model.preprocessing.size), "float32"),)


def _attempt(program: Any, batch: int, refused: Mapping[str, str], native: Mapping[str, str]) -> Imported:
    """``native``: node → native name, of those that the program itself has."""
    import torch

    importer = importer_class()(batch, refused)
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
    known = {node.name: node.name for node in nodes.values() if node.op != "call_function"} | dict(native) | targets
    names = {known[node.name]: value for node, value in importer.env.items() if node.name in known}
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
            _unsupported(nodes[name], batch, reason, {**targets, **native}) for name, reason in refused.items()
        ),
    )


def _constants(module: Any, importer: Any, program: Any, targets: Mapping[str, str]) -> dict[str, Any]:
    """Parameter name → its constant, found where TVM's importer bound it in place of a variable."""
    stored = {**dict(program.named_parameters()), **dict(program.named_buffers()), **program.constants}
    bound = importer.bound_constants(module)
    return {target: bound[name] for name, target in targets.items() if name in bound and target in stored}


def _spec(node: Any, batch: int) -> TensorSpec:
    return TensorSpec(node.name, *type_of(node.meta["val"], batch))


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
    tensors = tensors_of(node)
    readers = {reader.args[1]: reader for reader in node.users if reader.target is operator.getitem}
    titles = {place: readers[place].name if place in readers else f"{node.name}.{place}" for place in tensors}
    titles[None] = node.name
    outputs = tuple(
        TensorSpec(names.get(titles[place], titles[place]), *type_of(value, batch)) for place, value in tensors.items()
    )
    layer = None
    if None in tensors:
        shape = static_shape(tensors[None], batch)
        layer = known_torch.known(node.target.__name__, known_torch.given_arguments(node), shape)
    return UnsupportedOperator(names.get(node.name, node.name), str(node.target), inputs, outputs, reason, layer)
