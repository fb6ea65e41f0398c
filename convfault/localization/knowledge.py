"""What the report tells about the causes of its faults: the analyzers' own tables, put into one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from convfault.fault import Fault
from convfault.localization.cause import Cause
from convfault.localization.graph import causes as graph_causes
from convfault.localization.hyperparameters import causes as hyperparameter_causes
from convfault.localization.input import analyzer as input
from convfault.localization.parameters import causes as parameter_causes
from convfault.localization.tool import analyzer as tool
from convfault.localization.tool import crash

RUNTIME = {
    "kernel": Cause(
        "A runtime computes a layer otherwise than the model says, on the very same input.",
        "A kernel of the runtime is wrong, or made for speed only; or the model was read wrongly here.",
        "An average pooling whose kernel counts the padding although the file says that it does not.",
        "Take another release or other kernels of the runtime.",
    ),
    "optimization": Cause(
        "A runtime rewrites the graph before it runs it, and the rewritten graph computes something else.",
        "An operator is fused into another or taken for a no-op where that changes what is computed.",
        "onnxruntime fuses a padding with zeros into a maximum pooling, which pads with the lowest value.",
        "Run the model without the optimization, or by another release of the runtime.",
    ),
}

TABLES: Mapping[str, Mapping[str, Cause | Mapping[str, str]]] = {
    "input": input.CAUSES,
    "tool": {**tool.CAUSES, **crash.CAUSES},
    "parameters": parameter_causes.CAUSES,
    "hyperparameters": hyperparameter_causes.CAUSES,
    "graph": graph_causes.CAUSES,
    "runtime": RUNTIME,
}
"""Kind → cause → its record."""


def about(faults: Iterable[Fault]) -> dict[str, dict[str, dict[str, str]]]:
    """Kind → cause → ``finds``, ``arises``, ``example``, ``repair``, as sentences, for the causes that occur."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for fault in faults:
        record = TABLES.get(fault.kind, {}).get(fault.cause) or crash.CAUSES.get(fault.cause)  # of any kind
        if record is None and fault.kind == "hyperparameters":
            record = hyperparameter_causes.OTHER
        if record is not None:
            texts = asdict(record) if isinstance(record, Cause) else record
            found.setdefault(fault.kind, {})[fault.cause] = {name: _sentence(text) for name, text in texts.items()}
    return found


def _sentence(text: str) -> str:
    """With a full stop, and a capital unless it starts with a name such as ``tf2onnx``."""
    first = text.split(" ", 1)[0]
    plain = first.isalpha() and first.islower()
    return (text[:1].upper() + text[1:] if plain else text) + ("" if text.endswith((".", "!", "?")) else ".")
