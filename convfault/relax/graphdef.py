"""A TensorFlow graph → Relax: walks its operations, each handled by one small function of the operator tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.model import TensorSpec
from convfault.relax.graphdef_call import CALLS, Convert, called
from convfault.relax.graphdef_static import computed
from convfault.relax.imported import Imported, OperatorRefusedError, Origin, UnsupportedOperator, first_line


@dataclass(frozen=True)
class FrozenGraph:
    """A GraphDef without variables: ``inputs`` and ``outputs`` map native names to tensor names, ``variables`` the
    name of a Const node to the variable that it was, ``layers`` a Keras layer's name to the tensor that it returns."""

    definition: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    variables: Mapping[str, str]
    layers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """A TensorFlow operation on the way to Relax: its Relax ``inputs``, its attributes and static shapes."""

    operation: Any
    inputs: tuple[Any, ...]

    def attribute(self, name: str) -> Any:
        """The value of an attribute; bytes come as text."""
        value = self.operation.get_attr(name)
        return value.decode() if isinstance(value, bytes) else value

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Static shape of input number ``index``."""
        return static_shape(self.operation.inputs[index])

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        """Static shape of output number ``index``."""
        return static_shape(self.operation.outputs[index])

    def constant(self, index: int) -> npt.NDArray[Any]:
        """The value of input number ``index``, which must be constant."""
        value = static_value(self.operation.inputs[index])
        if value is None:
            raise ValueError(f"input {index} of {self.operation.type} is not constant")
        return value


Operator = Callable[[Node], Any]
SOURCES = frozenset({"Const", "Placeholder"})


def static_value(tensor: Any) -> npt.NDArray[Any] | None:
    """The value of a tensor that does not depend on the model's inputs, None of one that does."""
    import tensorflow as tf

    value = tf.get_static_value(tensor)
    if value is None and tensor.dtype.is_integer:
        value = computed(tensor)
    return None if value is None else np.asarray(value)


def static_shape(tensor: Any) -> tuple[int, ...]:
    """The shape of a tensor; raises ``ValueError`` when a dimension is open."""
    if tensor.shape.rank is None or None in tensor.shape.as_list():
        raise ValueError(f"the shape of {tensor.name} is {tensor.shape}, not fixed")
    return tuple(tensor.shape.as_list())


def import_graph(graph: Any, frozen: FrozenGraph, refused: Mapping[str, str]) -> Imported:
    """Import what the outputs need of a ``tf.Graph`` with static shapes, made of ``frozen``.

    ``refused``: operations to leave out, with the reason.
    """
    needed = _needed(graph, frozen.outputs.values())
    unsupported = tuple(
        _unsupported(graph.get_operation_by_name(name), refused[name]) for name in needed if name in refused
    )
    inputs = tuple(_spec(graph.get_tensor_by_name(tensor), name) for name, tensor in frozen.inputs.items())
    module, table = _module(graph, frozen, needed, unsupported)
    return Imported(
        module=module,
        names=_names(table, frozen),
        inputs=inputs,
        outputs=tuple(_spec(graph.get_tensor_by_name(tensor), name) for name, tensor in frozen.outputs.items()),
        layout="NHWC",
        origins=_origins(graph, needed, frozen.layers),
        unsupported=unsupported,
    )


def _module(
    graph: Any, frozen: FrozenGraph, needed: list[str], unsupported: tuple[UnsupportedOperator, ...]
) -> tuple[Any, dict[str, Any]]:
    """The Relax module, and its expression of every tensor by name."""
    from tvm import relax

    cut = {spec.name: spec for operator in unsupported for spec in operator.outputs}
    sources = {tensor: _spec(graph.get_tensor_by_name(tensor), name) for name, tensor in frozen.inputs.items()} | cut
    table = {t: relax.Var(_identifier(s.name), relax.TensorType(s.shape, s.dtype)) for t, s in sources.items()}
    skipped = {operator.node for operator in unsupported}
    builder = relax.BlockBuilder()
    with builder.function("main", list(table.values())):
        with builder.dataflow():
            library = {item.signature.name: item for item in frozen.definition.library.function}

            def convert(operation: Any, known: dict[str, Any], at: Any) -> None:
                _convert(operation, known, at, library, convert)

            for name in needed:
                if name not in skipped:
                    convert(graph.get_operation_by_name(name), table, builder)
            found = [table[tensor] for tensor in frozen.outputs.values()]
            result = builder.emit_output(found[0] if len(found) == 1 else relax.Tuple(found))
        builder.emit_func_output(result)
    return builder.get(), table


def _names(table: Mapping[str, Any], frozen: FrozenGraph) -> dict[str, Any]:
    """Keras layers first, then tensors; a constant that was a variable goes by the variable's name only."""
    layers = {name: table[tensor] for name, tensor in frozen.layers.items() if tensor in table}
    inputs = {name: table[tensor] for name, tensor in frozen.inputs.items()}
    tensors: dict[str, Any] = {}
    for tensor, expression in table.items():
        tensors.setdefault(frozen.variables.get(tensor.partition(":")[0], tensor), expression)
    return {**layers, **inputs, **tensors}


