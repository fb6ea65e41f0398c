"""TFLite → Relax by TVM's frontend, quantized tensors made float first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convfault.errors import FormatError
from convfault.flatbuffer import gathered, packed
from convfault.model import Model, TensorSpec
from convfault.relax.imported import (
    Encoding,
    Imported,
    OperatorRefusedError,
    Origin,
    UnsupportedOperator,
    first_line,
    import_around,
)
from convfault.relax.tflite_dequantize import dequantize, encoded_tensors
from convfault.relax.tflite_shapes import leaves_open, settle_shapes

ELSEWHERE = 127
"""What the old field for an operator holds where only the new one can name it."""


def import_tflite(model: Model, batch: int) -> Imported:
    """Import a ``.tflite`` file; native names are those of its tensors. Its batch size is what the file says."""
    from ai_edge_litert import schema_py_generated as schema

    content = gathered(Path(model.path).read_bytes(), schema)
    flat = schema.Model.GetRootAs(content)
    if flat.SubgraphsLength() < 1:
        raise FormatError(f"{model.path} holds no graph")
    if leaves_open(flat) or _in_new_field(flat):
        tree = schema.ModelT.InitFromObj(flat)
        settle_shapes(tree, content)
        for code in tree.operatorCodes:
            code.deprecatedBuiltinCode = min(max(code.builtinCode, code.deprecatedBuiltinCode), ELSEWHERE)
        content = packed(tree)
    return import_around(lambda refused: _attempt(content, refused))


def _attempt(content: bytes, refused: Mapping[str, str]) -> Imported:
    from ai_edge_litert import schema_py_generated as schema

    encodings: dict[str, Encoding] = {}
    unsupported: tuple[UnsupportedOperator, ...] = ()
    graph = schema.Model.GetRootAs(content).Subgraphs(0)
    if refused or encoded_tensors(graph) or _ambiguous(graph):
        tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        _tell_apart(tree)
        encodings = dequantize(tree)
        unsupported = _cut(tree, refused)
        content = packed(tree)
    module, names, specs = _imported(content)
    cut = {spec.name for operator in unsupported for spec in operator.outputs}
    return Imported(
        module=module,
        names=names,
        inputs=tuple(spec for spec in specs["inputs"] if spec.name not in cut),
        outputs=specs["outputs"],
        layout="NHWC",
        origins=_origins(content),
        encodings=encodings,
        unsupported=unsupported,
    )


def _in_new_field(flat: Any) -> bool:
    """Whether an operator that the old field could name is in the new one alone, where TVM's reader overlooks it."""
    codes = (flat.OperatorCodes(index) for index in range(flat.OperatorCodesLength()))
    return any(min(code.BuiltinCode(), ELSEWHERE) > code.DeprecatedBuiltinCode() for code in codes)


def _ambiguous(graph: Any) -> bool:
    names = [graph.Tensors(index).Name() for index in range(graph.TensorsLength())]
    return len(set(names)) < len(names)


def _tell_apart(tree: Any) -> None:
    """Give tensors of one name different ones, in place, as the TFLite session does; TVM would mix them up."""
    seen: set[bytes] = set()
    for index, tensor in enumerate(tree.subgraphs[0].tensors):
        name = tensor.name or b""
        tensor.name = name + f"#{index}".encode() if name in seen else name
        seen.add(tensor.name)


def _imported(content: bytes) -> tuple[Any, dict[str, Any], dict[str, tuple[TensorSpec, ...]]]:
    import tflite
    from tvm.relax.frontend.tflite import from_tflite

    found: dict[str, Any] = {}
    module = from_tflite(tflite.Model.GetRootAs(content, 0), op_converter=_converter_class(found))
    return module, dict(found["names"]), found["specs"]


