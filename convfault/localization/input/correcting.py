"""What a fault of the input looks like in a report, and the layers behind the target's input that correct it."""

from __future__ import annotations

from typing import Any

from convfault.localization.case import Case
from convfault.localization.input import convention, geometry
from convfault.localization.input.convention import Correction
from convfault.localization.input.feeding import Feeding
from convfault.localization.input.geometry import Turn
from convfault.localization.suspect import Suspect
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from convfault.relax.edits import Edit, Insert, Together
from convfault.relax.graph import Layer, Parameter


def turned(case: Case, feeding: Feeding, turn: Turn) -> Suspect:
    extra = _extra(case, feeding)
    where = f" Its {extra} does what the source does not." if extra else ""
    return Suspect(
        kind="input",
        cause=turn.cause,
        explanation=f"The target answers as the source when its pictures are {turn.words}.{where}",
        suggestion=f"Feed the target with pictures that are {turn.words}, or mend what turns them in the model.",
        source=feeding.source.input,
        target=feeding.target.input,
        attribute="layout",
        expected="pictures as they are",
        actual=f"pictures {turn.words}",
        evidence={"gap_before": feeding.gap, "first_layer": _first_layer(feeding)},
        confidence=0.95,
        edit=geometry.edit(case.target.graph, feeding.target.input, turn),
    )


def corrected(case: Case, feeding: Feeding, turn: Turn, found: Correction) -> Suspect:
    known = case.source.model.preprocessing
    fed = case.target.model.preprocessing or known
    before, behind = convention.reading(fed), convention.reading(fed, found)
    extra = _extra(case, feeding)
    where = f" Its {extra} does what the source does not." if extra else ""
    evidence: dict[str, Any] = {
        "gap_before": feeding.gap,
        "channel_order": list(found.order),
        "scale": found.scale.tolist(),
        "shift": found.shift.tolist(),
        "first_layer": _first_layer(feeding),
        "preprocessing": convention.record(behind.preprocessing) if turn.upright else None,
    }
    turned = "" if turn.upright else f", {turn.words}"
    return Suspect(
        kind="input",
        cause=convention.cause(before, behind, found),
        explanation=f"The target is fed with {before}, and answers as the source when it is fed with "
        f"{behind}{turned}.{where}",
        suggestion=f"Feed the target with {behind}{turned}, or change its first layers accordingly.",
        source=feeding.source.input,
        target=feeding.target.input,
        attribute="preprocessing",
        expected=str(before),
        actual=f"{behind}{turned}",
        evidence=evidence,
        confidence=0.95 if behind.convention or feeding.same_weights or not found.keeps_order else 0.5,
        edit=_edit(case, feeding, turn, found),
    )


def fed_otherwise(case: Case, feeding: Feeding) -> Suspect:
    one, other = case.source.model.preprocessing, case.target.model.preprocessing
    names = []
    if one is not None and other is not None:
        settings, others = one.to_record(), other.to_record()
        names = [n for n in settings if settings[n] != others[n] and n not in {"layout", "assumed"}]
    told = f" ({', '.join(names)})" if names else ""
    return Suspect(
        kind="input",
        cause="preprocessing",
        explanation=f"The two models are fed with different pictures{told}; on the source's the target's first layer "
        "answers as the source's.",
        suggestion="Give the target the source's preprocessing.",
        source=feeding.source.input,
        target=feeding.target.input,
        attribute=names[0] if len(names) == 1 else "preprocessing",
        expected=None if one is None else {name: one.to_record()[name] for name in names},
        actual=None if other is None else {name: other.to_record()[name] for name in names},
        evidence={"gap_before": feeding.gap, **_likewise(case, one, other)},
    )


def _likewise(case: Case, one: Preprocessing | None, other: Preprocessing | None) -> dict[str, Any]:
    """The source's preprocessing for the target, in the target's layout; or why it cannot be."""
    if one is None or other is None:
        return {"no_edit": "it is fed with arrays, not with pictures: give both sides the same ones as --data"}
    told = convention.record(one.with_layout(other.layout))
    if one.size != other.size and not _takes(case.target.model, one.size, other.layout):
        sizes = [f"{height}x{width}" for height, width in (one.size, other.size)]
        reason = f"it takes pictures of {sizes[1]} only, the source is fed with {sizes[0]}: convert it for {sizes[0]}"
        return {"no_edit": reason, "preprocessing": None}
    return {"preprocessing": told}


def _takes(model: Model, size: tuple[int, int], layout: str) -> bool:
    """Whether a model's signature leaves room for pictures of this size."""
    shapes = [item.shape for item in model.signature.inputs if len(item.shape) == 4] if model.signature else []
    sides = [shape[1:3] if layout == "NHWC" else shape[2:4] for shape in shapes]
    return all(has in {None, wants} for side in sides for has, wants in zip(side, size, strict=True))


def _first_layer(feeding: Feeding) -> str:
    layer = feeding.target.graph[feeding.target.layer]
    return next(iter(layer.native.names), layer.native.tensor or layer.id)


def _extra(case: Case, feeding: Feeding) -> str:
    """The target's layer before the first one with weights that the source lacks, in native names."""
    alone = [name for name in feeding.target.before if name not in case.alignment.to_source]
    names = [name for item in alone for name in (feeding.target.graph[item].native.names or (item,))]
    return f"layer '{names[0]}'" if len(alone) == 1 else ""


def _edit(case: Case, feeding: Feeding, turn: Turn, found: Correction) -> Edit:
    """A layer behind the target's input that corrects the pictures."""
    graph = case.target.graph
    turning = () if turn.upright else geometry.edit(graph, feeding.target.input, turn).edits
    last = feeding.target.input if turn.upright else turning[-1].layer.id  # type: ignore[attr-defined]
    shape = graph[feeding.target.input].shape
    return Together((*turning, Insert(_correcting_layer(last, shape, found))))


def _correcting_layer(source: str, shape: tuple[int, ...], found: Correction) -> Layer:
    name = f"corrected_{source}"
    if found.keeps_order:
        parameters = {"scale": Parameter(found.scale), "shift": Parameter(found.shift)}
        return Layer(name, "affine", (source,), shape, parameters=parameters)
    weights = found.matrix().reshape(*(1,) * (len(shape) - 2), *(len(found.order),) * 2)
    parameters = {"weights": Parameter(weights), "bias": Parameter(found.shift)}
    if len(shape) != 4:
        parameters["weights"] = Parameter(found.matrix())
        return Layer(name, "dense", (source,), shape, parameters=parameters)
    window = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    return Layer(name, "convolution", (source,), shape, hyperparameters=window, parameters=parameters)
