"""Reads the messages and tracebacks of converters and runtimes: which operator, node, attribute, stage they blame.

The patterns are of the wordings of onnx2torch, tf2onnx, onnx2tf, TFLiteConverter (MLIR), torch.onnx (both exporters),
torch.export, onnxruntime, onnx's checker, nobuco, onnx2keras, tflite2onnx and litert-torch, and of the general forms
that Python tools share. An earlier pattern goes before a later one; what it does not tell a later one may add.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

OPERATOR, ATTRIBUTE, TENSOR = "unsupported_operator", "unsupported_attribute", "missing_tensor"
OUTSIDE = "outside_file"
TYPES = {"f16": "float16", "bf16": "bfloat16", "f64": "float64"}
"""MLIR's names of types that few runtimes compute in."""


@dataclass(frozen=True)
class Blame:
    """What a message tells; empty where it does not. ``names`` are all the names in quotes, for finding nodes.

    ``supposed``: the operator is what the tool's own code is called, which may translate others, too.
    """

    cause: str
    operator: str = ""
    version: str = ""
    node: str = ""
    attribute: str = ""
    stage: str = ""
    names: tuple[str, ...] = ()
    supposed: bool = False

    @property
    def operator_text(self) -> str:
        """``ReduceMean-18``."""
        return f"{self.operator}-{self.version}" if self.operator and self.version else self.operator


