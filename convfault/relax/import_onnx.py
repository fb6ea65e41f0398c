"""ONNX → Relax by TVM's frontend, one operator after the other, so that each keeps its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from convfault.errors import ShapeError
from convfault.model import Model, TensorSpec
from convfault.relax.imported import (
    Imported,
    OperatorRefusedError,
    Origin,
    UnsupportedOperator,
    first_line,
    import_around,
)
from convfault.relax.known_onnx import known_node
from convfault.relax.onnx_dequantize import dequantize
from convfault.relax.onnx_expand import drop_unread_outputs, expanded, seen_values
from convfault.relax.onnx_fold import fold_sizes
from convfault.relax.onnx_fused import write_out
from convfault.relax.onnx_scene import NODE, OPERATOR


def import_onnx(model: Model, batch: int) -> Imported:
    """Import an ``.onnx`` file, external data included; native names are those of the graph's values."""
    import onnx

    proto = onnx.load(model.path)
    native = _made(proto.graph)
    write_out(proto)
    encodings = dequantize(proto)
    invented = _made(proto.graph) - native
    proto = expanded(proto, _known())
    fix_shapes(proto.graph, batch)
    fold_sizes(proto)
    drop_unread_outputs(proto.graph)
    imported = import_around(lambda refused: _attempt(proto, refused))
    names = {name: expression for name, expression in imported.names.items() if name not in invented}
    return replace(imported, names=names, encodings=encodings)


def fix_shapes(graph: Any, batch: int) -> None:
    """Make the inputs of an ONNX graph static in place: an open first dimension is the batch."""
    constants = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name in constants:
            continue
        for index, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.HasField("dim_value") and dimension.dim_value > 0:
                continue
            if index:
                raise ShapeError(
                    f"input '{value.name}' has no fixed size in dimension {index}: export it with a fixed size"
                )
            dimension.dim_value = batch


def _made(graph: Any) -> set[str]:
    return {name for node in graph.node for name in node.output}


def _attempt(proto: Any, refused: Mapping[str, str]) -> Imported:
    import onnx

    proto, unsupported = _cut(proto, refused) if refused else (proto, ())
    graph = proto.graph
    cut = {spec.name for operator in unsupported for spec in operator.outputs}
    constants = {tensor.name for tensor in graph.initializer}
    native_inputs = [value for value in graph.input if value.name not in constants]
    importer = _importer_class()(shape_dict={v.name: list(_spec(v).shape) for v in native_inputs}, dtype_dict="float32")
    version = next((item.version for item in proto.opset_import if item.domain in {"", "ai.onnx"}), 1)
    module = importer.from_onnx(graph, version)
    outputs = [
        TensorSpec(
            v.name, tuple(int(side) for side in importer.table[v.name].ty.shape), str(importer.table[v.name].ty.dtype)
        )
        for v in graph.output
    ]
    return Imported(
        module=module,
        names=importer.table,
        inputs=tuple(_spec(value) for value in native_inputs if value.name not in cut),
        outputs=tuple(outputs),
        layout="NCHW",
        origins={
            name: _origin(node) for node in graph.node for name in node.output if isinstance(node, onnx.NodeProto)
        },
        unsupported=unsupported,
    )


def _origin(node: Any) -> Origin:
    """The native operator that a node is, or that it was made for."""
    found = {item.key: item.value for item in node.metadata_props}
    return Origin(found.get(NODE, node.name or node.output[0]), found.get(OPERATOR, node.op_type), _source(node))


def _source(node: Any) -> tuple[str, ...]:
    """Where in the user's program torch's exporter says that the node comes from."""
    found = {item.key: item.value for item in node.metadata_props}
    keys = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.stack_trace")
    return tuple(found[key] for key in keys if key in found)


