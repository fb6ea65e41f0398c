"""What runs in a process of its own: cut a layer's operators out of the model's file."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convfault.errors import UsageError
from convfault.localization.tool.reduction import CUTTERS, Cut
from convfault.model import Model

SCOPE = re.compile(r"_\d+$")
"""What Keras appends to a layer's name in the names of the operators that it traces."""


def run(model: Mapping[str, Any], names: Sequence[str], tensors: Sequence[str], folder: str) -> dict[str, Any]:
    """Job: the record of a model in ``folder`` of the operators with these native ``names`` alone.

    ``tensors`` are the native tensors that they make. Raises ``UsageError`` where the format cannot be cut, or
    has no such operators.
    """
    subject, place = Model.from_record(model), Path(folder)
    if subject.format not in CUTTERS:
        raise UsageError(f"nothing takes a model of format {subject.format} apart")
    if subject.format == "onnx":
        subject = _named(subject, place)
    module, _, name = CUTTERS[subject.format].partition(":")
    cut: Cut = getattr(importlib.import_module(module), name)(subject)
    wanted = {*names, *tensors} if subject.format.startswith("keras") else {*names}
    if subject.format.startswith("keras"):
        wanted |= {SCOPE.sub("", part) for item in names for part in item.split("/")}
    kept = tuple(index for index, (_, node) in enumerate(cut.nodes) if node in wanted)
    made = cut.write(kept, place) if kept else None
    if made is None:
        raise UsageError(f"the operators {', '.join(dict.fromkeys(names))} make no model by themselves")
    return made[0].to_record()


def _named(model: Model, place: Path) -> Model:
    """The model with a name for every node: its output's, as the importer calls one without."""
    import onnx

    proto = onnx.load(model.path)
    if all(node.name for node in proto.graph.node):
        return model
    for node in proto.graph.node:
        node.name = node.name or next((name for name in node.output if name), "")
    path = place / "named.onnx"
    onnx.save(proto, str(path), save_as_external_data=proto.ByteSize() > 1_900_000_000)
    return model.at(path)
