"""Why did a conversion crash: which operator, which version of it, which attribute, at which stage of the tool?

What it finds: the operator (with its version, its node's name, the attribute) that a tool's message or traceback
blames, or that is left when the model is made as small as it can be and still fails.
How it arises: tools know a limited set of operators, each in some versions and with some attributes.
Example: onnx2torch 1.5.15 knows ReduceMean up to version 13; torch's exporter writes version 18.
How it is repaired: another route, release or option (``tool.alternatives``), or another spelling of the operator.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from convfault.localization.suspect import Suspect
from convfault.localization.tool import analyzer as tool
from convfault.localization.tool import message as messages
from convfault.localization.tool.message import Blame
from convfault.localization.tool.shrink import Shrunk

CAUSES: Mapping[str, Mapping[str, str]] = {
    "unsupported_operator": {
        "finds": "the tool does not know an operator, or not in this version",
        "arises": "new operators and versions of operators come faster than converters follow",
        "example": "onnx2torch: ReduceMean of version 18",
        "repair": "write the operator in an older version or by others, or take another tool",
    },
    "unsupported_attribute": {
        "finds": "the tool knows the operator, but not this setting or use of it",
        "arises": "only the common settings were implemented",
        "example": "onnx2torch: auto_pad SAME_UPPER",
        "repair": "write the setting out (pads in numbers), or take another tool",
    },
    "unsupported_type": {
        "finds": "the tool knows the operator, but not for numbers of this type",
        "arises": "training in mixed precision leaves float16 in the model, which many runtimes do not compute in",
        "example": "TFLiteConverter: tf.Conv2D of Keras' policy mixed_float16",
        "repair": "make the model compute in float32 before converting (in Keras, its layers with the policy float32)",
    },
    "missing_tensor": {
        "finds": "the tool looks for a tensor by a name, in a place where it is not",
        "arises": "weights behind Identity nodes, shared or renamed",
        "example": "onnx2torch: KeyError for a weight that TorchScript's exporter put behind an Identity",
        "repair": "fold constants first (onnxsim), or export with another exporter",
    },
    "bad_shape": {
        "finds": "shapes do not fit together in the converted model",
        "arises": "an attribute, group or layout that was lost on the way",
        "example": "a fusion of grouped transposed convolutions that ignores the groups",
        "repair": "leave the optimization out, or take another tool",
    },
    "bad_name": {
        "finds": "a name that the target does not allow",
        "arises": "names of one framework taken over by another one",
        "example": "onnx2keras: '/conv1/Conv_output_0' is no name of a layer",
        "repair": "rename the tensors before converting (an option of the tool, where there is one)",
    },
    "bad_file": {
        "finds": "the tool cannot read the model file",
        "arises": "a newer format than the tool knows",
        "example": "a file of a newer schema",
        "repair": "write the file with an older release, or take another tool",
    },
    "outside_file": {
        "finds": "the tool follows a reference that leads out of the model file, which its runtime reads well",
        "arises": "an input that is left out (a bias, written as -1) is read as a tensor; weights outside the buffers",
        "example": "tflite2onnx: a FULLY_CONNECTED whose bias was all zeros, which TFLiteConverter leaves out",
        "repair": "give the layer all its inputs (a bias other than zero) before converting, or take another tool",
    },
    "unreadable_target": {
        "finds": "the tool ended well, and its runtime cannot read what it wrote",
        "arises": "operators left as they were, invalid graphs, code that was not saved",
        "example": "tf2onnx leaves PartitionedCall in the graph",
        "repair": "take another tool or release",
    },
    "code_in_file": {
        "finds": "a model with Python code in it (a Lambda layer) is read back, which Keras refuses unless trusted",
        "arises": "the tool writes what Keras lacks as Lambda layers, and rebuilds the model from its own description",
        "example": "onnx2keras with change_ordering",
        "repair": "leave the option out that rebuilds the model, or take another tool",
    },
    "resources": {
        "finds": "time or memory ran out",
        "arises": "large models, tools that copy them several times",
        "example": "tf2onnx takes 12.7 GB for ResNet101",
        "repair": "give more time or memory (--timeout, --memory)",
    },
    "tool_crash": {
        "finds": "the tool failed, and says no more than its error",
        "arises": "defects of the tool",
        "example": "a segmentation fault",
        "repair": "take another tool or release",
    },
}


WHATEVER = frozenset({"bad_name", "code_in_file"})
"""Causes that lie in no operator: which one is left in the smallest model tells nothing."""
KINDS: Mapping[str, str] = {
    "unsupported_attribute": "hyperparameters",
    "missing_tensor": "graph",
    "bad_shape": "graph",
    "unreadable_target": "graph",
}
"""What of the model a tool fails over: a setting, or how the graph is put together; the others are the tool's lack."""