def _spec(value: Any) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    shape = tuple(int(side.dim_value) if side.HasField("dim_value") else None for side in tensor.shape.dim)
    return TensorSpec(value.name, shape, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def _cut(proto: Any, refused: Mapping[str, str]) -> tuple[Any, tuple[UnsupportedOperator, ...]]:
    """A copy without the refused nodes, whose outputs become graph inputs of the shapes that ONNX infers."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(copy).graph
    known = {value.name: value for value in (*inferred.value_info, *inferred.output) if _is_fixed(value)}
    nodes = [node for node in copy.graph.node if node.output[0] in refused]
    lacking = [name for node in nodes for name in node.output if name and name not in known]
    known |= seen_values(proto, lacking) if lacking else {}
    unsupported = []
    for node in nodes:
        values = [known.get(name) for name in node.output if name]
        if any(value is None for value in values):
            raise OperatorRefusedError(node.output[0], f"{node.op_type} is unknown, and so is the shape of its output")
        unsupported.append(
            UnsupportedOperator(
                node.name or node.output[0],
                node.op_type,
                tuple(_read(node)),
                tuple(_spec(value) for value in values),
                refused[node.output[0]],
                known_node(copy, node, _spec(values[0]).shape),
            )
        )
        copy.graph.input.extend(values)
        copy.graph.node.remove(node)
    return copy, tuple(unsupported)


def _read(node: Any) -> list[str]:
    """What a node reads, the nodes of its branches or loop included; some of it may be made there."""
    inner = [item for attribute in node.attribute if attribute.HasField("g") for item in attribute.g.node]
    return list(dict.fromkeys([*node.input, *(name for item in inner for name in _read(item))]))


def _is_fixed(value: Any) -> bool:
    """Whether a value is a tensor of known type and shape."""
    tensor = value.type.tensor_type
    return bool(
        tensor.elem_type and tensor.HasField("shape") and all(side.HasField("dim_value") for side in tensor.shape.dim)
    )


def _known() -> set[str]:
    """The operators that are imported."""
    from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

    from convfault.relax.onnx_operators import OPERATORS

    return {*_get_convert_map(), *OPERATORS, "If", "Constant"}


def _importer_class() -> Any:
    """TVM's importer, made to bind every operator's result to a variable and to name the operator that it refuses."""
    from tvm import relax
    from tvm.ir import Call
    from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

    from convfault.relax.onnx_operators import OPERATORS, refusal

    class NamedImporter(ONNXGraphImporter):  # type: ignore[misc]
        @property
        def table(self) -> dict[str, Any]:
            return dict(self._nodes)

        def _check_for_unsupported_ops(self, graph: Any) -> None:
            known = _known()
            for node in graph.node:
                if node.op_type not in known or node.domain not in {"", "ai.onnx", "com.microsoft"}:
                    raise OperatorRefusedError(node.output[0], "TVM's importer does not know this operator")

        def _construct_nodes(self, graph: Any) -> None:
            for node in graph.node:
                single = type(graph)()
                single.node.append(node)
                self._current = node.output[0]
                if node.op_type == "If":
                    raise OperatorRefusedError(self._current, "which branch runs depends on the picture")
                try:
                    super()._construct_nodes(single)
                except OperatorRefusedError:
                    raise
                except Exception as error:
                    raise OperatorRefusedError(self._current, first_line(error)) from error

        def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> Any:
            if reason := refusal(op_name, inputs, attrs):
                raise OperatorRefusedError(self._current, reason)
            own = OPERATORS.get(op_name)
            found = own(inputs, attrs) if own else None
            if found is None:
                found = super()._convert_operator(op_name, inputs, attrs, opset)
            if not isinstance(found, relax.Expr):
                return found
            found = self.bb.normalize(found)
            # whole numbers are mostly sizes on their way into a Reshape, which TVM recognizes only unbound
            sizes = "int" in str(getattr(found.ty, "dtype", ""))
            return self.bb.emit(found) if isinstance(found, Call) and not sizes else found

    return NamedImporter
