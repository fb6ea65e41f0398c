"""Are the classes numbered otherwise? Shifted by one, a class more or less, permuted, or scores in another unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from convfault.localization import scores as answers
from convfault.localization.case import Case, Subject
from convfault.localization.scores import Scores, distance, error_between, logits
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Edit, Insert, SetParameters
from convfault.relax.graph import Array, Graph, Layer, Parameter
from convfault.relax.kinds import LINEAR, POINTWISE

CLEARLY = 10.0
"""A numbering explains a difference when it makes it so many times smaller."""

SAME = 1e-3
"""Two columns of weights are one when they are this close, relative to their size: float16 rounding is."""

MOST_CLASSES = 5000
MOST_ADDED = 32
UNITS = (255.0, 256.0, 100.0, 1000.0, 127.0, 128.0)
"""Units that probabilities are given in: bytes, per cent, per mille, signed bytes."""


def examine(case: Case) -> list[Suspect]:
    """Suspects of kind ``input``: ``label_offset``, ``permuted_labels``, ``output_scale``."""
    scores = answers.of(case)
    if scores is None or scores.error <= case.tolerance or not np.isfinite(scores.source).all():
        return []
    unit = _unit(scores, case.tolerance)
    if unit is not None:
        return [_unit_suspect(case, scores, unit)]
    columns: tuple[int | None, ...] | None = _by_weights(case, scores)
    weighed = columns is not None
    if columns is None:  # answers prove less: those of a sure network are all but the same for every picture
        columns = _shifted(scores) or _by_answers(scores, case.tolerance)
    return [] if columns is None else [_suspect(case, scores, columns, weighed)]


def _unit(scores: Scores, tolerance: float) -> float | None:
    """The factor between the answers, where it is that of a usual unit."""
    if scores.source.shape != scores.target.shape:
        return None
    for unit in (*UNITS, *(1 / unit for unit in UNITS)):
        limit = max(tolerance, 1e-5 * float(np.abs(scores.source).max()))
        if error_between(scores.source, scores.target / unit) <= limit:
            return unit
    return None


def _shifted(scores: Scores) -> tuple[int | None, ...] | None:
    """The columns when the classes are all shifted by the same number, or some were put before or behind them."""
    one, other = logits(scores.source), logits(scores.target)
    count, more = one.shape[1], other.shape[1] - one.shape[1]
    if abs(more) > MOST_ADDED or not np.isfinite(other).all():
        return None
    shifts = range(more + 1) if more > 0 else range(more, 1) if more < 0 else (-1, 1)
    found = {}
    for shift in shifts:
        columns = [i + shift for i in range(count)]
        if more == 0:
            columns = [column % count for column in columns]
        known = [i for i, column in enumerate(columns) if 0 <= column < other.shape[1]]
        found[shift] = distance(one[:, known], other[:, [columns[i] for i in known]])
    best = min(found, key=lambda shift: found[shift])
    spread = distance(one, np.zeros_like(one)) if more else distance(one, other)
    if found[best] * CLEARLY > spread or spread == 0:
        return None
    places = [(i + best) % count if more == 0 else i + best for i in range(count)]
    return tuple(place if 0 <= place < other.shape[1] else None for place in places)


def head(graph: Graph) -> Layer | None:
    """The last layer with weights, when only functions of single scores or softmax follow it."""
    layer = graph[graph.outputs[0]]
    while layer.kind in POINTWISE | {"softmax", "log_softmax", "reshape"} and layer.inputs:
        layer = graph[layer.inputs[0]]
    fits = layer.kind in LINEAR and "weights" in layer.parameters and len(graph.readers[layer.id]) <= 1
    return layer if fits else None


def _columns_of(layer: Layer) -> Array:
    """Weights and bias as (inputs + 1, classes)."""
    weights = layer.parameters["weights"].values
    bias = layer.parameters.get("bias")
    last = np.zeros(weights.shape[-1], np.float32) if bias is None else bias.values
    return np.vstack([weights.reshape(-1, weights.shape[-1]), last.reshape(1, -1)]).astype(np.float64)


def _by_weights(case: Case, scores: Scores) -> tuple[int, ...] | None:
    """The columns when the last layer's weights and biases are the same in another order."""
    one, other = head(case.source.graph), head(case.target.graph)
    if (
        one is None
        or other is None
        or one.parameters["weights"].values.shape != other.parameters["weights"].values.shape
    ):
        return None
    wanted, found = _columns_of(one), _columns_of(other)
    if wanted.shape[1] != scores.source.shape[1] or not np.isfinite(found).all():
        return None
    size = np.maximum(np.linalg.norm(wanted, axis=0), 1e-12)
    if (np.linalg.norm(wanted - found, axis=0) <= 0.1 * size).all():
        return None
    columns = _assigned(wanted.T, found.T)
    if columns is None:
        return None
    moved = found[:, list(columns)]
    same = np.linalg.norm(wanted - moved, axis=0) <= SAME * size
    biased = np.abs(wanted[-1] - moved[-1]) <= SAME * max(float(np.abs(wanted[-1]).max()), 1e-12)
    closer = distance(logits(scores.source), logits(scores.renumbered(columns)))
    worse = closer >= distance(logits(scores.source), logits(scores.target))
    return None if worse or not (same.all() and biased.all()) else columns