PATTERNS: tuple[tuple[str, str], ...] = (
    # onnx2torch
    (OPERATOR, r"OperationDescription\(domain='[^']*', operation_type='(?P<operator>\w+)', version=(?P<version>\d+)\)"),
    (ATTRIBUTE, r"\"?(?P<value>\w+)\"? (?P<attribute>auto_pad) is not implemented"),
    (ATTRIBUTE, r"(?P<operator>\w*(?:Pool|Conv)\w*) with (?P<attribute>non[- ]symmetric\w* padding)"),
    # TFLiteConverter
    (OPERATOR, r"'(?P<operator>tf\.\w+)' op is neither"),
    (OPERATOR, r"failed to legalize operation '(?P<operator>[\w.]+)'"),
    (ATTRIBUTE, r"'(?P<operator>tfl?\.[\w.]+)' op (?P<attribute>(?:operand|attribute|result)[^\n:]{0,60})"),
    (OPERATOR, r"(?:Custom|Flex) ops: (?P<operator>\w+)"),
    # torch.onnx
    (OPERATOR, r"No ONNX function found for <OpOverload\(op='(?P<operator>[\w.:]+)'"),
    (OPERATOR, r"operator '(?P<operator>[\w:]+)' to ONNX opset version (?P<opset>\d+) is not supported"),
    (OPERATOR, r"Unsupported: ONNX export of (?:operator )?(?P<operator>\w+)"),
    (OPERATOR, r"Error when translating node %(?P<node>\w+) .*?torch\.ops\.(?P<operator>[\w.]+?)(?:\.default)?\]"),
    # torch.export, litert-torch
    (OPERATOR, r"Lowering not found: (?P<operator>[\w.]+)"),
    (OPERATOR, r"(?:[Nn]o lowering|[Uu]nsupported (?:FX node|(?:aten )?op))\w*:? '?(?P<operator>aten[\w.:]+)"),
    # tf2onnx
    (OPERATOR, r"Tensorflow op \[(?P<node>[^:\]]+): (?P<operator>\w+)\] is not supported"),
    (OPERATOR, r"(?:Failed to convert|exception) node '?(?P<node>[^' ]+)'?.*?OP=(?P<operator>\w+)"),
    (OPERATOR, r"tf2onnx\.tfonnx: Unsupported ops: Counter\(\{'(?P<operator>\w+)'"),
    # onnxruntime, onnx.checker
    (OPERATOR, r'In Node, \("(?P<node>[^"]*)", (?P<operator>\w+),'),
    (OPERATOR, r"(?P<operator>\w+)\((?P<version>-?\d+)\) is not a registered function/op"),
    (OPERATOR, r"No Op registered for (?P<operator>\w+) with domain_version of (?P<version>\d+)"),
    (OPERATOR, r"an implementation for (?P<operator>\w+)\((?P<version>\d+)\) node with name '(?P<node>[^']*)'"),
    ("bad_shape", r"\[(?:ShapeInferenceError|TypeInferenceError)\].*?(?:name: (?P<node>[^\s)]+))?"),
    ("bad_file", r"Type '[^']*' of input parameter .* operator \((?P<operator>\w+)\) in node \((?P<node>[^)]*)\)"),
    # LiteRT's interpreter
    (OPERATOR, r"Didn't find op for builtin opcode '(?P<operator>\w+)' version '(?P<version>\d+)'"),
    ("bad_shape", r"Node number (?P<node>\d+) \((?P<operator>\w+)\) failed to"),
    # onnx2tf, onnx2keras, tflite2onnx, nobuco
    (OPERATOR, r"Unsupported TFLite OP:? ?\d* ?(?P<operator>[A-Z_0-9]+)"),
    (OPERATOR, r"(?:ERROR: )?(?P<operator>\w+) OP is not yet implemented"),
    (OPERATOR, r"No (?:converter|translator|layer converter) for (?:node |op(?:erator)? )?'?(?P<operator>[\w.:]+)"),
    ("bad_name", r"'(?P<node>[^']*)' is not a valid (?:root )?scope name"),
    ("bad_name", r"(?:name|Name)[^\n]{0,40}'(?P<node>[^']+)'[^\n]{0,40}(?:cannot contain|invalid|must match)"),
    (OPERATOR, r"onnx_op_type: (?P<operator>\w+) onnx_op_name: (?P<node>\S+)"),
    (OPERATOR, r"Unimplemented nodes:[\s\S]*?│ +(?P<operator>[a-z_]\w*)\[torch"),
    (OPERATOR, r"Failed conversion: <(?:built-in method|function|class) '?(?P<operator>[\w.]+)"),
    ("code_in_file", r"holds a Lambda layer '(?P<node>[^']*)'"),
    ("code_in_file", r"[Dd]eserialization of a `?(?P<operator>Lambda)`? layer"),
    # forms that tools share
    (
        OPERATOR,
        r"\b[Uu]n(?:supported|known|recognized|implemented) (?:ONNX )?(?:op(?:erator|eration)?|layer|node)"
        r"(?: type)?s?\b:? ?[\['\"<(]*(?P<operator>[A-Za-z_][\w.:]*)",
    ),
    (
        OPERATOR,
        r"\b(?:[Oo]p|[Oo]perator|[Ll]ayer|[Oo]peration)(?: type)? ['\"]?(?P<operator>[\w.:]+)['\"]? (?:is |was )?"
        r"(?:not (?:yet )?(?:supported|implemented|registered|found)|unsupported)",
    ),
    (ATTRIBUTE, r"\b(?P<attribute>[a-z_]+) ?= ?\S+ is not (?:yet )?(?:supported|implemented)"),
    (ATTRIBUTE, r"\b(?:[Dd]oes not support|[Uu]nsupported) (?P<attribute>(?:attribute |value of )?\w+(?: \w+)?)"),
    (OUTSIDE, r"requires a buffer of at least \d+ bytes"),
    (OUTSIDE, r"bad number -?\d+ for type u?int\d+"),
    ("bad_file", r"(?:Error parsing message|Invalid magic|cannot parse|Unable to open file|truncated)"),
    ("bad_shape", r"could not be broadcast|mat1 and mat2 shapes|Dimensions must be equal|expected input.*channels"),
    ("bad_shape", r"[Ss]hapes? (?:mismatch|must match|.{0,40}incompatible)"),
    ("bad_shape", r"\bshapes?\b[^\n]{0,80}\b(?:not compatible|do(?:es)? not match|don't match)"),
    (TENSOR, r"KeyError: '(?P<attribute>axes|min|max|value|pads|split|shape|scales|steps|starts|ends|perm|mode)'"),
    (TENSOR, r"KeyError: [\"'](?!(?:axes|min|max|value|pads|split|shape|scales|steps|starts|ends|perm|mode)')"
             r"(?P<node>[^\"']+)[\"']"),
)  # fmt: skip
"""(cause, pattern), the groups being fields of ``Blame``."""

FIELDS = ("operator", "version", "node", "attribute")
QUOTED = re.compile(r"""['"`]([\w/.:;\-]+)['"`]""")
REFUSES = re.compile(r'File "[^"]+", line \d+, in \S+\n\s+raise ')
"""A line that gives up: where a tool's own code has another error, that is a defect of it."""
TRANSLATES = re.compile(r"_*(?:convert|translate|handle|visit)_(\w+)$")
"""A function that is named after what it translates."""
FRAME = re.compile(r'File "([^"]+)", line \d+, in (\S+)')
PACKAGES = re.compile(r"(?:site-packages|dist-packages)/(\w+)/(.+)\.py")
PLACE = re.compile(r'fused\["(\w+):", "([^"@]+)')
GENERIC = frozenset({
    "__init__", "attributes", "base", "common", "convert", "converter", "core", "function", "graph", "inputs", "layer",
    "layers", "main", "model", "network", "node", "nodes", "op", "operator", "ops", "outputs", "registry", "tensor",
    "traceback_utils", "utils", "weights",
})  # fmt: skip
"""Names of files and functions that are about no operator."""


