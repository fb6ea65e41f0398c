"""Which layers of a quantized model to restore first, so that it stays small.

What it finds: of all layers whose numbers were rounded, those whose rounding moves the answers most for each byte that
restoring them costs.
How it arises: post-training quantization rounds every weight alike, though a few layers (the first, depthwise ones, the
classifier) carry most of the error.
Example: MobileNetV2 in int8, whose depthwise layers are small and do most of the harm.
How it is repaired: layers get half precision back, which TFLite and ONNX store and compute in float32. The error of a
layer's rounding alone, squared, as independent roundings add up in squares, over its bytes gives the order in which
layers are restored, until no label differs. Before that, each bias makes up for what the rounded weights shift a
filter's output by on average, which takes no room (Nagel et al., 2019, Data-Free Quantization Through Weight
Equalization and Bias Correction; here the average is measured on the case's pictures).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from convfault.localization.effect import Effect
from convfault.localization.parameters.rounding import average_shift
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Edit, SetParameters
from convfault.relax.graph import Array, Graph
from convfault.relax.kinds import LINEAR

HALF = 2
"""Bytes of a number in half precision, whose rounding is an eighth of that of eight bits with a scale a channel."""


def is_quantized(graph: Graph) -> bool:
    """Whether the native file stores weights in fewer bits than it computes with."""
    stored = {name for layer in graph for parameter in layer.parameters.values() for name in parameter.native}
    return any(name in stored for name in graph.encodings)


def ranked(graph: Graph, suspects: Sequence[tuple[Suspect, Effect]]) -> list[tuple[int, int]]:
    """The suspects' numbers, the most worthwhile first, each with the bytes that undoing it adds to the file."""
    sizes = [_bytes(graph, suspect) for suspect, _ in suspects]
    worth = [_harm(effect) / max(size, 1) for (_, effect), size in zip(suspects, sizes, strict=True)]
    order = sorted(range(len(suspects)), key=lambda number: -worth[number])
    return [(number, sizes[number]) for number in order]


def corrected(graph: Graph, inputs: Mapping[str, Array], suspect: Suspect) -> SetParameters | None:
    """The bias that makes up for the rounded weights of a suspect; None where that cannot be told or stored.

    ``inputs``: layer id → value, with all else as it is to be.
    """
    edit = suspect.edit
    if not isinstance(edit, SetParameters) or "weights" not in edit.values:
        return None
    bias = _made_up(graph, inputs, edit, graph[edit.layer].parameters["weights"].values)
    return None if bias is None else SetParameters(edit.layer, {"bias": bias})


def _made_up(graph: Graph, inputs: Mapping[str, Array], edit: SetParameters, stored: Array) -> Array | None:
    """The right bias, and on it the average of what the right weights give more than those that are stored."""
    layer = graph[edit.layer]
    bias = layer.parameters.get("bias")
    if layer.kind not in LINEAR or bias is None or any(name in graph.encodings for name in bias.native):
        return None
    right, picture = np.asarray(edit.values.get("bias", bias.values)), inputs.get(layer.inputs[0])
    if picture is None:
        return None
    made = (right + average_shift(layer, edit.values["weights"] - stored, picture)).astype(right.dtype)
    return made if np.isfinite(made).all() else None


def halved(graph: Graph, inputs: Mapping[str, Array], suspect: Suspect) -> Edit | None:
    """The suspect's edit with what takes less room than half precision in half precision, instead of in full.

    A bias, which quantizers store in 32 bits, gets all of its own, and what half precision shifts on average.
    """
    if not isinstance(suspect.edit, SetParameters):
        return suspect.edit
    layer, values = graph[suspect.edit.layer], dict(suspect.edit.values)
    for name, exact in values.items():
        native = layer.parameters[name].native
        if any(each in graph.encodings and _width(graph.encodings[each].dtype) < HALF for each in native):
            with np.errstate(over="ignore"):
                rounded = np.asarray(exact, np.float32).astype(np.float16).astype(np.float32)
            values[name] = rounded if np.isfinite(rounded).all() else exact
    if "weights" in values:
        bias = _made_up(graph, inputs, suspect.edit, np.asarray(values["weights"]))
        values |= {} if bias is None else {"bias": bias}
    return SetParameters(suspect.edit.layer, values)


def _harm(effect: Effect) -> float:
    """The squared error that the rounding causes alone, before a softmax hides it, with everything else restored."""
    found = effect.caused or effect.before
    harm = found.max_abs_error if found.latent is None else found.latent
    return float(np.nan_to_num(harm, posinf=1e30)) ** 2


def _bytes(graph: Graph, suspect: Suspect) -> int:
    if not isinstance(suspect.edit, SetParameters):
        return 0
    layer = graph[suspect.edit.layer]
    total = 0.0
    for name in suspect.edit.values:
        parameter = layer.parameters[name]
        widths = [_width(graph.encodings[native].dtype) for native in parameter.native if native in graph.encodings]
        total += parameter.values.size * max(HALF - min(widths), 0) if widths else 0
    return int(total)


def _width(dtype: str) -> float:
    """Bytes of a number of this type."""
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) / 8 if bits else np.dtype(dtype).itemsize
