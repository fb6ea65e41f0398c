"""Which operators of a TensorFlow graph reach beyond its tensors: files, Python, the network.

A GraphDef is a program (TensorFlow's SECURITY.md says so). What it may do is decided by an allow list over
the operators that TensorFlow itself declares stateful, and a short list of those that touch files without being so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from convfault.errors import FormatError, TrustError
from convfault.model import Model

HARMLESS = frozenset(
    """
    Assert AssignAddVariableOp AssignSubVariableOp AssignVariableOp Case ConsumeMutexLock DestroyResourceOp
    DisableCopyOnRead Enter EmptyTensorMap FakeParam HashTable HashTableV2 If InitializeTable InitializeTableV2
    IsVariableInitialized LookupTableExport LookupTableExportV2 LookupTableFind LookupTableFindV2 LookupTableImport
    LookupTableImportV2 LookupTableInsertV2 LookupTableSize LookupTableSizeV2 Multinomial MutableHashTable
    MutableHashTableV2 MutexLock ParameterizedTruncatedNormal Placeholder RandomGamma RandomPoissonV2 RandomShuffle
    RandomStandardNormal RandomUniform RandomUniformInt ReadVariableOp ResourceGather ResourceGatherNd
    ResourceScatterAdd ResourceScatterUpdate RestoreV2 StatefulPartitionedCall StatefulStandardNormalV2
    StatefulUniform StatefulUniformFullInt StatelessRandomGetKeyCounter TensorArrayCloseV3 TensorArrayGatherV3
    TensorArrayGradV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArrayV3 TensorArrayWriteV3
    TemporaryVariable TruncatedNormal VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2 While
    """.split()  # noqa: SIM905 -- one name a line would be a page
)
"""Stateful operators that touch nothing but the graph's own variables, tables and random numbers."""

SAVING = frozenset({"SaveV2", "SaveSlices", "Save", "MergeV2Checkpoints"})
"""Every SavedModel carries these for its own saving, which convfault never does: refused only where a run can come."""

REACHING_OUT = re.compile(
    r"ReadFile|MatchingFiles|ImmutableConst|DebugIdentity|GenerateVocabRemapping|InitializeTableFromTextFile"
    r"|XlaCustomCall|.*PyFunc|.*Dataset|.*Snapshot"
)
"""Operators that TensorFlow does not declare stateful and that reach out all the same, by the start of their name."""


def check_saved_model(model: Model, saved: Any) -> None:
    """Raise ``TrustError`` for a SavedModel proto that could do more than compute; ``FormatError`` if it cannot run."""
    for graph in saved.meta_graphs:
        nodes = list(graph.graph_def.node)
        functions = {function.signature.name: function for function in graph.graph_def.library.function}
        everything = [*nodes, *(node for function in functions.values() for node in function.node_def)]
        _check(model, everything, allowed=HARMLESS | SAVING, own=set(functions))
        _check(model, _reachable(graph, functions), allowed=HARMLESS, own=set(functions))


def check_graph(model: Model, graph: Any) -> None:
    """The same for a frozen GraphDef."""
    functions = {function.signature.name: function for function in graph.library.function}
    everything = [*graph.node, *(node for function in functions.values() for node in function.node_def)]
    _check(model, everything, allowed=HARMLESS, own=set(functions))


def _check(model: Model, nodes: Iterable[Any], allowed: frozenset[str], own: set[str]) -> None:
    from tensorflow.python.framework import op_def_registry

    for node in nodes:
        if node.op in own:
            continue
        definition = op_def_registry.get(node.op)
        if definition is None:
            raise FormatError(
                f"{model.path} needs the operator {node.op} (node '{node.name}'), which this TensorFlow does not have"
            )
        stateful = definition.is_stateful and node.op not in allowed
        if not model.trusted and (stateful or REACHING_OUT.match(node.op)):
            raise TrustError(
                f"{model.path} holds the operator {node.op} (node '{node.name}'), which can read or write files or run "
                "code: give --trust if you know where the model comes from"
            )


def _reachable(graph: Any, functions: dict[str, Any]) -> Iterator[Any]:
    """Every node that loading the model or running a signature can execute, in the graph and in its functions."""
    by_name = {node.name: node for node in graph.graph_def.node}
    waiting = [by_name[name] for name in _roots(graph) if name in by_name]
    called = {name for name in graph.object_graph_def.concrete_functions if name in functions}
    seen: set[str] = set()
    for name in called:
        waiting.extend(functions[name].node_def)
    while waiting:
        node = waiting.pop()
        yield node
        for name in (_node_name(reference) for reference in node.input):
            if name in by_name and name not in seen:
                seen.add(name)
                waiting.append(by_name[name])
        for name in _called(node):
            if name in functions and name not in called:
                called.add(name)
                waiting.extend(functions[name].node_def)


def _roots(graph: Any) -> Iterator[str]:
    for signature in graph.signature_def.values():
        yield from (_node_name(tensor.name) for tensor in signature.outputs.values())
    for collection in graph.collection_def.values():
        yield from (_node_name(name) for name in collection.node_list.value)
    yield _node_name(graph.saver_def.restore_op_name)


def _called(node: Any) -> Iterator[str]:
    yield node.op
    for attribute in node.attr.values():
        yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def _node_name(reference: str) -> str:
    return reference.removeprefix("^").partition(":")[0]
