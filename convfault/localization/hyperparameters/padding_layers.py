"""Padding that is a layer of its own on one side and part of the window on the other, and fills in something else.

A constant border of the value that the window itself pads with is merged into it in the normal form; what is left as
a layer pads with another value or mode: a maximum over zeros (onnx-to-keras #31), a reflected border.
"""

from __future__ import annotations

from dataclasses import replace

from convfault.localization.case import Case
from convfault.localization.hyperparameters.attribute import Attribute
from convfault.relax.edits import Edit, Insert, Remove, SetHyperparameters, Together
from convfault.relax.evaluate_window import window_of
from convfault.relax.extract_window import effective_padding
from convfault.relax.graph import Graph, Layer


def padded_apart(case: Case, source: Layer, target: Layer) -> tuple[Attribute, Edit] | None:
    """The attribute and its cure where only one of two matched windows has a padding layer in front."""
    alignment = case.alignment
    extra = _pad_before(case.target.graph, target)
    if extra is not None and extra.id in alignment.target_only and _amounts(case.target.graph, extra, target, source):
        values = {name: source[name] for name in ("padding", "count_padding") if name in source.hyperparameters}
        readers = case.target.graph.readers[extra.id]
        edit: Edit = Together((Remove(extra.id, readers), SetHyperparameters(target.id, values)))
        alone = readers == (target.id,)
        return (_attribute(extra, source, target, False), edit) if alone else None
    missing = _pad_before(case.source.graph, source)
    if missing is not None and missing.id in alignment.source_only:
        if not _amounts(case.source.graph, missing, source, target):
            return None
        layer = _inserted(missing, case.target.graph, target)
        values = {"padding": source["padding"]}
        edit = Together((Insert(layer, (target.id,)), SetHyperparameters(target.id, values)))
        return _attribute(missing, source, target, True), edit
    return None


def _pad_before(graph: Graph, layer: Layer) -> Layer | None:
    before = graph[layer.inputs[0]]
    return before if before.kind == "pad" and len(before.shape) == 4 else None


def _amounts(graph: Graph, pad: Layer, inner: Layer, other: Layer) -> bool:
    """Whether the padding layer and the window behind it touch as much border as the other side's window alone."""
    if any(pad["padding"][0]) or any(pad["padding"][3]) or inner.shape[1:3] != other.shape[1:3]:
        return False
    pairs = zip(pad["padding"][1:3], inner["padding"], strict=True)
    padding = tuple((a[0] + b[0], a[1] + b[1]) for a, b in pairs)
    picture = graph[pad.inputs[0]].shape
    window = replace(window_of(inner), padding=(padding[0], padding[1]))
    touched = effective_padding((picture[1], picture[2]), (inner.shape[1], inner.shape[2]), window)
    return bool(touched == other["padding"])


def _inserted(pad: Layer, graph: Graph, target: Layer) -> Layer:
    name = f"{pad.id}_of_source"
    before = graph[target.inputs[0]]
    sides = (side + sum(pair) for side, pair in zip(before.shape, pad["padding"], strict=True))
    return replace(pad, id=name, inputs=(before.id,), shape=tuple(sides))


def _attribute(pad: Layer, source: Layer, target: Layer, lost: bool) -> Attribute:
    own = "minus infinity" if source.kind == "max_pool" else "zeros"
    filled = f"{pad['value']:g}" if pad["mode"] == "constant" else f"{pad['mode']} values"
    cause = "pad_value" if pad["mode"] == "constant" else "pad_mode"
    expected, actual = (filled, own) if lost else (own, filled)
    phrase = f"The border is filled with {actual} instead of {expected}."
    evidence = {"padding": pad["padding"], "padding_operator": list(pad.native.names), "window": target.kind}
    names = () if lost else pad.native.names
    place = names[-1] if names else None
    return Attribute(cause, "padding value", {}, expected, actual, phrase, evidence, place=place)