def read(message: str, log: str = "") -> Blame:
    """What is to blame, from a tool's message and the log with its traceback."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", f"{message}\n{log}")
    found = [match for match in (_matched(cause, pattern, text) for cause, pattern in PATTERNS) if match is not None]
    blame = found[0] if found else Blame("tool_crash")
    for other in found[1:]:
        if not other.operator or not blame.operator or other.operator == blame.operator:
            names = FIELDS if other.cause == blame.cause else FIELDS[:3]  # another cause's attribute is another matter
            added = {name: getattr(other, name) for name in names if getattr(other, name) and not getattr(blame, name)}
            blame = replace(blame, **added)
    handler, stage = _handler(text)
    place = PLACE.search(text)
    more = [place.group(2), *place.group(2).split("/")] if place else []
    quoted = tuple(dict.fromkeys([*QUOTED.findall(message)[:20], *more, *([handler] if handler else [])]))
    blame = replace(blame, stage=stage, names=quoted, node=blame.node or (more[0] if more else ""))
    if not found and handler and _refuses(text):
        blame = replace(blame, cause=ATTRIBUTE)
    if blame.cause == TENSOR and not blame.attribute and handler and _refuses(text):  # what it looked for, it needs not
        blame = replace(blame, cause=ATTRIBUTE, node="")
    if blame.cause == TENSOR and blame.attribute:  # an attribute that newer versions of the operator take as an input
        blame = replace(blame, cause=OPERATOR)
    if blame.cause == OPERATOR and (kind := _type(blame.operator, text)):
        blame = replace(blame, cause="unsupported_type", attribute=kind)
    if blame.cause == "bad_name":  # whatever the operator
        return replace(blame, attribute="name")
    if place and not blame.operator:
        blame = replace(blame, operator=place.group(1))
    return blame if blame.operator or not handler else replace(blame, operator=handler, supposed=True)


def _type(operator: str, text: str) -> str:
    """The unusual type of what an operator reads where MLIR prints it: ``"tf.Relu"(%1) : (tensor<?x8xf16>) -> ...``."""
    found = re.search(rf'"tfl?\.{re.escape(operator)}"\([^)]*\)[^\n]*? : \(tensor<[^>]*?x([a-z]+\d+)>', text)
    return TYPES.get(found.group(1), "") if found else ""


def _matched(cause: str, pattern: str, text: str) -> Blame | None:
    match = re.search(pattern, text)
    if match is None:
        return None
    groups = match.groupdict()
    values: dict[str, Any] = {name: str(groups.get(name) or "").strip() for name in FIELDS}
    if groups.get("value"):
        values["attribute"] = f"{values['attribute']}={groups['value']}"
    operator = values["operator"].removeprefix("torch.ops.").removeprefix("tf.")
    return Blame(cause, **{**values, "operator": operator})


def _handler(text: str) -> tuple[str, str]:
    """The operator that a converter's handler is named after, and the innermost place of the tool in the traceback."""
    inside = _inside(text)
    if not inside:
        return "", ""
    own = [item for item in inside if item[0] == inside[0][0]]
    named = [name for name in (_handled(path, function) for _, path, function in own) if name]
    last = own[-1]
    operator = "".join(part.capitalize() for part in named[-1].split("_")) if named else ""
    return operator, f"{last[0]}/{last[1]}.py, {last[2]}"


def _inside(text: str) -> list[tuple[str, str, str]]:
    """The frames of a traceback that are in installed packages: package, path in it, function."""
    places = [(PACKAGES.search(path), function) for path, function in FRAME.findall(text)]
    return [(match.group(1), match.group(2), function) for match, function in places if match is not None]


def _refuses(text: str) -> bool:
    """Whether the translation of an operator raised the error itself: it knows the operator, but not this use of it."""
    inside, last = _inside(text), [match.start() for match in FRAME.finditer(text)][-1:]
    raised = bool(last) and REFUSES.match(text, last[0]) is not None
    return raised and bool(inside) and bool(_handled(*inside[-1][1:]))


def _handled(path: str, function: str) -> str:
    """The operator that a file or a function seems to translate, "" for none."""
    folder, _, name = path.rpartition("/")
    fits = any(word in folder for word in ("node_converters", "ops", "op", "layers", "handlers", "onnx_opset"))
    if fits and name not in GENERIC and not name.startswith("_"):
        return name
    found = TRANSLATES.match(function)
    return found.group(1) if found is not None and found.group(1) not in GENERIC else ""