@dataclass(frozen=True)
class Failure:
    """A conversion that failed: the record of its last hop, and what its runtime said of a target it cannot read."""

    record: Mapping[str, Any]
    unreadable: str = ""


def explain(failure: Failure, shrunk: Shrunk | None = None, alternatives: tuple[str, ...] = ()) -> Suspect:
    """What a failed conversion is to be blamed on, from its message and log, and the smallest model if there is one."""
    record = failure.record
    blame = read(failure)
    if shrunk is not None and blame.cause not in WHATEVER:
        blame = _with_shrunk(blame, shrunk)
    name = f"{record['tool']} {record['tool_version']}"
    return Suspect(
        kind=_kind(blame),
        cause=blame.cause,
        explanation=_sentence(name, record, blame, shrunk),
        suggestion=_advice(record, blame, alternatives),
        attribute=blame.attribute or blame.operator_text or blame.stage,
        expected=f"a model that {record['to']} can run",
        actual=failure.unreadable or record.get("message", ""),
        source_location=blame.node or blame.operator_text,
        target_location=f"{name} ({record['from']} to {record['to']})",
        evidence=_evidence(record, blame, shrunk, alternatives),
        confidence=1.0 if shrunk is not None or blame.operator else 0.7,
    )


def _kind(blame: Blame) -> str:
    if blame.cause == "unsupported_attribute" and not blame.attribute:  # no setting, but how the operator is used
        return "tool"
    return KINDS.get(blame.cause, "tool")


def read(failure: Failure) -> Blame:
    """The blame from message and log alone."""
    record = failure.record
    if failure.unreadable:
        found = messages.read(failure.unreadable, failure.unreadable)
        return replace(found, cause="unreadable_target", stage=found.stage or "reading the target")
    if record["status"] in {"timeout", "memory"}:
        return Blame("resources", stage="memory ran out" if record["status"] == "memory" else "time ran out")
    return messages.read(record.get("message", ""), record.get("log", ""))


def hints(blame: Blame) -> tuple[str, ...]:
    """Names and operators for ``shrink`` to try first."""
    return tuple(item for item in (*blame.names, blame.node, blame.operator) if item)


def _with_shrunk(blame: Blame, shrunk: Shrunk) -> Blame:
    """What the smallest model adds: the operator as the source spells it, and its node."""
    operators = [operator for operator, _ in shrunk.nodes]
    near = difflib.get_close_matches(blame.operator, operators, n=1, cutoff=0.4) if blame.operator else []
    operator, node = shrunk.nodes[operators.index(near[0]) if near else -1]
    held = {name for _, name in shrunk.nodes}
    # a layer may be several operators of the tool: then the message's operator tells more
    operator = blame.operator if blame.operator and not near and not blame.supposed else operator
    return replace(blame, operator=operator, node=blame.node if blame.node in held else node or blame.node)


def _sentence(name: str, record: Mapping[str, Any], blame: Blame, shrunk: Shrunk | None) -> str:
    what = CAUSES[blame.cause]["finds"]
    parts = [f"{name} fails from {record['from']} to {record['to']}: {what}"]
    if blame.operator:
        parts.append(f"operator {blame.operator_text}" + (f", node '{blame.node}'" if blame.node else ""))
    if blame.attribute:
        parts.append(f"{'type' if blame.cause == 'unsupported_type' else 'attribute'} {blame.attribute}")
    if blame.stage:
        parts.append(f"in {blame.stage}")
    if record.get("message") and blame.cause in {"tool_crash", "unsupported_attribute"}:
        parts.append(f"it says '{str(record['message']).splitlines()[0][:200]}'")
    text = "; ".join(parts) + "."
    return f"{text} {shrunk} ({shrunk.trials} trials)." if shrunk is not None else text


def _advice(record: Mapping[str, Any], blame: Blame, alternatives: tuple[str, ...]) -> str:
    text = CAUSES[blame.cause]["repair"]
    advice = f"{text[0].upper()}{text[1:]}."
    return f"{advice} Other ways: {'; '.join(alternatives[:3])}." if alternatives else advice


def _evidence(
    record: Mapping[str, Any], blame: Blame, shrunk: Shrunk | None, alternatives: tuple[str, ...]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "status": record["status"],
        "operator": blame.operator,
        "version": blame.version,
        "node": blame.node,
        "attribute": blame.attribute,
        "stage": blame.stage,
        "changing_options": tool.value_options(record),
        "alternatives": list(alternatives),
    }
    if shrunk is not None:
        found["smallest"] = {
            "path": shrunk.model.path,
            "nodes": [list(node) for node in shrunk.nodes],
            "of": shrunk.of,
            "trials": shrunk.trials,
            "summary": str(shrunk),
        }
    return found
