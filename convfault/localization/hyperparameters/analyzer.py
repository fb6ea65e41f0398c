"""The hyperparameters analyzer.

What it finds
    Attributes of matched layers that differ: padding on the other edge, ceiling mode, the divisor of averages, clip
    bounds, slopes, epsilon, interpolation, axes, and every other that the normal form has. ``CAUSES`` lists them.
    What cannot change a result for the shapes at hand is left out.
How it arises
    Frameworks have other defaults, other conventions for the same word, and lack attributes that others have.
Example
    A stride-2 convolution with SAME padding, which pads the bottom and the right, as padding=1, which amounts to the
    top and the left.
How it is repaired
    The target's layer gets the source's attribute; where its output's shape changes with it, the shapes behind it
    follow, and the edited graph is run once to see that it still computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convfault.errors import ConvfaultError
from convfault.localization.aligning.alignment import Match
from convfault.localization.case import Case
from convfault.localization.counterparts import counterparts
from convfault.localization.hyperparameters.attribute import Attribute
from convfault.localization.hyperparameters.causes import CAUSES, OTHER
from convfault.localization.hyperparameters.padding_layers import padded_apart
from convfault.localization.hyperparameters.plain import plain_attributes, reshaped
from convfault.localization.hyperparameters.steepness import steepness
from convfault.localization.hyperparameters.windows import padded_alike, window_attributes
from convfault.localization.parameters.analyzer import findings, suspect_of
from convfault.localization.parameters.origins import Origins
from convfault.localization.suspect import Suspect
from convfault.relax import evaluate
from convfault.relax.edits import Edit, SetHyperparameters, SetParameters, Substitute, Together
from convfault.relax.graph import Array, Layer
from convfault.relax.kinds import WINDOWED

__all__ = ["CAUSES", "examine"]

SKIPPED = frozenset({"input", "constant", "opaque"})
SLOPED = frozenset({"leaky_relu", "prelu"})
AVERAGES = frozenset({"mean", "average_pool"})


@dataclass(frozen=True)
class _Found:
    """An attribute and its cure; ``reason`` says why there is none."""

    attribute: Attribute
    edit: Edit | None
    reason: str | None = None


def examine(case: Case) -> list[Suspect]:
    """The layers whose hyperparameters differ, in the source's order."""
    suspects: list[Suspect] = []
    for match in case.alignment.matches:
        source, target = case.source.graph[match.source], case.target.graph[match.target]
        for found in _found(case, source, target):
            suspects.append(_suspect(match, found))
    return [*suspects, *_epsilons(case), *_slopes_folded(case)]


def _found(case: Case, source: Layer, target: Layer) -> Iterator[_Found]:
    if source.kind in SKIPPED or target.kind in SKIPPED:
        return
    if source.kind != target.kind:
        yield from _between_kinds(source, target)
        return
    graphs = (case.source.graph, case.target.graph)
    if source.kind in WINDOWED:
        apart = padded_apart(case, source, target) if source["padding"] != target["padding"] else None
        if apart is not None:
            yield _Found(*apart)
            return
        attributes = list(window_attributes(case, source, target))
    else:
        attributes = list(plain_attributes(graphs, source, target))
    if source.kind in {"reshape", "broadcast"}:
        shape = reshaped(graphs, source, target)
        attributes += [shape] if shape is not None else []
    for attribute in attributes:
        yield _cured(case, source, target, attribute)


def _between_kinds(source: Layer, target: Layer) -> Iterator[_Found]:
    """Kinds that differ by an attribute only: one slope or several, an average over all or over windows."""
    kinds = {source.kind, target.kind}
    if kinds == SLOPED and target.shape[-1] == source.shape[-1]:
        slopes = (_slopes(source), _slopes(target))
        if not np.allclose(slopes[0], slopes[1], rtol=1e-5, atol=1e-7):
            texts = [f"{slope.min():.4g} to {slope.max():.4g}" for slope in slopes]
            phrase = f"The slope below zero is {texts[1]} instead of {texts[0]}."
            yield _Found(Attribute("slope", "slope", {}, texts[0], texts[1], phrase), _put(source, target))
    if kinds == AVERAGES and source.shape[-1] == target.shape[-1]:
        texts = [_window(layer) for layer in (source, target)]
        phrase = f"The average is taken over {texts[1]} instead of {texts[0]}."
        fits = source.shape[1:] == target.shape[1:]
        reason = None if fits else "the output's shape changes with it"
        attribute = Attribute("window_size", "size", {}, texts[0], texts[1], phrase)
        yield _Found(attribute, _put(source, target) if fits else None, reason)


def _slopes(layer: Layer) -> Array:
    values = layer["slope"] if layer.kind == "leaky_relu" else layer.parameters["slopes"].values
    return np.broadcast_to(np.asarray(values, np.float32), layer.shape[1:])