def _in_the_head(case: Case, columns: Sequence[int | None]) -> bool:
    """Whether it is the last layer's weights that are numbered so, rather than what is behind it."""
    one, other = head(case.source.graph), head(case.target.graph)
    if one is None or other is None:
        return False
    wanted, found = _columns_of(one), _columns_of(other)
    places = [(i, column) for i, column in enumerate(columns) if column is not None]
    if len(wanted) != len(found) or wanted.shape[1] != len(columns) or not places:
        return False
    if max(column for _, column in places) >= found.shape[1]:
        return False
    size = np.maximum(np.linalg.norm(wanted, axis=0), 1e-12)
    return all(np.linalg.norm(wanted[:, i] - found[:, column]) <= SAME * size[i] for i, column in places)


def _by_answers(scores: Scores, tolerance: float) -> tuple[int, ...] | None:
    """The columns when the answers are the same in another order, within the tolerance: nothing less is a proof."""
    if scores.source.shape != scores.target.shape:
        return None
    columns = _assigned(logits(scores.source).T, logits(scores.target).T)
    if columns is None:
        return None
    left = error_between(scores.source, scores.renumbered(columns))
    noise = 1e-5 * float(np.abs(scores.source).max())
    return columns if left <= max(min(tolerance, scores.error / CLEARLY), noise) else None


def _assigned(wanted: Array, found: Array) -> tuple[int, ...] | None:
    """For each row of ``wanted`` the row of ``found`` that it is, the sum of squared distances being least.

    (Crouse 2016, "On implementing 2D rectangular assignment algorithms", as in scipy.) A row stays in its place where
    that is no worse. None when no row moves.
    """
    if len(wanted) > MOST_CLASSES or not np.isfinite(found).all():
        return None
    from scipy.optimize import linear_sum_assignment

    squares = (wanted**2).sum(axis=1)[:, None] + (found**2).sum(axis=1)[None, :]
    cost = np.maximum(squares - 2 * wanted @ found.T, 0.0)
    cost[np.diag_indices(len(cost))] -= 1e-9 * max(float(squares.max()), 1e-30)
    _, columns = linear_sum_assignment(cost)
    moved = np.flatnonzero(columns != np.arange(len(columns)))
    return None if len(moved) == 0 else tuple(int(column) for column in columns)


