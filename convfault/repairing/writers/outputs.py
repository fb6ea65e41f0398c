"""The model's outputs after the edits, under the names that they had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convfault.repairing.writers.document import Value
from convfault.repairing.writers.layers import LayerRefusal

if TYPE_CHECKING:
    from convfault.repairing.writers.surgery import Surgery


def set_outputs(surgery: Surgery) -> None:
    """Let the model answer with the outputs of the edited graph, under the names of those that they replace."""
    if surgery.after.outputs == surgery.before.outputs:
        return
    document, old = surgery.document, list(surgery.document.outputs)
    if len(old) != len(surgery.before.outputs):
        raise LayerRefusal(surgery.after.outputs[0], "the file and its graph have different numbers of outputs")
    free = dict(zip(surgery.before.outputs, old, strict=True))
    names = []
    for position, layer_id in enumerate(surgery.after.outputs):
        if layer_id in free and _reads(surgery, free[layer_id], layer_id):
            names.append(free[layer_id])
            continue
        instead = position < len(old) and surgery.before.outputs[position] not in surgery.after.outputs
        was = surgery.before.outputs[position] if instead else None
        names.append(_output(surgery, layer_id, was, old[position] if instead else None))
    document.outputs = names
    document.note("model", "outputs", ", ".join(old), ", ".join(names))
    document.structural = True


def _reads(surgery: Surgery, tensor: str, layer_id: str) -> bool:
    """Whether an output tensor still shows the layer."""
    return tensor not in surgery.owners or layer_id in surgery.behind[tensor]


def _output(surgery: Surgery, layer_id: str, was: str | None, name: str | None) -> str:
    """A tensor for an output, under the name of the output that it takes the place of."""
    value, shape = surgery.value(layer_id), surgery.after[layer_id].shape
    if was is None or name is None:
        return value.tensor if value.permutation is None else surgery.document.as_layer(value, shape)
    old = surgery.before[was]
    if old.native.tensor != name and surgery.tensor_of(was) is not None:  # something stands between: a transpose
        return _output_behind(surgery, layer_id, was, name)
    made = surgery.document.into_form(
        value, shape, Value(name, old.native.permutation), surgery.native_shape(name, old, shape)
    )
    aside = surgery.document.blank(f"{name}/before", surgery.document.shape(name) or old.shape, name)
    surgery.document.rename(name, aside)
    surgery.document.copy(aside if made == name else made, name)
    surgery.values = {key: Value(aside, v.permutation) if v.tensor == name else v for key, v in surgery.values.items()}
    return name


def _output_behind(surgery: Surgery, layer_id: str, was: str, name: str) -> str:
    """Connect what stands between the old layer's tensor and the output to the new layer."""
    tensor = str(surgery.tensor_of(was))
    own = surgery.document.of(surgery.before[was])
    found = [node for node in surgery.document.readers(tensor) if node in own]
    if not found:
        raise LayerRefusal(layer_id, f"what computes the output '{name}' from '{tensor}' cannot be told")
    for node in found:
        surgery.document.connect(node, node.inputs.index(tensor), surgery.as_tensor(was, layer_id, tensor))
    return name
