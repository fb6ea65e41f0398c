"""Constants computed ahead, no-ops dropped, equal layers merged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfault.errors import ShapeError
from convfault.relax import evaluate
from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Array, Layer, Parameter

UNFOLDED = frozenset({"input", "constant", "opaque"})


def fold_constants(draft: Draft, layer: Layer) -> Layer | None:
    """A layer that reads only constants is a constant; it remembers the native tensors of all of them."""
    sources = [draft.layers[name] for name in layer.inputs]
    if layer.kind in UNFOLDED or not sources or any(source.kind != "constant" for source in sources):
        return None
    if layer.kind not in evaluate.OPERATIONS:
        return None
    parameters = [source.parameters["values"] for source in sources]
    arrays = [parameter.values for parameter in parameters]
    try:
        values = np.asarray(_computed(layer, arrays))
    except ShapeError:  # the model itself is at odds: it is told where it runs
        return None
    if values.size != int(np.prod(layer.shape)):  # of a kind that takes its first axis for the pictures
        return None
    native = tuple(dict.fromkeys(name for parameter in parameters for name in parameter.native))
    merged = {"values": Parameter(values.reshape(layer.shape), native)}
    return replace(layer, kind="constant", inputs=(), hyperparameters={}, parameters=merged)


def _computed(layer: Layer, arrays: list[Array]) -> Array:
    """What the layer makes of constants, which have no axis of pictures."""
    if layer.kind == "slice":
        return evaluate.cut(layer, arrays[0])
    if layer.kind == "broadcast":
        return np.broadcast_to(arrays[0], layer.shape)
    if layer.kind == "reshape":
        return arrays[0].reshape(layer.shape)
    return evaluate.evaluate(layer, arrays)


def _is_identity(draft: Draft, layer: Layer) -> bool:
    source = draft.input_of(layer)
    match layer.kind:
        case "cast":
            return bool(layer["to"] == source.dtype)
        case "reshape" | "broadcast" | "slice" | "resize":
            same = layer.shape == source.shape
            return same and all(step == 1 for step in layer.hyperparameters.get("strides", ()))
        case "transpose":
            return bool(layer["order"] == tuple(range(len(layer["order"]))))
        case "pad":
            return not any(width for pair in layer["padding"] for width in pair)
        case "clip":
            return bool(layer["minimum"] == -np.inf and layer["maximum"] == np.inf)
        case "concat":
            return len(layer.inputs) == 1
        case "tile":
            return all(count == 1 for count in layer["repeats"])
        case "max_pool" | "average_pool":
            return bool(layer["size"] == (1, 1) and layer["strides"] == (1, 1) and layer.shape == source.shape)
    return False


def drop_identities(draft: Draft, layer: Layer) -> str | None:
    """A layer that gives what it reads is not there."""
    return layer.inputs[0] if _is_identity(draft, layer) else None


def merge_equal(draft: Draft, layer: Layer) -> str | None:
    """Two layers without parameters that compute the same from the same are one."""
    if layer.parameters or not layer.inputs or layer.kind == "opaque":
        return None
    for name in draft.readers(layer.inputs[0]):
        other = draft.layers[name]
        same = other.kind == layer.kind and other.inputs == layer.inputs and other.shape == layer.shape
        if same and name != layer.id and not other.parameters and other.hyperparameters == layer.hyperparameters:
            return name
    return None


def choose_branch(draft: Draft, layer: Layer) -> str | None:
    """A choice that is the same everywhere is one of the two: what exporters leave of a question about a constant."""
    condition = draft.layers[layer.inputs[0]]
    if condition.kind != "constant":
        return None
    choices = np.unique(condition.parameters["values"].values.astype(bool))
    chosen = draft.layers[layer.inputs[1 if choices[0] else 2]] if choices.size == 1 else None
    return chosen.id if chosen is not None and chosen.shape == layer.shape else None


IDENTITIES = frozenset(
    {
        "cast",
        "reshape",
        "broadcast",
        "slice",
        "resize",
        "transpose",
        "pad",
        "clip",
        "concat",
        "tile",
        "max_pool",
        "average_pool",
    }
)
RULES = (
    Rule("fold_constants", frozenset(), fold_constants),
    Rule("drop_identities", IDENTITIES, drop_identities),
    Rule("merge_equal", frozenset(), merge_equal),
    Rule("choose_branch", frozenset({"where"}), choose_branch),
)