def _suspect(case: Case, scores: Scores, columns: Sequence[int | None], weighed: bool) -> Suspect:
    count, have = scores.source.shape[1], scores.target.shape[1]
    steps = {column - i for i, column in enumerate(columns) if column is not None}
    offset = len(steps) == 1 or have != count or len({step % count for step in steps}) == 1
    moved = [i for i, column in enumerate(columns) if column != i]
    before, after = scores.error, error_between(scores.source, scores.renumbered(columns))
    evidence = {
        "classes": {"source": count, "target": have},
        "columns": list(columns),
        "moved": len(moved),
        "max_abs_error_before": before if np.isfinite(before) else None,
        "max_abs_error_after": after,
        "found_by": "weights of the last layer" if weighed else "answers",
    }
    last = head(case.target.graph)
    weighed = weighed or _in_the_head(case, columns)
    place = last.id if weighed and last is not None else scores.target_layer
    first = head(case.source.graph)
    common = {
        "source": first.id if weighed and first is not None else scores.source_layer,
        "target": place,
        "evidence": evidence,
        "edit": edit(case.target, columns, scores.target_layer),
    }
    if offset:
        return _offset_suspect(count, have, next(iter(steps)), common)
    examples = ", ".join(f"{i} is {columns[i]}" for i in moved[:3])
    return Suspect(
        kind="input",
        cause="permuted_labels",
        explanation=f"The target numbers its classes in another order: {len(moved)} of {count} classes have another "
        f"number (the source's class {examples}); by the source's numbers the answers agree.",
        suggestion="Read the target's answers with its own list of classes, or put the columns of its last layer "
        "into the source's order.",
        attribute="class order",
        expected="classes in the source's order",
        actual=f"{len(moved)} of {count} classes at another number",
        confidence=0.95,
        **common,  # type: ignore[arg-type]
    )


def _offset_suspect(count: int, have: int, step: int, common: dict[str, object]) -> Suspect:
    if have != count:
        more, where = abs(have - count), "before" if step else "behind"
        side = "more" if have > count else "fewer"
        text = f"The target has {have} classes, {more} {side} than the source ({count}), {where} the others"
        text += " (a background class)" if more == 1 and step else ""
        text += f": the source's class 0 is the target's class {step}." if step > 0 else f", numbered from {step}."
    else:
        text = f"The target's classes are shifted by {step}: the source's class 1 is the target's class {1 + step}."
    return Suspect(
        kind="input",
        cause="label_offset",
        explanation=text,
        suggestion="Read the target's answers with its own list of classes, shifted accordingly, or cut the class off.",
        attribute="class order",
        expected=f"{count} classes from 0",
        actual=f"{have} classes, shifted by {step}",
        confidence=0.95,
        **common,  # type: ignore[arg-type]
    )


def edit(target: Subject, columns: Sequence[int | None], output: str) -> Edit:
    """The target's graph answering by the source's numbers: the head's columns in order, else a selection behind it."""
    layer = head(target.graph)
    count = target.graph[output].shape[-1]
    numbers = [column for column in columns if column is not None]
    if layer is not None and len(columns) == len(numbers) == count == layer.shape[-1]:
        order = list(numbers)
        values = {"weights": layer.parameters["weights"].values[..., order]}
        if "bias" in layer.parameters:
            values["bias"] = np.broadcast_to(layer.parameters["bias"].values, (count,))[order]
        return SetParameters(layer.id, values)
    chosen = np.zeros((count, len(columns)), np.float32)
    for place, column in enumerate(columns):
        if column is not None:
            chosen[column, place] = 1.0
    shape = (*target.graph[output].shape[:-1], len(columns))
    parameters = {"weights": Parameter(chosen), "bias": Parameter(np.zeros(len(columns), np.float32))}
    return Insert(Layer("renumbered_classes", "dense", (output,), shape, parameters=parameters))


def _unit_suspect(case: Case, scores: Scores, unit: float) -> Suspect:
    layer = case.target.graph[scores.target_layer]
    parameters = {
        "scale": Parameter(np.full(layer.shape[-1:], 1 / unit, np.float32)),
        "shift": Parameter(np.zeros(layer.shape[-1:], np.float32)),
    }
    behind = replace(layer, id="rescaled_scores", kind="affine", inputs=(layer.id,), parameters=parameters)
    text = f"{unit:g} times" if unit >= 1 else f"1/{1 / unit:g} of"
    return Suspect(
        kind="input",
        cause="output_scale",
        explanation=f"The target's scores are {text} the source's: they are given in another unit.",
        suggestion=f"Divide the target's scores by {unit:g}.",
        source=scores.source_layer,
        target=scores.target_layer,
        attribute="scale",
        expected=1.0,
        actual=unit,
        evidence={"factor": unit, "max_abs_error_before": scores.error},
        edit=Insert(replace(behind, hyperparameters={}, native=type(layer.native)())),
    )