def _needed(graph: Any, outputs: Any) -> list[str]:
    """Names of the operations that the outputs depend on, in order."""
    wanted: set[str] = set()
    pending = [graph.get_tensor_by_name(tensor).op for tensor in outputs]
    while pending:
        operation = pending.pop()
        if operation.name in wanted:
            continue
        wanted.add(operation.name)
        pending.extend(tensor.op for tensor in operation.inputs)
    return _sorted(graph, wanted)


def _sorted(graph: Any, wanted: set[str]) -> list[str]:
    ordered: list[str] = []
    waiting = {name: {t.op.name for t in graph.get_operation_by_name(name).inputs} for name in wanted}
    readers: dict[str, list[str]] = {}
    for name, sources in waiting.items():
        for source in sources:
            readers.setdefault(source, []).append(name)
    position = {operation.name: index for index, operation in enumerate(graph.get_operations())}
    ready = sorted((name for name in wanted if not waiting[name]), key=position.__getitem__, reverse=True)
    while ready:
        name = ready.pop()
        ordered.append(name)
        for reader in sorted(readers.get(name, ()), key=position.__getitem__, reverse=True):
            waiting[reader].discard(name)
            if not waiting[reader]:
                ready.append(reader)
    return ordered


def _convert(operation: Any, table: dict[str, Any], builder: Any, library: Mapping[str, Any], convert: Convert) -> None:
    """Bind the outputs of one operation in ``table`` under their tensor names."""
    from tvm import relax

    if operation.type == "Placeholder":
        return
    whole = bool(operation.outputs) and all(tensor.dtype.is_integer for tensor in operation.outputs)
    if whole or operation.type == "Const":
        values = [static_value(tensor) for tensor in operation.outputs]
        if all(value is not None for value in values):
            table.update({t.name: relax.const(value) for t, value in zip(operation.outputs, values, strict=True)})
            return
    from convfault.relax.graphdef_operators import OPERATORS

    if operation.type not in OPERATORS and operation.type not in CALLS:
        raise OperatorRefusedError(operation.name, "convfault's importer does not know this operator")
    try:
        inputs = [table[tensor.name] for tensor in operation.inputs]
        if operation.type in CALLS:
            result: Any = called(operation, inputs, builder, library, convert)
        else:
            result = OPERATORS[operation.type](Node(operation, tuple(inputs)))
        results = list(result) if isinstance(result, (list, tuple)) else [result]
        for tensor, value in zip(operation.outputs, results, strict=False):
            table[tensor.name] = builder.emit(value) if _is_call(value) else value
    except OperatorRefusedError as refusal:
        raise OperatorRefusedError(operation.name, refusal.reason) from refusal  # of a called function, too
    except Exception as error:
        raise OperatorRefusedError(operation.name, first_line(error)) from error


def _is_call(value: Any) -> bool:
    from tvm import relax
    from tvm.ir import Call

    return isinstance(value, (Call, relax.TupleGetItem))


def _identifier(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _spec(tensor: Any, name: str) -> TensorSpec:
    return TensorSpec(name, static_shape(tensor), tensor.dtype.name)


def _unsupported(operation: Any, reason: str) -> UnsupportedOperator:
    return UnsupportedOperator(
        operation.name,
        operation.type,
        tuple(tensor.name for tensor in operation.inputs),
        tuple(_spec(tensor, tensor.name) for tensor in operation.outputs),
        reason,
    )


def _origins(graph: Any, names: list[str], layers: Mapping[str, str]) -> dict[str, Origin]:
    operations = [graph.get_operation_by_name(name) for name in names]
    owners = _owners(graph, layers)
    origins = {
        tensor.name: Origin(operation.name, operation.type, owner=owners.get(operation.name, ""))
        for operation in operations
        for tensor in operation.outputs
        if operation.type not in SOURCES
    }
    return {**{layer: origins[tensor] for layer, tensor in layers.items() if tensor in origins}, **origins}


def _owners(graph: Any, layers: Mapping[str, str]) -> dict[str, str]:
    """Operation name → the Keras layer that it is part of: what a layer returns depends on, but for earlier layers.

    ``layers``: layer name → tensor, in the order in which they end, so that an inner layer comes before its outer one.
    """
    known = {operation.name for operation in graph.get_operations()}
    owners: dict[str, str] = {}
    for layer, tensor in layers.items():
        waiting = [tensor.partition(":")[0]]
        while waiting:
            name = waiting.pop()
            if name in owners or name not in known:
                continue
            operation = graph.get_operation_by_name(name)
            if operation.type not in SOURCES:
                owners[name] = layer.partition("@")[0].partition(":")[0]
                waiting.extend(item.op.name for item in operation.inputs)
    for operation in graph.get_operations():  # what only hands a layer's answer on, as the end of a function does
        if operation.type == "Identity" and operation.name not in owners:
            owners[operation.name] = owners.get(operation.inputs[0].op.name, "")
    return owners