def _window(layer: Layer) -> str:
    return "the whole picture" if layer.kind == "mean" else f"windows of {layer['size'][0]}×{layer['size'][1]}"


def _put(source: Layer, target: Layer) -> Edit:
    """The source's layer in the target's place."""
    return Substitute(replace(source, id=target.id, inputs=target.inputs, native=target.native))


def _cured(case: Case, source: Layer, target: Layer, attribute: Attribute) -> _Found:
    """With the edit that gives the target the source's values."""
    moved = source.shape[1:] != target.shape[1:]
    edit: Edit = SetHyperparameters(target.id, attribute.values, source.shape if moved else None)
    weighted = attribute.cause == "groups" and "weights" in source.parameters
    if weighted and source.parameters["weights"].values.shape[-1] == target.shape[-1]:
        weights = SetParameters(target.id, {"weights": source.parameters["weights"].values})
        edit = Together((edit, weights))
    if not moved:
        return _Found(attribute, edit)
    followers = _followers(case, target)
    edit = Together((edit, *followers)) if followers else edit
    reason = _refusal(case, edit)
    return _Found(attribute, None if reason else edit, reason)


def _followers(case: Case, target: Layer) -> tuple[Edit, ...]:
    """The source's shapes behind a layer whose shape changes, and its paddings where one rule pads both sides."""
    graph, found = case.target.graph, []
    for name in graph.descendants({target.id}) - {target.id}:
        match = case.alignment.to_source.get(name)
        if match is None:
            continue
        source = case.source.graph[match.source]
        if len(source.shape) == len(graph[name].shape) and source.shape[1:] != graph[name].shape[1:]:
            padded = source.kind in WINDOWED and padded_alike(case, source, graph[name])
            values = {"padding": source["padding"]} if padded else {}
            found.append(SetHyperparameters(name, values, source.shape))
    return tuple(sorted(found, key=lambda edit: graph.position(edit.layer)))


def _refusal(case: Case, edit: Edit) -> str | None:
    """Why the edited graph cannot be computed; None where it can. One picture is run from the edit on."""
    graph = edit.apply(case.target.graph)
    pictures = case.target.graph.descendants(set(case.target.graph.inputs))  # the rest are constants
    values = {name: value[:1] for name, value in case.target.values.items() if name in pictures}
    try:
        results = evaluate.resume(graph, values, set(edit.changed))
    except ConvfaultError as error:
        return f"the layers behind it don't fit any more: {error}"
    shapes = [results[name].shape[1:] for name in graph.outputs]
    wanted = [case.target.graph[name].shape[1:] for name in graph.outputs]
    if shapes != wanted and shapes != [case.source.graph[name].shape[1:] for name in case.source.graph.outputs]:
        return "the model's output would get another shape"
    return None


def _suspect(match: Match, found: _Found) -> Suspect:
    attribute = found.attribute
    evidence: dict[str, Any] = dict(attribute.evidence)
    if attribute.also:
        evidence["also"] = list(attribute.also)
    if found.reason is not None:
        evidence["no_edit"] = found.reason
    return Suspect(
        kind="hyperparameters",
        cause=attribute.cause,
        explanation=attribute.phrase,
        suggestion=CAUSES.get(attribute.cause, OTHER).repair,
        source=match.source,
        target=match.target,
        attribute=attribute.name,
        expected=attribute.expected,
        actual=attribute.actual,
        evidence=evidence,
        confidence=match.confidence,
        edit=found.edit,
        target_location=attribute.place,
    )


def _slopes_folded(case: Case) -> Iterator[Suspect]:
    """Hard sigmoids with another slope, told at the activation."""
    for match in case.alignment.matches:
        pair = counterparts(case, match)
        found = None if pair is None or not pair.differing else steepness(case, pair)
        if found is not None:
            clip = case.alignment.to_source.get(found.clip.id, match)
            yield _suspect(clip, _Found(found.attribute, found.edit))


def _epsilons(case: Case) -> Iterator[Suspect]:
    """Batch normalization that exists in the target and has another epsilon: seen in the weights it is folded into."""
    origins = Origins(case)
    for match in case.alignment.matches:
        if "batch_norm" not in case.target.graph[match.target].details:
            continue
        pair = counterparts(case, match)
        if pair is None or not pair.differing:
            continue
        found = findings(pair, origins)
        names = tuple(name for name, finding in found.items() if finding.cause == "batch_norm_epsilon")
        if names:
            suspect = suspect_of(pair, found[names[0]], names, "hyperparameters")
            epsilon = found[names[0]].evidence["epsilon"]
            evidence = {name: value for name, value in suspect.evidence.items() if name != "group"}
            yield replace(
                suspect,
                cause="epsilon",
                attribute="epsilon",
                expected=epsilon["expected"],
                actual=epsilon["actual"],
                suggestion=CAUSES["epsilon"].repair,
                evidence={**evidence, "group": "epsilon"},
            )