def _converter_class(found: dict[str, Any]) -> Any:
    """TVM's converter, made to bind every result to a variable and to name the operator that it refuses."""
    from tvm import relax
    from tvm.ir import Call
    from tvm.relax.frontend.tflite.tflite_frontend import OperatorConverter, get_tensor_name

    from convfault.relax.tflite_operators import OPERATORS

    class NamedConverter(OperatorConverter):  # type: ignore[misc]
        def check_unsupported_ops(self) -> None:
            found["specs"] = {
                "inputs": tuple(self._spec(index) for index in self.subgraph.InputsAsNumpy()),
                "outputs": tuple(self._spec(index) for index in self.subgraph.OutputsAsNumpy()),
            }
            found["names"] = self._recorded_constants()

        def _spec(self, index: int) -> TensorSpec:
            tensor = self.subgraph.Tensors(index)
            shape = tuple(int(side) for side in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
            return TensorSpec(get_tensor_name(self.subgraph, index), shape, self.get_tensor_type_str(tensor.Type()))

        def _recorded_constants(self) -> dict[str, Any]:
            """The name table, which from now on also takes every constant that the table of expressions makes."""
            names, make = dict(self.exp_tab.exprs), self.exp_tab.new_const

            def new_const(value: Any, *arguments: Any, source_name: Any = None, **options: Any) -> Any:
                expression = make(value, *arguments, source_name=source_name, **options)
                if source_name is not None:
                    names.setdefault(source_name.decode(), expression)
                return expression

            self.exp_tab.new_const = new_const
            return names

        def convert_op_to_relax(self) -> None:
            for index in range(self.subgraph.OperatorsLength()):
                operator = self.subgraph.Operators(index)
                outputs = self.get_output_tensors(operator)
                name = get_tensor_name(self.subgraph, outputs[0].tensor_idx)
                try:
                    kind = self.get_op_code_str(operator)  # refuses a custom operator
                    if kind not in self.convert_map and kind not in OPERATORS:
                        raise OperatorRefusedError(name, "TVM's importer does not know this operator")
                    own = OPERATORS.get(kind)
                    result = own(self, operator) if own else None
                    result = self.convert_map[kind](op=operator) if result is None else result
                    if result is not None:
                        self._bind(result, outputs)
                except OperatorRefusedError:
                    raise
                except Exception as error:
                    raise OperatorRefusedError(name, first_line(error)) from error

        def _bind(self, result: Any, outputs: list[Any]) -> None:
            result = self.bb.emit(result) if isinstance(result, Call) else self.bb.normalize(result)
            for position, output in enumerate(outputs):
                value = result if len(outputs) == 1 else result[position]
                if isinstance(value, relax.TupleGetItem):
                    value = self.bb.emit(value)
                name = get_tensor_name(self.subgraph, output.tensor_idx)
                self.exp_tab.set_expr(name, value)
                found["names"][name] = value

    return NamedConverter


def _origins(content: bytes) -> dict[str, Origin]:
    """The operator that makes each tensor, which TFLite leaves unnamed: it goes by its first output."""
    from ai_edge_litert import schema_py_generated as schema

    names = operator_names(schema)
    flat = schema.Model.GetRootAs(content)
    graph, origins = flat.Subgraphs(0), {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = flat.OperatorCodes(operator.OpcodeIndex())
        kind = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
        outputs = [graph.Tensors(position).Name().decode() for position in operator.OutputsAsNumpy()]
        origins.update({name: Origin(outputs[0], kind) for name in outputs})
    return origins


def operator_names(schema: Any) -> dict[int, str]:
    """Number of a builtin operator → its name."""
    return {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def _cut(tree: Any, refused: Mapping[str, str]) -> tuple[UnsupportedOperator, ...]:
    """Take the refused operators out of the tree in place; their outputs become inputs of the graph."""
    from ai_edge_litert import schema_py_generated as schema

    graph, names = tree.subgraphs[0], operator_names(schema)
    types = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    label = [tensor.name.decode() for tensor in graph.tensors]
    unsupported = []
    for operator in [item for item in graph.operators if label[item.outputs[0]] in refused]:
        code = tree.operatorCodes[operator.opcodeIndex]
        kind = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        outputs = tuple(_cut_spec(label[index], graph.tensors[index], types) for index in operator.outputs)
        inputs = tuple(label[index] for index in operator.inputs if index >= 0)
        custom = code.customCode.decode() if kind == "CUSTOM" and code.customCode else kind
        unsupported.append(UnsupportedOperator(outputs[0].name, custom, inputs, outputs, refused[outputs[0].name]))
        graph.inputs = [*graph.inputs, *operator.outputs]
        graph.operators.remove(operator)
    return tuple(unsupported)


def _cut_spec(name: str, tensor: Any, types: Mapping[int, str]) -> TensorSpec:
    """An output of an operator that is taken out."""
    shape = [] if tensor.shape is None else [int(side) for side in tensor.shape]
    if any(side < 0 for side in shape):
        raise OperatorRefusedError(name, "the shape of its result depends on the picture")
    return TensorSpec(name, tuple(shape), types[tensor.type])
